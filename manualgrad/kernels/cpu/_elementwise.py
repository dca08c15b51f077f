"""Kernels of y_i = f(x_i): one pass over x forward, and one over x (or y) and ∂L/∂y backward.

Memory is walked in its own order, whatever the strides: gradients are brought into the layout of x first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
import torch
from numba import prange
from torch import Tensor

from .. import Twin, plain
from ._jit import Compiled, compiled, like

__all__ = ["backward_of", "elementwise", "forward_of", "mapped", "mapped_backward"]


def forward_of(f: Callable[..., Any]) -> Compiled:
    """The loop y_i = f(x_i, a, b, T), where T is the dtype and a and b are options."""
    inlined = _inlined(f)

    def loop(x, y, n, a, b):
        T = x.dtype.type
        for i in prange(n):
            y[i] = inlined(x[i], T(a), T(b), T)

    loop.__name__ = f.__name__
    return compiled(x="n", y="n")(loop)


def backward_of(df: Callable[..., Any]) -> Compiled:
    """The loop ∂L/∂x_i = df(x_i, g_i, a, b, T) with g = ∂L/∂y; for x may stand y."""
    inlined = _inlined(df)

    def loop(x, g, grad_x, n, a, b):
        T = x.dtype.type
        for i in prange(n):
            grad_x[i] = inlined(x[i], g[i], T(a), T(b), T)

    loop.__name__ = df.__name__
    return compiled(x="n", g="n", grad_x="n")(loop)


def mapped(loop: Compiled, x: Tensor, a: float = 0.0, b: float = 0.0) -> Tensor:
    """Run a loop of :func:`forward_of`."""
    y = torch.empty_like(x)
    loop(like(x, y), y, x.numel(), float(a), float(b))
    return y


def mapped_backward(loop: Compiled, x: Tensor, grad_y: Tensor, a: float = 0.0, b: float = 0.0) -> Tensor:
    """Run a loop of :func:`backward_of`."""
    grad_x = torch.empty_like(x)
    loop(like(x, grad_x), like(grad_y, grad_x), grad_x, x.numel(), float(a), float(b))
    return grad_x


def elementwise(
    formula: type[Any],
    *,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any],
    options: tuple[str, ...] = (),
    smallest: int = 0,
) -> Twin:
    """The twin of a Function that saves one tensor, x or y, and has at most two options, which are numbers.

    Args:
        forward: f as in :func:`forward_of`; None where ATen's is as fast, then the formula's is taken.
        backward: df as in :func:`backward_of`.
        options: the attributes of ctx that are df's a and b. f gets all of forward's that follow x.
        smallest: see :class:`Twin`.
    """
    run = None if forward is None else forward_of(forward)
    run_backward = backward_of(backward)
    nones = (None,) * (len(inspect.signature(formula.forward).parameters) - 1)

    def kernel_backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return formula.backward(ctx, grad_y)
        (x,) = ctx.saved_tensors
        grad_x = mapped_backward(run_backward, x, grad_y, *[getattr(ctx, option) for option in options])
        return (grad_x, *nones) if nones else grad_x

    def kernel_forward(x: Tensor, *numbers: float) -> Tensor:
        return mapped(run, x, *numbers)  # pyright: ignore[reportArgumentType]

    methods: dict[str, Any] = {"backward": staticmethod(kernel_backward), "__module__": backward.__module__}
    if run is not None:
        methods["forward"] = staticmethod(kernel_forward)
    name = formula.__name__.removesuffix("Function") + "CPU"
    metaclass: Any = type(formula)
    return Twin(metaclass(name, (formula,), methods), smallest=smallest)


def _inlined(f: Callable[..., Any]) -> Any:
    # Without reassociation, which only sums need: it takes (1 + m) − m for 1, where the formula has NaN at ∞.
    return numba.njit(fastmath={"contract", "arcp", "nsz"}, error_model="numpy", forceinline=True)(f)
