"""Layers of a recurrent network put together: depth, two directions, dropout, packed sequences.

Nothing is derived here. ``rnn.py`` has the Functions, and says what the rows of a sequence are; between them
stand views, copies, and Functions of other pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..function import check_tensors
from ._broadcast import check_same_dtype
from .arithmetic import concatenate, index_select
from .dropout import dropout as drop
from .rnn_cell import low

__all__ = ["OF_PACKED", "OF_TENSOR", "BatchSizes", "network", "run"]

BatchSizes = tuple[int, ...]

OF_TENSOR = (
    *("input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional"),
    "batch_first",
)
OF_PACKED = (
    *("data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout", "train"),
    "bidirectional",
)


def network(name: str, blocks: int, layer: Callable, args: tuple, kwargs: dict) -> Any:
    """The layers and directions of a network, one above the other, each a call of ``layer``.

    Args:
        name: of the functional, for errors.
        blocks: rows of a weight for each number of the state.
        layer: (factors of the projections, W_hr, initial states, batch sizes, reverse) -> states over time.
        args, kwargs: of the functional, in one of its two forms.
    """
    packed = "batch_sizes" in kwargs or (len(args) > 3 and not isinstance(args[3], bool))
    names = OF_PACKED if packed else OF_TENSOR
    given = {**dict(zip(names, args)), **kwargs}
    if len(args) + len(kwargs) != len(names) or set(given) != set(names):
        raise TypeError(f"{name}: expected the arguments ({', '.join(names)}), but got {sorted(given)}")
    states = given["hx"] if isinstance(given["hx"], (tuple, list)) else (given["hx"],)
    check_tensors(name, **{f"hx[{k}]": state for k, state in enumerate(states)})
    if len(states) != (2 if name == "lstm" else 1):
        wanted = "two hidden states, h and c" if name == "lstm" else "one hidden state, a tensor"
        raise RuntimeError(f"{name}: hx must hold {wanted}, but it holds {len(states)}")
    if packed:
        check_tensors(name, data=given["data"], batch_sizes=given["batch_sizes"])
        rows, batch_sizes = given["data"], tuple(given["batch_sizes"].tolist())
    else:
        check_tensors(name, input=given["input"])
        x = given["input"].transpose(0, 1) if given["batch_first"] else given["input"]
        batch_sizes = (x.shape[1],) * x.shape[0]
        rows = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
    if not batch_sizes:
        raise RuntimeError(f"{name}: the sequence must have at least one step, but has none")
    directions = 2 if given["bidirectional"] else 1
    stacked = given["num_layers"] * directions
    projected = len(states) == 2 and states[0].shape[2] != states[1].shape[2]
    weights = _weights_by_layer(name, given["params"], stacked, given["has_biases"], projected)
    _check_states(name, states, stacked, batch_sizes[0])
    by_layer = [state.unbind(0) for state in states]
    found = []
    for depth in range(given["num_layers"]):
        read = []
        for direction in range(directions):
            k, reverse = depth * directions + direction, direction == 1
            *weight_and_bias, weight_hr = weights[k]
            initial = [state[k] for state in by_layer]
            _check_weights(name, blocks, k, rows, initial, weights[k])
            *factors, weight_hr = low(rows, *weight_and_bias, weight_hr)
            over_time = layer(factors, weight_hr, initial, batch_sizes, reverse)
            read.append(over_time[0])
            found.append([_last(state, batch_sizes, reverse).unsqueeze(0) for state in over_time])
        rows = concatenate(read, 1)
        if given["train"] and given["dropout"] != 0 and depth < given["num_layers"] - 1:
            rows = drop(rows, given["dropout"], True)
    # Copies, because what is saved for backward may not be overwritten, and what a layer returns may.
    rows = rows.clone() if directions == 1 else rows
    lasts = [states[0].clone() if stacked == 1 else concatenate(states, 0) for states in zip(*found)]
    if packed:
        return rows, *lasts
    output = rows.reshape(len(batch_sizes), batch_sizes[0], rows.shape[1])
    return output.transpose(0, 1) if given["batch_first"] else output, *lasts


def _weights_by_layer(name, params, stacked: int, has_biases: bool, projected: bool) -> list[tuple]:
    """(W_ih, W_hh, b_ih, b_hh, W_hr) of each layer and direction, None where there is none."""
    count = (4 if has_biases else 2) + projected
    if len(params) != count * stacked:
        raise RuntimeError(
            f"{name}: expected {count} weights for each of {stacked} layers and directions "
            f"(has_biases={has_biases}), {count * stacked} in all, but params has {len(params)}"
        )
    found = []
    for k in range(0, len(params), count):
        biases = (params[k + 2], params[k + 3]) if has_biases else (None, None)
        found.append((params[k], params[k + 1], *biases, params[k + count - 1] if projected else None))
    return found


def _check_states(name: str, states, stacked: int, batch: int) -> None:
    for k, state in enumerate(states):
        if state.dim() != 3 or tuple(state.shape[:2]) != (stacked, batch):
            which = "hx" if len(states) == 1 else f"hx[{k}]"
            raise RuntimeError(
                f"{name}: {which} must have shape (num_layers x directions, batch, size) = "
                f"({stacked}, {batch}, *), but has {list(state.shape)}"
            )


def _check_weights(name: str, blocks: int, k: int, x: Tensor, states: list[Tensor], weights: tuple) -> None:
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    said, hidden = states[0].shape[1], states[-1].shape[1]
    expected = {
        "W_ih": (weight_ih, (blocks * hidden, x.shape[1])),
        "W_hh": (weight_hh, (blocks * hidden, said)),
        "b_ih": (bias_ih, (blocks * hidden,)),
        "b_hh": (bias_hh, (blocks * hidden,)),
        "W_hr": (weight_hr, (said, hidden)),
    }
    for which, (weight, shape) in expected.items():
        if weight is not None and tuple(weight.shape) != shape:
            raise RuntimeError(
                f"{name}: {which} of layer and direction {k} must have shape {list(shape)} for an input of "
                f"{x.shape[1]} numbers and a state of {hidden}, but has {list(weight.shape)}"
            )
    check_same_dtype(name, x, **{which: weight for which, (weight, _) in expected.items()}, hx=states[0])


def _last(states: Tensor, batch_sizes: BatchSizes, reverse: bool) -> Tensor:
    """The state in which each sample ended: behind the step read last that it takes part in."""
    if reverse:
        return states.split((batch_sizes[0], states.shape[0] - batch_sizes[0]))[0]
    if batch_sizes[0] == batch_sizes[-1]:
        return states.split((states.shape[0] - batch_sizes[-1], batch_sizes[-1]))[1]
    # Of the rows of a step the first go on, and the others end. The longest samples are the first ones, so
    # the last step comes first.
    going_on = (*batch_sizes[1:], 0)
    ended = [rows - further for rows, further in zip(batch_sizes, going_on)]
    parts = states.split([length for pair in zip(going_on, ended) for length in pair])
    return concatenate([parts[2 * t + 1] for t in reversed(range(len(ended))) if ended[t]], 0)


def run(
    module: nn.RNNBase, function: Callable, sizes: tuple[int, ...], input: Tensor | PackedSequence, hx
) -> tuple[Tensor | PackedSequence, tuple[Tensor, ...]]:
    """Call ``function`` with the weights of ``module``, and an input and states of every kind it takes."""
    name = type(module).__name__
    weights = [weight for layer in module.all_weights for weight in layer]
    options = (
        weights, module.bias, module.num_layers, module.dropout, module.training, module.bidirectional
    )  # fmt: skip
    stacked = module.num_layers * (2 if module.bidirectional else 1)
    if isinstance(input, PackedSequence):
        data, batch_sizes, order, back = input
        _check_input(name, module, data, weights[0].dtype, 2)
        hx = _initial(name, data, stacked, int(batch_sizes[0]), sizes, hx)
        hx = hx if order is None else tuple(index_select(state, 1, order) for state in hx)
        rows, *last = function(data, batch_sizes, hx if len(hx) == 2 else hx[0], *options)
        last = last if back is None else [index_select(state, 1, back) for state in last]
        return PackedSequence(rows, batch_sizes, order, back), tuple(last)
    check_tensors(name, input=input, **{f"hx[{k}]": state for k, state in enumerate(hx or ())})
    if input.dim() not in (2, 3):
        raise ValueError(
            f"{name}: expected input to be 2D or 3D, (T, I), (T, B, I) or (B, T, I), but got {input.dim()}D, "
            f"shape {list(input.shape)}"
        )
    batched, batch_axis = input.dim() == 3, 0 if module.batch_first else 1
    for state in hx or ():
        if state.dim() != input.dim():
            raise RuntimeError(
                f"{name}: for {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also be "
                f"{input.dim()}-D, but got {state.dim()}-D, shape {list(state.shape)}"
            )
    if not batched:
        input, hx = input.unsqueeze(batch_axis), hx and tuple(state.unsqueeze(1) for state in hx)
    _check_input(name, module, input, weights[0].dtype, 3)
    hx = _initial(name, input, stacked, input.shape[batch_axis], sizes, hx)
    output, *last = function(input, hx if len(hx) == 2 else hx[0], *options, module.batch_first)
    if batched:
        return output, tuple(last)
    return output.squeeze(batch_axis), tuple(state.squeeze(1) for state in last)


def _check_input(name: str, module: nn.RNNBase, input: Tensor, dtype: torch.dtype, axes: int) -> None:
    check_tensors(name, input=input)
    if input.dtype != dtype and not torch._C._is_any_autocast_enabled():
        raise ValueError(
            f"{name}: the input is {input.dtype}, but the weights are {dtype}; cast the input with "
            f".to({dtype}), or the module with .to({input.dtype})"
        )
    if input.dim() != axes:
        raise RuntimeError(
            f"{name}: the data of a packed sequence must have {axes} axes, but has shape {list(input.shape)}"
        )
    if input.shape[-1] != module.input_size:
        raise RuntimeError(
            f"{name}: input.size(-1) must be input_size={module.input_size}, but the input has shape "
            f"{list(input.shape)}"
        )


def _initial(
    name: str, x: Tensor, stacked: int, batch: int, sizes: tuple[int, ...], hx
) -> tuple[Tensor, ...]:
    """The initial states: those given, if they have the right shapes, else zeros."""
    if hx is None:
        return tuple(torch.zeros(stacked, batch, size, dtype=x.dtype, device=x.device) for size in sizes)
    for k, (state, size) in enumerate(zip(hx, sizes)):
        if tuple(state.shape) != (stacked, batch, size):
            which = "hx" if len(sizes) == 1 else f"hx[{k}]"
            raise RuntimeError(
                f"{name}: expected {which} of shape (num_layers x directions, batch, size) = "
                f"({stacked}, {batch}, {size}), but got {list(state.shape)}"
            )
    return tuple(hx)
