#!/usr/bin/env python3
"""Times fgq against ONNX Runtime and OpenVINO on the same model, image and number of threads.

  pip install numpy onnx onnxruntime openvino       (done by this script where they are missing)
  python benches/peers.py [--model X.onnx] [--group 4] [--threads 1,2] [--rounds 7] [--isa avx2] [--json]

Without --model it makes a ResNet-50 with random weights (seeded) for 224x224 pixels. Every engine is a process of its
own and runs alone; rounds take turns, so that whatever disturbs the machine disturbs all alike. A round of an engine is
a few runs that do not count and then --runs that do; the figure of an engine is the median over rounds of a round's
median. Ratios are fgq's time divided by the peer's: below 1 fgq is faster.

  fgq              `fgq convert --method closed-form` on seeded noise, then `fgq bench`
  onnxruntime_f32  the model as it is
  onnxruntime_int8 onnxruntime.quantization: QDQ, weights per channel, u8 activations
  openvino_f32     the model as it is, f32 (no bf16)
  openvino_int8    the QDQ model; refused unless its convolutions really run in int8

--isa caps the instruction set on both sides (ONEDNN_MAX_CPU_ISA, FGQ_KERNELS); ONNX Runtime cannot be capped and is
left out then. --json prints one object: PEER_THREADS → ratio, for example openvino_int8_1, and "milliseconds".
"""
import argparse
import importlib.util
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ["onnxruntime_f32", "onnxruntime_int8", "openvino_f32", "openvino_int8"]
# fgq's name of a cap → oneDNN's
ISAS = {"amx": "AVX512_CORE_AMX", "avx512-vnni": "AVX512_CORE_VNNI", "avx-vnni": "AVX2_VNNI", "avx2": "AVX2"}
WARM_UP = 3
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def install_missing():
    missing = [name for name in ("numpy", "onnx", "onnxruntime", "openvino") if not importlib.util.find_spec(name)]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True, stdout=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an image classifier [default: ResNet-50 with random weights]")
    parser.add_argument("--group", default="4", help="group size N of the ternary weights")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, with commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20, help="runs of a round")
    parser.add_argument("--isa", choices=ISAS, help="cap of the instruction set [default: none]")
    parser.add_argument("--avx2", action="store_const", dest="isa", const="avx2", help="the same as --isa avx2")
    parser.add_argument("--peers", default=",".join(PEERS), help="which, with commas")
    parser.add_argument("--fgq", type=Path, default=ROOT / "target/release/fgq", help="built if it is the default and missing")
    parser.add_argument("--work", type=Path, help="folder for the models, kept and used again [default: temporary]")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# --- models -----------------------------------------------------------------------------------------------------------


def resnet50(path):
    """Conv, BatchNormalization, Relu, residual additions as a checkpoint has them; random, but of sane size."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    random, nodes, weights = np.random.default_rng(50), [], []

    def constant(name, values):
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(op, inputs, name, **attributes):
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(value, name, outputs, inputs, size, stride=1, gain=1.0):
        scale = (2 / (inputs * size * size)) ** 0.5
        kernel = constant(f"{name}.weight", random.standard_normal((outputs, inputs, size, size)) * scale)
        window = dict(kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)
        value = node("Conv", [value, kernel], f"{name}.conv", **window)
        norm = [gain * np.ones(outputs), 0.1 * random.standard_normal(outputs), np.zeros(outputs), np.ones(outputs)]
        norm = [constant(f"{name}.{part}", values) for part, values in zip(["gamma", "beta", "mean", "var"], norm)]
        return node("BatchNormalization", [value, *norm], f"{name}.norm", epsilon=1e-5)

    def block(value, name, inputs, width, stride):
        inner = node("Relu", [conv(value, f"{name}.conv1", width, inputs, 1)], f"{name}.relu1")
        inner = node("Relu", [conv(inner, f"{name}.conv2", width, width, 3, stride)], f"{name}.relu2")
        inner = conv(inner, f"{name}.conv3", 4 * width, width, 1, gain=0.3)
        if inputs != 4 * width:
            value = conv(value, f"{name}.downsample", 4 * width, inputs, 1, stride)
        return node("Relu", [node("Add", [inner, value], f"{name}.sum")], f"{name}.relu")

    value = node("Relu", [conv("input", "conv1", 64, 3, 7, 2)], "conv1.relu")
    value = node("MaxPool", [value], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inputs = 64
    for stage, (count, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for index in range(count):
            stride = 2 if index == 0 and stage > 1 else 1
            value, inputs = block(value, f"layer{stage}.{index}", inputs, width, stride), 4 * width
    value = node("Flatten", [node("GlobalAveragePool", [value], "pool")], "flat", axis=1)
    last = [constant("fc.weight", 0.02 * random.standard_normal((1000, 2048))), constant("fc.bias", np.zeros(1000))]
    node("Gemm", [value, *last], "logits", transB=1)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in [("input", [1, 3, 224, 224]), ("logits", [1, 1000])]]
    graph = helper.make_graph(nodes, "resnet50", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def input_of(path):
    """Name, channels, height, width."""
    from onnx import load

    model = load(path, load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in constants)
    shape = [axis.dim_value for axis in first.type.tensor_type.shape.dim]
    if len(shape) != 4 or not all(shape[1:]):
        sys.exit(f"{path}: only the batch size may be open, the input is {shape}")
    return first.name, shape[1:]


def noise(seed, shape):
    """The pixels of `fgq bench --seed`: splitmix64, the highest byte of each number; rows, columns, channels."""
    import numpy as np

    channels, height, width = shape
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, channels * height * width + 1, dtype=np.uint64)
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(56)).astype(np.uint8).reshape(height, width, channels)


def normalised(pixels):
    import numpy as np

    mean, std = (np.resize(np.float32(values), pixels.shape[2]) for values in (MEAN, STD))
    return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1)[None], np.float32)


def quantize(source, target, name, shape):
    import onnxruntime.quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(q.CalibrationDataReader):
        def __init__(self):
            self.images = iter([{name: normalised(noise(seed, shape))} for seed in range(1, 5)])

        def get_next(self):
            return next(self.images, None)

    prepared = target.with_suffix(".pre.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    kinds = dict(activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)
    q.quantize_static(prepared, target, Images(), quant_format=q.QuantFormat.QDQ, per_channel=True, **kinds)


def write_png(path, pixels):
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    checksum = lambda kind, data: struct.pack(">I", zlib.crc32(kind + data))
    parts = [struct.pack(">I", len(data)) + kind + data + checksum(kind, data) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def convert(options, source, target, shape):
    images = target.parent / "calibration"
    images.mkdir(exist_ok=True)
    for seed in range(1, 5):
        write_png(images / f"{seed}.png", noise(seed, shape))
    size = f"{shape[1]}x{shape[2]}"
    values = [",".join(map(str, list(part)[: shape[0]])) for part in (MEAN, STD)]
    command = [options.fgq, "convert", source, "--calib", images, "--method", "closed-form", "--group", options.group,
               "--input-size", size, "--resize", "none", "--crop", size, "--mean", values[0], "--std", values[1], "-o", target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if options.json else None)


def prepare(options, work):
    """Paths of the f32, int8 and packed models."""
    source = options.model or work / "resnet50.onnx"
    if not source.exists():
        resnet50(source)
    if not options.fgq.exists():
        subprocess.run(["cargo", "build", "--release", "--bin", "fgq"], cwd=ROOT, check=True, stdout=sys.stderr)
    name, shape = input_of(source)
    precision = options.group.replace("/", "-")
    int8, packed = work / f"{source.stem}.qdq.onnx", work / f"{source.stem}.{precision}.fgq"
    if any("int8" in peer for peer in options.peers) and not int8.exists():
        quantize(source, int8, name, shape)
    if not packed.exists():
        convert(options, source, packed, shape)
    return source, int8, packed


# --- engines ----------------------------------------------------------------------------------------------------------


def openvino_runner(path, threads, shape):
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape([1, *shape])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if not path.endswith(".qdq.onnx"):
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    if path.endswith(".qdq.onnx"):
        check_int8(compiled)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(normalised(noise(0, shape))))
    return request.infer


def check_int8(compiled):
    """At most the first convolution and the classifier may run in floating point."""
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    text = lambda entry, key: str(entry[key].astype(str) if hasattr(entry[key], "astype") else entry[key])
    layers = [text(entry, "runtimePrecision") for entry in info
              if "runtimePrecision" in entry and text(entry, "layerType") in ("Convolution", "FullyConnected", "MatMul")]
    floats = [precision for precision in layers if precision.lower() not in ("u8", "i8")]
    if not layers or len(floats) > 2:
        sys.exit(f"OpenVINO runs {len(floats)} of {len(layers)} layers in {sorted(set(floats))} instead of int8")


def onnxruntime_runner(path, threads, shape):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: normalised(noise(0, shape))}
    return lambda: session.run(None, feed)


def worker(peer, path, threads, *shape):
    """For each line on stdin, that many runs; answers with their median in milliseconds."""
    make = openvino_runner if peer.startswith("openvino") else onnxruntime_runner
    run = make(path, int(threads), list(map(int, shape)))
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for index in range(WARM_UP + int(line)):
            start = time.perf_counter()
            run()
            if index >= WARM_UP:
                times.append(1e3 * (time.perf_counter() - start))
        print(statistics.median(times), flush=True)


class Peer:
    """A process with one engine at one number of threads, which answers as `worker` does."""

    def __init__(self, name, command, environment):
        self.name, self.times = name, []
        self.process = subprocess.Popen(list(map(str, command)), env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != "ready\n":
            sys.exit(f"{self.name} does not start")

    def round(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        self.times.append(float(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Fgq:
    """`fgq bench`, a process a round; it has runs that do not count too."""

    def __init__(self, program, model, threads, environment):
        self.name, self.times, self.environment = f"fgq_{threads}", [], environment
        self.command = [program, "bench", model, "--json", "--threads", str(threads), "--runs"]
        self.kernels = None

    def round(self, runs):
        done = subprocess.run([*self.command, str(runs)], env=self.environment, check=True, capture_output=True)
        answer = json.loads(done.stdout)
        self.times.append(answer["median_ms"])
        self.kernels = answer["kernels"]

    def close(self):
        pass


def engines(options, source, int8, packed):
    _, shape = input_of(source)
    cap = {"ONEDNN_MAX_CPU_ISA": ISAS[options.isa], "FGQ_KERNELS": options.isa} if options.isa else {}
    environment = {**os.environ, **cap}
    for threads in options.threads:
        yield Fgq(options.fgq, packed, threads, environment)
        for peer in options.peers:
            command = [sys.executable, __file__, "worker", peer, int8 if "int8" in peer else source, threads, *shape]
            yield Peer(f"{peer}_{threads}", command, environment)


def cpu_name():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main():
    install_missing()
    options = arguments()
    options.threads = [int(count) for count in options.threads.split(",")]
    options.peers = [peer for peer in options.peers.split(",") if not (options.isa and peer.startswith("onnxruntime"))]
    if unknown := set(options.peers) - set(PEERS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        running = list(engines(options, *prepare(options, work)))
        for _ in range(options.rounds):
            for engine in running:
                engine.round(options.runs)
        for engine in running:
            engine.close()
    report(options, running)


def report(options, running):
    milliseconds = {engine.name: statistics.median(engine.times) for engine in running}
    kernels = next(engine.kernels for engine in running if isinstance(engine, Fgq))
    ratios = {}
    for name, time_of in milliseconds.items():
        peer, threads = name.rsplit("_", 1)
        if peer != "fgq":
            ratios[name] = milliseconds[f"fgq_{threads}"] / time_of
    if options.json:
        context = {"cpu": cpu_name(), "kernels": kernels, "group": options.group, "isa": options.isa}
        print(json.dumps({**ratios, **context, "milliseconds": milliseconds}, indent=2))
        return
    print(f"{cpu_name()}; fgq with {kernels}, N={options.group}; medians of {options.rounds} rounds of {options.runs} runs\n")
    print(f"{'engine':<20}{'threads':>8}{'ms':>10}{'fgq / it':>10}")
    for name, time_of in milliseconds.items():
        peer, threads = name.rsplit("_", 1)
        ratio = f"{ratios[name]:10.2f}" if name in ratios else ""
        print(f"{peer:<20}{threads:>8}{time_of:>10.2f}{ratio}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*sys.argv[2:])
    else:
        main()
