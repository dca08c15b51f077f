"""A linear map and the activation behind it, in one.

Apart, the map writes v = x Wᵀ + b and the activation y = f(v), and mostly both are kept. Together they keep
one of the two, y where it tells f′(v), else v.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..function import LOW, Function, apply, check_tensors, own, wide
from ._blocks import observed
from .activation import Sigmoid, Tanh, sigmoid, tanh
from .gating import GELU, GELUFunction, SiLU, gelu, silu
from .leaky import LeakyReLU, leaky_relu
from .linear import Linear, check_linear, rows
from .piecewise import ReLU, relu

__all__ = ["LinearActivation", "LinearActivationFunction", "linear_activation"]

LINEARS = (nn.Linear, Linear)
# The names of activations, by their modules.
NAMES: dict[type[nn.Module], str] = {
    **dict.fromkeys((nn.GELU, GELU), "gelu"),
    **dict.fromkeys((nn.LeakyReLU, LeakyReLU), "leaky_relu"),
    **dict.fromkeys((nn.ReLU, ReLU), "relu"),
    **dict.fromkeys((nn.SiLU, SiLU), "silu"),
    **dict.fromkeys((nn.Sigmoid, Sigmoid), "sigmoid"),
    **dict.fromkeys((nn.Tanh, Tanh), "tanh"),
}
# By name, of v and the slope of leaky_relu: what the layer apart computes.
APART: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gelu": lambda v, slope: gelu(v),
    "gelu_tanh": lambda v, slope: gelu(v, "tanh"),
    "leaky_relu": leaky_relu,
    "relu": lambda v, slope: relu(v),
    "sigmoid": lambda v, slope: sigmoid(v),
    "silu": lambda v, slope: silu(v),
    "tanh": lambda v, slope: tanh(v),
}
# Those whose derivative does not follow from y.
OF_V = ("gelu", "gelu_tanh", "leaky_relu", "silu")


def activated(v: Tensor, activation: str, slope: float) -> Tensor:
    """y = f(v)"""
    if activation == "relu":
        return v.relu()
    if activation == "leaky_relu":
        return torch.where(v > 0, v, slope * v)
    if activation == "tanh":
        return torch.tanh(v)
    if activation == "sigmoid":
        return torch.sigmoid(v)
    gate = (
        torch.sigmoid(wide(v)) if activation == "silu" else GELUFunction.cdf(wide(v), approximate(activation))
    )
    return (wide(v) * gate).to(v.dtype)


def at_activation(g: Tensor, kept: Tensor, activation: str, slope: float) -> Tensor:
    """h = g f′(v), of y or of v"""
    if activation == "relu":
        return torch.where(kept <= 0, 0, g)
    if activation == "leaky_relu":
        return torch.where(kept > 0, g, slope * g)
    if activation == "tanh":
        return g * (1 - kept * kept)
    if activation == "sigmoid":
        return g * (kept * (1 - kept))
    v = wide(kept)
    if activation == "silu":
        sigma = torch.sigmoid(v)
        return (g * (sigma * (1 + v * (1 - sigma)))).to(g.dtype)
    form = approximate(activation)
    return (g * (GELUFunction.cdf(v, form) + v * GELUFunction.pdf(v, form))).to(g.dtype)


def approximate(activation: str) -> str:
    """The form of GELU."""
    return "tanh" if activation == "gelu_tanh" else "none"


class LinearActivationFunction(Function):
    """An affine map of the last axis, and a function of each number behind it.

    Forward    v = x Wᵀ + b,   y = f(v):
               relu  max(v, 0);   leaky_relu  v where v > 0, else a v;   tanh;   sigmoid  σ(v) = 1/(1 + e^−v)
               silu  v σ(v);   gelu  v Φ(v),  Φ the distribution function of a standard normal variable, and
               in the tanh form an approximation of it
    Backward   g = ∂L/∂y.  v_no reaches y_no alone:   h = ∂L/∂v = g ⊙ f′(v),   f′ from the page of f:
               relu  f′ = 1 where y > 0, else 0;   tanh  1 − y²;   sigmoid  y (1 − y)
               leaky_relu  1 where v > 0, else a;   silu  σ (1 + v (1 − σ));   gelu  Φ + v Φ′
               From v on it is Linear, with h in g's place:
               ∂L/∂x = h W     ∂L/∂W = hᵀ x     ∂L/∂b = Σ_n h_n
               Where f′ is one of v, v is an output, too, and k = ∂L/∂v of the other ways out of it, which
               there are if this backward is differentiated, is added:   h = g ⊙ f′(v) + k
    Shapes     x: (*, I);   W: (O, I);   b: (O) or None;   v, y: (*, O)
    Saves      y or v, whichever f′ is one of;   x only if W needs a gradient, W only if x does
    Source     Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, slope: float):
        v = own(nn.functional.linear(x, weight, bias))
        return activated(v, activation, slope), v if activation in OF_V else v.new_empty(0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, ctx.activation, ctx.slope = inputs
        y, v = output
        need_x, need_weight, *_ = ctx.needs_input_grad
        of_v = ctx.activation in OF_V
        if not of_v:
            ctx.mark_non_differentiable(v)
        ctx.set_materialize_grads(False)  # of v it would be zeros, mostly
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None, v if of_v else y)

    @staticmethod
    def backward(ctx, grad_y: Tensor | None, grad_v: Tensor | None):
        x, weight, kept = ctx.saved_tensors
        h = None if grad_y is None else at_activation(grad_y, kept, ctx.activation, ctx.slope)
        if ctx.activation in OF_V and grad_v is not None:
            h = grad_v if h is None else h + grad_v
        if h is None:
            return None, None, None, None, None
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = (rows(h) @ weight).reshape(*h.shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            grad_weight = rows(h).T @ rows(x)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(rows(h)).sum(0).to(h.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def linear_activation(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "relu",
    negative_slope: float = 0.01,
) -> Tensor:
    """An affine map of the last axis and an activation: ``activation(linear(input, weight, bias))``.

    Args:
        input: shape (*, in_features).
        weight: shape (out_features, in_features).
        bias: shape (out_features).
        activation: ``"relu"``, ``"leaky_relu"``, ``"tanh"``, ``"sigmoid"``, ``"silu"``, ``"gelu"`` or
            ``"gelu_tanh"``, the GELU with ``approximate="tanh"``.
        negative_slope: of the LeakyReLU, 0 or more.

    Raises:
        RuntimeError: if the shapes or dtypes do not fit.
        ValueError: if there is no such activation, or the slope is negative.
    """
    name = "linear_activation"
    if activation not in APART:
        raise ValueError(f"{name}: activation must be one of {', '.join(APART)}, but got {activation!r}")
    if not negative_slope >= 0:
        raise ValueError(f"{name}: negative_slope must be 0 or more, but got {negative_slope}")
    # As in linear, what does not fit is put into words afterwards.
    try:
        if weight.dim() == 2 and (bias is None or bias.dim() == 1):
            arguments = (LinearActivationFunction, input, weight, bias, activation, float(negative_slope))
            return apply(*arguments, autocast=LOW)[0]
    except (AttributeError, RuntimeError, TypeError):
        check_linear(name, input, weight, bias)
        raise
    check_linear(name, input, weight, bias)
    raise RuntimeError(
        f"{name}: weight and bias must have shapes (out_features, in_features) and (out_features), but have "
        f"{list(weight.shape)} and {None if bias is None else list(bias.shape)}"
    )


def named(activation: Any) -> tuple[str, float] | None:
    """The name of an activation and its slope; None if it is none that this page has.

    Args:
        activation: a module, or such a pair.
    """
    if isinstance(activation, tuple):
        return activation
    name = NAMES.get(type(activation))
    if name == "leaky_relu":
        return (name, activation.negative_slope) if activation.negative_slope >= 0 else None
    if name == "gelu" and activation.approximate == "tanh":
        return "gelu_tanh", 0.0
    return None if name is None else (name, 0.0)


def transform_activate(input: Tensor, linear: Any, activation: Any) -> Any:
    """What these modules compute, one after the other; in one where it can be.

    Args:
        linear: a module.
        activation: a module, or the name of an activation and its slope.
    """
    check_tensors("LinearActivation", input=input)
    found = named(activation)
    apart = any(observed(m) for m in (linear, activation) if isinstance(m, nn.Module))
    if type(linear) in LINEARS and found is not None and not apart:
        return linear_activation(input, linear.weight, linear.bias, *found)
    v = linear(input)
    if isinstance(activation, tuple):
        name, slope = activation
        return APART[name](v, slope)
    return activation(v)


class LinearActivation(nn.Sequential):
    """A Linear and an activation, in this order, with one hand-written backward.

    Constructor, parameters and output are those of :class:`torch.nn.Sequential`::

        block = LinearActivation(nn.Linear(784, 512), nn.ReLU())

    Args:
        layers: a Linear; a ReLU, LeakyReLU with a slope of 0 or more, Tanh, Sigmoid, SiLU or GELU. Torch's or
            ours.

    Raises:
        TypeError: if they are others.
    """

    def __init__(self, *layers):
        super().__init__(*layers)
        found = list(self)
        if len(found) != 2 or type(found[0]) not in LINEARS or named(found[1]) is None:
            raise TypeError(
                "LinearActivation: expected a Linear, then a ReLU, LeakyReLU (with a slope of 0 or more), "
                f"Tanh, Sigmoid, SiLU or GELU, but got {found}"
            )

    def forward(self, input: Tensor) -> Tensor:
        linear, activation = self
        return transform_activate(input, linear, activation)
