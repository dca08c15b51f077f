"""Tables for ``layers/instancenorm.py``."""

import torch

X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ONES = torch.ones(3, dtype=torch.float64)


def volume(x):
    """The matrix (3, 4) as two samples of three channels."""
    return torch.stack([x, x.sin()])


SAME = {
    "instance_norm plain": lambda F, x: F.instance_norm(volume(x)),
    "instance_norm weight alone": lambda F, x: F.instance_norm(volume(x), weight=x[:, 0].clone(), eps=0.1),
    "instance_norm bias alone": lambda F, x: F.instance_norm(volume(x), bias=x[:, 0].clone()),
    "instance_norm eps 0": lambda F, x: F.instance_norm(volume(x), eps=0),
    "instance_norm running": lambda F, x: F.instance_norm(
        volume(x), ONES / 2, ONES * 2, x[:, 0].clone(), x[:, 1].clone(), use_input_stats=False
    ),
    "instance_norm running, no positions": lambda F, x: F.instance_norm(
        x.T.clone(), ONES / 2, ONES * 2, use_input_stats=False
    ),
}  # fmt: skip

AUTOCAST = {
    "instance_norm": lambda F, x: F.instance_norm(volume(x)),
    "instance_norm running": lambda F, x: F.instance_norm(
        volume(x), ONES.to(x.dtype), ONES.to(x.dtype), use_input_stats=False
    ),
}

ERRORS = {
    "instance_norm: one position": (
        lambda F: F.instance_norm(X[..., :1]),
        r"more than 1 spatial element.*\[2, 3, 1\]",
    ),
    "instance_norm: no positions": (lambda F: F.instance_norm(X[..., 0]), r"spatial element.*\[2, 3\]"),
    "instance_norm: one axis": (lambda F: F.instance_norm(X[0, 0]), "spatial element"),
    "instance_norm: one axis, running": (
        lambda F: F.instance_norm(X[0, 0], ONES, ONES, use_input_stats=False),
        r"expected an input \(B, C, \*\).*\[4\]",
    ),
    "instance_norm: missing": (lambda F: F.instance_norm(X, use_input_stats=False), "running_mean"),
    "instance_norm: one missing": (lambda F: F.instance_norm(X, ONES.clone()), "both"),
    "instance_norm: running": (
        lambda F: F.instance_norm(X, ONES[:2].clone(), ONES[:2].clone()),
        r"running_mean must have.*\[3\].*\[2\]",
    ),
    "instance_norm: weight": (lambda F: F.instance_norm(X, weight=ONES[:2]), "weight must have"),
    "instance_norm: bias": (lambda F: F.instance_norm(X, bias=ONES[:2]), "bias must have"),
    "instance_norm: integers": (lambda F: F.instance_norm(X.long()), "instance_norm.*int64"),
    "instance_norm: dtype": (lambda F: F.instance_norm(X.float(), weight=ONES), "mixed dtype"),
}
