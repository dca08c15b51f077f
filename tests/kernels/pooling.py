"""Draws for the kernels of pooling: maxima, means, norms, windows at random places, and back."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def plane(ndim: int, rng: random.Random) -> torch.Tensor:
    lead = [rng.choice([0, 1, 2, 3]) if rng.random() < 0.3 else 2 for _ in range(rng.choice([1, 2]))]
    lengths = [rng.choice([1, 2, 5, 8, 9, 20] if axis or ndim < 3 else [1, 2, 4]) for axis in range(ndim)]
    return strided(special(torch.randn(*lead, *lengths, dtype=torch.float64), rng), rng)


def windows(rng: random.Random) -> dict:
    kernel = rng.choice([1, 2, 2, 3, 3, 4])
    return {
        "kernel_size": kernel,
        "stride": rng.choice([None, None, 1, 2, 3]),
        "padding": rng.randint(0, kernel // 2) if rng.random() < 0.5 else 0,
        "ceil_mode": rng.random() < 0.3,
    }


def max_pool(ndim: int, rng: random.Random):
    options = windows(rng)
    options["dilation"] = rng.choice([1, 1, 1, 2])
    if options["dilation"] > 1:
        options["padding"] = 0
    options["return_indices"] = rng.random() < 0.2
    return partial(getattr(nn, f"MaxPool{ndim}d"), **options), (plane(ndim, rng),)


def avg_pool(ndim: int, rng: random.Random):
    options = windows(rng)
    options["count_include_pad"] = rng.random() < 0.5
    if ndim > 1:
        options["divisor_override"] = rng.choice([None, None, 3])
    return partial(getattr(nn, f"AvgPool{ndim}d"), **options), (plane(ndim, rng),)


def adaptive_pool(kind: str, ndim: int, rng: random.Random):
    size = rng.choice([1, 2, 3, 7, tuple(rng.choice([1, 1, 2, 5]) for _ in range(ndim))])
    size = size[0] if ndim == 1 and isinstance(size, tuple) else size
    return partial(getattr(nn, f"Adaptive{kind}Pool{ndim}d"), size), (plane(ndim, rng),)


def lp_pool(ndim: int, rng: random.Random):
    options = windows(rng)
    del options["padding"]
    p = rng.choice([2, 2, 2.0, 1, 3, 1.5, -1, float("inf"), -float("inf")])
    return partial(getattr(nn, f"LPPool{ndim}d"), p, **options), (plane(ndim, rng),)


class Unpool(torch.nn.Module):
    """Unpools to the places that it was built with."""

    def __init__(self, ndim: int, index: torch.Tensor):
        super().__init__()
        self.unpool, self.index = getattr(nn, f"MaxUnpool{ndim}d")(2), index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unpool(x, self.index)


def max_unpool(ndim: int, rng: random.Random):
    x = plane(ndim, rng)
    count = torch.Size(x.shape[-ndim:]).numel()
    # Of as many places as there are elements in a plane, each is in it once.
    order = torch.rand(*x.shape[:-ndim], count * 2**ndim).argsort(-1)[..., :count]
    return partial(Unpool, ndim, strided(order.reshape(x.shape), rng)), (x,)


def fractional_pool(ndim: int, rng: random.Random):
    x = plane(ndim, rng)
    kernel = [rng.randint(1, min(3, length)) for length in x.shape[-ndim:]]
    size = [rng.randint(0, length - k + 1) for length, k in zip(x.shape[-ndim:], kernel)]
    options = {"output_size": tuple(size), "return_indices": rng.random() < 0.3}
    return partial(getattr(nn, f"FractionalMaxPool{ndim}d"), tuple(kernel), **options), (x,)


FUZZ = {
    **{f"MaxPool{ndim}d": partial(max_pool, ndim) for ndim in (1, 2, 3)},
    **{f"AvgPool{ndim}d": partial(avg_pool, ndim) for ndim in (1, 2, 3)},
    **{f"LPPool{ndim}d": partial(lp_pool, ndim) for ndim in (1, 2, 3)},
    **{f"MaxUnpool{ndim}d": partial(max_unpool, ndim) for ndim in (1, 2, 3)},
    **{f"FractionalMaxPool{ndim}d": partial(fractional_pool, ndim) for ndim in (2, 3)},
    **{
        f"Adaptive{kind}Pool{ndim}d": partial(adaptive_pool, kind, ndim)
        for kind in ("Avg", "Max")
        for ndim in (1, 2, 3)
    },
}
