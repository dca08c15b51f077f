"""Arguments of several shapes and dtypes: the one shape and the one dtype in which they meet."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ..function import autocasting, check_tensors

__all__ = ["broadcast", "check_same_dtype", "floating_dtype"]


def broadcast(name: str, **tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, expanded to one shape.

    Raises:
        TypeError: if one is no tensor, or complex.
        RuntimeError: if there is none; ``name`` is the layer's, the keywords are its arguments.
    """
    check_tensors(name, **tensors)
    shapes = [tuple(t.shape) for t in tensors.values()]
    for axis in range(1, max(map(len, shapes)) + 1):
        lengths = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(lengths) > 1:
            listed = ", ".join(f"{argument} {list(t.shape)}" for argument, t in tensors.items())
            raise RuntimeError(
                f"{name}: the shapes of {listed} do not broadcast: counted from the last, axis {axis} has "
                f"lengths {sorted(lengths)}; give it one length, or 1"
            )
    return tuple(torch.broadcast_tensors(*tensors.values()))


def floating_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of a result: the tensors' common one, or the default dtype for integers."""
    dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def check_same_dtype(name: str, input: Tensor, **others: Tensor | None) -> None:
    """Raise RuntimeError unless all are of the dtype of the input, or autocast will see to it."""
    if autocasting(input):
        return
    for argument, tensor in others.items():
        if tensor is not None and tensor.dtype != input.dtype:
            raise RuntimeError(
                f"{name}: the input is {input.dtype}, but {argument} is {tensor.dtype}; cast one of them"
            )
