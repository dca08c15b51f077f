"""Dropout: zero a random part, and scale the rest so that the expectation stays.

The mask is drawn by the functional, from torch's generator and in torch's order: with the same seed the same
elements are dropped on the CPU. Forward and backward are deterministic.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_floating, check_tensors, transforming
from ..kernels import choose

__all__ = [
    "AlphaDropout",
    "AlphaDropoutFunction",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutFunction",
    "FeatureAlphaDropout",
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]


class DropoutFunction(Function):
    """Keep what the mask keeps, scaled.

    Forward    y = x ⊙ m s,   m ∈ {0, 1} with P(m = 1) = 1 − p,   s = 1 / (1 − p)   so that  E y = x
    Backward   y is linear in x:   ∂L/∂x = g ⊙ m s   with g = ∂L/∂y: what was dropped is not responsible
    Shapes     x, y: any;   m: of x, or broadcast to it (a whole channel is dropped at once)
    Saves      m as booleans, one byte an element
    Source     Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    @staticmethod
    def draw(x: Tensor, q: float) -> Tensor:
        """m, for every element of x, with P(m = 1) = q"""
        return torch.empty_like(x).bernoulli_(q).bool()

    @staticmethod
    def forward(x: Tensor, mask: Tensor, scale: float, inplace: bool):
        factor = mask.to(x.dtype) * scale
        return x.mul_(factor) if inplace else x * factor

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, mask, ctx.scale, inplace = inputs
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(mask)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (mask,) = ctx.saved_tensors
        grad_x = grad_y * (mask.to(grad_y.dtype) * ctx.scale)
        return grad_x, None, None, None


class AlphaDropoutFunction(Function):
    """Dropout for networks of SELU: what is dropped goes to −c, where SELU levels off, and not to 0.

    Forward    u = x where m = 1, else −c,   m ∈ {0, 1} with P(m = 1) = q = 1 − p
               If x has mean 0 and variance 1,   E u = −c p   and   Var u = q + c² p − c² p² = q (1 + c² p)
               An affine map takes u back to mean 0 and variance 1:
               y = a (u + c p),   a = 1 / √(q (1 + c² p)),   c = 1.7580993… (SELU's two constants multiplied)
    Backward   ∂y/∂x = a where m = 1, else 0:   ∂L/∂x = a g ⊙ m   with g = ∂L/∂y
    Shapes     x, y: any;   m: of x, or broadcast to it (a whole channel is dropped at once)
    Saves      m as booleans, one byte an element
    Source     Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515
    """

    @staticmethod
    def draw(x: Tensor, q: float) -> Tensor:
        """m"""
        return DropoutFunction.draw(x, q)

    @staticmethod
    def forward(x: Tensor, mask: Tensor, p: float, inplace: bool):
        # a (u + c p) is a x + a c p where m = 1, and −a c (1 − p) where m = 0
        a = AlphaDropoutFunction.factor(p)
        factor = a * mask.to(x.dtype)
        shift = a * SATURATION * (mask.to(x.dtype) - (1 - p))
        return x.mul_(factor).add_(shift) if inplace else torch.addcmul(shift, x, factor)

    @staticmethod
    def factor(p: float) -> float:
        """a"""
        return 1 / math.sqrt((1 - p) * (1 + SATURATION**2 * p))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, mask, ctx.p, inplace = inputs
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(mask)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (mask,) = ctx.saved_tensors
        grad_x = grad_y * (mask.to(grad_y.dtype) * AlphaDropoutFunction.factor(ctx.p))
        return grad_x, None, None, None


SATURATION = 1.7580993408473766  # c


def _drop(
    name: str,
    input: Tensor,
    p: float,
    training: bool,
    inplace: bool,
    whole_channels: bool,
    alpha: bool = False,
) -> Tensor:
    check_tensors(name, input=input)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: the dropout probability p has to be between 0 and 1, but got p={p}")
    if p == 0 or not training or input.numel() == 0:
        return input
    if p < 1:
        check_floating(name, RuntimeError, input=input)
    if whole_channels and p < 1 and input.dim() < 2:
        raise RuntimeError(f"{name}: expected an input (N, C, *), but got shape {list(input.shape)}")
    if alpha and p < 1:  # at p = 1 nothing is left to normalize, and torch returns zeros
        function, option = AlphaDropoutFunction, p
    else:
        function, option = DropoutFunction, 1 / (1 - p) if p < 1 else 1
    if p == 1:
        mask = torch.zeros((), dtype=torch.bool, device=input.device)
    elif whole_channels:
        mask = DropoutFunction.draw(input.new_empty(*input.shape[:2], *(1,) * (input.dim() - 2)), 1 - p)
    elif transforming():
        mask = DropoutFunction.draw(input, 1 - p)
    else:
        mask = choose(function, (input, None, option, inplace)).draw(input, 1 - p)
    if inplace and transforming():
        return input.copy_(apply(function, input, mask, option, False))
    return apply(function, input, mask, option, inplace)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability ``p``, and scale the others, as :func:`torch.nn.functional.dropout`.

    Args:
        training: whether to; if not, the input is returned.
        inplace: whether the input is overwritten.

    Raises:
        ValueError: if ``p`` is no probability.
    """
    return _drop("dropout", input, p, training, inplace, whole_channels=False)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, L) or (C, L) with probability ``p``, as
    :func:`torch.nn.functional.dropout1d`.

    Raises:
        ValueError: if ``p`` is no probability.
        RuntimeError: if the input has another number of axes.
    """
    check_tensors("dropout1d", input=input)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: expected an input (N, C, L) or (C, L), but got shape {list(input.shape)}; "
            "to drop single elements use dropout"
        )
    if input.dim() == 3:
        return _drop("dropout1d", input, p, training, inplace, whole_channels=True)
    y = _drop("dropout1d", input.unsqueeze(0), p, training, inplace, whole_channels=True).squeeze(0)
    return input if inplace else y


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, H, W) with probability ``p``, as :func:`torch.nn.functional.dropout2d`.

    As in torch, an input with 3 axes is taken as (N, C, L), with a warning.

    Raises:
        ValueError: if ``p`` is no probability.
    """
    check_tensors("dropout2d", input=input)
    if input.dim() == 3:
        warnings.warn(
            "dropout2d: an input with 3 axes is taken as (N, C, L), as torch does; use dropout1d for that, "
            "or add the batch axis",
            stacklevel=2,
        )
    elif input.dim() != 4:
        _warn_axes("dropout2d", input, "(N, C, H, W)")
    return _drop("dropout2d", input, p, training, inplace, whole_channels=True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each channel of (N, C, D, H, W) or (C, D, H, W) with probability ``p``, as
    :func:`torch.nn.functional.dropout3d`.

    As in torch, any other input is taken as one sample, so that its first axis is that of channels, with a
    warning.

    Raises:
        ValueError: if ``p`` is no probability.
    """
    check_tensors("dropout3d", input=input)
    if input.dim() not in (4, 5):
        _warn_axes("dropout3d", input, "(N, C, D, H, W) or (C, D, H, W)")
    if input.dim() != 5:
        y = _drop("dropout3d", input.unsqueeze(0), p, training, inplace, whole_channels=True).squeeze(0)
        return input if inplace else y
    return _drop("dropout3d", input, p, training, inplace, whole_channels=True)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Move each element to SELU's lower limit with probability ``p``, and keep mean and variance, as
    :func:`torch.nn.functional.alpha_dropout`.

    Raises:
        ValueError: if ``p`` is no probability.
        RuntimeError: if the input is not floating point.
    """
    return _drop("alpha_dropout", input, p, training, inplace, whole_channels=False, alpha=True)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """:func:`alpha_dropout` of whole channels of (N, C, *), as
    :func:`torch.nn.functional.feature_alpha_dropout`.

    Raises:
        ValueError: if ``p`` is no probability.
        RuntimeError: if the input has less than two axes, or is not floating point.
    """
    return _drop("feature_alpha_dropout", input, p, training, inplace, whole_channels=True, alpha=True)


def _warn_axes(name: str, input: Tensor, expected: str) -> None:
    warnings.warn(
        f"{name}: expected an input {expected}, but got shape {list(input.shape)}; this is deprecated, "
        "use dropout for other inputs",
        stacklevel=3,
    )


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)


class Dropout1d(nn.Dropout1d):
    """:class:`torch.nn.Dropout1d` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(nn.Dropout2d):
    """:class:`torch.nn.Dropout2d` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(nn.Dropout3d):
    """:class:`torch.nn.Dropout3d` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(nn.AlphaDropout):
    """:class:`torch.nn.AlphaDropout` with a hand-written backward. As in torch, its ``inplace`` has no
    effect.
    """

    def forward(self, input: Tensor) -> Tensor:
        return alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(nn.FeatureAlphaDropout):
    """:class:`torch.nn.FeatureAlphaDropout` with a hand-written backward. As in torch, its ``inplace`` has no
    effect.
    """

    def forward(self, input: Tensor) -> Tensor:
        return feature_alpha_dropout(input, self.p, self.training)
