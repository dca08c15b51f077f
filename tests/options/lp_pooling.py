"""Tables for power-average pooling."""

import torch

X = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INF = float("inf")

SAME = {
    "lp_pool empty stride": lambda F, x: F.lp_pool1d(x, 2, 3, []),
    "lp_pool one-number stride": lambda F, x: F.lp_pool2d(x[None], 2.0, (2, 1), (1,)),
    "lp_pool odd power of negative numbers": lambda F, x: F.lp_pool1d(x, 3.0, 2, 1),
    "lp_pool p of one": lambda F, x: F.lp_pool1d(x, 1, 2, 1),
    "lp_pool negative p": lambda F, x: F.lp_pool1d(x, -2.0, 3, 1),
    "lp_pool half": lambda F, x: F.lp_pool1d(x.abs(), 0.5, 2),
    "lp_pool at zero": lambda F, x: F.lp_pool1d(x.relu(), 2.0, 2, 1),
    "lp_pool at zero, p below one": lambda F, x: F.lp_pool1d(x.relu(), 0.5, 2, 1),
    "lp_pool infinite ceil": lambda F, x: F.lp_pool2d(x[None], INF, 2, 3, True),
    "lp_pool minus infinity": lambda F, x: F.lp_pool2d(x[None], -INF, 2, 1),
    "lp_pool of integers": lambda F, x: (
        F.lp_pool1d(X[0].mul(9).long(), 2.0, 2).sum().double() + F.lp_pool2d(x[None].relu(), INF, 2)
    ),
}

AUTOCAST = {
    "lp_pool1d": lambda F, x: F.lp_pool1d(x, 2.0, 2),
    "lp_pool2d": lambda F, x: F.lp_pool2d(x[None], 2.0, 2),
    "lp_pool3d": lambda F, x: F.lp_pool3d(x[None, None], 2.0, (1, 2, 2)),
    "lp_pool1d infinite": lambda F, x: F.lp_pool1d(x, INF, 2),
    "lp_pool2d infinite": lambda F, x: F.lp_pool2d(x[None], -INF, 2),
    "lp_pool3d infinite": lambda F, x: F.lp_pool3d(x[None, None], INF, (1, 2, 2)),
}

ERRORS = {
    "lp_pool1d: axes": (lambda F: F.lp_pool1d(X, 2.0, 2), r"lp_pool1d: expected.*\[2, 3, 5, 6\]"),
    "lp_pool2d: axes": (lambda F: F.lp_pool2d(X[None], 2.0, 2), r"lp_pool2d: expected"),
    "lp_pool3d: axes": (lambda F: F.lp_pool3d(X[0], INF, 2), r"lp_pool3d: expected"),
    "lp_pool2d: kernel": (lambda F: F.lp_pool2d(X, 2.0, (2, 2, 2)), r"lp_pool2d: kernel_size.*\(2, 2, 2\)"),
    "lp_pool3d: kernel": (lambda F: F.lp_pool3d(X, INF, (2, 2)), "lp_pool3d: kernel_size"),
    "lp_pool2d: no kernel": (lambda F: F.lp_pool2d(X, 2.0, 0), None),
    "lp_pool2d: stride": (
        lambda F: F.lp_pool2d(X, 2.0, 2, (1, 1, 1)),
        "lp_pool2d: stride must be one number",
    ),
    "lp_pool2d: stride of 0": (lambda F: F.lp_pool2d(X, 2.0, 2, 0), "stride should not be zero"),
    "lp_pool2d: too large": (lambda F: F.lp_pool2d(X, 2.0, 7), "too small"),
    "lp_pool2d: channels": (lambda F: F.lp_pool2d(X[:, :0], 2.0, 2), None),
    "lp_pool2d: p": (lambda F: F.lp_pool2d(X, 0.0, 2), "lp_pool2d: norm_type must not be 0"),
    "lp_pool1d: p": (lambda F: F.lp_pool1d(X[0], 0, 2), "lp_pool1d: norm_type must not be 0"),
    "lp_pool2d: text": (lambda F: F.lp_pool2d(X, "2", 2), None),
}
