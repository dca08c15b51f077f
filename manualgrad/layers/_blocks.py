"""What blocks, layers made of several of torch's, have in common."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["observed"]


def observed(module: nn.Module) -> bool:
    """Whether somebody watches or changes what the module computes, so that it must be called itself."""
    if (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    ):
        return True
    return not torch.compiler.is_compiling() and nn.modules.module._has_any_global_hook()
