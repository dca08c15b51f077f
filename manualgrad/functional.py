"""Every function with a hand-written backward, under the names of :mod:`torch.nn.functional`."""

from torch.nn.functional import (
    one_hot,
    scaled_grouped_mm,  # pyright: ignore[reportAttributeAccessIssue]  # not in its stubs
    scaled_mm,
)

from .layers.activation import logsigmoid, sigmoid, softplus, softsign, tanh, tanhshrink
from .layers.attention import scaled_dot_product_attention
from .layers.batchnorm import batch_norm
from .layers.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from .layers.cross_entropy import cross_entropy, nll_loss
from .layers.ctc import ctc_loss
from .layers.distance import cosine_similarity, pairwise_distance, pdist
from .layers.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from .layers.embedding_loss import (
    cosine_embedding_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .layers.exponential import celu, celu_, elu, elu_, selu, selu_
from .layers.fold import fold, unfold
from .layers.fractional_pooling import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
)
from .layers.gating import gelu, glu, mish, silu
from .layers.grid import affine_grid, grid_sample
from .layers.instancenorm import instance_norm
from .layers.leaky import leaky_relu, leaky_relu_, prelu, rrelu, rrelu_
from .layers.likelihood_loss import gaussian_nll_loss, kl_div, poisson_nll_loss
from .layers.linear import bilinear, grouped_mm, linear
from .layers.linear_cross_entropy import linear_cross_entropy
from .layers.local_response import local_response_norm
from .layers.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from .layers.lp_pooling import lp_pool1d, lp_pool2d, lp_pool3d
from .layers.margin_loss import hinge_embedding_loss, margin_ranking_loss, soft_margin_loss
from .layers.multi_margin_loss import multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss
from .layers.multihead import multi_head_attention_forward
from .layers.normalization import group_norm, layer_norm, rms_norm
from .layers.normalize import normalize
from .layers.padding import pad
from .layers.piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    relu,
    relu6,
    relu_,
    softshrink,
    threshold,
    threshold_,
)
from .layers.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
)
from .layers.shuffle import channel_shuffle, native_channel_shuffle, pixel_shuffle, pixel_unshuffle
from .layers.softmax import gumbel_softmax, log_softmax, softmax, softmin
from .layers.sparse import embedding, embedding_bag
from .layers.unpooling import max_unpool1d, max_unpool2d, max_unpool3d
from .layers.upsampling import interpolate, upsample, upsample_bilinear, upsample_nearest

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "affine_grid",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "grouped_mm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "linear_cross_entropy",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "native_channel_shuffle",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "scaled_grouped_mm",
    "scaled_mm",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]
