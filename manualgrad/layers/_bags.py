"""What embedding_bag refuses."""

from __future__ import annotations

import torch
from torch import Tensor

from ..function import transforming, values_known

__all__ = ["check_bag_options", "check_bags"]


def check_bag_options(
    input: Tensor,
    weight: Tensor,
    mode: str,
    scale_grad_by_freq: bool,
    sparse: bool,
    per_sample_weights: Tensor | None,
) -> None:
    """Raise what torch does unless the shapes, dtypes and options fit each other."""
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: per_sample_weights must have the shape {list(input.shape)} of the input, but "
            f"has {list(per_sample_weights.shape)}"
        )
    if weight.dim() != 2:
        raise ValueError(
            f"embedding_bag: weight must have shape (num_embeddings, embedding_dim), but has "
            f"{list(weight.shape)}"
        )
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode={mode!r} is none of 'sum', 'mean', 'max'")
    for name, on in (("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
        if mode == "max" and on:
            raise ValueError(f"embedding_bag: {name} is not supported with mode='max'; leave it out")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights needs mode='sum', but mode={mode!r}; leave it out"
        )
    if sparse and scale_grad_by_freq:
        raise RuntimeError(
            "embedding_bag: scale_grad_by_freq is not supported with sparse gradients; set sparse=False"
        )
    if not weight.is_floating_point():
        raise RuntimeError(f"embedding_bag: weight must be floating point, but has dtype {weight.dtype}")
    if per_sample_weights is not None and per_sample_weights.dtype != weight.dtype:
        raise RuntimeError(
            f"embedding_bag: per_sample_weights must have the dtype {weight.dtype} of weight, but has "
            f"{per_sample_weights.dtype}"
        )


def check_bags(input: Tensor, weight: Tensor, offsets: Tensor | None, include_last_offset: bool) -> int:
    """The number of bags. Raises where torch does."""
    if input.dim() not in (1, 2):
        raise ValueError(f"embedding_bag: input must have 1 or 2 axes, but has shape {list(input.shape)}")
    dtypes = [input.dtype] if offsets is None else [input.dtype, offsets.dtype]
    if torch.promote_types(dtypes[0], dtypes[-1]) not in (torch.int32, torch.int64):
        raise RuntimeError(
            f"embedding_bag: indices and offsets must be int32 or int64, but are "
            f"{', '.join(map(str, dtypes))}"
        )
    if input.dim() == 2:
        bags = input.shape[0]
        if input.shape[1] == 0:
            raise RuntimeError(
                f"embedding_bag: the rows of an input of shape {list(input.shape)} have no elements; for "
                "empty bags give indices in one axis, and offsets"
            )
    else:
        if offsets is None or offsets.dim() != 1:
            got = None if offsets is None else f"shape {list(offsets.shape)}"
            raise ValueError(f"embedding_bag: an input with one axis needs offsets with one, but got {got}")
        bags = offsets.shape[0] - include_last_offset
        if bags < 0 or (bags == 0 and input.shape[0] > 0):
            raise RuntimeError(
                f"embedding_bag: offsets has {offsets.shape[0]} elements, too few for an input with "
                f"{input.shape[0]} indices and include_last_offset={include_last_offset}"
            )
    if not transforming():
        _check_values(input, weight, offsets)
    return bags


def _check_values(input: Tensor, weight: Tensor, offsets: Tensor | None) -> None:
    count, rows = input.numel(), weight.shape[0]
    if offsets is not None and offsets.numel() and values_known(offsets):
        if offsets[0] != 0:
            raise RuntimeError(
                f"embedding_bag: offsets[0] must be 0, where the first bag starts, but is {offsets[0].item()}"
            )
        if offsets[-1] > count:
            raise RuntimeError(
                f"embedding_bag: offsets[-1] must be at most {count}, the length of the input, but is "
                f"{offsets[-1].item()}"
            )
        wrong = offsets[(offsets < 0) | (offsets > count)]
        if wrong.numel():
            raise IndexError(f"embedding_bag: the offset {wrong[0].item()} is outside of [0, {count}]")
    if values_known(input):
        wrong = input[(input < 0) | (input >= rows)]
        if wrong.numel():
            raise RuntimeError(
                f"embedding_bag: the index {wrong[0].item()} is outside of [0, {rows}), the rows of weight"
            )
