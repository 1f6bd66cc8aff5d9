"""The embedded network that reads digits, its images, and one conversion of it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import fgq

DIGITS = Path(__file__).resolve().parents[2] / "fixtures" / "digits"
PREPROCESS = {"mean": [0.3053], "std": [0.3758], "channels": "grey"}
NETWORK = DIGITS / "digits-resnet.onnx"


def tensors(path):
    """The tensors of a safetensors file; read here so that the tests need no package for it."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    types = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}
    found = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    return found


@pytest.fixture(scope="session")
def digits():
    return tensors(DIGITS / "digits.safetensors")


@pytest.fixture(scope="session")
def train(digits):
    """64 images to calibrate on: images x rows x columns x 1."""
    return digits["train_images"][:64, :, :, None]


@pytest.fixture(scope="session")
def test(digits):
    return digits["test_images"][:, :, :, None]


@pytest.fixture(scope="session")
def labels(digits):
    return digits["test_labels"]


@pytest.fixture(scope="session")
def model(train):
    return fgq.convert(NETWORK, train, preprocess=PREPROCESS, progress=False)


@pytest.fixture(scope="session")
def folder(digits, tmp_path_factory):
    """The calibration images as files in class folders."""
    from PIL import Image

    root = tmp_path_factory.mktemp("digits")
    for index in range(64):
        place = root / str(digits["train_labels"][index])
        place.mkdir(exist_ok=True)
        Image.fromarray(digits["train_images"][index]).save(place / f"{index:03}.png")
    return root
