"""Wrong backwards, and the name of what is wrong with each.

Every forward is right, and every backward is wrong in one way that people are wrong in. RIGHT has the same
layers without the mistakes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class Wrong:
    """A backward, its mistake, and inputs at which the mistake shows."""

    kind: str
    name: str
    target: Callable | type
    inputs: Callable[[], tuple]
    argument: str | None = None  # whose gradient is wrong, if it is one's
    kwargs: dict = field(default_factory=dict)
    also: tuple[str, ...] = ()  # kinds that would be as right


@dataclass(frozen=True)
class Right:
    """A backward without a mistake."""

    name: str
    target: Callable | type
    inputs: Callable[[], tuple]
    kwargs: dict = field(default_factory=dict)


WRONG: list[Wrong] = []
RIGHT: list[Right] = []


def right(inputs: Callable[[], tuple], **kwargs) -> Callable:
    """Adds what it decorates to RIGHT."""

    def add(target):
        RIGHT.append(Right(target.__name__, target, inputs, kwargs))
        return target

    return add


def wrong(
    kind: str,
    inputs: Callable[[], tuple],
    argument: str | None = None,
    of: type | None = None,
    also: tuple[str, ...] = (),
    **kwargs,
) -> Callable:
    """Adds what it decorates to WRONG: a Function, a functional, or a backward in the place of ``of``'s."""

    def add(target):
        name = target.__name__ if of is None else target.__name__.replace("_", " ")
        if of is not None:
            title = "".join(word.capitalize() for word in target.__name__.split("_"))
            target = type(title, (of,), {"backward": staticmethod(target), "__module__": __name__})
        WRONG.append(Wrong(kind, name, target, inputs, argument, kwargs, also))
        return target

    return add


def point(*parts, seed: int = 0) -> Callable[[], tuple]:
    """The arguments: normally distributed for a shape, what it makes for a callable, all else as it is."""

    def inputs() -> tuple:
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randn(p, generator=generator)
            if isinstance(p, tuple)
            else p(generator)
            if callable(p)
            else p
            for p in parts
        )

    return inputs


def uniform(*shape: int, low: float = 0.1, high: float = 0.9) -> Callable[[torch.Generator], Tensor]:
    """Uniformly distributed between ``low`` and ``high``."""
    return lambda generator: torch.rand(shape, generator=generator) * (high - low) + low


def wanted(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Normally distributed, and the only one whose gradient is asked for."""
    return lambda generator: torch.randn(shape, generator=generator).requires_grad_()


def onehot(indices: Tensor, count: int, like: Tensor) -> Tensor:
    return F.one_hot(indices, count).to(like.dtype)


# The layers, each with a right backward.


class Formula(Function):
    """Saves its tensors, then its outputs; ctx.options are the other arguments."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.save_for_backward(*(t for t in inputs if isinstance(t, Tensor)), *outputs)
        ctx.options = [t for t in inputs if not isinstance(t, Tensor)]


LINEAR = point((4, 3), (5, 3), (5,))
SQUARE_LINEAR = point((5, 3), (3, 3), (3,))


@right(LINEAR)
class Linear(Formula):
    @staticmethod
    def forward(input, weight, bias):
        return input @ weight.mT + bias

    @staticmethod
    def backward(ctx, g):
        x, w, _, _ = ctx.saved_tensors
        return g @ w, g.mT @ x, g.sum(0)


@right(LINEAR)
class LinearReLU(Formula):
    @staticmethod
    def forward(input, weight, bias):
        return (input @ weight.mT + bias).relu()

    @staticmethod
    def backward(ctx, g):
        x, w, _, y = ctx.saved_tensors
        d = g * (y > 0)
        return d @ w, d.mT @ x, d.sum(0)


@right(LINEAR)
class LinearSigmoid(Formula):
    @staticmethod
    def forward(input, weight, bias):
        return (input @ weight.mT + bias).sigmoid()

    @staticmethod
    def backward(ctx, g):
        x, w, _, y = ctx.saved_tensors
        d = g * y * (1 - y)
        return d @ w, d.mT @ x, d.sum(0)


@right(point((2, 3, 4), (2, 4, 5)))
class MatMul(Formula):
    @staticmethod
    def forward(left, right):
        return left @ right

    @staticmethod
    def backward(ctx, g):
        a, b, _ = ctx.saved_tensors
        return g @ b.mT, a.mT @ g


BILINEAR = point((5, 3), (3, 3), (5, 3))


@right(point((5, 3), (3, 4), (5, 4)))
class Bilinear(Formula):
    @staticmethod
    def forward(left, weight, right):
        return (left @ weight * right).sum(-1)

    @staticmethod
    def backward(ctx, g):
        a, w, b, _ = ctx.saved_tensors
        d = g[:, None] * b
        return d @ w.mT, a.mT @ d, g[:, None] * (a @ w)


AFFINE = point((4, 3), (3,), (3,))


@right(AFFINE)
class Affine(Function):
    """A stranger's style, in which forward takes ctx."""

    @staticmethod
    def forward(ctx, input, scale, shift):
        ctx.save_for_backward(input, scale)
        return input * scale + shift

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g * scale, (g * x).sum(0), g.sum(0)


@right(point((4, 1), (1, 5)))
class Outer(Formula):
    @staticmethod
    def forward(column, row):
        return column * row

    @staticmethod
    def backward(ctx, g):
        a, b, _ = ctx.saved_tensors
        return (g * b).sum(1, keepdim=True), (g * a).sum(0, keepdim=True)


@right(point((4, 3), uniform(4, 3, low=0.5, high=2)))
class Divide(Formula):
    @staticmethod
    def forward(left, right):
        return left / right

    @staticmethod
    def backward(ctx, g):
        _, b, y = ctx.saved_tensors
        return g / b, -g * y / b


@right(point((4, 3), (4, 3)))
class Product(Function):
    @staticmethod
    def forward(ctx, left, right):
        ctx.save_for_backward(left, right)
        return left * right

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b, g * a


GRID = point((4, 3))


@right(GRID)
class Tanh(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return g * (1 - y * y)


def elementwise(name: str, f: Callable, slope: Callable, inputs: Callable = GRID) -> type:
    """The Function of y = f(x) with the derivative slope(x, y)."""

    def backward(ctx, g):
        return g * slope(*ctx.saved_tensors)

    def forward(input):
        return f(input)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__}
    return right(inputs)(type(name, (Formula,), methods))


def normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + (x / math.sqrt(2)).erf())


def normal_pdf(x: Tensor) -> Tensor:
    return (-0.5 * x * x).exp() / math.sqrt(2 * math.pi)


Sigmoid = elementwise("Sigmoid", torch.sigmoid, lambda x, y: y * (1 - y))
Exp = elementwise("Exp", torch.exp, lambda x, y: y)
ReLU = elementwise("ReLU", torch.relu, lambda x, y: (x > 0).to(x.dtype))
Cos = elementwise("Cos", torch.cos, lambda x, y: -x.sin())
Square = elementwise("Square", torch.square, lambda x, y: 2 * x)
Softplus = elementwise("Softplus", F.softplus, lambda x, y: x.sigmoid())
POSITIVE = point(uniform(4, 3, low=0.3, high=3))
Sqrt = elementwise("Sqrt", torch.sqrt, lambda x, y: 0.5 / y, POSITIVE)
Reciprocal = elementwise("Reciprocal", torch.reciprocal, lambda x, y: -y * y, POSITIVE)
SiLU = elementwise("SiLU", F.silu, lambda x, y: x.sigmoid() * (1 + x * (1 - x.sigmoid())))
GELU = elementwise("GELU", lambda x: x * normal_cdf(x), lambda x, y: normal_cdf(x) + x * normal_pdf(x))


@right(point((2, 3, 4), (3,)))
class PReLU(Formula):
    """One slope per channel, or one for all."""

    @staticmethod
    def forward(input, weight):
        return torch.where(input > 0, input, input * weight[:, None])

    @staticmethod
    def backward(ctx, g):
        x, w, _ = ctx.saved_tensors
        d = (g * x.clamp(max=0)).sum((0, 2))
        return g * torch.where(x > 0, 1, w[:, None]), d if len(w) > 1 else d.sum(0, keepdim=True)


@right(point((4, 3), (4, 3)))
class GLU(Formula):
    @staticmethod
    def forward(value, gate):
        return value * gate.sigmoid()

    @staticmethod
    def backward(ctx, g):
        a, b, _ = ctx.saved_tensors
        s = b.sigmoid()
        return g * s, g * a * s * (1 - s)


ROWS = point((4, 5))


@right(ROWS)
class Softmax(Formula):
    @staticmethod
    def forward(input):
        return input.softmax(-1)

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return y * (g - (g * y).sum(-1, keepdim=True))


@right(point((4, 5), 3.0))
class TemperatureSoftmax(Formula):
    @staticmethod
    def forward(input, temperature):
        return (input / temperature).softmax(-1)

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return y * (g - (g * y).sum(-1, keepdim=True)) / ctx.options[0], None


@right(ROWS)
class LogSoftmax(Formula):
    @staticmethod
    def forward(input):
        return input.log_softmax(-1)

    @staticmethod
    def backward(ctx, g):
        _, y = ctx.saved_tensors
        return g - y.exp() * g.sum(-1, keepdim=True)


LABELS = torch.tensor([1, 4, 0, 3])
CLASSES = point((4, 5), LABELS)


@right(CLASSES)
class CrossEntropy(Formula):
    @staticmethod
    def forward(input, target):
        return F.cross_entropy(input, target)

    @staticmethod
    def backward(ctx, g):
        x, target, _ = ctx.saved_tensors
        return g * (x.softmax(-1) - onehot(target, x.shape[1], x)) / len(x), None


PADDED_CLASSES = point((4, 5), torch.tensor([1, -1, 0, 3]))


@right(PADDED_CLASSES)
class PaddedCrossEntropy(Formula):
    """With the label -1 ignored."""

    @staticmethod
    def forward(input, target):
        return F.cross_entropy(input, target, ignore_index=-1)

    @staticmethod
    def backward(ctx, g):
        x, target, _ = ctx.saved_tensors
        valid = (target >= 0).to(x.dtype)[:, None]
        return g * (x.softmax(-1) - onehot(target.clamp(min=0), x.shape[1], x)) * valid / valid.sum(), None


PAIR = point((4, 3), (4, 3))


@right(PAIR)
class MSELoss(Formula):
    @staticmethod
    def forward(input, target):
        return (input - target).square().mean()

    @staticmethod
    def backward(ctx, g):
        x, t, _ = ctx.saved_tensors
        d = g * 2 * (x - t) / x.numel()
        return d, -d


KEPT = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]]).bool()


@right(point((4, 3), (4, 3), KEPT))
class MaskedMSELoss(Formula):
    @staticmethod
    def forward(input, target, mask):
        return ((input - target).square() * mask).sum() / mask.sum()

    @staticmethod
    def backward(ctx, g):
        x, t, mask, _ = ctx.saved_tensors
        d = g * 2 * (x - t) * mask / mask.sum()
        return d, -d, None


@right(point((4, 3), uniform(4, 3)))
class BrierLoss(Formula):
    """The squared error of sigmoids, not averaged."""

    @staticmethod
    def forward(input, target):
        return (input.sigmoid() - target).square()

    @staticmethod
    def backward(ctx, g):
        x, t, _ = ctx.saved_tensors
        y = x.sigmoid()
        d = g * 2 * (y - t)
        return d * y * (1 - y), -d


def tiny(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Probabilities, with tiny ones in the corners."""

    def make(generator):
        p = torch.rand(shape, generator=generator) * 0.8 + 0.1
        p[0, 0], p[-1, -1] = 4e-4, 7e-4
        return p

    return make


@right(point(tiny(4, 3), uniform(4, 3)))
class BCELoss(Formula):
    @staticmethod
    def forward(input, target):
        return -(target * input.log() + (1 - target) * (1 - input).log()).mean()

    @staticmethod
    def backward(ctx, g):
        p, t, _ = ctx.saved_tensors
        g = g / p.numel()
        return g * (p - t) / (p * (1 - p)), g * ((1 - p).log() - p.log())


@right(point(tiny(4, 5), torch.tensor([0, 2, 1, 4])))
class ProbabilityNLLLoss(Formula):
    @staticmethod
    def forward(input, target):
        return -input.gather(1, target[:, None]).log().mean()

    @staticmethod
    def backward(ctx, g):
        p, target, _ = ctx.saved_tensors
        return -g * onehot(target, p.shape[1], p) / p / len(p), None


@right(point(tiny(4, 3)))
class Entropy(Formula):
    @staticmethod
    def forward(input):
        return -(input * input.log()).sum(-1)

    @staticmethod
    def backward(ctx, g):
        p, _ = ctx.saved_tensors
        return -g[:, None] * (p.log() + 1)


@right(point(tiny(4, 3), 1e-3))
class ClampedLog(Formula):
    @staticmethod
    def forward(input, eps):
        return input.clamp(min=eps).log()

    @staticmethod
    def backward(ctx, g):
        p, _ = ctx.saved_tensors
        return g * (p > ctx.options[0]) / p, None


@right(point(tiny(4, 3), 1e-3))
class AddedLog(Formula):
    @staticmethod
    def forward(input, eps):
        return (input + eps).log()

    @staticmethod
    def backward(ctx, g):
        p, _ = ctx.saved_tensors
        return g / (p + ctx.options[0]), None


@right(point((4, 5), uniform(4, 5)))
class KLDivLoss(Formula):
    """Of log-probabilities, a value per row."""

    @staticmethod
    def forward(input, target):
        return (target * (target.log() - input)).sum(-1)

    @staticmethod
    def backward(ctx, g):
        x, t, _ = ctx.saved_tensors
        return -g[:, None] * t, g[:, None] * (t.log() - x + 1)


def standardized(x: Tensor, axes) -> tuple[Tensor, Tensor]:
    """(x - mean) / deviation, and 1 / deviation."""
    centered = x - x.mean(axes, keepdim=True)
    rstd = (centered.square().mean(axes, keepdim=True) + 1e-5).rsqrt()
    return centered * rstd, rstd


def standardized_backward(x: Tensor, d: Tensor, axes, mean: bool = True, variance: bool = True) -> Tensor:
    """The gradient of x through standardized, and through the mean and the variance if these are true."""
    n, rstd = standardized(x, axes)
    through = d
    if mean:
        through = through - d.mean(axes, keepdim=True)
    if variance:
        through = through - n * (d * n).mean(axes, keepdim=True)
    return rstd * through


NORM = point((4, 5), (5,), (5,))


@right(NORM)
class LayerNorm(Formula):
    @staticmethod
    def forward(input, weight, bias):
        return standardized(input, -1)[0] * weight + bias

    @staticmethod
    def backward(ctx, g):
        x, w, _, _ = ctx.saved_tensors
        return standardized_backward(x, g * w, -1), (g * standardized(x, -1)[0]).sum(0), g.sum(0)


BATCH = point((6, 3), (3,), (3,))


@right(BATCH)
class BatchNorm(Formula):
    @staticmethod
    def forward(input, weight, bias):
        return standardized(input, 0)[0] * weight + bias

    @staticmethod
    def backward(ctx, g):
        x, w, _, _ = ctx.saved_tensors
        return standardized_backward(x, g * w, 0), (g * standardized(x, 0)[0]).sum(0), g.sum(0)


GROUPED = point((3, 4, 3), 2)


@right(GROUPED)
class GroupNorm(Formula):
    @staticmethod
    def forward(input, groups):
        return standardized(input.reshape(len(input), groups, -1), -1)[0].reshape(input.shape)

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        rows = (len(x), ctx.options[0], -1)
        return standardized_backward(x.reshape(rows), g.reshape(rows), -1).reshape(x.shape), None


@right(point((3, 2, 5)))
class InstanceNorm(Formula):
    @staticmethod
    def forward(input):
        return standardized(input, -1)[0]

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return standardized_backward(x, g, -1)


@right(point((4, 5), (5,)))
class RMSNorm(Formula):
    @staticmethod
    def forward(input, weight):
        return input * (input.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight

    @staticmethod
    def backward(ctx, g):
        x, w, _ = ctx.saved_tensors
        r = (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        d, n = g * w, x * r
        return r * (d - n * (d * n).mean(-1, keepdim=True)), (g * n).sum(0)


@right(ROWS)
class Normalize(Formula):
    @staticmethod
    def forward(input):
        return input / input.norm(dim=-1, keepdim=True)

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return (g - y * (g * y).sum(-1, keepdim=True)) / x.norm(dim=-1, keepdim=True)


@right(point((4, 5), (4, 5)))
class CosineSimilarity(Formula):
    @staticmethod
    def forward(left, right):
        return (left * right).sum(-1) / (left.norm(dim=-1) * right.norm(dim=-1))

    @staticmethod
    def backward(ctx, g):
        a, b, y = ctx.saved_tensors
        g, y = g[:, None], y[:, None]
        u, v = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
        return g * (b / (u * v) - y * a / (u * u)), g * (a / (u * v) - y * b / (v * v))


@right(PAIR)
class Distance(Formula):
    @staticmethod
    def forward(left, right):
        return (left - right).norm(dim=-1)

    @staticmethod
    def backward(ctx, g):
        a, b, y = ctx.saved_tensors
        d = (g / y)[:, None] * (a - b)
        return d, -d


def columns(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """The windows of [N, C, L], as rows: [N·windows, C·size]."""
    windows = F.pad(x, (padding, padding)).unfold(2, size, stride)
    return windows.permute(0, 2, 1, 3).reshape(-1, x.shape[1] * size)


CONV = point((2, 3, 7), (4, 3, 3), (4,), 2, 1)


@right(CONV)
class Conv1d(Formula):
    @staticmethod
    def forward(input, weight, bias, stride, padding):
        return F.conv1d(input, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, g):
        x, w, _, _ = ctx.saved_tensors
        stride, padding = ctx.options
        gx = F.conv_transpose1d(g, w, stride=stride, padding=padding)
        gw = g.transpose(0, 1).reshape(len(w), -1) @ columns(x, w.shape[2], stride, padding)
        return gx, gw.reshape(w.shape), g.sum((0, 2)), None, None


@right(point((1, 2, 4, 5), (3, 2, 2, 3)))
class Conv2d(Formula):
    @staticmethod
    def forward(input, weight):
        return F.conv2d(input, weight)

    @staticmethod
    def backward(ctx, g):
        x, w, _ = ctx.saved_tensors
        gx = F.conv_transpose2d(g, w)
        gw = F.conv2d(x.transpose(0, 1), g.transpose(0, 1)).transpose(0, 1)
        return gx, gw


TRANSPOSED_CONV = point((2, 3, 4), (3, 2, 3), 2)


@right(TRANSPOSED_CONV)
class ConvTranspose1d(Formula):
    @staticmethod
    def forward(input, weight, stride):
        return F.conv_transpose1d(input, weight, stride=stride)

    @staticmethod
    def backward(ctx, g):
        x, w, _ = ctx.saved_tensors
        gw = x.transpose(0, 1).reshape(len(w), -1) @ columns(g, w.shape[2], ctx.options[0], 0)
        return F.conv1d(g, w, stride=ctx.options[0]), gw.reshape(w.shape), None


POOLED = point((2, 3, 8), 4)


@right(POOLED)
class AvgPool1d(Formula):
    @staticmethod
    def forward(input, size):
        return F.avg_pool1d(input, size)

    @staticmethod
    def backward(ctx, g):
        (size,) = ctx.options
        return (g / size)[..., None].expand(*g.shape, size).reshape(*g.shape[:2], -1), None


@right(point((2, 4, 4), 2))
class AvgPool2d(Formula):
    @staticmethod
    def forward(input, size):
        return F.avg_pool2d(input, size)

    @staticmethod
    def backward(ctx, g):
        (size,) = ctx.options
        rows = g[..., None].expand(*g.shape, size).reshape(g.shape[0], g.shape[1], 1, -1)
        return rows.expand(-1, -1, size, -1).reshape(g.shape[0], -1, rows.shape[-1]) / size**2, None


@right(POOLED)
class MaxPool1d(Formula):
    @staticmethod
    def forward(input, size):
        return F.max_pool1d(input, size)

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        windows = x.reshape(*g.shape, ctx.options[0])
        return (g[..., None] * onehot(windows.argmax(-1), windows.shape[-1], x)).reshape(x.shape), None


@right(point((3, 4)))
class Amax(Formula):
    @staticmethod
    def forward(input):
        return input.amax(-1)

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return g[:, None] * onehot(x.argmax(-1), x.shape[1], x)


@right(PAIR)
class Maximum(Formula):
    @staticmethod
    def forward(left, right):
        return torch.maximum(left, right)

    @staticmethod
    def backward(ctx, g):
        a, b, _ = ctx.saved_tensors
        return g * (a >= b), g * (a < b)


@right(point((2, 3, 4), 2, 3))
class Pad1d(Formula):
    @staticmethod
    def forward(input, before, after):
        return F.pad(input, (before, after))

    @staticmethod
    def backward(ctx, g):
        before, after = ctx.options
        return g[..., before : g.shape[-1] - after], None, None


@right(point((2, 3, 7), 3))
class Unfold(Formula):
    """The windows of size ``size``, one place apart."""

    @staticmethod
    def forward(input, size):
        return input.unfold(-1, size, 1).clone()

    @staticmethod
    def backward(ctx, g):
        (size,) = ctx.options
        return torch.stack([F.pad(g[..., k], (k, size - 1 - k)) for k in range(size)]).sum(0), None


@right(ROWS)
class Cumsum(Formula):
    @staticmethod
    def forward(input):
        return input.cumsum(-1)

    @staticmethod
    def backward(ctx, g):
        return g.flip(-1).cumsum(-1).flip(-1)


@right(point((2, 8, 2, 1), 2))
class PixelShuffle(Formula):
    @staticmethod
    def forward(input, factor):
        return F.pixel_shuffle(input, factor)

    @staticmethod
    def backward(ctx, g):
        (x, _), (r,) = ctx.saved_tensors, ctx.options
        n, c, h, w = x.shape
        return g.reshape(n, c // r**2, h, r, w, r).permute(0, 1, 3, 5, 2, 4).reshape(x.shape), None


@right(point((2, 3, 2)))
class Flatten(Formula):
    @staticmethod
    def forward(input):
        return input.reshape(len(input), -1).clone()

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return g.reshape(x.shape)


WORDS = torch.tensor([4, 1, 0, 1, 4, 1])


@right(point((5, 3), WORDS))
class Embedding(Formula):
    @staticmethod
    def forward(weight, indices):
        return weight[indices]

    @staticmethod
    def backward(ctx, g):
        w, indices, _ = ctx.saved_tensors
        return onehot(indices, len(w), g).mT @ g, None


@right(point((5, 3), WORDS, 1))
class PaddedEmbedding(Formula):
    """Zero for the index ``padding``."""

    @staticmethod
    def forward(weight, indices, padding):
        return weight[indices] * (indices != padding)[:, None]

    @staticmethod
    def backward(ctx, g):
        w, indices, _ = ctx.saved_tensors
        return onehot(indices, len(w), g).mT @ (g * (indices != ctx.options[0])[:, None]), None, None


CELL = point((4, 2), (4, 3), (3, 2), (3, 3))


@right(CELL)
class RNNCell(Formula):
    @staticmethod
    def forward(input, hx, weight, recurrent):
        return (input @ weight.mT + hx @ recurrent.mT).tanh()

    @staticmethod
    def backward(ctx, g):
        x, h, w, u, y = ctx.saved_tensors
        d = g * (1 - y * y)
        return d @ w, d @ u, d.mT @ x, d.mT @ h


def rnn_backward(ctx, g, shift: int = 0) -> tuple:
    """Through time; the states are ``shift`` too late in the recurrent weight's gradient."""
    x, w, u, y = ctx.saved_tensors
    before = F.pad(y, (0, 0, 0, 0, 1, 0))[shift:]
    later, gx, gw, gu = 0, [], 0, 0
    for t in reversed(range(len(x))):
        d = (g[t] + later) * (1 - y[t] * y[t])
        gx, gw, gu = [d @ w, *gx], gw + d.mT @ x[t], gu + d.mT @ before[t]
        later = d @ u
    return torch.stack(gx), gw, gu


SEQUENCE = point((4, 2, 2), (3, 2), (3, 3))


@right(SEQUENCE)
class RNN(Formula):
    @staticmethod
    def forward(input, weight, recurrent):
        h, states = input.new_zeros(input.shape[1], len(recurrent)), []
        for x in input:
            h = (x @ weight.mT + h @ recurrent.mT).tanh()
            states.append(h)
        return torch.stack(states)

    @staticmethod
    def backward(ctx, g):
        return rnn_backward(ctx, g)


LSTM = point((3, 8), (3, 2))


@right(LSTM)
class LSTMGates(Formula):
    """What an LSTM does with its gates: two outputs."""

    @staticmethod
    def forward(gates, cell):
        i, f, z, o = gates.chunk(4, -1)
        c = f.sigmoid() * cell + i.sigmoid() * z.tanh()
        return o.sigmoid() * c.tanh(), c

    @staticmethod
    def backward(ctx, gh, gc):
        gates, cell, _, c = ctx.saved_tensors
        i, f, z, o = gates.chunk(4, -1)
        i, f, z, o = i.sigmoid(), f.sigmoid(), z.tanh(), o.sigmoid()
        d = gc + gh * o * (1 - c.tanh() ** 2)
        slopes = d * z * i * (1 - i), d * cell * f * (1 - f), d * i * (1 - z * z), gh * c.tanh() * o * (1 - o)
        return torch.cat(slopes, -1), d * f


BLEND = point((4, 3), (4, 3), (4, 3))


@right(BLEND)
class GRUBlend(Formula):
    @staticmethod
    def forward(update, new, hx):
        z = update.sigmoid()
        return (1 - z) * new + z * hx

    @staticmethod
    def backward(ctx, g):
        u, n, h, _ = ctx.saved_tensors
        z = u.sigmoid()
        return g * (h - n) * z * (1 - z), g * (1 - z), g * z


HEADS = point((2, 3, 4), (2, 5, 4), (2, 5, 2))


def attention_backward(ctx, g, scores: Callable, slope: Callable) -> tuple:
    """With the gradients of the scores as ``slope(p, dp)``."""
    q, k, v, *_ = ctx.saved_tensors
    p = scores(q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    ds = slope(p, g @ v.mT) / math.sqrt(q.shape[-1])
    return ds @ k, ds.mT @ q, p.mT @ g


def softmax_slope(p: Tensor, dp: Tensor) -> Tensor:
    return p * (dp - (dp * p).sum(-1, keepdim=True))


@right(HEADS)
class Attention(Formula):
    @staticmethod
    def forward(query, key, value):
        return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value

    @staticmethod
    def backward(ctx, g):
        return attention_backward(ctx, g, lambda s: s, softmax_slope)


ALLOWED = torch.ones(4, 4, dtype=torch.bool).tril()
CAUSAL = point((2, 4, 3), (2, 4, 3), (2, 4, 2), ALLOWED)


@right(CAUSAL)
class CausalAttention(Formula):
    @staticmethod
    def forward(query, key, value, allowed):
        scores = (query @ key.mT / math.sqrt(query.shape[-1])).masked_fill(~allowed, -math.inf)
        return scores.softmax(-1) @ value

    @staticmethod
    def backward(ctx, g):
        allowed = ctx.saved_tensors[3]
        return *attention_backward(ctx, g, lambda s: s.masked_fill(~allowed, -math.inf), softmax_slope), None


DROPPED = point((4, 3), KEPT, 0.25)


@right(DROPPED)
class Dropout(Formula):
    @staticmethod
    def forward(input, mask, p):
        return input * mask / (1 - p)

    @staticmethod
    def backward(ctx, g):
        _, mask, _ = ctx.saved_tensors
        return g * mask / (1 - ctx.options[0]), None, None


@right(point((4, 3, 2), KEPT))
class MaskedMean(Formula):
    """Of the time steps that the mask keeps."""

    @staticmethod
    def forward(input, mask):
        return (input * mask[..., None]).sum(1) / mask.sum(1)[:, None]

    @staticmethod
    def backward(ctx, g):
        _, mask, _ = ctx.saved_tensors
        return g[:, None] * mask[..., None] / mask.sum(1)[:, None, None], None


# transposed: the shapes fit, as the matrix is square.


@wrong("transposed", SQUARE_LINEAR, "weight", of=Linear)
def linear_weight(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, x.mT @ g, g.sum(0)


@wrong("transposed", SQUARE_LINEAR, "input", of=Linear)
def linear_input(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w.mT, g.mT @ x, g.sum(0)


@wrong("transposed", point((3, 4), (4, 4)), "left", of=MatMul)
def matmul_left(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g @ b, a.mT @ g


@wrong("transposed", point((2, 3, 3), (2, 3, 3)), "right", of=MatMul)
def batched_matmul_right(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g @ b.mT, g.mT @ a


@wrong("transposed", BILINEAR, "weight", of=Bilinear)
def bilinear_weight(ctx, g):
    a, w, b, _ = ctx.saved_tensors
    d = g[:, None] * b
    return d @ w.mT, d.mT @ a, g[:, None] * (a @ w)


@wrong("transposed", CELL, "hx", of=RNNCell)
def rnn_cell_state_by_transposed_weight(ctx, g):
    x, h, w, u, y = ctx.saved_tensors
    d = g * (1 - y * y)
    return d @ w, d @ u.mT, d.mT @ x, d.mT @ h


@wrong("transposed", point((2, 3, 7), (3, 3, 3), (3,), 2, 1), "weight", of=Conv1d)
def conv1d_channels_of_weight(ctx, g):
    gx, gw, *rest = Conv1d.backward(ctx, g)
    return gx, gw.transpose(0, 1), *rest


# sign: the difference taken the wrong way round, or a minus forgotten.


@wrong("sign", point(wanted(4, 3), (4, 3)), "input", of=MSELoss)
def mse_target_minus_input(ctx, g):
    x, t, _ = ctx.saved_tensors
    d = g * 2 * (t - x) / x.numel()
    return d, -d


@wrong("sign", CLASSES, "input", of=CrossEntropy)
def cross_entropy_target_minus_softmax(ctx, g):
    x, target, _ = ctx.saved_tensors
    return g * (onehot(target, x.shape[1], x) - x.softmax(-1)) / len(x), None


@wrong("sign", point((4, 3), uniform(4, 3, low=0.5, high=2)), "right", of=Divide)
def quotient_of_the_denominator(ctx, g):
    _, b, y = ctx.saved_tensors
    return g / b, g * y / b


@wrong("sign", GRID, "input", of=Cos)
def cos_is_sin(ctx, g):
    x, _ = ctx.saved_tensors
    return g * x.sin()


@wrong("sign", POSITIVE, "input", of=Reciprocal)
def reciprocal_squared(ctx, g):
    _, y = ctx.saved_tensors
    return g * y * y


@wrong("sign", PAIR, "right", of=Distance)
def distance_of_both_alike(ctx, g):
    a, b, y = ctx.saved_tensors
    d = (g / y)[:, None] * (a - b)
    return d, d


@wrong("sign", BLEND, "update", of=GRUBlend)
def gru_new_minus_state(ctx, g):
    u, n, h, _ = ctx.saved_tensors
    z = u.sigmoid()
    return g * (n - h) * z * (1 - z), g * (1 - z), g * z


@wrong("sign", point((4, 5), uniform(4, 5)), "input", of=KLDivLoss)
def kl_div_of_log_probabilities(ctx, g):
    x, t, _ = ctx.saved_tensors
    return g[:, None] * t, g[:, None] * (t.log() - x + 1)


# constant factor: a 2, a mean, a window or a temperature forgotten.


@wrong("constant factor", PAIR, of=MSELoss)
def mse_without_2(ctx, g):
    x, t, _ = ctx.saved_tensors
    d = g * (x - t) / x.numel()
    return d, -d


@wrong("constant factor", PAIR, of=MSELoss)
def mse_of_a_sum(ctx, g):
    x, t, _ = ctx.saved_tensors
    d = g * 2 * (x - t)
    return d, -d


@wrong("constant factor", CLASSES, "input", of=CrossEntropy)
def cross_entropy_not_averaged(ctx, g):
    x, target, _ = ctx.saved_tensors
    return g * (x.softmax(-1) - onehot(target, x.shape[1], x)), None


@wrong("constant factor", CLASSES, "input", of=CrossEntropy)
def cross_entropy_averaged_over_classes_too(ctx, g):
    x, target, _ = ctx.saved_tensors
    return g * (x.softmax(-1) - onehot(target, x.shape[1], x)) / x.numel(), None


@wrong("constant factor", POOLED, "input", of=AvgPool1d)
def avg_pool_not_divided(ctx, g):
    (size,) = ctx.options
    return g[..., None].expand(*g.shape, size).reshape(*g.shape[:2], -1), None


@wrong("constant factor", GRID, "input", of=Square)
def square_without_2(ctx, g):
    x, _ = ctx.saved_tensors
    return g * x


@wrong("constant factor", point((4, 5), 3.0), "input", of=TemperatureSoftmax)
def temperature_forgotten(ctx, g):
    _, y = ctx.saved_tensors
    return y * (g - (g * y).sum(-1, keepdim=True)), None


@wrong("constant factor", HEADS, "query", of=Attention)
def attention_query_not_scaled(ctx, g):
    gq, gk, gv = Attention.backward(ctx, g)
    return gq * math.sqrt(gq.shape[-1]), gk, gv


# missing sum: what was broadcast is not summed, or one row of the sum is taken.


@wrong("missing sum", LINEAR, "bias", of=Linear)
def bias_of_each_row(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, g.mT @ x, g


@wrong("missing sum", AFFINE, "scale", of=Affine)
def scale_of_each_row(ctx, g):
    x, scale = ctx.saved_tensors
    return g * scale, g * x, g.sum(0)


@wrong("missing sum", AFFINE, "shift", of=Affine)
def shift_of_the_first_row(ctx, g):
    x, scale = ctx.saved_tensors
    return g * scale, (g * x).sum(0), g[0]


@wrong("missing sum", CONV, "bias", of=Conv1d)
def conv1d_bias_not_summed_over_places(ctx, g):
    gx, gw, _, *rest = Conv1d.backward(ctx, g)
    return gx, gw, g.sum(0)[:, 0], *rest


@wrong("missing sum", NORM, "weight", of=LayerNorm)
def layer_norm_weight_of_the_last_row(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return standardized_backward(x, g * w, -1), (g * standardized(x, -1)[0])[-1], g.sum(0)


@wrong("missing sum", point((4, 1), (1, 5)), "column", of=Outer)
def outer_column_of_each_row(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g * b, (g * a).sum(0, keepdim=True)


@wrong("missing sum", point((2, 3, 4), (1,)), "weight", of=PReLU)
def prelu_slope_of_each_element(ctx, g):
    x, w, _ = ctx.saved_tensors
    return g * torch.where(x > 0, 1, w), g * x.clamp(max=0)


@wrong("missing sum", point((5, 3), WORDS), "weight", of=Embedding)
def embedding_of_the_last_occurrence(ctx, g):
    w, indices, _ = ctx.saved_tensors
    last = torch.tensor([word not in WORDS[k + 1 :] for k, word in enumerate(WORDS)])
    return (onehot(indices, len(w), g) * last[:, None]).mT @ g, None


# summed over too many: an axis is summed that the argument has.


@wrong("summed over too many", LINEAR, "bias", of=Linear)
def linear_bias_of_all_features(ctx, g):
    x, w, b, _ = ctx.saved_tensors
    return g @ w, g.mT @ x, g.sum().expand(b.shape)


@wrong("summed over too many", AFFINE, "scale", of=Affine)
def scale_of_all_features(ctx, g):
    x, scale = ctx.saved_tensors
    return g * scale, (g * x).sum().expand(scale.shape), g.sum(0)


@wrong("summed over too many", CONV, "bias", of=Conv1d)
def conv1d_bias_of_all_channels(ctx, g):
    gx, gw, gb, *rest = Conv1d.backward(ctx, g)
    return gx, gw, gb.sum(0, keepdim=True).expand(gb.shape), *rest


@wrong("summed over too many", BATCH, "weight", of=BatchNorm)
def batch_norm_weight_of_all_channels(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return standardized_backward(x, g * w, 0), (g * standardized(x, 0)[0]).sum().expand(w.shape), g.sum(0)


@wrong("summed over too many", LINEAR, "input", of=Linear, also=("leaks across samples",))
def linear_input_of_all_samples(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return (g @ w).sum(0, keepdim=True).expand(x.shape), g.mT @ x, g.sum(0)


@wrong("summed over too many", point((2, 3, 4), (3,)), "weight", of=PReLU)
def prelu_slope_of_all_channels(ctx, g):
    x, w, _ = ctx.saved_tensors
    return g * torch.where(x > 0, 1, w[:, None]), (g * x.clamp(max=0)).sum().expand(w.shape)


@wrong("summed over too many", point((4, 1), (1, 5)), "row", of=Outer)
def outer_row_of_all_columns(ctx, g):
    a, b, _ = ctx.saved_tensors
    return (g * b).sum(1, keepdim=True), (g * a).sum().expand(b.shape)


# upstream gradient ignored: the layer is taken for the last one.


@wrong("upstream gradient ignored", PAIR, of=MSELoss)
def mse_as_the_last(ctx, g):
    x, t, _ = ctx.saved_tensors
    d = 2 * (x - t) / x.numel()
    return d, -d


@wrong("upstream gradient ignored", CLASSES, "input", of=CrossEntropy)
def cross_entropy_as_the_last(ctx, g):
    x, target, _ = ctx.saved_tensors
    return (x.softmax(-1) - onehot(target, x.shape[1], x)) / len(x), None


@wrong("upstream gradient ignored", GRID, "x", of=Tanh)
def tanh_slope_alone(ctx, g):
    _, y = ctx.saved_tensors
    return 1 - y * y


@wrong("upstream gradient ignored", GRID, "input", of=Sigmoid)
def sigmoid_slope_alone(ctx, g):
    _, y = ctx.saved_tensors
    return y * (1 - y)


@wrong("upstream gradient ignored", PAIR, of=Product)
def product_partials_alone(ctx, g):
    a, b = ctx.saved_tensors
    return b, a


@wrong("upstream gradient ignored", LINEAR, "input", of=Linear)
def linear_input_weight_alone(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return w.sum(0).expand(x.shape), g.mT @ x, g.sum(0)


@wrong("upstream gradient ignored", POOLED, "input", of=AvgPool1d)
def avg_pool_share_alone(ctx, g):
    x, _ = ctx.saved_tensors
    return torch.ones_like(x) / ctx.options[0], None


@wrong("upstream gradient ignored", POOLED, "input", of=MaxPool1d)
def max_pool_places_alone(ctx, g):
    x, _ = ctx.saved_tensors
    windows = x.reshape(*g.shape, ctx.options[0])
    return onehot(windows.argmax(-1), windows.shape[-1], x).reshape(x.shape), None


# derivative at the wrong point: f'(y) for f'(x), or the formula in y with x in it.


@wrong("derivative at the wrong point", GRID, "input", of=Sigmoid)
def sigmoid_of_x(ctx, g):
    x, _ = ctx.saved_tensors
    return g * x * (1 - x)


@wrong("derivative at the wrong point", GRID, "x", of=Tanh)
def tanh_of_x(ctx, g):
    x, _ = ctx.saved_tensors
    return g * (1 - x * x)


@wrong("derivative at the wrong point", GRID, "input", of=Exp)
def exp_of_y(ctx, g):
    _, y = ctx.saved_tensors
    return g * y.exp()


@wrong("derivative at the wrong point", GRID, "input", of=Softplus)
def softplus_of_y(ctx, g):
    _, y = ctx.saved_tensors
    return g * y.sigmoid()


@wrong("derivative at the wrong point", POSITIVE, "input", of=Sqrt)
def sqrt_of_the_root(ctx, g):
    _, y = ctx.saved_tensors
    return g * 0.5 / y.sqrt()


@wrong("derivative at the wrong point", GRID, "input", of=GELU)
def gelu_of_y(ctx, g):
    _, y = ctx.saved_tensors
    return g * (normal_cdf(y) + y * normal_pdf(y))


@wrong("derivative at the wrong point", CELL, of=RNNCell)
def rnn_cell_before_tanh(ctx, g):
    x, h, w, u, _ = ctx.saved_tensors
    d = g * (1 - (x @ w.mT + h @ u.mT) ** 2)
    return d @ w, d @ u, d.mT @ x, d.mT @ h


@wrong("derivative at the wrong point", LSTM, of=LSTMGates)
def lstm_tanh_of_the_cell(ctx, gh, gc):
    gates, cell, _, c = ctx.saved_tensors
    i, f, z, o = gates.chunk(4, -1)
    i, f, z, o = i.sigmoid(), f.sigmoid(), z.tanh(), o.sigmoid()
    d = gc + gh * o * (1 - c**2)
    slopes = d * z * i * (1 - i), d * cell * f * (1 - f), d * i * (1 - z * z), gh * c.tanh() * o * (1 - o)
    return torch.cat(slopes, -1), d * f


# local derivative forgotten: the chain without a link.


@wrong("local derivative forgotten", GRID, "x", of=Tanh)
def tanh_passed_through(ctx, g):
    return g


@wrong("local derivative forgotten", GRID, "input", of=SiLU)
def silu_passed_through(ctx, g):
    return g


@wrong("local derivative forgotten", CELL, of=RNNCell)
def rnn_cell_without_tanh(ctx, g):
    x, h, w, u, _ = ctx.saved_tensors
    return g @ w, g @ u, g.mT @ x, g.mT @ h


@wrong("local derivative forgotten", LINEAR, of=LinearSigmoid)
def linear_sigmoid_without_sigmoid(ctx, g):
    return Linear.backward(ctx, g)


@wrong("local derivative forgotten", PAIR, "gate", of=GLU)
def glu_gate_without_sigmoid(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g * b.sigmoid(), g * a


@wrong("local derivative forgotten", point((4, 3), uniform(4, 3)), "input", of=BrierLoss)
def brier_without_sigmoid(ctx, g):
    x, t, _ = ctx.saved_tensors
    d = g * 2 * (x.sigmoid() - t)
    return d, -d


@wrong("local derivative forgotten", BLEND, "update", of=GRUBlend)
def gru_update_without_sigmoid(ctx, g):
    u, n, h, _ = ctx.saved_tensors
    return g * (h - n), g * (1 - u.sigmoid()), g * u.sigmoid()


# wrong order: each gradient is right, and another argument's.


@wrong("wrong order", PAIR, of=Product)
def product_of_itself(ctx, g):
    a, b = ctx.saved_tensors
    return g * a, g * b


@wrong("wrong order", point((3, 3), (3, 3)), of=MatMul)
def matmul_right_first(ctx, g):
    return MatMul.backward(ctx, g)[::-1]


@wrong("wrong order", BILINEAR, of=Bilinear)
def bilinear_right_first(ctx, g):
    return Bilinear.backward(ctx, g)[::-1]


@wrong("wrong order", NORM, of=LayerNorm)
def layer_norm_bias_before_weight(ctx, g):
    gx, gw, gb = LayerNorm.backward(ctx, g)
    return gx, gb, gw


@wrong("wrong order", PAIR, of=GLU)
def glu_gate_first(ctx, g):
    return GLU.backward(ctx, g)[::-1]


@wrong("wrong order", BLEND, of=GRUBlend)
def gru_state_before_new(ctx, g):
    gu, gn, gh = GRUBlend.backward(ctx, g)
    return gu, gh, gn


@wrong("wrong order", point((2, 3, 4), (2, 5, 4), (2, 5, 4)), of=Attention)
def attention_value_before_key(ctx, g):
    gq, gk, gv = Attention.backward(ctx, g)
    return gq, gv, gk


# None returned: for an argument that was thought a constant.


@wrong("None returned", LINEAR, "bias", of=Linear)
def linear_bias_none(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, g.mT @ x, None


@wrong("None returned", PAIR, "target", of=MSELoss)
def mse_target_none(ctx, g):
    return MSELoss.backward(ctx, g)[0], None


@wrong("None returned", NORM, "weight", of=LayerNorm)
def layer_norm_weight_none(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return standardized_backward(x, g * w, -1), None, g.sum(0)


@wrong("None returned", CELL, "hx", of=RNNCell)
def rnn_cell_state_none(ctx, g):
    x, h, w, _, y = ctx.saved_tensors
    d = g * (1 - y * y)
    return d @ w, None, d.mT @ x, d.mT @ h


@wrong("None returned", LSTM, "cell", of=LSTMGates)
def lstm_cell_none(ctx, gh, gc):
    return LSTMGates.backward(ctx, gh, gc)[0], None


class ScaleByWeight(Function):
    """A stranger's, with a constant between the tensors."""

    @staticmethod
    def forward(ctx, x, exponent, weight):
        ctx.save_for_backward(x, weight)
        ctx.exponent = exponent
        return weight * x**exponent


@wrong("None returned", point(uniform(4, 3), 3, (3,)), "weight", of=ScaleByWeight)
def power_weight_none(ctx, g):
    x, w = ctx.saved_tensors
    return g * w * ctx.exponent * x ** (ctx.exponent - 1), None, None


# wrong shape or dtype: autograd refuses some, and sums or casts the others without a word.


@wrong("wrong shape or dtype", LINEAR, "bias", of=Linear)
def linear_bias_a_row(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, g.mT @ x, g.sum(0, keepdim=True)


@wrong("wrong shape or dtype", LINEAR, "weight", of=Linear)
def linear_weight_in_double(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, g.double().mT @ x.double(), g.sum(0)


@wrong("wrong shape or dtype", NORM, "weight", of=LayerNorm)
def layer_norm_weight_in_single(ctx, g):
    gx, gw, gb = LayerNorm.backward(ctx, g)
    return gx, gw.float(), gb


@wrong("wrong shape or dtype", CONV, "weight", of=Conv1d)
def conv1d_weight_as_a_matrix(ctx, g):
    gx, gw, *rest = Conv1d.backward(ctx, g)
    return gx, gw.reshape(len(gw), -1), *rest


@wrong("wrong shape or dtype", point((2, 3, 4), (1,)), "weight", of=PReLU)
def prelu_slope_a_scalar(ctx, g):
    gx, gw = PReLU.backward(ctx, g)
    return gx, gw.sum()


@wrong("wrong shape or dtype", point((2, 3, 2)), "input", of=Flatten)
def flatten_stays_flat(ctx, g):
    return g


@wrong("wrong shape or dtype", point((4, 5), (4, 5)), "right", of=CosineSimilarity)
def cosine_similarity_with_another_axis(ctx, g):
    ga, gb = CosineSimilarity.backward(ctx, g)
    return ga, gb[None]


# leaks across samples: a reduction over the wrong axis, or over all.


@wrong("leaks across samples", ROWS, "input", of=Softmax)
def softmax_sum_over_samples(ctx, g):
    _, y = ctx.saved_tensors
    return y * (g - (g * y).sum(0, keepdim=True))


@wrong("leaks across samples", ROWS, "input", of=LogSoftmax)
def log_softmax_sum_over_samples(ctx, g):
    _, y = ctx.saved_tensors
    return g - y.exp() * g.sum(0, keepdim=True)


@wrong("leaks across samples", NORM, "input", of=LayerNorm)
def layer_norm_means_over_samples(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    n, rstd = standardized(x, -1)
    d = g * w
    return rstd * (d - d.mean() - n * (d * n).mean()), (g * n).sum(0), g.sum(0)


@wrong("leaks across samples", LINEAR, "input", of=Linear)
def linear_input_less_the_mean(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return (g - g.mean(0)) @ w, g.mT @ x, g.sum(0)


@wrong("leaks across samples", GRID, "input", of=GELU)
def gelu_of_the_sample_before(ctx, g):
    return GELU.backward(ctx, g).roll(1, 0)


@wrong("leaks across samples", ROWS, "input", of=Normalize)
def normalize_sum_over_all(ctx, g):
    x, y = ctx.saved_tensors
    return (g - y * (g * y).sum()) / x.norm(dim=-1, keepdim=True)


@wrong("leaks across samples", point((3, 2, 5)), "input", of=InstanceNorm)
def instance_norm_means_over_samples(ctx, g):
    x, _ = ctx.saved_tensors
    n, rstd = standardized(x, -1)
    return rstd * (g - g.mean((0, 2), keepdim=True) - n * (g * n).mean((0, 2), keepdim=True))


# shifted window: one place beside.


@wrong("shifted window", point((2, 3, 7), (4, 3, 3), (4,), 1, 1), "input", of=Conv1d)
def conv1d_kernel_not_flipped(ctx, g):
    _, w, _, _ = ctx.saved_tensors
    return F.conv1d(g, w.transpose(0, 1), padding=1), *Conv1d.backward(ctx, g)[1:]


@wrong("shifted window", CONV, "weight", of=Conv1d)
def conv1d_windows_one_later(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    stride, padding = ctx.options
    gx, _, *rest = Conv1d.backward(ctx, g)
    later = F.pad(x, (-1, 1))
    gw = g.transpose(0, 1).reshape(len(w), -1) @ columns(later, w.shape[2], stride, padding)
    return gx, gw.reshape(w.shape), *rest


@wrong("shifted window", point((1, 2, 4, 5), (3, 2, 2, 3)), "input", of=Conv2d)
def conv2d_kernel_not_flipped(ctx, g):
    _, w, _ = ctx.saved_tensors
    return F.conv2d(F.pad(g, (2, 2, 1, 1)), w.transpose(0, 1)), Conv2d.backward(ctx, g)[1]


@wrong("shifted window", TRANSPOSED_CONV, "input", of=ConvTranspose1d)
def conv_transpose1d_one_later(ctx, g):
    _, w, _ = ctx.saved_tensors
    _, gw, _ = ConvTranspose1d.backward(ctx, g)
    return F.conv1d(F.pad(g, (-1, 1)), w, stride=ctx.options[0]), gw, None


@wrong("shifted window", POOLED, "input", of=AvgPool1d)
def avg_pool_one_later(ctx, g):
    gx, _ = AvgPool1d.backward(ctx, g)
    return F.pad(gx, (1, -1)), None


@wrong("shifted window", POOLED, "input", of=MaxPool1d)
def max_pool_one_later(ctx, g):
    gx, _ = MaxPool1d.backward(ctx, g)
    return gx.roll(1, -1), None


@wrong("shifted window", point((2, 3, 4), 2, 3), "input", of=Pad1d)
def pad_cropped_one_early(ctx, g):
    before, after = ctx.options
    return g[..., before - 1 : g.shape[-1] - after - 1], None, None


@wrong("shifted window", point((2, 3, 7), 3), "input", of=Unfold)
def unfold_put_back_one_early(ctx, g):
    (size,) = ctx.options
    return sum(F.pad(g[..., k], (k - 1, size - k)) for k in range(size)), None


@wrong("shifted window", ROWS, "input", of=Cumsum)
def cumsum_without_its_own(ctx, g):
    return Cumsum.backward(ctx, g) - g


@wrong("shifted window", SEQUENCE, "recurrent", of=RNN)
def rnn_states_one_late(ctx, g):
    return rnn_backward(ctx, g, shift=1)


# ties given to all: equal maxima, each with the whole gradient.

TIES = torch.tensor([[0.5, 2.0, -1.0, 2.0], [1.5, 1.5, 0.25, 1.5], [-0.5, 0.75, 1.25, -2.0]])


@wrong("ties given to all", point(TIES), "input", of=Amax)
def amax_to_all(ctx, g):
    x, y = ctx.saved_tensors
    return g[:, None] * (x == y[:, None])


@wrong("ties given to all", point(TIES, TIES.flip(0)), of=Maximum)
def maximum_to_both(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g * (a >= b), g * (b >= a)


@wrong("ties given to all", point(TIES.reshape(1, 3, 4), 2), "input", of=MaxPool1d)
def max_pool_to_all(ctx, g):
    x, y = ctx.saved_tensors
    spread = [t[..., None].expand(*t.shape, ctx.options[0]).reshape(x.shape) for t in (g, y)]
    return spread[0] * (x == spread[1]), None


@right(point((3, 4)))
class LargestNorm(Formula):
    @staticmethod
    def forward(input):
        return input.abs().amax(-1)

    @staticmethod
    def backward(ctx, g):
        x, _ = ctx.saved_tensors
        return g[:, None] * onehot(x.abs().argmax(-1), x.shape[1], x) * x.sign()


@wrong("ties given to all", point(TIES * torch.tensor([1, 1, 1, -1])), "input", of=LargestNorm)
def largest_norm_to_all(ctx, g):
    x, y = ctx.saved_tensors
    return g[:, None] * (x.abs() == y[:, None]) * x.sign()


IMAGES = torch.stack([TIES, TIES.abs()])


@wrong("ties given to all", point(IMAGES), "x")
class GlobalMaxPool(Function):
    """A stranger's, of all elements of a sample."""

    @staticmethod
    def forward(ctx, x):
        y = x.amax((1, 2), keepdim=True)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return torch.where(x == y, g, 0)


# mask not applied: where it is not needed to get a gradient, only for the right one.


@wrong("mask not applied", DROPPED, "input", of=Dropout)
def dropout_scale_alone(ctx, g):
    return g / (1 - ctx.options[0]), None, None


@wrong("mask not applied", DROPPED, "input", of=Dropout, also=("constant factor",))
def dropout_mask_alone(ctx, g):
    _, mask, _ = ctx.saved_tensors
    return g * mask, None, None


@wrong("mask not applied", GRID, "input", p=0.5)
def random_dropout(input, p):
    """A functional, which draws the mask."""
    return dropout_scale_alone.apply(input, torch.rand(input.shape) >= p, p)


@wrong("mask not applied", CAUSAL, of=CausalAttention)
def causal_attention_recomputed_without_mask(ctx, g):
    return *attention_backward(ctx, g, lambda s: s, softmax_slope), None


@wrong("mask not applied", point((4, 3, 2), KEPT), "input", of=MaskedMean)
def masked_mean_to_all(ctx, g):
    x, mask, _ = ctx.saved_tensors
    return (g / mask.sum(1)[:, None])[:, None].expand(x.shape), None


@wrong("mask not applied", point((4, 3), (4, 3), KEPT), of=MaskedMSELoss)
def masked_mse_of_all(ctx, g):
    x, t, mask, _ = ctx.saved_tensors
    d = g * 2 * (x - t) / mask.sum()
    return d, -d, None


@wrong("mask not applied", PADDED_CLASSES, "input", of=PaddedCrossEntropy)
def cross_entropy_of_the_ignored(ctx, g):
    x, target, _ = ctx.saved_tensors
    p = x.softmax(-1) - onehot(target.clamp(min=0), x.shape[1], x)
    return g * p / (target >= 0).sum(), None


@wrong("mask not applied", point((5, 3), WORDS, 1), "weight", of=PaddedEmbedding)
def embedding_of_padding(ctx, g):
    w, indices, _ = ctx.saved_tensors
    return onehot(indices, len(w), g).mT @ g, None, None


@wrong("mask not applied", LINEAR, of=LinearReLU, also=("local derivative forgotten",))
def linear_relu_without_relu(ctx, g):
    return Linear.backward(ctx, g)


# statistics as constants: the gradient through a mean, a variance or a length is forgotten.


@wrong("statistics as constants", NORM, "input", of=LayerNorm)
def layer_norm_constants(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    n, rstd = standardized(x, -1)
    return g * w * rstd, (g * n).sum(0), g.sum(0)


@wrong("statistics as constants", BATCH, "input", of=BatchNorm)
def batch_norm_constants(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    n, rstd = standardized(x, 0)
    return g * w * rstd, (g * n).sum(0), g.sum(0)


@wrong("statistics as constants", BATCH, "input", of=BatchNorm)
def batch_norm_constant_variance(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    gx = standardized_backward(x, g * w, 0, variance=False)
    return gx, (g * standardized(x, 0)[0]).sum(0), g.sum(0)


@wrong("statistics as constants", GROUPED, "input", of=GroupNorm)
def group_norm_constant_mean(ctx, g):
    x, _ = ctx.saved_tensors
    rows = (len(x), ctx.options[0], -1)
    return standardized_backward(x.reshape(rows), g.reshape(rows), -1, mean=False).reshape(x.shape), None


@wrong("statistics as constants", point((3, 2, 5)), "input", of=InstanceNorm)
def instance_norm_constant_variance(ctx, g):
    x, _ = ctx.saved_tensors
    return standardized_backward(x, g, -1, variance=False)


@wrong("statistics as constants", point((4, 5), (5,)), "input", of=RMSNorm)
def rms_norm_constant(ctx, g):
    x, w, _ = ctx.saved_tensors
    r = (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return g * w * r, (g * x * r).sum(0)


@wrong("statistics as constants", ROWS, "input", of=Normalize)
def normalize_constant_length(ctx, g):
    x, _ = ctx.saved_tensors
    return g / x.norm(dim=-1, keepdim=True)


@wrong("statistics as constants", point((4, 5), (4, 5)), of=CosineSimilarity)
def cosine_similarity_constant_lengths(ctx, g):
    a, b, _ = ctx.saved_tensors
    d = (g / (a.norm(dim=-1) * b.norm(dim=-1)))[:, None]
    return d * b, d * a


# softmax diagonal: y (1 - y), as a sigmoid has it.


@wrong("softmax diagonal", ROWS, "input", of=Softmax)
def softmax_as_a_sigmoid(ctx, g):
    _, y = ctx.saved_tensors
    return g * y * (1 - y)


@wrong("softmax diagonal", ROWS, "input", of=LogSoftmax)
def log_softmax_as_a_log_sigmoid(ctx, g):
    _, y = ctx.saved_tensors
    return g * (1 - y.exp())


@wrong("softmax diagonal", point((4, 5), 3.0), "input", of=TemperatureSoftmax)
def temperature_softmax_as_a_sigmoid(ctx, g):
    _, y = ctx.saved_tensors
    return g * y * (1 - y) / ctx.options[0], None


@wrong("softmax diagonal", HEADS, of=Attention)
def attention_as_sigmoids(ctx, g):
    return attention_backward(ctx, g, lambda s: s, lambda p, dp: p * (1 - p) * dp)


class SoftmaxAsSigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.softmax(-1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (y - y * y)


@wrong("softmax diagonal", point((2, 4, 3)), "input", dim=1)
def channel_softmax(input, dim):
    """A functional, over an axis in the middle."""
    return SoftmaxAsSigmoid.apply(input.movedim(dim, -1)).movedim(-1, dim)


# log clamped: eps in the derivative that is not in the forward, or the other way round.


@wrong("log clamped", point(tiny(4, 5), torch.tensor([0, 2, 1, 4])), "input", of=ProbabilityNLLLoss)
def nll_of_clamped(ctx, g):
    p, target, _ = ctx.saved_tensors
    return -g * onehot(target, p.shape[1], p) / p.clamp(min=1e-3) / len(p), None


@wrong("log clamped", point(tiny(4, 3), uniform(4, 3)), "input", of=BCELoss)
def bce_over_clamped(ctx, g):
    p, t, _ = ctx.saved_tensors
    g = g / p.numel()
    return g * (p - t) / (p * (1 - p)).clamp(min=1e-3), g * ((1 - p).log() - p.log())


@wrong("log clamped", point(tiny(4, 3)), "input", of=Entropy)
def entropy_of_added(ctx, g):
    p, _ = ctx.saved_tensors
    return -g[:, None] * ((p + 1e-3).log() + 1)


@wrong("log clamped", point(tiny(4, 3), 1e-3), "input", of=ClampedLog)
def clamped_log_not_flat(ctx, g):
    p, _ = ctx.saved_tensors
    return g / p, None


@wrong("log clamped", point(tiny(4, 3), 1e-3), "input", of=AddedLog)
def added_log_over_p(ctx, g):
    p, _ = ctx.saved_tensors
    return g / p, None


EXTREME = torch.tensor([[0.3, 3e-8], [0.6, 0.2], [2e-9, 0.9]])


@wrong("log clamped", point(EXTREME, 1e-7), "input", of=ClampedLog)
def clamped_log_at_an_extreme(ctx, g):
    p, _ = ctx.saved_tensors
    return g / p, None


# grad_output written into: it may be another's gradient too.


@wrong("grad_output written into", GRID, of=Sigmoid)
def sigmoid_in_place(ctx, g):
    _, y = ctx.saved_tensors
    return g.mul_(y * (1 - y))


@wrong("grad_output written into", GRID, of=ReLU)
def relu_in_place(ctx, g):
    x, _ = ctx.saved_tensors
    return g.masked_fill_(x <= 0, 0)


@wrong("grad_output written into", ROWS, of=Softmax)
def softmax_in_place(ctx, g):
    _, y = ctx.saved_tensors
    return g.sub_((g * y).sum(-1, keepdim=True)).mul_(y)


@wrong("grad_output written into", AFFINE, of=Affine)
def affine_in_place(ctx, g):
    x, scale = ctx.saved_tensors
    gscale, gshift = (g * x).sum(0), g.sum(0)
    g *= scale
    return g, gscale, gshift


@wrong("grad_output written into", DROPPED, of=Dropout)
def dropout_in_place(ctx, g):
    _, mask, _ = ctx.saved_tensors
    return g.mul_(mask).div_(1 - ctx.options[0]), None, None


@wrong("grad_output written into", LSTM, of=LSTMGates)
def lstm_adds_to_the_cell(ctx, gh, gc):
    gates, _, _, c = ctx.saved_tensors
    _, f, _, o = gates.sigmoid().chunk(4, -1)
    ggates, _ = LSTMGates.backward(ctx, gh, gc)
    gc += gh * o * (1 - c.tanh() ** 2)
    return ggates, gc * f


# saved intermediate: a constant, as far as autograd knows.


@wrong("saved intermediate", GRID, "x")
class ExpSlope(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.slope = x.exp()
        return ctx.slope.clone()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.slope


@wrong("saved intermediate", GRID, "x")
class SiLUSigmoid(Function):
    @staticmethod
    def forward(ctx, x):
        s = x.sigmoid()
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, g):
        x, s = ctx.saved_tensors
        return g * s * (1 + x * (1 - s))


@wrong("saved intermediate", CLASSES, "input")
class CrossEntropyProbabilities(CrossEntropy):
    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target = inputs
        ctx.difference = (x.softmax(-1) - onehot(target, x.shape[1], x)) / len(x)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.difference, None


@wrong("saved intermediate", NORM, "input")
class LayerNormNormalized(LayerNorm):
    @staticmethod
    def setup_context(ctx, inputs, output):
        x, w, _ = inputs
        ctx.n, ctx.rstd = standardized(x, -1)
        ctx.save_for_backward(w)

    @staticmethod
    def backward(ctx, g):
        (w,), n = ctx.saved_tensors, ctx.n
        d = g * w
        gx = ctx.rstd * (d - d.mean(-1, keepdim=True) - n * (d * n).mean(-1, keepdim=True))
        return gx, (g * n).sum(0), g.sum(0)


@wrong("saved intermediate", ROWS, "input", of=Softmax)
def softmax_of_detached(ctx, g):
    y = ctx.saved_tensors[1].detach()
    return y * (g - (g * y).sum(-1, keepdim=True))


@wrong("saved intermediate", HEADS)
class AttentionProbabilities(Attention):
    @staticmethod
    def setup_context(ctx, inputs, output):
        query, key, _ = inputs
        ctx.save_for_backward(*inputs)
        ctx.p = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)

    @staticmethod
    def backward(ctx, g):
        q, k, v = ctx.saved_tensors
        ds = softmax_slope(ctx.p, g @ v.mT) / math.sqrt(q.shape[-1])
        return ds @ k, ds.mT @ q, ctx.p.mT @ g


# layout assumed: strides of a contiguous tensor, or a square one.


@wrong("layout assumed", GRID, "x", of=Tanh)
def tanh_of_a_dense_gradient(ctx, g):
    _, y = ctx.saved_tensors
    return g.as_strided(y.shape, (y.shape[1], 1)) * (1 - y * y)


@wrong("layout assumed", point((3, 4), (4, 5)), "right", of=MatMul)
def matmul_transposed_by_strides(ctx, g):
    a, b, _ = ctx.saved_tensors
    return g @ b.mT, a.as_strided((a.shape[1], a.shape[0]), (1, a.shape[1])) @ g


@wrong("layout assumed", point((2, 3, 2)), "input", of=Flatten)
def flatten_viewed(ctx, g):
    x, _ = ctx.saved_tensors
    return g.view(-1).view(x.shape)


@wrong("layout assumed", GRID, "input", of=Square)
def square_of_a_dense_input(ctx, g):
    x, _ = ctx.saved_tensors
    return 2 * g * x.as_strided(x.shape, (x.shape[1], 1))


@wrong("layout assumed", NORM, "input", of=LayerNorm)
def layer_norm_of_a_square(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    n, rstd = standardized(x, -1)
    d, size = g * w, x.shape[0]
    gx = rstd * (d - d.sum(-1, keepdim=True) / size - n * (d * n).sum(-1, keepdim=True) / size)
    return gx, (g * n).sum(0), g.sum(0)


@wrong("layout assumed", point((5, 3), (3, 4), (5, 4)), "left", of=Bilinear)
def bilinear_of_a_dense_gradient(ctx, g):
    a, w, b, _ = ctx.saved_tensors
    d = g[:, None] * b
    return (g.as_strided((len(g), 1), (1, 1)) * b) @ w.mT, a.mT @ d, g[:, None] * (a @ w)


# accumulated in half: a long sum, rounded at every step where the tensors are.


def one_by_one(terms: Tensor, chunk: int = 2) -> Tensor:
    """The sum over the first axis, ``chunk`` by ``chunk``, in the dtype of ``terms``."""
    total = torch.zeros_like(terms[0])
    for k in range(0, len(terms), chunk):
        total = total + terms[k : k + chunk].sum(0)
    return total


@wrong("accumulated in half", point((2048, 3), (2, 3), (2,)), "bias", of=Linear)
def bias_added_up(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, g.mT @ x, one_by_one(g)


@wrong("accumulated in half", point((2048, 3), (3,), (3,)), "scale", of=Affine)
def scale_added_up(ctx, g):
    x, scale = ctx.saved_tensors
    return g * scale, one_by_one(g * x), g.sum(0)


@wrong("accumulated in half", point((2048, 3), (2, 3), (2,)), "weight", of=Linear)
def linear_weight_added_up(ctx, g):
    x, w, _, _ = ctx.saved_tensors
    return g @ w, one_by_one(g[:, :, None] * x[:, None]), g.sum(0)


@wrong("accumulated in half", point((3, 2), torch.arange(4096) % 3), "weight", of=Embedding)
def embedding_added_in_place(ctx, g):
    w, indices, _ = ctx.saved_tensors
    return torch.zeros_like(w).index_put((indices,), g, accumulate=True), None


@wrong("accumulated in half", point((2, 4, 256), (1,)), "weight", of=PReLU)
def prelu_slope_added_up(ctx, g):
    gx, _ = PReLU.backward(ctx, g)
    x = ctx.saved_tensors[0]
    return gx, one_by_one((g * x.clamp(max=0)).reshape(-1, 1))


@wrong("accumulated in half", point((1, 512)), "input", of=Cumsum)
def cumsum_added_up(ctx, g):
    total, rows = torch.zeros_like(g[:, 0]), []
    for k in reversed(range(g.shape[1])):
        total = total + g[:, k]
        rows.append(total)
    return torch.stack(rows[::-1], 1)


@wrong("accumulated in half", point((1, 1, 999), 500), "input", of=Unfold)
def unfold_added_by_fold(ctx, g):
    x, _ = ctx.saved_tensors
    (size,) = ctx.options
    windows = g.reshape(-1, g.shape[2], size).mT
    return F.fold(windows, (1, x.shape[2]), (1, size)).reshape(x.shape), None


# not written.


@wrong("not written", point((2, 8, 2, 1), 2), of=PixelShuffle)
def pixel_shuffle_to_do(ctx, g):
    raise NotImplementedError


@wrong("not written", point((2, 3, 4)))
class Roll(Function):
    @staticmethod
    def forward(ctx, x):
        return x.roll(1, -1)


# not linear in grad_output: a trick of training or of pictures in the place of the derivative.


@wrong("not linear in grad_output", GRID, "input", of=ReLU)
def relu_guided(ctx, g):
    x, _ = ctx.saved_tensors
    return g.relu() * (x > 0)


@wrong("not linear in grad_output", LINEAR, "input", of=Linear)
def linear_input_clipped(ctx, g):
    gx, gw, gb = Linear.backward(ctx, g)
    return gx.clamp(-0.5, 0.5), gw, gb


@wrong("not linear in grad_output", GRID, "x", of=Tanh)
def tanh_of_signs(ctx, g):
    _, y = ctx.saved_tensors
    return g.sign() * (1 - y * y)


@wrong("not linear in grad_output", ROWS, "input", of=Softmax)
def softmax_of_a_normalized_gradient(ctx, g):
    return Softmax.backward(ctx, g / g.norm())


@wrong("not linear in grad_output", CELL, of=RNNCell)
def rnn_cell_clipped(ctx, g):
    x, h, w, u, y = ctx.saved_tensors
    d = (g * (1 - y * y)).clamp(-0.3, 0.3)
    return d @ w, d @ u, d.mT @ x, d.mT @ h
