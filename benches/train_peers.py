#!/usr/bin/env python3
"""Times a step of training in fgq against PyTorch: the same network, batch and number of threads, in full precision.

  pip install numpy onnx torch                      (done by this script where they are missing)
  python benches/train_peers.py [--cases resnet20:128,resnet50:16] [--threads 2] [--rounds 5] [--steps 3] [--json]

A step is forward, mean cross entropy, backward, and stochastic gradient descent with momentum for all parameters. The
networks have random weights (seeded): ResNet-20 for 32x32 pixels with shortcuts that slice and pad, ResNet-50 for 224x224.
Batch normalization is folded on both sides: a convolution has weights and a bias, in fgq a gain besides. The peer reads the
same ONNX file and runs its nodes as functions of PyTorch, in f32 (no bf16).

  fgq                  `cargo bench --bench train_step`
  torch                values in the order channel, row, column
  torch_channels_last  values in the order row, column, channel
  torch_compile        the latter after torch.compile; needs a C++ compiler, and only runs where it is named in --peers

Every engine is a process of its own and runs alone; rounds take turns, so that whatever disturbs the machine disturbs all
alike. A round is one step that does not count and then --steps that do; the figure of an engine is the median over rounds of
a round's median. Ratios are fgq's time divided by the peer's: below 1 fgq is faster. --json prints one object: CASE_PEER →
ratio, for example resnet20:128_torch, and "milliseconds".
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers

PEERS = ["torch", "torch_channels_last"]


def install_missing():
    missing = [name for name in ("numpy", "onnx", "torch") if not importlib.util.find_spec(name)]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True, stdout=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="resnet20:128,resnet50:16", help="NETWORK:BATCH, with commas; a path is a network too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of a round")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, with commas")
    parser.add_argument("--work", type=Path, help="folder for the networks, kept and used again [default: temporary]")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# --- networks ---------------------------------------------------------------------------------------------------------


def resnet20(path):
    """He et al., section 4.2: three stages of three blocks, shortcuts that take every second position and pad channels."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    random, nodes, constants = np.random.default_rng(20), [], []

    def constant(name, values, kind):
        constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(op, inputs, name, **attributes):
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(value, name, outputs, inputs, stride=1):
        weights = random.standard_normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
        operands = [constant(f"{name}.weight", weights, np.float32), constant(f"{name}.bias", np.zeros(outputs), np.float32)]
        return node("Conv", [value, *operands], name, kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4)

    def shortcut(value, name, inputs, outputs):
        ends = [constant(f"{name}.{part}", values, np.int64)
                for part, values in [("starts", [0, 0]), ("ends", [1 << 30] * 2), ("axes", [2, 3]), ("steps", [2, 2])]]
        extra = (outputs - inputs) // 2
        pads = constant(f"{name}.pads", [0, extra, 0, 0, 0, extra, 0, 0], np.int64)
        return node("Pad", [node("Slice", [value, *ends], f"{name}.slice"), pads], f"{name}.pad")

    value, inputs = node("Relu", [conv("input", "conv1", 16, 3)], "conv1.relu"), 16
    for stage, width in enumerate([16, 32, 64], start=1):
        for index in range(3):
            name, stride = f"layer{stage}.{index}", 1 if width == inputs else 2
            inner = node("Relu", [conv(value, f"{name}.conv1", width, inputs, stride)], f"{name}.relu1")
            inner = conv(inner, f"{name}.conv2", width, width)
            value = value if stride == 1 else shortcut(value, name, inputs, width)
            value, inputs = node("Relu", [node("Add", [inner, value], f"{name}.sum")], f"{name}.relu"), width
    value = node("Flatten", [node("GlobalAveragePool", [value], "pool")], "flat", axis=1)
    last = [constant("fc.weight", 0.1 * random.standard_normal((10, 64)), np.float32), constant("fc.bias", np.zeros(10), np.float32)]
    node("Gemm", [value, *last], "logits", transB=1)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in [("input", [1, 3, 32, 32]), ("logits", [1, 10])]]
    graph = helper.make_graph(nodes, "resnet20", ends[:1], ends[1:], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


NETWORKS = {"resnet20": resnet20, "resnet50": peers.resnet50}


def prepare(network, work):
    """The network's file."""
    if network not in NETWORKS:
        return Path(network)
    path = work / f"{network}.onnx"
    if not path.exists():
        NETWORKS[network](path)
    return path


# --- PyTorch ----------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """The nodes of an ONNX file as functions of PyTorch; batch normalization is part of the convolution before it."""

    def __init__(self, path):
        import torch
        from onnx import helper, load, numpy_helper

        model = load(path)
        self.constants = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
        attributes = lambda node: {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        self.nodes = [(node.op_type, list(node.input), node.output[0], attributes(node)) for node in model.graph.node]
        self.input = next(value.name for value in model.graph.input if value.name not in self.constants)
        self.output = model.graph.output[0].name
        self.fold()
        used = [name for op, inputs, *_ in self.nodes if op in ("Conv", "Gemm") for name in inputs[1:]]
        self.parameters = {name: torch.nn.Parameter(self.constants[name]) for name in used}

    def fold(self):
        made_by = {output: (op, inputs) for op, inputs, output, _ in self.nodes}
        kept = []
        for op, inputs, output, attributes in self.nodes:
            if op != "BatchNormalization":
                kept.append((op, inputs, output, attributes))
                continue
            gamma, beta, mean, variance = (self.constants[name] for name in inputs[1:5])
            factor = gamma / (variance + attributes.get("epsilon", 1e-5)) ** 0.5
            weight = made_by[inputs[0]][1][1]
            bias = f"{inputs[0]}.bias"
            self.constants[weight] = self.constants[weight] * factor[:, None, None, None]
            self.constants[bias] = beta - mean * factor
            kept[-1] = ("Conv", [*kept[-1][1][:2], bias], output, kept[-1][3])
        self.nodes = kept

    def __call__(self, images):
        values = {**self.constants, **self.parameters, self.input: images}
        for op, inputs, output, attributes in self.nodes:
            values[output] = OPERATORS[op]([values[name] for name in inputs if name], attributes)
        return values[self.output]


def torch_conv(inputs, attributes):
    import torch

    top, left, bottom, right = attributes.get("pads", [0] * 4)
    assert (top, left) == (bottom, right), "padding is the same at both ends"
    options = dict(stride=attributes.get("strides", 1), dilation=attributes.get("dilations", 1))
    return torch.nn.functional.conv2d(*inputs, padding=(top, left), groups=attributes.get("group", 1), **options)


def torch_pool(inputs, attributes):
    import torch

    options = dict(stride=attributes["strides"], padding=attributes.get("pads", [0] * 4)[:2])
    return torch.nn.functional.max_pool2d(inputs[0], attributes["kernel_shape"], **options)


def torch_relu(inputs, _):
    import torch

    return torch.nn.functional.relu(inputs[0], inplace=True)


def torch_slice(inputs, _):
    value, (starts, ends, axes, steps) = inputs[0], (part.tolist() for part in inputs[1:])
    index = [slice(None)] * value.dim()
    for start, end, axis, step in zip(starts, ends, axes, steps):
        index[axis] = slice(start, end, step)
    return value[tuple(index)]


def torch_pad(inputs, _):
    import torch

    pads = inputs[1].tolist()
    half = len(pads) // 2
    return torch.nn.functional.pad(inputs[0], [pads[axis + end] for axis in reversed(range(half)) for end in (0, half)])


def torch_linear(inputs, attributes):
    import torch

    assert attributes.get("transB") == 1, "weights lie as PyTorch has them"
    return torch.nn.functional.linear(*inputs)


OPERATORS = {
    "Conv": torch_conv, "MaxPool": torch_pool, "Slice": torch_slice, "Pad": torch_pad, "Gemm": torch_linear,
    "Relu": torch_relu,
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
    "Flatten": lambda inputs, _: inputs[0].flatten(1),
}


def torch_step(peer, path, batch):
    """A function that takes one step."""
    import torch

    torch.manual_seed(0)
    _, shape = peers.input_of(path)
    network = TorchNetwork(path)
    images = 2 * torch.rand(batch, *shape) - 1
    if peer != "torch":
        images = images.to(memory_format=torch.channels_last)
        for parameter in network.parameters.values():
            if parameter.dim() == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
    answer = torch.compile(network.__call__) if peer == "torch_compile" else network
    labels = torch.arange(batch) % answer(images).shape[1]
    optimiser = torch.optim.SGD(network.parameters.values(), lr=1e-6, momentum=0.9)

    def step():
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(answer(images), labels).backward()
        optimiser.step()

    return step


def worker(peer, path, batch, threads):
    """For each line on stdin, that many steps; answers with their median in milliseconds."""
    import torch

    torch.set_num_threads(int(threads))
    step = torch_step(peer, path, int(batch))
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(1 + int(line)):
            start = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - start))
        print(statistics.median(times[1:]), flush=True)


# --- comparison -------------------------------------------------------------------------------------------------------


def engines(options, work):
    for case in options.cases.split(","):
        network, batch = case.rsplit(":", 1)
        operands = [prepare(network, work), batch, options.threads]
        bench = ["cargo", "bench", "--quiet", "--manifest-path", peers.ROOT / "Cargo.toml", "--bench", "train_step", "--"]
        yield peers.Peer(f"{case}_fgq", [*bench, *operands], os.environ)
        for peer in options.peers.split(","):
            yield peers.Peer(f"{case}_{peer}", [sys.executable, __file__, "worker", peer, *operands], os.environ)


def main():
    install_missing()
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        running = list(engines(options, work))
        for _ in range(options.rounds):
            for engine in running:
                engine.round(options.steps)
        for engine in running:
            engine.close()
    report(options, running)


def report(options, running):
    milliseconds = {engine.name: statistics.median(engine.times) for engine in running}
    pairs = [(f"{case}_{peer}", f"{case}_fgq") for case in options.cases.split(",") for peer in options.peers.split(",")]
    ratios = {name: milliseconds[own] / milliseconds[name] for name, own in pairs}
    if options.json:
        context = {"cpu": peers.cpu_name(), "threads": options.threads}
        print(json.dumps({**ratios, **context, "milliseconds": milliseconds}, indent=2))
        return
    print(f"{peers.cpu_name()}, {options.threads} threads; medians of {options.rounds} rounds of {options.steps} steps\n")
    print(f"{'engine':<36}{'ms a step':>12}{'fgq / it':>10}")
    for name, time_of in milliseconds.items():
        print(f"{name:<36}{time_of:>12.1f}" + (f"{ratios[name]:10.2f}" if name in ratios else ""))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main()
