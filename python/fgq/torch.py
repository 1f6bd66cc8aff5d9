"""Fine-tuning of packed models in a loop of your own, on any device PyTorch has.

>>> import fgq.torch
>>> fgq.torch.prepare(module, images, group=64)  # doctest: +SKIP
>>> ...  # train `module` as any other
>>> fgq.torch.pack(module).save("tuned.fgq")  # doctest: +SKIP

Weights get a parametrization, inputs a hook; no module is replaced and no tensor subclassed, so that data-parallel
wrappers, autocast and ``torch.compile`` work as with any module. The simulation computes what the integers compute, up to the
rounding of values that nothing but a sum reads, and of multipliers and biases.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from . import _fgq
from ._api import convert
from ._errors import ArgumentError
from ._images import channels_last
from ._model import Model
from ._network import NO_WISH, exported, of_onnx

#: How far a weight starts from the bounds between which it rounds to its code.
_WITHIN = 0.49
#: Smallest factor or step, so that nothing is divided by zero.
_TINY = 1e-12
_INPUT = "fgq_input"


def _straight_through(x: Tensor) -> Tensor:
    """`x` rounded, with the gradient of `x` (Bengio et al., arXiv 1308.3432)."""
    return x + (x.round() - x).detach()


def _damped(x: Tensor, share: float) -> Tensor:
    """`x` with a share of its gradient (Esser et al., arXiv 1902.08153, section 2.2)."""
    return x * share + (x - x * share).detach()


class WeightCodes(nn.Module):
    """Weights as multiples of codes: ``factor[o] * scale[g] * round(w / (factor[o] * scale[g]))``, between two levels.

    Codes follow latent weights straight through the rounding; factors learn (arXiv 1902.08153, equation 3); scales of groups
    stay as they are.
    """

    def __init__(self, state: Dict[str, Any], factors: Tensor):
        super().__init__()
        self.low, self.high = state["levels"]
        outputs, inputs, rows, columns = state["shape"]
        self.shape, self.group = (outputs, inputs, rows, columns), state["group"]
        self.factor = nn.Parameter(factors.clone())
        scales = torch.from_numpy(state["scales"].copy()).reshape(outputs, rows, columns, -1)
        self.register_buffer("scales", scales)
        units = state["pixel_units"]
        self.register_buffer("pixel_units", None if units is None else torch.tensor(units, dtype=torch.float32))
        self.share = float(outputs * inputs * rows * columns / outputs * self.high) ** -0.5

    def units(self, factor: Tensor) -> Tensor:
        """What one step of the codes is worth, for every weight."""
        outputs, inputs, *_ = self.shape
        units = factor.sign() * factor.abs().clamp_min(_TINY)
        units = torch.where(factor == 0, torch.full_like(factor, _TINY), units).reshape(outputs, 1, 1, 1)
        if self.group is not None:
            scales = self.scales.to(units.dtype).repeat_interleave(self.group, dim=-1)[..., :inputs]
            units = units * scales.permute(0, 3, 1, 2)
        if self.pixel_units is not None:
            own = self.pixel_units if inputs == len(self.pixel_units) else self.pixel_units.repeat(outputs)[:outputs]
            units = units * own.reshape((1, -1, 1, 1) if inputs == len(self.pixel_units) else (-1, 1, 1, 1))
        return units.expand(self.shape)

    def rounded(self, weight: Tensor, units: Tensor) -> Tensor:
        """The codes, with gradients."""
        safe = torch.where(units == 0, torch.ones_like(units), units)
        codes = _straight_through((weight.reshape(self.shape) / safe).clamp(self.low, self.high))
        return torch.where(units == 0, torch.zeros_like(codes), codes)

    def forward(self, weight: Tensor) -> Tensor:
        units = self.units(_damped(self.factor, self.share))
        return (self.rounded(weight, units) * units).reshape(weight.shape)

    @torch.no_grad()
    def codes(self, weight: Tensor) -> np.ndarray:
        """Codes in storage order: output channel, kernel row, kernel column, input channel."""
        codes = self.rounded(weight.float(), self.units(self.factor))
        return codes.permute(0, 2, 3, 1).round().to(torch.int8).cpu().numpy().reshape(-1)

    @torch.no_grad()
    def start(self, weight: Tensor, codes: np.ndarray) -> Tensor:
        """The latent weights nearest to `weight` that round to `codes`."""
        outputs, inputs, rows, columns = self.shape
        codes = torch.from_numpy(codes.astype(np.float32)).reshape(outputs, rows, columns, inputs).permute(0, 3, 1, 2)
        units = self.units(self.factor)
        safe = torch.where(units == 0, torch.ones_like(units), units)
        steps = (weight.reshape(self.shape) / safe).clamp(codes - _WITHIN, codes + _WITHIN)
        return torch.where(units == 0, weight.reshape(self.shape), steps * units).reshape(weight.shape)


class InputStep(nn.Module):
    """Activations as multiples of a learned step: ``step * (clamp(round(x / step) + zero) - zero)``."""

    def __init__(self, step: float, zero: int, largest: int):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(float(step)))
        self.zero, self.largest = zero, largest

    def forward(self, x: Tensor) -> Tensor:
        share = float(max(x[0].numel(), 1) * self.largest) ** -0.5
        step = _damped(self.step, share).clamp_min(_TINY)
        codes = _straight_through((x.float() / step).clamp(-self.zero, self.largest - self.zero))
        return (codes * step).to(x.dtype)

    @torch.no_grad()
    def quantizer(self) -> Tuple[float, int, int]:
        """Step, zero point, largest code."""
        return float(self.step.clamp_min(_TINY)), self.zero, self.largest


def _read_in_steps(module: nn.Module, arguments: tuple) -> tuple:
    return (module.get_submodule(_INPUT)(arguments[0]), *arguments[1:])


class _Attached(NamedTuple):
    """What a prepared module remembers."""

    model: Model
    #: Layer of the packed model, and of the module.
    layers: List[Tuple[str, str]]


def prepare(module: nn.Module, images: Any, **options: Any) -> Model:
    """Converts `module` and attaches quantizers to it, which start where the conversion ended.

    Args:
        module: The trained network; it stays where it is, and its weights learn on.
        images: What the conversion calibrates on; see :func:`fgq.convert`.
        options: Those of :func:`fgq.convert`, a plan among them.

    Returns:
        The converted model, as it is before training.
    """
    model = convert(module, images, keep_order=True, **options)
    attach(module, model)
    return model


def attach(module: nn.Module, model: Union[Model, str]) -> nn.Module:
    """Attaches quantizers to `module`, which start at the codes, scales, steps and biases of `model`.

    Args:
        module: The network that `model` was converted from.
        model: A packed model or its file, converted from this module with ``keep_order=True``.

    Returns:
        `module`.

    Raises:
        ArgumentError: A model of another network, layers that are called twice, weights in several planes.
    """
    if not isinstance(model, Model):
        model = Model(_fgq.Model.read(str(model)))
    if hasattr(module, "_fgq"):
        raise ArgumentError("the module has quantizers already; detach them first")
    if any(parametrize.is_parametrized(layer) for layer in module.modules()):
        raise ArgumentError("the module has parametrizations already; remove them first")
    states = {state["name"]: state for state in _fgq.layer_states(model._native)}
    _check(states)
    calls = _traced(module, model._native.preprocess.shape)
    names = _layer_names(module, model, calls, states)
    steps: Dict[int, InputStep] = {}
    for call, name in zip(calls, names):
        _attach_layer(call, states[name], steps)
    module._fgq = _Attached(model, [(name, call.name) for call, name in zip(calls, names)])
    return module


def detach(module: nn.Module) -> nn.Module:
    """Takes the quantizers off again; the weights are then what their codes stand for.

    Returns:
        `module`.
    """
    for _, name in _attached(module).layers:
        layer = module.get_submodule(name)
        _leave_weight(layer)
        if _INPUT in layer._modules:
            del layer._modules[_INPUT]
        hooks = [key for key, hook in layer._forward_pre_hooks.items() if hook is _read_in_steps]
        for key in hooks:
            del layer._forward_pre_hooks[key]
    del module._fgq
    return module


@torch.no_grad()
def _leave_weight(layer: nn.Module) -> None:
    """As ``remove_parametrizations``, which would also take the weight from all copies of `layer`: they share a class."""
    weight = layer.weight.detach().clone()
    layer.__class__ = parametrize.type_before_parametrizations(layer)
    del layer.parametrizations
    layer.weight = nn.Parameter(weight)


def pack(module: nn.Module) -> Model:
    """The packed model that `module` has become; it stays as it is.

    Args:
        module: A prepared module, or a wrapper of one (``DistributedDataParallel``, ``torch.compile``).

    Raises:
        ArgumentError: A module without quantizers, or one that was changed since.
    """
    module = _unwrapped(module)
    model = _attached(module).model
    plain = copy.deepcopy(module).cpu().eval()
    layers = []
    for name, place in plain._fgq.layers:
        layer = plain.get_submodule(place)
        codes = layer.parametrizations.weight[0].codes(layer.parametrizations.weight.original)
        step = layer._modules.get(_INPUT)
        layers.append((name, codes, None if step is None else step.quantizer()))
    return Model(_fgq.repack(_network(detach(plain), model), model._native, layers))


def _network(module: nn.Module, model: Model) -> _fgq.Network:
    """A module without quantizers as the network that `model` is compared with."""
    size = tuple(model._native.preprocess.shape[:2])
    return of_onnx(type(module).__name__ + ".onnx", exported(module, size), NO_WISH, size)


def _unwrapped(module: nn.Module) -> nn.Module:
    """The prepared module in wrappers, which may pass its attributes on."""
    while "_fgq" not in module.__dict__:
        inner = module._modules.get("_orig_mod", module._modules.get("module"))
        if inner is None:
            break
        module = inner
    return module


def _attached(module: nn.Module) -> _Attached:
    if not hasattr(module, "_fgq"):
        raise ArgumentError("the module has no quantizers; prepare it with fgq.torch.prepare")
    return module._fgq


def _check(states: Dict[str, Dict[str, Any]]) -> None:
    for name, state in states.items():
        if state["levels"] is None or state["planes"] != 1:
            raise ArgumentError(
                f"layer '{name}' has weights of {state['precision']}; ternary:N and intB can be trained here"
            )


class _Call(NamedTuple):
    """A layer in the order of execution."""

    name: str
    layer: nn.Module
    #: The normalisation that reads its output.
    norm: Optional[nn.Module]


def _traced(module: nn.Module, shape: Tuple[int, int, int]) -> List[_Call]:
    """The layers with weights in the order in which the module calls them."""
    names = {layer: name for name, layer in module.named_modules()}
    order, outputs, norms, hooks = [], {}, {}, []

    def called(layer, _, output):
        order.append(layer)
        # Kept alive, so that no other tensor gets its place.
        outputs[id(output)] = (layer, output)

    def normalises(norm, arguments):
        found = outputs.get(id(arguments[0]))
        if found is not None:
            norms[found[0]] = norm

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            hooks.append(layer.register_forward_hook(called))
        elif isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(normalises))
    was_training, first = module.training, next(module.parameters())
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, shape[2], *shape[:2], device=first.device, dtype=first.dtype))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    twice = [names[layer] for layer in order if order.count(layer) > 1]
    if twice:
        raise ArgumentError(f"layer '{twice[0]}' is called twice; give each call a layer of its own")
    return [_Call(names[layer], layer, norms.get(layer)) for layer in order]


def _layer_names(module: nn.Module, model: Model, calls: List[_Call], states: Dict[str, Any]) -> List[str]:
    """The packed model's layer for every call: both follow the order of execution."""
    names = _network(module, model).layers
    if len(names) != len(calls) or set(names) != set(states):
        raise ArgumentError(
            f"the module has {len(calls)} layers, the packed model {len(states)}, or they have other names; "
            "convert this very module with fgq.torch.prepare"
        )
    for name, call in zip(names, calls):
        if call.layer.weight.numel() != int(np.prod(states[name]["shape"])):
            raise ArgumentError(f"layer '{call.name}' has other weights than '{name}' of the packed model")
    return names


@torch.no_grad()
def _attach_layer(call: _Call, state: Dict[str, Any], steps: Dict[int, InputStep]) -> None:
    layer, norm = call.layer, call.norm
    weight = layer.weight.detach().float().cpu()
    gain = torch.ones(weight.shape[0], dtype=torch.float64) if norm is None else _gain(norm)
    factors = torch.from_numpy(state["factors"])
    factors = torch.where(gain == 0, factors, factors / torch.where(gain == 0, torch.ones_like(gain), gain))
    codes = WeightCodes(state, factors.float())
    start = codes.start(weight, state["codes"]).to(layer.weight)
    _set_bias(layer, norm, gain, torch.from_numpy(state["bias"]))
    layer.weight.copy_(start)
    parametrize.register_parametrization(layer, "weight", codes.to(layer.weight.device), unsafe=True)
    if state["pixel_units"] is None:
        if state["input"] not in steps:
            steps[state["input"]] = InputStep(*state["step"]).to(layer.weight.device)
        layer.add_module(_INPUT, steps[state["input"]])
        layer.register_forward_pre_hook(_read_in_steps)


def _gain(norm: nn.Module) -> Tensor:
    gain = torch.rsqrt(norm.running_var.double().cpu() + norm.eps)
    return gain if norm.weight is None else gain * norm.weight.detach().double().cpu()


def _set_bias(layer: nn.Module, norm: Optional[nn.Module], gain: Tensor, bias: Tensor) -> None:
    """Gives the layer, or its normalisation, the bias that the conversion found."""
    if norm is not None and norm.bias is not None:
        own = 0.0 if layer.bias is None else layer.bias.detach().double().cpu()
        norm.bias.copy_((bias + gain * (norm.running_mean.double().cpu() - own)).to(norm.bias))
    elif norm is None and layer.bias is not None:
        layer.bias.copy_(bias.to(layer.bias))


def pixels_to_input(images: Any, model: Model) -> Tensor:
    """``uint8`` images of the input's size as the numbers that the network in full precision reads, channels first."""
    preprocess = model._native.preprocess
    array = images if isinstance(images, np.ndarray) else np.asarray(images)
    last = channels_last(array if array.ndim == 4 else array[None], preprocess.shape)
    values = (last - np.asarray(preprocess.pixel_mean)) / np.asarray(preprocess.pixel_std)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32))
