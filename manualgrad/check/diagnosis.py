"""From a property that failed to the mistake behind it."""

from __future__ import annotations

import warnings
from dataclasses import replace

from .evidence import Evidence, NoEvidenceError
from .hypotheses import FIRST, LAST, Hypothesis
from .replay import replayed
from .report import Diagnosis, Row
from .target import Target

__all__ = ["explained"]

RIGHT_BUT = {  # what a property that fails says by itself, where the gradient is right
    "double gradient": ("saved intermediate", "backward uses something that it does not differentiate"),
    "batched gradient": (
        "not for vmap",
        "backward gives something else, or fails, for a batch of grad_outputs",
    ),
    "partial gradients": ("needs_input_grad misread", "which gradients are needed changes the others"),
    "ties": (
        "ties given to all",
        "elements that are equal get more, or less, than one gradient between them",
    ),
    "tiny probabilities": (
        "log clamped",
        "backward clamps where forward does not, or forward where backward does not",
    ),
    "half precision": ("accumulated in half", "the error is that of a sum added up in half precision"),
}


LONG = 32  # elements, of which a sum may be made that half precision notices


def explained(rows: list[Row], target: Target) -> list[Row]:
    """The rows, those that failed with the diagnoses that could be made."""
    failed = {row.property: row for row in rows if row.status == "FAIL"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as autograd's about what is tried here
        return [_explained(row, failed, target) if row.status == "FAIL" else row for row in rows]


def _explained(row: Row, failed: dict[str, Row], target: Target) -> Row:
    if row.property == "gradient":
        diagnoses, remarks = of_gradient(target)
        return replace(row, details=[*row.details, *remarks], diagnoses=diagnoses)
    if row.property == "layouts" and any("writes into grad_output" in detail for detail in row.details):
        return replace(
            row, diagnoses=[Diagnosis("grad_output written into", "", "backward changes grad_output")]
        )
    if "gradient" in failed:
        return row  # it may fail for the same reason
    if row.property == "dtypes and shapes":
        return replace(row, diagnoses=of_shapes(row, target))
    if row.property == "layouts":
        what = "make it fail" if all("raises" in detail for detail in row.details) else "change the gradient"
        finding = f"strides, which are the caller's choice, {what}"
        return replace(row, diagnoses=[Diagnosis("layout assumed", "", finding)])
    if row.property == "double gradient" and _narrowed(failed.get("dtypes and shapes")):
        return row  # what was rounded cannot be differentiated again
    if row.property == "half precision" and _longest(target) < LONG:
        return row
    if row.property in RIGHT_BUT:
        kind, finding = RIGHT_BUT[row.property]
        if any("modified by an inplace operation" in detail for detail in row.details):
            kind, finding = (
                "saved tensor written into",
                "what backward writes into is needed when it is differentiated",
            )
        elif row.property == "batched gradient":
            pass  # what it raises there is vmap's
        elif any("NotImplementedError" in detail for detail in row.details):
            kind, finding = "not written", "backward raises NotImplementedError"
        elif row.details[0].startswith("raises"):
            kind, finding = "raises", row.details[0].removeprefix("raises ")
        return replace(row, diagnoses=[Diagnosis(kind, "", finding)])
    return row


def of_gradient(target: Target) -> tuple[list[Diagnosis], list[str]]:
    """Why the gradient is wrong: a diagnosis for each argument that could be given one, and remarks."""
    try:
        evidence = Evidence(target)
    except NotImplementedError as error:
        said = f", saying: {error}" if str(error) else ""
        return [Diagnosis("not written", "", f"backward raises NotImplementedError{said}")], []
    except NoEvidenceError as reason:
        return [], [str(reason)]
    except Exception as error:
        return _of_exception(target, error)
    wrong = [k for k in range(len(evidence.names)) if evidence.wrong(k)]
    remarks = {k: remark for k in wrong if (remark := evidence.not_a_derivative(k))}
    wrong = [k for k in wrong if k not in remarks]
    found = {k: _first_that_fits(evidence, k, FIRST) for k in wrong}
    found |= replayed(evidence, [k for k in wrong if not found[k]])
    found |= {k: _first_that_fits(evidence, k, LAST) for k in wrong if not found[k]}
    diagnoses = [Diagnosis(f[0], evidence.names[k], f[1]) for k in wrong if (f := found[k])]
    square = target.square() if {d.kind for d in diagnoses} <= {"constant factor"} and wrong else None
    if square is not None and _right(square):
        finding = "it is right if all axes have the same length: one was taken for another"
        return [Diagnosis("layout assumed", "", finding)], []
    if not diagnoses and not remarks:
        return [], ["none of the mistakes known by name explains it alone"]
    return diagnoses, list(remarks.values())


def of_shapes(row: Row, target: Target) -> list[Diagnosis]:
    """Why gradients have other shapes or dtypes than their arguments, where autograd hides it."""
    try:
        evidence = Evidence(target)
    except Exception:
        return []
    diagnoses = []
    for k, returned in enumerate(evidence.returned):
        if returned is not None and returned.shape != evidence.jacobians[k].shape:
            found = _first_that_fits(evidence, k, FIRST)
            if found:
                diagnoses.append(Diagnosis(found[0], evidence.names[k], found[1]))
    if diagnoses:
        return diagnoses
    if row.details[0].startswith("raises"):  # in a narrower dtype, as two dtypes meet
        return [Diagnosis("raises", "", row.details[0].removeprefix("raises "))]
    return [Diagnosis("wrong shape or dtype", "", "a gradient's dtype is not its argument's")]


def _of_exception(target: Target, error: Exception) -> tuple[list[Diagnosis], list[str]]:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "incorrect number of gradients" in text:
        return [Diagnosis("wrong number of gradients", "", text)], []
    if "modified by an inplace operation" in text:
        return [Diagnosis("saved tensor written into", "", "backward needs what was overwritten")], []
    square = target.square()
    if square is not None:
        cut = f"it fails for these shapes ({text}); where all axes have length {square.length}, "
        if _right(square):
            return [Diagnosis("layout assumed", "", cut + "it is right")], []
        diagnoses, _ = of_gradient(square)  # which is not cut again
        if diagnoses and all(d.kind != "raises" for d in diagnoses):
            return [replace(d, finding=cut + d.finding) for d in diagnoses], []
    return [Diagnosis("raises", "", f"{type(error).__name__}: {text}")], []


def _longest(target: Target) -> int:
    tensors = target.tensors()
    return max(t.numel() for t in (*tensors, *target(tensors)))


def _narrowed(row: Row | None) -> bool:
    # Whether a gradient came back in less than float64.
    return row is not None and any("but the argument has torch.float64" in detail for detail in row.details)


def _right(target: Target) -> bool:
    try:
        evidence = Evidence(target)
    except Exception:
        return False
    return not any(evidence.wrong(k) for k in range(len(evidence.names)))


def _first_that_fits(
    evidence: Evidence, k: int, table: dict[str, tuple[Hypothesis, ...]]
) -> tuple[str, str] | None:
    for kind, hypotheses in table.items():
        for hypothesis in hypotheses:
            if evidence.returned[k] is None and kind != "None returned":
                continue
            finding = hypothesis(evidence, k)
            if finding:
                return kind, finding
    return None
