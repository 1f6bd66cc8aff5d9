"""Networks of PyTorch: converted, trained with quantizers, packed again."""

import copy
import os
import pickle
import warnings

import numpy as np
import pytest
from conftest import DIGITS, NETWORK, PREPROCESS, tensors

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from networks import Digits, Separable  # noqa: E402

import fgq  # noqa: E402
import fgq.torch  # noqa: E402

#: Top-1 of simulation and integers must agree on so many percent of 500 images.
AGREEMENT = 99.5


@pytest.fixture
def module():
    return trained_module()


def trained_module():
    module = Digits().eval()
    weights = tensors(DIGITS / "digits-resnet.safetensors")
    state = {name: torch.from_numpy(np.array(value)).float() for name, value in weights.items()}
    module.load_state_dict(state, strict=False)
    return module


def inputs(images):
    pixels = torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float32)
    return (pixels / 255 - PREPROCESS["mean"][0]) / PREPROCESS["std"][0]


def answers(module, images):
    with torch.no_grad():
        return module.eval()(inputs(images)).argmax(1).numpy()


def agreement(module, model, images):
    return 100 * (answers(module, images) == model.session(2).run(images).argmax(1)).mean()


def prepare(module, images, **options):
    return fgq.torch.prepare(module, images, preprocess=PREPROCESS, progress=False, **options)


def train(module, images, labels, steps=20, forward=None, rate=1e-3):
    forward = module if forward is None else forward
    optimiser = torch.optim.AdamW(module.parameters(), rate, weight_decay=0)
    torch.manual_seed(0)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(images), (64,))
        loss = F.cross_entropy(forward(inputs(images[chosen.numpy()])), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="session")
def more(digits):
    return digits["train_images"][:, :, :, None], torch.from_numpy(digits["train_labels"].astype(np.int64))


def test_a_module_is_exported_without_a_warning(module, train):
    module.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fgq.convert(module, train, preprocess=PREPROCESS, progress=False)
    assert module.training
    of_file = fgq.convert(NETWORK, train, preprocess=PREPROCESS, progress=False)
    assert [layer["precision"] for layer in model.layers] == [layer["precision"] for layer in of_file.layers]


def test_modules_need_a_size(module):
    with pytest.raises(fgq.ArgumentError, match="input_size"):
        fgq.convert(module, ["a.png"])
    with pytest.raises(fgq.Error):
        fgq.convert(module, "no-such-folder", input_size=8)


def test_modules_that_cannot_be_exported(train):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 1, 1)

        def forward(self, x):
            raise ValueError("no way")

    with pytest.raises(fgq.UnsupportedError, match="no way"):
        fgq.convert(Broken(), train)


def test_loaders_and_tensors(module, train):
    expected = fgq.convert(module, train, preprocess=PREPROCESS, progress=False)
    data = torch.utils.data.TensorDataset(inputs(train), torch.zeros(len(train), dtype=torch.long))
    loader = torch.utils.data.DataLoader(data, batch_size=10)
    for images in (inputs(train), loader):
        model = fgq.convert(module, images, preprocess=PREPROCESS, input_size=8, progress=False)
        assert model == expected
    counted = fgq.evaluate(model, loader, progress=False)
    assert counted["images"] == 64


@pytest.mark.parametrize("options", [{"group": 4}, {"group": 64, "act_bits": 4}, {"set": {".*": "int8"}}])
def test_simulation_is_what_the_integers_compute(module, train, test, options):
    model = prepare(module, train, **options)
    assert agreement(module, model, test) >= AGREEMENT
    again = fgq.torch.pack(module)
    assert agreement(module, again, test) >= AGREEMENT
    assert [layer["bytes"] for layer in again.layers] == [layer["bytes"] for layer in model.layers]
    session, before = again.session(1), model.session(1)
    a, b = session.run(test) * session.logit_scale, before.run(test) * before.logit_scale
    assert np.abs(a - b).max() <= 0.1 * np.abs(b).max()


@pytest.mark.parametrize("options", [{"group": 64}, {"group": 4, "act_bits": 4}])
def test_training_helps_and_packs(module, train, test, labels, more, options):
    before = prepare(module, train, method="closed-form", **options)
    codes = codes_of(before)
    losses = train_digits(module, more)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    model = fgq.torch.pack(module)
    assert agreement(module, model, test) >= AGREEMENT
    assert codes_of(model) != codes
    top1 = [fgq.evaluate(m, test, labels=labels, progress=False)["top1"] for m in (before, model)]
    assert top1[1] >= top1[0] - 1
    assert model.provenance["options"]["trained"] == "PyTorch"
    assert pickle.loads(pickle.dumps(model)) == model


def codes_of(model):
    return [state["codes"].tobytes() for state in fgq._fgq.layer_states(model._native)]


def train_digits(module, more, **options):
    return train(module, *more, **options)


def test_a_plan(module, train, test):
    plan = fgq.plan(
        module, train, preprocess=PREPROCESS, precisions=["ternary:4", "int4", "int8"], act_bits=[8, 4], measure=16,
        max_size="60KB", progress=False,
    )  # fmt: skip
    model = prepare(module, train, plan=plan)
    assert agreement(module, fgq.torch.pack(module), test) >= AGREEMENT
    assert {layer["precision"] for layer in model.layers} >= {"int8"}


def test_depthwise_biases_and_flattened_maps(digits):
    torch.manual_seed(1)
    colour = np.random.default_rng(0).integers(0, 256, (564, 8, 8, 3)).astype(np.uint8)
    module = Separable().eval()
    model = fgq.torch.prepare(module, colour[:64], preprocess={"mean": 0.5, "std": [0.2, 0.3, 0.25]}, progress=False)
    with torch.no_grad():
        ours = module(fgq.torch.pixels_to_input(colour[64:], model)).argmax(1).numpy()
    for packed in (model, fgq.torch.pack(module)):
        assert 100 * (ours == packed.session(1).run(colour[64:]).argmax(1)).mean() >= AGREEMENT
    module.train()
    module(fgq.torch.pixels_to_input(colour[:8], model)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def test_gradients_against_finite_differences(module, train):
    """Factors and steps: where rounding does not change, the loss is smooth in them but for the rounded part."""
    quantizer = fgq.torch.InputStep(0.1, 3, 15).double()
    x = torch.tensor([-1.0, -0.234, 0.0, 0.111, 0.777, 5.0], dtype=torch.float64, requires_grad=True)
    quantizer(x).sum().backward()
    inside = torch.tensor([0.0, 1, 1, 1, 1, 0], dtype=torch.float64)
    torch.testing.assert_close(x.grad, inside)
    # Esser et al., equation 3: round(u) - u inside, the bound outside.
    u = (x.detach() / 0.1).float()
    slope = torch.where(inside.bool(), u.round() - u, u.clamp(-3, 12))
    share = float(1 * 15) ** -0.5
    torch.testing.assert_close(quantizer.step.grad.float(), (slope.sum() * share).float(), rtol=1e-4, atol=1e-4)


def test_detach_leaves_the_weights_of_the_codes(module, train, test):
    prepare(module, train)
    before = answers(module, test)
    fgq.torch.detach(module)
    assert not any("parametrizations" in name or "fgq_input" in name for name, _ in module.named_modules())
    assert (answers(module, test) == before).mean() > 0.98
    with pytest.raises(fgq.ArgumentError, match="no quantizers"):
        fgq.torch.pack(module)


def test_state_and_copies(module, train, test):
    model = prepare(module, train)
    twin = trained_module()
    fgq.torch.attach(twin, model)
    twin.load_state_dict(module.state_dict())
    assert fgq.torch.pack(copy.deepcopy(module)) == fgq.torch.pack(twin) == fgq.torch.pack(module)


def test_what_is_refused(module, train):
    reordered = fgq.convert(module, train, preprocess=PREPROCESS, progress=False)
    with pytest.raises(fgq.ArgumentError, match="changed places"):
        fgq.torch.attach(module, reordered)
    model = fgq.convert(module, train, preprocess=PREPROCESS, keep_order=True, progress=False)
    with pytest.raises(fgq.ArgumentError, match="other names|layers"):
        fgq.torch.attach(Separable(1), model)
    planes = fgq.convert(
        module, train, preprocess=PREPROCESS, keep_order=True, set={"/layer1.*": "ternary:4*2"}, progress=False
    )
    with pytest.raises(fgq.ArgumentError, match="can be trained"):
        fgq.torch.attach(module, planes)
    fgq.torch.attach(module, model)
    with pytest.raises(fgq.ArgumentError, match="already"):
        fgq.torch.attach(module, model)


def test_autocast(module, train, test, more):
    prepare(module, train, group=64)

    def forward(x):
        with torch.autocast("cpu", torch.bfloat16):
            return module(x)

    losses = train_digits(module, more, steps=10, forward=lambda x: forward(x).float())
    assert np.isfinite(losses).all()
    assert agreement(module, fgq.torch.pack(module), test) >= AGREEMENT


def test_compiled(module, train, test, more):
    prepare(module, train, group=64)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(inputs(test[:16])), module(inputs(test[:16])))
    train_digits(module, more, steps=3, forward=compiled)
    assert agreement(module, fgq.torch.pack(compiled), test) >= AGREEMENT


def _distributed(rank, port, model_bytes, images, labels, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    module = trained_module()
    fgq.torch.attach(module, fgq.Model.from_bytes(model_bytes))
    wrapped = torch.nn.parallel.DistributedDataParallel(module)
    optimiser = torch.optim.SGD(wrapped.parameters(), 1e-3)
    for step in range(3):
        chosen = slice(64 * (2 * step + rank), 64 * (2 * step + rank) + 64)
        F.cross_entropy(wrapped(inputs(images[chosen])), labels[chosen]).backward()
        optimiser.step()
        optimiser.zero_grad()
    results[rank] = fgq.torch.pack(wrapped).to_bytes()
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_network(module, train, more):
    model = fgq.convert(module, train, preprocess=PREPROCESS, keep_order=True, group=64, progress=False)
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        port = 29500 + os.getpid() % 1000
        torch.multiprocessing.spawn(_distributed, (port, model.to_bytes(), *more, results), nprocs=2)
        assert results[0] == results[1] != model.to_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu(module, train, test, more):
    prepare(module, train, group=64)
    module.cuda()
    train_digits(module, more, steps=5, forward=lambda x: module(x.cuda()).cpu())
    assert agreement(module.cpu(), fgq.torch.pack(module), test) >= AGREEMENT
