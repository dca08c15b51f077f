"""Affine maps, Linear and Bilinear, and matrix products of several groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..function import (
    LOW,
    WIDEST_ON_ACCELERATOR,
    Function,
    apply,
    check_optional,
    check_tensors,
    own,
    transforming,
    values_known,
    wide,
)
from ._broadcast import check_same_dtype
from .arithmetic import add

__all__ = [
    "Bilinear",
    "BilinearFunction",
    "GroupedMMFunction",
    "Linear",
    "LinearFunction",
    "bilinear",
    "grouped_mm",
    "linear",
]


def rows(x: Tensor) -> Tensor:
    """``x`` as a matrix with a row per sample: (*, I) -> (N, I)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def pairs(a: Tensor, b: Tensor) -> Tensor:
    """All products of a feature of ``a`` and one of ``b``, per sample: (*, A), (*, B) -> (N, A·B)."""
    return rows((a.unsqueeze(-1) * b.unsqueeze(-2)).reshape(*a.shape[:-1], a.shape[-1] * b.shape[-1]))


class LinearFunction(Function):
    """An affine map of the last axis.

    Forward    y = x Wᵀ + b,   that is  y_no = Σ_i x_ni W_oi + b_o   (n runs over samples)
    Backward   g = ∂L/∂y.  x_ni reaches every y_no, with weight W_oi; W_oi and b_o reach y_no of every sample:
               ∂L/∂x_ni = Σ_o g_no W_oi     ∂L/∂x = g W
               ∂L/∂W_oi = Σ_n g_no x_ni     ∂L/∂W = gᵀ x
               ∂L/∂b_o  = Σ_n g_no
    Shapes     x: (*, I);   W: (O, I);   b: (O) or None;   y: (*, O)
    Saves      x only if W needs a gradient, W only if x does
    Source     Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None):
        return own(nn.functional.linear(x, weight, bias))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias = inputs
        need_x, need_weight, _ = ctx.needs_input_grad
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        g = rows(grad_y)
        if ctx.needs_input_grad[0]:
            grad_x = (g @ weight).reshape(*grad_y.shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            grad_weight = g.T @ rows(x)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(g).sum_to_size(ctx.bias_shape).to(grad_y.dtype)
        return grad_x, grad_weight, grad_bias


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Affine map ``input @ weight.T + bias`` of the last axis, as :func:`torch.nn.functional.linear`.

    Args:
        input: shape (*, in_features).
        weight: shape (out_features, in_features), or (in_features) for an output without that axis.
        bias: shape (out_features), or () if ``weight`` has one axis, or what broadcasts to the output.

    Raises:
        RuntimeError: if the last axis of ``input`` is not that of ``weight``, or ``bias`` does not fit.
    """
    # What torch refuses is put into words afterwards: looking first takes as long as a small product.
    try:
        if weight.dim() == 2 and (bias is None or bias.dim() == 1):
            return apply(LinearFunction, input, weight, bias, autocast=LOW)
    except (AttributeError, RuntimeError, TypeError):
        check_linear("linear", input, weight, bias)
        raise
    check_linear("linear", input, weight, bias)
    if weight.dim() == 1:
        return linear(input, weight.unsqueeze(0), None if bias is None else bias.reshape(1)).squeeze(-1)
    return linear(input, weight) if bias is None else add(linear(input, weight), bias)


def check_linear(name: str, input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise unless these fit each other."""
    check_tensors(name, input=input, weight=weight)
    check_optional(name, bias=bias)
    if weight.dim() not in (1, 2):
        raise RuntimeError(
            f"{name}: weight must have shape (out_features, in_features), but "
            + (f"has {list(weight.shape)}" if weight.dim() else "is a number")
        )
    if input.shape[-1:] != weight.shape[-1:]:
        raise RuntimeError(
            f"{name}: the last axis of the input must have in_features={weight.shape[-1]} elements, as the "
            f"weight of shape {list(weight.shape)} has, but the input has shape {list(input.shape)}"
        )
    shape = [*input.shape[:-1], *weight.shape[:-1]]
    of_bias = [] if bias is None else list(bias.shape)
    if len(of_bias) > len(shape) or any(b not in (1, n) for b, n in zip(of_bias[::-1], shape[::-1])):
        raise RuntimeError(
            f"{name}: bias must have out_features={shape[-1:]} elements, or broadcast to the output's shape "
            f"{shape}, but has shape {of_bias}"
        )


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        # nn.Module takes 4 µs to find two parameters by name; here is where it finds them.
        found: Any = self._parameters
        if "weight" in found and "bias" in found:
            return linear(input, found["weight"], found["bias"])
        return linear(input, self.weight, self.bias)


class BilinearFunction(Function):
    """A product of two inputs, summed with a weight for each pair of their features.

    Forward    y_no = Σ_ij u_ni W_oij v_nj + b_o
    Backward   g = ∂L/∂y.  y is linear in each of u, v, W, so each gradient is the same sum with g in y's
               place: ∂L/∂u_ni = Σ_oj g_no W_oij v_nj     ∂L/∂v_nj = Σ_oi g_no W_oij u_ni
               ∂L/∂W_oij = Σ_n g_no u_ni v_nj      ∂L/∂b_o = Σ_n g_no
    Shapes     u: (*, I);   v: (*, J);   W: (O, I, J);   b: (O) or None;   y: (*, O)
    Saves      u, v and W, each only if a gradient of another one needs it
    Source     Tenenbaum, Freeman 2000, doi:10.1162/089976600300015349
    """

    @staticmethod
    def forward(u: Tensor, v: Tensor, weight: Tensor, bias: Tensor | None):
        y = torch.einsum("...i,oij,...j->...o", u, weight, v)
        return own(y if bias is None else y + bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, v, weight, bias = inputs
        need_u, need_v, need_weight, _ = ctx.needs_input_grad
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(
            u if need_v or need_weight else None,
            v if need_u or need_weight else None,
            weight if need_u or need_v else None,
        )

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        u, v, weight = ctx.saved_tensors
        grad_u = grad_v = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_u = (pairs(grad_y, v) @ weight.transpose(1, 2).reshape(-1, weight.shape[1])).reshape(
                *grad_y.shape[:-1], weight.shape[1]
            )
        if ctx.needs_input_grad[1]:
            grad_v = (pairs(grad_y, u) @ weight.reshape(-1, weight.shape[2])).reshape(
                *grad_y.shape[:-1], weight.shape[2]
            )
        if ctx.needs_input_grad[2]:
            grad_weight = (rows(grad_y).T @ pairs(u, v)).reshape(-1, u.shape[-1], v.shape[-1])
        if ctx.needs_input_grad[3]:
            grad_bias = wide(rows(grad_y)).sum(0).to(ctx.bias_dtype)
        return grad_u, grad_v, grad_weight, grad_bias


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Bilinear form of two inputs, as :func:`torch.nn.functional.bilinear`.

    Args:
        input1: shape (*, in1_features).
        input2: shape (*, in2_features), its other axes those of ``input1``.
        weight: shape (out_features, in1_features, in2_features).
        bias: shape (out_features).

    Raises:
        RuntimeError: if the shapes do not fit, or the inputs' dtypes differ.
    """
    check_tensors("bilinear", input1=input1, input2=input2, weight=weight)
    check_optional("bilinear", bias=bias)
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear: the inputs must agree in all axes but the last, but input1 has shape "
            f"{list(input1.shape)} and input2 {list(input2.shape)}"
        )
    if (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:]):
        raise RuntimeError(
            f"bilinear: the weight of shape {list(weight.shape)} takes inputs with {weight.shape[1]} and "
            f"{weight.shape[2]} features, but got {input1.shape[-1]} and {input2.shape[-1]}"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise RuntimeError(
            f"bilinear: bias must have one element for each of {weight.shape[0]} outputs, but has shape "
            f"{list(bias.shape)}"
        )
    check_same_dtype("bilinear", input1, input2=input2, weight=weight, bias=bias)
    return apply(BilinearFunction, input1, input2, weight, bias, autocast=WIDEST_ON_ACCELERATOR)


class Bilinear(nn.Bilinear):
    """:class:`torch.nn.Bilinear` with a hand-written backward."""

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)


class GroupedMMFunction(Function):
    """Products of several pairs of matrices, which may lie side by side in one.

    Forward    Y_e = A_e B_e for each group e.  A stack has a matrix per group; a single matrix is cut along
               one axis, group e being the places o_(e−1) ≤ p < o_e of the offsets o, with o_0 = 0 (what is
               behind the last is in no group, and 0 in the result):
               2-d times 3-d   the rows of A are cut, and so are those of Y (tokens, each for its expert)
               3-d times 2-d   the columns of B are cut, and so are those of Y
               2-d times 2-d   the columns of A and the rows of B are cut, the axis of the sum:  Y is a stack
               3-d times 3-d   nothing is cut
    Backward   G_e = ∂L/∂Y_e.  As for any product:   ∂L/∂A_e = G_e B_eᵀ     ∂L/∂B_e = A_eᵀ G_e
               A transposed operand is cut along its other axis, and so each of the two is a grouped product
               again, with the same offsets:  of 2-d times 3-d the gradient of A is 2-d times 3-d, and that of
               B is 2-d times 2-d
    Shapes     A: (M, K) or (E, M, K);   B: (K, N) or (E, K, N);   o: (E);   Y: (M, N), or (E, M, N)
    Saves      A only if B needs a gradient, B only if A does, and o
    Source     Gale et al. 2022, MegaBlocks, arXiv:2211.15841
    """

    @staticmethod
    def forward(a: Tensor, b: Tensor, offs: Tensor | None):
        if offs is None:
            return a @ b
        return by_kernel(a, b, offs) if kernel_takes(a, b) else by_masks(a, b, offs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        a, b, offs = inputs
        need_a, need_b = ctx.needs_input_grad[:2]
        ctx.save_for_backward(a if need_b else None, b if need_a else None, offs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        a, b, offs = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_a = GroupedMMFunction.apply(grad_y, b.transpose(-2, -1), offs)
        if ctx.needs_input_grad[1]:
            grad_b = GroupedMMFunction.apply(a.transpose(-2, -1), grad_y, offs)
        return grad_a, grad_b, None


def by_masks(a: Tensor, b: Tensor, offs: Tensor) -> Tensor:
    """The grouped product as it is defined, each group masked out of the whole."""
    length = a.shape[1] if b.dim() == a.dim() else a.shape[0] if a.dim() == 2 else b.shape[1]
    place = torch.arange(length, device=offs.device)
    start = torch.cat([torch.zeros_like(offs.narrow(0, 0, 1)), offs.narrow(0, 0, offs.shape[0] - 1)])
    member = (start.unsqueeze(1) <= place) & (place < offs.unsqueeze(1))
    rows_of_group, columns_of_group = member.unsqueeze(2), member.unsqueeze(1)
    if a.dim() == b.dim():
        return torch.where(columns_of_group, a, 0) @ torch.where(rows_of_group, b, 0)
    return torch.where(rows_of_group if a.dim() == 2 else columns_of_group, a @ b, 0).sum(0)


def by_kernel(a: Tensor, b: Tensor, offs: Tensor) -> Tensor:
    """The grouped product by ATen's kernel, which leaves what is in no group as memory happens to be."""
    y = torch.nn.functional.grouped_mm(a, b, offs=offs)
    if a.dim() == b.dim():
        return y
    axis = 0 if a.dim() == 2 else 1
    if not transforming() and values_known(offs) and int(offs[-1]) == y.shape[axis]:
        return y  # all is in a group
    place = torch.arange(y.shape[axis], device=y.device)
    grouped = place < offs.narrow(0, offs.shape[0] - 1, 1)
    return torch.where(grouped.unsqueeze(1 - axis), y, 0)


def kernel_takes(*operands: Tensor) -> bool:
    """Whether ATen has a kernel: in single and half precision, for dense matrices with rows, or columns, of a
    multiple of 16 bytes. Tracing and transforms know it in bfloat16 alone."""
    for x in operands:
        traced = transforming() and x.dtype != torch.bfloat16
        if traced or x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return False
        row, column = x.stride()[-2:]
        dense = (column == 1 and row >= x.shape[-1]) or (row == 1 and column >= x.shape[-2])
        if not dense or max(row, column) * x.element_size() % 16:
            return False
    return True


def grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Matrix products of several groups, as :func:`torch.nn.functional.grouped_mm`.

    Beyond torch: what is in no group is 0, where torch's result has no defined value, and strides need not be
    multiples of 16 bytes, nor dtypes lower than float64.

    Args:
        mat_a: shape (M, K), or (E, M, K) for a matrix per group.
        mat_b: shape (K, N), or (E, K, N).
        offs: where each group ends, shape (E), int32, ascending; for a 2-d operand, and only then.
        bias: not supported, as in torch.
        out_dtype: None, or the dtype of ``mat_a``.

    Raises:
        RuntimeError: if shapes, dtypes or options do not fit.
    """
    check_tensors("grouped_mm", mat_a=mat_a, mat_b=mat_b)
    check_optional("grouped_mm", offs=offs, bias=bias)
    shapes = f"but got shapes {list(mat_a.shape)} and {list(mat_b.shape)}"
    if mat_a.dim() not in (2, 3) or mat_b.dim() not in (2, 3):
        raise RuntimeError(f"grouped_mm: mat_a and mat_b must have 2 or 3 axes, {shapes}")
    if mat_a.shape[-1] != mat_b.shape[-2]:
        raise RuntimeError(f"grouped_mm: the last axis of mat_a and the rows of mat_b must match, {shapes}")
    if not mat_a.is_floating_point() or mat_a.dtype != mat_b.dtype:
        raise RuntimeError(
            "grouped_mm: mat_a and mat_b must have the same floating dtype, but are "
            f"{mat_a.dtype} and {mat_b.dtype}; cast one of them"
        )
    if (offs is None) != (mat_a.dim() == mat_b.dim() == 3):
        raise RuntimeError(
            f"grouped_mm: offs cuts a 2-d operand, and is given if, and only if, there is one, {shapes} and "
            f"{'no offs' if offs is None else 'offs'}"
        )
    if offs is not None and (offs.dim() != 1 or offs.dtype != torch.int32):
        raise RuntimeError(
            f"grouped_mm: offs must have one axis and dtype int32, but has shape {list(offs.shape)} and "
            f"dtype {offs.dtype}"
        )
    groups = {m.shape[0] for m in (mat_a, mat_b) if m.dim() == 3} | (
        {len(offs)} if offs is not None else set()
    )
    if len(groups) > 1:
        raise RuntimeError(
            f"grouped_mm: offs and stacks must have the same number of groups, {shapes}"
            + ("" if offs is None else f" and offs of shape {list(offs.shape)}")
        )
    if bias is not None:
        raise RuntimeError("grouped_mm: bias is not supported, as in torch; add it to the result")
    if out_dtype not in (None, mat_a.dtype):
        raise RuntimeError(
            f"grouped_mm: out_dtype must be {mat_a.dtype}, as mat_a's is, but got {out_dtype}; cast the "
            "result"
        )
    offs = None if offs is None else offs.to(mat_a.device)
    return apply(GroupedMMFunction, mat_a, mat_b, offs)
