"""Our optimizers follow torch's trajectory, read each other's state, and refuse what they are not."""

import copy

import pytest
import torch
from torch.testing import assert_close

import manualgrad
from manualgrad import optim
from manualgrad.kernels import unavailable

OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.01, "maximize": True, "weight_decay": 0.1},
        {"lr": torch.tensor(0.05), "momentum": 0.5},
    ],
    "Adam": [
        {},
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6},
        {"lr": 0.05, "weight_decay": 0.1},
        {"lr": 0.05, "amsgrad": True},
        {"lr": 0.05, "maximize": True},
        {"lr": 0.05, "decoupled_weight_decay": True, "weight_decay": 0.1},
    ],
    "AdamW": [{}, {"lr": 0.05, "weight_decay": 0.1}, {"lr": 0.05, "amsgrad": True, "maximize": True}],
}
RUNS = [pytest.param(n, o, id=f"{n}{o}") for n, options in OPTIONS.items() for o in options]


@pytest.fixture(
    params=[pytest.param("auto", marks=pytest.mark.kernels), "formula"],
    autouse=True,
)
def mode(request):
    """By kernels, and by the formulas."""
    if request.param == "auto" and unavailable():
        pytest.skip(unavailable())
    with manualgrad.kernels(request.param):
        yield request.param


# In float64: in float32 an Adam that has converged divides rounding by rounding, with either class.


def problem() -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    return model, torch.randn(16, 4, dtype=torch.float64)


def train(model, data, optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(data).sin() - 0.3).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("name", "options"), RUNS)
def test_trajectory(name, options):
    (ours, data), (theirs, _) = problem(), problem()
    got = train(ours, data, getattr(optim, name)(ours.parameters(), **copy.deepcopy(options)), 100)
    expected = train(theirs, data, getattr(torch.optim, name)(theirs.parameters(), **options), 100)
    assert got[0] != got[-1]
    assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), RUNS)
def test_state_dict_is_exchanged(name, options):
    """Half the way with one class, the rest with the other: the same end."""
    (straight, data), (changed, _) = problem(), problem()
    ours, theirs = getattr(optim, name), getattr(torch.optim, name)
    train(straight, data, theirs(straight.parameters(), **options), 20)
    for first, second in ((ours, theirs), (theirs, ours)):
        changed, _ = problem()
        before = first(changed.parameters(), **copy.deepcopy(options))
        train(changed, data, before, 10)
        after = second(changed.parameters(), **copy.deepcopy(options))
        after.load_state_dict(before.state_dict())
        train(changed, data, after, 10)
        assert_close(changed.state_dict(), straight.state_dict(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_half_precision(name, dtype):
    """Large gradients too, whose square a half type cannot hold long."""
    found = []
    for namespace in (optim, torch.optim):
        w = torch.ones(4, dtype=dtype, requires_grad=True)
        optimizer = getattr(namespace, name)([w], lr=0.01)
        for k in range(3):
            w.grad = torch.tensor([0.5, -2.0, 30.0, 200.0 + 50 * k], dtype=dtype)
            optimizer.step()
        found.append(w.detach())
    assert_close(found[0], found[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("name", "options"), RUNS)
def test_layouts(name, options):
    """Parameters, gradients and states in every layout, empty ones too, and a step seen by autograd."""
    found = []
    for namespace in (optim, torch.optim):
        torch.manual_seed(0)
        square = torch.randn(6, 8, dtype=torch.float64)
        made = (square.clone(), square.t(), square[:, ::2], square[:0], square[0, 0])
        parameters = [w.detach().requires_grad_() for w in made]
        optimizer = getattr(namespace, name)(parameters, **copy.deepcopy(options))
        for k in range(3):
            for w in parameters:
                w.grad = torch.randn(w.shape[::-1], dtype=torch.float64).permute(list(range(w.dim()))[::-1])
                if k == 2:
                    w.grad = w.grad.contiguous()
            versions = [w._version for w in parameters]
            optimizer.step()
            changed = [w._version > before for w, before in zip(parameters, versions)]
        assert all(changed[:3])
        found.append([w.detach().clone() for w in parameters])
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_step_counter_is_float32_under_any_default_dtype():
    torch.set_default_dtype(torch.bfloat16)
    try:
        w = torch.ones(1, requires_grad=True)
        optimizer = optim.Adam([w])
        w.grad = torch.ones(1)
        optimizer.step()
        assert optimizer.state[w]["step"].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_is_an_optimizer():
    model, data = problem()
    optimizer = optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.0}], lr=0.1
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    frozen = model[2].weight.detach().clone()
    calls = []
    optimizer.register_step_post_hook(lambda *args: calls.append(1))

    def closure():
        optimizer.zero_grad()
        loss = model(data).square().mean()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    scheduler.step()
    assert optimizer.step(closure) < first
    assert torch.equal(model[2].weight, frozen)
    assert len(calls) == 2
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert isinstance(optimizer, torch.optim.SGD)


def test_sparse_gradients():
    found = []
    for namespace in (optim, torch.optim):
        torch.manual_seed(0)
        layer = torch.nn.Embedding(6, 3, sparse=True)
        optimizer = namespace.SGD(layer.parameters(), lr=0.1)
        layer(torch.tensor([1, 4, 1])).square().sum().backward()
        optimizer.step()
        found.append(layer.weight.detach())
    assert_close(found[0], found[1])
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="Adam: sparse gradients are not supported"):
        optim.Adam(layer.parameters()).step()


@pytest.mark.parametrize("option", ["foreach", "fused", "differentiable"])
@pytest.mark.parametrize("name", OPTIONS)
def test_other_implementations_are_refused(name, option):
    with pytest.raises(ValueError, match=f"{name}: {option}=True"):
        getattr(optim, name)(problem()[0].parameters(), **{option: True})
    with pytest.raises(ValueError, match=f"{name}: {option}=True"):
        getattr(optim, name)([{"params": problem()[0].parameters(), option: True}])


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_values_are_torchs_errors(name):
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        getattr(optim, name)(problem()[0].parameters(), lr=-1)
    with pytest.raises(ValueError, match="empty parameter list"):
        getattr(optim, name)([])
