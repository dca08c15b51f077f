"""What a check found, readable when printed."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Report", "Row"]


@dataclass(frozen=True)
class Row:
    """One property: ``status`` is "ok", "FAIL", or "-" where it does not apply; ``details`` say more."""

    property: str
    status: str
    details: list[str] = field(default_factory=list)


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

    def __getitem__(self, name: str) -> Row:
        """The row of a property, by its name."""
        for row in self.rows:
            if row.property == name:
                return row
        raise KeyError(
            f"no property {name!r} in this report; it has {', '.join(r.property for r in self.rows)}"
        )

    def __str__(self) -> str:
        lines = [f"check {self.target}: {'passed' if self.ok else 'FAILED'}"]
        width = max((len(row.property) for row in self.rows), default=0)
        for row in self.rows:
            first, *more = row.details or [""]
            lines.append(f"  {row.property:<{width}}  {row.status:<4}  {first}".rstrip())
            lines.extend(" " * (width + 10) + detail for detail in more)
        return "\n".join(lines)

    __repr__ = __str__
