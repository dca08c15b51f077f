"""Give a model hand-written derivatives, in place, and take them back.

A layer of manualgrad is a subclass of torch's that overrides ``forward`` alone, so swapping is a change of
class: parameters, buffers, hooks, tied modules and the references of an optimizer stay the objects they are.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules import linear as torch_linear
from torch.nn.utils import parametrize

from .catalog import CATALOG
from .layers import lazy
from .layers.multihead import NonDynamicallyQuantizableLinear

__all__ = ["SwapReport", "swap", "swapped", "unswap"]

Selection = type[nn.Module] | str | Iterable[type[nn.Module] | str] | None

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


def swap(model: nn.Module, *, only: Selection = None, skip: Selection = None) -> SwapReport:
    """Change every layer of ``model`` that manualgrad has into it, in place.

    Numbers, state_dict, hooks, optimizers and tied modules stay as they are. A model that torch.compile has
    wrapped compiles again at its next call: it watches the classes of its modules.

    Args:
        only: swap only these: a class, a pattern of qualified names such as ``"encoder.*"``, or several of
            both.
        skip: leave these alone, likewise.

    Returns:
        What was swapped, and what was left alone and why: a subclass of your own (its forward is yours), a
        parametrized layer, one that has no hand-written backward.

    Raises:
        TypeError: if ``model`` is no module, or a selection is neither class nor pattern.
    """
    return _change(model, OURS, only, skip, "swapped")


def unswap(model: nn.Module, *, only: Selection = None, skip: Selection = None) -> SwapReport:
    """Change every layer of manualgrad in ``model`` back into torch's, in place. Arguments: :func:`swap`."""
    return _change(model, TORCHS, only, skip, "unswapped")


@contextlib.contextmanager
def swapped(model: nn.Module, *, only: Selection = None, skip: Selection = None) -> Iterator[SwapReport]:
    """Swap ``model`` inside a ``with`` block; its end restores what it found. Arguments: :func:`swap`."""
    before = {module: type(module) for module in model.modules()}
    report = swap(model, only=only, skip=skip)
    try:
        yield report
    finally:
        restore(before)


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
        if cls in table and not _reason_to_skip(module):
            module.__class__ = table[cls]
            report.changed[name] = table[cls]
        elif table is OURS and (reason := _reason(module)):
            report.left[name] = (cls, reason)
    return report


def _reason(module: nn.Module) -> str:
    # Why a module is left alone; "" if it is no layer, or is ours already.
    cls = type(module)
    if cls in TORCHS or cls in NOTHING_TO_DERIVE:
        return ""
    if cls in OURS:
        return _reason_to_skip(module)
    if parametrize.is_parametrized(module):
        return "parametrized: remove the parametrization first"
    if cls.__module__.startswith("torch.nn.modules.") and not isinstance(module, tuple(OURS)):
        return "no hand-written layer"
    for ancestor in cls.__mro__[1:]:
        if ancestor in OURS:
            return f"subclass of {ancestor.__name__}: its forward may be its own"
    return ""


def _reason_to_skip(module: nn.Module) -> str:
    # Why a layer that manualgrad has cannot be swapped; "" if it can.
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if any(p.is_complex() for p in module.parameters(recurse=False)):
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
