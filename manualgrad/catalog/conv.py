"""The rows of ``layers/conv.py``."""

from __future__ import annotations

from ..layers import conv, padding
from .row import Case, Layer
from .samples import call, case, plane, real

__all__ = ["ROWS"]


SIZES: dict[str, tuple[Case, ...]] = {
    "Conv1d": (
        case(1, 16, 5, padding=2, inputs=real(64, 1, 784)),
        case(64, 64, 3, padding=1, inputs=real(32, 64, 256)),
        case(80, 384, 3, padding=1, inputs=real(4, 80, 3000)),
    ),
    "Conv2d": (
        case(1, 16, 3, padding=1, bias=False, inputs=real(128, 1, 28, 28)),
        case(6, 16, 5, inputs=real(128, 6, 14, 14)),
        case(16, 32, 3, padding=1, bias=False, inputs=real(128, 16, 14, 14)),
        case(32, 32, 3, padding=1, groups=32, bias=False, inputs=real(16, 32, 56, 56)),
        case(64, 128, 3, stride=2, padding=1, bias=False, inputs=real(8, 64, 56, 56)),
        case(3, 64, 7, stride=2, padding=3, bias=False, inputs=real(4, 3, 224, 224)),
    ),
    "Conv3d": (
        case(1, 8, 3, padding=1, inputs=real(16, 1, 16, 28, 28)),
        case(16, 32, 3, stride=2, padding=1, inputs=real(8, 16, 16, 28, 28)),
        case(32, 64, (1, 3, 3), padding=(0, 1, 1), bias=False, inputs=real(4, 32, 8, 28, 28)),
    ),
    "ConvTranspose1d": (
        case(16, 1, 4, stride=2, padding=1, inputs=real(64, 16, 392)),
        case(64, 32, 4, stride=2, padding=1, inputs=real(32, 64, 256)),
        case(128, 64, 16, stride=8, padding=4, inputs=real(4, 128, 512)),
    ),
    "ConvTranspose2d": (
        case(16, 1, 4, stride=2, padding=1, inputs=real(128, 16, 14, 14)),
        case(64, 32, 2, stride=2, inputs=real(32, 64, 28, 28)),
        case(64, 64, 4, stride=2, padding=1, bias=False, inputs=real(8, 64, 28, 28)),
    ),
    "ConvTranspose3d": (
        case(8, 1, 2, stride=2, inputs=real(16, 8, 8, 14, 14)),
        case(32, 16, 2, stride=2, inputs=real(8, 32, 8, 14, 14)),
        case(32, 16, 4, stride=2, padding=1, inputs=real(2, 32, 8, 14, 14)),
    ),
}


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
    return Layer(
        module,
        (conv.ConvFunction, *pads),
        functional,
        tuple(cases),
        saves_no_input=True,
        sizes=SIZES[f"Conv{ndim}d"],
    )


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
    return Layer(
        module,
        (conv.ConvTransposeFunction,),
        functional,
        tuple(cases),
        saves_no_input=True,
        sizes=SIZES[f"ConvTranspose{ndim}d"],
    )


ROWS: tuple[Layer, ...] = (
    *(convolution(ndim) for ndim in (1, 2, 3)),
    *(transposed_convolution(ndim) for ndim in (1, 2, 3)),
    Layer(
        None,
        (conv.ConvTBCFunction,),
        conv.conv_tbc,
        (
            call(real(5, 2, 3), real(2, 3, 4), real(4)),
            call(real(5, 2, 3), real(3, 3, 2), real(2), pad=1),
            call(real(5, 0, 3), real(2, 3, 4), real(4)),
        ),
        sizes=(
            call(real(49, 32, 64), real(3, 64, 64), real(64), pad=1),
            call(real(128, 32, 128), real(3, 128, 128), real(128), pad=1),
            call(real(512, 8, 256), real(3, 256, 256), real(256), pad=1),
        ),
    ),
)
