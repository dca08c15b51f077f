"""Lazy layers compute with our forward and backward at the first call, and become our class."""

import inspect

import pytest
import torch
from test_graph import left_to_autograd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.testing import assert_close

import manualgrad
from manualgrad import nn

TORCHS = [
    cls
    for name, cls in vars(torch.nn).items()
    if inspect.isclass(cls) and issubclass(cls, LazyModuleMixin) and name.startswith("Lazy")
]
OPTIONS = {"Linear": (3,), "Conv": (3, 2), "ConvTranspose": (3, 2), "BatchNorm": (), "InstanceNorm": ()}


def sample(cls) -> tuple[tuple, dict, torch.Tensor]:
    """Arguments of the constructor, and an input."""
    kind = cls.__name__.removeprefix("Lazy")
    ndim = int(kind[-2]) if kind.endswith("d") else 0
    options = {"affine": True, "track_running_stats": True} if "Instance" in kind else {}
    shape = (4, 2, *range(4, 4 + ndim))
    generator = torch.Generator().manual_seed(0)
    return (
        OPTIONS[kind.rstrip("123d") if ndim else kind],
        options,
        torch.randn(shape, generator=generator, dtype=torch.float64),
    )


def first_call(cls, swap: bool):
    """The module after its first call, the output and the gradients."""
    args, options, x = sample(cls)
    torch.manual_seed(0)
    module = cls(*args, **options).double()
    if swap:
        manualgrad.swap(module)
    x.requires_grad_()
    y = module(x)
    grads = torch.autograd.grad(y.sin().sum(), (x, *module.parameters()), retain_graph=True)
    return module, y, grads


@pytest.mark.parametrize("cls", TORCHS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("swap", [False, True], ids=["constructed", "swapped"])
def test_becomes_ours(cls, swap):
    name = cls.__name__
    theirs, expected, expected_grads = first_call(cls, swap=False)
    module, y, grads = first_call(cls if swap else getattr(nn, name), swap)
    assert type(module) is getattr(nn, name.removeprefix("Lazy"))
    assert_close((y, grads), (expected, expected_grads), rtol=1e-10, atol=1e-10)
    assert left_to_autograd([y]) == set()
    assert_close(module.state_dict(), theirs.state_dict(), rtol=1e-10, atol=1e-10)
    manualgrad.unswap(module)
    assert type(module) is type(theirs)


@pytest.mark.parametrize("cls", TORCHS, ids=lambda cls: cls.__name__)
def test_unswap_before_the_first_call(cls):
    args, options, x = sample(cls)
    module = cls(*args, **options).double()
    assert manualgrad.swap(module).changed == {"": getattr(nn, cls.__name__)}
    manualgrad.unswap(module)
    assert type(module) is cls
    module(x)
    assert type(module).__module__.startswith("torch.nn.")


def test_context_manager_restores_what_was_lazy():
    module = torch.nn.LazyLinear(2)
    with manualgrad.swapped(module):
        module(torch.ones(1, 3))
        assert type(module) is nn.Linear
    assert type(module) is torch.nn.Linear
