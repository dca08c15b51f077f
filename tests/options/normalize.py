"""Tables for ``layers/normalize.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INF = float("inf")

SAME = {
    "normalize list of axes": lambda F, x: F.normalize(x, dim=[-1, 0]),
    "normalize large p": lambda F, x: F.normalize(x, p=40.0),
    "normalize below eps": lambda F, x: F.normalize(1e-20 * x),
    "normalize with a zero": lambda F, x: F.normalize(x * (x > 0), p=3.0),
    "normalize of large numbers": lambda F, x: F.normalize(1e30 * x, p=4.0, dim=0),
}

AUTOCAST = {
    "normalize": lambda F, x: F.normalize(x),
    "normalize inf": lambda F, x: F.normalize(x, p=INF),
}

ERRORS = {
    "normalize: axis": (lambda F: F.normalize(X, dim=2), r"normalize: dim=2.*\[3, 4\]"),
    "normalize: axis of a vector": (lambda F: F.normalize(X[0]), r"dim=1.*\[4\]"),
    "normalize: axis of a number": (lambda F: F.normalize(X[0, 0]), r"dim=1.*\[\]"),
    "normalize: axis twice": (lambda F: F.normalize(X, dim=(1, -1)), "twice"),
    "normalize: integers": (lambda F: F.normalize(X.long()), "normalize.*int64"),
    "normalize: nothing": (lambda F: F.normalize(X[:, :0], p=INF), r"norm of no elements.*p=inf"),
    "normalize: nothing, negative": (lambda F: F.normalize(X[:, :0], p=-1.0), "norm of no elements"),
    "normalize: out": (
        lambda F: F.normalize(X.clone().requires_grad_(), out=torch.empty_like(X)),
        "out=.* has no gradient",
    ),
}
