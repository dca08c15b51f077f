"""Kernels of ``optim.py``: one pass over parameter, gradient and state; formulas make one per operation.

Autograd does not see the writes, so it is told: a backward that still needs the parameter raises, as always.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from torch import Tensor
from torch.autograd.graph import increment_version

from ._jit import compiled

__all__ = ["adam", "sgd"]


@compiled(w="n", g="n", m="n")
def sgd_step(w, g, m, n, lr, momentum, keep, decay, sign, nesterov, first):
    T = w.dtype.type
    lr, momentum, keep, decay, sign = T(lr), T(momentum), T(keep), T(decay), T(sign)
    if first:
        step = lr * (T(1) + momentum) if nesterov else lr
        for i in prange(n):
            d = sign * g[i] + decay * w[i]
            m[i] = d
            w[i] -= step * d
    elif nesterov:
        for i in prange(n):
            d = sign * g[i] + decay * w[i]
            m_i = momentum * m[i] + keep * d
            m[i] = m_i
            w[i] -= lr * (d + momentum * m_i)
    else:
        for i in prange(n):
            m_i = momentum * m[i] + keep * (sign * g[i] + decay * w[i])
            m[i] = m_i
            w[i] -= lr * m_i


@compiled(w="n", g="n", m="n", v="n", largest="n?")
def adam_step(
    w, g, m, v, largest, n, beta1, beta2, keep1, keep2, shrink, decay, sign, step, root, eps
):  # fmt: skip
    T = w.dtype.type
    beta1, beta2, keep1, keep2 = T(beta1), T(beta2), T(keep1), T(keep2)
    shrink, decay, sign, step, root, eps = T(shrink), T(decay), T(sign), T(step), T(root), T(eps)
    if largest.size:
        for i in prange(n):
            w_i = shrink * w[i]
            d = sign * g[i] + decay * w_i
            m_i = beta1 * m[i] + keep1 * d
            v_i = beta2 * v[i] + keep2 * d * d
            m[i], v[i] = m_i, v_i
            # NaN is the largest, as in torch.maximum
            most = largest[i] if largest[i] > v_i or largest[i] != largest[i] else v_i
            largest[i] = most
            w[i] = w_i - step * m_i / (np.sqrt(most) * root + eps)
    else:
        for i in prange(n):
            w_i = shrink * w[i]
            d = sign * g[i] + decay * w_i
            m_i = beta1 * m[i] + keep1 * d
            v_i = beta2 * v[i] + keep2 * d * d
            m[i], v[i] = m_i, v_i
            w[i] = w_i - step * m_i / (np.sqrt(v_i) * root + eps)


def sgd(w: Tensor, g: Tensor, m: Tensor, first: bool, group: dict) -> None:
    """A step of SGD with momentum; ``first`` if ``m`` is new, and what it holds without meaning."""
    sgd_step(
        w, g, m, w.numel(), float(group["lr"]), group["momentum"], 1 - group["dampening"],
        group["weight_decay"], -1.0 if group["maximize"] else 1.0, group["nesterov"], first,
    )  # fmt: skip
    increment_version(w)


def adam(w: Tensor, g: Tensor, state: dict, t: float, group: dict) -> None:
    """A step of Adam, the ``t``-th."""
    lr, (beta1, beta2), decay = float(group["lr"]), group["betas"], group["weight_decay"]
    decoupled = group["decoupled_weight_decay"]
    adam_step(
        w, g, state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq"), w.numel(),
        beta1, beta2, 1 - beta1, 1 - beta2, 1 - lr * decay if decoupled else 1.0, 0.0 if decoupled else decay,
        -1.0 if group["maximize"] else 1.0, lr / (1 - beta1**t), (1 - beta2**t) ** -0.5, group["eps"],
    )  # fmt: skip
    increment_version(w)
