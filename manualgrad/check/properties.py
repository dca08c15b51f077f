"""The properties of a right backward, a function each: (name, target, against) -> Row."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .graph import nodes, patched_backward, random_like, vector_jacobian
from .report import Row
from .target import Target

__all__ = ["PROPERTIES"]

STEP = 1e-6  # of central differences, relative to the element where that is larger than 1
NEAR = 3e-4  # the step near a pole, relative to the element
RTOL, ATOL = 1e-5, 1e-7  # derivative against central difference
EXACT = 1e-10  # one way to compute against another, relative to the largest element
MOST_ELEMENTS = 100  # of an argument that are moved one by one; more are sampled
MOST_AGAIN = 20  # for the second derivative, where each move costs a backward
HALVES = (torch.bfloat16, torch.float16)
ROUNDINGS = 3.5  # of the largest element, by which one operation in half may be off the exact gradient
TINY = 1e-9  # what a probability is made, to see whether backward clamps it


def parity(name: str, target: Target, against: Callable | None) -> Row:
    """Outputs and gradients are those of the counterpart."""
    other = against if against is not None else counterpart(target)
    if other is None:
        return Row(name, "-", ["no counterpart known; give one with against=..."])
    inputs, reference = target.tensors(), target.tensors()
    ours, theirs = target(inputs), target(reference, through=other)
    if len(ours) != len(theirs):
        return Row(name, "FAIL", [f"{len(ours)} outputs, but the counterpart has {len(theirs)}"])
    problems = []
    for k, (got, expected) in enumerate(zip(ours, theirs)):
        problems += mismatch(f"output {k}" if len(ours) > 1 else "output", expected, got, EXACT, EXACT)
    if not problems:
        directions = random_like(ours)
        expected = vector_jacobian(theirs, reference, directions)
        got = vector_jacobian(ours, inputs, directions)
        problems += differences(target.names, expected, got, EXACT, EXACT)
    return verdict(name, problems, [f"as {getattr(other, '__name__', type(other).__name__)}"])


def gradient(name: str, target: Target, against: Callable | None) -> Row:
    """The gradient is the limit of the difference quotient."""
    inputs = target.tensors()
    outputs = target(inputs)
    directions = live_directions(outputs)
    problems: list[str] = []
    remarks = [
        f"output {k} requires no gradient and was left out"
        for k, output in enumerate(outputs)
        if not output.requires_grad and any(o.requires_grad for o in outputs)
    ]
    got = vector_jacobian(outputs, inputs, directions)
    for position, argument in enumerate(target.names):
        places = chosen(inputs[position])
        if len(places) < inputs[position].numel():
            remarks.append(f"{argument} at {len(places)} of its {inputs[position].numel()} elements")
        left, right = slopes(target, target, inputs, position, places, directions)
        wrong, remarked = mismatch_at(argument, places, left, right, got[position])
        problems, remarks = problems + wrong, remarks + remarked
    return verdict(name, problems, remarks)


def double_gradient(name: str, target: Target, against: Callable | None) -> Row:
    """Differentiated again, backward is right: nothing that it used was taken for a constant."""
    inputs = target.tensors()
    directions = [d.requires_grad_() for d in random_like(target(inputs))]
    count = len(inputs)

    def gradients(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        outputs = target(values[:count])
        return tuple(vector_jacobian(outputs, values[:count], values[count:], create_graph=True))

    values = [*inputs, *directions]
    firsts = gradients(values)
    again = random_like(firsts)
    differentiable = [(f, u) for f, u in zip(firsts, again) if f.requires_grad]
    if any(type(node).__name__ == "Error" for node in nodes(firsts)):  # what once_differentiable leaves there
        return Row(
            name, "-", ["backward is marked once_differentiable: it refuses, and is not silently wrong"]
        )
    try:
        got = vector_jacobian([f for f, _ in differentiable], values, [u for _, u in differentiable])
    except RuntimeError as error:
        if "derivative for" in str(error) and "not implemented" in str(error):  # one of PyTorch's own
            return Row(name, "-", [f"{first_line(error)} (it refuses, and is not silently wrong)"])
        raise
    problems = []
    names = [
        *target.names,
        *(f"grad_output {k}" if len(directions) > 1 else "grad_output" for k in range(len(directions))),
    ]
    for position, argument in enumerate(names):
        places = chosen(values[position], MOST_AGAIN)
        left, right = slopes(target, gradients, values, position, places, again)
        problems += mismatch_at(argument, places, left, right, got[position])[0]
    return verdict(name, problems)


def batched_gradient(name: str, target: Target, against: Callable | None) -> Row:
    """Under vmap over grad_output, backward gives what it gives one by one."""
    inputs = target.tensors()
    outputs = target(inputs)
    rows = [random_like(outputs, seed=k) for k in range(3)]
    one_by_one = [vector_jacobian(outputs, inputs, row, retain_graph=True) for row in rows]
    batch = [torch.stack(column) for column in zip(*rows)]
    got = vector_jacobian(outputs, inputs, batch, retain_graph=True, is_grads_batched=True)
    expected = [torch.stack(column) for column in zip(*one_by_one)]
    return verdict(name, differences(target.names, expected, got, EXACT, EXACT))


def dtypes_and_shapes(name: str, target: Target, against: Callable | None) -> Row:
    """Each gradient, as backward returns it, has its input's shape and dtype: autograd hides it if not."""
    problems: list[str] = []
    skipped = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        inputs = target.tensors(dtype)
        try:
            outputs = target(inputs)
            directions = random_like(outputs)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            if dtype in HALVES:  # not every operation exists for them
                skipped.append(f"{short(dtype)} was not tried: {first_line(error)}")
                continue
            raise

        def watch(cls, position, node, expected, grad):
            what = f"{cls.__name__}.backward, gradient {position}"
            if grad is None:
                return grad  # right for an argument that was not used; else the gradient is wrong
            if grad.shape != tuple(expected.shape):
                problems.append(
                    f"{what}: shape {list(grad.shape)}, but the argument has {list(expected.shape)}"
                )
            elif grad.dtype != expected.dtype:
                problems.append(f"{what}: {grad.dtype}, but the argument has {expected.dtype}")
            return grad

        with patched_backward(outputs, watch):
            vector_jacobian(outputs, inputs, directions)
    return verdict(name, list(dict.fromkeys(problems)), skipped)


def layouts(name: str, target: Target, against: Callable | None) -> Row:
    """Strides do not matter, of inputs or grad_output, and grad_output is only read."""
    inputs = target.tensors()
    outputs = target(inputs)
    directions = random_like(outputs)
    before = [d.clone() for d in directions]
    problems = []

    def compare(what: str, compute: Callable[[], list[Tensor]], expected: list[Tensor]) -> None:
        try:
            problems.extend(
                f"{what}: {p}" for p in differences(target.names, expected, compute(), EXACT, EXACT)
            )
        except Exception as error:
            problems.append(f"{what}: raises {said(error)}")

    def backward(directions: list[Tensor]) -> list[Tensor]:
        return vector_jacobian(outputs, inputs, directions, copies=False, retain_graph=True)

    expected = backward(directions)
    if any(not torch.equal(b, d) for b, d in zip(before, directions)):
        problems.append("backward writes into grad_output")
    strided = [torch.stack([d, d + 1], -1)[..., 0] for d in before]
    compare("non-contiguous grad_output", lambda: backward(strided), expected)
    compare("transposed grad_output", lambda: backward([reordered(d) for d in before]), expected)
    stride_0 = [torch.ones((), dtype=o.dtype, device=o.device).expand(o.shape) for o in outputs]
    compare(
        "stride-0 grad_output", lambda: backward(stride_0), backward([torch.ones_like(o) for o in outputs])
    )
    spaced = [torch.stack([t, t + 1], -1).detach()[..., 0].requires_grad_() for t in inputs]
    compare("non-contiguous input", lambda: vector_jacobian(target(spaced), spaced, before), expected)
    if not target.is_random():  # random numbers are drawn in the order of memory
        turned = [reordered(t.detach()).requires_grad_() for t in inputs]
        compare("transposed input", lambda: vector_jacobian(target(turned), turned, before), expected)
    return verdict(name, problems)


def partial_gradients(name: str, target: Target, against: Callable | None) -> Row:
    """Whichever inputs need a gradient, these get the same one, and the others none."""
    inputs = target.tensors()
    outputs = target(inputs)
    directions = random_like(outputs)
    expected = vector_jacobian(outputs, inputs, directions)
    count = len(inputs)
    sizes = range(1, count) if count <= 4 else (1, count - 1)
    problems = []
    for needed in itertools.chain.from_iterable(itertools.combinations(range(count), size) for size in sizes):
        subset = [t.detach().requires_grad_(k in needed) for k, t in enumerate(inputs)]
        outputs = target(subset)
        wanted = [subset[k] for k in needed]
        live = [(o, d) for o, d in zip(outputs, directions) if o.requires_grad]
        names = [target.names[k] for k in needed]
        if not live:
            if any(bool(expected[k].any()) for k in needed):
                problems.append(f"no output requires a gradient when only {', '.join(names)} do")
            continue
        got = vector_jacobian([o for o, _ in live], wanted, [d for _, d in live])
        problems += prefixed(
            f"only {', '.join(names)} need gradients: ",
            differences(names, [expected[k] for k in needed], got, EXACT, EXACT),
        )
    return verdict(name, problems)


def ties(name: str, target: Target, against: Callable | None) -> Row:
    """Where elements are equal, and are moved together, the gradient tells how far the output moves.

    One by one, each of two equal maxima may have any share of the gradient: that they do not both have all
    of it shows when both move. (A layer that stands for another one does there as that one does.)
    """
    other = against if against is not None else counterpart(target)
    values = target.tensors()
    generator = torch.Generator().manual_seed(0)
    ways = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in values]
    problems: list[str] = []
    remarks: list[str] = []
    tried = 0
    for what, tie in tying(values):
        point = [t.detach().requires_grad_() for t in tie(values)]
        along = tie(ways)
        try:
            outputs = target(point)
            directions = live_directions(outputs)
            behind, middle, ahead = (
                sum((o.detach() * d).sum().item() for o, d in zip(target(there), directions))
                for step in (-STEP, 0.0, STEP)
                for there in [[(t.detach() + step * w).requires_grad_() for t, w in zip(point, along)]]
            )
        except (RuntimeError, ValueError, IndexError):
            continue  # the target does not take such values
        grads = vector_jacobian(outputs, point, directions)
        got = sum((g * w).sum().item() for g, w in zip(grads, along))
        left, right = (middle - behind) / STEP, (ahead - middle) / STEP
        expected = (left + right) / 2
        if not abs(right - left) <= 1e-4 * max(1.0, abs(expected)) or not math.isfinite(got):
            continue  # a kink, or a pole: no one slope is right
        tried += 1
        if abs(got - expected) <= 1e-4 * max(1.0, abs(expected)):
            continue
        found = f"{what}: moved together, the slope is {expected:.6g}, but backward has {got:.6g}"
        if other is not None:
            theirs = vector_jacobian(target(point, through=other), point, directions)
            if not differences(target.names, theirs, grads, EXACT, EXACT):
                remarks.append(f"{found}, as the counterpart has")
                continue
        problems.append(found)
    if not tried:
        return Row(name, "-", ["no point with equal elements has a derivative"])
    return verdict(name, problems, remarks)


def tying(values: Sequence[Tensor]) -> Iterator[tuple[str, Callable]]:
    """How to make elements equal: in pairs along each axis, and arguments of one shape with each other."""

    def pairs(axis: int) -> Callable:
        def tie(tensors):
            tied = []
            for t in tensors:
                if t.dim() > axis and t.shape[-1 - axis] > 1:
                    index = torch.arange(t.shape[-1 - axis]) // 2 * 2
                    t = t.detach().index_select(-1 - axis, index.to(t.device))
                tied.append(t)
            return tied

        return tie

    for axis in range(max((t.dim() for t in values), default=0)):
        yield f"elements in equal pairs along axis {-1 - axis}", pairs(axis)
    if len(values) > 1 and len({t.shape for t in values}) == 1:
        yield "arguments equal to each other", lambda tensors: [tensors[0].detach().clone() for _ in tensors]


def tiny_probabilities(name: str, target: Target, against: Callable | None) -> Row:
    """Where a probability is almost 0, the gradient is still the derivative: nothing is clamped silently."""
    values = target.tensors()
    problems: list[str] = []
    tried = False
    for position, value in enumerate(values):
        if not value.numel() or not bool(((value > 0) & (value < 1)).all()):
            continue
        point = [t.detach().requires_grad_() for t in values]
        even = (torch.arange(value.numel(), device=value.device) % 2 == 0).reshape(value.shape)
        point[position] = value.detach().masked_fill(even, TINY).requires_grad_()
        outputs = target(point)
        if not all(o.isfinite().all() for o in outputs):
            continue
        directions = live_directions(outputs)
        got = vector_jacobian(outputs, point, directions)[position]
        places = [place for place in chosen(value) if place % 2 == 0]
        left, right = slopes(target, target, point, position, places, directions, near_pole=True)
        smooth = [k for k, (a, b) in enumerate(zip(left, right)) if abs(b - a) <= 1e-3 * abs(a + b) / 2]
        if smooth:
            tried = True
            places, left, right = ([column[k] for k in smooth] for column in (places, left, right))
            rounding = 1e-14 * (1 + sum(float((o * d).abs().sum()) for o, d in zip(outputs, directions)))
            wrong, _ = mismatch_at(
                target.names[position], places, left, right, got, rtol=1e-3, atol=rounding / (NEAR * TINY)
            )
            problems += prefixed(f"at {TINY:.0e}: ", wrong)
    if not tried:
        return Row(name, "-", ["no argument lies between 0 and 1"])
    return verdict(name, problems)


def half_precision(name: str, target: Target, against: Callable | None) -> Row:
    """In half precision the gradient is the exact one, rounded a few times: no long sum is made in half."""
    problems, remarks = [], []
    for dtype in HALVES:
        inputs = target.tensors(dtype)
        exact = [t.detach().double().requires_grad_() for t in inputs]
        try:
            outputs, references = target(inputs), target(exact)
            operations = [n for n in nodes(outputs) if "Accumulate" not in type(n).__name__]
            bound = ROUNDINGS * (1 + (len(operations) - len(inputs)) / 2) * torch.finfo(dtype).eps
            if any(mismatch("output", r, o, 2 * bound, 2 * bound) for r, o in zip(references, outputs)):
                remarks.append(f"{short(dtype)} was not compared: the output is another one")
                continue
            for directions in (random_like(outputs), [d.abs() for d in random_like(outputs, seed=1)]):
                got = vector_jacobian(outputs, inputs, directions, retain_graph=True)
                wide = [d.double() for d in directions]
                expected = vector_jacobian(references, exact, wide, retain_graph=True)
                spreads = spread(target, exact, wide, expected, torch.finfo(dtype).eps)
                for argument, e, g, s in zip(target.names, expected, got, spreads):
                    if g.isfinite().all() and bool(((g.double() - e).abs() > 4 * s).any()):
                        found = mismatch(argument, e, g.double(), bound, bound)
                        problems += prefixed(f"{short(dtype)}: ", found)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            remarks.append(f"{short(dtype)} was not tried: {first_line(error)}")
    return verdict(name, problems, remarks)


def spread(target, inputs, directions, expected, eps: float) -> list[float]:
    """How far each gradient moves if every input is rounded to ``eps``: what half precision may cost."""
    moves = [0.0] * len(inputs)
    for seed in range(3):
        noises = random_like(inputs, seed=seed)
        there = [(t.detach() * (1 + eps / 4 * noise)).requires_grad_() for t, noise in zip(inputs, noises)]
        grads = vector_jacobian(target(there), there, directions)
        errors = [(g - e).abs().nan_to_num() for g, e in zip(grads, expected)]
        moves = [max(m, e.max().item()) if e.numel() else m for m, e in zip(moves, errors)]
    return moves


def guarded(check_property: Callable[[str, Target, Callable | None], Row]) -> Callable:
    """A property whose check raises has failed; the exception is its detail."""

    def run(name: str, target: Target, against: Callable | None) -> Row:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as vmap's about slow fallbacks
            try:
                return check_property(name, target, against)
            except Exception as error:
                return Row(name, "FAIL", [f"raises {said(error)}"])

    return run


PROPERTIES = {
    "parity": guarded(parity),
    "gradient": guarded(gradient),
    "double gradient": guarded(double_gradient),
    "batched gradient": guarded(batched_gradient),
    "dtypes and shapes": guarded(dtypes_and_shapes),
    "layouts": guarded(layouts),
    "partial gradients": guarded(partial_gradients),
    "ties": guarded(ties),
    "tiny probabilities": guarded(tiny_probabilities),
    "half precision": guarded(half_precision),
}
REPEAT_THE_GRADIENT = ("ties", "tiny probabilities", "half precision")  # if it is wrong, they are, too


def counterpart(target: Target) -> Callable | None:
    """What torch has in the place of the layers of manualgrad in the target, if there are any."""
    from ..catalog import CATALOG

    if isinstance(target.target, nn.Module):
        return torchs_twin(target.target)
    for row in CATALOG:
        if target.target is row.functional and row.functions:
            return row.reference or row.torch_functional
    if getattr(target.target, "__module__", "").startswith("manualgrad."):
        return getattr(nn.functional, target.name, None)
    return None


def torchs_twin(module: nn.Module) -> nn.Module | None:
    """``module`` with torch's classes in it, same parameters and options; None if it has none of ours."""
    import copy

    from ..catalog import CATALOG
    from ..catalog.row import Calls
    from ..swap import unswap

    twin = copy.deepcopy(module).double()
    changed = bool(unswap(twin).changed)
    references = {row.functional: row.reference for row in CATALOG if row.reference is not None}
    blocks = {row.module: row.counterpart for row in CATALOG if row.counterpart is not None}
    for part in twin.modules():
        if type(part) in blocks:
            part.__class__ = blocks[type(part)]
            changed = True
        if isinstance(part, Calls):
            name = part.function.__name__
            known = references.get(part.function) or getattr(nn.functional, name, None)
            part.function = known or getattr(torch, name)
            changed = True
    return twin if changed else None


def live_directions(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Random directions, 0 for outputs without a gradient, unless none has one."""
    live = [o.requires_grad for o in outputs]
    return [d if alive or not any(live) else d.zero_() for d, alive in zip(random_like(outputs), live)]


def moved(value: Tensor, place: int, step: float) -> Tensor:
    """A copy of ``value``, of any strides, with one element changed by ``step``."""
    copy = value.detach().clone()
    copy[torch.unravel_index(torch.tensor(place), value.shape)] += step
    return copy


def chosen(tensor: Tensor, most: int = MOST_ELEMENTS) -> list[int]:
    """The (flat) elements to move: all, or a sample."""
    if tensor.numel() <= most:
        return list(range(tensor.numel()))
    generator = torch.Generator().manual_seed(0)
    return sorted(torch.randperm(tensor.numel(), generator=generator)[:most].tolist())


def slopes(
    target, function, values, position, places, directions, near_pole: bool = False
) -> tuple[list[float], list[float]]:
    """Difference quotients of ⟨directions, function(values)⟩ to the left and right, at each of ``places``.

    The step is absolute, but near a pole it is relative to the element.
    """
    left, right = [], []
    directions = [d.detach() for d in directions]

    def evaluate(place: int, step: float) -> list[Tensor]:
        there = [v.detach().requires_grad_(v.requires_grad) for v in values]
        there[position] = moved(values[position], place, step).requires_grad_()
        return [r.detach() for r in function(there)]

    def quotients(place: int, step: float) -> tuple[float, float]:
        up, down = evaluate(place, step), evaluate(place, -step)
        return (
            sum(((m - w) * d).sum().item() for m, w, d in zip(middle, down, directions)) / step,
            sum(((u - m) * d).sum().item() for u, m, d in zip(up, middle, directions)) / step,
        )

    middle = evaluate(0, 0.0) if places else []
    for place in places:
        x = abs(values[position].detach().reshape(-1)[place].item())
        before, after = quotients(place, NEAR * x if near_pole else STEP * max(1.0, x))
        apart, slope = abs(after - before), abs(before + after) / 2
        if 0 < x < 1 and not near_pole and not apart <= 1e-3 * max(1.0, slope):
            before, after = quotients(place, NEAR * x)  # as log p has one at 0
        elif not near_pole and slope * STEP > 1e-3 and sum(map(abs, quotients(place, STEP / 4))) > 4 * slope:
            before, after = -math.inf, math.inf  # as steep as the step is short: a jump, and not a slope
        left.append(before)
        right.append(after)
    return left, right


def mismatch_at(
    argument: str, places, left, right, got: Tensor, rtol: float = RTOL, atol: float = ATOL
) -> tuple[list[str], list[str]]:
    """Compare a gradient with difference quotients: what is wrong, and what is to be remarked.

    At a kink any value between the two slopes is right. At a jump there is no derivative.
    """
    if not places:
        return [], []
    left, right = torch.tensor(left, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    got_there = got.detach().reshape(-1)[places].double().cpu()
    expected = (left + right) / 2
    apart = (right - left).abs()
    kink = apart > 1e-3 * expected.abs().clamp(min=1.0)
    jump = (kink & (apart * STEP > 1e-3)) | apart.isinf()  # what a slope of 1000 would make of a step
    low, high = torch.minimum(left, right) - ATOL, torch.maximum(left, right) + ATOL
    wrong = ~((got_there - expected).abs() <= atol + rtol * expected.abs())  # so that NaN is wrong
    bend = kink | (apart <= 10 * STEP)  # of the function, or of its first derivative
    wrong &= ~(bend & (low <= got_there) & (got_there <= high)) & ~jump
    remarks = []
    if (kink & ~jump).any():
        remarks.append(
            f"{argument}: a kink at {int((kink & ~jump).sum())} elements, any slope between is right"
        )
    if jump.any():
        remarks.append(f"{argument}: not continuous at {int(jump.sum())} elements, which were not checked")
    return describe(argument, wrong, expected, got_there, places, got.shape), remarks


def differences(names, expected, got, rtol, atol) -> list[str]:
    """The mismatches of several gradients."""
    return [problem for n, e, g in zip(names, expected, got) for problem in mismatch(n, e, g, rtol, atol)]


def mismatch(argument: str, expected: Tensor, got: Tensor, rtol: float, atol: float) -> list[str]:
    """[] if the tensors agree (NaN with NaN), else what is wrong."""
    if expected.shape != got.shape:
        return [f"{argument}: shape {list(got.shape)}, expected {list(expected.shape)}"]
    if expected.numel() == 0:
        return []
    e, g = expected.detach().double().cpu().reshape(-1), got.detach().double().cpu().reshape(-1)
    scale = e[e.isfinite()].abs().max().item() if e.isfinite().any() else 0.0
    same = (e == g) | (e.isnan() & g.isnan()) | ((e - g).abs() <= atol + rtol * scale)
    return describe(argument, ~same, e, g, range(len(e)), expected.shape)


def describe(argument: str, wrong: Tensor, expected: Tensor, got: Tensor, places, shape) -> list[str]:
    """The largest error and where it is, in words."""
    if not wrong.any():
        return []
    error = torch.where(wrong, (expected - got).abs().nan_to_num(nan=float("inf")), -1)
    worst = int(error.argmax())
    place, where = places[worst], []
    for length in reversed(shape):
        place, k = divmod(place, length)
        where.insert(0, k)
    at = f" at {where}" if where else ""
    return [
        f"{argument}: largest error {error[worst].item():.3g}{at}: expected {expected[worst].item():.6g}, "
        f"got {got[worst].item():.6g} ({int(wrong.sum())} of {wrong.numel()} elements wrong)"
    ]


def prefixed(prefix: str, problems: list[str]) -> list[str]:
    """The problems, with their circumstance before them."""
    return [prefix + problem for problem in problems]


def verdict(name: str, problems: list[str], remarks: Sequence[str] = ()) -> Row:
    """FAIL with the problems, or ok with the remarks."""
    return Row(name, "FAIL", problems) if problems else Row(name, "ok", list(remarks))


def short(dtype: torch.dtype) -> str:
    """Its name: bfloat16."""
    return str(dtype).removeprefix("torch.")


def reordered(tensor: Tensor) -> Tensor:
    """The same values, with their axes in the opposite order in memory."""
    axes = list(range(tensor.dim()))[::-1]
    return tensor.permute(axes).contiguous().permute(axes)


def first_line(error: Exception) -> str:
    """Of its message."""
    return (str(error).splitlines() or [""])[0]


def said(error: Exception) -> str:
    """What it is and says, in a line."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")
