"""What a check found: plain when piped, coloured in a terminal, a table in a notebook."""

from __future__ import annotations

import html
import sys
import textwrap
from dataclasses import dataclass, field

from ..terminal import coloured
from .kinds import KINDS

__all__ = ["Diagnosis", "Report", "Row"]

COLOURS = {"ok": "32", "FAIL": "31;1", "-": "2", "diagnosis": "33;1", "advice": "36"}  # of ANSI terminals
SHADES = {"ok": "#2e7d32", "FAIL": "#c62828", "-": "#888888", "diagnosis": "#b26a00", "advice": "#00695c"}


@dataclass(frozen=True)
class Diagnosis:
    """A mistake by name.

    Args:
        kind: one of :data:`manualgrad.check.kinds.KINDS`.
        argument: whose gradient is wrong by it; "" if it is no single one's.
        finding: what was found, in a sentence.
    """

    kind: str
    argument: str
    finding: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return KINDS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}: {self.finding}"


@dataclass(frozen=True)
class Row:
    """One property: ``status`` is "ok", "FAIL", or "-" where it does not apply; ``details`` say more."""

    property: str
    status: str
    details: list[str] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """The rows of a check. It is true if none failed."""

    target: str
    rows: list[Row]

    def __bool__(self) -> bool:
        return self.ok

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.status == "FAIL"]

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """The mistakes that could be named, in the order of the rows."""
        return [diagnosis for row in self.rows for diagnosis in row.diagnoses]

    def __getitem__(self, name: str) -> Row:
        """The row of a property, by its name."""
        for row in self.rows:
            if row.property == name:
                return row
        raise KeyError(
            f"no property {name!r} in this report; it has {', '.join(r.property for r in self.rows)}"
        )

    def text(self, *, colour: bool = False) -> str:
        """The report in lines, with the colours of a terminal if asked."""

        def paint(text: str, style: str) -> str:
            return f"\x1b[{COLOURS[style]}m{text}\x1b[0m" if colour and text.strip() else text

        passed = "passed" if self.ok else "FAILED"
        lines = [f"check {self.target}: {paint(passed, 'ok' if self.ok else 'FAIL')}"]
        width = max((len(row.property) for row in self.rows), default=0)
        margin = " " * (width + 10)
        for row in self.rows:
            first, *more = row.details or [""]
            lines.append(
                f"  {row.property:<{width}}  {paint(f'{row.status:<4}', row.status)}  {first}".rstrip()
            )
            lines += [margin + detail for detail in more]
            for diagnosis, last in _with_advice(row.diagnoses):
                lines.append(f"{margin}→ {paint(diagnosis.kind, 'diagnosis')}: {diagnosis.finding}")
                advice = textwrap.wrap(diagnosis.advice, 88) if last else []
                lines += [f"{margin}  {paint(line, 'advice')}" for line in advice]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text(colour=coloured(sys.stdout))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # What a notebook shows.
        def span(text: str, style: str) -> str:
            return f'<span style="color:{SHADES[style]};font-weight:bold">{html.escape(text)}</span>'

        passed = span("passed" if self.ok else "FAILED", "ok" if self.ok else "FAIL")
        lines = [f"<div>check <code>{html.escape(self.target)}</code>: {passed}</div>", "<table>"]
        for row in self.rows:
            cell = "<br>".join(html.escape(detail) for detail in row.details)
            for diagnosis, last in _with_advice(row.diagnoses):
                cell += f"<div>→ {span(diagnosis.kind, 'diagnosis')}: {html.escape(diagnosis.finding)}</div>"
                cell += f"<div><i>{html.escape(diagnosis.advice)}</i></div>" if last else ""
            lines.append(
                f'<tr><td style="text-align:left">{html.escape(row.property)}</td>'
                f"<td>{span(row.status, row.status)}</td>"
                f'<td style="text-align:left">{cell}</td></tr>'
            )
        return "\n".join([*lines, "</table>"])


def _with_advice(diagnoses: list[Diagnosis]) -> list[tuple[Diagnosis, bool]]:
    # Each diagnosis, and whether it is the last of its kind in the row, after which the advice stands once.
    kinds = [diagnosis.kind for diagnosis in diagnoses]
    return [(diagnosis, kinds[k] not in kinds[k + 1 :]) for k, diagnosis in enumerate(diagnoses)]
