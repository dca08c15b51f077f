"""Tables for softmax and its relatives."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "gumbel_softmax positional": lambda F, x: F.gumbel_softmax(x, 0.5, True, 1e-10, 0),
    "gumbel_softmax of a transposed input": lambda F, x: F.gumbel_softmax(x.T, dim=0),
    "gumbel_softmax of negative temperature": lambda F, x: F.gumbel_softmax(x, tau=-1.0),
}

AUTOCAST = {
    "gumbel_softmax without noise": lambda F, x: 0 * F.gumbel_softmax(x),
    "gumbel_softmax hard without noise": lambda F, x: 0 * F.gumbel_softmax(x, hard=True),
}

ERRORS = {
    "gumbel_softmax: integers": (lambda F: F.gumbel_softmax(X.long()), "gumbel_softmax: .*int64"),
    "gumbel_softmax: axis": (lambda F: F.gumbel_softmax(X, dim=2), None),
    "gumbel_softmax hard: axis": (lambda F: F.gumbel_softmax(X, hard=True, dim=-3), None),
    "softmax: axis": (lambda F: F.softmax(X, dim=2), None),
}
