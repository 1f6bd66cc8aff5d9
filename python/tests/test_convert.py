"""fgq.convert: what it takes, what it refuses, and that it does what the command does."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import NETWORK, PREPROCESS

import fgq

MEAN, STD = 255 * 0.3053, 255 * 0.3758


def convert(images, **options):
    options = {"preprocess": PREPROCESS, "progress": False, **options}
    return fgq.convert(NETWORK, images, **options)


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "fgq", *map(str, arguments)], capture_output=True, text=True)


def options_of_the_command():
    return ["--mean", PREPROCESS["mean"][0], "--std", PREPROCESS["std"][0], "--channels", "grey"]


def weights_only(model):
    """The model without what names its images."""
    return [{key: value for key, value in layer.items() if key != "seconds"} for layer in model.layers]


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({}, ["--group", "4"]),
        ({"group": 16, "act_bits": 4}, ["--group", "16", "--act-bits", "4"]),
        ({"group": "mixed", "scale_bits": 8}, ["--group", "mixed", "--scale-bits", "8"]),
        (
            {"set": {"/conv1/Conv": "int4"}, "method": "closed-form"},
            ["--set", "/conv1/Conv=int4", "--method", "closed-form"],
        ),
        ({"nested": "64*3", "nested_act": [2, 3, 4]}, ["--nested", "64*3", "--nested-act", "2,3,4"]),
    ],
)
def test_same_bytes_as_the_command(folder, tmp_path, ours, theirs):
    ours = {"group": 4, **ours} if "set" in ours or "nested" in ours else ours
    if "nested" in ours:
        # Settings that the command names where none are given.
        ours["settings"] = {"balanced": 2.0, "economy": 1.5}
    theirs = ["--group", "4", *theirs] if "set" in ours else theirs
    convert(folder, **ours).save(tmp_path / "python.fgq")
    output = tmp_path / "command.fgq"
    done = command("convert", NETWORK, "--calib", folder, *options_of_the_command(), *theirs, "-o", output)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "python.fgq").read_bytes() == output.read_bytes()


def test_goal_like_the_command(folder, tmp_path):
    model = convert(folder, keep=90)
    output = tmp_path / "command.fgq"
    done = command("convert", NETWORK, "--calib", folder, *options_of_the_command(), "--keep", "90", "-o", output)
    assert done.returncode == 0, done.stderr
    assert model.to_bytes() == output.read_bytes()


def test_all_kinds_of_images_are_the_same_images(folder, train):
    from PIL import Image

    expected = weights_only(convert(train, classes=[str(c) for c in range(10)]))
    normalised = ((train.astype(np.float64) - MEAN) / STD).astype(np.float32)
    last, first = normalised, normalised.transpose(0, 3, 1, 2)
    pictures = [Image.fromarray(image[:, :, 0]) for image in train]
    batches = [train[:10], train[10:64]]
    labelled = [(first[:32], np.zeros(32, int)), (first[32:], np.zeros(32, int))]
    for images in (train.transpose(0, 3, 1, 2), last, first, pictures, batches, labelled, iter(train), list(train)):
        assert weights_only(convert(images)) == expected
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    assert weights_only(convert(files)) == expected
    assert weights_only(convert(map(str, files))) == expected


def test_archives_are_folders_in_one_file(folder, tmp_path):
    expected = weights_only(convert(folder))
    for kind in ("tar", "zip"):
        assert weights_only(convert(shutil.make_archive(str(tmp_path / "train"), kind, folder))) == expected


def test_views_and_read_only_arrays(train):
    expected = weights_only(convert(train))
    wide = np.zeros((64, 8, 16, 1), np.uint8)
    wide[:, :, ::2] = train
    view = wide[:, :, ::2]
    assert not view.flags.c_contiguous
    locked = train.copy()
    locked.flags.writeable = False
    assert weights_only(convert(view)) == weights_only(convert(locked)) == expected


def test_onnx_and_names(train):
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(str(NETWORK))
    model = fgq.convert(proto, train, preprocess=PREPROCESS, progress=False, classes=list("abcdefghij"))
    assert model.classes == list("abcdefghij")
    assert weights_only(model) == weights_only(convert(train))
    with pytest.raises(fgq.ArgumentError, match="2 classes, but the network has 10 outputs"):
        convert(train, classes=["a", "b"])


def test_class_names_come_from_folders(folder):
    assert convert(folder).classes == [str(c) for c in range(10)]


def test_samples_of_an_endless_iterable(train):
    taken = []

    def endless():
        while True:
            for image in train:
                taken.append(1)
                yield image

    model = convert(endless(), samples=20)
    assert sum(model._native.images) == 20
    assert len(taken) <= 21


@pytest.mark.parametrize(
    "images, error, words",
    [
        ([], fgq.ImageError, "no images"),
        (iter(()), fgq.ImageError, "no images"),
        (np.zeros((0, 8, 8, 1), np.uint8), fgq.ImageError, "no images"),
        (7, fgq.ArgumentError, "images of type int"),
        ([object()], fgq.ArgumentError, "an image of type object"),
        (np.zeros((4, 8, 8, 1), np.int64), fgq.ArgumentError, "images of type int64"),
        (np.zeros((8, 8), np.uint8), fgq.ArgumentError, "an array of shape"),
        (np.zeros((4, 8, 8, 2), np.uint8), fgq.ArgumentError, "images of shape"),
        (np.full((4, 8, 8, 1), np.nan, np.float32), fgq.NonFiniteError, "NaN"),
        (np.full((4, 8, 8, 1), 90.0, np.float32), fgq.ArgumentError, "not normalised"),
        (np.zeros((4, 9, 9, 1), np.float32), fgq.ArgumentError, "normalised images of shape"),
        ("no-such-folder", fgq.FileError, "no-such-folder"),
        (["no-such-file.png"], fgq.Error, "no-such-file.png"),
    ],
)
def test_images_that_are_refused(images, error, words):
    with pytest.raises(error, match=words):
        convert(images)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"group": 0}, "group size of 0"),
        ({"group": -1}, "group=-1"),
        ({"group": 2.5}, "group=2.5"),
        ({"act_bits": 9}, "9 activation bits"),
        ({"act_bits": 300}, "act_bits=300"),
        ({"scale_bits": 0}, "scales of 0 bits"),
        ({"set": {"nothing": "int8"}}, "set"),
        ({"set": {"/conv1/Conv": "int99"}}, "int99"),
        ({"method": "magic"}, "magic"),
        ({"keep": 101}, "keep=101"),
        ({"keep": 90, "group": 8}, "leave out group"),
        ({"keep": 90, "method": "closed-form"}, "leave out method"),
        ({"budget": "much"}, "budget: give bytes"),
        ({"samples": 0}, "samples=0"),
        ({"threads": 0}, "threads=0"),
        ({"preprocess": "no-such-preset"}, "no-such-preset"),
        ({"preprocess": {"means": 1}}, "means"),
        ({"input_size": (8, 8, 8)}, "input_size"),
    ],
)
def test_options_that_are_refused(train, options, words):
    with pytest.raises(fgq.ArgumentError, match=words) as caught:
        convert(train, **options)
    assert "--" not in str(caught.value), "errors speak of parameters"


def test_networks_that_are_refused(train, tmp_path):
    with pytest.raises(fgq.ArgumentError, match="a model of type dict"):
        fgq.convert({}, train)
    with pytest.raises(fgq.FileError) as caught:
        fgq.convert(tmp_path / "none.onnx", train)
    assert caught.value.kind == "io" and caught.value.path.endswith("none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01garbage")
    with pytest.raises(fgq.Error) as caught:
        fgq.convert(tmp_path / "bad.onnx", train)
    assert caught.value.path.endswith("bad.onnx")


def test_a_drop_needs_labels(digits, train):
    with pytest.raises(fgq.ArgumentError, match="labels"):
        convert(train, max_drop=1)
    model = convert(train, max_drop=5, labels=digits["train_labels"][:64])
    assert model.fidelity["held_back"]


def test_plan_and_conversion(train, tmp_path):
    found = fgq.plan(
        NETWORK,
        train,
        preprocess=PREPROCESS,
        indicators=tmp_path / "i.json",
        precisions=["ternary:4", "int4", "int8"],
        act_bits=[8],
        measure=16,
        max_size="60KB",
        progress=False,
    )
    assert found.is_proven and found.size <= 60_000 and found.damage >= 0
    again = fgq.plan(indicators=tmp_path / "i.json", max_size=60_000)
    assert again.to_dict()["layers"] == found.layers
    found.save(tmp_path / "plan.json")
    assert fgq.Plan.read(tmp_path / "plan.json").to_dict() == found.to_dict()
    model = convert(train, plan=found)
    assert model.size <= 60_000
    assert convert(train, plan=tmp_path / "plan.json") == model
    precisions = {layer["name"]: layer["precision"] for layer in model.layers}
    assert all(precisions[layer["name"]] == layer["weights"] for layer in found.layers)


def test_plans_that_are_refused(train, tmp_path):
    with pytest.raises(fgq.ArgumentError, match="give a model and images"):
        fgq.plan()
    with pytest.raises(fgq.ArgumentError, match="outliers"):
        fgq.plan(indicators="x", outliers="maybe")
    with pytest.raises(fgq.FileError):
        fgq.plan(indicators=tmp_path / "none.json", max_size=1)


def test_progress_and_cancelling(train):
    told = []
    convert(train, progress=lambda *news: told.append(news))
    stages = {stage for stage, *_ in told}
    assert "layers" in stages or told, "something is told"
    assert all(0 <= done <= total for _, done, total, _ in told)

    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        convert(np.repeat(train, 8, axis=0), progress=stop)


def test_bars_of_tqdm(train, capsys):
    pytest.importorskip("tqdm")
    convert(np.repeat(train, 4, axis=0), progress=True)
    assert "layers" in capsys.readouterr().err


def test_ctrl_c_ends_a_conversion():
    code = (
        "import fgq, numpy as np\n"
        f"print('ready', flush=True)\n"
        f"fgq.convert({str(NETWORK)!r}, np.random.default_rng(0).integers(0, 256, (20000, 8, 8, 1), np.uint8),"
        f" samples=20000, keep=99.9, preprocess={PREPROCESS!r}, progress=False)\n"
        "print('done', flush=True)\n"
    )
    import signal
    import time

    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert "done" not in out and "KeyboardInterrupt" in err


def test_other_threads_run_meanwhile(train):
    """The lock of the interpreter is free while the library works."""
    import threading

    count, stop = [0], threading.Event()

    def tick():
        while not stop.wait(0.001):
            count[0] += 1

    ticking = threading.Thread(target=tick)
    ticking.start()
    convert(np.repeat(train, 8, axis=0))
    stop.set()
    ticking.join()
    assert count[0] > 10
