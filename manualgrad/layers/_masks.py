"""What multi-head attention and transformers ask of their arguments, the masks above all.

L is the number of queries, S of keys, B of samples, H of heads, E of features.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..function import check_optional, check_tensors

__all__ = ["additive", "check_axes", "heads_of_mask", "require"]


def additive(
    name: str,
    mask: Tensor | None,
    dtype: torch.dtype,
    other: Tensor | None = None,
    other_name: str = "attn_mask",
) -> Tensor | None:
    """A mask as numbers to be added to scores: −∞ for True. ``other`` is the mask that it goes with.

    Raises:
        AssertionError: if the mask holds integers.
    """
    if mask is None:
        return None
    check_tensors("multi_head_attention", **{name: mask})
    require(
        mask.dtype == torch.bool or mask.is_floating_point(),
        f"{name} must be boolean or floating point, but is {mask.dtype}",
    )
    if other is not None and other.dtype != mask.dtype:
        warnings.warn(
            f"multi_head_attention: {name} is {mask.dtype}, but {other_name} is {other.dtype}; such a mix is "
            "deprecated in torch, give both in one dtype",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def require(condition: bool, message: str) -> None:
    """Raise AssertionError, as torch does for most of what is wrong with these arguments, unless true."""
    if not condition:
        raise AssertionError(f"multi_head_attention: {message}")


def check_axes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether there is an axis of samples.

    Raises:
        AssertionError: if the tensors do not all have the axes that go with the query's.
    """
    check_tensors("multi_head_attention", query=query, key=key, value=value)
    check_optional("multi_head_attention", key_padding_mask=key_padding_mask, attn_mask=attn_mask)
    require(
        query.dim() in (2, 3),
        f"query must have shape (L, B, E), or (L, E) unbatched, but has {list(query.shape)}",
    )
    require(
        key.dim() == value.dim() == query.dim(),
        f"key and value must have {query.dim()} axes, as the query, but have shapes {list(key.shape)} and "
        f"{list(value.shape)}",
    )
    require(
        key_padding_mask is None or key_padding_mask.dim() == query.dim() - 1,
        "key_padding_mask must have shape (B, S), or (S) unbatched, but has "
        f"{None if key_padding_mask is None else list(key_padding_mask.shape)}",
    )
    if attn_mask is not None:
        shape = list(attn_mask.shape)
        require(len(shape) in (2, 3), f"attn_mask must have shape (L, S) or (B·H, L, S), but has {shape}")
        expected = [num_heads, query.shape[0], key.shape[0]]
        require(
            query.dim() == 3 or len(shape) == 2 or shape == expected,
            f"attn_mask must have shape (H, L, S) = {expected}, but has {shape}",
        )
    return query.dim() == 3


def heads_of_mask(mask: Tensor | None, batch: int, heads: int, length: int, keys: int) -> Tensor | None:
    """(L, S) or (B·H, L, S) -> broadcast to (B, H, L, S).

    Raises:
        RuntimeError: if the mask has another shape.
    """
    if mask is None:
        return None
    shape = (length, keys) if mask.dim() == 2 else (batch * heads, length, keys)
    if tuple(mask.shape) != shape:
        raise RuntimeError(
            f"multi_head_attention: attn_mask must have shape {list(shape)}, but has {list(mask.shape)}"
        )
    return mask.reshape(*((1, 1) if mask.dim() == 2 else (batch, heads)), length, keys)
