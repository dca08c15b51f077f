"""The conformance matrix: what the tables of tests found, a line per layer and a column per property.

    pytest tests/test_derivatives.py tests/test_transforms.py tests/test_graph.py --conformance CONFORMANCE.md

runs the tests of every case of the catalog and writes the matrix. A cell says how many cases passed of how
many there are; "–" that the question does not arise (a layer without parameters has none to tie).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
import torch

from manualgrad.catalog import CATALOG

COLUMNS = {
    "test_gradcheck": "gradcheck",
    "test_gradgradcheck": "grad&shy;gradcheck",
    "test_parity": "torch's numbers",
    "test_parity_at_edges": "at edges",
    "test_nothing_is_left_to_autograd": "by hand alone",
    "test_vmap_of_grad": "vmap(grad)",
    "test_compile_fullgraph": "compile fullgraph",
    "test_autocast": "autocast",
    "test_parity_in_lower_precision": "float16, bfloat16, float32",
    "test_non_contiguous": "non-con&shy;tiguous",
    "test_stride_0_grad_output": "stride-0 grad_output",
    "test_in_place_after": "in place after it",
    "test_channels_last": "channels_last",
    "test_empty_batch": "empty batch",
    "test_checkpoint": "checkpoint",
    "test_saved_tensors_can_be_offloaded": "saved-tensor hooks",
    "test_saves_no_more_than_torch": "saves no more than torch",
    "test_frozen_parameters": "frozen parameters",
    "test_partial_gradients": "partial gradients",
    "test_pickle_and_deepcopy": "pickle, deepcopy",
    "test_tied_weights": "tied weights",
}

HEAD = """# Conformance

Every layer of the catalog under every property that the tests ask of it: how many of its cases pass. "–" says
that the question does not arise (a layer without parameters has none to tie, a softmax no kinks). Written by

    {command}

with torch {torch} on the CPU, and not by hand.

"""
TESTS = "tests/test_derivatives.py tests/test_transforms.py tests/test_graph.py"
COMMAND = f"pytest {TESTS} --conformance CONFORMANCE.md"


class Conformance:
    """A pytest plugin that counts outcomes by layer and property, and writes them when the session ends."""

    def __init__(self, path: Path):
        self.path = path
        self.outcomes = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
        if test not in COLUMNS or (report.when != "call" and report.outcome == "passed"):
            return
        layer = parameters.partition("(")[0].rstrip("]")
        self.outcomes[layer, test].append("expected" if hasattr(report, "wasxfail") else report.outcome)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        self.path.write_text(self.text(), encoding="utf-8")
        terminalreporter.write_line(f"wrote {self.path}")

    def text(self) -> str:
        """The matrix as a page in Markdown."""
        rows = [row for row in CATALOG if row.functions]
        lines = ["| layer | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        lines += [f"| `{r.name}` | {' | '.join(self.cell(r.name, test) for test in COLUMNS)} |" for r in rows]
        lines += ["", "Cases that cannot pass, and why:", ""]
        for row in rows:
            reasons = {(COLUMNS[test], why) for case in row.cases for test, why in case.cannot.items()}
            lines += [f"- `{row.name}`, {column}: {why}" for column, why in sorted(reasons)]
        lines += ["", "Where torch's numbers are not the rule, and other notes:", ""]
        lines += [f"- `{row.name}`: {row.note}" for row in rows if row.note]
        return HEAD.format(command=COMMAND, torch=torch.__version__) + "\n".join(lines) + "\n"

    def cell(self, layer: str, test: str) -> str:
        """Passed of asked, such as 5/5."""
        outcomes = [outcome for outcome in self.outcomes[layer, test] if outcome != "skipped"]
        return f"{outcomes.count('passed')}/{len(outcomes)}" if outcomes else "–"
