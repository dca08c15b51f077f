"""The rows of ``layers/reshape.py``."""

from __future__ import annotations

import torch

from ..layers import reshape
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]


ROWS: tuple[Layer, ...] = (
    *(
        Layer(module, (), functional, (case(*args, inputs=real(2, 6, 3)),), saves_no_input=True, note=note)
        for module, functional, args, note in (
            (reshape.Identity, torch.Tensor.view_as, (), "torch's own: nothing is computed"),
            (reshape.Flatten, torch.flatten, (), "torch's own: a view"),
            (reshape.Unflatten, torch.unflatten, (1, (2, 3)), "torch's own: a view"),
        )
    ),
)
