"""Batch normalization: statistics over the batch, so that every sample's output depends on all samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_tensors, wide
from .normalization import check_per_channel, per_channel

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchNormEvalFunction",
    "BatchNormFunction",
    "batch_norm",
]


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean μ and (biased) variance σ² of each channel, over samples and positions; both of shape (C).

    Of an empty batch both are 0, and still functions of x.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    count = max(values_per_channel(x), 1)
    mean = wide(x).sum(axes) / count
    var = (x - per_channel(mean, x.dim())).square().sum(axes) / count
    return mean, var


def values_per_channel(x: Tensor) -> int:
    """The number N of samples times positions."""
    return x.numel() // x.shape[1] if x.shape[1] else 0


class BatchNormFunction(Function):
    """Standardize each channel with the statistics of the batch, then scale and shift it.

    Forward    μ = mean(x),  σ² = mean((x − μ)²)  over the N samples and positions of a channel
               x̂ = (x − μ) r   with  r = (σ² + ε)^(−1/2),   y = x̂ w + b
    Backward   g = ∂L/∂y,  ĝ = g w = ∂L/∂x̂.  x_j reaches x̂_i directly, through μ and through r (see
               LayerNorm): ∂x̂_i/∂x_j = r (δ_ij − 1/N − x̂_i x̂_j / N)
               ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g
               Summed with ĝ_i = g_i w, where w is one number for the whole channel,
               ∂L/∂x = r w (g − Σg / N − x̂ Σ(g x̂) / N),  in which both sums are the gradients of b and w
    Shapes     x, y: (B, C, *);   w, b: (C) or None;   μ, σ²: (C);   N = elements of x / C
    Saves      x, w, μ, σ²
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        mean, var = batch_statistics(x)
        rstd = torch.rsqrt(var + eps)
        scale = rstd if weight is None else rstd * weight
        y = (x - per_channel(mean, x.dim())) * per_channel(scale, x.dim())
        y = y if bias is None else y + per_channel(bias, x.dim())
        return y.to(x.dtype), mean, var

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.eps = inputs
        _, mean, var = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, var)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var):
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: μ and σ² are functions of x, not constants
            mean, var = batch_statistics(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        count = max(values_per_channel(x), 1)
        rstd = torch.rsqrt(var + ctx.eps)
        x_hat = (x - per_channel(mean, x.dim())) * per_channel(rstd, x.dim())
        g = wide(grad_y)
        sum_g = g.sum(axes)
        sum_g_x_hat = (g * x_hat).sum(axes)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            scale = rstd if weight is None else rstd * weight
            grad_x = (
                g - per_channel(sum_g / count, x.dim()) - x_hat * per_channel(sum_g_x_hat / count, x.dim())
            ) * per_channel(scale, x.dim())
            grad_x = grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = sum_g_x_hat.to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = sum_g.to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None


class BatchNormEvalFunction(Function):
    """Standardize with given statistics: constants now, so each x_i reaches its own y_i only.

    Forward    x̂ = (x − μ) r   with  r = (σ² + ε)^(−1/2),   y = x̂ w + b
    Backward   ∂L/∂x = g r w,   ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g
    Shapes     x, y: (B, C, *);   μ, σ²: (C);   w, b: (C) or None
    Saves      μ, σ², w; x only if w needs a gradient
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 2
    """

    @staticmethod
    def forward(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        rstd = torch.rsqrt(wide(var) + eps)
        scale = rstd if weight is None else rstd * weight
        y = (x - per_channel(mean, x.dim())) * per_channel(scale, x.dim())
        y = y if bias is None else y + per_channel(bias, x.dim())
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, mean, var, weight, bias, ctx.eps = inputs
        need_weight = ctx.needs_input_grad[3]
        ctx.x_dtype = x.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(x if need_weight else None, mean, var, weight)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, mean, var, weight = ctx.saved_tensors
        ndim = grad_y.dim()
        axes = [axis for axis in range(ndim) if axis != 1]
        rstd = torch.rsqrt(wide(var) + ctx.eps)
        g = wide(grad_y)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            scale = rstd if weight is None else rstd * weight
            grad_x = (g * per_channel(scale, ndim)).to(ctx.x_dtype)
        if ctx.needs_input_grad[3]:
            x_hat = (x - per_channel(mean, ndim)) * per_channel(rstd, ndim)
            grad_weight = (g * x_hat).sum(axes).to(weight.dtype)
        if ctx.needs_input_grad[4]:
            grad_bias = g.sum(axes).to(ctx.bias_dtype)
        return grad_x, None, None, grad_weight, grad_bias, None


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization, as :func:`torch.nn.functional.batch_norm`.

    Args:
        input: shape (B, C, *).
        running_mean, running_var: shape (C); used if not ``training``, else updated in place (if given) with
            the batch's mean and unbiased variance:  running ← (1 − momentum) running + momentum batch.
        weight, bias: shape (C).
        training: whether the statistics are the batch's.

    Raises:
        RuntimeError: if the shapes do not fit, or statistics are needed and missing.
        ValueError: if ``eps`` is not positive, or a channel has one value only in training, which
            standardizing would turn into 0.
    """
    check_batch_norm("batch_norm", input, running_mean, running_var, weight, bias, training, eps)
    if not training:
        return apply(BatchNormEvalFunction, input, running_mean, running_var, weight, bias, eps)
    y, mean, var = apply(BatchNormFunction, input, weight, bias, eps)
    track(input, running_mean, running_var, mean, var, momentum)
    return y


def check_batch_norm(
    name: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
) -> None:
    """Raise what :func:`batch_norm` says that it raises."""
    check_tensors(name, input=input)
    if input.dim() < 2:
        raise RuntimeError(f"{name}: expected an input (B, C, *), but got shape {list(input.shape)}")
    if eps <= 0:
        raise ValueError(f"{name}: eps must be positive, but got {eps}")
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")
    check_per_channel(
        name, input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not training and running_mean is None:
        raise RuntimeError(f"{name}: running_mean and running_var must be given when training=False")
    if training and values_per_channel(input) == 1:
        raise ValueError(
            f"{name}: expected more than 1 value per channel when training, "
            f"but got input size {list(input.shape)}"
        )


def track(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    var: Tensor,
    momentum: float | Tensor,
) -> None:
    """Move the running statistics towards those of the batch x, the variance made unbiased."""
    count = values_per_channel(x)
    if count and running_mean is not None:
        with torch.no_grad():
            move_running(running_mean, mean, momentum)
            move_running(running_var, var, momentum, count / (count - 1))


def move_running(
    running: Tensor | None, batch: Tensor, momentum: float | Tensor, factor: float | Tensor = 1.0
) -> None:
    """running ← (1 − momentum) running + momentum factor batch, in place; None is not kept."""
    if running is None:
        return
    share = momentum * factor
    if isinstance(share, Tensor):
        running.mul_(1 - momentum).add_(share * batch)
    else:
        running.mul_(1 - momentum).add_(batch, alpha=share)


def step(module: nn.modules.batchnorm._NormBase) -> float | Tensor:
    """Count the batch if it is one to be tracked, and say how far it moves the running statistics."""
    if module.training and module.track_running_stats and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if module.momentum is None:  # the running statistics are the plain average of all batches so far
            return 1.0 / module.num_batches_tracked.to(module.running_mean.dtype)
    return 0.0 if module.momentum is None else module.momentum


def arguments(module: nn.modules.batchnorm._BatchNorm) -> tuple:
    """What the functional is called with after its input; the batch is counted."""
    momentum = step(module)
    use_batch = module.training or (module.running_mean is None and module.running_var is None)
    tracking = not module.training or module.track_running_stats
    return (
        module.running_mean if tracking else None,
        module.running_var if tracking else None,
        module.weight,
        module.bias,
        use_batch,
        momentum,
        module.eps,
    )


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    # Which statistics, and how fast they move, is state of the module; the formula above knows only tensors.
    def forward(self, input: Tensor) -> Tensor:
        check_tensors(type(self).__name__, input=input)
        self._check_input_dim(input)
        return batch_norm(input, *arguments(self))


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` with a hand-written backward."""


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` with a hand-written backward."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """:class:`torch.nn.BatchNorm3d` with a hand-written backward."""
