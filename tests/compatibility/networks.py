#!/usr/bin/env python3
"""Exports classification networks of torchvision and timm in both ways that PyTorch has, and checks that fgq loads,
converts and computes them as ONNX Runtime does.

    pip install torch torchvision timm onnx onnxscript onnxruntime pillow numpy
    python networks.py export FOLDER [NAME ...]
    python networks.py check FOLDER FGQ LOGITS [NAME ...]     # the command and examples/logits, built with --release

Weights are random, from a seed: nothing is downloaded. Statistics of batch normalization are measured on random images,
and factors that networks start at zero (layer scales, the last factor of a residual branch) get sizes that a trained network
has, so that every part of a network counts in its logits.
"""
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

SEED = 7
IMAGES = 3
# The largest difference of logits, relative to the largest logit.
TOLERANCE = 1e-4
WAYS = {"legacy": False, "dynamo": True}

# Library, and the side of the input images: small ones, where the network allows it.
NETWORKS = {
    "alexnet": ("torchvision", 224),
    "squeezenet1_1": ("torchvision", 64),
    "resnet18": ("torchvision", 64),
    "resnet50": ("torchvision", 64),
    "resnext50_32x4d": ("torchvision", 64),
    "densenet121": ("torchvision", 64),
    "googlenet": ("torchvision", 64),
    "inception_v3": ("torchvision", 96),
    "shufflenet_v2_x1_0": ("torchvision", 64),
    "mobilenet_v2": ("torchvision", 64),
    "mobilenet_v3_small": ("torchvision", 64),
    "mnasnet1_0": ("torchvision", 64),
    "efficientnet_b0": ("torchvision", 64),
    "efficientnet_v2_s": ("torchvision", 64),
    "regnet_y_400mf": ("torchvision", 64),
    "convnext_tiny": ("torchvision", 64),
    "resnet26d": ("timm", 64),
    "seresnet50": ("timm", 64),
    "ecaresnet26t": ("timm", 64),
    "resnest14d": ("timm", 64),
    "resnest50d_1s4x24d": ("timm", 64),
    "skresnet18": ("timm", 64),
    "resnetv2_50d_gn": ("timm", 64),
    "dpn48b": ("timm", 64),
    "res2net50_26w_4s": ("timm", 64),
    "nf_resnet50": ("timm", 64),
    "dm_nfnet_f0": ("timm", 64),
    "eca_nfnet_l0": ("timm", 64),
    "convnext_atto": ("timm", 64),
    "convnextv2_atto": ("timm", 64),
    "edgenext_xx_small": ("timm", 64),
    "ghostnet_100": ("timm", 64),
    "repvgg_a0": ("timm", 64),
    "mixnet_s": ("timm", 64),
    "rexnet_100": ("timm", 64),
    "mobilenetv4_conv_small": ("timm", 64),
    "ese_vovnet19b_dw": ("timm", 64),
    "dla34": ("timm", 64),
    "xception41": ("timm", 64),
}


def network(name):
    """The network with weights from the seed, in evaluation mode, and the side of its images."""
    import torch

    library, side = NETWORKS[name]
    torch.manual_seed(SEED)
    if library == "torchvision":
        import torchvision

        options = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        model = torchvision.models.get_model(name, weights=None, **options)
    else:
        import timm

        model = timm.create_model(name, pretrained=False)
    enliven(model)
    measure(model, side)
    return model.eval(), side


def enliven(model):
    """Gives factors that start at zero or nearly so the sizes of trained networks."""
    import torch

    norms = (torch.nn.BatchNorm2d, torch.nn.LayerNorm, torch.nn.GroupNorm)
    for module in model.modules():
        if isinstance(module, norms) and module.weight is not None:
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
    factors = ("gamma", "layer_scale", "skipinit_gain", "gain")
    for name, parameter in model.named_parameters():
        if name.rsplit(".", 1)[-1] in factors:
            torch.nn.init.uniform_(parameter, 0.2, 0.8)


def measure(model, side):
    """Statistics of batch normalization on random images."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, max(side, 96), max(side, 96)))


def export(folder, names):
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        model, side = network(name)
        image = torch.randn(1, 3, side, side)
        for way, dynamo in WAYS.items():
            path = folder / f"{name}.{way}.onnx"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    torch.onnx.export(model, (image,), str(path), dynamo=dynamo, verbose=False)
                print(f"{path.name}: {path.stat().st_size >> 10} KiB", flush=True)
            except Exception as error:  # an exporter that cannot is no fault of fgq's
                print(f"{path.name}: not exported: {str(error).splitlines()[0]}", flush=True)


def check(folder, fgq, logits, names):
    """Prints a row per network: whether it loads, converts, and how far its logits are from ONNX Runtime's."""
    good = total = 0
    print("| network | legacy | dynamo |\n|---|---|---|")
    for name in names:
        cells = []
        for way in WAYS:
            path = folder / f"{name}.{way}.onnx"
            if not path.exists():
                cells.append("not exported")
                continue
            verdict, passed = judge(path, fgq, logits)
            cells.append(verdict)
            total, good = total + 1, good + passed
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{good} of {total} load, convert and agree")
    return good


def judge(path, fgq, logits):
    """What became of one file, and whether that is what it should be."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        difference, message = compare(path, logits, folder)
        if message:
            return f"refused: {message}", False
        message = convert(path, fgq, folder)
        if message:
            return f"{difference:.0e}; not converted: {message}", False
        return f"{difference:.0e}", difference <= TOLERANCE


def compare(path, logits, folder):
    """The largest difference of fgq's `f32` logits from ONNX Runtime's, relative to the largest; or the error."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    images = np.random.default_rng(SEED).normal(size=(IMAGES, 3, *feed.shape[2:])).astype("<f4")
    expected = np.concatenate([session.run(None, {feed.name: image[None]})[0] for image in images])
    np.save(folder / "images.npy", images)
    result = subprocess.run([logits, path, folder / "images.npy", folder / "logits.npy"], capture_output=True, text=True)
    if result.returncode != 0:
        return None, first_line(result.stderr)
    found = np.load(folder / "logits.npy")
    return np.abs(found - expected).max() / np.abs(expected).max(), None


def convert(path, fgq, folder):
    """Why fgq does not convert the network on random images; nothing if it does."""
    from PIL import Image

    (folder / "calib").mkdir()
    rng = np.random.default_rng(SEED)
    for index in range(IMAGES):
        pixels = rng.integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "calib" / f"{index}.png")
    # Weights of 8 bits are found at once; what becomes of the operators does not depend on them.
    command = [fgq, "convert", path, "--calib", folder / "calib", "-o", folder / "packed.fgq", "--set", ".*=int8"]
    result = subprocess.run(command, capture_output=True, text=True)
    return None if result.returncode == 0 else first_line(result.stderr)


def first_line(text):
    """The first line that says something, without the path."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rsplit(".onnx: ", 1)[-1][:160] if lines else "no message"


if __name__ == "__main__":
    action, folder, *rest = sys.argv[1:]
    if action == "export":
        export(Path(folder), rest or NETWORKS)
    else:
        fgq, logits, *names = rest
        check(Path(folder), fgq, logits, names or NETWORKS)
