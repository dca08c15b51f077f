"""The one table: a row per layer. swap, check, the tests and the README's table of layers read it.

A new layer needs its page in ``layers/`` and its row in the file of the same name here, and nothing else.
"""

from __future__ import annotations

from . import (
    activation,
    adaptive,
    add_layernorm,
    arithmetic,
    attention,
    batchnorm,
    batchnorm_activation,
    conv,
    conv_batchnorm,
    cross_entropy,
    ctc,
    distance,
    dropout,
    embedding_loss,
    exponential,
    fold,
    fractional_pooling,
    gating,
    grid,
    instancenorm,
    leaky,
    likelihood_loss,
    linear,
    linear_activation,
    linear_cross_entropy,
    local_response,
    loss,
    lp_pooling,
    margin_loss,
    multi_margin_loss,
    multihead,
    normalization,
    normalize,
    padding,
    piecewise,
    pooling,
    reshape,
    rnn,
    rnn_cell,
    shuffle,
    softmax,
    sparse,
    sync_batchnorm,
    transformer,
    unpooling,
    upsampling,
)
from .row import Case, Layer, Sample, tensors_of

__all__ = ["CATALOG", "Case", "Layer", "Sample", "find", "tensors_of"]

CATALOG: tuple[Layer, ...] = (
    *linear.ROWS,
    *arithmetic.ROWS,
    *reshape.ROWS,
    *activation.ROWS,
    *piecewise.ROWS,
    *leaky.ROWS,
    *exponential.ROWS,
    *gating.ROWS,
    *softmax.ROWS,
    *conv.ROWS,
    *conv_batchnorm.ROWS,
    *pooling.ROWS,
    *lp_pooling.ROWS,
    *fractional_pooling.ROWS,
    *unpooling.ROWS,
    *padding.ROWS,
    *fold.ROWS,
    *shuffle.ROWS,
    *upsampling.ROWS,
    *grid.ROWS,
    *batchnorm.ROWS,
    *batchnorm_activation.ROWS,
    *linear_activation.ROWS,
    *add_layernorm.ROWS,
    *sync_batchnorm.ROWS,
    *instancenorm.ROWS,
    *normalization.ROWS,
    *normalize.ROWS,
    *local_response.ROWS,
    *dropout.ROWS,
    *sparse.ROWS,
    *rnn_cell.ROWS,
    *rnn.ROWS,
    *attention.ROWS,
    *multihead.ROWS,
    *transformer.ROWS,
    *distance.ROWS,
    *loss.ROWS,
    *likelihood_loss.ROWS,
    *margin_loss.ROWS,
    *multi_margin_loss.ROWS,
    *embedding_loss.ROWS,
    *cross_entropy.ROWS,
    *linear_cross_entropy.ROWS,
    *adaptive.ROWS,
    *ctc.ROWS,
)


def find(name: str) -> Layer:
    """The row of a layer, by the name of its Module, Function or functional; upper and lower case are alike.

    Raises:
        KeyError: if there is none, with the names that are close.
    """
    import difflib

    names = {}
    for row in reversed(CATALOG):
        for alias in (row.functional.__name__, *(f.__name__ for f in row.functions), row.name):
            names[alias.lower()] = row
    if name.lower() in names:
        return names[name.lower()]
    close = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"; close: {', '.join(sorted({names[c].name for c in close}))}" if close else ""
    raise KeyError(f"no layer named {name!r} in the catalog{hint} (all of them: python -m manualgrad list)")
