"""Forward once more, differentiated by autograd, with the derivative of one operation made wrong.

What backward returns for a whole network, written as one Function, may be explained by one operation inside
it whose derivative is mistaken: a softmax with a diagonal Jacobian, an activation passed through, a mean
taken for a constant. So each operation of forward is given each such derivative in turn, and the gradients
are compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .evidence import Evidence, alike
from .graph import python_functions, vector_jacobian

__all__ = ["replayed"]

CONTEXT = ("save_for_backward", "mark_dirty", "mark_non_differentiable", "set_materialize_grads")  # of ctx
MOST_OPERATIONS = 64  # of one name, in forward, that are tried one by one


def with_derivative(value: Tensor, *terms: tuple[Tensor, Tensor | float]) -> Tensor:
    """``value``, with ∂/∂x = slope for each of the ``terms`` (x, slope), elementwise."""
    result = value.detach()
    for x, slope in terms:
        factor = slope.detach() if isinstance(slope, Tensor) else slope
        result = result + (x - x.detach()) * factor
    return result


def slope_at(function: Callable, point: Tensor) -> Tensor:
    """f′ of an elementwise function, at another point."""
    with torch.enable_grad():
        x = point.detach().clone().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]


def passed_through(function, args, kwargs):
    return with_derivative(function(*args, **kwargs), (args[0], 1.0))


def at_output(function, args, kwargs):
    y = function(*args, **kwargs)
    return with_derivative(y, (args[0], slope_at(lambda t: function(t, *args[1:], **kwargs), y)))


def by_input(function, args, kwargs):
    x, y = args[0], function(*args, **kwargs)
    return with_derivative(y, (x, BY_OUTPUT[function.__name__](x)))


def detached(function, args, kwargs):
    result = function(*args, **kwargs)
    return result.detach() if isinstance(result, Tensor) else type(result)(r.detach() for r in result)


def as_sum(function, args, kwargs):
    x, y = args[0], function(*args, **kwargs)
    return y.detach() + (x - x.detach()).sum(*args[1:], **kwargs)


def diagonal(function, args, kwargs):
    y = function(*args, **kwargs).detach()
    return with_derivative(y, (args[0], 1 - y.exp() if function.__name__ == "log_softmax" else y * (1 - y)))


def without_the_sum(function, args, kwargs):
    y = function(*args, **kwargs).detach()
    return with_derivative(y, (args[0], 1.0 if function.__name__ == "log_softmax" else y))


def unmasked(function, args, kwargs):
    y = function(*args, **kwargs).detach()
    if function.__name__ == "where":
        return with_derivative(y, *((x, 1.0) for x in args[1:] if isinstance(x, Tensor) and x.requires_grad))
    return with_derivative(y, (args[0], 1.0))


def skipped(function, args, kwargs):
    return args[1] if function.__name__ == "where" else args[0] + 0


def product_with(slope: Callable[[Tensor], Tensor]) -> Callable:
    """A product whose other factor is a mask, having zeros: its derivative is a function of the mask."""

    def replacement(function, args, kwargs):
        for x, mask in (args, args[::-1]):
            if isinstance(mask, Tensor) and isinstance(x, Tensor) and bool((mask == 0).any()):
                return with_derivative(function(*args, **kwargs), (x, slope(mask)))
        return function(*args, **kwargs)

    return replacement


def left_untransposed(function, args, kwargs):
    a, b = args
    if b.dim() < 2 or b.shape[-1] != b.shape[-2] or a.dim() < 2:
        return function(*args, **kwargs)
    moved = function(a - a.detach(), b.detach().mT)  # whose gradient for a is g b, not g bᵀ
    return function(a.detach(), b, **kwargs) + moved


def right_untransposed(function, args, kwargs):
    a, b = args
    if a.dim() < 2 or a.shape[-1] != a.shape[-2] or b.dim() < 2:
        return function(*args, **kwargs)
    return function(a, b.detach(), **kwargs) + function(a.detach().mT, b - b.detach())


def left_of_transposed(function, args, kwargs):
    a, b = args
    product = function(a.detach(), b, **kwargs)
    return product + function(a - a.detach(), b.detach()).mT  # whose gradient for a is gᵀ bᵀ, not g bᵀ


def right_of_transposed(function, args, kwargs):
    a, b = args
    product = function(a, b.detach(), **kwargs)
    return product + function(a.detach(), b - b.detach()).mT


def log_of_clamped(function, args, kwargs):
    x = args[0]
    return with_derivative(function(*args, **kwargs), (x, 1 / x.detach().clamp(min=CLAMP)))


UNARY = (
    *("tanh", "sigmoid", "relu", "exp", "log", "sqrt", "rsqrt", "square", "pow", "reciprocal", "sin", "cos"),
    *(
        "gelu",
        "silu",
        "softplus",
        "elu",
        "leaky_relu",
        "logsigmoid",
        "hardtanh",
        "log1p",
        "expm1",
        "abs",
        "erf",
    ),
)
BY_OUTPUT: dict[str, Callable] = {  # f′ as a formula of y, into which x is put
    "tanh": lambda t: 1 - t * t,
    "sigmoid": lambda t: t * (1 - t),
    "exp": lambda t: t,
    "sqrt": lambda t: 0.5 / t,
    "reciprocal": lambda t: -t * t,
    "softplus": lambda t: 1 - (-t).exp(),
}
STATISTICS = ("mean", "var", "std", "var_mean", "std_mean", "norm", "logsumexp", "amax", "max")
CLAMP = 1e-3
MISTAKES: tuple[tuple[str, tuple[str, ...], Callable, str], ...] = (
    # (kind, names of operations, what is done in their place, what to say)
    ("softmax diagonal", ("softmax", "log_softmax"), diagonal, "the Jacobian of {} has its diagonal alone"),
    ("softmax diagonal", ("softmax", "log_softmax"), without_the_sum, "the Jacobian of {} lacks Σ g y"),
    ("statistics as constants", STATISTICS, detached, "{} is taken for a constant"),
    ("local derivative forgotten", UNARY, passed_through, "the derivative of {} is missing"),
    ("derivative at the wrong point", UNARY, at_output, "the derivative of {} is taken at its output"),
    (
        "derivative at the wrong point",
        tuple(BY_OUTPUT),
        by_input,
        "{}'s derivative, in y, is computed with x",
    ),
    (
        "mask not applied",
        ("where", "masked_fill", "threshold", "dropout"),
        unmasked,
        "the mask of {} is missing",
    ),
    ("mask not applied", ("where", "masked_fill"), skipped, "{} is left out when backward computes again"),
    (
        "mask not applied",
        ("mul",),
        product_with(torch.ones_like),
        "the product with a mask is passed through",
    ),
    ("mask not applied", ("mul",), product_with(lambda mask: mask != 0), "the mask's scale is missing"),
    ("log clamped", ("clamp", "clamp_min", "clip"), passed_through, "{} clamps in forward, not in backward"),
    ("log clamped", ("log",), log_of_clamped, "{} is clamped in backward, not in forward"),
    ("transposed", ("matmul", "mm", "bmm"), left_untransposed, "a matrix of {} is not transposed"),
    ("transposed", ("matmul", "mm", "bmm"), right_untransposed, "a matrix of {} is not transposed"),
    ("transposed", ("matmul", "mm", "bmm"), left_of_transposed, "grad_output is transposed at {}"),
    ("transposed", ("matmul", "mm", "bmm"), right_of_transposed, "grad_output is transposed at {}"),
    ("constant factor", ("mean",), as_sum, "the 1/N of {} is missing"),
)


class Mistaken(TorchFunctionMode):
    """Inside, the ``chosen``-th operation of one of these names (all, if None) is replaced."""

    def __init__(self, names: tuple[str, ...], replacement: Callable, chosen: int | None):
        super().__init__()
        self.names, self.replacement, self.chosen = names, replacement, chosen
        self.count = 0
        self.inside = False
        self.replaced = ""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.inside or name not in self.names or not any(_differentiable(a) for a in args):
            return func(*args, **kwargs)
        self.count += 1
        if self.chosen is not None and self.count - 1 != self.chosen:
            return func(*args, **kwargs)
        self.inside = True
        try:
            self.replaced = name
            return self.replacement(func, args, kwargs)
        finally:
            self.inside = False


def replayed(e: Evidence, wrong: list[int]) -> dict[int, tuple[str, str]]:
    """For each argument of ``wrong`` that one mistaken operation explains: the kind, and a sentence."""
    found: dict[int, tuple[str, str]] = {}
    with contextlib.suppress(Exception), _differentiable_forward(e):
        true = [[torch.tensordot(d, J, 1) for J in e.jacobians] for d in e.directions]
        open_to_us = _same(e, wrong, true, Mistaken((), passed_through, None))
        for kind, names, replacement, text in MISTAKES:
            count = min(_count(e, names), MOST_OPERATIONS)
            # One operation of these names after the other, then all of them.
            for chosen in (*range(count), *([None] if count > 1 else [])):
                left = [k for k in open_to_us if k not in found]
                mode = Mistaken(names, replacement, chosen)
                same = []
                with contextlib.suppress(Exception):  # some operations cannot be replaced that way
                    same = _same(e, left, e.answers, mode)
                what = text.format(mode.replaced)
                found |= {k: (kind, f"the gradient of {e.names[k]} is that in which {what}") for k in same}
    return found


def _count(e: Evidence, names: tuple[str, ...]) -> int:
    # The operations of these names in forward.
    with Mistaken(names, passed_through, -1) as mode:
        e.target(e.target.tensors())
    return mode.count


def _same(e: Evidence, ks: list[int], answers: list[list[Tensor | None]], mode: Mistaken) -> list[int]:
    # Those of the arguments whose gradients are the answers, direction by direction, under ``mode``.
    for direction, answer in zip(e.directions, answers):
        if not ks:
            break
        inputs = e.target.tensors()
        mode.count = 0
        with mode:
            outputs = e.target(inputs)
        heads = [outputs[i] for i in e.live]
        gradients = vector_jacobian(heads, inputs, e.unflat(direction))
        ks = [k for k in ks if (a := answer[k]) is not None and alike(a, gradients[k])]
    return ks


@contextlib.contextmanager
def _differentiable_forward(e: Evidence) -> Iterator[None]:
    """While open, the Functions of the target run their forward in the open, where autograd sees it."""
    classes = [cls for cls in python_functions(e.outputs) if "apply" not in vars(cls)]

    def apply(cls, *args):
        if cls.setup_context is not torch.autograd.Function.setup_context:
            return cls.forward(*args)
        ctx = SimpleNamespace(needs_input_grad=[_differentiable(a) for a in args])
        for name in CONTEXT:
            setattr(ctx, name, lambda *ignored: None)
        return cls.forward(ctx, *args)

    for cls in classes:
        cls.apply = classmethod(apply)
    try:
        yield
    finally:
        for cls in classes:
            del cls.apply


def _differentiable(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
