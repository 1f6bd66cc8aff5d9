"""The functions of the package: what people have in, one call of the library, its result out."""

from __future__ import annotations

import warnings
from os import fspath
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _fgq, _images
from ._errors import ArgumentError, FgqWarning, NonFiniteError, in_parameters
from ._model import Model
from ._network import Preprocessing, Size, network
from ._plan import Plan
from ._progress import Progress, reported

#: Images of a conversion unless told otherwise, and of a plan.
_SAMPLES = 1024
_PLAN_SAMPLES, _LEARNED_SAMPLES = 256, 4096
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


def convert(
    model: Any,
    images: Any,
    *,
    group: Union[int, str, None] = 4,
    act_bits: int = 8,
    keep: Optional[float] = None,
    max_drop: Optional[float] = None,
    budget: Union[int, str, None] = None,
    plan: Union[Plan, str, None] = None,
    set: Optional[Mapping[str, str]] = None,
    act: Optional[Mapping[str, Union[int, str]]] = None,
    scale_bits: int = 4,
    method: Optional[str] = None,
    range: Optional[str] = None,
    channel_ranges: bool = False,
    keep_order: bool = False,
    nested: Optional[str] = None,
    nested_act: Sequence[int] = (),
    settings: Optional[Mapping[str, float]] = None,
    samples: int = _SAMPLES,
    labels: Any = None,
    classes: Optional[Sequence[str]] = None,
    preprocess: Preprocessing = None,
    input_size: Size = None,
    arch: Optional[str] = None,
    output_name: Optional[str] = None,
    threads: Optional[int] = None,
    progress: Progress = None,
) -> Model:
    """Converts a trained network to a packed model, calibrating on images without labels.

    The same network, images and options give the same bytes as ``fgq convert``.

    Args:
        model: A path (``.onnx``, ``.safetensors``, ``.pth``), an ``onnx.ModelProto`` or a ``torch.nn.Module``, which is
            exported in evaluation; it stays as it is.
        images: A folder, a list of files, pictures of Pillow's, an array, or any iterable of these, of batches, or of pairs
            of images and labels, such as a ``DataLoader``. Arrays are ``uint8`` (the network's input where they have its
            size, else pictures in RGB) or floats normalised as the network reads them; channels first or last.
        group: Consecutive input channels that share a scale; ``"mixed"``: 4 for 1x1 kernels, 64 for larger ones; ``None``:
            precisions are chosen layer by layer, as they are with `keep`, `max_drop` or `budget`, which go without `group`.
        act_bits: Bits with which layers read activations, 2 to 8.
        keep: The smallest model that gives full precision's answer to so many percent of the images held back.
        max_drop: As `keep`, or with it: points of top-1 that may be lost on them; `images` must have labels.
        budget: Bytes of the file at most, as a number or as in ``"4MB"``.
        plan: A plan of :func:`fgq.plan`, or its file.
        set: Precisions of the layers whose whole names match regular expressions, such as ``{"fc": "int8"}``.
        act: Bits or ranges of activations, likewise.
        scale_bits: Bits of the groups' scales, 1 to 8.
        method: ``"compensated"`` (default) or ``"closed-form"``.
        range: How activation ranges are chosen: ``mse``, ``output``, ``minmax``, ``percentile:P`` or ``LOW..HIGH``.
        channel_ranges: A range for every channel of activations of fewer than 8 bits, where weights can take it up.
        keep_order: Leave channels in their order.
        nested: Planes among which a session switches, such as ``"64*3"``; `nested_act` are bits of activations for each
            width, `settings` names and mean widths to choose.
        samples: Images to use at most, spread evenly; of an iterable the first.
        labels: With `max_drop`: labels of an array or list, or the text file of a folder's.
        classes: Names of the outputs; else those of class folders, or ImageNet's.
        preprocess: A preset's name, a JSON file, or a dictionary with some of its keys.
        input_size: Height and width, where the network does not say them; needed for modules unless `images` is an array.
        arch: Architecture of a file that holds weights alone.
        output_name: Which output holds the logits.
        threads: Results do not depend on it; as many as cores if left out.
        progress: ``None``: a bar of tqdm's on terminals; ``True``, ``False``; or a function of stage, steps done, all steps
            and a few words.

    Returns:
        The model. What should be known about it comes as :class:`FgqWarning` or is in :attr:`Model.notes`.

    Raises:
        Error: What the library refuses: a kind, and where they are known a file and a node.

    Examples:
        >>> import fgq
        >>> model = fgq.convert("resnet32-cifar10.onnx", "cifar10/train", preprocess="cifar10")  # doctest: +SKIP
        >>> model.save("resnet32.fgq")  # doctest: +SKIP
    """
    has_goal = keep is not None or max_drop is not None or budget is not None
    net = _network(model, images, preprocess, input_size, arch, output_name)
    outputs = net.outputs if max_drop is not None else None
    found = _images.gathered(images, net.preprocess, samples, labels, outputs)
    options = {
        "group": None if has_goal and group == 4 else _groups(group),
        "scale_bits": _number("scale_bits", scale_bits),
        "method": method,
        "overrides": _texts(set),
        "act_bits": _number("act_bits", act_bits),
        "act": _texts(act),
        "range": range,
        "channel_ranges": channel_ranges,
        "keep_order": keep_order,
        "keep": keep,
        "max_drop": max_drop,
        "budget": _bytes("budget", budget),
        "nested": nested,
        "nested_act": list(nested_act),
        "settings": [(name, float(mean)) for name, mean in (settings or {}).items()],
    }
    _check_goal(has_goal, options, plan)
    with reported(progress) as report:
        names = None if classes is None else [str(name) for name in classes]
        native = _fgq.convert(net, found, options, _plan(plan), names, threads, report)
    made = Model(native)
    _warn(made, native)
    return made


def _check_goal(has_goal: bool, options: dict, plan: Any) -> None:
    given = {"group": options["group"], "method": options["method"], "set": options["overrides"] or None, "plan": plan}
    given["nested"] = options["nested"]
    bad = [name for name, value in given.items() if value is not None]
    if has_goal and bad:
        raise ArgumentError(f"keep, max_drop and budget choose precisions; leave out {', '.join(bad)}")


def _warn(made: Model, native: _fgq.Model) -> None:
    for is_warning, text in native.notes:
        if is_warning:
            warnings.warn(in_parameters(text), FgqWarning, stacklevel=3)
    if made.unreadable:
        name, why = next(iter(made.unreadable.items()))
        count = len(made.unreadable)
        warnings.warn(f"{count} images could not be read, the first of them '{name}': {why}", FgqWarning, stacklevel=3)
    if native.is_reached is False:
        warnings.warn("no model reaches the goal; this is the best one found", FgqWarning, stacklevel=3)


def load(path) -> Model:
    """The packed model in a file.

    Raises:
        FileError: It cannot be read.
        FormatError: It is no packed model.
    """
    return Model(_fgq.Model.read(fspath(path)))


def evaluate(
    model: Any,
    images: Any,
    *,
    labels: Any = None,
    reference: Any = None,
    samples: Optional[int] = None,
    bits: Union[int, str, None] = None,
    preprocess: Preprocessing = None,
    input_size: Size = None,
    arch: Optional[str] = None,
    output_name: Optional[str] = None,
    threads: Optional[int] = None,
    progress: Progress = None,
) -> Dict[str, Any]:
    """Measures the accuracy of a model on labelled images, alone or against full precision.

    Args:
        model: A packed model or its file (``.fgq``), or a network in full precision as :func:`convert` takes it.
        images: A folder with class folders or a label file, or whatever :func:`convert` takes, with `labels` or in pairs.
        labels: Labels of a list or an array, or a text file of a folder's.
        reference: With a packed model: the network in full precision, to be measured on the same images.
        samples: Images to use at most, spread evenly.
        bits: Of a model that switches: planes or bits, or a setting's name.
        preprocess, input_size, arch, output_name: As for :func:`convert`, of networks in full precision.
        threads, progress: As for :func:`convert`.

    Returns:
        ``images``, ``top1`` and ``top5`` in percent, ``top1_ci95``, ``images_per_second``, ``unreadable``; with a reference
        also ``reference_top1``, ``drop`` in points, ``agreement`` in percent, ``divergence`` in nats, their intervals, and
        ``p_value`` of McNemar's exact test.
    """
    packed = _packed(model)
    if packed is not None and bits is not None:
        packed = packed.at(bits)
    if packed is not None:
        shape, outputs = packed._native.preprocess.shape, packed._native.outputs
        net = None if reference is None else _network(reference, None, None, shape[:2], arch, output_name)
        found = _images.gathered(images, packed._native.preprocess, samples, labels, outputs)
        with reported(progress) as report:
            return _fgq.evaluate(packed._native, found, net, threads, report)
    if reference is not None or bits is not None:
        raise ArgumentError("reference and bits are for packed models")
    net = _network(model, images, preprocess, input_size, arch, output_name)
    found = _images.gathered(images, net.preprocess, samples, labels, net.outputs)
    with reported(progress) as report:
        return _fgq.evaluate_network(net, found, threads, report)


def _packed(model: Any) -> Optional[Model]:
    if isinstance(model, Model):
        return model
    if _images.is_path(model) and _fgq.is_packed_model(fspath(model)):
        return load(model)
    return None


def plan(
    model: Any = None,
    images: Any = None,
    *,
    indicators=None,
    indicator: str = "divergence",
    precisions: Optional[Sequence[str]] = None,
    act_bits: Optional[Sequence[int]] = None,
    range: Optional[str] = None,
    samples: Optional[int] = None,
    measure: int = 64,
    max_size: Union[int, str, None] = None,
    compression_ratio: Optional[float] = None,
    mean_bits: Optional[float] = None,
    bit_ops: Optional[int] = None,
    levels: Optional[Tuple[float, float]] = None,
    max_multiplications: Optional[int] = None,
    max_largest_activation: Union[int, str, None] = None,
    max_total_activation: Union[int, str, None] = None,
    alpha: Optional[float] = None,
    outliers: str = "auto",
    preprocess: Preprocessing = None,
    input_size: Size = None,
    arch: Optional[str] = None,
    output_name: Optional[str] = None,
    threads: Optional[int] = None,
    progress: Progress = None,
) -> Plan:
    """Chooses the precision of every layer under budgets, by an exact integer program.

    Args:
        model, images: As for :func:`convert`; or neither, with `indicators`.
        indicators: A file that holds what every precision costs in every layer. With a model it is written there, layer by
            layer, and taken from there if it is complete.
        indicator: What stands for the damage: ``divergence``, ``output-error``, ``learned`` or ``learned-damage``.
        precisions: Candidates for weights, such as ``["ternary:4", "int4", "int8"]``.
        act_bits: Candidates for bits of activations.
        range: How activation ranges are chosen.
        samples: Images to use at most.
        measure: How many of them to hold back from fitting and compare logits on.
        max_size: Bytes of the file. Of the budgets all that are given are kept:
        compression_ratio: how many times smaller than 32 bits,
        mean_bits: bits per weight,
        bit_ops: bit operations per image,
        levels: bits of weights and of activations whose bit operations are allowed,
        max_multiplications: multiplications left per image,
        max_largest_activation, max_total_activation: bytes of activations.
        alpha: Factor of the weights' indicators.
        outliers: Indicators smaller than with more bits: ``auto``, ``forbid`` or ``keep``.
        preprocess, input_size, arch, output_name, threads, progress: As for :func:`convert`.

    Raises:
        ArgumentError: Budgets that no plan keeps; it names the nearest that one does.
    """
    wish = _indicator_wish(indicator, precisions, act_bits, range, measure, indicators)
    budgets = {
        "max_size": _bytes("max_size", max_size),
        "compression_ratio": compression_ratio,
        "mean_bits": mean_bits,
        "bit_ops": bit_ops,
        "levels": levels,
        "max_multiplications": max_multiplications,
        "max_largest_activation": _bytes("max_largest_activation", max_largest_activation),
        "max_total_activation": _bytes("max_total_activation", max_total_activation),
        "alpha": alpha,
        "outliers": outliers,
    }
    if model is None:
        if indicators is None:
            raise ArgumentError("give a model and images, or a file of indicators")
        return Plan(_fgq.plan(fspath(indicators), wish, budgets, threads, None))
    net = _network(model, images, preprocess, input_size, arch, output_name)
    found = _plan_images(images, net, indicator, samples)
    with reported(progress) as report:
        return Plan(_fgq.plan((net, found), wish, budgets, threads, report))


def _indicator_wish(indicator, precisions, act_bits, range, measure, file) -> Dict[str, Any]:
    return {
        "indicator": indicator,
        "precisions": None if precisions is None else [str(precision) for precision in precisions],
        "act_bits": None if act_bits is None else list(act_bits),
        "range": range,
        "measure": measure,
        "file": None if file is None else fspath(file),
    }


def _plan_images(images, net: _fgq.Network, indicator: str, samples: Optional[int]) -> _fgq.Images:
    usual = _LEARNED_SAMPLES if indicator.startswith("learned") else _PLAN_SAMPLES
    return _images.gathered(images, net.preprocess, samples or usual)


#: Options of :func:`plan` that indicators depend on.
INDICATOR_OPTIONS = frozenset(
    ["indicator", "precisions", "act_bits", "range", "samples", "measure"]
    + ["preprocess", "input_size", "arch", "output_name"]
)


def indicator_arguments(
    indicator="divergence", precisions=None, act_bits=None, range=None, samples=None, measure=64, **of_network
) -> Dict[str, Any]:
    """What tasks that find indicators are told."""
    wish = _indicator_wish(indicator, precisions, act_bits, range, measure, None)
    return {"wish": wish, "samples": samples, "network": of_network}


def plannable_layers(arguments: Dict[str, Any]) -> list:
    """Names of the layers that there is a choice for."""
    return _fgq.plannable_layers(network(arguments["model"], **arguments["network"]), arguments["wish"])


def partial_indicators(arguments: Dict[str, Any], layers: list, threads: Optional[int]) -> str:
    """Indicators of some layers, as JSON."""
    net, wish = network(arguments["model"], **arguments["network"]), arguments["wish"]
    images = _plan_images(arguments["images"], net, wish["indicator"], arguments["samples"])
    return _fgq.partial_indicators(net, images, wish, layers, threads)


class TernaryTensor(NamedTuple):
    """A tensor of weights in groups: ``w = factor[o] * scale[g] * code``; the first two fields are codes and scales."""

    #: -1, 0 and +1 in the shape of the weights, ``int8``.
    codes: np.ndarray
    #: A row per output channel, in it positions and groups in storage order, ``uint8``.
    scales: np.ndarray
    #: One real factor per output channel, ``float32``.
    factors: np.ndarray
    #: Squared error over squared weights.
    relative_error: float
    #: Input channels that share a scale.
    group: int

    def dequantize(self) -> np.ndarray:
        """The approximated weights, in the shape of the weights."""
        codes = np.moveaxis(self.codes, 1, -1)
        outputs, inputs = codes.shape[0], codes.shape[-1]
        scales = self.scales.reshape(*codes.shape[:-1], -1).repeat(self.group, axis=-1)[..., :inputs]
        factors = self.factors.reshape(outputs, *[1] * (codes.ndim - 1))
        return np.moveaxis(codes * (scales * factors), -1, 1).astype(np.float32)


def ternarize_tensor(
    array: Any, group: int = 4, *, scale_bits: int = 8, threads: Optional[int] = None
) -> Tuple[np.ndarray, np.ndarray]:
    """Approximates weights by ternary codes with one scale per group, without data (arXiv 1705.01462, equation 4).

    Args:
        array: Weights: output channel first, input channel second; an array or a tensor, taken as ``float32``.
        group: Consecutive input channels that share a scale.
        scale_bits: Bits of the scales.
        threads: Results do not depend on it.

    Returns:
        Codes and scales. :func:`ternarize` returns these with the factors of output channels and the error.

    Examples:
        >>> import fgq
        >>> codes, scales = fgq.ternarize_tensor([[0.9, -1.1, 0.1, 1.0], [0.0, 0.0, 2.0, 0.0]])
        >>> codes.tolist()
        [[1, -1, 0, 1], [0, 0, 1, 0]]
    """
    ternary = ternarize(array, group, scale_bits=scale_bits, threads=threads)
    return ternary.codes, ternary.scales


def ternarize(array: Any, group: int = 4, *, scale_bits: int = 8, threads: Optional[int] = None) -> TernaryTensor:
    """As :func:`ternarize_tensor`, with all that makes the weights again.

    Examples:
        >>> import fgq
        >>> ternary = fgq.ternarize([[0.9, -1.1, 0.1, 1.0]])
        >>> bool(abs(ternary.dequantize()[0, 1] + 1) < 0.01)
        True
    """
    weights = _images.as_array(array) if _images.is_array(array) else np.asarray(array)
    if not (np.issubdtype(weights.dtype, np.floating) or np.issubdtype(weights.dtype, np.integer)):
        raise ArgumentError(f"weights of type {weights.dtype}; give numbers")
    if weights.ndim < 2:
        raise ArgumentError(f"weights of shape {weights.shape}; give output channels, input channels, and positions")
    if not np.isfinite(weights).all():
        raise NonFiniteError("weights with NaN or infinite numbers")
    if not 1 <= _number("scale_bits", scale_bits) <= 8:
        raise ArgumentError(f"scale_bits={scale_bits}; give 1 to 8")
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    return TernaryTensor(*_fgq.ternarize_tensor(weights, _number("group", group), scale_bits, threads), group)


def _network(model, images, preprocess, input_size, arch, output_name) -> _fgq.Network:
    return network(
        model, images=images, preprocess=preprocess, input_size=input_size, arch=arch, output_name=output_name
    )


def _plan(plan: Union[Plan, str, None]) -> Optional[_fgq.Plan]:
    if plan is None or isinstance(plan, Plan):
        return None if plan is None else plan._native
    return Plan.read(plan)._native


def _groups(group: Union[int, str, None]) -> Optional[Tuple[int, Optional[int]]]:
    if group is None:
        return None
    return (4, 64) if group == "mixed" else (_number("group", group), None)


def _number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ArgumentError(f"{name}={value!r}; give a whole number")
    if value > 255 and name.endswith("bits"):
        raise ArgumentError(f"{name}={value}; give at most 8")
    return int(value)


def _texts(pairs: Optional[Mapping[str, Any]]) -> list:
    return [(str(pattern), str(value)) for pattern, value in (pairs or {}).items()]


def _bytes(name: str, size: Union[int, str, None]) -> Optional[int]:
    if size is None:
        return None
    if isinstance(size, str):
        digits = size.rstrip("BbKkMmGgIi ")
        unit = _UNITS.get(size[len(digits) :].strip().upper())
        try:
            size = None if unit is None else int(float(digits) * unit)
        except ValueError:
            size = None
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
        raise ArgumentError(f"{name}: give bytes, as a number or as in '400KB'")
    return int(size)
