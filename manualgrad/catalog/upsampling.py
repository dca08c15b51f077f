"""The rows of ``layers/upsampling.py``."""

from __future__ import annotations

from ..layers import pooling, upsampling
from .row import Layer
from .samples import call, case, real

__all__ = ["ROWS"]

LINE, PICTURE, VOLUME = real(2, 2, 4), real(2, 2, 3, 4), real(1, 2, 3, 2, 4)
INTERPOLATE = (upsampling.InterpolateFunction,)
DOUBLED = tuple(
    case(scale_factor=2, inputs=real(*shape))
    for shape in ((32, 16, 14, 14), (32, 64, 28, 28), (16, 64, 56, 56))
)


ROWS: tuple[Layer, ...] = (
    Layer(
        upsampling.Upsample,
        INTERPOLATE,
        upsampling.interpolate,
        (
            case(scale_factor=2, inputs=PICTURE),
            case(7, inputs=LINE),
            case((2, 3, 7), inputs=VOLUME),
            case(scale_factor=(1.6, 0.5), mode="nearest-exact", inputs=PICTURE),
            case(9, mode="linear", inputs=LINE),
            case(3, mode="linear", align_corners=True, inputs=LINE),
            case((5, 3), mode="bilinear", inputs=PICTURE),
            case(scale_factor=1.4, mode="bilinear", inputs=PICTURE),
            case(scale_factor=1.4, mode="bilinear", recompute_scale_factor=True, inputs=PICTURE),
            case((5, 1), mode="bicubic", inputs=PICTURE),
            case((1, 7), mode="bicubic", align_corners=True, inputs=PICTURE),
            case((4, 3, 4), mode="trilinear", inputs=VOLUME),
            case(scale_factor=(0.7, 2, 1), mode="trilinear", align_corners=True, inputs=VOLUME),
            case(scale_factor=2, mode="bilinear", inputs=real(0, 2, 3, 4)),
        ),
        saves_no_input=True,
        sizes=(
            case(scale_factor=2, inputs=real(32, 16, 14, 14)),
            case(scale_factor=2, inputs=real(16, 64, 56, 56)),
            case(scale_factor=2, mode="linear", inputs=real(32, 64, 1024)),
            case(scale_factor=2, mode="bilinear", inputs=real(16, 64, 56, 56)),
            case(scale_factor=2, mode="bicubic", inputs=real(4, 16, 56, 56)),
            case(scale_factor=2, mode="trilinear", inputs=real(4, 16, 8, 28, 28)),
        ),
    ),
    Layer(
        upsampling.UpsamplingNearest2d,
        INTERPOLATE,
        upsampling.upsample_nearest,
        (
            case((5, 2), inputs=PICTURE),
            case(scale_factor=1.7, inputs=PICTURE),
            case(3, inputs=real(0, 2, 3, 4)),
        ),
        saves_no_input=True,
        sizes=DOUBLED,
    ),
    Layer(
        upsampling.UpsamplingBilinear2d,
        INTERPOLATE,
        upsampling.upsample_bilinear,
        (
            case((5, 2), inputs=PICTURE),
            case(scale_factor=1.7, inputs=PICTURE),
            case(3, inputs=real(0, 2, 3, 4)),
        ),
        saves_no_input=True,
        sizes=DOUBLED,
    ),
    Layer(
        None,
        (*INTERPOLATE, pooling.AdaptiveAvgPoolFunction),
        upsampling.interpolate,
        (
            call(PICTURE, size=(2, 3), mode="bilinear", antialias=True),
            call(real(1, 2, 6, 5), scale_factor=0.4, mode="bilinear", antialias=True, align_corners=True),
            call(real(1, 2, 6, 5), size=(2, 7), mode="bicubic", antialias=True),
            call(real(1, 2, 6, 5), scale_factor=(0.4, 1.3), mode="lanczos", antialias=True),
            call(PICTURE, scale_factor=(0.7, 1.3), mode="area"),
            call(real(0, 2, 3, 4), size=3, mode="bicubic", antialias=True),
        ),
        saves_no_input=True,
        note="Upsample as a function, with antialias and area",
        sizes=(
            call(real(16, 64, 28, 28), scale_factor=2, mode="nearest-exact"),
            call(real(16, 3, 224, 224), size=128, mode="bilinear", antialias=True),
            call(real(16, 64, 56, 56), size=16, mode="area"),
        ),
    ),
)
