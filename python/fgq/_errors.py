"""Exceptions: what the library refuses, in the words of Python's parameters."""

from __future__ import annotations

import re
from os import PathLike, fspath

#: Fields that the library's messages name between backticks, and the parameters they are here.
_PARAMETERS = {
    "activation_bits": "act_bits",
    "agreement": "keep",
    "fixed": "fixed",
    "indicate": "fgq.plan(model, images)",
    "levels.activation": "levels",
    "levels.weight": "levels",
    "nested": "nested",
    "overrides": "set",
    "rules": "act",
}


class Error(Exception):
    """What fgq refuses.

    Attributes:
        kind: ``"io"``, ``"format"``, ``"unsupported"``, ``"shape"``, ``"non-finite"``, ``"argument"``, ``"image"`` or
            ``"cancelled"``.
        message: What is wrong and what to do about it, without the place.
        path: The file that it concerns, if one is known.
        node: The node of the network that it concerns, if one is known.
        refusals: All nodes that cannot be converted, if that is what is wrong: node, operator, reason.
    """

    kind: str = "other"

    def __init__(self, message, path=None, node=None, refusals=()):
        self.message = message
        self.path = fspath(path) if isinstance(path, PathLike) else path
        self.node = node
        self.refusals = [tuple(refusal) for refusal in refusals]
        place = f"{self.path}: " if self.path else ""
        place += f"node '{node}': " if node else ""
        super().__init__(place + message)

    def __reduce__(self):
        return type(self), (self.message, self.path, self.node, self.refusals)


class ArgumentError(Error, ValueError):
    """A parameter whose value cannot be used, or shapes that do not fit."""

    kind = "argument"


class ShapeError(ArgumentError):
    """Shapes that do not fit together."""

    kind = "shape"


class FileError(Error, OSError):
    """The operating system refused to read or write."""

    kind = "io"

    def __str__(self):
        return Exception.__str__(self)


class FormatError(Error, ValueError):
    """The bytes of a file are not what its format requires."""

    kind = "format"


class UnsupportedError(Error, NotImplementedError):
    """An operator, attribute or data type that fgq does not implement."""

    kind = "unsupported"


class NonFiniteError(Error, ValueError):
    """NaN or infinity where a finite number is required."""

    kind = "non-finite"


class ImageError(Error, ValueError):
    """An image that cannot be decoded, or no usable images."""

    kind = "image"


class Cancelled(Error):
    """Whoever watched the work ended it."""

    kind = "cancelled"


class FgqWarning(UserWarning):
    """What to know about a result."""


_CLASSES = {
    cls.kind: cls
    for cls in (
        ArgumentError,
        ShapeError,
        FileError,
        FormatError,
        UnsupportedError,
        NonFiniteError,
        ImageError,
        Cancelled,
    )
}


def in_parameters(message: str) -> str:
    """A message with parameters in place of the library's fields: `` `agreement = 7` `` becomes ``keep=7``."""

    def parameter(found):
        name = _PARAMETERS.get(found[1], found[1])
        return name if found[2] is None else f"{name}={found[2]}"

    return re.sub(r"`([a-z_.]+)(?: = ([^`]*))?`", parameter, message)


def of(kind, message, path, node, refusals, cause) -> Error:
    """The exception for an error of the library."""
    message = in_parameters(message)
    if cause and cause not in message:
        message = f"{message} ({cause})"
    return _CLASSES.get(kind, Error)(message, path, node, refusals)
