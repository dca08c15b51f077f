"""Tables for ``layers/linear.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "linear of a vector": lambda F, x: F.linear(x, x[0].clone()),
    "linear bias per sample": lambda F, x: F.linear(x, x[:2].clone(), x[:, :2].clone()),
}

AUTOCAST = {
    "linear": lambda F, x: F.linear(x, x[:2]),
    "bilinear": lambda F, x: F.bilinear(x, x, x[None, :, :].repeat(2, 2, 1)[:, :4]),
}

ERRORS = {
    "linear: features": (lambda F: F.linear(X, torch.randn(2, 5)), r"in_features=5.*\[3, 4\]"),
    "bilinear: batch": (lambda F: F.bilinear(X, X[:2], torch.randn(2, 4, 4)), "input1"),
}  # fmt: skip
