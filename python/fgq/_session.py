"""Running packed models."""

from __future__ import annotations

from os import fspath
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _fgq, _images
from ._errors import ArgumentError


class Guess(NamedTuple):
    """A class that an image may have."""

    #: Index of the output.
    index: int
    #: Name of the class, or its index as text.
    name: str
    #: From 0 to 1.
    probability: float


class Session:
    """A packed model ready to run, with integers only; made by :meth:`fgq.Model.session`.

    Logits are the same to the bit on every machine, for any batch size and any number of threads. Several threads may
    call one session at once; a forked process may go on using it.
    """

    def __init__(self, native: _fgq.Session, preprocess: _fgq.Preprocess, classes: Sequence[str]):
        self._native, self._preprocess, self._classes = native, preprocess, classes

    @property
    def input_shape(self) -> tuple:
        """Rows, columns and channels of the input."""
        return self._native.shape

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self._native.threads

    @property
    def kernels(self) -> str:
        """Which kernels run; the variable ``FGQ_KERNELS`` chooses others."""
        return self._native.kernels

    @property
    def logit_scale(self) -> float:
        """The real value of one unit of the logits."""
        return self._native.logit_scale

    def run(self, images: Any) -> np.ndarray:
        """Logits of images, as ``int32`` in units of :attr:`logit_scale`.

        Args:
            images: ``uint8`` pixels of the input's size, prepared as the model states: one image (rows x columns x
                channels, or channels first) or a batch of them; an array whose channels are last and whose numbers
                lie one after another is read where it is. Or a path, or a list of paths, of image files.

        Returns:
            One number per class for one image; images x classes for a batch or a list.

        Raises:
            ArgumentError: Another type or shape.
            ImageError: A file that cannot be decoded.
        """
        if _images.is_path(images):
            return self.run([images])[0]
        if _images.is_array(images):
            array = _images.as_array(images)
            batch = self._pixels(array)
            logits = self._native.run(batch)
            return logits if array.ndim == 4 else logits[0]
        paths = list(images)
        if not paths:
            raise ArgumentError("no images; give at least one")
        pixels = [self._preprocess.of_file(fspath(_images._path(path))) for path in paths]
        return self._native.run(np.concatenate(pixels))

    def _pixels(self, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.uint8:
            raise ArgumentError(f"images of type {array.dtype}; give uint8 pixels of {self.input_shape}, or paths")
        if array.ndim not in (3, 4):
            raise ArgumentError(f"images of shape {array.shape}; give {self.input_shape}, or a batch of that")
        batch = array if array.ndim == 4 else array[None]
        last = _images.channels_last(batch, self.input_shape)
        if last.shape[1:] != tuple(self.input_shape):
            raise ArgumentError(f"images of shape {array.shape}; give {self.input_shape}, or a batch of that")
        return np.ascontiguousarray(last).reshape(-1)

    def classify(self, images: Any, top: int = 5) -> Union[List[Guess], List[List[Guess]]]:
        """The most probable classes of images, best first.

        Args:
            images: Whatever :meth:`run` takes, or pictures of Pillow's.
            top: How many classes.

        Returns:
            A list of :class:`Guess` for one image, a list of such lists for several.
        """
        logits = self.run(self._prepared(images))
        rows = [self._guesses(row, top) for row in np.atleast_2d(logits)]
        return rows if logits.ndim == 2 else rows[0]

    def _prepared(self, images: Any) -> Any:
        if _images.is_picture(images):
            return _images.of_picture(images, self._preprocess).reshape(self.input_shape)
        if _images.is_path(images) or _images.is_array(images):
            return images
        items = list(images)
        if any(_images.is_picture(item) for item in items):
            return np.stack([self._prepared(item) for item in items])
        return items

    def _guesses(self, logits: np.ndarray, top: int) -> List[Guess]:
        real = logits.astype(np.float64) * self.logit_scale
        shares = np.exp(real - real.max())
        shares /= shares.sum()
        # The smaller class wins a tie, as in the command.
        best = np.argsort(-logits.astype(np.int64), kind="stable")[:top]
        name = lambda index: self._classes[index] if self._classes else str(index)  # noqa: E731
        return [Guess(int(index), name(index), float(shares[index])) for index in best]

    @property
    def widths(self) -> List[int]:
        """Planes or bits that the layers of a model that switches can take; empty for others."""
        return list(self._native.widths)

    @property
    def settings(self) -> Dict[str, List[int]]:
        """Names of settings, and the widths that they give the layers."""
        return {name: list(widths) for name, widths in self._native.settings}

    @property
    def layer_widths(self) -> Dict[str, int]:
        """The layers that switch, and the width that each has now."""
        return dict(self._native.layers)

    def set_bits(self, setting: Union[int, str], layer: Optional[str] = None) -> None:
        """Gives all layers, or one, other widths; results are then those of a model packed for them alone.

        Args:
            setting: Planes or bits, or the name of one of :attr:`settings`.
            layer: Name of a layer; all if left out.

        Raises:
            ArgumentError: A model that does not switch, a setting or a layer that it does not have.
        """
        self._native.set_bits(str(setting), layer)

    def keep_at_most(self, size: int) -> None:
        """Keeps no more than so many bytes of weights that are not in use; at first all are kept."""
        self._native.keep_at_most(size)

    def __repr__(self) -> str:
        return f"<fgq.Session: input {self.input_shape}, {self.threads} threads, kernels {self.kernels}>"
