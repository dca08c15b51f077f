"""Tables for ``layers/softmax.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "softmax dtype": lambda F, x: F.softmax(x.float(), 1, dtype=torch.float64),
    "log_softmax dtype": lambda F, x: F.log_softmax(x.float(), dim=0, dtype=torch.float64),
    "softmin dtype": lambda F, x: F.softmin(x.float(), dim=0, dtype=torch.float64),
    "gumbel_softmax positional": lambda F, x: F.gumbel_softmax(x, 0.5, True, 1e-10, 0),
    "gumbel_softmax of a transposed input": lambda F, x: F.gumbel_softmax(x.T, dim=0),
    "gumbel_softmax of negative temperature": lambda F, x: F.gumbel_softmax(x, tau=-1.0),
}

AUTOCAST = {
    "softmax dtype": SAME["softmax dtype"],
    "softmax": lambda F, x: F.softmax(x, 1),
    "gumbel_softmax without noise": lambda F, x: 0 * F.gumbel_softmax(x),
    "gumbel_softmax hard without noise": lambda F, x: 0 * F.gumbel_softmax(x, hard=True),
}

ERRORS = {
    "gumbel_softmax: integers": (lambda F: F.gumbel_softmax(X.long()), "gumbel_softmax: .*int64"),
    "gumbel_softmax: axis": (lambda F: F.gumbel_softmax(X, dim=2), None),
    "gumbel_softmax hard: axis": (lambda F: F.gumbel_softmax(X, hard=True, dim=-3), None),
    "softmax: axis": (lambda F: F.softmax(X, dim=2), None),
}
