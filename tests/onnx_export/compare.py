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
    """Random models have random multipliers, so that one step may change much: most logits, not all, are near. With integer
    rounding they are the same."""
    near = same = count = 0
    for path in sorted(pathlib.Path(folder).glob("*.rounding.onnx")):
        known = path.with_suffix("").with_suffix("")
        inputs = np.fromfile(known.with_suffix(".inputs"), np.float32)
        limit, *expected = np.fromfile(known.with_suffix(".logits"))
        spread = max(np.abs(expected).max(), 1e-9)

        def close(file, tolerance):
            logits = np.clip(run(opened(file), inputs), -limit, limit).ravel()
            found = np.abs(logits - expected) <= tolerance * spread
            if found.mean() < 0.9:
                print(f"{file.name}: {found.mean():.2f} of the logits", expected[:4], logits[:4])
            return found.sum()

        count += len(expected)
        near += close(known.with_suffix(".onnx"), 0.02)
        same += close(path, 1e-5)
    print(f"random models: {near} of {count} logits are within 2%, with integer rounding {same} within 0.001%")
    return near >= 0.95 * count and same >= 0.99 * count


def classes(path, inputs, expected):
    found = run(opened(path), np.fromfile(inputs, np.float32)).argmax(axis=1)
    expected = np.loadtxt(expected, dtype=int).reshape(-1)
    agreeing = (found == expected).sum()
    print(f"{path}: {agreeing} of {len(expected)} classes agree")
    return agreeing >= 0.99 * len(expected)


if __name__ == "__main__":
    sys.exit(0 if {"random": random, "classes": classes}[sys.argv[1]](*sys.argv[2:]) else 1)
