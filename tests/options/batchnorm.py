"""Tables for ``layers/batchnorm.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "batch_norm without running": lambda F, x: F.batch_norm(x, None, None, training=True),
}

ERRORS = {
    "batch_norm: single": (lambda F: F.batch_norm(X[:1], None, None, training=True), "more than 1 value"),
    "batch_norm: missing": (lambda F: F.batch_norm(X, None, None), "running_mean"),
    "batch_norm: weight": (lambda F: F.batch_norm(X, None, None, X[:, 0], training=True), "weight"),
    "batch_norm: dtype": (lambda F: F.batch_norm(X.float(), None, None, X[0], training=True), "mixed dtype"),
}  # fmt: skip
