"""How far long work is: a bar of tqdm's, a function of the caller's, or nothing."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Callable, Iterator, Optional, Union

#: Called with the stage, the steps done, their number, and how it goes in a few words.
Report = Callable[[str, int, int, str], None]
#: ``None``: a bar on terminals, if tqdm is installed; ``True`` or ``False``: a bar or none; or a function.
Progress = Union[None, bool, Report]


@contextmanager
def reported(progress: Progress) -> Iterator[Optional[Report]]:
    """The function to call, and an end to its bar."""
    if progress is None:
        progress = sys.stderr.isatty()
    if callable(progress):
        yield progress
        return
    bar = _Bar.new() if progress else None
    try:
        yield bar
    finally:
        if bar is not None:
            bar.close()


class _Bar:
    """One bar of tqdm's for every stage."""

    def __init__(self, tqdm):
        self._tqdm, self._bar, self._stage = tqdm, None, None

    @classmethod
    def new(cls) -> Optional[_Bar]:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
        return cls(tqdm)

    def __call__(self, stage: str, done: int, total: int, status: str) -> None:
        if (stage, total) != self._stage:
            self.close()
            self._stage = (stage, total)
            self._bar = self._tqdm(total=total, desc=stage, leave=False)
        self._bar.update(done - self._bar.n)
        if status:
            self._bar.set_postfix_str(status)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
