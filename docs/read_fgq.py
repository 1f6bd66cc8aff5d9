"""A reader of packed models in a few lines: lists the layers, and unpacks their weights to integers.

    pip install numpy safetensors
    python docs/read_fgq.py model.fgq                   # one line per layer
    python docs/read_fgq.py model.fgq LAYER weights.npy # the i8 weights of one layer: output, row, column, input
    python docs/read_fgq.py model.fgq LAYER w.npy WIDTH # those that a layer that switches has at a width
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


def unpacked(packing, base, data, count):
    """`count` numbers: bits one after another from the lowest, or digits that multiplications carry out of a byte."""
    if "bits" in packing:
        bits = np.unpackbits(data, bitorder="little")[: count * packing["bits"]].reshape(count, -1)
        return (bits.astype(int) << np.arange(packing["bits"])).sum(axis=1)
    carried = [(data.astype(int) * base**n % 256 * base) >> 8 for n in range(packing["digits"])]
    return np.stack(carried, axis=1).ravel()[:count]


def weights(name, conv, tensors, width=None):
    """The weights of a layer as i8, at any width: output channel, kernel row, kernel column, input channel."""
    record, shape = conv["weights"], (conv["outputs"], *conv["window"]["kernel"], conv["group_inputs"])
    if "levels" not in record:
        raise SystemExit("a file of version 1 or 2: see docs/format.md, section 7")
    levels, planes = record["levels"], record.get("planes", 1)
    levels = np.arange(-levels, levels + 1) if isinstance(levels, int) else np.array(levels)
    codes = unpacked(record["packing"], len(levels), tensors[f"{name}.codes"], planes * int(np.prod(shape)))
    if width and planes == 1:
        levels = np.maximum(levels >> len(levels).bit_length() - width, 1 - (1 << width - 1))
    values = levels[codes].reshape(planes, *shape)
    if "group" in record:
        groups = (planes, *shape[:3], -(-shape[3] // record["group"]))
        scales = unpacked({"bits": record["scale_bits"]}, 0, tensors[f"{name}.scales"], int(np.prod(groups)))
        values = values * scales.reshape(groups).repeat(min(record["group"], shape[3]), axis=4)[..., : shape[3]]
    return values[:width].sum(axis=0).astype(np.int8)


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
    if len(sys.argv) > 3:
        width = int(sys.argv[4]) if len(sys.argv) > 4 else None
        return np.save(sys.argv[3], weights(sys.argv[2], layers[sys.argv[2]], tensors, width))
    if "switching" in model:
        print(f"layers switch between the widths {model['switching']['widths']}")
    for name, conv in layers.items():
        w = weights(name, conv, tensors)
        stored = sum(t.nbytes for key, t in tensors.items() if key.rpartition(".")[0] == name)
        print(f"{name}: {w.shape} {json.dumps(conv['weights'])}, {np.mean(w == 0):.1%} zeros, {stored} bytes{figures(name, layers, tensors)}")


if __name__ == "__main__":
    main()
