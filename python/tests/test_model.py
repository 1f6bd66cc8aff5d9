"""fgq.Model and fgq.Session."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from conftest import NETWORK, PREPROCESS

import fgq


def test_a_model_is_its_file(model, tmp_path):
    model.save(tmp_path / "m.fgq")
    assert (tmp_path / "m.fgq").read_bytes() == model.to_bytes()
    assert fgq.load(tmp_path / "m.fgq") == model == fgq.Model.from_bytes(model.to_bytes())
    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model
    assert hash(model) == hash(fgq.load(tmp_path / "m.fgq"))
    assert model.size == len(model.to_bytes())


def test_what_a_model_says(model):
    layer = next(layer for layer in model.layers if layer["precision"].startswith("ternary:4"))
    assert layer["weights"] == np.prod(layer["shape"]) and layer["bytes"] > 0 and layer["seconds"] >= 0
    assert layer["reason"] == "default"
    assert model.fidelity["held_back"] and model.fidelity["images"] == 8
    assert model.preprocess["channels"] == "grey" and model.provenance["options"]["group"] == "4"
    assert model.provenance["source"] == NETWORK.name
    assert "fgq.Model" in repr(model) and 1 < model.bits_per_weight < 8
    page = model._repr_html_()
    assert page.count("<tr>") == len(model.layers) + 1 and "held-back" in page


def test_html_of_hostile_names(train, tmp_path):
    """Names in a file of ONNX are anybody's; these have as many bytes as those that they replace."""
    hostile = b"/<script>alert(1)</script>/"
    name = b"/layer1/layer1.0/conv1/Conv"
    assert len(hostile) == len(name)
    network = tmp_path / "hostile.onnx"
    network.write_bytes(NETWORK.read_bytes().replace(name, hostile))
    model = fgq.convert(network, train, preprocess=PREPROCESS, progress=False)
    assert hostile.decode() in [layer["name"] for layer in model.layers]
    model.report(tmp_path / "page.html")
    for page in (model._repr_html_(), (tmp_path / "page.html").read_text()):
        assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_files_that_are_refused(tmp_path):
    with pytest.raises(fgq.FileError) as caught:
        fgq.load(tmp_path / "none.fgq")
    assert isinstance(caught.value, OSError) and caught.value.path.endswith("none.fgq")
    with pytest.raises(fgq.FormatError):
        fgq.Model.from_bytes(b"nothing")
    (tmp_path / "bad.fgq").write_bytes(b"{}" * 100)
    with pytest.raises(fgq.FormatError) as caught:
        fgq.load(tmp_path / "bad.fgq")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.path) == (fgq.FormatError, str(caught.value), caught.value.path)


def test_a_folder_that_does_not_exist_is_no_place_to_save(model, tmp_path):
    for write in (model.save, model.report):
        with pytest.raises(fgq.FileError):
            write(tmp_path / "none" / "m.fgq")


def test_logits_do_not_depend_on_layout_batch_or_threads(model, test):
    expected = model.session(1).run(test[:40])
    assert expected.shape == (40, 10) and expected.dtype == np.int32
    for threads in (2, 3):
        session = model.session(threads)
        assert session.threads == threads
        np.testing.assert_array_equal(session.run(test[:40]), expected)
        np.testing.assert_array_equal(session.run(test[:40].transpose(0, 3, 1, 2)), expected)
        np.testing.assert_array_equal(session.run(test[7]), expected[7])
        np.testing.assert_array_equal(session.run(test[80:0:-2][:0]).shape, (0, 10))
    reversed_view = test[39::-1]
    np.testing.assert_array_equal(model.session(1).run(reversed_view), expected[::-1])


def test_paths_and_pictures(model, folder):
    from PIL import Image

    files = sorted(folder.rglob("*.png"))[:5]
    session = model.session(1)
    assert session.run(files).shape == (5, 10)
    np.testing.assert_array_equal(session.run(files[0]), session.run([str(files[0])])[0])
    pictures = [Image.open(file) for file in files]
    assert session.classify(pictures) == session.classify(files)
    best = session.classify(pictures[0], top=3)
    assert len(best) == 3 and best[0].probability >= best[1].probability
    assert best[0].index == int(session.run(files[0]).argmax())


def test_probabilities_sum_to_one(model, test):
    guesses = model.session(1).classify(test[0], top=10)
    assert abs(sum(guess.probability for guess in guesses) - 1) < 1e-9
    assert [guess.name for guess in guesses] == [str(guess.index) for guess in guesses]


@pytest.mark.parametrize(
    "images, words",
    [
        (np.zeros((8, 8, 1), np.float32), "float32"),
        (np.zeros((8, 8), np.uint8), "shape"),
        (np.zeros((9, 8, 1), np.uint8), "shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), "shape"),
        ([], "no images"),
        ([1, 2], "int among paths"),
    ],
)
def test_input_that_is_refused(model, images, words):
    with pytest.raises(fgq.ArgumentError, match=words):
        model.session(1).run(images)


def test_an_image_that_is_none(model, tmp_path):
    (tmp_path / "x.png").write_bytes(b"not an image")
    with pytest.raises(fgq.ImageError) as caught:
        model.session(1).run(tmp_path / "x.png")
    assert caught.value.path.endswith("x.png")


def test_nothing_is_copied_that_lies_well(model, test):
    """The array itself is read: what changes in it changes the logits."""
    image = np.ascontiguousarray(test[0])
    session = model.session(1)
    assert np.shares_memory(session._pixels(image), image)
    locked = image.copy()
    locked.flags.writeable = False
    assert np.shares_memory(session._pixels(locked), locked)
    np.testing.assert_array_equal(session.run(locked), session.run(image))


def test_threads_share_a_session(model, test):
    session, expected, wrong = model.session(2), model.session(1).run(test[:64]), []

    def work():
        for _ in range(5):
            if not np.array_equal(session.run(test[:64]), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on(model, test):
    session = model.session(2)
    expected = session.run(test[:8])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(test[:8]), expected)
        os.write(writing, b"same" if same else b"other")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"same"
    os.waitpid(child, 0)


def test_widths_that_switch(train, test):
    model = fgq.convert(NETWORK, train, preprocess=PREPROCESS, nested="64*3", settings={"half": 1.5}, progress=False)
    session = model.session(2)
    assert session.widths == [1, 2, 3] and "half" in session.settings
    for setting in (1, 2, 3, "half"):
        session.set_bits(setting)
        np.testing.assert_array_equal(session.run(test[:8]), model.at(setting).session(1).run(test[:8]))
    name = next(iter(session.layer_widths))
    session.set_bits(1, layer=name)
    assert session.layer_widths[name] == 1
    session.keep_at_most(0)
    for bad in (4, 0, "no-such-setting", -1):
        with pytest.raises(fgq.ArgumentError):
            session.set_bits(bad)
    with pytest.raises(fgq.ArgumentError):
        session.set_bits(1, layer="no-such-layer")


def test_models_that_do_not_switch(model):
    session = model.session(1)
    assert session.widths == [] and session.settings == {} and session.layer_widths == {}
    with pytest.raises(fgq.ArgumentError, match="does not switch"):
        session.set_bits(2)
    with pytest.raises(fgq.ArgumentError, match="does not switch"):
        model.at(2)
