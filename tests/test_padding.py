"""Padding, compiled once and met with inputs of several sizes."""

import pytest
import torch
from torch.testing import assert_close

from manualgrad import nn

LAYERS = {
    "ReflectionPad1d": (lambda n: n.ReflectionPad1d((2, 1)), 1),
    "ReplicationPad1d": (lambda n: n.ReplicationPad1d((2, 1)), 1),
    "CircularPad1d": (lambda n: n.CircularPad1d((2, 1)), 1),
    "ReflectionPad2d": (lambda n: n.ReflectionPad2d(2), 2),
    "ReplicationPad2d": (lambda n: n.ReplicationPad2d(2), 2),
    "CircularPad2d": (lambda n: n.CircularPad2d(2), 2),
    "Conv2d reflect": (lambda n: n.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), 2),
    "Conv2d replicate": (lambda n: n.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), 2),
    "Conv2d circular": (lambda n: n.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), 2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_compile_with_sizes_that_change(name):
    """At its second size torch.compile makes a graph of symbolic sizes."""
    make, ndim = LAYERS[name]
    torch.manual_seed(0)
    ours = make(nn)
    torch.manual_seed(0)
    theirs = make(torch.nn)
    torch.compiler.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for size in (5, 7, 9):
        x = torch.randn(2, 2, *range(size, size + ndim))
        found = []
        for module in (compiled, theirs):
            leaf = x.clone().requires_grad_()
            y = module(leaf)
            found.append((y, *torch.autograd.grad(y.sin().sum(), [leaf, *module.parameters()])))
        assert_close(*found)
