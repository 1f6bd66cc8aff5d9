"""fgq.evaluate."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import NETWORK, PREPROCESS

import fgq


def test_alone_and_against_full_precision(model, test, labels):
    alone = fgq.evaluate(model, test, labels=labels, progress=False)
    right = int((model.session(1).run(test).argmax(1) == labels).sum())
    assert alone["images"] == 500 and alone["top1"] == pytest.approx(100 * right / 500)
    both = fgq.evaluate(model, test, labels=labels, reference=NETWORK, progress=False)
    assert both["top1"] == alone["top1"] and both["reference_top1"] == pytest.approx(98.8)
    assert both["drop"] == pytest.approx(both["reference_top1"] - both["top1"])
    assert 90 < both["agreement"] <= 100 and both["divergence"] >= 0 and 0 < both["p_value"] <= 1
    low, high = both["agreement_ci95"]
    assert low <= both["agreement"] <= high


def test_full_precision_and_pairs(test, labels):
    batches = [(test[i : i + 100], labels[i : i + 100]) for i in range(0, 500, 100)]
    full = fgq.evaluate(NETWORK, batches, preprocess=PREPROCESS, progress=False)
    assert full["top1"] == pytest.approx(98.8) and "drop" not in full


def test_like_the_command(model, folder, tmp_path):
    model.save(tmp_path / "m.fgq")
    ours = fgq.evaluate(tmp_path / "m.fgq", folder, reference=NETWORK, progress=False)
    arguments = ["eval", tmp_path / "m.fgq", "--images", folder, "--reference", NETWORK, "--json"]
    done = subprocess.run([sys.executable, "-m", "fgq", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    for name in ("images", "top1", "top5", "top1_ci95", "drop", "drop_ci95", "agreement", "divergence", "p_value"):
        assert ours[name] == theirs[name]


def test_what_is_refused(model, test, labels):
    with pytest.raises(fgq.ArgumentError, match="without labels"):
        fgq.evaluate(model, test)
    with pytest.raises(fgq.ArgumentError, match="3 labels for 500 images"):
        fgq.evaluate(model, test, labels=[1, 2, 3])
    with pytest.raises(fgq.ArgumentError, match="label 10 does not fit 10 outputs"):
        fgq.evaluate(model, test, labels=np.full(500, 10))
    with pytest.raises(fgq.ArgumentError, match="for packed models"):
        fgq.evaluate(NETWORK, test, labels=labels, reference=NETWORK, preprocess=PREPROCESS)
    with pytest.raises(fgq.ArgumentError, match="does not switch"):
        fgq.evaluate(model, test, labels=labels, bits=2)
    with pytest.raises(fgq.ArgumentError, match="a batch of 4 images with 3 labels"):
        fgq.evaluate(model, [(test[:4], [1, 2, 3])])
    with pytest.raises(fgq.ArgumentError, match="images of type NoneType"):
        fgq.evaluate(model, None)


def test_samples_are_spread(model, folder):
    assert fgq.evaluate(model, folder, samples=20, progress=False)["images"] == 20
