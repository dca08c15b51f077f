"""The rows of ``layers/conv.py``."""

from __future__ import annotations

from ..layers import conv, padding
from .row import Layer
from .samples import call, case, plane, real

__all__ = ["ROWS"]


def convolution(ndim: int) -> Layer:
    x, pads = plane(ndim, 2, 2), (padding.ConstantPadFunction, padding.IndexPadFunction)
    cases = [
        case(2, 3, 3, inputs=x),
        case(2, 4, 3, stride=2, padding=1, groups=2, inputs=x),
        case(2, 3, 2, dilation=2, bias=False, inputs=x),
        case(2, 3, tuple(range(1, ndim + 1)), padding=tuple(range(ndim)), inputs=x),
        case(2, 2, 3, padding="same", groups=2, inputs=x),
        case(2, 1, 2, padding="same", inputs=x),
        case(2, 1, 2, padding="valid", inputs=x),
        *(
            case(2, 1, 3, padding=1, padding_mode=mode, inputs=x)
            for mode in ("reflect", "replicate", "circular")
        ),
        case(2, 1, 2, padding="same", padding_mode="circular", inputs=x),
        case(2, 1, 1, stride=3, inputs=x),
        case(2, 1, 2, inputs=plane(ndim, 2)),
        case(2, 1, 2, inputs=plane(ndim, 0, 2)),
    ]
    module, functional = getattr(conv, f"Conv{ndim}d"), getattr(conv, f"conv{ndim}d")
    return Layer(module, (conv.ConvFunction, *pads), functional, tuple(cases), saves_no_input=True)


def transposed_convolution(ndim: int) -> Layer:
    x = plane(ndim, 2, 2, extra=-1)
    larger = [2 * length + 2 for length in x.shape[2:]]  # than the default, 2 length + 1
    cases = [
        case(2, 3, 3, inputs=x),
        case(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2, inputs=x),
        case(2, 1, 2, dilation=3, output_padding=2, bias=False, inputs=x),
        case(2, 1, tuple(range(1, ndim + 1)), padding=(0,) * ndim, inputs=x),
        case(2, 1, 3, stride=2, inputs=x, forward={"output_size": larger}),
        case(2, 1, 2, inputs=plane(ndim, 2, extra=-1)),
        case(2, 1, 2, inputs=plane(ndim, 0, 2, extra=-1)),
    ]
    module, functional = getattr(conv, f"ConvTranspose{ndim}d"), getattr(conv, f"conv_transpose{ndim}d")
    return Layer(module, (conv.ConvTransposeFunction,), functional, tuple(cases), saves_no_input=True)


ROWS: tuple[Layer, ...] = (
    *(convolution(ndim) for ndim in (1, 2, 3)),
    *(transposed_convolution(ndim) for ndim in (1, 2, 3)),
    Layer(
        None,
        (conv.ConvFunction,),
        conv.conv_tbc,
        (
            call(real(5, 2, 3), real(2, 3, 4), real(4)),
            call(real(5, 2, 3), real(3, 3, 2), real(2), pad=1),
            call(real(5, 0, 3), real(2, 3, 4), real(4)),
        ),
    ),
)
