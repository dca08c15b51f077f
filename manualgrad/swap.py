"""Give a model hand-written derivatives, in place, and take them back.

A layer of manualgrad is a subclass of torch's that overrides ``forward`` alone, so swapping is a change of
class: parameters, buffers, hooks, tied modules and the references of an optimizer stay the objects they are.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules import linear as torch_linear
from torch.nn.utils import parametrize

from .catalog import CATALOG
from .layers import lazy
from .layers.multihead import NonDynamicallyQuantizableLinear

__all__ = ["SwapReport", "swap", "swapped", "unswap"]

Selection = type[nn.Module] | str | Iterable[type[nn.Module] | str] | None
Rules = Mapping[type[nn.Module], type[nn.Module]]

OURS: dict[type[nn.Module], type[nn.Module]] = {
    row.torch_module: row.module
    for row in CATALOG
    if row.module is not None and row.functions and row.counterpart is None
}
OURS |= {getattr(nn, name): getattr(lazy, name) for name in lazy.__all__}
OURS[torch_linear.NonDynamicallyQuantizableLinear] = NonDynamicallyQuantizableLinear  # in MultiheadAttention
TORCHS = {ours: torchs for torchs, ours in OURS.items()}
NOTHING_TO_DERIVE = {
    *(row.torch_module for row in CATALOG if not row.functions),
    *(nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict),
}


@dataclass(frozen=True)
class SwapReport:
    """What a swap did, readable when printed.

    Args:
        changed: qualified names of the modules whose class changed, and their new class.
        left: qualified names of layers that were left alone, and their class and the reason.
    """

    changed: dict[str, type[nn.Module]] = field(default_factory=dict)
    left: dict[str, tuple[type[nn.Module], str]] = field(default_factory=dict)
    verb: str = "swapped"

    def __str__(self) -> str:
        lines = [f"{self.verb} {_count(len(self.changed), 'layer')}"]
        for name, count in sorted(Counter(cls.__name__ for cls in self.changed.values()).items()):
            lines.append(f"  {count:4} {name}")
        if self.left:
            lines.append(f"left alone {_count(len(self.left), 'layer')}")
        groups = defaultdict(list)
        for name, (cls, reason) in self.left.items():
            groups[cls.__name__, reason].append(name or "the model itself")
        for (cls_name, reason), names in groups.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"  {len(names):4} {cls_name}: {reason} ({shown})")
        return "\n".join(lines)

    __repr__ = __str__


def swap(
    model: nn.Module, *, rules: Rules | None = None, only: Selection = None, skip: Selection = None
) -> SwapReport:
    """Change every layer of ``model`` that manualgrad has into it, in place, or those that ``rules`` name.

    Numbers, state_dict, hooks, optimizers and tied modules stay as they are. A model that torch.compile has
    wrapped compiles again at its next call: it watches the classes of its modules.

    Args:
        rules: swap in rules of your own, and nothing else: from each class to a subclass of it, such as
            ``{nn.ReLU: GuidedReLU}``. A layer of torch and manualgrad's layer of it are both changed. The
            subclass's ``__init__`` is not run: what it needs beyond the layer's own is a class attribute.
        only: swap only these: a class, a pattern of qualified names such as ``"encoder.*"``, or several of
            both.
        skip: leave these alone, likewise.

    Returns:
        What was swapped, and what was left alone and why: a subclass of your own (its forward is yours), a
        parametrized layer, one that has no hand-written backward.

    Raises:
        TypeError: if ``model`` is no module, a selection is neither class nor pattern, or a rule is no
            subclass of what it replaces.
    """
    return _change(model, OURS if rules is None else _table(rules), only, skip, "swapped")


def unswap(
    model: nn.Module, *, rules: Rules | None = None, only: Selection = None, skip: Selection = None
) -> SwapReport:
    """Change every layer of manualgrad in ``model``, or of ``rules``, back into torch's, in place.

    Arguments: :func:`swap`.
    """
    table = TORCHS
    if rules is not None:
        _table(rules)
        table = {rule: TORCHS.get(cls, cls) for cls, rule in rules.items()}
    return _change(model, table, only, skip, "unswapped")


@contextlib.contextmanager
def swapped(
    model: nn.Module, *, rules: Rules | None = None, only: Selection = None, skip: Selection = None
) -> Iterator[SwapReport]:
    """Swap ``model`` inside a ``with`` block; its end restores what it found. Arguments: :func:`swap`."""
    before = {module: type(module) for module in model.modules()}
    report = swap(model, rules=rules, only=only, skip=skip)
    changed = [module for module, cls in before.items() if type(module) is not cls]
    try:
        yield report
    finally:
        if rules is None:
            restore(before)
        else:
            for module in changed:
                module.__class__ = before[module]


def restore(before: dict[nn.Module, type[nn.Module]]) -> None:
    """Give those modules torch's class back that are manualgrad's now and were not before."""
    for module, cls in before.items():
        if type(module) in TORCHS and cls not in TORCHS:  # a lazy layer may have become another class
            module.__class__ = TORCHS[type(module)]


def _change(model: nn.Module, table: dict, only: Selection, skip: Selection, verb: str) -> SwapReport:
    if not isinstance(model, nn.Module):
        raise TypeError(f"swap: expected a torch.nn.Module, but got {type(model).__name__}")
    only, skip = _selection("only", only), _selection("skip", skip)
    report = SwapReport(verb=verb)
    for name, module in model.named_modules():
        cls = type(module)
        if only is not None and not _selected(name, module, only):
            continue
        if skip is not None and _selected(name, module, skip):
            if cls in table:
                report.left[name] = (cls, "skipped, as asked")
            continue
        new = table.get(cls, cls)
        if new is not cls and not _reason_to_skip(module, table):
            module.__class__ = new
            report.changed[name] = new
        elif verb == "swapped" and (reason := _reason(module, table)):
            report.left[name] = (cls, reason)
    return report


def _table(rules: Rules) -> dict[type[nn.Module], type[nn.Module]]:
    # A rule for a layer of torch's is one for ours too, unless ours has its own.
    if not isinstance(rules, Mapping):
        raise TypeError(f"swap: rules takes a mapping such as {{nn.ReLU: GuidedReLU}}, but got {rules!r}")
    for cls, rule in rules.items():
        for entry in (cls, rule):
            if not (isinstance(entry, type) and issubclass(entry, nn.Module)):
                raise TypeError(f"swap: rules takes classes of modules, but got {entry!r}")
        if not issubclass(rule, cls):
            raise TypeError(
                f"swap: a rule for {cls.__name__} takes over its parameters and attributes, but "
                f"{rule.__name__} is no subclass of it: write class {rule.__name__}({cls.__name__})"
            )
    return {OURS[cls]: rule for cls, rule in rules.items() if cls in OURS} | dict(rules)


def _reason(module: nn.Module, table: dict) -> str:
    # Why a module is left alone; "" if it is no layer, or is changed already.
    cls = type(module)
    if cls in table:
        return _reason_to_skip(module, table)
    if cls in table.values() or cls in NOTHING_TO_DERIVE:
        return ""
    if (
        table is OURS
        and cls.__module__.startswith("torch.nn.modules.")
        and not isinstance(module, tuple(OURS))
    ):
        return "no hand-written layer"
    for ancestor in cls.__mro__[1:]:
        if ancestor in table:
            if parametrize.is_parametrized(module):
                return "parametrized: remove the parametrization first"
            return f"subclass of {ancestor.__name__}: its forward may be its own"
    return ""


def _reason_to_skip(module: nn.Module, table: dict) -> str:
    # Why a layer of the table cannot be changed; "" if it can.
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if table[type(module)] in TORCHS and any(p.is_complex() for p in module.parameters(recurse=False)):
        return "complex parameters"
    return ""


def _selection(argument: str, selection: Selection) -> list | None:
    if selection is None:
        return None
    entries = (
        list(selection) if isinstance(selection, Iterable) and not isinstance(selection, str) else [selection]
    )
    for entry in entries:
        if not isinstance(entry, str) and not (isinstance(entry, type) and issubclass(entry, nn.Module)):
            raise TypeError(
                f"swap: {argument} takes classes of modules and patterns of qualified names, but got "
                f"{entry!r}"
            )
    return entries


def _selected(name: str, module: nn.Module, entries: list) -> bool:
    return any(
        fnmatch.fnmatchcase(name, entry) if isinstance(entry, str) else isinstance(module, entry)
        for entry in entries
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
