"""The one table: a row per layer. swap, check, the tests and the README's table of layers read it.

A new layer needs its page in ``layers/`` and its row here, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import functional as F
from . import nn
from .function import Function
from .layers import (
    activation,
    batchnorm,
    conv,
    cross_entropy,
    dropout,
    linear,
    loss,
    normalization,
    padding,
    pooling,
    reshape,
    softmax,
    sparse,
)

__all__ = ["CATALOG", "Case", "Layer", "Sample", "find"]


@dataclass(frozen=True)
class Sample:
    """A tensor to be drawn at random, or given: what a layer takes as an input."""

    shape: tuple[int, ...]
    draw: Callable[[torch.dtype], Tensor]


def real(*shape: int) -> Sample:
    """Normally distributed."""
    return Sample(shape, lambda dtype: torch.randn(shape, dtype=torch.float64).to(dtype))


def index(*shape: int, high: int) -> Sample:
    """Integers in [0, high)."""
    return Sample(shape, lambda dtype: torch.randint(high, shape))


def probability(*shape: int) -> Sample:
    """Strictly between 0 and 1."""
    return Sample(shape, lambda dtype: (0.05 + 0.9 * torch.rand(shape, dtype=torch.float64)).to(dtype))


def distribution(*shape: int) -> Sample:
    """Positive, with sum 1 along the class axis."""
    axis = min(1, len(shape) - 1)
    return Sample(shape, lambda dtype: torch.randn(shape, dtype=torch.float64).softmax(axis).to(dtype))


def given(*values: Any) -> Sample:
    """These numbers, in one axis."""
    return constant(torch.tensor(values))


def constant(tensor: Tensor) -> Sample:
    """This tensor, in the dtype asked for unless it holds integers."""
    shape = tuple(tensor.shape)
    return Sample(
        shape, lambda dtype: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
    )


def row_of(*values: float) -> Sample:
    """A batch of one sample with these numbers."""
    return constant(torch.tensor([values]))


@dataclass(frozen=True)
class Case:
    """One way to construct and call a layer.

    Args:
        args, kwargs: of the constructor. A tensor stands for a weight of the layer, and takes its dtype.
        inputs: of ``forward``.
        forward: keyword arguments of ``forward``.
        training: the module's mode.
        no_derivative: why what backward returns is, by definition, not the derivative of forward; else "".
    """

    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Sample, ...] = ()
    forward: Mapping[str, Any] = field(default_factory=dict)
    training: bool = True
    no_derivative: str = ""

    def __str__(self) -> str:
        shown = [_show(a) for a in self.args] + [f"{k}={_show(v)}" for k, v in self.kwargs.items()]
        shapes = " ".join("x".join(map(str, s.shape)) or "scalar" for s in self.inputs)
        forward = "".join(f" {k}={_show(v)}" for k, v in self.forward.items())
        return f"({', '.join(shown)}) {shapes}{forward}{'' if self.training else ' eval'}"

    def build(self, cls: type[torch.nn.Module], dtype: torch.dtype = torch.float64) -> torch.nn.Module:
        """The module, its parameters drawn at random: a zero bias or a weight of one would hide errors."""
        module = cls(*self.args, **self.kwargs).to(dtype).train(self.training)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
            for name, buffer in module.named_buffers():
                if name.startswith("running"):
                    buffer.copy_(0.5 + torch.rand(buffer.shape, dtype=torch.float64))
        return module

    def draw(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """The inputs of ``forward``."""
        return tuple(sample.draw(dtype) for sample in self.inputs)


@dataclass(frozen=True)
class Layer:
    """A row of the catalog.

    Args:
        module: our Module; torch's counterpart has the same name.
        functions: the Functions that it uses; empty where there is nothing to derive.
        functional: our functional; torch's counterpart has the same name in torch.nn.functional.
        cases: ways to call it, which together reach every option. The first has an output with several
        elements.
        edges: further cases at kinks, ties and infinities, where only agreement with torch can be asked for.
        saves_no_input: with its parameters frozen, a gradient of the input does not need the input.
        random: whether forward draws random numbers.
        note: what differs from the rule, and why.
    """

    module: type[torch.nn.Module]
    functions: tuple[type[Function], ...]
    functional: Callable
    cases: tuple[Case, ...]
    edges: tuple[Case, ...] = ()
    saves_no_input: bool = False
    random: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return self.module.__name__

    @property
    def family(self) -> str:
        """The page in ``layers/``."""
        page = self.functions[0].__module__ if self.functions else reshape.__name__
        return page.rpartition(".")[2]

    @property
    def torch_module(self) -> type[torch.nn.Module]:
        return getattr(torch.nn, self.name)

    @property
    def torch_functional(self) -> Callable:
        return getattr(torch.nn.functional, self.functional.__name__, self.functional)


def find(name: str) -> Layer:
    """The row of a layer, by the name of its Module, Function or functional; upper and lower case are alike.

    Raises:
        KeyError: if there is none, with the names that are close.
    """
    import difflib

    names = {}
    for row in reversed(CATALOG):
        for alias in (row.functional.__name__, *(f.__name__ for f in row.functions), row.name):
            names[alias.lower()] = row
    if name.lower() in names:
        return names[name.lower()]
    close = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"; close: {', '.join(sorted({names[c].name for c in close}))}" if close else ""
    raise KeyError(f"no layer named {name!r} in the catalog{hint} (all of them: python -m manualgrad list)")


def _show(value: Any) -> str:
    return f"tensor{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def case(*args: Any, inputs: tuple[Sample, ...] | Sample, **kwargs: Any) -> Case:
    """A Case, written as the constructor's call."""
    options = {key: kwargs.pop(key) for key in ("forward", "training", "no_derivative") if key in kwargs}
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return Case(args, kwargs, inputs, **options)


INF, NAN = float("inf"), float("nan")
LANDMARKS = given(-INF, -200.0, -20.0, -1.0, -0.0, 0.0, 1.0, 20.0, 200.0, INF, NAN)  # of an activation
SHAPES = (real(4, 5), real(2, 3, 2, 2), real(5), real(0, 5), real())


def elementwise(module, function, functional, *options: dict) -> Layer:
    """The row of an activation: every option on a matrix, the default on every shape."""
    cases = [case(inputs=shape) for shape in SHAPES]
    cases += [case(inputs=real(4, 5), **option) for option in options]
    edges = tuple(case(inputs=LANDMARKS, **option) for option in ({}, *options))
    return Layer(module, (function,), functional, tuple(cases), edges)


def axis_softmax(module, function, functional) -> Layer:
    """The row of a softmax: over each axis, and over infinities."""
    cases = [case(dim, inputs=real(2, 3, 4)) for dim in (1, 0, -1)]
    cases += [case(0, inputs=real(5)), case(1, inputs=real(0, 5)), case(0, inputs=real())]
    return Layer(
        module,
        (function,),
        functional,
        tuple(cases),
        (case(0, inputs=given(-INF, 0.0, 1e4)), case(0, inputs=given(1.0, 1.0))),
    )


def plane(ndim: int, *lead: int, extra: int = 0) -> Sample:
    """An image of ``ndim`` axes of slightly different, small lengths behind the axes ``lead``."""
    smallest = (5, 4, 3)[ndim - 1] + extra
    return real(*lead, *(smallest + k for k in range(ndim)))


def convolution(ndim: int) -> Layer:
    x, pads = plane(ndim, 2, 2), (padding.ConstantPadFunction, padding.IndexPadFunction)
    cases = [
        case(2, 3, 3, inputs=x),
        case(2, 4, 3, stride=2, padding=1, groups=2, inputs=x),
        case(2, 3, 2, dilation=2, bias=False, inputs=x),
        case(2, 3, tuple(range(1, ndim + 1)), padding=tuple(range(ndim)), inputs=x),
        case(2, 2, 3, padding="same", groups=2, inputs=x),
        case(2, 1, 2, padding="same", inputs=x),
        case(2, 1, 2, padding="valid", inputs=x),
        *(
            case(2, 1, 3, padding=1, padding_mode=mode, inputs=x)
            for mode in ("reflect", "replicate", "circular")
        ),
        case(2, 1, 2, padding="same", padding_mode="circular", inputs=x),
        case(2, 1, 1, stride=3, inputs=x),
        case(2, 1, 2, inputs=plane(ndim, 2)),
        case(2, 1, 2, inputs=plane(ndim, 0, 2)),
    ]
    module, functional = getattr(nn, f"Conv{ndim}d"), getattr(F, f"conv{ndim}d")
    return Layer(module, (conv.ConvFunction, *pads), functional, tuple(cases), saves_no_input=True)


def transposed_convolution(ndim: int) -> Layer:
    x = plane(ndim, 2, 2, extra=-1)
    larger = [2 * length + 2 for length in x.shape[2:]]  # than the default, 2 length + 1
    cases = [
        case(2, 3, 3, inputs=x),
        case(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2, inputs=x),
        case(2, 1, 2, dilation=3, output_padding=2, bias=False, inputs=x),
        case(2, 1, tuple(range(1, ndim + 1)), padding=(0,) * ndim, inputs=x),
        case(2, 1, 3, stride=2, inputs=x, forward={"output_size": larger}),
        case(2, 1, 2, inputs=plane(ndim, 2, extra=-1)),
        case(2, 1, 2, inputs=plane(ndim, 0, 2, extra=-1)),
    ]
    module, functional = getattr(nn, f"ConvTranspose{ndim}d"), getattr(F, f"conv_transpose{ndim}d")
    return Layer(module, (conv.ConvTransposeFunction,), functional, tuple(cases), saves_no_input=True)


def max_pooling(ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, stride=2, padding=1, inputs=x),
        case(2, stride=1, dilation=2, inputs=x),
        case(2, ceil_mode=True, inputs=x),
        case(3, stride=2, padding=1, dilation=2, ceil_mode=True, inputs=x),
        case(2, return_indices=True, inputs=x),
        case(2, inputs=plane(ndim, 2)),
        case(2, inputs=plane(ndim, 0, 2)),
    ]
    module, functional = getattr(nn, f"MaxPool{ndim}d"), getattr(F, f"max_pool{ndim}d")
    flat = constant(torch.zeros(1, 1, *(4,) * ndim))
    endless = constant(torch.full((1, 1, *(4,) * ndim), -INF))
    edges = (case(2, inputs=flat), case(2, inputs=endless), case(3, stride=1, padding=1, inputs=flat))
    return Layer(module, (pooling.MaxPoolFunction,), functional, tuple(cases), edges, saves_no_input=True)


def avg_pooling(ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, stride=2, padding=1, inputs=x),
        case(3, stride=2, padding=1, count_include_pad=False, inputs=x),
        case(3, stride=2, ceil_mode=True, inputs=x),
        case(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, inputs=x),
        case(2, inputs=plane(ndim, 2)),
        case(2, inputs=plane(ndim, 0, 2)),
    ]
    if ndim > 1:
        cases.append(case(2, divisor_override=3, inputs=x))
        cases.append(case(tuple(range(1, ndim + 1)), stride=tuple(range(1, ndim + 1)), inputs=x))
    module, functional = getattr(nn, f"AvgPool{ndim}d"), getattr(F, f"avg_pool{ndim}d")
    return Layer(module, (pooling.AvgPoolFunction,), functional, tuple(cases), saves_no_input=True)


def adaptive_pooling(kind: str, ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, inputs=x),
        case(1, inputs=x),
        case(7, inputs=plane(ndim, 2, extra=-1)),
    ]
    if ndim > 1:
        cases.append(case((None, *range(2, ndim + 1)), inputs=x))
    if kind == "max":
        cases.append(case(2, return_indices=True, inputs=x))
    else:
        cases.append(case(2, inputs=plane(ndim, 0, 2)))
    function = pooling.AdaptiveMaxPoolFunction if kind == "max" else pooling.AdaptiveAvgPoolFunction
    module = getattr(nn, f"Adaptive{kind.capitalize()}Pool{ndim}d")
    functional = getattr(F, f"adaptive_{kind}_pool{ndim}d")
    return Layer(module, (function,), functional, tuple(cases), saves_no_input=True)


def batch_normalization(ndim: int) -> Layer:
    x = plane(ndim, 3, 2, extra=-2)
    cases = [
        case(2, inputs=x),
        case(2, inputs=x, training=False),
        case(2, affine=False, inputs=x),
        case(2, affine=False, inputs=x, training=False),
        case(2, momentum=None, eps=1e-3, inputs=x),
        case(2, track_running_stats=False, inputs=x),
        case(2, track_running_stats=False, inputs=x, training=False),
    ]
    if ndim == 1:
        cases.append(case(2, inputs=real(4, 2)))
    module = getattr(nn, f"BatchNorm{ndim}d")
    functions = (batchnorm.BatchNormFunction, batchnorm.BatchNormEvalFunction)
    return Layer(module, functions, F.batch_norm, tuple(cases))


def channel_dropout(name: str, *shapes: Sample) -> Layer:
    functional = getattr(F, name.lower())
    cases = [case(0.4, inputs=shape) for shape in shapes]
    cases += [case(p, inputs=shapes[0]) for p in (0.0, 1.0)] + [case(0.4, inputs=shapes[0], training=False)]
    function = dropout.DropoutFunction
    return Layer(getattr(nn, name), (function,), functional, tuple(cases), saves_no_input=True, random=True)


PAIR = (real(4, 3), real(4, 3))
REDUCTIONS = ("none", "sum", "mean")


def difference(module, function, functional, parameter: str | None = None, *values: float) -> Layer:
    """The row of a loss of x − t."""
    cases = [case(reduction=reduction, inputs=PAIR) for reduction in REDUCTIONS]
    cases += [
        case(inputs=(real(5), real(5))),
        case(inputs=(real(), real())),
        case(inputs=(real(2, 3, 2),) * 2),
    ]
    cases += [case(**{parameter: value}, inputs=PAIR) for value in values if parameter]
    cases += [case(reduction="sum", inputs=(real(0, 3), real(0, 3)))]
    edges = (case(reduction="none", inputs=(given(0.0, 1.0, 2.0, -INF), given(0.0, 0.0, 0.0, 0.0))),)
    return Layer(module, (function,), functional, tuple(cases), edges)


CHANCES = probability(4, 3)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])  # of three classes, or columns
LOGITS, CLASSES = real(4, 3), index(4, high=3)
SPATIAL = (real(2, 3, 2, 2), index(2, 2, 2, high=3))
SOFT = (real(4, 3), distribution(4, 3))
PADDING_ROW, BY_FREQUENCY = "the padding row gets no gradient", "divided by frequency"
REWRITES = "forward rewrites the weight"
SOME_IGNORED = (LOGITS, given(0, -100, 2, 1))

CATALOG: tuple[Layer, ...] = (
    Layer(
        nn.Linear,
        (linear.LinearFunction,),
        F.linear,
        (
            case(5, 3, inputs=real(4, 5)),
            case(5, 3, bias=False, inputs=real(2, 3, 5)),
            case(5, 3, inputs=real(5)),
            case(5, 3, inputs=real(0, 5)),
        ),
        saves_no_input=True,
    ),
    Layer(
        nn.Bilinear,
        (linear.BilinearFunction,),
        F.bilinear,
        (
            case(5, 4, 3, inputs=(real(4, 5), real(4, 4))),
            case(5, 4, 3, bias=False, inputs=(real(2, 3, 5), real(2, 3, 4))),
            case(5, 4, 3, inputs=(real(5), real(4))),
            case(5, 4, 3, inputs=(real(0, 5), real(0, 4))),
        ),
        note="the gradient of one input needs the other",
    ),
    *(
        Layer(module, (), functional, (case(*args, inputs=real(2, 6, 3)),), saves_no_input=True, note=note)
        for module, functional, args, note in (
            (nn.Identity, torch.Tensor.view_as, (), "torch's own: nothing is computed"),
            (nn.Flatten, torch.flatten, (), "torch's own: a view"),
            (nn.Unflatten, torch.unflatten, (1, (2, 3)), "torch's own: a view"),
        )
    ),
    elementwise(nn.ReLU, activation.ReLUFunction, F.relu),
    elementwise(nn.LeakyReLU, activation.LeakyReLUFunction, F.leaky_relu, {"negative_slope": 0.3}),
    elementwise(nn.Sigmoid, activation.SigmoidFunction, F.sigmoid),
    elementwise(nn.Tanh, activation.TanhFunction, F.tanh),
    elementwise(nn.GELU, activation.GELUFunction, F.gelu, {"approximate": "tanh"}),
    elementwise(nn.SiLU, activation.SiLUFunction, F.silu),
    elementwise(nn.Softplus, activation.SoftplusFunction, F.softplus, {"beta": 3, "threshold": 1.5}),
    elementwise(nn.ELU, activation.ELUFunction, F.elu, {"alpha": 0.7}),
    axis_softmax(nn.Softmax, softmax.SoftmaxFunction, F.softmax),
    axis_softmax(nn.LogSoftmax, softmax.LogSoftmaxFunction, F.log_softmax),
    axis_softmax(nn.Softmin, softmax.SoftminFunction, F.softmin),
    *(convolution(ndim) for ndim in (1, 2, 3)),
    *(transposed_convolution(ndim) for ndim in (1, 2, 3)),
    *(max_pooling(ndim) for ndim in (1, 2, 3)),
    *(avg_pooling(ndim) for ndim in (1, 2, 3)),
    *(adaptive_pooling(kind, ndim) for kind in ("avg", "max") for ndim in (1, 2, 3)),
    *(batch_normalization(ndim) for ndim in (1, 2, 3)),
    Layer(
        nn.LayerNorm,
        (normalization.LayerNormFunction,),
        F.layer_norm,
        (
            case((5,), inputs=real(4, 5)),
            case((3, 5), eps=1e-2, inputs=real(2, 3, 5)),
            case((5,), bias=False, inputs=real(2, 3, 5)),
            case((5,), elementwise_affine=False, inputs=real(4, 5)),
            case((5,), inputs=real(5)),
            case((5,), inputs=real(0, 5)),
        ),
    ),
    Layer(
        nn.GroupNorm,
        (normalization.GroupNormFunction,),
        F.group_norm,
        (
            case(2, 4, inputs=real(3, 4, 2, 2)),
            case(1, 4, eps=1e-2, inputs=real(3, 4, 3)),
            case(4, 4, affine=False, inputs=real(3, 4, 3)),
            case(2, 4, inputs=real(3, 4)),
            case(2, 4, inputs=real(0, 4, 3)),
        ),
    ),
    Layer(
        nn.RMSNorm,
        (normalization.RMSNormFunction,),
        F.rms_norm,
        (
            case((5,), inputs=real(4, 5)),
            case((3, 5), eps=1e-2, inputs=real(2, 3, 5)),
            case((5,), elementwise_affine=False, inputs=real(4, 5)),
            case((5,), inputs=real(5)),
            case((5,), inputs=real(0, 5)),
        ),
    ),
    channel_dropout("Dropout", real(4, 5), real(2, 3, 4), real()),
    channel_dropout("Dropout1d", real(2, 4, 3), real(4, 3)),
    channel_dropout("Dropout2d", real(2, 4, 2, 3)),
    channel_dropout("Dropout3d", real(2, 4, 2, 2, 2), real(4, 2, 2, 2)),
    Layer(
        nn.Embedding,
        (sparse.EmbeddingFunction,),
        F.embedding,
        (
            case(5, 3, inputs=index(4, high=5)),
            case(5, 3, inputs=index(2, 3, high=5)),
            case(5, 3, inputs=index(high=5)),
            case(5, 3, inputs=index(0, high=5)),
            case(5, 3, padding_idx=4, inputs=index(4, high=4)),
            case(5, 3, padding_idx=-5, inputs=given(0, 1, 0, 3), no_derivative=PADDING_ROW),
            case(5, 3, scale_grad_by_freq=True, inputs=given(1, 1, 2, 1), no_derivative=BY_FREQUENCY),
            case(5, 3, max_norm=0.5, inputs=index(4, high=5), no_derivative=REWRITES),
            case(5, 3, max_norm=1.0, norm_type=1.0, inputs=index(4, high=5), no_derivative=REWRITES),
            case(5, 3, sparse=True, padding_idx=1, inputs=given(0, 1, 0, 3), no_derivative=PADDING_ROW),
        ),
    ),
    Layer(
        nn.CrossEntropyLoss,
        (cross_entropy.CrossEntropyLossFunction, cross_entropy.SoftCrossEntropyLossFunction),
        F.cross_entropy,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CLASSES)) for reduction in REDUCTIONS),
            *(
                case(WEIGHTS, label_smoothing=0.2, reduction=reduction, inputs=SOME_IGNORED)
                for reduction in REDUCTIONS
            ),
            case(label_smoothing=0.2, ignore_index=1, inputs=(LOGITS, CLASSES)),
            case(WEIGHTS, inputs=SPATIAL),
            case(label_smoothing=0.1, reduction="none", inputs=SPATIAL),
            case(inputs=(real(3), index(high=3))),
            case(reduction="none", inputs=(real(3), index(high=3))),
            case(reduction="sum", inputs=(real(0, 3), index(0, high=3))),
            *(case(reduction=reduction, inputs=SOFT) for reduction in REDUCTIONS),
            case(WEIGHTS, label_smoothing=0.2, inputs=SOFT),
            case(WEIGHTS, inputs=(real(2, 3, 2, 2), distribution(2, 3, 2, 2))),
            case(reduction="none", inputs=(real(3), distribution(3))),
        ),
        edges=(
            case(inputs=(given(1e4, -1e4, 0.0), constant(torch.tensor(1)))),
            case(reduction="none", inputs=(row_of(0.0, -INF, 1.0), given(0))),
            case(inputs=(LOGITS, given(-100, -100, -100, -100))),
        ),
    ),
    Layer(
        nn.NLLLoss,
        (cross_entropy.NLLLossFunction,),
        F.nll_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CLASSES)) for reduction in REDUCTIONS),
            *(case(WEIGHTS, reduction=reduction, inputs=SOME_IGNORED) for reduction in REDUCTIONS),
            case(ignore_index=1, inputs=(LOGITS, CLASSES)),
            case(WEIGHTS, inputs=SPATIAL),
            case(reduction="none", inputs=SPATIAL),
            case(inputs=(real(3), index(high=3))),
            case(reduction="sum", inputs=(real(0, 3), index(0, high=3))),
        ),
        edges=(
            case(inputs=(LOGITS, given(-100, -100, -100, -100))),
            case(inputs=(row_of(0.0, -INF), given(1))),
            case(reduction="none", inputs=(row_of(-INF, 0.0), given(-100))),
        ),
    ),
    difference(nn.MSELoss, loss.MSELossFunction, F.mse_loss),
    difference(nn.L1Loss, loss.L1LossFunction, F.l1_loss),
    difference(nn.SmoothL1Loss, loss.SmoothL1LossFunction, F.smooth_l1_loss, "beta", 0.3, 0.0),
    difference(nn.HuberLoss, loss.HuberLossFunction, F.huber_loss, "delta", 0.3),
    Layer(
        nn.BCELoss,
        (loss.BCELossFunction,),
        F.binary_cross_entropy,
        (
            *(case(reduction=reduction, inputs=(CHANCES, CHANCES)) for reduction in REDUCTIONS),
            case(WEIGHTS, inputs=(CHANCES, CHANCES)),
            case(inputs=(probability(), probability())),
            case(reduction="sum", inputs=(probability(0, 3), probability(0, 3))),
        ),
        edges=(case(reduction="none", inputs=(given(0.0, 0.0, 1.0, 1.0), given(0.0, 1.0, 0.0, 1.0))),),
        note="at 0 and 1 the target's gradient is that of the clamped loss; torch's is infinite",
    ),
    Layer(
        nn.BCEWithLogitsLoss,
        (loss.BCEWithLogitsLossFunction,),
        F.binary_cross_entropy_with_logits,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CHANCES)) for reduction in REDUCTIONS),
            case(WEIGHTS, inputs=(LOGITS, CHANCES)),
            case(pos_weight=WEIGHTS, inputs=(LOGITS, CHANCES)),
            case(WEIGHTS, pos_weight=WEIGHTS.flip(0), reduction="none", inputs=(LOGITS, CHANCES)),
            case(inputs=(real(), probability())),
            case(reduction="sum", inputs=(real(0, 3), probability(0, 3))),
        ),
        edges=(case(reduction="none", inputs=(given(-1e4, -0.0, 0.0, 1e4), given(0.0, 1.0, 0.0, 1.0))),),
    ),
)  # fmt: skip
