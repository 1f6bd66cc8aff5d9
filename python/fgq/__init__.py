"""Trained convolutional networks to fine-grained ternary weights, without training, run with integers only.

>>> import fgq
>>> model = fgq.convert("network.onnx", "images", group=4)  # doctest: +SKIP
>>> model.save("network.fgq")  # doctest: +SKIP
>>> model.session().classify("photo.jpg")  # doctest: +SKIP
"""

from ._api import TernaryTensor, convert, evaluate, load, plan, ternarize, ternarize_tensor
from ._errors import (
    ArgumentError,
    Cancelled,
    Error,
    FgqWarning,
    FileError,
    FormatError,
    ImageError,
    NonFiniteError,
    ShapeError,
    UnsupportedError,
)
from ._fgq import __version__
from ._model import Model
from ._plan import Plan
from ._session import Guess, Session

__all__ = [
    "ArgumentError",
    "Cancelled",
    "Error",
    "FgqWarning",
    "FileError",
    "FormatError",
    "Guess",
    "ImageError",
    "Model",
    "NonFiniteError",
    "Plan",
    "Session",
    "ShapeError",
    "TernaryTensor",
    "UnsupportedError",
    "__version__",
    "convert",
    "evaluate",
    "load",
    "plan",
    "ternarize",
    "ternarize_tensor",
]
