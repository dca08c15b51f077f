"""Nothing is left to autograd: between inputs and outputs stand hand-written nodes, views and copies only."""

import pytest
import torch
from rows import build, call, cases
from torch.autograd.function import BackwardCFunction

VIEWS_AND_COPIES = {
    "AccumulateGrad",
    "AliasBackward",
    "AsStridedBackward",
    "CloneBackward",
    "CopyBackwards",
    "CopySlices",
    "ExpandBackward",
    "PermuteBackward",
    "ReshapeAliasBackward",
    "SelectBackward",
    "SliceBackward",
    "SplitBackward",
    "SplitWithSizesBackward",
    "SqueezeBackward",
    "TBackward",
    "ToCopyBackward",
    "TransposeBackward",
    "UnbindBackward",
    "UnsafeViewBackward",
    "UnsqueezeBackward",
    "ViewBackward",
}


def nodes(outputs) -> set:
    """All nodes of the graph behind ``outputs``."""
    seen, todo = set(), [o.grad_fn for o in outputs if o.grad_fn is not None]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions if following is not None]
    return seen


def left_to_autograd(outputs) -> set[str]:
    """Names of the nodes that are neither hand-written nor a view or a copy."""
    names = {
        node.name().rpartition("::")[2] for node in nodes(outputs) if not isinstance(node, BackwardCFunction)
    }
    return {name for name in names if name.rstrip("0123456789") not in VIEWS_AND_COPIES}


@pytest.mark.parametrize(("row", "case"), cases())
def test_nothing_is_left_to_autograd(row, case):
    module, inputs = build(case, row.ours)
    outputs = call(module, inputs, case)
    assert left_to_autograd(outputs) == set()


def test_graph_test_finds_what_it_looks_for():
    x = torch.randn(3, 3, requires_grad=True)
    assert left_to_autograd([(x @ x.T).relu() + 1]) == {"ReluBackward0", "MmBackward0", "AddBackward0"}
