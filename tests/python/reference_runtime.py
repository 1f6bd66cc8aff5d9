"""An independent implementation of fgq's integer runtime, in NumPy, after docs/format.md and docs/numerics.md alone.

It shares no code with the Rust program and is written for reading, not for speed. Its logits must equal those of
`fgq` to the bit.

    pip install numpy safetensors                                     # Python 3.10 or later
    python tests/python/reference_runtime.py model.fgq pixels.npy     # u8, images x rows x columns x channels
    python tests/python/reference_runtime.py model.fgq pixels.npy 2   # a model that switches, at width 2

The widths of a model that switches are one for all layers, one for each (`2,3,1`), or the name of a setting.
Activations are arrays `images x rows x columns x channels` of codes; all arithmetic is in 64-bit integers, which no
valid model can overflow.
"""

import copy
import json
import math
import pathlib
import sys
import zlib

import numpy as np
from safetensors import safe_open

# --- The file (docs/format.md) ------------------------------------------------------------------------------------


def read(path):
    """The metadata of a packed model (a dict) and its tensors by name."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    data = pathlib.Path(path).read_bytes()
    if set(metadata) != {"fgq"}:
        raise ValueError("the metadata must have the one key 'fgq'")
    model = json.loads(metadata["fgq"])
    if model["version"] not in (1, 2, 3, 4):
        raise ValueError(f"format version {model['version']}, not 1 to 4")
    if model["version"] >= 3 and model["checksum"] != checksum(data):
        raise ValueError("the checksum does not fit: the file is damaged")
    return model, tensors


BEFORE_CHECKSUM = rb'{"__metadata__":{"fgq":"{\"checksum\":\"'


def checksum(data):
    """CRC-32 of a file, from version 3 on, with zeros for the checksum's eight digits, in hexadecimal."""
    start = 8 + len(BEFORE_CHECKSUM)
    if data[8:start] != BEFORE_CHECKSUM:
        raise ValueError("the file does not begin with its checksum")
    return f"{zlib.crc32(data[:start] + b'00000000' + data[start + 8:]):08x}"


def operator(node):
    """Name and parameters of a node's operator; operators without parameters are plain strings."""
    op = node["op"]
    return (op, None) if isinstance(op, str) else next(iter(op.items()))


def expanded_weights(conv, name, tensors):
    """Weights as integers: output channel, kernel row, kernel column, input channel."""
    codes = tensors[f"{name}.codes"]
    if conv["weights"] == "int8":
        return codes.astype(np.int64)
    shape = (conv["outputs"], *conv["window"]["kernel"], conv["group_inputs"])
    if "levels" in conv["weights"]:
        return general_weights(conv["weights"], shape, codes, tensors.get(f"{name}.scales"))
    if "int4" in conv["weights"]:
        halves = np.stack([codes & 15, codes >> 4], axis=1).reshape(-1)[: np.prod(shape)].astype(np.int64)
        return ((halves ^ 8) - 8).reshape(shape) * group_scales(conv, conv["weights"]["int4"].get("group"), name, tensors)
    bits = (codes[:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(-1)[: np.prod(shape)]
    signs = np.array([0, 1, 0, -1])[bits].reshape(shape)
    return signs * group_scales(conv, conv["weights"]["ternary"]["group"], name, tensors)


def general_weights(record, shape, codes, scales):
    """Any precision from version 3 on: levels times scales, planes added up; at a width that it may have."""
    levels = record["levels"]
    levels = np.arange(-levels, levels + 1) if isinstance(levels, int) else np.array(levels)
    planes, count = record.get("planes", 1), int(np.prod(shape))
    if planes == 1 and "width" in record:
        levels = upper_bits(levels, record["width"])
    weights = levels[unpacked(record["packing"], len(levels), codes, planes * count)].reshape(planes, *shape)
    if "group" in record:
        groups = (planes, *shape[:3], -(-shape[3] // record["group"]))
        scales = unpacked({"bits": record["scale_bits"]}, 0, scales, int(np.prod(groups))).reshape(groups)
        weights = weights * scales.repeat(min(record["group"], shape[3]), axis=4)[..., : shape[3]]
    return weights[: record.get("width", planes)].sum(axis=0)


def upper_bits(levels, bits):
    """Levels of `int` and their bits, as those of fewer bits."""
    return np.maximum(levels >> len(levels).bit_length() - bits, 1 - (1 << bits - 1))


def unpacked(packing, base, data, count):
    """`count` numbers: bits one after another from the lowest, or digits that multiplications carry out of a byte."""
    if "bits" in packing:
        bits = np.unpackbits(data, bitorder="little")[: count * packing["bits"]].reshape(count, -1)
        return (bits.astype(np.int64) << np.arange(packing["bits"])).sum(axis=1)
    rest, digits = data.astype(np.int64), []
    for _ in range(packing["digits"]):
        digits.append(rest * base >> 8)
        rest = rest * base % 256
    return np.stack(digits, axis=1).reshape(-1)[:count]


def group_scales(conv, group, name, tensors):
    """The scale of every weight: output channel, kernel row, kernel column, input channel; 1 without groups."""
    if group is None:
        return 1
    scales = tensors[f"{name}.scales"].astype(np.int64).repeat(group, axis=3)
    return scales[..., : conv["group_inputs"]]


# --- Fixed point (docs/numerics.md) -------------------------------------------------------------------------------


def rounding_shift_right(value, shift):
    return (value + ((1 << shift) >> 1)) >> shift


def saturate_i16(value):
    return np.clip(value, -32768, 32767)


def saturate_i32(value):
    return np.clip(value, -(1 << 31), (1 << 31) - 1)


def low_half(words):
    """The low 16 bits as signed numbers: the values of multipliers."""
    return (words & 0xFFFF ^ 0x8000) - 0x8000


def multiply_high(a, b):
    return (a * b + (1 << 14)) >> 15


def requantize(total, shift, multiplier):
    return multiply_high(saturate_i16(rounding_shift_right(total, shift)), multiplier)


def rescale(code, zero_point, scale):
    return multiply_high((code - zero_point) << scale["shift"], scale["value"])


def to_code(value, zero_point, fraction, low, high):
    offset = (zero_point << fraction) + ((1 << fraction) >> 1)
    return np.clip(saturate_i16(value + offset) >> fraction, low, high)


# --- Widths (docs/format.md, "At other widths") --------------------------------------------------------------------


def switching_layers(model):
    """Indices of the layers that switch, in execution order."""
    return [layer["node"] for layer in model.get("switching", {}).get("layers", []) if layer["own"]]


def widths_of(model, setting):
    """A width for each layer that switches, from text: one for all, one for each, or the name of a setting."""
    named = {known["name"]: known["widths"] for known in model["switching"]["settings"]}
    if setting in named:
        return named[setting]
    widths = [int(width) for width in setting.split(",")]
    return widths * len(switching_layers(model)) if len(widths) == 1 else widths


def at(model, tensors, widths):
    """The model and the tensors at some widths, one for each layer that switches; then it switches no more."""
    switching, known = model["switching"], model["switching"]["widths"]
    nodes, tensors = copy.deepcopy(model["nodes"]), dict(tensors)
    places = {node: known.index(width) for node, width in zip(switching_layers(model), widths, strict=True)}
    before = convolutions_before(nodes)
    for layer in switching["layers"]:
        pair = pair_of(before, places, len(known), layer["node"])
        switch_layer(layer, nodes[layer["node"]], tensors, pair, known[places.get(layer["node"], 0)])
    for narrow in switching["copies"]:
        reader = next(index for index, node in enumerate(nodes) if narrow["node"] in node["inputs"])
        if places[reader] < len(narrow["lower"]):
            by, quantizer = narrow["lower"][places[reader]]
            nodes[narrow["node"]] |= {"op": {"narrow": by}, "quantizer": quantizer}
    return {key: value for key, value in model.items() if key != "switching"} | {"nodes": nodes}, tensors


def switch_layer(layer, node, tensors, pair, width):
    """Gives a node and its tensors the weights of a width, biases and multipliers of a pair."""
    if layer["own"]:
        node["op"]["conv"]["weights"]["width"] = width
    if pair < len(layer["bias_shifts"]):
        name, changes = f"{node['name']}.requant", tensors[f"{node['name']}.changes"][pair]
        shifts = layer["gain_shifts"][pair], layer["bias_shifts"][pair]
        tensors[name] = changed(tensors[name], changes, *shifts, node["op"]["conv"]["store"])


def convolutions_before(nodes):
    """Of every node the last convolution whose codes reach its first input without passing another; -1 for none."""
    last = []
    for index, node in enumerate(nodes):
        through = max((last[i] for i in node["inputs"]), default=-1)
        last.append(index if operator(node)[0] == "conv" else through)
    return [last[node["inputs"][0]] if node["inputs"] else -1 for node in nodes]


def pair_of(before, places, widths, layer):
    """The number of a layer's pair of widths."""
    return places.get(before[layer], 0) * (widths if layer in places else 1) + places.get(layer, 0)


def changed(requant, changes, gain_shift, bias_shift, store):
    """Biases, and multipliers or factors of logits, at a pair of widths."""
    (bias, words), (gain, steps) = requant.astype(np.int64).T, changes.astype(np.int64).T
    if "logits" in store:
        words = saturate_i32(rounding_shift_right(words * (128 + gain), 7 - gain_shift))
        factors, bits = words, np.full_like(words, store["logits"]["shift"] + bias_shift)
    else:
        words = fitting(rounding_shift_right(low_half(words) * (128 + gain), 7), (words >> 16) - gain_shift)
        factors, bits = low_half(words), 15 + (words >> 16) + bias_shift
    bias = saturate_i32(shifted_right(bias, gain_shift))
    bias = saturate_i32(bias + saturate_i32(quotients(steps << np.clip(bits, 0, 50), factors)))
    return np.stack([bias, words], axis=1).astype(np.int32)


def quotients(dividends, divisors):
    """Without their fractions, towards zero; 0 where there is none."""
    divisors_or_one = np.where(divisors == 0, 1, abs(divisors))
    signs = np.sign(dividends) * np.sign(divisors)
    return signs * (abs(dividends) // divisors_or_one)


def shifted_right(value, shift):
    return rounding_shift_right(value, shift) if shift >= 0 else value << -shift


def fitting(values, shifts):
    """Words of multipliers whose values and shifts may be out of range."""
    while (large := (abs(values) > 32767) | (shifts > 30)).any():
        values = np.where(large, rounding_shift_right(values, 1), values)
        shifts = shifts - large
    values = np.clip(values << np.maximum(-shifts, 0), -32767, 32767)
    return np.maximum(shifts, 0) << 16 | values & 0xFFFF


# --- Windows ------------------------------------------------------------------------------------------------------


def with_defaults(window):
    return {"dilation": [1, 1], "pads": [0, 0, 0, 0], "ceil": False, **window}


def output_extent(window, axis, size):
    kernel, stride, dilation = (window[key][axis] for key in ("kernel", "stride", "dilation"))
    before, after = window["pads"][axis], window["pads"][axis + 2]
    slack = size + before + after - ((kernel - 1) * dilation + 1)
    steps = slack // stride
    extra = window["ceil"] and slack % stride != 0 and (steps + 1) * stride < size + before
    return steps + 1 + int(extra)


def taps(window, x, fill):
    """For every kernel position, row by row, the codes under it; `fill` stands outside the image."""
    rows, columns = (output_extent(window, axis, x.shape[1 + axis]) for axis in (0, 1))
    (sy, sx), (dy, dx), (top, left) = window["stride"], window["dilation"], window["pads"][:2]
    for ky in range(window["kernel"][0]):
        for kx in range(window["kernel"][1]):
            y, inside_y = source(np.arange(rows) * sy + ky * dy - top, x.shape[1])
            c, inside_x = source(np.arange(columns) * sx + kx * dx - left, x.shape[2])
            inside = (inside_y[:, None] & inside_x)[None, :, :, None]
            yield np.where(inside, x[:, y[:, None], c], fill)


def source(index, size):
    inside = (index >= 0) & (index < size)
    return np.where(inside, index, 0), inside


def counted_taps(window, include_pad, x):
    """How many elements each mean counts: rows x columns."""
    def along(axis):
        size, before, after = x.shape[1 + axis], window["pads"][axis], window["pads"][axis + 2]
        first = np.arange(output_extent(window, axis, size)) * window["stride"][axis]
        at = first[:, None] + np.arange(window["kernel"][axis]) * window["dilation"][axis]
        low, high = (0, before + size + after) if include_pad else (before, before + size)
        return ((at >= low) & (at < high)).sum(axis=1)
    return along(0)[:, None] * along(1)


# --- Operators ----------------------------------------------------------------------------------------------------


def convolution_sums(conv, weights, bias, x, zero_points):
    """`bias + sum of weight x (code - zero point)`; the padding contributes nothing."""
    distances = x - zero_points
    groups, inputs = conv["groups"], conv["group_inputs"]
    parts = []
    for group in range(groups):
        own = weights[group * conv["outputs"] // groups : (group + 1) * conv["outputs"] // groups]
        part = distances[..., group * inputs : (group + 1) * inputs]
        patches = np.concatenate(list(taps(with_defaults(conv["window"]), part, 0)), axis=3)
        parts.append(patches @ own.reshape(len(own), -1).T)
    return bias + np.concatenate(parts, axis=3)


def convolution(conv, node, tensors, inputs, zeros):
    bias, words = tensors[f"{node['name']}.requant"].astype(np.int64).T
    weights = expanded_weights(conv, node["name"], tensors)
    total = convolution_sums(conv, weights, bias, inputs[0], zeros[0])
    if "logits" in conv["store"]:
        shift = conv["store"]["logits"]["shift"]
        return saturate_i32(rounding_shift_right(total * words, shift))
    store = conv["store"]["codes"]
    value = requantize(total, words >> 16, low_half(words))
    if store.get("residual") is not None:
        value = saturate_i16(value + rescale(inputs[1], single(zeros[1]), store["residual"]))
    return to_code(value, node["quantizer"]["zero_point"], store["fraction"], store["low"], store["high"])


def single(zero_points):
    """Operators other than convolutions take the first zero point of the pixels."""
    return int(np.ravel(zero_points)[0])


def add(p, node, a, b, zero_a, zero_b):
    total = saturate_i16(rescale(a, zero_a, p["left"]) + rescale(b, zero_b, p["right"]))
    return stored(total, node, p["fraction"])


def stored(value, node, fraction=0):
    return to_code(value, node["quantizer"]["zero_point"], fraction, 0, node["quantizer"]["max"])


def average_pool(p, node, x, zero):
    window = with_defaults(p["window"])
    totals = sum(taps(window, x - zero, 0))
    counts = counted_taps(window, p["count_include_pad"], x)
    by = [p["by_count"][max(count, 1) - 1] for count in counts.ravel()]
    shift, value = (np.array([m[key] for m in by]).reshape(*counts.shape, 1) for key in ("shift", "value"))
    return stored(requantize(totals, shift, value), node)


def inverse_root(value):
    """Factor and shift that make n to n / sqrt(value) in units of 2^-16."""
    doublings = (62 - value.bit_length()) // 2
    root = math.isqrt(value << 2 * doublings)
    return (1 << 60) // root, 44 - doublings


def normalised(total, squares, count, epsilon, distances):
    """Distances less their mean, divided by their deviation, in units of 2^-16."""
    factor, shift = inverse_root(int(count * squares - total**2) + epsilon)
    return rounding_shift_right((count * distances - total) * factor, shift)


def group_norm(p, node, requant, x, zero):
    n, h, w, c = x.shape
    bias, words = requant.astype(np.int64).T
    distances = (x - zero).reshape(n, h * w, p["groups"], -1)
    parts = [(image, slice(None)) for image in range(n)]
    if p["span"] == "position":
        parts = [(image, slice(place, place + 1)) for image in range(n) for place in range(h * w)]
    values = np.empty_like(distances)
    for image, places in parts:
        for group in range(p["groups"]):
            own = distances[image, places, group]
            values[image, places, group] = normalised(own.sum(), (own**2).sum(), own.size, p["epsilon"], own)
    value = saturate_i16(requantize(values.reshape(x.shape), words >> 16, low_half(words)) + bias)
    return stored(value, node, p["fraction"])


def cut(p, x):
    channels, rows, columns = (slice(*limits) for limits in zip(p["start"], p["end"], p["step"]))
    return x[:, rows, columns, channels]


def padded(p, x, zero):
    channels, rows, columns = zip(p["before"], p["after"])
    return np.pad(x, [(0, 0), rows, columns, channels], constant_values=zero)


def shuffled(groups, x):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(n, h, w, c)


def looked_up(table, x):
    return table[0][x] if len(table) == 1 else table[np.arange(len(table)), x]


def run_node(node, tensors, inputs, zeros):
    kind, p = operator(node)
    if kind == "conv":
        return convolution(p, node, tensors, inputs, zeros)
    x, zero = inputs[0], single(zeros[0])
    match kind:
        case "table":
            return looked_up(tensors[f"{node['name']}.table"].astype(np.int64), x)
        case "add":
            return add(p, node, x, inputs[1], zero, single(zeros[1]))
        case "mul":
            product = (x - zero) * (inputs[1] - single(zeros[1]))
            return stored(requantize(product, p["shift"], p["value"]), node)
        case "narrow":
            return stored(rescale(x, zero, p), node)
        case "concat":
            return np.concatenate(inputs, axis=3)
        case "slice":
            return cut(p, x)
        case "pad":
            return padded(p, x, zero)
        case "max_pool":
            return np.max(list(taps(with_defaults(p), x, 0)), axis=0)
        case "average_pool":
            return average_pool(p, node, x, zero)
        case "group_norm":
            return group_norm(p, node, tensors[f"{node['name']}.requant"], x, zero)
        case "global_average_pool":
            total = (x - zero).sum(axis=(1, 2), keepdims=True)
            return stored(requantize(total, p["shift"], p["value"]), node)
        case "global_sum":
            return (x - zero).sum(axis=(1, 2), keepdims=True)
        case "flatten":
            return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)
        case "channel_shuffle":
            return shuffled(p["groups"], x)
    raise ValueError(f"unknown operator {kind}")


def zero_points(node):
    """Zero points of a node's codes: one per channel for the pixels, else one for all."""
    kind, p = operator(node)
    return np.array(p["pad"] if kind == "input" else [node["quantizer"]["zero_point"]], np.int64)


def run(model, tensors, pixels, trace=None):
    """The logits of `images x rows x columns x channels` pixels; `trace` sees each node's name and value."""
    nodes, values = model["nodes"], [pixels.astype(np.int64)]
    for node in nodes[1:]:
        inputs = [values[i] for i in node["inputs"]]
        values.append(run_node(node, tensors, inputs, [zero_points(nodes[i]) for i in node["inputs"]]))
        if trace:
            trace(node["name"], values[-1])
    kind, p = operator(nodes[-1])
    is_sum = kind == "global_sum" or (kind == "conv" and "logits" in p["store"])
    logits = values[-1] if is_sum else values[-1] - single(zero_points(nodes[-1]))
    return logits.reshape(len(pixels), -1).astype(np.int32)


if __name__ == "__main__":
    file = read(sys.argv[1])
    if len(sys.argv) > 3:
        file = at(*file, widths_of(file[0], sys.argv[3]))
    for row in run(*file, np.load(sys.argv[2])):
        print(*row)
