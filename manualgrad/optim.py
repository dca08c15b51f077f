"""Update rules, written out: what a gradient is for.

The optimizers are torch's with a ``step`` of their own: constructor, parameter groups, state and state_dict
are those of :mod:`torch.optim`, so that a checkpoint of one loads into the other. In the formulas w is a
parameter, g = ∂L/∂w its gradient, α the learning rate: too large overshoots, too small crawls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .kernels import optimizers

__all__ = ["SGD", "Adam", "AdamW"]


class SGD(torch.optim.SGD):
    """Stochastic gradient descent, as :class:`torch.optim.SGD`.

    Rule       g ← −g                       if maximize
               g ← g + λ w                  λ: weight_decay, the gradient of ½ λ |w|²
               m ← g at first, then  μ m + (1 − τ) g      μ: momentum, τ: dampening
               d = g + μ m if nesterov, else m            (without momentum d = g)
               w ← w − α d
    State      momentum_buffer: m
    Raises     ValueError for the options of torch's that are other implementations: foreach, fused,
               differentiable
    Source     Robbins, Monro 1951, doi:10.1214/aoms/1177729586; Polyak 1964; Sutskever et al. 2013 (Nesterov)
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as in torch."""
        super().add_param_group(param_group)
        _check_options(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; ``closure`` recomputes the loss, and is returned."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"]
            for w, g in _gradients(self, group, sparse=True):
                state = self.state[w] if momentum else {}
                buffer = state.get("momentum_buffer")
                fast = optimizers(w, g, buffer) if momentum else None
                if fast is not None:
                    state["momentum_buffer"] = torch.empty_like(w) if buffer is None else buffer
                    fast.sgd(w, g, state["momentum_buffer"], buffer is None, group)
                    continue
                g = -g if group["maximize"] else g
                g = g + group["weight_decay"] * w if group["weight_decay"] else g
                direction = g
                if momentum:
                    m = g.clone() if buffer is None else buffer.mul_(momentum).add_(g, alpha=1 - dampening)
                    state["momentum_buffer"] = m
                    direction = g + momentum * m if group["nesterov"] else m
                w.add_(direction, alpha=-lr)
        return loss


class Adam(torch.optim.Adam):
    """Steps of about equal size for every weight, as :class:`torch.optim.Adam`.

    Rule       g ← −g if maximize;   g ← g + λ w          (AdamW: w ← w − α λ w instead)
               m ← β₁ m + (1 − β₁) g                      mean of the gradient
               v ← β₂ v + (1 − β₂) g²                     mean of its square
               m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)      both start at 0, which this undoes after t steps
               v̂ = (largest v so far) / (1 − β₂ᵗ)        if amsgrad
               w ← w − α m̂ / (√v̂ + ε)
    State      step: t;  exp_avg: m;  exp_avg_sq: v;  max_exp_avg_sq: the largest v, with amsgrad
    Raises     ValueError for the options of torch's that are other implementations: foreach, fused,
               capturable, differentiable; RuntimeError for sparse gradients
    Source     Kingma, Ba 2014, arXiv:1412.6980; Reddi, Kale, Kumar 2018, arXiv:1904.09237 (amsgrad)
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, as in torch."""
        super().add_param_group(param_group)
        _check_options(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; ``closure`` recomputes the loss, and is returned."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
            for w, g in _gradients(self, group, sparse=False):
                state = self.state[w]
                if not state:
                    state["step"] = torch.tensor(0.0, dtype=torch.float32)
                    state["exp_avg"] = torch.zeros_like(w)
                    state["exp_avg_sq"] = torch.zeros_like(w)
                    if group["amsgrad"]:
                        state["max_exp_avg_sq"] = torch.zeros_like(w)
                state["step"] += 1
                t = state["step"].item()
                fast = optimizers(w, g, state["exp_avg"], state["exp_avg_sq"], state.get("max_exp_avg_sq"))
                if fast is not None:
                    fast.adam(w, g, state, t, group)
                    continue
                g = -g if group["maximize"] else g
                if decay and group["decoupled_weight_decay"]:
                    w.mul_(1 - lr * decay)
                elif decay:
                    g = g + decay * w
                m = state["exp_avg"].mul_(beta1).add_(g, alpha=1 - beta1)
                v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
                if group["amsgrad"]:
                    v = torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
                m_hat = m / (1 - beta1**t)
                root_v_hat = v.sqrt() / math.sqrt(1 - beta2**t)  # the root first: v / (1 − β₂ᵗ) may overflow
                w.sub_(lr * m_hat / (root_v_hat + group["eps"]))
        return loss


class AdamW(Adam, torch.optim.AdamW):
    """Adam whose weight decay acts on the weight, not through the gradient, as :class:`torch.optim.AdamW`.

    Rule       w ← w − α λ w, then as Adam with λ = 0: decay is not divided by √v̂
    Source     Loshchilov, Hutter 2017, arXiv:1711.05101. The rest: Adam
    """


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _gradients(optimizer: torch.optim.Optimizer, group: dict, sparse: bool) -> list[tuple[Tensor, Tensor]]:
    # The parameters of a group that have a gradient, with it.
    pairs = [(w, w.grad) for w in group["params"] if w.grad is not None]
    for w, g in pairs:
        if g.is_sparse and not sparse:
            raise RuntimeError(
                f"{type(optimizer).__name__}: sparse gradients are not supported (parameter of shape "
                f"{list(w.shape)}); use SGD or torch.optim.SparseAdam, or an Embedding with sparse=False"
            )
        if w.is_complex():
            raise RuntimeError(
                f"{type(optimizer).__name__}: complex parameters are not supported; use torch.optim"
            )
    return pairs


def _check_options(optimizer: torch.optim.Optimizer) -> None:
    for option in ("foreach", "fused", "capturable", "differentiable"):
        if any(group.get(option) for group in optimizer.param_groups):
            name = type(optimizer).__name__
            raise ValueError(
                f"{name}: {option}=True selects an implementation that this one is not; leave it out, or use "
                f"torch.optim.{name}"
            )
