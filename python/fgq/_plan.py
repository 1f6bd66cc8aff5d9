"""Plans: which layer gets which precision."""

from __future__ import annotations

import json
from os import fspath
from typing import Any, Dict, List

from . import _fgq


class Plan:
    """A precision for every layer, found for budgets. Made by :func:`fgq.plan`, taken by :func:`fgq.convert`."""

    def __init__(self, native: _fgq.Plan):
        self._native = native

    @classmethod
    def read(cls, path) -> Plan:
        """The plan in a file, as ``fgq plan -o`` or :meth:`save` writes it."""
        return cls(_fgq.Plan.read(fspath(path)))

    def save(self, path) -> None:
        """Writes the plan, whole or not at all."""
        self._native.write(fspath(path))

    def to_dict(self) -> Dict[str, Any]:
        """All that its file says."""
        return json.loads(self._native.to_json())

    @property
    def is_proven(self) -> bool:
        """Whether no plan within the budgets has less predicted damage."""
        return self._native.is_proven

    @property
    def damage(self) -> float:
        """Predicted damage: the sum over all layers."""
        return self.to_dict()["objective"]

    @property
    def size(self) -> int:
        """Bytes of the file, as predicted."""
        return self.to_dict()["uses"]["bytes"]

    @property
    def layers(self) -> List[Dict[str, Any]]:
        """The layers that there was a choice for, a dictionary for each."""
        return self.to_dict()["layers"]

    def __repr__(self) -> str:
        proven = "" if self.is_proven else ", not proven"
        return f"<fgq.Plan: {len(self.layers)} layers, {self.size:,} bytes, damage {self.damage:.6f}{proven}>"
