"""Trained networks as people have them: files, ONNX models, modules of PyTorch."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from os import PathLike, fspath
from typing import Any, Mapping, Optional, Tuple, Union

from . import _fgq
from ._errors import ArgumentError, UnsupportedError
from ._images import is_array, is_path

#: A preset's name, a JSON file, or some of ``resize``, ``crop``, ``interpolation``, ``mean``, ``std``, ``scale``,
#: ``channels``, ``as_is``, ``preset``.
Preprocessing = Union[None, str, PathLike, Mapping[str, Any]]
Size = Union[None, int, Tuple[int, int]]
#: Preprocessing that is left to the network.
NO_WISH = {"preset": None, "file": None, "options": None}


def network(
    model: Any,
    *,
    images: Any = None,
    preprocess: Preprocessing = None,
    input_size: Size = None,
    arch: Optional[str] = None,
    output_name: Optional[str] = None,
) -> _fgq.Network:
    """The network in a file, an ``onnx.ModelProto`` or a ``torch.nn.Module``."""
    if isinstance(model, _fgq.Network):
        return model
    wish, size = _wish(preprocess), _size(input_size)
    path, onnx = _origin(model, images, wish, size)
    if onnx is not None:
        return of_onnx(path, onnx, wish, size, arch, output_name)
    return _fgq.Network(path, None, _digest(path).hexdigest(), wish, size, arch, output_name)


def of_onnx(
    name: str, onnx: bytes, wish: dict, size: Optional[Tuple[int, int]], *options: Optional[str]
) -> _fgq.Network:
    """The network that the bytes of an ONNX file hold."""
    return _fgq.Network(name, onnx, hashlib.sha256(onnx).hexdigest(), wish, size, *options)


def is_module(model: Any) -> bool:
    """Whether a value is a module of PyTorch's; PyTorch is not imported for that."""
    return any(base.__module__.startswith("torch.nn") for base in type(model).__mro__) and hasattr(model, "state_dict")


def _origin(model, images, wish, size) -> Tuple[str, Optional[bytes]]:
    if is_path(model):
        return fspath(model), None
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return (getattr(model.graph, "name", "") or "network") + ".onnx", model.SerializeToString()
    if is_module(model):
        return type(model).__name__ + ".onnx", exported(model, _module_size(images, wish, size))
    raise ArgumentError(f"a model of type {type(model).__name__}; give a path, an onnx.ModelProto or a torch.nn.Module")


def _digest(path: str):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        # Whoever reads it says what is wrong with it.
        pass
    return digest


def _wish(preprocess: Preprocessing) -> dict:
    wish = dict(NO_WISH)
    if isinstance(preprocess, Mapping):
        wish["options"] = json.dumps(dict(preprocess))
    elif isinstance(preprocess, str) and not preprocess.endswith(".json"):
        wish["preset"] = preprocess
    elif preprocess is not None:
        wish["file"] = fspath(preprocess)
    return wish


def _size(size: Size) -> Optional[Tuple[int, int]]:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ArgumentError(f"input_size={size}; give a number of pixels, or rows and columns")
    return pair


def _module_size(images, wish, size) -> Tuple[int, int]:
    """Rows and columns of a module's input, which it does not say itself."""
    if size is not None:
        return size
    if wish["preset"] is not None or wish["options"] is not None:
        crop = _fgq.crop_of(wish)
        if crop is not None:
            return crop
    shape = tuple(images.shape) if is_array(images) else ()
    if len(shape) in (3, 4):
        return shape[-2:] if shape[-3] in (1, 3) else shape[-3:-1]
    raise ArgumentError("a torch.nn.Module does not say how large its images are; give input_size=224, say")


def exported(module: Any, size: Tuple[int, int]) -> bytes:
    """A module in evaluation, as ONNX."""
    import torch

    channels = next((p.shape[1] for p in module.parameters() if p.dim() == 4), 3)
    first = next(module.parameters(), torch.zeros(()))
    example = torch.zeros(1, channels, *size, device=first.device)
    file, was_training = io.BytesIO(), module.training
    module.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            _export(torch, module, example, file)
    except Exception as error:
        raise UnsupportedError(f"PyTorch cannot export {type(module).__name__} to ONNX: {error}") from error
    finally:
        module.train(was_training)
    return file.getvalue()


def _export(torch, module, example, file) -> None:
    names = {"input_names": ["input"], "output_names": ["logits"]}
    try:
        # The exporter that needs no package but PyTorch.
        torch.onnx.export(module, (example,), file, dynamo=False, **names)
    except (TypeError, ImportError):
        torch.onnx.export(module, (example,), file, **names)
