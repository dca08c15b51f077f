"""What is being checked, as a function of named tensors."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Target"]

SEED = 0


class Target:
    """A Function, functional or module at one point, callable with other values of its tensors.

    Args:
        target, inputs, kwargs: as :func:`manualgrad.check` takes them.
    """

    def __init__(self, target: Any, inputs: Sequence[Any], kwargs: dict[str, Any]):
        if not callable(target) or (inspect.isclass(target) and not _is_function(target)):
            what = target.__name__ if inspect.isclass(target) else type(target).__name__
            hint = "; check an instance of it" if inspect.isclass(target) else ""
            raise TypeError(
                f"check: expected an autograd Function, a module or a callable, but got {what}{hint}"
            )
        self.target: Any = target
        self._arguments = (tuple(inputs), dict(kwargs))
        self.length: int | None = None  # of all axes, if it was made square
        self.name = getattr(target, "__name__", None) or type(target).__name__
        self._module = copy.deepcopy(target).double() if isinstance(target, nn.Module) else None
        # Arguments may hold tensors in lists and dicts: each tensor has a name, and its place is remembered.
        named = dict(zip(_argument_names(target, len(inputs)), inputs)) | kwargs
        self._count = len(inputs)
        paths, self._structure = pytree.tree_flatten_with_path(named)
        self._leaves = {_leaf_name(path): leaf for path, leaf in paths}
        floating = {k: v for k, v in self._leaves.items() if isinstance(v, Tensor) and v.is_floating_point()}
        wanted = {k: v for k, v in floating.items() if v.requires_grad} or floating
        self._point = {k: v.detach() for k, v in wanted.items()}
        if self._module is not None:
            self._point |= {k: p.detach() for k, p in self._module.named_parameters() if p.requires_grad}
        if not self._point:
            raise TypeError(f"check: {self.name} has no floating-point tensor to differentiate by")

    @property
    def names(self) -> list[str]:
        """The arguments (and parameters) whose gradients are checked."""
        return list(self._point)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that are no tensors."""
        own = vars(self.target) if isinstance(self.target, nn.Module) else {}
        return {**own, **{k: v for k, v in self._leaves.items() if not isinstance(v, Tensor)}}

    @property
    def devices(self) -> list[int]:
        """The CUDA devices whose random numbers may be drawn."""
        return sorted({t.device.index for t in self._point.values() if t.device.type == "cuda"})

    def is_random(self) -> bool:
        """Whether the outputs are others with another seed."""
        tensors = self.tensors()
        pairs = zip(self(tensors), self(tensors, seed=SEED + 1))
        return any(not torch.equal(one, other) for one, other in pairs)

    def square(self) -> Target | None:
        """The same at arguments cut to one length along all axes, if it takes them."""
        tensors = [v for v in self._leaves.values() if isinstance(v, Tensor) and v.dim()]
        lengths = {length for t in tensors for length in t.shape if length > 1}
        if self._module is not None or len(lengths) < 2:
            return None
        shortest = min(lengths)

        def cut(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return value[tuple(slice(shortest) for _ in value.shape)].contiguous()

        inputs, kwargs = pytree.tree_map(cut, self._arguments)
        try:
            target = Target(self.target, inputs, kwargs)
            target(target.tensors())
        except Exception:
            return None
        target.length = shortest
        return target

    def tensors(self, dtype: torch.dtype = torch.float64) -> list[Tensor]:
        """Their values, as leaves that require a gradient."""
        return [t.to(dtype, copy=True).requires_grad_() for t in self._point.values()]

    def __call__(
        self, tensors: Sequence[Tensor], through: Callable | None = None, seed: int = SEED
    ) -> tuple[Tensor, ...]:
        """The floating-point outputs at other values, of the target or of ``through`` in its place.

        The random seed and the module's buffers are the same at every call.
        """
        # Inputs are passed as copies: a layer that works in place may overwrite them.
        values = dict(zip(self._point, map(_copy, tensors)))
        dtype = tensors[0].dtype
        leaves = [values.get(name, _cast(leaf, dtype)) for name, leaf in self._leaves.items()]
        arguments = pytree.tree_unflatten(leaves, self._structure)
        args, kwargs = list(arguments.values())[: self._count], dict(list(arguments.items())[self._count :])
        call = self._bind(through, values, dtype)
        with torch.random.fork_rng(self.devices):
            torch.manual_seed(seed)
            outputs = call(*args, **kwargs)
        leaves = pytree.tree_leaves(outputs)
        real = tuple(o for o in leaves if isinstance(o, Tensor) and o.is_floating_point())
        if not real:
            raise TypeError(f"{self.name} returns no floating-point tensor, but {type(outputs).__name__}")
        return real

    def _bind(self, through: Callable | None, values: dict[str, Tensor], dtype: torch.dtype) -> Callable:
        if self._module is None or (through is not None and not isinstance(through, nn.Module)):
            target: Any = self.target if through is None else through
            return target.apply if _is_function(target) else target
        module = self._module if through is None else through
        state = {k: b.clone() for k, b in self._module.named_buffers()}
        state |= dict(self._module.named_parameters())
        state = {k: _cast(v, dtype) for k, v in state.items()} | {
            k: v for k, v in values.items() if k in state
        }
        return lambda *args, **kwargs: torch.func.functional_call(module, state, args, kwargs)


def _leaf_name(path: tuple[Any, ...]) -> str:
    # The argument's name, and the way to the tensor in it: "xs[1]".
    return f"{path[0].key}{pytree.keystr(path[1:])}"


def _is_function(target: Any) -> bool:
    return inspect.isclass(target) and issubclass(target, torch.autograd.Function)


def _copy(tensor: Tensor) -> Tensor:
    # With the same strides, which clone keeps where no element lies between others.
    copy = tensor.clone()
    if copy.stride() == tensor.stride():
        return copy  # takes a sparse gradient, too
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return empty.copy_(tensor)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.detach().to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _argument_names(target: Any, count: int) -> list[str]:
    called = target.forward if _is_function(target) or isinstance(target, nn.Module) else target
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # a builtin has no signature
        parameters = []
    if _is_function(target) and target.setup_context is torch.autograd.Function.setup_context:
        parameters = parameters[1:]  # forward(ctx, ...)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names + [f"argument {i}" for i in range(len(names), count)]
