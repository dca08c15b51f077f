"""The graph behind a computation: run backward through it, walk it, watch what its Functions return."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "leaf_behind",
    "nodes",
    "patched_backward",
    "python_functions",
    "random_like",
    "vector_jacobian",
]

COPIES = ("CopyBackwards", "CloneBackward0", "ToCopyBackward0")


def random_like(tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Normally distributed tensors with these shapes and dtypes, the same at every call."""
    generator = torch.Generator().manual_seed(seed + 1)
    return [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in tensors]


def vector_jacobian(outputs, inputs, directions, copies: bool = True, **options) -> list[Tensor]:
    """Σ_k ⟨direction_k, ∂output_k/∂input⟩ for each input; zero where an input is not used.

    backward gets copies of the directions, unless it is to be seen what it does with their strides.
    """
    live = [(o, d) for o, d in zip(outputs, directions) if o.requires_grad]
    batch = (directions[0].shape[0],) if options.get("is_grads_batched") else ()
    zeros = [torch.zeros((*batch, *t.shape), dtype=t.dtype, device=t.device) for t in inputs]
    if not live:
        return zeros
    heads, tails = [o for o, _ in live], [d.clone() if copies else d for _, d in live]
    grads = torch.autograd.grad(heads, list(inputs), tails, allow_unused=True, **options)
    return [z if g is None else (g.to_dense() if g.is_sparse else g) for z, g in zip(zeros, grads)]


def nodes(outputs: Sequence[Tensor]) -> set:
    """All nodes of the graph behind ``outputs``."""
    seen: set = set()
    stack = [o.grad_fn for o in outputs if o.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    return seen


def python_functions(outputs: Sequence[Tensor]) -> set[type]:
    """The classes in the graph of ``outputs`` that define a backward in Python, or the ancestors that do."""
    forwards = [node._forward_cls for node in nodes(outputs) if hasattr(node, "_forward_cls")]
    own = [[c for c in cls.__mro__ if "backward" in vars(c)] for cls in forwards]
    return {classes[0] for classes in own if classes[0] is not torch.autograd.Function}


def leaf_behind(node: Any) -> Tensor | None:
    """The leaf that a gradient given to ``node`` arrives at unchanged, if there is one."""
    while type(node).__name__ in COPIES:
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if len(parents) != 1:
            return None
        node = parents[0]
    return getattr(node, "variable", None)


@contextlib.contextmanager
def patched_backward(outputs: Sequence[Tensor], watch: Callable) -> Iterator[None]:
    """While open, what the Python Functions in the graph of ``outputs`` return passes through ``watch``.

    ``watch(function, position, node, expected, grad)`` is called for every argument that needs a gradient,
    with the class, the argument's position, the node that the gradient goes to, shape and dtype of the
    argument, and the gradient or None. What it returns is what autograd gets. (Autograd itself would sum,
    expand or cast a gradient that does not fit, without a word.)
    """
    originals = {cls: cls.__dict__["backward"] for cls in python_functions(outputs)}

    def patched(cls: type, original: Any) -> Callable:
        def backward(ctx, *grad_outputs):
            grads = original.__get__(None, cls)(ctx, *grad_outputs)
            row = list(grads) if isinstance(grads, tuple) else [grads]
            edges = [edge for edge in ctx.next_functions if edge[0] is not None]
            positions = [k for k, needed in enumerate(ctx.needs_input_grad) if needed]
            for k, (node, number) in zip(positions, edges):
                # What is missing, or no tensor, is left to autograd, which says so.
                if k < len(row) and (row[k] is None or isinstance(row[k], Tensor)):
                    row[k] = watch(cls, k, node, node._input_metadata[number], row[k])
            return tuple(row)

        return backward

    for cls, original in originals.items():
        cls.backward = staticmethod(patched(cls, original))
    try:
        yield
    finally:
        for cls, original in originals.items():
            cls.backward = original
