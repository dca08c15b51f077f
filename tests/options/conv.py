"""Tables for ``layers/conv.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KERNEL = torch.ones(2, 3, 3, 3, dtype=torch.float64)

SAME = {
    "conv one-number tuples": lambda F, x: F.conv2d(
        x[None], x[None, None, :2, :2].clone(), None, (2,), (1,), (2,)
    ),
    "conv_transpose one-number tuples": lambda F, x: F.conv_transpose2d(
        x[None], x[None, None, :2].clone(), None, (2,)
    ),
}

ERRORS = {
    "conv2d: axes": (lambda F: F.conv2d(X[0], torch.randn(2, 3, 3, 3)), r"conv2d: expected.*\[4\]"),
    "conv2d: channels": (lambda F: F.conv2d(IMAGES, torch.randn(2, 4, 3, 3).double()), "expected input"),
    "conv2d: same and stride": (
        lambda F: F.conv2d(IMAGES, KERNEL, padding="same", stride=2),
        "padding='same' is not supported for strided",
    ),
    "conv2d: padding name": (lambda F: F.conv2d(IMAGES, KERNEL, padding="full"), "'full'"),
}  # fmt: skip
