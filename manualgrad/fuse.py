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
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from copyreg import __newobj__ as NEW_OBJECT  # type: ignore[attr-defined]
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from .chains import ANCHORS, AUGMENTED, PATTERNS

__all__ = ["FuseReport", "fuse", "unfuse"]

PLAN = "_manualgrad_plan"
# What every module has; of these only the mode is looked at by a forward.
INTERNAL = set(vars(nn.Module())) - {"training"}
# Where a LightningModule keeps its Trainer: self.log, self.current_epoch and the like look there.
TRAINERS = {"_trainer", "_fabric"}
_MISSING = object()
HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class FuseReport:
    """What fuse or unfuse did, readable when printed.

    Args:
        fused: qualified names of the layer that each chain is built around, and the names of its parts.
        left: qualified names of modules where nothing could be fused though there is such a layer, and their
            class and the reason.
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


def alike(now: Any, before: Any) -> bool:
    """Whether an attribute is what it was."""
    if now is before:
        return True
    try:
        return type(now) is type(before) and bool(now == before)
    except (RuntimeError, ValueError):  # arrays, which are compared element by element
        return False


class Version(NamedTuple):
    """A forward that holds as long as the attributes, and the children of holders, are what they were."""

    attributes: dict[str, Any]
    children: dict[str, tuple[str, ...]]
    forward: Callable[..., Any]

    def holds(self, module: nn.Module) -> bool:
        if not all(alike(getattr(module, name, _MISSING), value) for name, value in self.attributes.items()):
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
    may be missing or functions; elsewhere a convolution with a bias -> BatchNorm; Linear -> ReLU, LeakyReLU,
    Tanh, Sigmoid, SiLU or GELU; a sum -> LayerNorm.
    ``isinstance`` sees no difference, ``type`` does until :func:`unfuse`.

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
        if not any(type(child) in ANCHORS for _, child in _reachable(module)):
            continue
        try:
            plan = make_plan(module, type(module))
        except UntraceableError as error:
            report.left[name] = (type(module), str(error))
            continue
        report.fused.update({prefix + chain: parts for chain, parts in plan.chains.items()})
        report.left.update({prefix + layer: reason for layer, reason in plan.left.items()})
        if plan.chains:
            module.__class__ = fused_class(type(module))
            module.__dict__[PLAN] = plan
    return report


def unfuse(model: nn.Module) -> FuseReport:
    """Give the modules of ``model`` their own forward back, in place.

    Returns:
        The chains that are layers again.

    Raises:
        TypeError: if ``model`` is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"unfuse: expected a torch.nn.Module, but got {type(model).__name__}")
    report = FuseReport(verb="unfused")
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        report.fused.update({prefix + k: parts for k, parts in unfuse_one(module).items()})
    return report


def unfuse_one(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Give one module its own forward back, if it was fused; the chains that are layers again."""
    original = _original(type(module))
    if original is None:
        return {}
    plan = module.__dict__.pop(PLAN, None)
    module.__class__ = original
    return plan.chains if plan else {}


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


class Value(fx.Proxy):
    """A value of which ``a += b`` is recorded as what it is: fx would take it for ``a = a + b``."""


def recorded(function: Callable[[Any, Any], Any]) -> Callable[..., fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _method, _function in AUGMENTED.items():
    setattr(Value, _method, recorded(_function))


class Argument(Value):
    """A tensor that forward is called with, and that says so."""

    __class__ = property(lambda self: Tensor)  # type: ignore[assignment]


class Tracer(fx.Tracer):
    """Children are leaves, and no tensor becomes a constant."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Argument(node, self) if node.op == "placeholder" else Value(node, self)

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
        if name in TRAINERS:
            raise UntraceableError("its forward asks the Trainer, whose state changes")
        try:
            value = cls.__getattribute__(self, name)
        except AttributeError:  # a parameter, buffer or module; none may come to be one
            value = cls.__getattr__(self, name)
            if value is None:
                attributes[name] = None
            return value
        own = name in cls.__getattribute__(self, "__dict__")
        if name in INTERNAL or not (own or is_constant(cls, name)):
            return value
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
        if (
            name != "training"
            and isinstance(value, (list, dict, set))
            and not alike(getattr(module, name), value)
        ):
            raise UntraceableError(f"its forward changes self.{name}")
    for node in graph.nodes:
        for parent in _parents(node.target) if node.op in ("call_module", "get_attr") else ():
            if type(module.get_submodule(parent)) not in HOLDERS:
                raise UntraceableError(f"its forward reaches into {parent}")
    return graph, attributes


def is_constant(cls: type[nn.Module], name: str) -> bool:
    """Whether the class has an attribute of that name that is no method, property or the like."""
    found = inspect.getattr_static(cls, name, _MISSING)
    return not (found is _MISSING or name.startswith("__") or hasattr(found, "__get__"))


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
    """Replace the chains of a graph; these by the name of their layer, and the layers left, and why."""
    chains, left = {}, {}
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for pattern in PATTERNS:
        for node in list(graph.nodes):
            if node.op != "call_module":
                continue
            layer = module.get_submodule(str(node.target))
            if type(layer) not in pattern.anchors:
                continue
            chain = pattern(graph, module, node)
            why = chain.find()
            if why is None and calls[node.target] == 1:
                for part in chain.nodes:
                    left.pop(part.target, None)
                chains[node.target] = chain.replace()
            elif why != "":
                left[node.target] = (type(layer), why if calls[node.target] == 1 else "called several times")
    return chains, left
