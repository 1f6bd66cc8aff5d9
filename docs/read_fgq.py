"""A reader of packed models in a few lines: lists the layers, and unpacks their weights to integers.

    pip install numpy safetensors
    python docs/read_fgq.py model.fgq                   # one line per layer
    python docs/read_fgq.py model.fgq LAYER weights.npy # the i8 weights of one layer: output, row, column, input
"""

import json
import sys

import numpy as np
from safetensors import safe_open


def read(path):
    """The metadata and the tensors by name."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fgq"]), {name: file.get_tensor(name) for name in file.keys()}


def convolutions(model):
    """Name and parameters of every convolution, in execution order."""
    return {n["name"]: n["op"]["conv"] for n in model["nodes"] if isinstance(n["op"], dict) and "conv" in n["op"]}


def ternary_weights(name, conv, tensors):
    """Code times scale for every weight: output channel, kernel row, kernel column, input channel."""
    shape = (conv["outputs"], *conv["window"]["kernel"], conv["group_inputs"])
    packed = tensors[f"{name}.codes"]
    two_bits = packed[:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3  # four codes a byte, the first lowest
    codes = np.array([0, 1, 0, -1], np.int8)[two_bits.ravel()[: np.prod(shape)]].reshape(shape)
    group = conv["weights"]["ternary"]["group"]
    scales = tensors[f"{name}.scales"].astype(np.int8).repeat(group, axis=3)[..., : shape[3]]
    return codes * scales


def int4_weights(name, conv, tensors):
    """Code, times scale if there are groups, for every weight, in the same order."""
    shape = (conv["outputs"], *conv["window"]["kernel"], conv["group_inputs"])
    halves = np.stack([tensors[f"{name}.codes"] << 4, tensors[f"{name}.codes"]], axis=1)  # the first in the low half
    codes = (halves.view(np.int8) >> 4).ravel()[: np.prod(shape)].reshape(shape)
    group = conv["weights"]["int4"].get("group")
    if group is None:
        return codes
    return codes * tensors[f"{name}.scales"].astype(np.int8).repeat(group, axis=3)[..., : shape[3]]


def weights(name, conv, tensors):
    """The weights of a layer as i8."""
    if conv["weights"] == "int8":
        return tensors[f"{name}.codes"]
    return int4_weights(name, conv, tensors) if "int4" in conv["weights"] else ternary_weights(name, conv, tensors)


def figures(name, layers, tensors):
    """What the conversion measured of a layer, as text: signal to noise in dB; nothing if it did not measure."""
    if "fidelity" not in tensors:
        return ""
    row = tensors["fidelity"][list(layers).index(name)] / 100
    ratios = zip(("weights", "local", "rounding", "cumulative"), row)
    return "".join(f", {key} {ratio:.1f} dB" for key, ratio in ratios if ratio >= -120)


def main():
    model, tensors = read(sys.argv[1])
    layers = convolutions(model)
    if len(sys.argv) == 4:
        return np.save(sys.argv[3], weights(sys.argv[2], layers[sys.argv[2]], tensors))
    for name, conv in layers.items():
        w = weights(name, conv, tensors)
        stored = sum(t.nbytes for key, t in tensors.items() if key.rpartition(".")[0] == name)
        print(f"{name}: {w.shape} {json.dumps(conv['weights'])}, {np.mean(w == 0):.1%} zeros, {stored} bytes{figures(name, layers, tensors)}")


if __name__ == "__main__":
    main()
