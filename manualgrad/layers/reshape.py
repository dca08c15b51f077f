"""Layers that compute nothing: Identity, Flatten, Unflatten.

    Forward    y is x, its elements under other coordinates:   y_φ(i) = x_i  for a bijection φ of coordinates
    Backward   ∂L/∂x_i = g_φ(i):  the gradient, viewed under the old coordinates

There is nothing to derive, and so these are torch's own classes. Writing them as a Function would even lose
something: a view made inside a Function may not be modified in place, so ``Flatten`` followed by
``ReLU(inplace=True)`` would stop working, while autograd's own views know whom they alias.
"""

from __future__ import annotations

from torch import flatten, unflatten
from torch.nn import Flatten, Identity, Unflatten

__all__ = ["Flatten", "Identity", "Unflatten", "flatten", "unflatten"]
