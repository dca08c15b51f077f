"""What a row of the catalog is made of: samples, which are inputs; cases, which are calls; a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..function import Function

__all__ = ["Arranged", "Calls", "Case", "Layer", "Sample", "tensors_of"]


@dataclass(frozen=True)
class Sample:
    """A tensor to be drawn at random, or given: what a layer takes as an input."""

    shape: tuple[int, ...]
    draw: Callable[[torch.dtype], Tensor]


class Calls(nn.Module):
    """A function as a module without parameters, so that one way to build and call a case suffices."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, *inputs, **options):
        return self.function(*inputs, **options)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", "")


class Arranged(nn.Module):
    """A module whose tensors are put into other arguments first: a tuple of states, a packed sequence."""

    def __init__(self, module: nn.Module, arrange: Callable[..., tuple]):
        super().__init__()
        self.module = module
        self.arrange = arrange

    def forward(self, *inputs, **options):
        return self.module(*self.arrange(*inputs), **options)


@dataclass(frozen=True)
class Case:
    """One way to construct and call a layer.

    Args:
        args, kwargs: of the constructor. A tensor stands for a weight of the layer, and takes its dtype; a
            partial of a class of modules for a module, which is made anew with the layer.
        inputs: of ``forward``.
        forward: keyword arguments of ``forward``.
        training: the module's mode.
        arrange: makes the positional arguments of ``forward`` from the tensors of ``inputs``, if they are
            more than these: a function of a module, so that it can be pickled.
        no_derivative: why what backward returns is, by definition, not the derivative of forward; else "".
        cannot: what cannot be done with this case, by the name of the test that then has to fail, and why.
    """

    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Sample, ...] = ()
    forward: Mapping[str, Any] = field(default_factory=dict)
    training: bool = True
    arrange: Callable[..., tuple] | None = None
    no_derivative: str = ""
    cannot: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [_show(a) for a in self.args] + [f"{k}={_show(v)}" for k, v in self.kwargs.items()]
        shapes = " ".join("x".join(map(str, s.shape)) or "scalar" for s in self.inputs)
        forward = "".join(f" {k}={_show(v)}" for k, v in self.forward.items())
        arranged = f" {self.arrange.__name__}" if self.arrange else ""
        return f"({', '.join(shown)}) {shapes}{arranged}{forward}{'' if self.training else ' eval'}"

    def build(self, cls: Callable[..., nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
        """The module, its parameters drawn at random: a zero bias or a weight of one would hide errors."""
        module = cls(*map(_made, self.args), **{key: _made(value) for key, value in self.kwargs.items()})
        module = module if self.arrange is None else Arranged(module, self.arrange)
        module = module.to(dtype).train(self.training)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
            for name, buffer in module.named_buffers():
                if name.rpartition(".")[2].startswith("running"):
                    buffer.copy_(0.5 + torch.rand(buffer.shape, dtype=torch.float64))
        return module

    def draw(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """The inputs of ``forward``."""
        return tuple(sample.draw(dtype) for sample in self.inputs)


def tensors_of(outputs: Any) -> tuple[Tensor, ...]:
    """The tensors that a layer returned, out of tuples, lists and packed sequences; None is left out."""
    if outputs is None:
        return ()
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, PackedSequence):
        return (outputs.data,)
    return tuple(tensor for entry in outputs for tensor in tensors_of(entry))


@dataclass(frozen=True)
class Layer:
    """A row of the catalog.

    Args:
        module: our Module; torch's counterpart has the same name. None for what torch has as a function only.
        functions: the Functions that it uses; empty where there is nothing to derive.
        functional: our functional; torch's counterpart has the same name, in torch.nn.functional or torch.
        cases: ways to call it, which together reach every option. The first has an output with several
            elements.
        edges: further cases at kinks, ties and infinities, where only agreement with torch can be asked for.
        saves_no_input: with its parameters frozen, a gradient of the input does not need the input.
        random: whether forward draws random numbers.
        note: what differs from the rule, and why.
        sizes: three cases of ordinary size, from MNIST's to ImageNet's, to be timed.
        counterpart: of a block, which is several of torch's layers in one, a class of modules that calls them
            one after the other: torch's, or a subclass of torch's that the block is one of, too.
        reference: a function in torch's place, where torch's own does not know float64; a test of its own
            then compares with torch's.
    """

    module: type[nn.Module] | None
    functions: tuple[type[Function], ...]
    functional: Callable
    cases: tuple[Case, ...]
    edges: tuple[Case, ...] = ()
    saves_no_input: bool = False
    random: bool = False
    note: str = ""
    sizes: tuple[Case, ...] = ()
    counterpart: type[nn.Module] | None = None
    reference: Callable | None = None

    @property
    def name(self) -> str:
        return self.functional.__name__ if self.module is None else self.module.__name__

    @property
    def family(self) -> str:
        """The page in ``layers/``."""
        home = self.functional if self.module is None else self.module
        page = home.__module__ if home.__module__.startswith("manualgrad.") else "reshape"
        return page.rpartition(".")[2]

    @property
    def torch_module(self) -> type[nn.Module]:
        return self.counterpart or getattr(nn, self.name)

    @property
    def torch_functional(self) -> Callable:
        name = self.functional.__name__
        return getattr(nn.functional, name, None) or getattr(torch, name, self.functional)

    @property
    def ours(self) -> Callable[..., nn.Module]:
        """What makes our module for a case: the class, or a module that calls the functional."""
        return partial(Calls, self.functional) if self.module is None else self.module

    @property
    def torchs(self) -> Callable[..., nn.Module]:
        """What makes torch's."""
        if self.reference is not None:
            return partial(Calls, self.reference)
        return partial(Calls, self.torch_functional) if self.module is None else self.torch_module


def _made(value: Any) -> Any:
    return value() if isinstance(value, partial) else value


def _show(value: Any) -> str:
    if isinstance(value, partial):
        entries = [*map(_show, value.args), *(f"{k}={_show(v)}" for k, v in value.keywords.items())]
        return f"{value.func.__name__}({', '.join(entries)})"
    if isinstance(value, Tensor):
        return f"tensor{tuple(value.shape)}"
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)
