"""The rows of ``layers/padding.py``. Its Functions are also in the rows of convolutions, which use them."""

from __future__ import annotations

from ..layers import padding
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]

SHAPES = {
    1: ((32, 16, 100), (32, 64, 1024), (16, 64, 4096)),
    2: ((128, 1, 28, 28), (128, 32, 28, 28), (8, 64, 112, 112)),
    3: ((8, 4, 8, 16, 16), (8, 16, 8, 28, 28), (2, 32, 16, 56, 56)),
}


def pads(kind: str, ndim: int) -> Layer:
    """Equal and different amounts, a crop, unbatched and empty input."""
    module = getattr(padding, f"{kind}Pad{ndim}d")
    constant = kind in ("Constant", "Zero")
    function = padding.ConstantPadFunction if constant else padding.IndexPadFunction
    value = (-1.5,) if kind == "Constant" else ()
    x, most = plane(ndim, 1, 2, extra=-1), (2, 1, 0, 1, 1, 0)[: 2 * ndim]
    crop = (-1, 2, 1, -1, 0, -1)[: 2 * ndim]
    cases = [
        case(1, *value, inputs=plane(ndim, 2, 1, extra=-1)),
        case(most, *value, inputs=plane(ndim, 2, extra=-1)),
        case(crop, *value, inputs=plane(ndim, 1, 2)),
        case((0,) * 2 * ndim, *value, inputs=x),
        case(1, *value, inputs=plane(ndim, 0, 2)),
    ]
    # Only as many elements as there are can be mirrored or repeated; a constant or a copied edge goes on.
    if kind in ("Replication", "Constant"):
        cases.append(case((0,) * 2 * (ndim - 1) + (6, 5), *value, inputs=x))
    if kind == "Constant":
        cases.append(case(1, 2, inputs=plane(ndim)))
    sizes = [case(1, *value, inputs=real(*shape)) for shape in SHAPES[ndim]]
    return Layer(module, (function,), padding.pad, tuple(cases), saves_no_input=True, sizes=tuple(sizes))


ROWS: tuple[Layer, ...] = tuple(
    pads(kind, ndim)
    for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
    for ndim in (1, 2, 3)
)
