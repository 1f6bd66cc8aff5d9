"""Images as people have them: folders, files, pictures, arrays, batches."""

from __future__ import annotations

import itertools
from os import PathLike, fspath
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from . import _fgq
from ._errors import ArgumentError, ImageError, NonFiniteError

#: Pixel values by which a normalised array may leave 0 to 255 before it is refused.
_SLACK = 2.0


def is_path(value: Any) -> bool:
    """Whether a value names a file or a folder."""
    return isinstance(value, (str, PathLike))


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy's or a tensor of PyTorch's."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy"))


def is_picture(value: Any) -> bool:
    """Whether a value is a picture of Pillow's."""
    return hasattr(value, "convert") and hasattr(value, "getbands")


def as_array(value: Any) -> np.ndarray:
    """An array of NumPy's, sharing memory where it can."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def gathered(
    images: Any, preprocess: _fgq.Preprocess, samples: Optional[int], labels: Any = None, outputs: Optional[int] = None
) -> _fgq.Images:
    """The images, as the library reads them; with labels if a number of outputs is given."""
    if samples is not None and samples < 1:
        raise ArgumentError(f"samples={samples} leaves no image; give at least 1")
    if isinstance(images, _fgq.Images):
        found = images
    elif is_path(images):
        found = _fgq.Images.folder(fspath(images), outputs, _label_file(labels))
    else:
        found = _of_items(images, preprocess, samples, labels, outputs)
    return found if samples is None else found.spread(samples)


def _label_file(labels: Any) -> Optional[str]:
    if labels is None or is_path(labels):
        return None if labels is None else fspath(labels)
    raise ArgumentError("labels of a folder come from its subfolders or from a text file; give its path")


def _of_items(images, preprocess, samples, labels, outputs) -> _fgq.Images:
    labels = None if labels is None else [int(label) for label in as_list(labels)]
    if not is_array(images) and not is_picture(images):
        first, images = _peeked(images)
        if is_path(first):
            paths = [fspath(_path(path)) for path in images]
            return _fgq.Images.files(paths, _checked(labels or [], outputs))
    pixels, own = [], []
    # Where items come one by one, those wanted are the first; a whole array is drawn from evenly.
    most = None if is_array(images) or labels is not None else samples
    for image, label in itertools.islice(_pairs(images, preprocess), most):
        pixels.append(image)
        own.append(label)
    if not pixels:
        raise ImageError("no images; give at least one")
    if labels is None and outputs is not None:
        labels = [label for label in own if label is not None]
        if len(labels) != len(pixels):
            raise ArgumentError("images without labels; give them with labels=, or batches of images and labels")
    return _fgq.Images.pixels(pixels, _checked(labels or [], outputs))


def as_list(values: Any) -> Sequence:
    """A list of numbers, whatever holds them."""
    return as_array(values).reshape(-1).tolist() if is_array(values) else list(values)


def _checked(labels: List[int], outputs: Optional[int]) -> List[int]:
    bad = [label for label in labels if label < 0 or (outputs is not None and label >= outputs)]
    if bad:
        raise ArgumentError(f"label {bad[0]} does not fit {outputs} outputs; labels count from 0")
    return labels


def _peeked(images: Any) -> Tuple[Any, Iterable]:
    try:
        items = iter(images)
    except TypeError:
        raise ArgumentError(
            f"images of type {type(images).__name__}; give a folder, a list of files, pictures, an array, or batches"
        ) from None
    first = next(items, None)
    if first is None:
        raise ImageError("no images; give at least one")
    return first, itertools.chain([first], items)


def _path(path: Any) -> Any:
    if not is_path(path):
        raise ArgumentError(f"{type(path).__name__} among paths of images")
    return path


def _pairs(images: Any, preprocess: _fgq.Preprocess) -> Iterator[Tuple[np.ndarray, Optional[int]]]:
    """Pixels and label of every image."""
    if is_picture(images):
        yield of_picture(images, preprocess), None
    elif is_array(images):
        yield from zip(of_array(as_array(images), preprocess), itertools.repeat(None))
    else:
        for item in images:
            yield from _item_pairs(item, preprocess)


def _item_pairs(item: Any, preprocess: _fgq.Preprocess):
    if is_path(item):
        yield preprocess.of_file(fspath(item)), None
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        batch, labels = item
        pixels = [pixels for pixels, _ in _pairs(batch, preprocess)]
        labels = as_list(labels) if is_array(labels) or isinstance(labels, (list, tuple)) else [labels]
        if len(labels) != len(pixels):
            raise ArgumentError(f"a batch of {len(pixels)} images with {len(labels)} labels")
        yield from zip(pixels, (int(label) for label in labels))
    elif is_picture(item) or is_array(item):
        yield from _pairs(item, preprocess)
    else:
        raise ArgumentError(
            f"an image of type {type(item).__name__}; give paths, pictures, arrays, or pairs of images and labels"
        )


def of_picture(picture: Any, preprocess: _fgq.Preprocess) -> np.ndarray:
    """The network's pixels of a picture of Pillow's."""
    array = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return preprocess.of_picture(array if array.ndim == 3 else array[:, :, None])


def of_array(array: np.ndarray, preprocess: _fgq.Preprocess) -> Iterator[np.ndarray]:
    """The network's pixels of every image in an array: of its input's size as they are, of others as pictures."""
    if array.ndim not in (3, 4):
        raise ArgumentError(
            f"an array of shape {array.shape}; give images x rows x columns x channels, or channels first"
        )
    batch = array if array.ndim == 4 else array[None]
    if np.issubdtype(batch.dtype, np.floating):
        batch = _pixels(batch, preprocess)
    elif batch.dtype != np.uint8:
        raise ArgumentError(
            f"images of type {batch.dtype}; give uint8 pixels, or floats normalised as the model reads them"
        )
    for image in channels_last(batch, preprocess.shape):
        of_input = image.shape == tuple(preprocess.shape)
        yield (
            np.ascontiguousarray(image).reshape(-1) if of_input else preprocess.of_picture(np.ascontiguousarray(image))
        )


def channels_last(batch: np.ndarray, shape: Tuple[int, int, int]) -> np.ndarray:
    """A batch with its channels last, for a network that reads rows x columns x channels of `shape`."""
    height, width, channels = shape
    if batch.shape[1:] == (height, width, channels):
        return batch
    if batch.shape[1:] == (channels, height, width) or batch.shape[3] not in (1, 3):
        if batch.shape[1] in (1, 3) or batch.shape[1] == channels:
            return batch.transpose(0, 2, 3, 1)
    elif batch.shape[3] in (1, 3):
        return batch
    raise ArgumentError(f"images of shape {batch.shape[1:]}; give {shape}, or {(channels, height, width)}")


def _pixels(batch: np.ndarray, preprocess: _fgq.Preprocess) -> np.ndarray:
    """Normalised numbers back to the pixel values that they come from."""
    height, width, channels = preprocess.shape
    if not np.isfinite(batch).all():
        raise NonFiniteError("images with NaN or infinite numbers")
    last = channels_last(batch, preprocess.shape)
    if last.shape[1:] != (height, width, channels):
        raise ArgumentError(f"normalised images of shape {batch.shape[1:]}; give {(channels, height, width)}")
    values = last * np.asarray(preprocess.pixel_std) + np.asarray(preprocess.pixel_mean)
    if values.size and (values.min() < -_SLACK or values.max() > 255 + _SLACK):
        low, high = float(values.min()), float(values.max())
        raise ArgumentError(
            f"floats that stand for pixel values from {low:.0f} to {high:.0f}: they were not normalised by the mean and "
            "standard deviation of the model; give those with preprocess="
        )
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
