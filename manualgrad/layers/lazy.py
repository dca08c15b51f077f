"""Layers that learn their input's size from the first input, and then become the layer that they are.

There is nothing to derive: from the first call on they compute with the forward and backward of the class
they become. A pre-hook of torch's changes the class during that call, when ``forward`` has been looked up
already, so both are named: the base class that has our forward, and ``cls_to_become``.
"""

# torch declares the weight of a lazy layer as uninitialized, that of the layer it becomes as a parameter.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from torch import nn

from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .linear import Linear

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyLinear(nn.LazyLinear, Linear):
    """:class:`torch.nn.LazyLinear`, which becomes :class:`Linear`."""

    cls_to_become = Linear


class LazyConv1d(nn.LazyConv1d, Conv1d):
    """:class:`torch.nn.LazyConv1d`, which becomes :class:`Conv1d`."""

    cls_to_become = Conv1d


class LazyConv2d(nn.LazyConv2d, Conv2d):
    """:class:`torch.nn.LazyConv2d`, which becomes :class:`Conv2d`."""

    cls_to_become = Conv2d


class LazyConv3d(nn.LazyConv3d, Conv3d):
    """:class:`torch.nn.LazyConv3d`, which becomes :class:`Conv3d`."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(nn.LazyConvTranspose1d, ConvTranspose1d):
    """:class:`torch.nn.LazyConvTranspose1d`, which becomes :class:`ConvTranspose1d`."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(nn.LazyConvTranspose2d, ConvTranspose2d):
    """:class:`torch.nn.LazyConvTranspose2d`, which becomes :class:`ConvTranspose2d`."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(nn.LazyConvTranspose3d, ConvTranspose3d):
    """:class:`torch.nn.LazyConvTranspose3d`, which becomes :class:`ConvTranspose3d`."""

    cls_to_become = ConvTranspose3d


class LazyBatchNorm1d(nn.LazyBatchNorm1d, BatchNorm1d):
    """:class:`torch.nn.LazyBatchNorm1d`, which becomes :class:`BatchNorm1d`."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(nn.LazyBatchNorm2d, BatchNorm2d):
    """:class:`torch.nn.LazyBatchNorm2d`, which becomes :class:`BatchNorm2d`."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(nn.LazyBatchNorm3d, BatchNorm3d):
    """:class:`torch.nn.LazyBatchNorm3d`, which becomes :class:`BatchNorm3d`."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(nn.LazyInstanceNorm1d, InstanceNorm1d):
    """:class:`torch.nn.LazyInstanceNorm1d`, which becomes :class:`InstanceNorm1d`."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(nn.LazyInstanceNorm2d, InstanceNorm2d):
    """:class:`torch.nn.LazyInstanceNorm2d`, which becomes :class:`InstanceNorm2d`."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(nn.LazyInstanceNorm3d, InstanceNorm3d):
    """:class:`torch.nn.LazyInstanceNorm3d`, which becomes :class:`InstanceNorm3d`."""

    cls_to_become = InstanceNorm3d
