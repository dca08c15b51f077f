"""What random inputs of kernels are made of; a table of draws for each page of layers stands beside."""

from __future__ import annotations

import random

import torch
from torch import Tensor

__all__ = ["special", "strided"]


def strided(x: Tensor, rng: random.Random) -> Tensor:
    """The numbers of ``x`` in another memory layout: dense, permuted, with gaps, or reversed axes."""
    kind = rng.choice(["contiguous", "permuted", "gaps", "channels_last", "offset"])
    if kind == "permuted" and x.dim() > 1:
        order = rng.sample(range(x.dim()), x.dim())
        return x.permute(order).contiguous().permute([order.index(axis) for axis in range(x.dim())])
    if kind == "gaps" and x.dim():
        return torch.stack([x, x], -1)[..., 0]
    if kind == "channels_last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if kind == "offset" and x.dim():
        return (
            torch.cat([x.reshape(-1).narrow(0, 0, min(1, x.numel())), x.reshape(-1)])
            .narrow(0, min(1, x.numel()), x.numel())
            .reshape(x.shape)
        )
    return x.contiguous()


def special(x: Tensor, rng: random.Random) -> Tensor:
    """``x`` as it is in most draws; in the others with ties, or with NaN or infinities here and there."""
    kind = rng.choice(["normal", "normal", "normal", "ties", "nan", "inf"])
    if kind == "ties":
        return (2 * x).round() / 2
    if kind in ("nan", "inf") and x.numel():
        x = x.clone()
        for _ in range(rng.randint(1, 3)):
            x.view(-1)[rng.randrange(x.numel())] = (
                float("nan") if kind == "nan" else rng.choice([1, -1]) * float("inf")
            )
    return x
