"""Mistakes as equations: each hypothesis says what backward returns if that mistake was made, and compares.

A hypothesis is a function of the evidence and of an argument k, whose gradient is wrong. J is the true
Jacobian, B what backward returns for each row of the identity, both (M, *shape of the argument) for M
elements of the output: backward is right if B = J. It returns what it found, in a sentence, or None. They are
tried in the order of the tables at the end, the special before the general; between the two tables, the
mistakes of a single operation are tried (:mod:`manualgrad.check.replay`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .evidence import Evidence, alike
from .graph import random_like

__all__ = ["FIRST", "LAST", "Hypothesis"]

Hypothesis = Callable[[Evidence, int], "str | None"]
MOST_CHANGED = 200  # elements of all arguments together: for more, derivatives elsewhere would take too long


def none_returned(e: Evidence, k: int) -> str | None:
    """B is None, J is not 0."""
    return f"None for {e.names[k]}, which needs a gradient" if e.returned[k] is None else None


def upstream_ignored(e: Evidence, k: int) -> str | None:
    """B · g, or a part of it, is the same for every g, and not 0."""
    of_g, of_h, _ = (answer[k] for answer in e.answers)
    if of_g is None or of_h is None or not bool(of_g.any()):
        return None
    if torch.equal(of_g, of_h):
        return f"the gradient of {e.names[k]} is the same whatever grad_output is"
    of_minus_g, of_minus_h, of_sum = (answer[k] for answer in e.answers_of_sums.values())
    if of_minus_g is None or of_minus_h is None or of_sum is None or alike(of_g, -of_minus_g):
        return None
    constant = (of_g + of_minus_g) / 2
    if alike(constant, (of_h + of_minus_h) / 2) and alike(of_sum, of_g + of_h - constant):
        return f"a part of the gradient of {e.names[k]} is the same whatever grad_output is"
    return None


def not_linear(e: Evidence, k: int) -> str | None:
    """B · (g + h) is not B · g + B · h, or B · (−g) is not −B · g."""
    of = {"g": e.answers[0][k], "h": e.answers[1][k]}
    of |= {name: answer[k] for name, answer in e.answers_of_sums.items()}
    if any(value is None for value in of.values()):
        return None
    if not alike(of["-g"], -of["g"]):
        return f"the gradient of {e.names[k]} for -grad_output is not the negative of that for grad_output"
    if not alike(of["g + h"], of["g"] + of["h"]):
        return f"the gradient of {e.names[k]} for a sum of two grad_outputs is not the sum of its gradients"
    return None


def wrong_sign(e: Evidence, k: int) -> str | None:
    """B = −J."""
    J, B = e.jacobians[k], e.returned[k]
    return (
        f"the gradient of {e.names[k]} is the negative of the true one" if alike(B, -J, e.known[k]) else None
    )


def wrong_order(e: Evidence, k: int) -> str | None:
    """B is the Jacobian of another argument."""
    for other, J in enumerate(e.jacobians):
        if other != k and e.wrong(other) and alike(e.returned[k], J, e.known[other]):
            return f"in the place of {e.names[k]}'s gradient stands that of {e.names[other]}"
    return None


def constant_factor(e: Evidence, k: int) -> str | None:
    """B = c J."""
    J, B = e.jacobians[k], e.returned[k]
    if B.shape != J.shape:
        return None
    factor = _ratio(B, J, e.known[k])
    if factor is None or abs(factor - 1) < 1e-4:
        return None
    name, origin = _name_of_factor(factor, e)
    return f"the gradient of {e.names[k]} is {name} times the true one{origin}"


def mask_scale(e: Evidence, k: int) -> str | None:
    """B = c J, where c is p, 1 − p or 1/p for a probability p that the target is called with.

    Or what a random forward keeps passes as it is: dropout's scale was forgotten.
    """
    J, B = e.jacobians[k], e.returned[k]
    factor = _ratio(B, J, e.known[k]) if B.shape == J.shape else None
    if factor is None:
        return None
    if bool((J.reshape(e.size, -1).abs() > 1e-7).any(0).all()):
        return None  # nothing is masked
    for name, p in e.target.options.items():
        if isinstance(p, float) and 0 < p < 1 and any(abs(factor - c) < 1e-4 for c in (p, 1 - p, 1 / p)):
            return f"the gradient of {e.names[k]} is {factor:.4g} times the true one, with {name} = {p:g}"
    kept = B[B.abs() > 1e-7]
    if alike(kept, torch.ones_like(kept)) and e.target.is_random():
        return f"the gradient of {e.names[k]} lacks the factor {1 / factor:.4g} of what is kept"
    return None


def transposed(e: Evidence, k: int) -> str | None:
    """B is J with two axes of the argument, or of grad_output, exchanged; or J where another matrix is wᵀ."""
    J, B, known = e.jacobians[k], e.returned[k], e.known[k]
    name = e.names[k]
    for one, other in itertools.combinations(range(1, J.dim()), 2):
        exchanged = J.transpose(one, other)
        if alike(B, exchanged, known.transpose(one, other)):
            return f"the gradient of {name} is transposed: you returned d{name}ᵀ"
    if B.shape != J.shape:
        return None
    shape = e.out_shape
    for one, other in itertools.combinations(range(len(shape)), 2):
        if shape[one] == shape[other]:
            split = e.by_output(J).transpose(one, other).reshape(J.shape)
            if alike(B, split):
                return f"the gradient of {name} is right for the transpose of grad_output"
    return right_if(e, k, transposes(e))


def missing_sum(e: Evidence, k: int) -> str | None:
    """B, summed to the argument's shape, is J; or B has only some of the terms of which J is the sum."""
    J, B, known = e.jacobians[k], e.returned[k], e.known[k]
    name = e.names[k]
    if B.shape != J.shape and B.numel() != J.numel():
        extra = (1,) * max(0, B.dim() - J.dim())
        try:
            summed = B.sum_to_size((e.size, *extra, *J.shape[1:])).reshape(J.shape)
        except RuntimeError:
            return None
        if not alike(summed, J, known):
            return None
        axes = _axes_summed(B.shape[1:], J.shape[1:])
        return (
            f"the gradient of {name} has shape {list(B.shape[1:])}, {name} has {list(J.shape[1:])}: "
            f"sum it over {_axes(axes)}, along which {name} was broadcast"
        )
    if len(e.shapes) != 1 or B.shape != J.shape:
        return None
    shape = e.out_shape
    split_J, split_B, split_known = map(e.by_output, (J, B, known))
    for axis, length in enumerate(shape):
        if not bool(((split_J.abs() > 1e-7).sum(axis) > 1).any()):
            continue  # no element reaches several places along this axis
        for index in range(length):
            kept = _indices(split_J, axis) == index
            if bool((split_J * ~kept).abs().max() > 1e-7) and alike(split_B, split_J * kept, split_known):
                return (
                    f"of the sum over axis {axis} of the output, the gradient of {name} has only term {index}"
                )
    for axis, length in enumerate(shape):
        if length < 2 or axis >= J.dim() - 1 or J.shape[1 + axis] != length:
            continue
        of_output, of_argument = _indices(split_J, axis), _indices(split_J, len(shape) + axis)
        same, later = of_output == of_argument, of_output >= of_argument
        carried = (split_J * ~same).abs().max() > 1e-7
        if (
            carried
            and alike(split_J * later, split_J, split_known)
            and alike(split_B, split_J * same, split_known)
        ):
            return (
                f"each element of {name} along axis {axis} reaches later outputs, too, but has the gradient "
                "of its own step alone"
            )
    return None


def summed_too_much(e: Evidence, k: int) -> str | None:
    """B is J summed (or averaged) over axes of the argument; not so where J is repeated along them."""
    J, B = e.jacobians[k], e.returned[k]
    idle = ~(J.abs() > 1e-7).any(0).expand_as(J)
    if B.shape == J.shape and bool(idle.any()) and alike(B, J, ~idle):
        return None  # too much only for elements that no output depends on
    axes = range(1, J.dim())
    for count in range(1, J.dim()):
        for over in itertools.combinations(axes, count):
            if math.prod(J.shape[d] for d in over) == 1:
                continue
            mean = J.mean(over, keepdim=True)
            for summed in (J.sum(over, keepdim=True), *(() if alike(J, mean.expand_as(J)) else (mean,))):
                if B.dim() == J.dim():
                    try:
                        whole = summed.expand(B.shape)
                    except RuntimeError:
                        continue
                else:
                    whole = summed.squeeze(over)
                if alike(B, whole):
                    return f"the gradient of {e.names[k]} is summed over its {_axes([d - 1 for d in over])}"
    return None


def reshaped(e: Evidence, k: int) -> str | None:
    """B has another shape than J."""
    J, B = e.jacobians[k], e.returned[k]
    if B.shape == J.shape:
        return None
    return f"the gradient of {e.names[k]} has shape {list(B.shape[1:])}, {e.names[k]} has {list(J.shape[1:])}"


def softmax_diagonal(e: Evidence, k: int) -> str | None:
    """B is the diagonal of a softmax's Jacobian, y_i (1 − y_i), or y_i alone."""
    J, B = e.jacobians[k], e.returned[k]
    if len(e.shapes) != 1 or B.shape != J.shape or e.out_shape != J.shape[1:]:
        return None
    same = torch.eye(e.size, dtype=torch.bool).reshape(J.shape)
    # What softmax returns, or log softmax the logarithm of, is positive and sums to 1 along an axis.
    for p, without_the_sum in ((e.output, torch.diag(e.output)), (e.output.exp(), same.double())):
        sums = [p.reshape(e.out_shape).sum(axis) for axis in range(len(e.out_shape))]
        if not bool((p >= 0).all()) or not any(alike(s, torch.ones_like(s)) for s in sums):
            continue
        if alike(B, J * same) or alike(B, without_the_sum.reshape(J.shape)):
            return f"the gradient of {e.names[k]} has the diagonal of softmax's Jacobian alone"
    return None


def statistics_constant(e: Evidence, k: int) -> str | None:
    """B is J without the derivative of mean, variance or length.

    With the n elements S that output j is normalized with, J_ji = c_j (δ_ji − 1/n) − d_j (x_i − x̄), i in S:
    1/n comes from the mean, the last term from the variance.
    """
    J, B, x = e.jacobians[k], e.returned[k], e.inputs[k].detach()
    if B.shape != J.shape or x.numel() < 3:
        return None
    J, B, x = J.reshape(e.size, -1), B.reshape(e.size, -1), x.reshape(-1)
    found = None
    for j in range(e.size):
        group = J[j].abs() > 1e-9
        n = int(group.sum())
        if bool((B[j][~group].abs() > 1e-6).any()):
            return None
        if n < 3 or alike(B[j], J[j]):
            continue
        own = torch.zeros(n, dtype=J.dtype)
        if x.numel() == e.size and group[j]:
            own[int(group[:j].sum())] = 1.0
        values = x[group]
        fitting = None
        for what, terms in (
            ("mean and variance", (own - 1 / n, values - values.mean())),
            ("the length", (own, values)),
        ):
            if not own.any():
                continue
            basis = torch.stack(terms, -1)
            weights = torch.linalg.lstsq(basis, J[j][group, None]).solution[:, 0]
            if not alike(basis @ weights, J[j][group]):
                continue
            c, last = weights.tolist()
            candidates = {
                "the length is": c * own,
                "mean and variance are": c * own,
                "the mean is": c * own + last * terms[1],
                "the variance is": c * (own - 1 / n),
            }
            names = ("the length is",) if what == "the length" else list(candidates)[1:]
            fitting = next((name for name in names if alike(B[j][group], candidates[name])), None)
            if fitting:
                break
        if fitting is None or found not in (None, fitting):
            return None
        found = fitting
    if found is None:
        return None
    return f"the gradient of {e.names[k]} is that in which {found} constant"


def length_constant(e: Evidence, k: int) -> str | None:
    """J is orthogonal to x (scaling x changes nothing), and B is J without that projection: B − J ∝ x."""
    J, B, x = e.jacobians[k], e.returned[k], e.inputs[k].detach()
    if B.shape != J.shape or x.dim() == 0 or x.shape[-1] < 3:
        return None
    for axes in ([x.dim() - 1], list(range(x.dim()))):
        over = [1 + d for d in axes]
        if bool((J * x).sum(over).abs().max() > 1e-5 * max(1.0, J.abs().max().item())):
            continue
        if bool((B.abs() > 1e-7)[J.abs() < 1e-12].any()):
            continue  # what an output does not depend on is no part of its length
        along = ((B - J) * x).sum(over, keepdim=True) / (x * x).sum(axes, keepdim=True)
        if alike(B - J, along * x) and not alike(B, J):
            return f"the gradient of {e.names[k]} is that in which its length is constant"
    return None


def local_forgotten(e: Evidence, k: int) -> str | None:
    """B · g = g, summed or repeated to the argument's shape."""
    J, B = e.jacobians[k], e.returned[k]
    if len(e.shapes) != 1 or B.shape != J.shape:
        return None
    eye = torch.eye(e.size, dtype=torch.float64).reshape(e.size, *e.out_shape)
    try:
        passed = eye.sum_to_size((e.size, *J.shape[1:])) if eye.dim() >= J.dim() else eye.expand(J.shape)
    except RuntimeError:
        return None
    return f"the gradient of {e.names[k]} is grad_output itself" if alike(B, passed) else None


def wrong_point(e: Evidence, k: int) -> str | None:
    """B is J at y in the place of x, or with x in a formula that takes y."""
    J, B, x = e.jacobians[k], e.returned[k], e.inputs[k].detach()
    if len(e.shapes) != 1 or B.shape != J.shape or e.out_shape != x.shape:
        return None
    y = e.output.reshape(e.out_shape)
    values = [*e.inputs[:k], y, *e.inputs[k + 1 :]]
    try:
        at_output, _ = e.jacobian(values, k)
    except (RuntimeError, ValueError):
        at_output = None
    if at_output is not None and alike(B, at_output):
        return f"the derivative for {e.names[k]} is taken at the output, not at the input"
    off = ~torch.eye(e.size, dtype=torch.bool)
    flat_J, flat_B = J.reshape(e.size, -1), B.reshape(e.size, -1)
    if bool((flat_J[off].abs() > 1e-7).any()) or bool((flat_B[off].abs() > 1e-7).any()):
        return None
    slopes, x, y = flat_J.diagonal(), x.reshape(-1), y.reshape(-1)
    for form in (
        lambda t: torch.stack([torch.ones_like(t), t, t * t], -1),
        lambda t: 1 / t[:, None],
        lambda t: torch.stack([torch.ones_like(t), (-t).exp()], -1),
    ):
        basis = form(y)
        if basis.shape[0] <= basis.shape[1]:
            continue
        weights = torch.linalg.lstsq(basis, slopes[:, None]).solution
        if alike((basis @ weights)[:, 0], slopes) and alike((form(x) @ weights)[:, 0], flat_B.diagonal()):
            return f"the derivative for {e.names[k]}, a formula of the output, is computed with the input"
    return None


def mask_forgotten(e: Evidence, k: int) -> str | None:
    """B = J, but not where J is 0 for all outputs, or in all inputs of an output."""
    J, B, known = (t.reshape(e.size, -1) for t in (e.jacobians[k], e.returned[k], e.known[k]))
    if B.shape != J.shape:
        return None
    alive = J.abs() > 1e-7
    for what, masked in (
        (f"elements of {e.names[k]} that no output depends on", ~alive.any(0)[None, :].expand_as(J)),
        (f"outputs that do not depend on {e.names[k]}", ~alive.any(1)[:, None].expand_as(J)),
    ):
        if not masked.any() or masked.all() or not bool((B[masked].abs() > 1e-7).any()):
            continue
        left = known & ~masked
        if alike(B, J, left) or _ratio(B, J, left) is not None:
            return f"the gradient of {e.names[k]} is not 0 where it should be: at {what}"
    return None


def clamped(e: Evidence, k: int) -> str | None:
    """B differs from J only, or most, where the argument is closest to 0 or 1, and one of them is steep."""
    J, B, x = e.jacobians[k], e.returned[k], e.inputs[k].detach()
    if B.shape != J.shape or not bool(((x >= 0) & (x <= 1)).all()):
        return None
    margin = torch.minimum(x, 1 - x).reshape(-1)  # from 0 and 1, where logarithms have their poles
    slope_J, slope_B = (t.abs().amax(0).reshape(-1) for t in (J, B))
    steeper = torch.maximum(slope_J, slope_B)
    error = (slope_J - slope_B).abs()
    wrong = ~(error <= 1e-7 + 1e-4 * steeper)
    if not wrong.any():
        return None
    if wrong.all():
        relative = (error / steeper)[margin.argsort()]
        if len(relative) < 3 or relative[0] <= 10 * relative[-1]:
            return None
    elif margin[wrong].max() > margin[~wrong].min() or steeper[wrong].max() <= steeper[~wrong].max():
        return None
    where = f"the gradient of {e.names[k]} is wrong where {e.names[k]} is close to 0 or 1"
    return f"{where}: one of forward and backward clamps, the other does not"


def leaks(e: Evidence, k: int) -> str | None:
    """Along the axis of samples, the first of two or more, J is block diagonal, and B is not."""
    J, B = e.jacobians[k], e.returned[k]
    if len(e.shapes) != 1 or B.shape != J.shape:
        return None
    shape = e.out_shape
    if len(shape) < 2 or J.dim() < 3 or shape[0] != J.shape[1] or shape[0] < 2:
        return None
    split_J, split_B = e.by_output(J), e.by_output(B)
    other = _indices(split_J, 0) != _indices(split_J, len(shape))
    if not bool(((split_J * ~other).flatten(1).abs().amax(1) > 1e-7).all()):
        return None  # argument or output is no sample
    if bool((split_J * other).abs().max() > 1e-7) or not bool((split_B * other).abs().max() > 1e-7):
        return None
    return f"the gradient of {e.names[k]} for one sample depends on the grad_output of another (axis 0)"


def shifted(e: Evidence, k: int) -> str | None:
    """B is J moved by a step along an axis of the argument or of the output, or reversed along axes."""
    J, B = e.jacobians[k], e.returned[k]
    if B.shape != J.shape:
        return None
    shape = e.out_shape
    split_J, split_B = e.by_output(J), e.by_output(B)
    for axes in _subsets(range(len(shape), split_J.dim())):
        if alike(split_B, split_J.flip(axes)):
            names = _axes([d - len(shape) for d in axes])
            return f"the gradient of {e.names[k]} is reversed along its {names}"
    for axis, length in enumerate(split_J.shape):
        what = (
            f"axis {axis} of the output" if axis < len(shape) else f"axis {axis - len(shape)} of {e.names[k]}"
        )
        for step in (1, -1, 2, -2):
            count = length - abs(step)
            if count < 1:
                continue
            there = split_B.narrow(axis, max(step, 0), count)
            here = split_J.narrow(axis, max(-step, 0), count)
            if bool(here.abs().max() > 1e-7) and bool(there.abs().max() > 1e-7) and alike(there, here):
                return f"the gradient of {e.names[k]} is the true one, moved by {step} along {what}"
    return right_if(e, k, reversals(e)) or right_if(e, k, moves(e))


def windows_missed(e: Evidence, k: int) -> str | None:
    """B = J, but 0 at the first or last places of an axis: a window, or a step, was left out."""
    J, B, known = e.jacobians[k], e.returned[k], e.known[k]
    if B.shape != J.shape:
        return None
    shape = e.out_shape
    split_J, split_B, split_known = map(e.by_output, (J, B, known))
    for axis, length in enumerate(split_J.shape):
        others = [d for d in range(split_J.dim()) if d != axis]
        if int((split_J.abs() > 1e-7).sum(others).count_nonzero()) < 3:
            continue  # of so few places, to leave out one is no pattern
        for start in (0, length - 1):
            if alike(split_B, split_J * (_indices(split_J, axis) != start), split_known):
                what = "the output" if axis < len(shape) else e.names[k]
                index = axis if axis < len(shape) else axis - len(shape)
                return f"the gradient of {e.names[k]} leaves out place {start} of axis {index} of {what}"
    return None


def right_if(e: Evidence, k: int, changes: Iterator[tuple[str, int, Tensor]]) -> str | None:
    """B is J where one argument is another one: backward does not compute with what forward did."""
    B = e.returned[k]
    if sum(t.numel() for t in e.inputs) > MOST_CHANGED or B.shape != e.jacobians[k].shape:
        return None
    (way,) = random_like([e.inputs[k]])
    along = (B * way).reshape(e.size, -1).sum(1)
    for what, other, value in changes:
        if alike(value, e.inputs[other].detach()):
            continue
        values = [*e.inputs[:other], value, *e.inputs[other + 1 :]]
        try:
            slope = e.slope(values, k, way)
        except (RuntimeError, ValueError):
            continue  # the target does not take such values
        if bool((slope - along).abs().max() > 1e-3 * along.abs().max()):
            continue  # one direction refutes almost all of them
        if alike(B, e.jacobian(values, k)[0]):
            return f"the gradient of {e.names[k]} is right for {e.names[other]} {what}"
    return None


def transposes(e: Evidence) -> Iterator[tuple[str, int, Tensor]]:
    """Each argument with two axes of one length exchanged."""
    for other, value in enumerate(e.inputs):
        for one, two in itertools.combinations(range(value.dim()), 2):
            if value.shape[one] == value.shape[two]:
                yield "transposed", other, value.detach().transpose(one, two).contiguous()


def reversals(e: Evidence) -> Iterator[tuple[str, int, Tensor]]:
    """Each argument reversed along one to three axes."""
    for other, value in enumerate(e.inputs):
        for axes in _subsets(range(value.dim())):
            yield f"reversed along {_axes(axes)}", other, value.detach().flip(axes)


def moves(e: Evidence) -> Iterator[tuple[str, int, Tensor]]:
    """Each argument moved by one place along an axis, with zeros or its other end behind it."""
    for other, value in enumerate(e.inputs):
        for axis, length in enumerate(value.shape):
            for step in (1, -1) if length > 1 else ():
                turned = value.detach().roll(step, axis)
                yield f"moved by {step} along axis {axis}", other, turned
                zeroed = turned.clone()
                zeroed.select(axis, 0 if step > 0 else -1).zero_()
                yield f"moved by {step} along axis {axis}", other, zeroed


FIRST: dict[str, tuple[Hypothesis, ...]] = {
    "None returned": (none_returned,),
    "upstream gradient ignored": (upstream_ignored,),
    "not linear in grad_output": (not_linear,),
    "sign": (wrong_sign,),
    "wrong order": (wrong_order,),
    "mask not applied": (mask_scale,),
    "constant factor": (constant_factor,),
    "transposed": (transposed,),
    "missing sum": (missing_sum,),
    "summed over too many": (summed_too_much,),
    "wrong shape or dtype": (reshaped,),  # all that follow compare gradients of the right shape
    "softmax diagonal": (softmax_diagonal,),
    "statistics as constants": (statistics_constant, length_constant),
    "derivative at the wrong point": (wrong_point,),
    "local derivative forgotten": (local_forgotten,),
}
LAST: dict[str, tuple[Hypothesis, ...]] = {
    "log clamped": (clamped,),
    "leaks across samples": (leaks,),
    "mask not applied": (mask_forgotten,),
    "shifted window": (windows_missed, shifted),
}


def _ratio(B: Tensor, J: Tensor, known: Tensor) -> float | None:
    # The c of B = c J, if there is one, and it is not 0.
    J, B = J * known, B * known
    factor = ((B * J).sum() / (J * J).sum()).item() if bool((J * J).sum() > 1e-14) else 0.0
    return factor if abs(factor) > 1e-6 and alike(B, factor * J) else None


def _name_of_factor(factor: float, e: Evidence) -> tuple[str, str]:
    # ("1/4", "; 4 is the length of axis 0 of x"): what the factor is, and where it may come from.
    sign, size = ("-" if factor < 0 else ""), abs(factor)
    for value, text in ((size, "{}"), (1 / size, "1/{}")):
        whole = round(value)
        if whole > 1 and abs(value - whole) < 1e-3 * whole:
            return sign + text.format(whole), _origin(whole, e)
    for name, option in e.target.options.items():
        if isinstance(option, float) and option:
            for value, text in ((option, name), (1 / option, f"1/{name}")):
                if abs(factor - value) < 1e-4 * abs(value):
                    return text, f"; {name} = {option:g}"
    for value, text in ((size**2, "√{}"), (1 / size**2, "1/√{}")):
        whole = round(value)
        if whole > 1 and abs(value - whole) < 1e-3 * whole and (origin := _origin(whole, e)):
            return sign + text.format(whole), origin
    return f"{factor:.4g}", ""


def _origin(count: int, e: Evidence) -> str:
    # 2 is more often an exponent than a length.
    for name, tensor in zip(e.names, e.inputs) if count > 2 else ():
        if tensor.numel() == count and tensor.dim() > 1:
            return f"; {count} is the number of elements of {name}"
    for name, tensor in zip(e.names, e.inputs) if count > 2 else ():
        if count in tensor.shape:
            return f"; {count} is the length of axis {tensor.shape.index(count)} of {name}"
    return f"; {count} is the number of outputs" if count == e.size > 2 else ""


def _axes_summed(larger: torch.Size, smaller: torch.Size) -> list[int]:
    extra = len(larger) - len(smaller)
    return [*range(extra), *(extra + d for d, s in enumerate(smaller) if s == 1 != larger[extra + d])]


def _axes(axes) -> str:
    axes = list(axes)
    return f"axis {axes[0]}" if len(axes) == 1 else "axes " + ", ".join(map(str, axes))


def _subsets(axes) -> Iterator[tuple[int, ...]]:
    axes = list(axes)
    return itertools.chain.from_iterable(
        itertools.combinations(axes, n) for n in range(1, min(3, len(axes)) + 1)
    )


def _indices(tensor: Tensor, axis: int) -> Tensor:
    # 0, 1, 2, ... along an axis; broadcasts against the tensor.
    return torch.arange(tensor.shape[axis]).reshape([-1 if d == axis else 1 for d in range(tensor.dim())])
