"""Evaluation and indicators over a cluster of Ray's.

>>> import fgq.ray
>>> fgq.ray.evaluate("resnet50.fgq", "imagenet/val", workers=16)  # doctest: +SKIP
>>> fgq.ray.plan("resnet50.onnx", "imagenet/calibration", max_size="9MB", tasks=16)  # doctest: +SKIP

Results are those of one process, to the bit: workers send back what every image or layer says, and what they say together is
found here, by the library. Files must lie where every worker can read them, under one name. A worker that is lost is started
again with what it had not sent back; an image or layer counts once, whoever sends it twice.
"""

from __future__ import annotations

import os
import tempfile
from os import PathLike, fspath
from typing import Any, Dict, List, Optional, Sequence, Union

import ray
import ray.data

from . import _api, _fgq, _images
from ._errors import ArgumentError
from ._model import Model
from ._network import network
from ._plan import Plan

#: Images that a worker is sent at once.
_BATCH = 32


class Evaluator:
    """A worker: a session of its own, loaded once. For ``ray.data.Dataset.map_batches``.

    Batches have columns ``path``, ``index`` and ``label``; what comes back has one row for each.
    """

    def __init__(self, model: bytes, reference: Optional[Dict[str, Any]] = None, threads: int = 1):
        self.model = _fgq.Model.from_bytes(model)
        self.session = self.model.session(threads)
        size = self.model.preprocess.shape[:2]
        self.reference = None if reference is None else network(input_size=size, **reference)

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, List[Any]]:
        paths, labels = [str(path) for path in batch["path"]], [int(label) for label in batch["label"]]
        images = _fgq.Images.files(paths, labels)
        rows, unreadable = _fgq.answers(self.model, self.session, images, self.reference)
        # Places in this batch become places among all images.
        answers = {row[0]: (int(batch["index"][row[0]]), *row[1:]) for row in rows}
        errors = dict(unreadable)
        return {
            "index": [int(index) for index in batch["index"]],
            "path": paths,
            "answer": [answers.get(place) for place in range(len(paths))],
            "error": [errors.get(path) for path in paths],
        }


def evaluate(
    model: Union[Model, str, PathLike],
    images: Union[str, PathLike, Sequence[Union[str, PathLike]]],
    *,
    labels: Any = None,
    reference: Any = None,
    samples: Optional[int] = None,
    bits: Union[int, str, None] = None,
    workers: int = 2,
    threads: int = 1,
    batch: int = _BATCH,
    arch: Optional[str] = None,
    output_name: Optional[str] = None,
) -> Dict[str, Any]:
    """As :func:`fgq.evaluate`, by several workers.

    Args:
        model: A packed model or its file.
        images: A folder of class folders, or with a label file; or a list of files with `labels`.
        labels: Labels of a list, or a text file of a folder's.
        reference: The network in full precision, to be measured on the same images: a path that every worker can read, an
            ``onnx.ModelProto`` or a module.
        samples: Images to use at most, spread evenly.
        bits: Of a model that switches: planes or bits, or a setting's name.
        workers: How many actors work.
        threads: Threads of each; Ray reserves as many CPUs for it.
        batch: Images that a worker is sent at once.
        arch, output_name: Of the reference, as for :func:`fgq.convert`.

    Returns:
        What :func:`fgq.evaluate` returns, but for the images per second; and ``predictions``: a dictionary for every image in
        order, with ``path``, ``label``, ``class``, ``probability``, and with a reference ``reference_class`` and
        ``divergence``; ``error`` for those that cannot be read.
    """
    packed = model if isinstance(model, Model) else _api.load(model)
    packed = packed if bits is None else packed.at(bits)
    native = packed._native
    found = _images.gathered(images, native.preprocess, samples, labels, native.outputs)
    entries = found.entries
    if not entries:
        raise ArgumentError("images in memory; give a folder or a list of files that every worker can read")
    unlabelled = [name for _, name, label in entries if label is None]
    if unlabelled:
        raise ArgumentError(f"image '{unlabelled[0]}' has no label; give class folders, or labels=")
    items = [
        {"index": index, "path": os.path.abspath(path), "label": label}
        for index, (path, _, label) in enumerate(entries)
    ]
    wanted = None if reference is None else _shipped(reference, arch, output_name)
    if wanted is not None:
        # What is wrong with it is said here, before workers start.
        network(input_size=tuple(native.preprocess.shape[:2]), **wanted)
    rows = (
        ray.data.from_items(items, override_num_blocks=max(1, min(len(items) // batch, 8 * workers)))
        .map_batches(
            Evaluator,
            fn_constructor_args=(packed.to_bytes(), wanted, threads),
            batch_size=batch,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads,
        )
        .take_all()
    )
    return _reduced(rows, [name for _, name, _ in entries])


def _shipped(reference: Any, arch: Optional[str], output_name: Optional[str]) -> Dict[str, Any]:
    model = os.path.abspath(fspath(reference)) if _images.is_path(reference) else reference
    return {"model": model, "arch": arch, "output_name": output_name}


def _reduced(rows: List[Dict[str, Any]], names: List[str]) -> Dict[str, Any]:
    """What all rows say together: every image once, in order."""
    by_index = {int(row["index"]): row for row in rows}
    missing = [names[index] for index in range(len(names)) if index not in by_index]
    if missing:
        raise RuntimeError(f"{len(missing)} images did not come back, the first of them '{missing[0]}'")
    answers, unreadable, predictions = [], [], []
    for index, name in enumerate(names):
        row = by_index[index]
        if row["answer"] is None:
            unreadable.append((name, str(row["error"])))
            predictions.append({"path": name, "error": str(row["error"])})
            continue
        answer = _tuple(row["answer"])
        answers.append(answer)
        _, label, best, probability, _, reference, divergence = answer
        prediction = {"path": name, "label": label, "class": best, "probability": probability}
        if reference is not None:
            prediction.update(reference_class=reference[0], divergence=divergence)
        predictions.append(prediction)
    result = _fgq.evaluation(answers, unreadable)
    del result["images_per_second"]
    return {**result, "predictions": predictions}


def _tuple(answer: Any) -> tuple:
    index, label, best, probability, in_top5, reference, divergence = answer
    if reference is not None:
        reference = (int(reference[0]), float(reference[1]), bool(reference[2]))
    divergence = None if divergence is None else float(divergence)
    return int(index), int(label), int(best), float(probability), bool(in_top5), reference, divergence


def plan(
    model: Union[str, PathLike],
    images: Union[str, PathLike],
    *,
    tasks: int = 2,
    threads: int = 1,
    indicators: Union[str, PathLike, None] = None,
    **options: Any,
) -> Plan:
    """As :func:`fgq.plan`, with the indicators of layers found by several tasks.

    Every task runs the network on all images once, and then fits and measures its layers alone: with as many tasks as layers a
    plan takes as long as the largest layer, and the calibration before it.

    Args:
        model, images: Paths that every worker can read.
        tasks: How many tasks the layers are dealt out to.
        threads: Threads of each; Ray reserves as many CPUs for it.
        indicators: Where to write the indicators.
        options: Those of :func:`fgq.plan`.

    Returns:
        The plan that :func:`fgq.plan` finds.
    """
    if str(options.get("indicator", "")).startswith("learned"):
        raise ArgumentError("learned indicators of all layers are found together; use fgq.plan")
    arguments = {
        **_api.indicator_arguments(**{key: options[key] for key in options.keys() & _api.INDICATOR_OPTIONS}),
        "model": os.path.abspath(fspath(model)),
        "images": os.path.abspath(fspath(images)),
    }
    layers = _api.plannable_layers(arguments)
    shares = [layers[start::tasks] for start in range(min(tasks, len(layers)))]
    task = ray.remote(num_cpus=threads, max_retries=-1)(_api.partial_indicators)
    parts = ray.get([task.remote(arguments, share, threads) for share in shares])
    with tempfile.TemporaryDirectory() as folder:
        file = fspath(indicators) if indicators is not None else os.path.join(folder, "indicators.json")
        _fgq.join_indicators(parts, file)
        # The last pass finds what belongs to no layer, and plans.
        return _api.plan(model, images, indicators=file, threads=threads, **options)
