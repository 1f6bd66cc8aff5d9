#!/usr/bin/env python3
"""Compares fgq's f32 interpreter with ONNX Runtime on the same inputs; fails when any model differs too much.

  pip install numpy pillow onnx onnxruntime
  python benches/onnxruntime_agreement.py MODEL.onnx [MODEL.onnx ...] [--images DIR] [options]

Inputs are seeded Gaussian noise, or with --images the first images of a folder tree, spread evenly, resized to the
network's input and normalised with --mean, --std and --scale. Per model: the largest |difference| of the logits divided
by the largest |logit| of ONNX Runtime, both before a final Softmax. Runs `cargo run --release --example logits -- MODEL INPUT.npy OUTPUT.npy`.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, help="folder tree of images instead of noise")
    parser.add_argument("--mean", nargs=3, type=float, default=[0.485, 0.456, 0.406])
    parser.add_argument("--std", nargs=3, type=float, default=[0.229, 0.224, 0.225])
    parser.add_argument("--scale", type=float, default=255, help="pixels are divided by this first")
    parser.add_argument("--bgr", action="store_true", help="channels in the order blue, green, red")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    return parser.parse_args()


def logits_graph(path):
    """The model as bytes, ending before a final Softmax."""
    model = onnx.load(path)
    last = model.graph.node[-1]
    if last.op_type in ("Softmax", "LogSoftmax"):
        model.graph.output[0].name = last.input[0]
        model.graph.node.pop()
    return model.SerializeToString()


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(logits_graph(path), options, providers=["CPUExecutionProvider"])


def image_inputs(options, height, width):
    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"no images in {options.images}")
    chosen = paths[:: max(1, len(paths) // options.samples)][: options.samples]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((width, height)), np.float32) for path in chosen])
    pixels = pixels[..., ::-1] if options.bgr else pixels
    return ((pixels / options.scale - options.mean) / options.std).transpose(0, 3, 1, 2)


def inputs_for(options, shape):
    _, *sizes = shape
    if not all(isinstance(size, int) for size in sizes):
        sys.exit(f"only the batch size may be symbolic, the input is {shape}")
    if options.images:
        inputs = image_inputs(options, *sizes[1:])
    else:
        inputs = np.random.default_rng(options.seed).standard_normal((options.samples, *sizes))
    return np.ascontiguousarray(inputs, np.float32)


def fgq_logits(model, inputs):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "input.npy"), Path(folder, "output.npy")
        np.save(source, inputs)
        command = ["cargo", "run", "--quiet", "--release", "--example", "logits", "--", model.resolve(), source, target]
        subprocess.run(command, cwd=ROOT, check=True)
        return np.load(target)


def relative_difference(options, model):
    session = session_of(model)
    first = session.get_inputs()[0]
    inputs = inputs_for(options, first.shape)
    expected = session.run(None, {first.name: inputs})[0].reshape(len(inputs), -1)
    actual = fgq_logits(model, inputs)
    if actual.shape != expected.shape:
        sys.exit(f"{model}: fgq gives shape {actual.shape}, ONNX Runtime {expected.shape}")
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def main():
    options = arguments()
    differences = {model: relative_difference(options, model) for model in options.models}
    for model, difference in differences.items():
        print(f"{difference:9.2e}  {model.name}{'' if difference <= options.tolerance else '  DIFFERS'}")
    # not "any(... > tolerance)": a NaN must fail too
    sys.exit(0 if all(difference <= options.tolerance for difference in differences.values()) else 1)


if __name__ == "__main__":
    main()
