"""Backpropagation written out by hand: torch.nn with derivatives you can read, check and train with."""

from . import functional, nn, optim
from .check import check
from .fuse import FuseReport, fuse, unfuse
from .kernels import kernels
from .swap import SwapReport, swap, swapped, unswap

__all__ = [
    "FuseReport",
    "SwapReport",
    "check",
    "functional",
    "fuse",
    "kernels",
    "nn",
    "optim",
    "swap",
    "swapped",
    "unfuse",
    "unswap",
]
__version__ = "0.3.0"
