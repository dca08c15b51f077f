"""Tables for ``layers/normalization.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "layer_norm plain": lambda F, x: F.layer_norm(x, [4]),
    "rms_norm default eps": lambda F, x: F.rms_norm(x, (3, 4)),
}

ERRORS = {
    "layer_norm: shape": (lambda F: F.layer_norm(X, (3,)), r"normalized_shape=\[3\].*\[3, 4\]"),
    "layer_norm: weight": (lambda F: F.layer_norm(X, (4,), X[0, :3]), "weight"),
    "group_norm: groups": (lambda F: F.group_norm(X, 3), "num_groups=3.*has 4"),
    "group_norm: single": (lambda F: F.group_norm(X[:1], 4), "more than 1 value"),
    "layer_norm: dtype": (lambda F: F.layer_norm(X.float(), (4,), X[0]), "mixed dtype"),
}  # fmt: skip
