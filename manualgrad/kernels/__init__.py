"""Kernels: the faster twins of formulas.

A formula in ``layers/`` is the truth, and made to be read. Where it is slow, a kernel computes the same in
loops over memory, which are made to be fast. It is a subclass of the formula's Function with the same
arguments and outputs, and hands over to it when its backward is itself differentiated, batched or watched::

    class LayerNormCPU(LayerNormFunction):
        @staticmethod
        def forward(x, weight, bias, ndim, eps): ...

        @staticmethod
        def backward(ctx, grad_y, _mean, _rstd):
            if not plain(grad_y):
                return LayerNormFunction.backward(ctx, grad_y, _mean, _rstd)
            ...

:func:`choose` takes the twin where it fits and pays, call by call; a user takes the formula for all of them
with :class:`kernels`. Twins for the CPU need Numba, the extra ``fast``; without it all are formulas.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad

__all__ = ["DTYPES", "Twin", "choose", "kernels", "mode", "optimizers", "plain", "twins", "unavailable"]

DTYPES = (torch.float32, torch.float64)
PLAIN = (Tensor, torch.nn.Parameter)
# Of most other arguments the type says that they are no tensors; isinstance takes longer.
NO_TENSORS = frozenset({bool, int, float, str, tuple, type(None)})
MODES = ("auto", "formula")
# Every call of a layer asks these, so they are bound here: an attribute of a module takes time to find.
dispatch_modes = torch._C._len_torch_dispatch_stack
functorch_active = torch._C._are_functorch_transforms_active
grad_enabled = torch.is_grad_enabled
is_tracing = torch._C._is_tracing
strided = torch.strided

_log = logging.getLogger("manualgrad")
_mode = "auto"
_table: dict[type, Twin] | None = None
_unavailable = ""


def always(*args: Any) -> bool:
    """The default of :class:`Twin`'s ``takes``."""
    return True


class Twin(NamedTuple):
    """A kernel, and when it takes the place of its formula.

    Args:
        kernel: a subclass of the formula's Function.
        smallest: elements of the first argument from which it pays.
        takes: whether it has code for these arguments of ``forward``.
        asks: what ``takes`` asks for, in words.
    """

    kernel: type[Any]
    smallest: int = 0
    takes: Callable[..., bool] = always
    asks: str = ""


class kernels:  # noqa: N801  (called as a function, as torch.no_grad is)
    """Choose between kernels and formulas, from here on or inside a ``with`` block, in all threads::

        manualgrad.kernels("formula")  # a setting

        with manualgrad.kernels("formula"):  # and back to what it was
            loss = model(x)

    The choice is made in forward; a backward takes what its forward took.

    Args:
        mode: ``"auto"`` takes a kernel where there is one that pays, ``"formula"`` never does.

    Raises:
        ValueError: if ``mode`` is neither.
    """

    def __init__(self, mode: str):
        global _mode
        if mode not in MODES:
            raise ValueError(f"kernels: mode must be 'auto' or 'formula', but got {mode!r}")
        self.before = _mode
        _mode = mode

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error) -> None:
        global _mode
        _mode = self.before


def choose(formula: type[Any], args: tuple) -> type[Any]:
    """The kernel that computes ``formula`` of ``args`` faster, or else the formula.

    A kernel reads memory, where no transform, mode or subclass of Tensor can follow: it is taken for plain
    dense tensors on one device and in one floating dtype. The caller knows that nothing is being traced.
    """
    twin = (_table or twins()).get(formula)
    if twin is None or is_tracing():
        return formula
    x = args[0]
    size = x.numel()
    dtype = x.dtype
    if size < twin.smallest or size == 0 or _mode == "formula" or not x.is_cpu or dtype not in DTYPES:
        return formula
    if not twin.takes(*args):
        return formula
    if forward_ad._current_level >= 0 or dispatch_modes():
        return formula
    for a in args:
        if type(a) in NO_TENSORS:
            continue
        if isinstance(a, Tensor) and not (
            type(a) in PLAIN
            and a.is_cpu
            and a.layout is strided
            and not a.is_neg()
            and (a.dtype is dtype or not a.is_floating_point())
        ):
            return formula
    return twin.kernel


def optimizers(*tensors: Tensor | None) -> Any:
    """Kernels for an update of ``tensors``, parameter, gradient and state; None if the formula has to do it.

    A kernel writes memory from its first element to the last, so all have to be contiguous and alike.
    """
    w = tensors[0]
    if torch.compiler.is_compiling() or _mode == "formula" or w is None or not w.is_cpu or not w.numel():
        return None
    if w.dtype not in DTYPES or not twins() or dispatch_modes():
        return None
    for x in tensors:
        if x is not None and not (
            type(x) in PLAIN
            and x.layout is torch.strided
            and x.dtype is w.dtype
            and x.shape == w.shape
            and x.is_contiguous()
            and not x.is_neg()
            and x.is_cpu
        ):
            return None
    from .cpu import optim

    return optim


def plain(*gradients: Tensor) -> bool:
    """Whether a kernel's backward may read these: it is not differentiated, batched, traced or watched."""
    if grad_enabled() or functorch_active() or dispatch_modes() or is_tracing():
        return False
    for g in gradients:
        if type(g) not in PLAIN or g.layout is not strided or g.is_neg() or is_legacy_batchedtensor(g):
            return False
    return True


def mode() -> str:
    """The setting: ``"auto"`` or ``"formula"``."""
    return _mode


def twins() -> dict[type, Twin]:
    """The kernels that this machine can run, by their formulas."""
    global _table
    if _table is None:
        _table = _load()
    return _table


def unavailable() -> str:
    """Why there are no kernels here; "" if there are."""
    twins()
    return _unavailable


def _load() -> dict[type, Twin]:
    global _unavailable
    try:
        import numba  # noqa: F401
    except ImportError as error:
        _unavailable = (
            f"the kernels for the CPU need Numba ({error}): pip install 'manualgrad[fast]'; "
            "until then all layers compute by their formulas"
        )
        _log.info(_unavailable)
        return {}
    from .cpu import TWINS

    return TWINS
