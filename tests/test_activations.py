"""Activations and alpha dropout, where tables do not reach: in place, half numbers, second derivatives."""

import pytest
import torch
import torch.nn.functional as torch_functional
from options.activation import IN_PLACE
from torch.testing import assert_close

from manualgrad import functional, nn

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", [*IN_PLACE, "alpha_dropout", "feature_alpha_dropout"])
def test_in_place_really_is(name):
    function = getattr(functional, name)
    options = {**IN_PLACE.get(name, {"p": 0.5, "training": True}), "inplace": True}
    x = X.clone()
    assert function(x, **options) is x
    assert not torch.equal(x, X)
    leaf = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        function(leaf, **options)


@pytest.mark.parametrize("name", [name for name in IN_PLACE if name != "rrelu"])
def test_in_place_compiles(name):
    def function(x):
        return getattr(functional, name)(x * 1, **IN_PLACE[name], inplace=True)

    torch.compiler.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    assert_close(compiled(X), function(X), rtol=0, atol=0)


MODULES = {
    "Threshold": (0.1, -2.0),
    **dict.fromkeys(("ReLU", "ReLU6", "Hardtanh", "Hardsigmoid", "Hardswish"), ()),
    **dict.fromkeys(("LeakyReLU", "RReLU", "ELU", "CELU", "SELU", "SiLU", "Mish"), ()),
    **dict.fromkeys(("AlphaDropout", "FeatureAlphaDropout"), ()),
}


@pytest.mark.parametrize("name", MODULES)
def test_in_place_modules(name):
    """``inplace=True`` of a module does what it does in torch: of alpha dropouts, nothing."""
    found = []
    for namespace in (nn, torch.nn):
        torch.manual_seed(0)
        x = X.clone()
        y = getattr(namespace, name)(*MODULES[name], inplace=True)(x)
        found.append((x, y))
    assert_close(found[0], found[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
def test_hardtanh_saves_one_tensor(inplace):
    """In place the output, as else a copy would be needed."""
    x = X.clone().requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t):
        middle = x.view_as(x) * 1
        saved.clear()
        y = functional.relu6(middle, inplace=inplace)
    assert saved == [middle.data_ptr()]
    assert (y.data_ptr() == middle.data_ptr()) is inplace


EVERY = {
    "relu6": (),
    "hardtanh": (-0.7, 0.3),
    "hardshrink": (0.7,),
    "softshrink": (0.7,),
    "threshold": (0.7, 0.1),
    "leaky_relu": (0.3,),
    "hardsigmoid": (),
    "hardswish": (),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_every_number_of_a_half_type(name, dtype):
    """So also those next to a border that is none of them. NaN apart: torch has two gradients for it."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    x = x[~x.isnan()]
    found = []
    for namespace in (functional, torch_functional):
        leaf = x.clone().requires_grad_()
        y = getattr(namespace, name)(leaf, *EVERY[name])
        found.append((y.detach(), *torch.autograd.grad(y.sum(), leaf)))
    assert_close(found[0], found[1], rtol=torch.finfo(dtype).eps, atol=1e-7, equal_nan=True)


SECOND = {
    "hardswish": (),
    "elu": (),
    "celu": (0.5,),
    "selu": (),
    "mish": (),
    "logsigmoid": (),
    "softsign": (),
    "tanhshrink": (),
    "silu": (),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivative_of_large_numbers(name):
    """Where an exponential overflows it is not taken, so that no NaN comes back."""
    x = torch.tensor([-1e4, -800.0, -100.0, 100.0, 800.0, 1e4], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(getattr(functional, name)(x, *SECOND[name]).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert_close(second, torch.zeros_like(x), rtol=0, atol=1e-5)


def test_a_gradient_that_is_cut_off_may_be_infinite():
    """Where the slope is zero nothing passes, not even an infinity."""
    for name in ("relu6", "hardtanh", "hardsigmoid", "hardswish", "relu"):
        x = torch.full((3,), -5.0, requires_grad=True)
        (grad,) = torch.autograd.grad(getattr(functional, name)(x), x, torch.full((3,), float("inf")))
        assert_close(grad, torch.zeros(3))


def test_rrelu_slopes():
    x = -torch.ones(20000, dtype=torch.float64)
    slopes = -functional.rrelu(x, 0.2, 0.6, training=True)
    assert slopes.min() >= 0.2
    assert slopes.max() <= 0.6
    assert_close(slopes.mean().item(), 0.4, rtol=0, atol=0.005)
    assert_close(functional.rrelu(x, 0.2, 0.6), 0.4 * x)


def test_rrelu_under_vmap():
    """Each number has a slope of its own, positive ones the slope 1."""

    def function(x):
        return functional.rrelu(x, 0.2, 0.6, training=True)

    x = torch.stack([X, X])
    y = torch.func.vmap(function, randomness="different")(x)
    assert_close(y[x > 0], x[x > 0])
    slopes = (y / x)[x < 0]
    assert ((slopes > 0.2) & (slopes < 0.6)).all()
    assert len(set(slopes.tolist())) == len(slopes)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p):
    x = torch.randn(200000, dtype=torch.float64)
    y = functional.alpha_dropout(x, p, training=True)
    assert_close(y.mean().item(), 0.0, rtol=0, atol=0.02)
    assert_close(y.var().item(), 1.0, rtol=0, atol=0.02)


def test_feature_alpha_dropout_drops_channels():
    y = functional.feature_alpha_dropout(torch.zeros(6, 8, 5), 0.5, training=True)
    assert (y == y[:, :, :1]).all()
    assert len(y.unique()) == 2


def test_selu_constants_are_torchs():
    x = torch.tensor([1.0, -float("inf")], dtype=torch.float64)
    assert torch.equal(functional.selu(x), torch_functional.selu(x))


def test_gumbel_draws_from_softmax():
    logits = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    draws = functional.gumbel_softmax(logits.expand(50000, 3), hard=True)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert (draws.sum(1) == 1).all()
    assert_close(draws.mean(0), torch.softmax(logits, 0), rtol=0, atol=0.01)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_gumbel_second_derivative(hard):
    """Also of a hard draw, whose gradient is that of the soft one: no gradcheck can look at it."""
    found = []
    for namespace in (functional, torch_functional):
        x = X.clone().requires_grad_()
        torch.manual_seed(0)
        y = namespace.gumbel_softmax(x, 0.7, hard)
        (first,) = torch.autograd.grad((y * X).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * X.cos()).sum(), x)
        found.append((y, first, second))
    assert found[0][2].abs().max() > 0.01
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_gumbel_eps_warns():
    with pytest.warns(UserWarning, match="gumbel_softmax: eps=0.001 has no effect"):
        functional.gumbel_softmax(X, eps=1e-3)


def test_softmax2d_axes():
    with pytest.raises(ValueError, match=r"Softmax2d: .*\[3, 4\]"):
        nn.Softmax2d()(X)
