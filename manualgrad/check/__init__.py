"""Verify a derivative, anyone's, and say what is wrong with it.

report = manualgrad.check(MyFunction, x, weight)      # a torch.autograd.Function
report = manualgrad.check(my_functional, x, dim=1)    # a function of tensors
report = manualgrad.check(my_module, x)               # a module, with its parameters
print(report)
assert report
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .diagnosis import explained
from .properties import PROPERTIES, REPEAT_THE_GRADIENT
from .report import Diagnosis, Report, Row
from .target import Target

__all__ = ["Diagnosis", "Report", "Row", "check"]


def check(
    target: type[torch.autograd.Function] | torch.nn.Module | Callable,
    *inputs: Any,
    against: Callable | None = None,
    **kwargs: Any,
) -> Report:
    """Check the backward of ``target`` at ``inputs``, property by property.

    Everything is computed in float64, on copies: neither inputs nor module are changed. Derivatives are
    compared with central differences at rtol 1e-5, atol 1e-7. Random layers are called with one seed
    throughout. What is wrong is named, if it is a mistake of a known kind (:mod:`manualgrad.check.kinds`):
    the true derivative, changed as that mistake changes it, is compared with what backward returns.

    Args:
        target: an autograd Function (its ``apply`` is called), any function of tensors, or a module.
        inputs, kwargs: its arguments. If one of them requires a gradient, then those that do are checked;
            else all floating-point tensors are. A module's parameters are checked too, unless frozen.
        against: what computes the same, to compare with: a callable, or a module with the same parameters.
            The layers of manualgrad are compared with torch's without being asked.

    Returns:
        A report with a row per property: true if nothing failed, and readable when printed.

    Raises:
        TypeError: if ``target`` is none of these, or there is no tensor to differentiate by.
    """
    point = Target(target, inputs, kwargs)
    with torch.random.fork_rng(point.devices):  # a backward may draw random numbers, or set the seed
        return _report(point, against)


def _report(point: Target, against: Callable | None) -> Report:
    rows: list[Row] = []
    try:
        point(point.tensors())
    except Exception as error:
        details = [f"raises {type(error).__name__}: {error}"]
        if "dtype" in str(error):
            details.append(
                "it is called in float64: give its tensors as arguments, or check the module itself"
            )
        rows.append(Row("forward", "FAIL", details))
        return Report(point.name, rows)
    for name, check_property in PROPERTIES.items():
        gradient = next((row for row in rows if row.property == "gradient"), None)
        if gradient and gradient.status == "FAIL" and gradient.details[0].startswith("raises"):
            rows.append(Row(name, "-", ["once backward runs"]))
        elif gradient and gradient.status == "FAIL" and name in REPEAT_THE_GRADIENT:
            rows.append(Row(name, "-", ["once the gradient is right"]))
        else:
            rows.append(check_property(name, point, against))
    return Report(point.name, explained(rows, point))
