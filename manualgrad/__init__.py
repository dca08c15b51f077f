"""Backpropagation written out by hand: torch.nn with derivatives you can read, check and train with."""

from . import functional, nn, optim
from .check import check
from .kernels import kernels
from .swap import SwapReport, swap, swapped, unswap

__all__ = ["SwapReport", "check", "functional", "kernels", "nn", "optim", "swap", "swapped", "unswap"]
__version__ = "0.2.0"
