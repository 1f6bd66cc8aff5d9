"""Compares exported ONNX files in ONNX Runtime with the integer runtime.

    compare.py random FOLDER                    the models that the test write_models wrote
    compare.py classes MODEL.onnx INPUTS CLASSES  raw f32 inputs, and the runtime's classes, a line each
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort


def opened(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session, inputs):
    shape = [extent for extent in session.get_inputs()[0].shape[1:]]
    inputs = inputs.reshape(-1, *shape)
    return np.concatenate([session.run(None, {"input": inputs[i : i + 20]})[0] for i in range(0, len(inputs), 20)])


def random(folder):
    """Random models have random multipliers, so that one step may change much: most logits, not all, are near."""
    near = count = 0
    for path in sorted(pathlib.Path(folder).glob("*.onnx")):
        logits = run(opened(path), np.fromfile(path.with_suffix(".inputs"), np.float32))
        limit, *expected = np.fromfile(path.with_suffix(".logits"))
        logits, expected = np.clip(logits, -limit, limit), np.reshape(expected, logits.shape)
        spread = max(np.abs(expected).max(), 1e-9)
        close = np.abs(logits - expected) <= 0.02 * spread
        near, count = near + close.sum(), count + close.size
        if close.mean() < 0.9:
            print(f"{path.name}: {close.mean():.2f} of the logits are near", expected.ravel()[:4], logits.ravel()[:4])
    print(f"random models: {near} of {count} logits are within 2%")
    return near >= 0.95 * count


def classes(path, inputs, expected):
    found = run(opened(path), np.fromfile(inputs, np.float32)).argmax(axis=1)
    expected = np.loadtxt(expected, dtype=int).reshape(-1)
    agreeing = (found == expected).sum()
    print(f"{path}: {agreeing} of {len(expected)} classes agree")
    return agreeing >= 0.99 * len(expected)


if __name__ == "__main__":
    sys.exit(0 if {"random": random, "classes": classes}[sys.argv[1]](*sys.argv[2:]) else 1)
