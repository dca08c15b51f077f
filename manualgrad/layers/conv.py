"""Convolution and its transpose, in one, two and three dimensions.

They rest on one bilinear form of an image x, a kernel w and an image y. With sample n, channels b of x and a
of y, output position o, kernel tap k and input position  i = s o + d k − p  (stride s, dilation d, padding p,
along each axis),

    ⟨y, w, x⟩ = Σ_{n,a,b,o,k}  y_nao  w_abk  x_nb(s o + d k − p)

what stands beside y_nao is the convolution of x with w, what stands beside x_nbi is the transposed
convolution of y with w, and what stands beside w_abk contracts x with y. If x changes by dx, the y of a
convolution changes, and with it the loss by ⟨g, w, dx⟩: so ∂L/∂x is what stands beside x in ⟨g, w, x⟩, and
∂L/∂w what stands beside w there. Each backward thus consists of the other two operations: the adjoint of a
convolution is a transposed convolution, and the other way round. Groups split channels a and b into blocks
that do not meet.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..function import LOW, Function, apply, check_index, check_optional, check_tensors, wide
from ._broadcast import check_same_dtype
from ._spatial import Ints, check_axes, per_axis
from .padding import pad

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvFunction",
    "ConvTBCFunction",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "ConvTransposeFunction",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]


def windows(x: Tensor, kernel: Ints, places: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Tensor:
    """What each tap of the kernel sees at each place: element [n, b, o, k] is x_nb(s o + d k − p).

    Shapes: x (N, B, *I) -> (N, B, *places, *kernel), a view of the padded x.
    """
    x = torch.constant_pad_nd(x, [p for amount in reversed(padding) for p in (amount, amount)])
    for axis, (taps, count, step, spread) in enumerate(zip(kernel, places, stride, dilation), start=2):
        x = x.unfold(axis, spread * (taps - 1) + 1, step)
        x = x if spread == 1 else x[..., ::spread]
        x = crop(x, axis, count)
    return x


def crop(x: Tensor, axis: int, length: int) -> Tensor:
    """The first ``length`` elements along ``axis``."""
    return x if x.shape[axis] == length else x.narrow(axis, 0, length)


def weight_gradient(
    y: Tensor, x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """The derivative of ⟨y, w, x⟩ by w:  Σ_{n,o} y_nao x_nb(s o + d k − p),  a matrix product per group.

    What the taps see is written out for it, which takes as many copies of x as the kernel has taps.

    Shapes: y (N, groups·A, *O), x (N, groups·B, *I) -> (groups·A, B, *kernel)
    """
    ndim, places = len(kernel), tuple(y.shape[2:])
    into, sums = x.shape[1] // groups, y.shape[0] * math.prod(places)  # B, and the terms of Σ_{n,o}
    seen = windows(x, kernel, places, stride, padding, dilation)
    # (groups·B, *kernel, N, *O)
    seen = seen.permute(1, *range(2 + ndim, 2 + 2 * ndim), 0, *range(2, 2 + ndim))
    seen = seen.reshape(groups, into * math.prod(kernel), sums)
    y = y.transpose(0, 1).reshape(groups, y.shape[1] // groups, sums)
    return (y @ seen.transpose(1, 2)).reshape(-1, into, *kernel)


def input_gradient(
    y: Tensor, weight: Tensor, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """The derivative of ⟨y, w, x⟩ by x:  Σ_{a,o,k: s o + d k − p = i} y_nao w_abk,  a transposed convolution.

    Shapes: y (N, groups·A, *O), weight (groups·A, B, *K) -> (N, groups·B, *size)
    """
    # Where the stride does not divide, the last elements of x are in no window.
    rest = tuple(
        (i + 2 * p - d * (k - 1) - 1) % s
        for i, k, s, p, d in zip(size, weight.shape[2:], stride, padding, dilation)
    )
    return torch.convolution(y, weight, None, stride, padding, dilation, True, rest, groups)


def per_channel_sum(g: Tensor) -> Tensor:
    """The sum over samples and positions: (N, A, *O) -> (A)."""
    return wide(g).sum([axis for axis in range(g.dim()) if axis != 1])


class ConvFunction(Function):
    """Convolution (in the field's sense: the kernel is not flipped).

    Forward    y_nao = c_a + Σ_{b,k} w_abk x_nb(s o + d k − p),   c is the bias, x is 0 outside
    Backward   g = ∂L/∂y.  x_nbi reaches y_nao through tap k wherever s o + d k − p = i:
               ∂L/∂x_nbi = Σ_{a,o,k: s o + d k − p = i} g_nao w_abk   (the transposed convolution of g)
               ∂L/∂w_abk = Σ_{n,o} g_nao x_nb(s o + d k − p)          (a tap is shared by all places)
               ∂L/∂c_a   = Σ_{n,o} g_nao
    Shapes     x: (N, B, *I);   w: (A, B/groups, *K);   c: (A) or None;   y: (N, A, *O)
               O = ⌊(I + 2p − d (K − 1) − 1) / s⌋ + 1 along each axis
    Saves      x only if w needs a gradient, w only if x does
    Source     LeCun et al. 1989, doi:10.1162/neco.1989.1.4.541; Dumoulin, Visin 2016, arXiv:1603.07285
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Ints,
        padding: Ints,
        dilation: Ints,
        groups: int,
    ):
        zero = (0,) * len(stride)
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, zero, groups)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.stride, ctx.padding, ctx.dilation, ctx.groups = inputs
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.size, ctx.kernel = tuple(x.shape[2:]), tuple(weight.shape[2:])
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight = ctx.saved_tensors
        s, p, d = ctx.stride, ctx.padding, ctx.dilation
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad_y, weight, ctx.size, s, p, d, ctx.groups)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad_y, x, ctx.kernel, s, p, d, ctx.groups)
        if ctx.needs_input_grad[2]:
            grad_bias = per_channel_sum(grad_y).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None, None, None, None


class ConvTransposeFunction(Function):
    """Transposed convolution: each input element writes a scaled copy of the kernel into the output.

    Forward    x_nbi = c_b + Σ_{a,o,k: s o + d k − p = i} y_nao w_abk,   y is the input here, x the output,
               c the bias
    Backward   g = ∂L/∂x.  y_nao wrote to s o + d k − p, through every tap k:
               ∂L/∂y_nao = Σ_{b,k} g_nb(s o + d k − p) w_abk          (the convolution of g)
               ∂L/∂w_abk = Σ_{n,o} y_nao g_nb(s o + d k − p)          (as for the convolution, g in x's place)
               ∂L/∂c_b   = Σ_{n,i} g_nbi
    Shapes     y: (N, A, *O);   w: (A, B/groups, *K);   c: (B) or None;   x: (N, B, *I)
               I = (O − 1) s − 2p + d (K − 1) + 1 + output_padding along each axis
    Saves      y only if w needs a gradient, w only if y does
    Source     Dumoulin, Visin 2016, arXiv:1603.07285, chapter 4
    """

    @staticmethod
    def forward(
        y: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Ints,
        padding: Ints,
        output_padding: Ints,
        groups: int,
        dilation: Ints,
    ):
        return torch.convolution(y, weight, bias, stride, padding, dilation, True, output_padding, groups)

    @staticmethod
    def setup_context(ctx, inputs, output):
        y, weight, bias, ctx.stride, ctx.padding, _, ctx.groups, ctx.dilation = inputs
        need_y, need_weight = ctx.needs_input_grad[:2]
        ctx.size, ctx.kernel = tuple(y.shape[2:]), tuple(weight.shape[2:])
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(y if need_weight else None, weight if need_y else None)

    @staticmethod
    def backward(ctx, grad_x: Tensor):
        y, weight = ctx.saved_tensors
        s, p, d = ctx.stride, ctx.padding, ctx.dilation
        grad_y = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            zero = (0,) * len(s)
            grad_y = torch.convolution(grad_x, weight, None, s, p, d, False, zero, ctx.groups)
            for axis, size in enumerate(ctx.size, start=2):  # output_padding >= s makes room for more windows
                grad_y = crop(grad_y, axis, size)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(y, grad_x, ctx.kernel, s, p, d, ctx.groups)
        if ctx.needs_input_grad[2]:
            grad_bias = per_channel_sum(grad_x).to(ctx.bias_dtype)
        return grad_y, grad_weight, grad_bias, None, None, None, None, None


class ConvTBCFunction(Function):
    """Convolution in time of vectors: with the channels last, a window is a row of a matrix.

    Forward    y_tna = b_a + Σ_{k,c} x_(t + k − p)nc w_kca   with time t, sample n, channels c of x and a of
               y, tap k and padding p;   x = 0 outside of time
               With X the matrix of windows, X_(tn)(kc) = x_(t + k − p)nc, it is a product:  Y = X W + b
    Backward   g = ∂L/∂y.  x_inc was at place k of the window t = i + p − k:
               ∂L/∂x_inc = Σ_{k,a} g_(i + p − k)na w_kca,   a convolution of g, with the kernel from behind:
               k' = K − 1 − k makes it  Σ_{k',a} g_(i + k' − p')na w_(K−1−k')ca,   p' = K − 1 − p
               ∂L/∂w_kca = Σ_{t,n} X_(tn)(kc) g_tna,   that is Xᵀ g
               ∂L/∂b_a = Σ_{t,n} g_tna
    Shapes     x: (T, N, C);   w: (K, C, A);   b: (A);   y: (T + 2p − K + 1, N, A)
    Saves      x only if w needs a gradient, w only if x does
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, padding: int):
        length, channels, out = weight.shape
        return windows_in_time(x, length, padding) @ weight.reshape(length * channels, out) + bias

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.padding = inputs
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.size, ctx.bias_dtype = tuple(weight.shape), bias.dtype
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight = ctx.saved_tensors
        length, channels, out = ctx.size
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            g = windows_in_time(grad_y, length, length - 1 - ctx.padding)
            grad_x = g @ weight.flip(0).transpose(1, 2).reshape(length * out, channels)
        if ctx.needs_input_grad[1]:
            rows = grad_y.shape[0] * grad_y.shape[1]
            seen = windows_in_time(x, length, ctx.padding).reshape(rows, length * channels)
            grad_weight = (seen.t() @ grad_y.reshape(rows, out)).reshape(length, channels, out)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(grad_y).sum((0, 1)).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None


def windows_in_time(x: Tensor, length: int, padding: int) -> Tensor:
    """X, its rows in the axes of time and batch:  (T, N, C) -> (T + 2p − K + 1, N, K C) for windows of K."""
    x = torch.constant_pad_nd(x, (0, 0, 0, 0, padding, padding))
    count = x.shape[0] - length + 1
    return torch.cat([x.narrow(0, k, count) for k in range(length)], 2)


def _batched(name: str, input: Tensor, ndim: int) -> tuple[Tensor, bool]:
    check_axes(name, input, ndim)
    return (input.unsqueeze(0), False) if input.dim() == ndim + 1 else (input, True)


def _conv(
    ndim: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Ints,
    padding: str | int | Ints,
    dilation: int | Ints,
    groups: int,
) -> Tensor:
    name = f"conv{ndim}d"
    check_tensors(name, input=input, weight=weight)
    check_optional(name, bias=bias)
    x, batched = _batched(name, input, ndim)
    check_same_dtype(name, input, weight=weight, bias=bias)
    stride, dilation = (per_axis(name, k, v, ndim) for k, v in (("stride", stride), ("dilation", dilation)))
    if isinstance(padding, str):
        x, padding = _named_padding(name, x, weight, stride, padding, dilation)
    padding = per_axis(name, "padding", padding, ndim)
    y = apply(ConvFunction, x, weight, bias, stride, padding, dilation, groups, autocast=LOW)
    return y if batched else y.squeeze(0)


def _named_padding(name: str, x: Tensor, weight: Tensor, stride: Ints, padding: str, dilation: Ints):
    if padding == "valid":
        return x, 0
    if padding != "same":
        raise RuntimeError(f"{name}: padding must be numbers, 'valid' or 'same', but got {padding!r}")
    if any(s != 1 for s in stride):
        raise RuntimeError(
            f"{name}: padding='same' is not supported for strided convolutions, but stride={stride}"
        )
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:])]
    if any(t % 2 for t in total):  # an even kernel: the right side gets the odd one
        x = pad(x, [amount for t in reversed(total) for amount in (0, t % 2)])
    return x, tuple(t // 2 for t in total)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Convolution of (N, C, L) or (C, L), as :func:`torch.nn.functional.conv1d`.

    Args:
        weight: shape (out_channels, in_channels / groups, K).
        bias: shape (out_channels).
        stride: elements between windows.
        padding: zeros added at both ends, or ``"valid"`` (none), or ``"same"`` (as many as keep the length).
        dilation: elements between those of a window, plus 1.
        groups: into how many parts the channels are cut, each convolved by itself.

    Raises:
        RuntimeError: if shapes or options do not fit.
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Convolution of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.conv2d`. See :func:`conv1d`."""
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Convolution of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.conv3d`.
    See :func:`conv1d`."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def conv_tbc(input, weight, bias, pad=0) -> Tensor:
    """Convolution of (T, N, C), time first and channels last, as :func:`torch.nn.functional.conv_tbc`.

    Args:
        weight: shape (K, in_channels, out_channels).
        bias: shape (out_channels).
        pad: zeros added at both ends of the time.

    Raises:
        RuntimeError: if the shapes do not fit.
    """
    check_tensors("conv_tbc", input=input, weight=weight, bias=bias)
    check_index("conv_tbc", pad=pad)
    check_same_dtype("conv_tbc", input, weight=weight)
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError(
            "conv_tbc: expected an input (T, N, C), a weight (K, C, A) and a bias (A), but got shapes "
            f"{list(input.shape)}, {list(weight.shape)} and {list(bias.shape)}"
        )
    if input.shape[2] != weight.shape[1] or bias.shape[0] != weight.shape[2]:
        raise RuntimeError(
            f"conv_tbc: a weight of shape {list(weight.shape)} takes {weight.shape[1]} channels and "
            f"{weight.shape[2]} biases, but the input has shape {list(input.shape)} and the bias "
            f"{list(bias.shape)}"
        )
    if input.shape[0] + 2 * pad < weight.shape[0] - 1:
        raise RuntimeError(
            f"conv_tbc: no window of {weight.shape[0]} elements fits into {input.shape[0]} with pad={pad}; "
            "use a smaller kernel or more padding"
        )
    return apply(ConvTBCFunction, input, weight, bias.to(input.dtype), pad, autocast=LOW)


def _conv_transpose(
    ndim: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Ints,
    padding: int | Ints,
    output_padding: int | Ints,
    groups: int,
    dilation: int | Ints,
) -> Tensor:
    name = f"conv_transpose{ndim}d"
    check_tensors(name, input=input, weight=weight)
    check_optional(name, bias=bias)
    y, batched = _batched(name, input, ndim)
    check_same_dtype(name, input, weight=weight, bias=bias)
    sizes = {"stride": stride, "padding": padding, "output_padding": output_padding}
    options = [per_axis(name, argument, value, ndim) for argument, value in sizes.items()]
    dilation = per_axis(name, "dilation", dilation, ndim)
    x = apply(ConvTransposeFunction, y, weight, bias, *options, groups, dilation, autocast=LOW)
    return x if batched else x.squeeze(0)


def conv_transpose1d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """Transposed convolution of (N, C, L) or (C, L), as :func:`torch.nn.functional.conv_transpose1d`.

    Args:
        weight: shape (in_channels, out_channels / groups, K).
        bias: shape (out_channels).
        output_padding: added to the length of the output, on the right; less than the stride or the dilation.

    Raises:
        RuntimeError: if shapes or options do not fit.
    """
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """Transposed convolution of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.conv_transpose2d`.
    See :func:`conv_transpose1d`."""
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """Transposed convolution of volumes, (N, C, D, H, W) or (C, D, H, W), as
    :func:`torch.nn.functional.conv_transpose3d`. See :func:`conv_transpose1d`."""
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


class _Conv(nn.modules.conv._ConvNd):
    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._reversed_padding_repeated_twice, self.padding_mode), 0
        return _conv(
            len(self.kernel_size),
            input,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
        )


class Conv1d(_Conv, nn.Conv1d):
    """:class:`torch.nn.Conv1d` with a hand-written backward."""


class Conv2d(_Conv, nn.Conv2d):
    """:class:`torch.nn.Conv2d` with a hand-written backward."""


class Conv3d(_Conv, nn.Conv3d):
    """:class:`torch.nn.Conv3d` with a hand-written backward."""


class _ConvTranspose(nn.modules.conv._ConvTransposeNd):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        ndim = len(self.kernel_size)
        check_tensors(f"ConvTranspose{ndim}d", input=input)
        if self.padding_mode != "zeros":
            raise ValueError(
                f"ConvTranspose{ndim}d: padding_mode must be 'zeros', but is {self.padding_mode!r}"
            )
        stride, padding, dilation = self.stride, cast(Ints, self.padding), self.dilation
        output_padding = self._output_padding(
            input, output_size, list(stride), list(padding), list(self.kernel_size), ndim, list(dilation)
        )
        options = (stride, padding, tuple(output_padding), self.groups, dilation)
        return _conv_transpose(ndim, input, self.weight, self.bias, *options)


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """:class:`torch.nn.ConvTranspose1d` with a hand-written backward."""


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """:class:`torch.nn.ConvTranspose2d` with a hand-written backward."""


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """:class:`torch.nn.ConvTranspose3d` with a hand-written backward."""
