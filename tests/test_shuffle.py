"""What torch's shuffles cannot do, so that the catalog's comparison with them cannot cover it."""

import pytest
import torch
from torch.testing import assert_close

from manualgrad import functional

X = torch.randn(2, 6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

EMPTY = {
    "pixel_shuffle of no samples": (functional.pixel_shuffle, (0, 4, 2, 3), (0, 1, 4, 6)),
    "pixel_shuffle of no channels": (functional.pixel_shuffle, (2, 0, 2, 3), (2, 0, 4, 6)),
    "pixel_unshuffle of no samples": (functional.pixel_unshuffle, (0, 1, 4, 6), (0, 4, 2, 3)),
    "pixel_unshuffle of no channels": (functional.pixel_unshuffle, (2, 0, 4, 6), (2, 0, 2, 3)),
    "channel_shuffle of no channels": (functional.channel_shuffle, (2, 0, 2, 3), (2, 0, 2, 3)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty(name):
    """The shape that the formula says, and torch for meta tensors, and a gradient of the input's shape."""
    function, shape, expected = EMPTY[name]
    x = torch.zeros(shape, requires_grad=True)
    y = function(x, 2)
    assert y.shape == expected
    assert getattr(torch, function.__name__)(torch.zeros(shape, device="meta"), 2).shape == expected
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    assert grad.shape == shape
    assert torch.autograd.grad(y, x, torch.ones(3, *y.shape), is_grads_batched=True)[0].shape == (3, *shape)


def test_native_channel_shuffle_has_a_derivative():
    x = X.clone().requires_grad_()
    y = functional.native_channel_shuffle(x, 3)
    assert_close(y, torch.native_channel_shuffle(X, 3), rtol=0, atol=0)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected,) = torch.autograd.grad(torch.channel_shuffle(x, 3), x, direction)
    assert_close(torch.autograd.grad(y, x, direction)[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffle_is_undone_by_its_gradient(groups):
    x = X.clone().requires_grad_()
    y = functional.channel_shuffle(x, groups)
    assert_close(torch.autograd.grad(y, x, y)[0], X, rtol=0, atol=0)


def test_layout_is_kept():
    """Images in channels_last stay so, forwards and backwards."""
    for function, r in ((functional.pixel_shuffle, 1), (functional.channel_shuffle, 3)):
        x = X.to(memory_format=torch.channels_last).requires_grad_()
        y = function(x, r)
        assert y.is_contiguous(memory_format=torch.channels_last)
        (grad,) = torch.autograd.grad(y, x, y.detach())
        assert grad.is_contiguous(memory_format=torch.channels_last)
