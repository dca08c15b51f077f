"""The properties of a right backward, a function each: (name, target, against) -> Row."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .report import Row
from .target import Target

__all__ = ["PROPERTIES"]

STEP = 1e-6  # of central differences, relative to the element where that is larger than 1
RTOL, ATOL = 1e-5, 1e-7  # derivative against central difference
EXACT = 1e-10  # one way to compute against another, relative to the largest element
MOST_ELEMENTS = 100  # of an argument that are moved one by one; more are sampled
MOST_AGAIN = 20  # for the second derivative, where each move costs a backward


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
    directions = random_like(outputs)
    got = vector_jacobian(outputs, inputs, directions)
    problems, remarks = [], []
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
    if any(type(node).__name__ == "Error" for node in graph(firsts)):  # what once_differentiable leaves there
        return Row(
            name, "-", ["backward is marked once_differentiable: it refuses, and is not silently wrong"]
        )
    got = vector_jacobian([f for f, _ in differentiable], values, [u for _, u in differentiable])
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
    problems, skipped = [], []
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        inputs = target.tensors(dtype)
        try:
            outputs = target(inputs)
            directions = random_like(outputs)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            if dtype == torch.bfloat16:  # not every operation exists for it
                skipped.append(f"bfloat16 was not tried: {str(error).splitlines()[0]}")
                continue
            raise
        with recorded_gradients(outputs) as records:
            vector_jacobian(outputs, inputs, directions)
        for function, position, expected_shape, expected_dtype, grad in records:
            what = f"{function}.backward, gradient {position}"
            if grad is None:
                problems.append(f"{what}: None, but this argument needs a gradient")
            elif tuple(grad.shape) != expected_shape:
                problems.append(
                    f"{what}: shape {list(grad.shape)}, but the argument has {list(expected_shape)}"
                )
            elif grad.dtype != expected_dtype:
                problems.append(f"{what}: {grad.dtype}, but the argument has {expected_dtype}")
    return verdict(name, problems, skipped)


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
            problems.append(f"{what}: raises {type(error).__name__}: {str(error).splitlines()[0]}")

    def backward(directions: list[Tensor]) -> list[Tensor]:
        return vector_jacobian(outputs, inputs, directions, retain_graph=True)

    expected = backward(directions)
    if any(not torch.equal(b, d) for b, d in zip(before, directions)):
        problems.append("backward writes into grad_output")
    strided = [torch.stack([d, d + 1], -1)[..., 0] for d in before]
    compare("non-contiguous grad_output", lambda: backward(strided), expected)
    stride_0 = [torch.ones((), dtype=o.dtype, device=o.device).expand(o.shape) for o in outputs]
    compare(
        "stride-0 grad_output", lambda: backward(stride_0), backward([torch.ones_like(o) for o in outputs])
    )
    spaced = [torch.stack([t, t + 1], -1).detach()[..., 0].requires_grad_() for t in inputs]
    compare("non-contiguous input", lambda: vector_jacobian(target(spaced), spaced, before), expected)
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
            problems.append(f"no output requires a gradient when only {', '.join(names)} do")
            continue
        got = vector_jacobian([o for o, _ in live], wanted, [d for _, d in live])
        problems += prefixed(
            f"only {', '.join(names)} need gradients: ",
            differences(names, [expected[k] for k in needed], got, EXACT, EXACT),
        )
    return verdict(name, problems)


def guarded(check_property: Callable[[str, Target, Callable | None], Row]) -> Callable:
    """A property whose check raises has failed; the exception is its detail."""

    def run(name: str, target: Target, against: Callable | None) -> Row:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as vmap's about slow fallbacks
            try:
                return check_property(name, target, against)
            except Exception as error:
                return Row(name, "FAIL", [f"raises {type(error).__name__}: {str(error).splitlines()[0]}"])

    return run


PROPERTIES = {
    "parity": guarded(parity),
    "gradient": guarded(gradient),
    "double gradient": guarded(double_gradient),
    "batched gradient": guarded(batched_gradient),
    "dtypes and shapes": guarded(dtypes_and_shapes),
    "layouts": guarded(layouts),
    "partial gradients": guarded(partial_gradients),
}


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


def random_like(tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Normally distributed tensors with these shapes and dtypes, the same at every call."""
    generator = torch.Generator().manual_seed(seed + 1)
    return [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in tensors]


def vector_jacobian(outputs, inputs, directions, **options) -> list[Tensor]:
    """Σ_k ⟨direction_k, ∂output_k/∂input⟩ for each input; zero where an input is not used."""
    live = [(o, d) for o, d in zip(outputs, directions) if o.requires_grad]
    batch = (directions[0].shape[0],) if options.get("is_grads_batched") else ()
    zeros = [torch.zeros((*batch, *t.shape), dtype=t.dtype, device=t.device) for t in inputs]
    if not live:
        return zeros
    heads, tails = [o for o, _ in live], [d for _, d in live]
    grads = torch.autograd.grad(heads, list(inputs), tails, allow_unused=True, **options)
    return [z if g is None else (g.to_dense() if g.is_sparse else g) for z, g in zip(zeros, grads)]


def chosen(tensor: Tensor, most: int = MOST_ELEMENTS) -> list[int]:
    """The (flat) elements to move: all, or a sample."""
    if tensor.numel() <= most:
        return list(range(tensor.numel()))
    generator = torch.Generator().manual_seed(0)
    return sorted(torch.randperm(tensor.numel(), generator=generator)[:most].tolist())


def slopes(target, function, values, position, places, directions) -> tuple[list[float], list[float]]:
    """Difference quotients of ⟨directions, function(values)⟩ to the left and right, at each of ``places``."""
    left, right = [], []
    directions = [d.detach() for d in directions]

    def evaluate(place: int, step: float) -> list[Tensor]:
        moved = [v.detach().requires_grad_(v.requires_grad) for v in values]
        with torch.no_grad():
            moved[position] = moved[position].clone()
            moved[position].reshape(-1)[place] += step
        moved[position].requires_grad_()
        return [r.detach() for r in function(moved)]

    middle = evaluate(0, 0.0) if places else []
    for place in places:
        step = STEP * max(1.0, abs(values[position].detach().reshape(-1)[place].item()))
        up, down = evaluate(place, step), evaluate(place, -step)
        right.append(sum(((u - m) * d).sum().item() for u, m, d in zip(up, middle, directions)) / step)
        left.append(sum(((m - w) * d).sum().item() for m, w, d in zip(middle, down, directions)) / step)
    return left, right


def mismatch_at(argument: str, places, left, right, got: Tensor) -> tuple[list[str], list[str]]:
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
    jump = apart * STEP > 1e-3  # what a slope of 1000 would make of a step
    low, high = torch.minimum(left, right) - ATOL, torch.maximum(left, right) + ATOL
    wrong = ~((got_there - expected).abs() <= ATOL + RTOL * expected.abs())  # so that NaN is wrong
    wrong &= ~(kink & (low <= got_there) & (got_there <= high)) & ~jump
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


@contextlib.contextmanager
def recorded_gradients(outputs: Sequence[Tensor]) -> Iterator[list]:
    """While open, what the backward of each Python Function in the graph of ``outputs`` returns is recorded.

    The records are (function, position, shape and dtype of the argument, gradient or None), for every
    argument that needs a gradient. Autograd itself would sum, expand or cast a gradient that does not fit,
    without a word.
    """
    records: list = []
    originals = {cls: cls.__dict__["backward"] for cls in python_functions(outputs)}

    def record(cls: type, original: Callable) -> Callable:
        def backward(ctx, *grad_outputs):
            grads = original(ctx, *grad_outputs)
            row = grads if isinstance(grads, tuple) else (grads,)
            edges = [edge for edge in ctx.next_functions if edge[0] is not None]
            positions = [k for k, needed in enumerate(ctx.needs_input_grad) if needed]
            for k, (node, number) in zip(positions, edges):
                expected = node._input_metadata[number]
                grad = row[k] if k < len(row) else None
                records.append((cls.__name__, k, tuple(expected.shape), expected.dtype, grad))
            return grads

        return backward

    for cls, original in originals.items():
        cls.backward = staticmethod(record(cls, original.__func__))
    try:
        yield records
    finally:
        for cls, original in originals.items():
            cls.backward = original


def graph(outputs: Sequence[Tensor]) -> set:
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
    forwards = [node._forward_cls for node in graph(outputs) if hasattr(node, "_forward_cls")]
    own = [[c for c in cls.__mro__ if "backward" in vars(c)] for cls in forwards]
    return {classes[0] for classes in own if classes[0] is not torch.autograd.Function}
