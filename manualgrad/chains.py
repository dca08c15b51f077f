"""The chains of layers that :func:`fuse` looks for, pattern by pattern, in the graph of a forward.

A pattern is built around one layer, its anchor: from there it takes what precedes or follows as far as that
makes a block, and puts one call in the place of all. It is a class, and a line in ``PATTERNS``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from . import functional
from .layers._blocks import observed
from .layers.add_layernorm import NORMS as LAYER_NORMS
from .layers.add_layernorm import add_normalize
from .layers.batchnorm_activation import (
    LEAKY_RELUS,
    NORMS,
    POOLS,
    RELUS,
    normalize_activate_pool,
    slope_of,
    window_of,
)
from .layers.conv_batchnorm import CONVS, convolve_normalize, fit
from .layers.linear_activation import LINEARS, named, transform_activate

__all__ = ["ANCHORS", "AUGMENTED", "PATTERNS", "Chain"]


def augmented(name: str) -> Callable[[Any, Any], Any]:
    """``operator.iadd`` or the like, as a function of which a graph makes a call, and no statement."""
    function = getattr(operator, name)

    def assign(a, b):
        return function(a, b)

    assign.__name__ = name
    return assign


# What Python calls for a += b and the like: a tensor is changed in place.
OPERATORS = ("add", "and", "floordiv", "lshift", "matmul", "mod", "mul", "or", "pow", "rshift")
OPERATORS += ("sub", "truediv", "xor")
AUGMENTED = {f"__i{name}__": augmented(f"i{name}") for name in OPERATORS}
IN_PLACE = {operator.setitem, *AUGMENTED.values(), *(getattr(operator, name) for name in AUGMENTED)}
ADDS_IN_PLACE = {AUGMENTED["__iadd__"], operator.iadd, "add_"}
ADDS = {operator.add, torch.add, "add", *ADDS_IN_PLACE}
RELU_CALLS = {F.relu, F.relu_, torch.relu, torch.relu_, functional.relu, functional.relu_, "relu", "relu_"}
LEAKY_CALLS = {F.leaky_relu, functional.leaky_relu}
POOL_CALLS = {
    getattr(home, f"max_pool{n}d"): getattr(nn, f"MaxPool{n}d")
    for home in (torch, F, functional)
    for n in (1, 2, 3)
}
ACTIVATION_CALLS = dict.fromkeys(RELU_CALLS, "relu") | {
    call: name
    for name in ("gelu", "leaky_relu", "sigmoid", "silu", "tanh")
    for call in (getattr(F, name), getattr(functional, name), getattr(torch, name, name), name)
}
GELUS = {"none": ("gelu", 0.0), "tanh": ("gelu_tanh", 0.0)}


class Chain:
    """What all patterns have in common.

    Attributes:
        anchors: classes of the layer that the pattern is built around.
        anchor: the call of that layer.
        nodes: all that the chain consists of, in the order of the graph.
        parts: their names, for the report.
        operands: the nodes that it reads.
    """

    anchors: tuple[type[nn.Module], ...] = ()

    def __init__(self, graph: fx.Graph, module: nn.Module, anchor: fx.Node):
        self.graph, self.module, self.anchor = graph, module, anchor
        self.nodes = [anchor]
        self.parts = [type(module.get_submodule(str(anchor.target))).__name__]

    @property
    def operands(self) -> tuple[Any, ...]:
        return (self.anchor.args[0],)

    def grow(self) -> str | None:
        """Take the longest chain that fits: None. Else why there is none; "" if nobody would expect one."""
        raise NotImplementedError

    def block(self) -> fx.Node:
        """A call that computes what the last node does."""
        raise NotImplementedError

    def find(self) -> str | None:
        """As :meth:`grow`, and whether one call may take the chain's place."""
        why = self.grow()
        if why == "":
            return why
        if len(self.anchor.args) != 1 or self.anchor.kwargs:
            return "called with other arguments than its input"
        if observed(self.module.get_submodule(str(self.anchor.target))):
            return "it has hooks"
        return self.hazard() if why is None else why

    def replace(self) -> tuple[str, ...]:
        """One call for the chain."""
        tail = self.nodes[-1]
        with self.graph.inserting_before(tail):
            block = self.block()
        tail.replace_all_uses_with(block)
        for node in reversed(self.nodes):
            self.graph.erase_node(node)
        return tuple(self.parts)

    def follow(self, step: Callable[[fx.Node, fx.Node], str]) -> str:
        """Add the only user of the last node, if ``step`` takes it; else say why not."""
        last = self.nodes[-1]
        if len(last.users) != 1:
            return "several users of its output" if last.users else "nothing follows it"
        user = next(iter(last.users))
        why = step(last, user)
        if not why:
            self.nodes.append(user)
        return why

    def layer(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def read(self, part: Any) -> Any:
        """A module by its name; anything else is a constant."""
        return self.graph.create_node("get_attr", part) if isinstance(part, str) else part

    def hazard(self) -> str | None:
        """Whether what the chain reads might change between its first and its last node."""
        order = list(self.graph.nodes)
        between = order[order.index(self.nodes[0]) + 1 : order.index(self.nodes[-1])]
        for node in between:
            if node in self.nodes:
                continue
            layer = self.layer(node)
            if layer is None:
                name = str(getattr(node.target, "__name__", node.target))
                in_place = node.target in IN_PLACE or (name.endswith("_") and not name.endswith("__"))
                writes = in_place or node.kwargs.get("inplace") or "out" in node.kwargs
            else:
                known = type(layer).__module__.startswith(("torch.nn.modules.", "manualgrad.layers."))
                may_write = bool(layer._modules) or not known
                writes = getattr(layer, "inplace", False) or (may_write and self.reads_the_same(node))
            if writes:
                return "what it reads might be changed before the end of the chain"
        return None

    def reads_the_same(self, node: fx.Node) -> bool:
        """Whether a module's call may read the memory of an operand: it, or what a function, as a view, made
        of it."""
        pending, seen = list(node.all_input_nodes), set()
        while pending:
            given = pending.pop()
            if given in self.operands:
                return True
            if given not in seen and given.op in ("call_function", "call_method"):
                seen.add(given)
                pending += given.all_input_nodes
        return False


class BatchNormChain(Chain):
    """A BatchNorm, then a sum with a residual, ReLU or LeakyReLU, and a max-pool."""

    anchors = NORMS

    def __init__(self, graph: fx.Graph, module: nn.Module, anchor: fx.Node):
        super().__init__(graph, module, anchor)
        self.residual: fx.Node | None = None
        self.activation: Any = None
        self.pool: Any = None

    @property
    def operands(self) -> tuple[Any, ...]:
        return self.anchor.args[0], self.residual

    def grow(self) -> str | None:
        self.follow(self.add)
        why = self.follow(self.activate)
        self.follow(self.pooling)
        return None if len(self.nodes) > 1 else why or "nothing that fits follows it"

    def add(self, last: fx.Node, user: fx.Node) -> str:
        if user.op == "call_module" or user.target not in ADDS or user.kwargs or len(user.args) != 2:
            return "no sum"
        first, second = user.args
        other = second if first is last else first
        in_place = user.target in ADDS_IN_PLACE
        if not isinstance(other, fx.Node) or other is last or (in_place and first is not last):
            return "no sum of two tensors"
        self.residual = other
        self.parts.append("residual")
        return ""

    def activate(self, last: fx.Node, user: fx.Node) -> str:
        layer = self.layer(user)
        if layer is not None:
            slope = slope_of(layer) if type(layer) in (*RELUS, *LEAKY_RELUS) else None
            if slope is None or (self.residual is not None and slope != 0):
                return f"followed by {type(layer).__name__}"
            if observed(layer):
                return f"followed by {type(layer).__name__}, which has hooks"
            self.activation = user.target
            self.parts.append(type(layer).__name__)
            return ""
        if user.target in RELU_CALLS:
            self.activation = 0.0
            self.parts.append("relu")
            return ""
        slope = _argument(user, 1, "negative_slope", 0.01) if user.target in LEAKY_CALLS else None
        if not isinstance(slope, float) or slope < 0 or self.residual is not None:
            name = getattr(user.target, "__name__", user.target)
            return "nothing follows it" if user.op == "output" else f"followed by {name}"
        self.activation = slope
        self.parts.append("leaky_relu")
        return ""

    def pooling(self, last: fx.Node, user: fx.Node) -> str:
        layer = self.layer(user)
        if layer is not None:
            if type(layer) not in POOLS or not window_of(layer) or observed(layer):
                return "no max-pool that fits"
            self.pool = user.target
            self.parts.append(type(layer).__name__)
            return ""
        cls = POOL_CALLS.get(user.target) if user.op == "call_function" else None
        if cls is None or user.args[:1] != (last,):
            return "no max-pool"
        try:
            window = window_of(cls(*user.args[1:], **user.kwargs))
        except (TypeError, ValueError, RuntimeError):
            return "no max-pool that fits"
        if not window:
            return "no max-pool that fits"
        self.pool = window
        self.parts.append("max_pool")
        return ""

    def block(self) -> fx.Node:
        norm, activation, pool = map(self.read, (self.anchor.target, self.activation, self.pool))
        arguments: Any = (self.anchor.args[0], norm, activation, pool, self.residual)
        return self.graph.call_function(normalize_activate_pool, arguments)


class ConvChain(Chain):
    """A convolution with a bias, then a BatchNorm; without a bias there is nothing to win.

    Where more follows the norm, its own chain is worth more, and takes it.
    """

    anchors = tuple(CONVS)

    def __init__(self, graph: fx.Graph, module: nn.Module, anchor: fx.Node):
        super().__init__(graph, module, anchor)
        self.norm = ""

    def grow(self) -> str | None:
        conv = self.layer(self.anchor)
        return "" if getattr(conv, "bias", None) is None or self.follow(self.normalize) else None

    def normalize(self, last: fx.Node, user: fx.Node) -> str:
        norm = self.layer(user)
        if (
            norm is None
            or not fit(self.layer(last), norm)
            or observed(norm)
            or user.args != (last,)
            or user.kwargs
        ):
            return "no BatchNorm that fits"
        self.norm = str(user.target)
        self.parts.append(type(norm).__name__)
        return ""

    def block(self) -> fx.Node:
        conv, norm = map(self.read, (self.anchor.target, self.norm))
        arguments: Any = (self.anchor.args[0], conv, norm)
        return self.graph.call_function(convolve_normalize, arguments)


class LinearChain(Chain):
    """A Linear, then an activation."""

    anchors = LINEARS

    def __init__(self, graph: fx.Graph, module: nn.Module, anchor: fx.Node):
        super().__init__(graph, module, anchor)
        self.activation: Any = None

    def grow(self) -> str | None:
        users = list(self.anchor.users)
        if not any(self.found(user) for user in users):
            return ""  # most networks end in a Linear, and nobody expects more of it
        return self.follow(self.activate) or None

    def found(self, user: fx.Node) -> Any:
        """The activation that ``user`` is, as an argument of the block."""
        layer = self.layer(user)
        if layer is not None:
            return user.target if named(layer) else None
        name = None if "out" in user.kwargs else ACTIVATION_CALLS.get(user.target)
        if name == "gelu":
            return GELUS.get(_argument(user, 1, "approximate", "none"))
        slope = _argument(user, 1, "negative_slope", 0.01) if name == "leaky_relu" else 0.0
        return (name, slope) if name and isinstance(slope, float) and slope >= 0 else None

    def activate(self, last: fx.Node, user: fx.Node) -> str:
        layer = self.layer(user)
        if layer is not None and observed(layer):
            return f"followed by {type(layer).__name__}, which has hooks"
        self.activation = self.found(user)
        name = getattr(user.target, "__name__", user.target)
        self.parts.append(str(name) if layer is None else type(layer).__name__)
        return ""

    def block(self) -> fx.Node:
        linear, activation = map(self.read, (self.anchor.target, self.activation))
        arguments: Any = (self.anchor.args[0], linear, activation)
        return self.graph.call_function(transform_activate, arguments)


class AddNormChain(Chain):
    """A sum of two tensors, then a LayerNorm; the sum may have other users, too."""

    anchors = LAYER_NORMS

    @property
    def operands(self) -> tuple[Any, ...]:
        return tuple(self.nodes[0].args)

    def grow(self) -> str | None:
        total = self.anchor.args[0] if self.anchor.args else None
        if not isinstance(total, fx.Node) or total.op == "call_module" or total.target not in ADDS:
            return ""  # the first norm of a network has no sum in front of it
        if total.target in ADDS_IN_PLACE:
            return "the sum in front of it is in place"
        if total.kwargs or len(total.args) != 2 or not all(isinstance(a, fx.Node) for a in total.args):
            return "no sum of two tensors in front of it"
        self.nodes.insert(0, total)
        self.parts.insert(0, "add")
        return None

    def replace(self) -> tuple[str, ...]:
        """One call for the two, in the place of the sum, whose other users may come before the norm."""
        total, norm = self.nodes
        with self.graph.inserting_before(total):
            arguments: Any = (*total.args, self.read(norm.target))
            both = self.graph.call_function(add_normalize, arguments)
            y = self.graph.call_function(operator.getitem, (both, 0))
            s = self.graph.call_function(operator.getitem, (both, 1))
        norm.replace_all_uses_with(y)
        self.graph.erase_node(norm)
        total.replace_all_uses_with(s)
        self.graph.erase_node(total)
        return tuple(self.parts)


# The first pattern that fits a layer takes it, and all of its chain.
PATTERNS: tuple[type[Chain], ...] = (BatchNormChain, ConvChain, LinearChain, AddNormChain)
ANCHORS = {cls for pattern in PATTERNS for cls in pattern.anchors}


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
