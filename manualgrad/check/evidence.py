"""What is true and what backward says, as matrices: the evidence by which a mistake is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .graph import leaf_behind, patched_backward, random_like, vector_jacobian
from .properties import NEAR, STEP, moved
from .target import Target

__all__ = ["MOST", "Evidence", "NoEvidenceError", "alike"]

MOST = 40_000  # entries of a Jacobian: larger ones are not laid out
CUT = "detach(), .data, .item(), no_grad() or NumPy cuts the graph"


class NoEvidenceError(Exception):
    """Why there is no evidence, in a sentence."""


def alike(a: Tensor, b: Tensor, known: Tensor | None = None) -> bool:
    """Whether two tensors of one shape agree, as far as a difference quotient can tell, where ``known``."""
    if a.shape != b.shape:
        return False
    scale = max(_largest(a), _largest(b))
    error = (a - b).abs() <= 1e-7 + 2e-5 * scale
    return bool((error if known is None else error | ~known).all())


class Evidence:
    """The Jacobians of a target at its point, and what its backward makes of each direction.

    With M elements of all outputs together (the differentiable ones), and for argument k:

    Attributes:
        directions, answers: three random grad_outputs, flat, and what backward returns for each of them.
        jacobians[k]: ∂output/∂argument k by central differences, (M, *shape of argument k), float64.
        known[k]: where the quotients to the left and right agree; elsewhere is a kink.
        returned[k]: what backward returns for the M directions e_1, ..., e_M, (M, *its shape): the shape
            that it returned, before autograd sums, casts or refuses it; None if it returned None.
    """

    def __init__(self, target: Target):
        self.target = target
        self.names = target.names
        self.inputs = target.tensors()
        self.outputs = target(self.inputs)
        self.live = [k for k, o in enumerate(self.outputs) if o.requires_grad]
        if not self.live:
            raise NoEvidenceError(f"no output requires a gradient: {CUT}")
        if not all(self.outputs[k].isfinite().all() for k in self.live):
            raise NoEvidenceError("the output is not finite here: there is no derivative to compare with")
        self.shapes = [self.outputs[k].shape for k in self.live]
        self.size = sum(shape.numel() for shape in self.shapes)
        if self.size * max(t.numel() for t in self.inputs) > MOST:
            raise NoEvidenceError("smaller arguments would be explained: these have too many elements")
        self.output = self.flat([self.outputs[k] for k in self.live]).detach()
        if self._rounds():
            raise NoEvidenceError(
                "forward computes in float32, whatever it is given: no difference quotient is that exact; "
                "let it compute in torch.promote_types(x.dtype, torch.float32)"
            )
        pairs = [self.jacobian(self.inputs, k) for k in range(len(self.inputs))]
        self.jacobians, self.known = [J for J, _ in pairs], [known for _, known in pairs]
        self.returned = self._backward_matrices()
        self.directions = [self.flat(random_like([self.output], seed=seed)) for seed in range(3)]
        self.answers = [self.backward(direction) for direction in self.directions]

    @property
    def out_shape(self) -> torch.Size:
        """Of the one output, or of all together, flat."""
        return self.shapes[0] if len(self.shapes) == 1 else torch.Size([self.size])

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """The outputs one behind the other."""
        return torch.cat([t.reshape(-1) for t in tensors])

    def unflat(self, vector: Tensor) -> list[Tensor]:
        """A direction for each output, from one behind the other."""
        parts = vector.split([shape.numel() for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes)]

    def evaluate(self, values: Sequence[Tensor]) -> Tensor:
        """All outputs at other values, flat."""
        outputs = self.target([v.detach().requires_grad_() for v in values])
        return self.flat([outputs[k].detach() for k in self.live]).double()

    def _rounds(self) -> bool:
        # Whether the outputs are numbers of float32, though the inputs are not.
        one, other = (
            self.evaluate([t.detach() * (1 + 1e-3 * n) for t, n in zip(self.inputs, noises)])
            for noises in (random_like(self.inputs, seed=seed) for seed in range(2))
        )
        return not torch.equal(one, other) and all(torch.equal(y, y.float().double()) for y in (one, other))

    def jacobian(self, values: Sequence[Tensor], k: int) -> tuple[Tensor, Tensor]:
        """∂output/∂argument k at ``values`` by central differences, and where left and right agree."""
        value, middle = values[k], self.evaluate(values)
        columns, smooth = [], []
        for place in range(value.numel()):
            x = abs(value.detach().reshape(-1)[place].item())

            def quotients(step: float, place: int = place) -> tuple[Tensor, Tensor]:
                ahead, behind = (
                    self.evaluate([*values[:k], moved(value, place, s), *values[k + 1 :]])
                    for s in (step, -step)
                )
                right, left = (ahead - middle) / step, (middle - behind) / step
                return (left + right) / 2, (right - left).abs()

            column, apart = quotients(STEP * max(1.0, x))
            if 0 < x < 1 and not bool(apart.max() <= 1e-3 * max(1.0, column.abs().max().item())):
                column, apart = quotients(NEAR * x)
            columns.append(column)
            smooth.append(apart <= 1e-3 * column.abs().clamp(min=1.0))
        shape = (self.size, *value.shape)
        return torch.stack(columns, -1).reshape(shape), torch.stack(smooth, -1).reshape(shape)

    def slope(self, values: Sequence[Tensor], k: int, way: Tensor) -> Tensor:
        """∂output/∂argument k · ``way`` at ``values``: one column in the place of the whole Jacobian."""
        ahead, behind = (
            self.evaluate([*values[:k], values[k].detach() + s * way, *values[k + 1 :]])
            for s in (STEP, -STEP)
        )
        return (ahead - behind) / (2 * STEP)

    def backward(self, direction: Tensor) -> list[Any]:
        """What backward makes of one direction (flat), for each argument."""
        inputs = self.target.tensors()
        outputs = self.target(inputs)
        raw: dict[int, list[Tensor | None]] = {}

        def watch(cls, position, node, expected, grad):
            # Keep the gradient as it was returned, and give autograd one that it accepts.
            leaf = leaf_behind(node)
            index = next((k for k, t in enumerate(inputs) if t is leaf), None)
            if index is not None:
                raw.setdefault(index, []).append(grad)
            if grad is not None and tuple(grad.shape) != tuple(expected.shape):
                try:
                    return grad.sum_to_size(expected.shape)
                except RuntimeError:
                    return grad.new_zeros(expected.shape)
            return grad

        heads = [outputs[k] for k in self.live]
        with patched_backward(heads, watch):
            passed = vector_jacobian(heads, inputs, self.unflat(direction.to(heads[0])))
        # Only a gradient that came from one Function, directly, is taken as that one returned it.
        return [raw[k][0] if len(raw.get(k, [])) == 1 else grad for k, grad in enumerate(passed)]

    def _backward_matrices(self) -> list[Any]:
        rows = [self.backward(direction) for direction in torch.eye(self.size, dtype=torch.float64)]
        matrices: list[Any] = []
        for column in zip(*rows):
            present = [g.to_dense() if g.is_sparse else g for g in column if g is not None]
            shapes = {tuple(g.shape) for g in present}
            matrices.append(
                torch.stack([g.double() for g in present])
                if len(present) == self.size and len(shapes) == 1
                else None
            )
        return matrices

    @cached_property
    def answers_of_sums(self) -> dict[str, list[Any]]:
        """With the first two directions g and h, what backward returns for −g, −h and g + h."""
        g, h, _ = self.directions
        return {name: self.backward(d) for name, d in (("-g", -g), ("-h", -h), ("g + h", g + h))}

    def by_output(self, matrix: Tensor) -> Tensor:
        """A matrix (M, *shape of an argument) as (*shape of the output, *shape of the argument)."""
        return matrix.reshape(*self.out_shape, *matrix.shape[1:])

    def wrong(self, k: int) -> bool:
        """Whether backward's gradient of argument k is not the derivative."""
        returned = self.returned[k]
        if returned is None:
            return bool(_largest(self.jacobians[k]) > 1e-7)
        if not alike(returned, self.jacobians[k], self.known[k]):
            return True
        products = [torch.tensordot(d, returned, 1) for d in self.directions]  # as a linear map has it
        return any(a[k] is None or not alike(a[k], p) for a, p in zip(self.answers, products))

    def not_a_derivative(self, k: int) -> str | None:
        """What is no mistake in a formula: a gradient of argument k that is random, not finite, or 0."""
        answers, name = [answer[k] for answer in self.answers], self.names[k]
        present = [a for a in answers if a is not None]
        if not present:
            return None
        if not all(a.isfinite().all() for a in present):
            return f"the gradient of {name} is not finite"
        again = self.backward(self.directions[0])[k]
        if answers[0] is not None and again is not None and not torch.equal(answers[0], again):
            return f"the gradient of {name} is another one each time, for the same grad_output: it is random"
        if not any(a.any() for a in present):
            return f"the gradient of {name} is 0: backward returns it, or {CUT}"
        return None


def _largest(tensor: Tensor) -> float:
    return tensor.abs().nan_to_num(nan=math.inf).max().item() if tensor.numel() else 0.0
