"""Compute chains of layers as blocks, in place: a BatchNorm, the ReLU and the max-pool behind it are one.

The forward of each module that has children is traced on its own, with its children as leaves; in the graph
chains are replaced by a call of the function behind a block, with the same modules as its arguments. The
module then gets a subclass of its class, whose forward is the code of that graph. So parameters, buffers,
names and the modules themselves stay; which mode they are in, whether they have hooks or were replaced is
asked at each call. Where the code does not hold (another argument than a tensor, an attribute that has
changed, torch.compile, which has its own way to fuse) the module's own forward runs.
"""

from __future__ import annotations

import copy
import functools
import inspect
import operator
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from copyreg import __newobj__ as NEW_OBJECT  # type: ignore[attr-defined]
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from . import functional
from .layers._blocks import observed
from .layers.batchnorm_activation import (
    LEAKY_RELUS,
    NORMS,
    POOLS,
    RELUS,
    normalize_activate_pool,
    slope_of,
    window_of,
)

__all__ = ["FuseReport", "fuse", "unfuse"]

PLAN = "_manualgrad_plan"
# What every module has; of these only the mode is looked at by a forward.
INTERNAL = set(vars(nn.Module())) - {"training"}
HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)

ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
RELU_CALLS = {F.relu, F.relu_, torch.relu, torch.relu_, functional.relu, functional.relu_, "relu", "relu_"}
LEAKY_CALLS = {F.leaky_relu, functional.leaky_relu}
POOL_CALLS = {
    getattr(home, f"max_pool{n}d"): getattr(nn, f"MaxPool{n}d")
    for home in (torch, F, functional)
    for n in (1, 2, 3)
}
IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem}


@dataclass(frozen=True)
class FuseReport:
    """What fuse did, readable when printed.

    Args:
        fused: qualified names of the first layer of each chain, and the names of its parts.
        left: qualified names of modules where nothing could be fused though there is a layer that begins a
            chain, and their class and the reason.
    """

    fused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left: dict[str, tuple[type[nn.Module], str]] = field(default_factory=dict)
    verb: str = "fused"

    def __str__(self) -> str:
        lines = [f"{self.verb} {len(self.fused)} chain{'' if len(self.fused) == 1 else 's'}"]
        for chain, count in sorted(Counter(" + ".join(parts) for parts in self.fused.values()).items()):
            lines.append(f"  {count:4} {chain}")
        if self.left:
            lines.append("left alone")
        groups = defaultdict(list)
        for name, (cls, reason) in self.left.items():
            groups[cls.__name__, reason].append(name or "the model itself")
        for (cls_name, reason), names in groups.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"  {len(names):4} {cls_name}: {reason} ({shown})")
        return "\n".join(lines)

    __repr__ = __str__


class UntraceableError(Exception):
    """Why the forward of a module cannot be replaced by a graph."""


class Version(NamedTuple):
    """A forward that holds as long as the attributes, and the children of holders, are what they were."""

    attributes: dict[str, Any]
    children: dict[str, tuple[str, ...]]
    forward: Callable[..., Any]

    def holds(self, module: nn.Module) -> bool:
        state = module.__dict__
        for name, value in self.attributes.items():
            now = state.get(name)
            if now is not value and (type(now) is not type(value) or now != value):
                return False
        return all(tuple(_child(module, path)._modules) == names for path, names in self.children.items())


class Plan(NamedTuple):
    """The versions of a module's forward, of which each takes tensors only."""

    arguments: tuple[str, ...]
    versions: tuple[Version, ...]
    chains: dict[str, tuple[str, ...]]
    left: dict[str, tuple[type[nn.Module], str]]

    def version(self, module: nn.Module, args: tuple, kwargs: dict) -> Callable[..., Any] | None:
        if len(args) + len(kwargs) != len(self.arguments) or not kwargs.keys() <= set(self.arguments):
            return None
        if not all(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
            return None
        return next((version.forward for version in self.versions if version.holds(module)), None)


def fuse(model: nn.Module) -> FuseReport:
    """Compute chains of layers in ``model`` as blocks, in place.

    Numbers, parameters, names, state_dict and hooks stay as they are; a hook that comes later is called, too.
    Chains are BatchNorm -> sum with a residual -> ReLU or LeakyReLU -> MaxPool, of which all but the first
    may be missing or functions. ``isinstance`` sees no difference, ``type`` does until :func:`unfuse`.

    Returns:
        What was fused, and what was left alone and why.

    Raises:
        TypeError: if ``model`` is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: expected a torch.nn.Module, but got {type(model).__name__}")
    report = FuseReport()
    for name, module in list(model.named_modules()):
        prefix = f"{name}." if name else ""
        if _original(type(module)) is not None or not _may_be_fused(module):
            continue
        try:
            plan = make_plan(module, type(module))
        except UntraceableError as error:
            if any(type(child) in NORMS for _, child in _reachable(module)):
                report.left[name] = (type(module), str(error))
            continue
        report.fused.update({prefix + chain: parts for chain, parts in plan.chains.items()})
        report.left.update({prefix + layer: reason for layer, reason in plan.left.items()})
        if plan.chains:
            module.__class__ = fused_class(type(module))
            module.__dict__[PLAN] = plan
    return report


def unfuse(model: nn.Module) -> FuseReport:
    """Give the modules of ``model`` their own forward back, in place."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"unfuse: expected a torch.nn.Module, but got {type(model).__name__}")
    report = FuseReport(verb="unfused")
    for name, module in model.named_modules():
        original = _original(type(module))
        if original is not None:
            plan = module.__dict__.pop(PLAN, None)
            module.__class__ = original
            prefix = f"{name}." if name else ""
            report.fused.update({prefix + k: parts for k, parts in (plan.chains if plan else {}).items()})
    return report


@functools.cache
def fused_class(cls: type[nn.Module]) -> type[nn.Module]:
    """A subclass of ``cls`` whose instances compute by their plan."""

    @functools.wraps(cls.forward)
    def forward(self, *args, **kwargs):
        if torch.compiler.is_compiling():
            return cls.forward(self, *args, **kwargs)
        plan = self.__dict__.get(PLAN)
        if plan is None:  # a copy, or loaded
            try:
                plan = make_plan(self, cls)
            except UntraceableError:
                plan = Plan((), (), {}, {})
            self.__dict__[PLAN] = plan
        version = plan.version(self, args, kwargs)
        return cls.forward(self, *args, **kwargs) if version is None else version(self, *args, **kwargs)

    def reduce(self, protocol):
        make, arguments, *rest = cls.__reduce_ex__(self, max(protocol, 2))
        if make is NEW_OBJECT:
            make, arguments = _new, (cls, *arguments[1:])
        if rest and isinstance(rest[0], dict):
            rest[0] = {name: value for name, value in rest[0].items() if name != PLAN}
        return make, arguments, *rest

    space = {"forward": forward, "__reduce_ex__": reduce, "__doc__": cls.__doc__, "_fused_from": cls}
    space |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, (cls,), space)  # type: ignore[call-arg]


def _new(cls: type[nn.Module], *args: Any) -> nn.Module:
    # What a copy of a fused module is made of; its plan is made at its first call.
    fused = fused_class(cls)
    return fused.__new__(fused, *args)


def _original(cls: type) -> type[nn.Module] | None:
    return vars(cls).get("_fused_from")


def _may_be_fused(module: nn.Module) -> bool:
    # A container of torch's other than Sequential does more than call its children; ours are blocks.
    cls = type(module)
    if not module._modules or isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module):
        return False
    return cls is nn.Sequential or not cls.__module__.startswith(("torch.nn.modules.", "manualgrad.layers."))


def _reachable(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    # Children, and those that lists and dicts of modules hold.
    for name, child in module.named_children():
        yield prefix + name, child
        if type(child) in HOLDERS:
            yield from _reachable(child, f"{prefix}{name}.")


def _child(module: nn.Module, path: str) -> nn.Module:
    return module.get_submodule(path) if path else module


class Argument(fx.Proxy):
    """A tensor that forward is called with, and that says so."""

    __class__ = property(lambda self: Tensor)  # type: ignore[assignment]


class Tracer(fx.Tracer):
    """Children are leaves, and no tensor becomes a constant."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Argument(node, self) if node.op == "placeholder" else super().proxy(node)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, fx.Proxy):
            return a.node
        if isinstance(a, Tensor):
            named = (*self.root.named_parameters(), *self.root.named_buffers())
            if not any(a is known for _, known in named):
                raise UntraceableError("its forward makes a tensor of its own, which would be made once")
        return super().create_arg(a)


def make_plan(module: nn.Module, cls: type[nn.Module]) -> Plan:
    """Trace a module's forward, replace chains, and compile what results, for each mode that it asks for.

    Raises:
        UntraceableError: if it cannot be traced, or does what would be lost.
    """
    parameters = [p for name, p in list(inspect.signature(cls.forward).parameters.items())[1:]]
    wanted = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    arguments = tuple(p.name for p in wanted)
    versions, chains, left = [], {}, {}
    modes = [module.training]
    for training in modes:  # grows while it is read
        graph, attributes = trace(module, cls, wanted, training)
        if "training" in attributes and len(modes) == 1:
            modes.append(not training)
        found, kept = rewrite(graph, module)
        chains.update(found)
        left.update(kept)
        holders = {"": module} | {n: m for n, m in _reachable(module) if type(m) in HOLDERS}
        children = {path: tuple(m._modules) for path, m in holders.items()}
        versions.append(Version(attributes, children, generated(graph)))
    return Plan(arguments, tuple(versions), chains, left)


def trace(module: nn.Module, cls: type[nn.Module], wanted: list, training: bool) -> tuple[fx.Graph, dict]:
    """The graph of a module's forward, and the attributes that it depends on."""
    attributes: dict[str, Any] = {}

    def get(self, name):
        value = cls.__getattribute__(self, name)
        if name not in INTERNAL and name != "__dict__" and name in cls.__getattribute__(self, "__dict__"):
            value = training if name == "training" else value
            if name not in attributes:
                attributes[name] = copy.copy(value) if isinstance(value, (list, dict, set)) else value
        return value

    def refuse(self, name, value):
        raise UntraceableError(f"its forward sets self.{name}")

    names = [p.name for p in wanted]
    passed = [f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name for p in wanted]
    space: dict[str, Any] = {"cls": cls}
    exec(
        f"def forward({', '.join(['self', *names])}): return cls.forward({', '.join(['self', *passed])})",
        space,
    )
    overrides = {
        "__getattribute__": get,
        "__setattr__": refuse,
        "forward": space["forward"],
    }
    before, seeds = module.__class__, (random.getstate(), torch.get_rng_state())
    object.__setattr__(module, "__class__", type(cls)(cls.__name__, (cls,), overrides))  # type: ignore[call-arg]
    try:
        graph = Tracer().trace(module)
    except UntraceableError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UntraceableError(f"its forward cannot be traced: {said}") from error
    finally:
        object.__setattr__(module, "__class__", before)
        drawn = random.getstate() != seeds[0] or not torch.equal(torch.get_rng_state(), seeds[1])
        random.setstate(seeds[0])
        torch.set_rng_state(seeds[1])
    if drawn:
        raise UntraceableError("its forward draws random numbers of its own, which would be drawn once")
    for name, value in attributes.items():
        if name != "training" and isinstance(value, (list, dict, set)) and vars(module)[name] != value:
            raise UntraceableError(f"its forward changes self.{name}")
    for node in graph.nodes:
        for parent in _parents(node.target) if node.op in ("call_module", "get_attr") else ():
            if type(module.get_submodule(parent)) not in HOLDERS:
                raise UntraceableError(f"its forward reaches into {parent}")
    return graph, attributes


def _parents(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:k]) for k in range(1, len(parts)))


def generated(graph: fx.Graph) -> Callable[..., Any]:
    """The code of a graph, as a method."""
    code = graph.python_code("self")
    space = dict(code.globals)
    exec(compile(code.src, "<fused by manualgrad>", "exec"), space)
    return space["forward"]


def rewrite(graph: fx.Graph, module: nn.Module) -> tuple[dict, dict]:
    """Replace the chains of a graph; these by the name of their first layer, and the layers left, and why."""
    chains, left = {}, {}
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    order = {node: k for k, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op != "call_module" or type(module.get_submodule(str(node.target))) not in NORMS:
            continue
        chain = Chain(graph, module, node)
        reason = "called several times" if calls[node.target] > 1 else chain.find(order)
        if reason:
            left[node.target] = (type(module.get_submodule(str(node.target))), reason)
        else:
            chains[node.target] = chain.replace()
    return chains, left


class Chain:
    """A BatchNorm and what follows it, as far as it makes a block."""

    def __init__(self, graph: fx.Graph, module: nn.Module, norm: fx.Node):
        self.graph, self.module, self.norm = graph, module, norm
        self.nodes = [norm]
        self.parts = [type(module.get_submodule(str(norm.target))).__name__]
        self.residual: fx.Node | None = None
        self.activation: Any = None
        self.pool: Any = None

    def find(self, order: dict[fx.Node, int]) -> str:
        """Take the longest chain that fits; else say why there is none."""
        if len(self.norm.args) != 1 or self.norm.kwargs:
            return "called with other arguments than its input"
        if observed(self.module.get_submodule(str(self.norm.target))):
            return "it has hooks"
        self.follow(self.add)
        why = self.follow(self.activate)
        self.follow(self.pooling)
        if len(self.nodes) == 1:
            return why or "nothing that fits follows it"
        return self.hazard(order)

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

    def add(self, last: fx.Node, user: fx.Node) -> str:
        if user.op == "call_module" or user.target not in ADDS or user.kwargs or len(user.args) != 2:
            return "no sum"
        first, second = user.args
        other = second if first is last else first
        in_place = user.target in (operator.iadd, "add_")
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

    def hazard(self, order: dict[fx.Node, int]) -> str:
        """Whether what the chain reads might change between its first and its last node."""
        start, end = order[self.nodes[0]], order[self.nodes[-1]]
        read: set[Any] = set()
        read.update((self.norm.args[0], self.residual))
        for node, place in order.items():
            if start < place < end and node not in self.nodes:
                layer = self.layer(node)
                named = str(getattr(node.target, "__name__", node.target))
                writes = named.endswith("_") and not named.endswith("__")
                writes = writes or node.target in IN_PLACE or bool(node.kwargs.get("inplace"))
                writes = writes or "out" in node.kwargs
                if layer is not None:
                    writes = bool(getattr(layer, "inplace", False)) or (
                        bool(layer._modules) and bool(read & set(node.all_input_nodes))
                    )
                if writes:
                    return "what it reads might be changed before the end of the chain"
        return ""

    def replace(self) -> tuple[str, ...]:
        """One call for the chain."""
        graph, tail = self.graph, self.nodes[-1]
        with graph.inserting_before(tail):
            norm, activation, pool = (
                graph.create_node("get_attr", part) if isinstance(part, str) else part
                for part in (self.norm.target, self.activation, self.pool)
            )
            arguments: Any = (self.norm.args[0], norm, activation, pool, self.residual)
            block = graph.call_function(normalize_activate_pool, arguments)
        tail.replace_all_uses_with(block)
        for node in reversed(self.nodes):
            graph.erase_node(node)
        return tuple(self.parts)


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
