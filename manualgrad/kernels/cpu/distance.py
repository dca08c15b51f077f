"""Kernels of ``layers/distance.py`` and of the cosine in ``embedding_loss.py``: a pair of vectors at a time.

Backward reads a pair twice, for what is summed along it and for the gradients; the second time it is in the
cache.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.distance import CosineSimilarityFunction, PairwiseDistanceFunction, PDistFunction
from ...layers.embedding_loss import EPSILON, CosineEmbeddingLossFunction
from .. import Twin, plain
from . import _math
from ._jit import compiled, inlined

__all__ = ["TWINS"]


@_math.inlined
def shifted(u, v, eps):
    """u − v + ε, in this order: ε counts where u = v"""
    return (u - v) + eps


@compiled(x1="rows, size", x2="rows, size", y="rows")
def distance_forward(x1, x2, y, rows, size, eps):
    T = x1.dtype.type
    for row in prange(rows):
        u, v = x1[row], x2[row]
        total = T(0)
        for i in range(size):
            delta = shifted(u[i], v[i], T(eps))
            total += delta * delta
        y[row] = np.sqrt(total)


@compiled(x1="rows, size", x2="rows, size", g="rows", grad_x1="rows, size", grad_x2="rows, size")
def distance_backward(x1, x2, g, grad_x1, grad_x2, rows, size, eps):
    T = x1.dtype.type
    for row in prange(rows):
        u, v = x1[row], x2[row]
        total = T(0)
        for i in range(size):
            delta = shifted(u[i], v[i], T(eps))
            total += delta * delta
        norm = np.sqrt(total)
        scale = T(0) if norm == T(0) else g[row] / norm
        grad = grad_x1[row]
        for i in range(size):
            grad[i] = scale * shifted(u[i], v[i], T(eps))
        other = grad_x2[row]
        for i in range(size):
            other[i] = -grad[i]


@inlined
def products(u, v, T):
    """Σ u², Σ v² and Σ u v"""
    a, b, both = T(0), T(0), T(0)
    for i in range(u.size):
        a += u[i] * u[i]
        b += v[i] * v[i]
        both += u[i] * v[i]
    return a, b, both


@inlined
def combine(u, v, of_u, of_v, out):
    """of_u u + of_v v"""
    for i in range(out.size):
        out[i] = of_v * v[i] + of_u * u[i]


@compiled(x1="rows, size", x2="rows, size", c="rows")
def cosine_forward(x1, x2, c, rows, size, eps):
    T = x1.dtype.type
    for row in prange(rows):
        a, b, both = products(x1[row], x2[row], T)
        n1, n2 = np.sqrt(a), np.sqrt(b)
        n1 = T(eps) if n1 < T(eps) else n1
        n2 = T(eps) if n2 < T(eps) else n2
        c[row] = both / n1 / n2


@compiled(x1="rows, size", x2="rows, size", g="rows", grad_x1="rows, size", grad_x2="rows, size")
def cosine_backward(x1, x2, g, grad_x1, grad_x2, rows, size, eps):
    T = x1.dtype.type
    for row in prange(rows):
        u, v = x1[row], x2[row]
        a, b, both = products(u, v, T)
        norm1, norm2 = np.sqrt(a), np.sqrt(b)
        n1 = T(eps) if norm1 < T(eps) else norm1
        n2 = T(eps) if norm2 < T(eps) else norm2
        c = both / n1 / n2
        across = g[row] / n1 / n2
        along1 = T(0) if norm1 == T(0) else -g[row] * c / n1 / norm1
        along2 = T(0) if norm2 == T(0) else -g[row] * c / n2 / norm2
        combine(u, v, along1, across, grad_x1[row])
        combine(u, v, across, along2, grad_x2[row])


@compiled(x1="rows, size", x2="rows, size", target="rows", loss="every")
def cosine_embedding_forward(x1, x2, target, loss, rows, size, every, margin, share):
    T = x1.dtype.type
    losses = np.empty(rows)
    for row in prange(rows):
        a, b, both = products(x1[row], x2[row], T)
        c = both / np.sqrt(a + T(EPSILON)) / np.sqrt(b + T(EPSILON))
        missed = T(0) if c < T(margin) else c - T(margin)
        missed = missed if target[row] == T(-1) else T(0)
        losses[row] = T(1) - c if target[row] == T(1) else missed
        if every > 1:
            loss[row] = T(losses[row])
    if every == 1:
        loss[0] = T(losses.sum() * share)


@compiled(
    x1="rows, size", x2="rows, size", target="rows", g="every", grad_x1="rows, size", grad_x2="rows, size"
)  # fmt: skip
def cosine_embedding_backward(x1, x2, target, g, grad_x1, grad_x2, rows, size, every, margin, share):
    T = x1.dtype.type
    for row in prange(rows):
        u, v = x1[row], x2[row]
        a, b, both = products(u, v, T)
        root_a, root_b = np.sqrt(a + T(EPSILON)), np.sqrt(b + T(EPSILON))
        c = both / root_a / root_b
        missed = T(1) if target[row] == T(-1) and c - T(margin) >= T(0) else T(0)
        grad_c = T(g[row % every] * share) * (T(-1) if target[row] == T(1) else missed)
        across = grad_c / root_a / root_b
        combine(u, v, -grad_c * c / root_a / root_a, across, grad_x1[row])
        combine(u, v, across, -grad_c * c / root_b / root_b, grad_x2[row])


@compiled(grain=2048, x="n, size", y="n * (n - 1) // 2", g="n * (n - 1) // 2", grad_x="n, size")
def pdist_backward(x, y, g, grad_x, n, size):
    T = x.dtype.type
    for i in prange(n):
        u = x[i]
        total = np.zeros(size, x.dtype)
        for k in range(n):
            # Row by row of the upper triangle of all pairs.
            if k < i:
                pair = k * (2 * n - k - 1) // 2 + i - k - 1
            elif k > i:
                pair = i * (2 * n - i - 1) // 2 + k - i - 1
            else:
                continue
            scale = T(0) if y[pair] == T(0) else g[pair] / y[pair]
            v = x[k]
            for d in range(size):
                total[d] += scale * (u[d] - v[d])
        out = grad_x[i]
        for d in range(size):
            out[d] = total[d]


def rows_of(x: Tensor) -> tuple[int, int]:
    """How many vectors there are along the last axis, and how long they are."""
    size = x.shape[-1]
    return x.numel() // size, size


def comparable(x1: Tensor, x2: Tensor, *options) -> bool:
    return x1.dim() > 0 and x1.dtype is x2.dtype and x1.is_contiguous() and x2.is_contiguous()


class PairwiseDistanceCPU(PairwiseDistanceFunction):
    @staticmethod
    def forward(x1: Tensor, x2: Tensor, p: float, eps: float, keepdim: bool):
        y = torch.empty((*x1.shape[:-1], 1) if keepdim else x1.shape[:-1], dtype=x1.dtype)
        distance_forward(x1, x2, y, *rows_of(x1), eps)
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return PairwiseDistanceFunction.backward(ctx, grad_y)
        x1, x2 = ctx.saved_tensors
        grad_x1, grad_x2 = torch.empty_like(x1), torch.empty_like(x2)
        distance_backward(x1, x2, grad_y.contiguous(), grad_x1, grad_x2, *rows_of(x1), ctx.eps)
        return grad_x1, grad_x2, None, None, None


class CosineSimilarityCPU(CosineSimilarityFunction):
    @staticmethod
    def forward(x1: Tensor, x2: Tensor, dim: int, eps: float):
        c = torch.empty(x1.shape[:-1], dtype=x1.dtype)
        cosine_forward(x1, x2, c, *rows_of(x1), float(eps))
        return c

    @staticmethod
    def backward(ctx, grad_c: Tensor):
        if not plain(grad_c):
            return CosineSimilarityFunction.backward(ctx, grad_c)
        x1, x2 = ctx.saved_tensors
        grad_x1, grad_x2 = torch.empty_like(x1), torch.empty_like(x2)
        cosine_backward(x1, x2, grad_c.contiguous(), grad_x1, grad_x2, *rows_of(x1), float(ctx.eps))
        return grad_x1, grad_x2, None, None


class CosineEmbeddingLossCPU(CosineEmbeddingLossFunction):
    @staticmethod
    def forward(x1: Tensor, x2: Tensor, target: Tensor, margin: float, reduction: str):
        rows, size = rows_of(x1)
        loss = torch.empty(target.shape if reduction == "none" else (), dtype=x1.dtype)
        share = 1 / rows if reduction == "mean" else 1.0
        target = target.to(x1.dtype).contiguous()
        cosine_embedding_forward(x1, x2, target, loss, rows, size, loss.numel(), margin, share)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not plain(grad):
            return CosineEmbeddingLossFunction.backward(ctx, grad)
        x1, x2, target = ctx.saved_tensors
        rows, size = rows_of(x1)
        g, target = grad.contiguous(), target.to(x1.dtype).contiguous()
        grad_x1, grad_x2 = torch.empty_like(x1), torch.empty_like(x2)
        share = 1 / rows if ctx.reduction == "mean" else 1.0
        cosine_embedding_backward(
            x1, x2, target, g, grad_x1, grad_x2, rows, size, g.numel(), ctx.margin, share
        )  # fmt: skip
        return grad_x1, grad_x2, None, None, None


class PDistCPU(PDistFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return PDistFunction.backward(ctx, grad_y)
        x, y = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        pdist_backward(x, y, grad_y.contiguous(), grad_x, *x.shape)
        return grad_x, None


TWINS = {
    PairwiseDistanceFunction: Twin(
        PairwiseDistanceCPU,
        smallest=1024,
        takes=lambda x1, x2, p, eps, keepdim: p == 2 and comparable(x1, x2),
        asks="p = 2, contiguous vectors",
    ),
    CosineSimilarityFunction: Twin(
        CosineSimilarityCPU,
        smallest=1024,
        takes=lambda x1, x2, dim, eps: comparable(x1, x2) and dim in (-1, x1.dim() - 1),
        asks="contiguous vectors along the last axis",
    ),
    CosineEmbeddingLossFunction: Twin(
        CosineEmbeddingLossCPU, smallest=1024, takes=comparable, asks="contiguous vectors"
    ),
    PDistFunction: Twin(
        PDistCPU,
        smallest=64,
        takes=lambda x, p: p == 2 and x.is_contiguous(),
        asks="p = 2, contiguous vectors",
    ),
}
