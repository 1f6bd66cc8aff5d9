"""Evaluation and plans over a cluster: the results of one process, also when a worker is lost."""

import os
import shutil
import signal

import pytest
from conftest import NETWORK, PREPROCESS

ray = pytest.importorskip("ray")

import fgq  # noqa: E402
import fgq.ray  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def many(digits, tmp_path_factory):
    """The test images as files in class folders."""
    from PIL import Image

    root = tmp_path_factory.mktemp("many")
    for index, (image, label) in enumerate(zip(digits["test_images"], digits["test_labels"])):
        place = root / str(label)
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{index:03}.png")
    return root


def without(result, *names):
    return {name: value for name, value in result.items() if name not in names}


def test_as_one_process(cluster, model, many):
    expected = fgq.evaluate(model, many, reference=NETWORK, progress=False)
    found = fgq.ray.evaluate(model, many, reference=NETWORK, workers=2)
    assert without(found, "predictions") == without(expected, "images_per_second")
    predictions = found["predictions"]
    assert len(predictions) == 500 and len({it["path"] for it in predictions}) == 500
    right = sum(it["class"] == it["label"] for it in predictions)
    assert found["top1"] == pytest.approx(100 * right / 500)


def test_images_that_cannot_be_read(cluster, model, many, tmp_path):
    shutil.copytree(many, tmp_path / "images")
    (tmp_path / "images" / "3" / "bad.png").write_bytes(b"no image")
    found = fgq.ray.evaluate(model, tmp_path / "images", samples=None)
    expected = fgq.evaluate(model, tmp_path / "images", progress=False)
    assert found["images"] == expected["images"] == 500
    assert [name for name, _ in found["unreadable"]] == [name for name, _ in expected["unreadable"]] == ["3/bad.png"]
    assert sum("error" in it for it in found["predictions"]) == 1


def test_a_worker_that_is_lost(cluster, model, many, tmp_path, monkeypatch):
    """The first worker that sees the tenth batch dies in the midst of it."""
    marker = tmp_path / "died"

    class Mortal(fgq.ray.Evaluator):
        def __call__(self, batch):
            rows = super().__call__(batch)
            if 300 in batch["index"]:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return rows
                os.kill(os.getpid(), signal.SIGKILL)
            return rows

    monkeypatch.setattr(fgq.ray, "Evaluator", Mortal)
    found = fgq.ray.evaluate(model, many, batch=16)
    assert marker.exists()
    expected = fgq.evaluate(model, many, progress=False)
    assert without(found, "predictions") == without(expected, "images_per_second")


def test_plans_as_one_process(cluster, folder, tmp_path):
    options = {
        "preprocess": PREPROCESS,
        "precisions": ["ternary:4", "int8"],
        "act_bits": [8],
        "measure": 16,
        "max_size": "60KB",
    }
    expected = fgq.plan(NETWORK, folder, indicators=tmp_path / "one.json", progress=False, **options)
    found = fgq.ray.plan(NETWORK, folder, tasks=3, indicators=tmp_path / "many.json", progress=False, **options)
    assert found.to_dict() == expected.to_dict()
    assert (tmp_path / "many.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_what_is_refused(model, test, labels, many):
    with pytest.raises(fgq.ArgumentError, match="images in memory"):
        fgq.ray.evaluate(model, test, labels=labels)
    with pytest.raises(fgq.ArgumentError, match="without labels|no label|labels"):
        fgq.ray.evaluate(model, sorted(many.rglob("*.png")))
    with pytest.raises(fgq.ArgumentError, match="fgq.plan"):
        fgq.ray.plan(NETWORK, many, indicator="learned")
    with pytest.raises(fgq.FileError):
        fgq.ray.evaluate("none.fgq", many)
