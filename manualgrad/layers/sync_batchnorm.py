"""Batch normalization over several processes, each of which holds a part of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_tensors, wide
from .batchnorm import batch_norm, batch_statistics, move_running, step, values_per_channel
from .normalization import check_per_channel, per_channel

__all__ = ["SyncBatchNorm", "SyncBatchNormFunction", "sync_batch_norm"]


class SumOverProcesses(torch.autograd.Function):
    """The sum of what all processes of a group give, which each of them gets.

    Forward    s_i = Σ_k u_k   on every process i
    Backward   The loss L is the sum of the losses of all processes. u_k reaches every s_i, with derivative 1:
               ∂L/∂u_k = Σ_i ∂L/∂s_i,  the same sum, of gradients

    A step of a backward, not a layer: it stands in no row of the catalog. What differentiates a backward that
    uses it gets the right second derivative, if every process does so.
    """

    @staticmethod
    def forward(u: Tensor, group):
        total = u.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx, grad_total: Tensor):
        return SumOverProcesses.apply(grad_total, ctx.group), None

    @staticmethod
    def vmap(info, in_dims, u: Tensor, group):
        return SumOverProcesses.apply(u, group), in_dims[0]


def statistics_of_all(x: Tensor, group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean μ and variance σ² of each channel, and the number N of its values, over all of ``group``.

    Each process writes its own n, μ and σ² into its row of a table of zeros; the sum of the tables is the
    whole one. A group of None is this process alone.
    """
    mean, var = batch_statistics(x)
    count = mean.new_full((1,), values_per_channel(x))
    if group is None:
        return mean, var, count
    rows = torch.arange(torch.distributed.get_world_size(group), device=x.device)
    own = (rows == torch.distributed.get_rank(group)).to(mean.dtype).reshape(-1, 1)
    table = SumOverProcesses.apply(own * torch.cat([count, mean, var]), group)
    counts, means, variances = table.split([1, len(mean), len(var)], 1)
    count = counts.sum(0)
    share = counts / count.clamp(min=1)
    mean = (share * means).sum(0)
    var = (share * (variances + (means - mean).square())).sum(0)
    return mean, var, count


class SyncBatchNormFunction(Function):
    """Batch normalization over the batches of all processes, as if they were one.

    Forward    Process k holds n_k values of a channel, of mean μ_k and variance σ²_k. It sends these three
               numbers to all others and gets theirs (one all-reduce):
               N = Σ_k n_k,   μ = Σ_k n_k μ_k / N
               σ² = Σ_k n_k (σ²_k + (μ_k − μ)²) / N
               for x_i − μ = (x_i − μ_k) + (μ_k − μ), and the first part sums to 0 over the values of
               process k, so that squares add: Σ_i (x_i − μ)² = n_k σ²_k + n_k (μ_k − μ)².
               From here on as in BatchNorm:   x̂ = (x − μ) r,   r = (σ² + ε)^(−1/2),   y = x̂ w + b
    Backward   L is the sum of the losses of all processes, g = ∂L/∂y. Through μ and r, x_j reaches every x̂_i,
               on this process or another, as in LayerNorm: ∂x̂_i/∂x_j = r (δ_ij − 1/N − x̂_i x̂_j / N), so that
               ∂L/∂x_j = r w (g_j − Σg / N − x̂_j Σ(g x̂) / N)   with both sums over all processes.
               Each process sums over its own values; one all-reduce adds these sums, and the n_k to N.
               w and b are copies, one for each process, and a copy reaches its own outputs only:
               ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g   over this process. Whoever keeps the copies equal, such as
               DistributedDataParallel, adds or averages their gradients, as those of all other layers.
    Shapes     x, y: (B, C, *), where each process has a B of its own, 0 even;   w, b: (C) or None
    Saves      x, w, μ, σ²
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167; the variance: Chan, Golub, LeVeque 1979, "Updating
               formulae and a pairwise algorithm for computing sample variances", STAN-CS-79-773

    A backward is a collective call: all processes of the group make it, or none of them, and with the same
    arguments. To be differentiated again, it recomputes μ and σ², with an all-reduce of its own.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group):
        mean, var, count = statistics_of_all(x, group)
        rstd = torch.rsqrt(var + eps)
        scale = rstd if weight is None else rstd * weight
        y = (x - per_channel(mean, x.dim())) * per_channel(scale, x.dim())
        y = y if bias is None else y + per_channel(bias, x.dim())
        return y.to(x.dtype), mean, var, count

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.eps, ctx.group = inputs
        _, mean, var, count = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var, count)
        ctx.save_for_backward(x, weight, mean, var)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _count):
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: μ and σ² are functions of x, not constants
            mean, var, _ = statistics_of_all(x, ctx.group)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        rstd = torch.rsqrt(var + ctx.eps)
        x_hat = (x - per_channel(mean, x.dim())) * per_channel(rstd, x.dim())
        g = wide(grad_y)
        sum_g = g.sum(axes)
        sum_g_x_hat = (g * x_hat).sum(axes)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            mean_g, mean_g_x_hat = means_of_all(sum_g, sum_g_x_hat, values_per_channel(x), ctx.group)
            scale = rstd if weight is None else rstd * weight
            grad_x = (
                g - per_channel(mean_g, x.dim()) - x_hat * per_channel(mean_g_x_hat, x.dim())
            ) * per_channel(scale, x.dim())
            grad_x = grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = sum_g_x_hat.to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = sum_g.to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None, None


def means_of_all(u: Tensor, v: Tensor, count: int, group) -> tuple[Tensor, Tensor]:
    """Σu / N and Σv / N, where the sums of the processes are u and v, and their ``count`` add up to N."""
    if group is None:
        return u / max(count, 1), v / max(count, 1)
    sums = SumOverProcesses.apply(torch.cat([u, v, u.new_full((1,), count)]), group)
    u, v, total = sums.split([len(u), len(v), 1])
    return u / total.clamp(min=1), v / total.clamp(min=1)


def sync_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    process_group=None,
) -> Tensor:
    """Batch normalization in training over the batches of all processes: torch has no function for it.

    Args:
        input: shape (B, C, *); B may be another on each process, and 0.
        running_mean, running_var: shape (C); updated in place, if given, with the mean and the unbiased
            variance of all processes' values:  running ← (1 − momentum) running + momentum batch.
        weight, bias: shape (C).
        process_group: whose processes; None is this process alone.

    Raises:
        RuntimeError: if the shapes do not fit.
        ValueError: if ``eps`` is not positive, or this process is alone and a channel has one value only.
    """
    if input.dim() < 2:
        raise RuntimeError(f"sync_batch_norm: expected an input (B, C, *), but got shape {list(input.shape)}")
    if eps <= 0:
        raise ValueError(f"sync_batch_norm: eps must be positive, but got {eps}")
    check_per_channel(
        "sync_batch_norm",
        input,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    if process_group is None and values_per_channel(input) == 1:
        raise ValueError(
            "sync_batch_norm: expected more than 1 value per channel when training, "
            f"but got input size {list(input.shape)}"
        )
    y, mean, var, count = apply(SyncBatchNormFunction, input, weight, bias, eps, process_group)
    with torch.no_grad():
        momentum = momentum * (count > 0).to(count.dtype)  # batches that are all empty move nothing
        move_running(running_mean, mean, momentum)
        move_running(running_var, var, momentum, count / (count - 1).clamp(min=1))
    return y


class SyncBatchNorm(nn.SyncBatchNorm):
    """:class:`torch.nn.SyncBatchNorm` with a hand-written backward, on the CPU too.

    In training it normalizes over the processes of ``process_group``, all if that is None. If there is one
    only, and in evaluation, that is batch normalization.
    """

    def forward(self, input: Tensor) -> Tensor:
        check_tensors(type(self).__name__, input=input)
        self._check_input_dim(input)
        self._check_non_zero_input_channels(input)
        momentum = step(self)
        if not self.training:
            use_batch = self.running_mean is None and self.running_var is None
            mean, var = self.running_mean, self.running_var
            return batch_norm(input, mean, var, self.weight, self.bias, use_batch, momentum, self.eps)
        return sync_batch_norm(
            input,
            self.running_mean if self.track_running_stats else None,
            self.running_var if self.track_running_stats else None,
            self.weight,
            self.bias,
            momentum,
            self.eps,
            others(self.process_group),
        )

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module, process_group=None) -> nn.Module:
        """As torch's: every batch norm in ``module`` becomes a SyncBatchNorm, but one of this class."""
        converted = super().convert_sync_batchnorm(module, process_group)
        if type(converted) is nn.SyncBatchNorm:
            converted.__class__ = cls
        return converted


def others(process_group):
    """The group to synchronize with: ``process_group`` or that of all; None if there is one process only."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    group = process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None
