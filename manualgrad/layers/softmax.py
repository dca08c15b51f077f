"""Softmax and its relatives: a vector of scores becomes a distribution.

Along the axis ``dim``, with S = Σ_k e^x_k and p = softmax(x), p_i = e^x_i / S, the quotient rule gives

    ∂p_i/∂x_j = (δ_ij e^x_i S − e^x_i e^x_j) / S² = p_i (δ_ij − p_j)

Raising one score takes probability from all others. This Jacobian is never formed; each backward contracts it
with g = ∂L/∂y by hand.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, check_floating, check_tensors, wide

__all__ = [
    "GumbelSoftmaxFunction",
    "LogSoftmax",
    "LogSoftmaxFunction",
    "Softmax",
    "Softmax2d",
    "SoftmaxFunction",
    "Softmin",
    "SoftminFunction",
    "gumbel_softmax",
    "log_softmax",
    "softmax",
    "softmin",
]


class SoftmaxFunction(Function):
    """Exponentials, normalized.

    Forward    y_i = e^(x_i − m) / Σ_j e^(x_j − m),   m = max x (it cancels, and keeps e from overflowing)
    Backward   ∂L/∂x_j = Σ_i g_i y_i (δ_ij − y_j) = y_j (g_j − Σ_i g_i y_i)
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    Source     Bridle 1990, doi:10.1007/978-3-642-76153-9_28
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.dim = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = y * (g - (g * y).sum(ctx.dim, keepdim=True))
        return grad_x.to(grad_y.dtype), None


class LogSoftmaxFunction(Function):
    """The logarithm of softmax, without ever taking the logarithm of a small number.

    Forward    y_i = x_i − log Σ_j e^x_j   (log-sum-exp, shifted by the maximum)
    Backward   ∂ log Σ_k e^x_k / ∂x_j = e^x_j / Σ_k e^x_k = p_j,  so  ∂y_i/∂x_j = δ_ij − p_j  with p = e^y:
               ∂L/∂x_j = Σ_i g_i (δ_ij − p_j) = g_j − p_j Σ_i g_i
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    Source     Goodfellow, Bengio, Courville 2016, "Deep Learning", section 6.2.2.3
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.log_softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.dim = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = g - torch.exp(y) * g.sum(ctx.dim, keepdim=True)
        return grad_x.to(grad_y.dtype), None


class SoftminFunction(SoftmaxFunction):
    """Softmax of −x: the smallest score gets the largest probability.

    Forward    y = softmax(−x)
    Backward   the chain rule through −x turns softmax's sign:   ∂L/∂x_j = −y_j (g_j − Σ_i g_i y_i)
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.softmax(-x, dim)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = y * ((g * y).sum(ctx.dim, keepdim=True) - g)
        return grad_x.to(grad_y.dtype), None


class GumbelSoftmaxFunction(Function):
    """A draw from softmax(x), through which gradients flow.

    Forward    With n independent Gumbel noise, of density e^(−n − e^−n), the largest x_i + n_i is that of i
               with probability softmax(x)_i: a draw is an argmax. Softmax smooths it, the more the higher τ:
               soft   y = softmax((x + n) / τ)
               hard   z = 1 at the largest y_i, else 0
    Backward   ∂y_i/∂x_j = y_i (δ_ij − y_j) / τ, so ∂L/∂x_j = y_j (g_j − Σ_i g_i y_i) / τ
               z is constant almost everywhere, which would teach nothing. Straight through, z is given the
               derivative of y: so g is what arrives at y, and at z as well
    Shapes     x, n, y, z: any; sums run over ``dim``
    Saves      y
    Source     Jang, Gu, Poole 2016, arXiv:1611.01144; Maddison, Mnih, Teh 2016, arXiv:1611.00712
    """

    @staticmethod
    def forward(x: Tensor, noise: Tensor, tau: float, dim: int, hard: bool):
        y = torch.softmax((x + noise) / tau, dim)
        if not hard:
            return y
        largest = y.argmax(dim, keepdim=True)
        return torch.zeros_like(y).scatter(dim, largest, 1.0), y

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, ctx.tau, ctx.dim, hard = inputs
        ctx.save_for_backward(output[1] if hard else output)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor):
        (y,) = ctx.saved_tensors
        g = sum(wide(grad) for grad in grad_outputs)
        y = wide(y)
        grad_x = y * (g - (g * y).sum(ctx.dim, keepdim=True)) / ctx.tau
        return grad_x.to(grad_outputs[0].dtype), None, None, None, None


def _apply(
    function: type[Function], name: str, x: Tensor, dim: int | None, dtype: torch.dtype | None
) -> Tensor:
    check_tensors(name, input=x)
    if dim is None:
        dim = 0 if x.dim() in (0, 1, 3) else 1
        warnings.warn(
            f"{name}: dim was not given, and dim={dim} was taken for an input with {x.dim()} axes; "
            "the implicit choice is deprecated, so name the axis that sums to one",
            stacklevel=3,
        )
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name}: dtype must be a torch.dtype, but got {dtype!r}")
    if dtype is not None:  # which wins over autocast
        return apply(function, x.to(dtype), dim)
    return apply(function, x, dim, autocast=FLOAT32_ON_ACCELERATOR)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Normalized exponentials along ``dim``, as :func:`torch.nn.functional.softmax`.

    Args:
        dim: the axis whose sums are one. Leaving it out is deprecated, as in torch.
        dtype: the dtype that the input is cast to first.
    """
    return _apply(SoftmaxFunction, "softmax", input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Logarithm of :func:`softmax`, of the same arguments, as :func:`torch.nn.functional.log_softmax`."""
    return _apply(LogSoftmaxFunction, "log_softmax", input, dim, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """:func:`softmax` of −input, of the same arguments, as :func:`torch.nn.functional.softmin`."""
    return _apply(SoftminFunction, "softmin", input, dim, dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A draw from the distribution softmax(``logits``), as :func:`torch.nn.functional.gumbel_softmax`.

    Args:
        logits: any shape; scores along ``dim``.
        tau: the temperature. The lower, the nearer to a single 1 among zeros.
        hard: whether the draw is made a single 1 among zeros; its gradient is that of the soft one.
        eps: has no effect, and is deprecated in torch.

    Raises:
        RuntimeError: if the logits are not floating point.
        IndexError: if there is no axis ``dim``.
    """
    check_floating("gumbel_softmax", RuntimeError, logits=logits)
    if eps != 1e-10:
        warnings.warn(
            f"gumbel_softmax: eps={eps} has no effect, and is deprecated; leave it out", stacklevel=2
        )
    exponential = torch.empty_like(logits, memory_format=torch.contiguous_format).exponential_()
    # P(noise ≤ n) = P(exponential ≥ e^−n) = e^(−e^−n), of which the density is the derivative
    noise = -exponential.log()
    drawn = apply(GumbelSoftmaxFunction, logits, noise, tau, dim, hard, autocast=FLOAT32_ON_ACCELERATOR)
    return drawn[0] if hard else drawn


class Softmax(nn.Softmax):
    """:class:`torch.nn.Softmax` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)


class Softmax2d(nn.Softmax2d):
    """:class:`torch.nn.Softmax2d` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        check_tensors("Softmax2d", input=input)
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected an input (N, C, H, W) or (C, H, W), but got shape {list(input.shape)}; "
                "for other inputs use Softmax, with dim"
            )
        return softmax(input, -3)


class LogSoftmax(nn.LogSoftmax):
    """:class:`torch.nn.LogSoftmax` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, self.dim)


class Softmin(nn.Softmin):
    """:class:`torch.nn.Softmin` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softmin(input, self.dim)
