"""What blocks, layers made of several of torch's, have in common."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["observed"]


def observed(module: nn.Module) -> bool:
    """Whether somebody watches or changes what the module computes, so that it must be called itself."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    if any(hooks) or "forward" in module.__dict__:
        return True
    return not torch.compiler.is_compiling() and bool(nn.modules.module._has_any_global_hook())
