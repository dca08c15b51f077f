"""From a hand-written derivative into autograd.

A layer's tensors take one way: ``nn.LayerNorm.forward`` -> ``functional.layer_norm`` ->
``apply(LayerNormFunction, ...)`` -> autograd -> ``LayerNormFunction.backward``. This page is the third step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .kernels import choose

# Every call of a layer asks these, so they are bound here: an attribute of a module takes time to find.
any_autocast = torch._C._is_any_autocast_enabled
functorch_active = torch._C._are_functorch_transforms_active
grad_enabled = torch.is_grad_enabled
is_compiling = torch.compiler.is_compiling
is_dynamo_compiling = torch.compiler.is_dynamo_compiling
COMPLEX = frozenset({torch.complex32, torch.complex64, torch.complex128})

__all__ = [
    "FLOAT32",
    "FLOAT32_ON_ACCELERATOR",
    "FLOAT32_ON_CPU",
    "LOW",
    "UNCHANGED",
    "WIDEST_ON_ACCELERATOR",
    "Autocast",
    "Function",
    "apply",
    "autocasting",
    "check_floating",
    "check_index",
    "check_number",
    "check_optional",
    "check_tensors",
    "own",
    "transforming",
    "values_known",
    "wants_gradient",
    "wide",
    "wide_dtype",
]


class Function(torch.autograd.Function):
    """Base class of every hand-written derivative.

    A subclass states ``forward``, ``setup_context`` and ``backward`` as pure functions of tensors, so that
    vmap, torch.func, torch.compile and double backward work without a further line:

    - ``forward`` computes; what is worth keeping beyond the result is returned as a further output.
    - ``setup_context`` marks such outputs non-differentiable and saves what the gradient needs, and no more:
      ``ctx.needs_input_grad`` is known here. Tensors go through ``ctx.save_for_backward``, not onto ``ctx``.
    - ``backward`` returns one gradient per argument of ``forward``, in its order, None where there is none.
      Where it uses a saved further output, it recomputes it from the inputs if ``torch.is_grad_enabled()``:
      then backward itself is being differentiated, and the saved value is a constant to autograd.
    """

    generate_vmap_rule = True


class Autocast(NamedTuple):
    """What ``torch.autocast`` does to the inputs of a layer, by kind of device, as torch does it.

    ``"low"`` casts them to the autocast dtype, ``"float32"`` casts them up, ``"widest"`` to the widest dtype
    among them; None takes them as they are. It is an argument of :func:`apply` and not an attribute of the
    Function, because torch.compile cannot read those.
    """

    cpu: str | None
    accelerator: str | None


UNCHANGED = Autocast(None, None)
LOW = Autocast("low", "low")
FLOAT32 = Autocast("float32", "float32")
FLOAT32_ON_CPU = Autocast("float32", None)
FLOAT32_ON_ACCELERATOR = Autocast(None, "float32")
WIDEST_ON_ACCELERATOR = Autocast(None, "widest")


def apply(function: type[Function], *args, autocast: Autocast = UNCHANGED) -> Any:
    """Run ``function`` on ``args``: autocast first, then the shortest way into autograd.

    ``args`` are all arguments of ``function.forward``, in order, the first of them a tensor.

    Raises:
        TypeError: if the first argument is no tensor, or a complex one.
    """
    first = args[0]
    if not isinstance(first, Tensor) or first.dtype in COMPLEX:
        check_tensors(_layer(function), input=first)
    if functorch_active() or is_dynamo_compiling() or any_autocast():
        return _apply_in_mode(function, args, autocast)
    return _enter(function, args)


def autocasting(x: Tensor) -> bool:
    """Whether autocast is on for the device of ``x``."""
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def transforming() -> bool:
    """Whether torch.compile traces or a torch.func transform runs: values cannot be looked at then."""
    return functorch_active() or is_compiling()


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether a layer of ``tensors`` will be asked for a gradient, and may keep something for it."""
    return grad_enabled() and not transforming() and any(t is not None and t.requires_grad for t in tensors)


def values_known(x: Tensor) -> bool:
    """Whether a check may look at the elements of ``x``: a plain tensor on the CPU, which waits for none."""
    plain = type(x) in (Tensor, torch.nn.Parameter) and not torch._C._len_torch_dispatch_stack()
    return plain and x.device.type == "cpu"


def check_tensors(name: str, **tensors: Tensor) -> None:
    """Raise TypeError unless all ``tensors``, the arguments of the layer ``name``, are tensors, and real."""
    for argument, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: expected {argument} to be a Tensor, but got {type(x).__name__}")
        if x.dtype.is_complex:
            raise TypeError(
                f"{name}: complex tensors have no hand-written derivative here ({argument} has {x.dtype}); "
                "use torch.nn for this layer, or give it real tensors"
            )


def check_optional(name: str, **tensors: Tensor | None) -> None:
    """As :func:`check_tensors`, of those ``tensors`` that are not None."""
    for argument, x in tensors.items():
        if x is not None:
            check_tensors(name, **{argument: x})


def check_floating(name: str, error: type[Exception] = NotImplementedError, **tensors: Tensor) -> None:
    """As :func:`check_tensors`, and raise ``error``, torch's here, unless all are floating point."""
    for argument, x in tensors.items():
        if not isinstance(x, Tensor) or not x.is_floating_point():
            check_tensors(name, **{argument: x})
            raise error(
                f"{name}: not implemented for {x.dtype}, the dtype of {argument}; cast it to a floating dtype"
            )


def check_number(name: str, **numbers: float) -> None:
    """Raise TypeError unless all ``numbers``, arguments of the layer ``name``, are numbers."""
    for argument, number in numbers.items():
        if number is None or isinstance(number, str):
            raise TypeError(f"{name}: {argument} must be a number, but got {number!r}")


def check_index(name: str, **numbers: int | None) -> None:
    """Raise TypeError unless all ``numbers``, arguments of the layer ``name``, are whole ones."""
    for argument, number in numbers.items():
        if number is None or isinstance(number, (float, str)):
            raise TypeError(f"{name}: {argument} must be a whole number, but got {number!r}")


def own(y: Tensor) -> Tensor:
    """``y``, computed in a forward, as no view of another tensor: the same memory, and nothing is copied.

    A caller may change a layer's output in place, as in ``y += x``. Autograd refuses that where a forward
    returns a view that it made inside, such as the ``reshape`` at its end; with ``own`` around, it does not.
    Not for views of the inputs: a change would reach them unseen.
    """
    if not transforming() and not y._is_view():
        return y
    return torch.ops.aten._unsafe_view(y, y.shape)


def wide(x: Tensor) -> Tensor:
    """``x`` in the precision that sums are taken in: float32 for the half types, else as it is."""
    return x.to(wide_dtype(x.dtype))


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of that precision."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _enter(function: type[Function], args: tuple) -> Any:
    # Below this line the inputs are plain and their dtype is final, so here the kernel is chosen. Where no
    # gradient can be asked for, forward is all there is to do.
    function = choose(function, args)
    if grad_enabled():
        for a in args:
            if isinstance(a, Tensor) and a.requires_grad:
                return (_entries.get(function) or _entry(function))(*args)
    if forward_ad._current_level >= 0:
        return _entry(function)(*args)
    return function.forward(*args)


# Function.apply spends 10 µs in inspect.signature to bind default arguments. All of them are always given
# here, so the C++ entry point underneath is called.
_entries: dict[type[Function], Any] = {}


def _entry(function: type[Function]) -> Any:
    below: Any = super(torch.autograd.Function, function)
    _entries[function] = below.apply
    return below.apply


def _apply_in_mode(function: type[Function], args: tuple, autocast: Autocast) -> Any:
    enter = _enter_traced if transforming() else _enter
    first = args[0]
    if not autocasting(first):
        return enter(function, args)
    device = first.device.type
    policy = autocast.cpu if device == "cpu" else autocast.accelerator
    if policy is not None:
        args = _cast(args, policy, torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return enter(function, args)


def _enter_traced(function: type[Function], args: tuple) -> Any:
    if is_compiling() and functorch_active():
        _leave_to_eager(args)
    return function.apply(*args)


def _leave_to_eager(args: tuple) -> None:
    # Dynamo reads needs_input_grad wrongly in a torch.func transform when another tensor, one captured from
    # outside, requires a gradient: gradients would be zero. A break makes it run in eager mode, or say so.
    if any(isinstance(a, Tensor) and a.requires_grad for a in args):
        torch._dynamo.graph_break(
            "torch.compile of a torch.func transform loses the gradients of hand-written backwards if a "
            "captured tensor requires one; detach the captured parameters, or compile without fullgraph"
        )


def _cast(args: tuple, policy: str, low: torch.dtype) -> tuple:
    # Autocast never touches float64, nor integers.
    eligible = [isinstance(a, Tensor) and a.is_floating_point() and a.dtype != torch.float64 for a in args]
    if policy == "widest":
        dtypes = [a.dtype for a, cast in zip(args, eligible) if cast]
        dtype = torch.float32 if torch.float32 in dtypes else low
    else:
        dtype = torch.float32 if policy == "float32" else low
    return tuple(a.to(dtype) if cast else a for a, cast in zip(args, eligible))


def _layer(function: type[Function]) -> str:
    return function.__name__.removesuffix("Function")
