"""Tables for ``layers/pooling.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "max_pool one-number tuples": lambda F, x: F.max_pool2d(x[None], (2,), (1,), (1,)),
    "avg_pool one-number tuples": lambda F, x: F.avg_pool2d(x[None], (3,), (2,), (1,)),
    "avg_pool of a long input": lambda F, x: F.avg_pool1d(x.reshape(1, 12).repeat(1, 500), 7, 3, 2),
    "max_pool indices": lambda F, x: F.max_pool1d(x, 2, return_indices=True)[0],
    "max_pool with_indices": lambda F, x: F.max_pool1d_with_indices(x, 2)[0],
    "adaptive with_indices": lambda F, x: F.adaptive_max_pool1d_with_indices(x, 2)[0],
}

AUTOCAST = {
    "avg_pool": lambda F, x: F.avg_pool1d(x, 2),
}

ERRORS = {
    "max_pool2d: axes": (lambda F: F.max_pool2d(X, 2), r"max_pool2d: expected.*\[3, 4\]"),
    "max_pool2d: padding": (lambda F: F.max_pool2d(IMAGES, 2, padding=2), "pad"),
    "avg_pool2d: divisor": (lambda F: F.avg_pool2d(IMAGES, 2, divisor_override=0), "divisor"),
    "max_pool2d: lengths": (lambda F: F.max_pool2d(IMAGES, (2, 2, 2)), "kernel_size"),
}  # fmt: skip
