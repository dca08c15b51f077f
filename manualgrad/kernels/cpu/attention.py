"""Kernels of ``layers/attention.py``: between the products, one pass over the scores.

The heads are taken a few at a time, so many that their scores stay in the cache. The scale, the causal mask
and the softmax are one pass in place; so are, in backward, the weights computed again and the gradient of the
scores. The products are ATen's.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.attention import ScaledDotProductAttentionFunction
from .. import Twin, plain
from ._jit import compiled, inlined
from ._math import exp

__all__ = ["TWINS"]

# Scores that are held at a time.
HELD = 2**18
# Scores of a task: they stay in the first cache, and their exponentials are one loop, however short a row is.
TASK = 4096


@numba.njit(fastmath={"nnan", "nsz", "reassoc"})
def largest_of(z):
    """The largest number. NaN may be passed over, as vectors ask for; its own e^z brings it back."""
    top = -z.dtype.type(np.inf)
    for k in range(z.size):
        top = z[k] if z[k] > top else top
    return top


@inlined
def softmax_of_rows(z, first, count, scale, length):
    """The softmax of s z, in place, of each row; 0 beyond i if row i may look at 0 to i only."""
    T = z.dtype.type
    rows = z.size // count
    for k in range(z.size):
        z[k] *= scale
    for row in range(rows):
        z_row = z[row * count : (row + 1) * count]
        seen = min(count, (first + row) % length + 1) if length else count
        top = largest_of(z_row[:seen])
        for j in range(count):
            z_row[j] -= top
        for j in range(seen, count):
            z_row[j] = -T(np.inf)
    for k in range(z.size):
        z[k] = exp(z[k])
    for row in range(rows):
        z_row = z[row * count : (row + 1) * count]
        total = T(0)
        for j in range(count):
            total += z_row[j]
        r = T(1) / total
        for j in range(count):
            z_row[j] *= r


@compiled(z="rows * count")
def softmax_forward(z, rows, count, scale, length):
    step = max(1, TASK // count)
    for task in prange((rows + step - 1) // step):
        first, last = task * step, min(rows, (task + 1) * step)
        softmax_of_rows(z[first * count : last * count], first, count, z.dtype.type(scale), length)


@compiled(z="rows * count", g="rows * count")
def softmax_and_gradient(z, g, rows, count, scale, length):
    T = z.dtype.type
    step = max(1, TASK // count)
    for task in prange((rows + step - 1) // step):
        first, last = task * step, min(rows, (task + 1) * step)
        softmax_of_rows(z[first * count : last * count], first, count, T(scale), length)
        for row in range(first, last):
            p, grad = z[row * count : (row + 1) * count], g[row * count : (row + 1) * count]
            mean = T(0)
            for j in range(count):
                mean += p[j] * grad[j]
            for j in range(count):
                grad[j] = T(scale) * (p[j] * (grad[j] - mean))


def heads_of(x: Tensor) -> Tensor:
    """(*, L, E) -> (heads, L, E), each head a matrix that a product reads as it is."""
    return x.reshape(-1, *x.shape[-2:])


def held(heads: int, length: int, count: int) -> int:
    """How many heads are taken at a time."""
    return max(1, min(heads, HELD // (length * count)))


class ScaledDotProductAttentionCPU(ScaledDotProductAttentionFunction):
    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        kept: Tensor | None,
        kept_scale: float,
        is_causal: bool,
        scale: float,
    ):
        q, k, v = heads_of(query), heads_of(key), heads_of(value)
        heads, length, _ = q.shape
        count = k.shape[1]
        step = held(heads, length, count)
        scores = q.new_empty(step, length, count)
        output = q.new_empty(*query.shape[:-1], value.shape[-1])
        y = output.view(heads, length, -1)
        for start in range(0, heads, step):
            now = slice(start, start + step)
            z = scores[: min(step, heads - start)]
            torch.bmm(q[now], k[now].transpose(1, 2), out=z)
            softmax_forward(z, z.shape[0] * length, count, scale, length if is_causal else 0)
            torch.bmm(z, v[now], out=y[now])
        return output

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        if not plain(grad_output):
            return ScaledDotProductAttentionFunction.backward(ctx, grad_output)
        query, key, value, _, _ = ctx.saved_tensors
        need_query, need_key, need_value, *_ = ctx.needs_input_grad
        needed = need_query or need_key
        q, k, g = heads_of(query), heads_of(key), heads_of(grad_output)
        v = heads_of(value) if needed else None
        heads, length, _ = q.shape
        count = k.shape[1]
        step = held(heads, length, count)
        scores = q.new_empty(2 if needed else 1, step, length, count)
        grad_q = q.new_empty(q.shape) if need_query else None
        grad_k = k.new_empty(k.shape) if need_key else None
        grad_v = g.new_empty(heads, count, g.shape[-1]) if need_value else None
        causal = length if ctx.is_causal else 0
        for start in range(0, heads, step):
            now = slice(start, start + step)
            many = min(step, heads - start)
            z = scores[0, :many]
            torch.bmm(q[now], k[now].transpose(1, 2), out=z)
            if v is None:
                softmax_forward(z, many * length, count, ctx.scale, causal)
            else:
                grad_z = scores[1, :many]
                torch.bmm(g[now], v[now].transpose(1, 2), out=grad_z)
                softmax_and_gradient(z, grad_z, many * length, count, ctx.scale, causal)
                if grad_q is not None:
                    torch.bmm(grad_z, k[now], out=grad_q[now])
                if grad_k is not None:
                    torch.bmm(grad_z.transpose(1, 2), q[now], out=grad_k[now])
            if grad_v is not None:
                torch.bmm(z.transpose(1, 2), g[now], out=grad_v[now])
        return (
            None if grad_q is None else grad_q.view(query.shape),
            None if grad_k is None else grad_k.view(key.shape),
            None if grad_v is None else grad_v.view(ctx.value_shape),
            *(None,) * 5,
        )


def takes(query, key, value, attn_mask, kept, kept_scale, is_causal, scale) -> bool:
    alike = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    return alike and attn_mask is None and kept is None and key.numel() > 0 and value.numel() > 0


TWINS = {
    ScaledDotProductAttentionFunction: Twin(
        ScaledDotProductAttentionCPU,
        takes=takes,
        asks="no mask but the causal one, no dropout, leading axes alike",
    ),
}
