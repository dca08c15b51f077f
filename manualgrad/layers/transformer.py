"""The Transformer: attention, feed-forward networks and residual sums, stacked.

There is nothing to derive here: every part has its derivative on its own page, and the chain rule, which is
autograd's business, joins them. What these classes add is that no part is left out: sums go through ``add``,
activations given by name are the hand-written ones, and so are the parts that the constructors make.

Layers that a caller hands in (an activation, a norm, a custom encoder) are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..function import check_optional, check_tensors, transforming, values_known
from ._masks import additive
from .arithmetic import add
from .dropout import Dropout
from .exponential import elu
from .gating import gelu, silu
from .leaky import leaky_relu
from .linear import Linear
from .multihead import MultiheadAttention, NonDynamicallyQuantizableLinear, followed_by
from .normalization import LayerNorm
from .piecewise import relu

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

BY_HAND: dict[Callable, Callable] = {
    torch.relu: relu,
    nn.functional.relu: relu,
    nn.functional.gelu: gelu,
    nn.functional.silu: silu,
    nn.functional.elu: elu,
    nn.functional.leaky_relu: leaky_relu,
}


def make_by_hand(module: nn.Module, given: tuple) -> None:
    """Turn the layers that torch's constructor made for ``module`` into ours; not those in ``given``."""
    for child in module.children():
        if not any(child is argument for argument in given):
            child.__class__ = MADE_BY_HAND.get(type(child), type(child))
            if type(child) is nn.ModuleList or type(child) in MADE_BY_HAND.values():
                make_by_hand(child, given)


class TransformerEncoderLayer(nn.TransformerEncoderLayer):
    """:class:`torch.nn.TransformerEncoderLayer`, hand-written throughout.

    With A(x) = dropout(attention of x to itself), F(x) = dropout(W₂ dropout(φ(W₁ x + b₁)) + b₂), φ the
    activation, and norms N₁, N₂:   y = N₁(x + A(x)),  z = N₂(y + F(y));   or, if ``norm_first``,
    y = x + A(N₁(x)),  z = y + F(N₂(y)), which leaves the gradient a way to every layer that no norm stands
    in: of a sum, each term gets the gradient as it is.
    """

    __init__ = followed_by(nn.TransformerEncoderLayer.__init__, make_by_hand)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        check_tensors("TransformerEncoderLayer", src=src)
        if src.is_nested:  # inference only: torch's has no backward either
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        padding = additive("src_key_padding_mask", src_key_padding_mask, src.dtype, src_mask, "src_mask")
        mask = additive("src_mask", src_mask, src.dtype)

        def attend(x: Tensor) -> Tensor:
            return self.dropout1(attention(self.self_attn, x, x, mask, padding, is_causal))

        def feed(x: Tensor) -> Tensor:
            return self.dropout2(feed_forward(self, x))

        x = residual(src, attend, self.norm1, self.norm_first)
        return residual(x, feed, self.norm2, self.norm_first)


class TransformerDecoderLayer(nn.TransformerDecoderLayer):
    """:class:`torch.nn.TransformerDecoderLayer`, hand-written throughout.

    As in the encoder layer, with a third step between the two: attention to ``memory``, the encoder's output.
    """

    __init__ = followed_by(nn.TransformerDecoderLayer.__init__, make_by_hand)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        check_tensors("TransformerDecoderLayer", tgt=tgt, memory=memory)

        def attend(x: Tensor) -> Tensor:
            y = attention(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            return self.dropout1(y)

        def recall(x: Tensor) -> Tensor:
            padding = memory_key_padding_mask
            y = attention(self.multihead_attn, x, memory, memory_mask, padding, memory_is_causal)
            return self.dropout2(y)

        def feed(x: Tensor) -> Tensor:
            return self.dropout3(feed_forward(self, x))

        x = residual(tgt, attend, self.norm1, self.norm_first)
        x = residual(x, recall, self.norm2, self.norm_first)
        return residual(x, feed, self.norm3, self.norm_first)


class TransformerEncoder(nn.TransformerEncoder):
    """:class:`torch.nn.TransformerEncoder`: encoder layers, one after the other, and a norm.

    The copies that it makes of a layer of torch's are made hand-written; ``norm`` is used as it is given.

    In inference, torch packs padded samples into nested tensors and unpacks them with zeros where there was
    padding. Here nothing is packed, but a caller finds the same zeros in the same circumstances.
    """

    __init__ = followed_by(nn.TransformerEncoder.__init__, make_by_hand)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        check_tensors("TransformerEncoder", src=src)
        if src.is_nested:
            return super().forward(src, mask, src_key_padding_mask, is_causal)
        padding = additive("src_key_padding_mask", src_key_padding_mask, src.dtype, mask, "mask")
        mask = additive("mask", mask, src.dtype)
        packs = mask is None and padding is not None and _packs(self, src, padding)
        is_causal = _is_causal(mask, is_causal, src, self.layers[0])
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=is_causal, src_key_padding_mask=padding)
        if packs and padding is not None:
            output = output.masked_fill(padding.bool().unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)


class TransformerDecoder(nn.TransformerDecoder):
    """:class:`torch.nn.TransformerDecoder`: decoder layers, one after the other, and a norm.

    The copies that it makes of a layer of torch's are made hand-written; ``norm`` is used as it is given.
    """

    __init__ = followed_by(nn.TransformerDecoder.__init__, make_by_hand)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        check_tensors("TransformerDecoder", tgt=tgt, memory=memory)
        check_optional("TransformerDecoder", tgt_mask=tgt_mask)
        tgt_is_causal = _is_causal(tgt_mask, tgt_is_causal, tgt, self.layers[0])
        output = tgt
        for layer in self.layers:
            output = layer(
                output,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
            )
        return output if self.norm is None else self.norm(output)


class Transformer(nn.Transformer):
    """:class:`torch.nn.Transformer`: an encoder, and a decoder that attends to its output.

    A custom encoder or decoder is used as it is given.
    """

    __init__ = followed_by(nn.Transformer.__init__, make_by_hand)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        check_tensors("Transformer", src=src, tgt=tgt)
        axis = 0 if self.batch_first else 1
        shapes = f"src has shape {list(src.shape)} and tgt {list(tgt.shape)}"
        if src.dim() == 3 and src.shape[axis] != tgt.shape[axis]:
            raise RuntimeError(
                f"transformer: src and tgt must have as many samples, axis {axis}, but {shapes}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(
                f"transformer: src and tgt must have d_model={self.d_model} features, but {shapes}"
            )
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )


def attention(layer: nn.Module, x: Tensor, memory: Tensor, mask, padding, is_causal: bool) -> Tensor:
    """What ``layer`` makes of ``x`` when it attends to ``memory``."""
    return layer(
        x, memory, memory, attn_mask=mask, key_padding_mask=padding, is_causal=is_causal, need_weights=False
    )[0]


def feed_forward(layer: Any, x: Tensor) -> Tensor:
    """Two linear maps with an activation between them, at every position by itself."""
    activation: Any = BY_HAND.get(layer.activation, layer.activation)
    return layer.linear2(layer.dropout(activation(layer.linear1(x))))


def residual(x: Tensor, step: Callable[[Tensor], Tensor], norm: nn.Module, norm_first: bool) -> Tensor:
    """x + step(norm(x)), or norm(x + step(x))."""
    # The first argument decides how the sum lies in memory, and x may come in any layout.
    return add(step(norm(x)), x) if norm_first else norm(add(step(x), x))


MADE_BY_HAND = {
    nn.Dropout: Dropout,
    nn.LayerNorm: LayerNorm,
    nn.Linear: Linear,
    nn.MultiheadAttention: MultiheadAttention,
    nn.modules.linear.NonDynamicallyQuantizableLinear: NonDynamicallyQuantizableLinear,
    nn.TransformerDecoder: TransformerDecoder,
    nn.TransformerDecoderLayer: TransformerDecoderLayer,
    nn.TransformerEncoder: TransformerEncoder,
    nn.TransformerEncoderLayer: TransformerEncoderLayer,
}


def _is_causal(mask: Tensor | None, hint: bool | None, x: Tensor, layer: Any) -> bool:
    # The hint, or, without one, whether the mask is the causal one; if it cannot be read, the mask is used.
    if hint is not None or mask is None or transforming() or not values_known(mask):
        return bool(hint)
    length = x.shape[1 if layer.self_attn.batch_first and x.dim() == 3 else 0]
    causal = nn.Transformer.generate_square_subsequent_mask(length, mask.device, mask.dtype)
    return mask.shape == causal.shape and bool((mask == causal).all())


def _packs(encoder: nn.TransformerEncoder, src: Tensor, padding: Tensor) -> bool:
    # Whether torch would pack the padded samples: in inference, with all padding behind.
    first: Any = encoder.layers[0]
    if not encoder.use_nested_tensor or first.training or src.dim() != 3:
        return False
    if torch.is_autocast_enabled() or not torch.backends.mha.get_fastpath_enabled():
        return False
    tensors = (src, *first.parameters())
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    if not getattr(encoder, "mask_check", True):
        return True
    if transforming() or not values_known(padding):
        return False
    kept = padding.logical_not()
    return not bool((kept[:, 1:] & ~kept[:, :-1]).any())
