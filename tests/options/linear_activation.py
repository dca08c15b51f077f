"""Tables for ``layers/linear_activation.py`` and ``layers/add_layernorm.py``, which torch has not."""

import torch

from manualgrad.layers.add_layernorm import add_layer_norm
from manualgrad.layers.linear_activation import APART, linear_activation

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def activated(name: str):
    """The block where F is ours, and the two functions that it stands for where F is torch's."""

    def call(F, x):
        weight, bias = x[:2].detach(), x[0, :2].detach()
        if not F.__name__.startswith("torch"):
            return linear_activation(x, weight, bias, name)
        v = F.linear(x, weight, bias)
        return F.gelu(v, approximate="tanh") if name == "gelu_tanh" else getattr(F, name)(v)

    return call


def added(F, x):
    if F.__name__.startswith("torch"):
        return F.layer_norm(x + 2 * x, (4,))
    return add_layer_norm(x, 2 * x, (4,))[0]


SAME = {f"linear_activation: {name}": activated(name) for name in APART} | {"add_layer_norm": added}

AUTOCAST = {"linear_activation": activated("gelu"), "add_layer_norm": added}
