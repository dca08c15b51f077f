"""What the tables cannot say of instance norms, local response norms and p-norms."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import normalize as torch_normalize
from torch.testing import assert_close

from manualgrad import nn
from manualgrad.functional import instance_norm, normalize
from manualgrad.layers.local_response import cross_map_lrn2d

EXACT = {"rtol": 1e-5, "atol": 1e-7}


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 2, 0)])
def test_empty_input_moves_no_running_statistics(shape):
    """torch's become NaN, for good."""
    layer = nn.InstanceNorm1d(2, affine=True, track_running_stats=True)
    before = layer.running_mean.clone(), layer.running_var.clone()
    x = torch.randn(shape, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert_close((layer.running_mean, layer.running_var), before, rtol=0, atol=0)
    assert y.shape == x.grad.shape == shape
    assert_close((layer.weight.grad, layer.bias.grad), (torch.zeros(2), torch.zeros(2)))


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 2, 0)])
def test_empty_instances_twice(shape):
    x, weight, bias = image(*shape), image(2), image(2)
    assert gradgradcheck(lambda *t: instance_norm(t[0], None, None, t[1], t[2]), (x, weight, bias), **EXACT)


def test_other_number_of_channels():
    with pytest.warns(UserWarning, match="InstanceNorm1d: the input has 3 channels and not num_features=2"):
        y = nn.InstanceNorm1d(2)(torch.randn(4, 3, 5))
    assert y.shape == (4, 3, 5)
    with pytest.raises(ValueError, match=r"expected num_features=2 channels.*\[3, 5\] has 3"):
        nn.InstanceNorm1d(2, affine=True)(torch.randn(3, 5))


SIZES = [(size, channels) for size in (1, 2, 3, 4, 5) for channels in (1, 2, 3, 5, 7)]


@pytest.mark.parametrize(("size", "channels"), SIZES)
def test_cross_map_computes_what_torch_computes(size, channels):
    x = image(2, channels, 2, 1)
    expected = torch.nn.CrossMapLRN2d(size, 0.9, 0.6, 1.5)(x)
    assert_close(nn.CrossMapLRN2d(size, 0.9, 0.6, 1.5)(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "channels"), [(1, 3), (2, 3), (3, 4), (3, 5), (4, 4), (5, 7)])
def test_cross_map_gradient(size, channels):
    """Of more channels than torch's gradient is right for, which the catalog compares with."""
    x = image(1, channels, 1, 2)
    assert gradcheck(lambda x: cross_map_lrn2d(x, size, 0.9, 0.6, 1.5), x, check_batched_grad=True, **EXACT)
    assert gradgradcheck(
        lambda x: cross_map_lrn2d(x, size, 0.9, 0.6, 1.5), x, check_batched_grad=True, **EXACT
    )


def test_cross_map_gradient_of_torch_is_wrong():
    """Should this fail, torch has mended it: the catalog can then have cases of many channels."""
    layer = torch.nn.CrossMapLRN2d(3, 0.9, 0.6, 1.5)
    assert not gradcheck(layer, image(1, 4, 1, 2), raise_exception=False)


def test_cross_map_errors():
    with pytest.raises(ValueError, match=r"cross_map_lrn2d: expected an input \(B, C, H, W\).*\[2, 3, 4\]"):
        nn.CrossMapLRN2d(3)(torch.randn(2, 3, 4))
    with pytest.raises(RuntimeError, match="cross_map_lrn2d: size must be greater than zero, but got 0"):
        nn.CrossMapLRN2d(0)(torch.randn(2, 3, 4, 4))
    with pytest.raises(RuntimeError, match=r"cross_map_lrn2d: not implemented for torch.int64"):
        nn.CrossMapLRN2d(3)(torch.ones(2, 3, 4, 4, dtype=torch.long))


def test_local_response_of_integers_is_refused():
    """torch divides them, and rounds the mean of squares down."""
    with pytest.raises(NotImplementedError, match=r"local_response_norm: not implemented for torch.int64"):
        nn.LocalResponseNorm(3)(torch.ones(2, 3, 4, dtype=torch.long))


@pytest.mark.parametrize("p", [2.0, 3.0, 4.0])
def test_normalize_is_twice_differentiable_at_zero_elements(p):
    x = torch.tensor([[0.0, 1.5, -0.5], [0.7, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    # The step is 1e-6: away from the kink of |x|^(p - 1), which is of higher order for p >= 3.
    assert gradgradcheck(lambda x: normalize(x, p), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0])
def test_normalize_is_linear_near_zero(p):
    """Below eps the divisor is a constant, and so are all derivatives."""
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: normalize(x, p, eps=1.0), x, **EXACT)
    assert gradgradcheck(lambda x: normalize(x, p, eps=1.0), x, **EXACT)


def test_normalize_out():
    x = torch.randn(3, 4)
    for function in (normalize, torch_normalize):
        out = torch.empty(3, 4)
        assert function(x, 3.0, 0, out=out) is out
        assert_close(out, normalize(x, 3.0, 0))
    with torch.no_grad():
        assert_close(normalize(x.clone().requires_grad_(), out=torch.empty(3, 4)), normalize(x))


@pytest.mark.parametrize("p", ["fro", None])
def test_normalize_asks_for_a_number(p):
    """torch takes these two, undocumented, for p = 2."""
    with pytest.raises(TypeError, match="normalize: p must be a number"):
        normalize(torch.randn(3, 4), p)
