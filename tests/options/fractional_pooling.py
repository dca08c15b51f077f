"""Tables for fractional max pooling."""

import torch

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, 5, 6, generator=GENERATOR, dtype=torch.float64)
VOLUME = torch.randn(2, 4, 5, 6, generator=GENERATOR, dtype=torch.float64)
U = torch.rand(2, 3, 2, generator=GENERATOR, dtype=torch.float64)
ONES = torch.ones(4, 1, 2, dtype=torch.float64)


def volume(x):
    """The matrix, (3, 4), as a volume of one channel."""
    return x[None, :, None].expand(1, 3, 4, 4)


SAME = {
    "fractional_max_pool2d drawn": lambda F, x: F.fractional_max_pool2d(x[None], 2, 2),
    "fractional_max_pool2d ratio": lambda F, x: F.fractional_max_pool2d(x[None], 1, output_ratio=(0.7, 0.8)),
    "fractional_max_pool2d size and ratio": lambda F, x: F.fractional_max_pool2d(x[None], 1, 2, (0.9, 0.9)),
    "fractional_max_pool2d tuples": lambda F, x: F.fractional_max_pool2d(x[None], [2, 1], [1, 4]),
    "fractional_max_pool2d indices": lambda F, x: F.fractional_max_pool2d(x[None], 2, 2, None, True)[0],
    "fractional_max_pool2d with_indices": lambda F, x: F.fractional_max_pool2d_with_indices(x[None], 2, 2)[0],
    "fractional_max_pool2d more samples": lambda F, x: F.fractional_max_pool2d(
        x[None, None], 2, 2, _random_samples=U[:, :1].repeat(2, 1, 1)
    ),
    "fractional_max_pool2d one": lambda F, x: F.fractional_max_pool2d(x[None], 2, 2, _random_samples=ONES),
    "fractional_max_pool3d drawn": lambda F, x: F.fractional_max_pool3d(volume(x), (1, 2, 2), 2),
    "fractional_max_pool3d ratio": lambda F, x: F.fractional_max_pool3d(
        volume(x)[None], 1, output_ratio=(0.7, 0.5, 0.6)
    ),
    "fractional_max_pool3d indices": lambda F, x: F.fractional_max_pool3d(
        volume(x), (1, 2, 2), (2, 1, 2), return_indices=True
    )[0],
    "fractional_max_pool3d with_indices": lambda F, x: F.fractional_max_pool3d_with_indices(
        volume(x), (1, 2, 2), (2, 1, 2)
    )[0],
}

AUTOCAST = {
    "fractional_max_pool2d": lambda F, x: F.fractional_max_pool2d(
        x[None], 2, 2, _random_samples=torch.full((1, 1, 2), 0.25)
    ),
    "fractional_max_pool3d": lambda F, x: F.fractional_max_pool3d(
        volume(x), (1, 2, 2), (1, 2, 2), _random_samples=torch.full((1, 1, 3), 0.25)
    ),
}

ERRORS = {
    "fractional_max_pool2d: no size": (lambda F: F.fractional_max_pool2d(X, 2), "one of output_size and"),
    "fractional_max_pool3d: no size": (
        lambda F: F.fractional_max_pool3d(VOLUME, 2),
        "one of output_size and",
    ),
    "fractional_max_pool2d: ratios": (
        lambda F: F.fractional_max_pool2d(X, 2, output_ratio=(0.5, 0.5, 0.5)),
        r"output_ratio must be one number or 2.*\(0.5, 0.5, 0.5\)",
    ),
    "fractional_max_pool2d: axes": (
        lambda F: F.fractional_max_pool2d(X[None], 2, 2),
        r"fractional_max_pool2d: expected.*\[1, 2, 3, 5, 6\]",
    ),
    "fractional_max_pool2d: two axes": (lambda F: F.fractional_max_pool2d(X[0, 0], 2, 2), r"\[5, 6\]"),
    "fractional_max_pool3d: three axes": (lambda F: F.fractional_max_pool3d(X[0], 2, 2), r"\[3, 5, 6\]"),
    "fractional_max_pool2d: channels": (
        lambda F: F.fractional_max_pool2d(X[:, :0], 2, 2),
        "only the first may be empty",
    ),
    "fractional_max_pool3d: channels": (
        lambda F: F.fractional_max_pool3d(VOLUME[:, :0], 2, 2),
        "only the first may be empty",
    ),
    "fractional_max_pool2d: kernel": (
        lambda F: F.fractional_max_pool2d(X, (2, 2, 2), 3),
        "kernel_size must be",
    ),
    "fractional_max_pool2d: one kernel": (
        lambda F: F.fractional_max_pool2d(X, (2,), 3),
        "kernel_size must be",
    ),
    "fractional_max_pool2d: size": (lambda F: F.fractional_max_pool2d(X, 2, (3,)), "output_size must be"),
    "fractional_max_pool3d: size": (
        lambda F: F.fractional_max_pool3d(VOLUME, 2, (3, 3)),
        "output_size must be",
    ),
    "fractional_max_pool2d: too many": (
        lambda F: F.fractional_max_pool2d(X, 2, 5),
        "5 windows of 2 elements do not fit into axis -2, which has 5",
    ),
    "fractional_max_pool3d: too large": (
        lambda F: F.fractional_max_pool3d(VOLUME, 5, 2),
        "2 windows of 5 elements do not fit into axis -3, which has 4",
    ),
    "fractional_max_pool2d: integers": (lambda F: F.fractional_max_pool2d(X.long(), 2, 2), "not implemented"),
    "fractional_max_pool3d: integers": (
        lambda F: F.fractional_max_pool3d(VOLUME.long(), 2, 2),
        "not implemented",
    ),
    "fractional_max_pool2d: samples": (
        lambda F: F.fractional_max_pool2d(X, 2, 2, _random_samples=U[:1]),
        r"_random_samples must have the shape \[2, 3, 2\].*\[1, 3, 2\]",
    ),
    "fractional_max_pool2d: channels of samples": (
        lambda F: F.fractional_max_pool2d(X, 2, 2, _random_samples=U[:, :2]),
        "_random_samples must have the shape",
    ),
    "fractional_max_pool2d: numbers of samples": (
        lambda F: F.fractional_max_pool2d(X, 2, 2, _random_samples=U[:, :, :1]),
        "_random_samples must have the shape",
    ),
    "fractional_max_pool2d: axes of samples": (
        lambda F: F.fractional_max_pool2d(X, 2, 2, _random_samples=U[0]),
        "_random_samples must have the shape",
    ),
    "fractional_max_pool2d: dtype of samples": (
        lambda F: F.fractional_max_pool2d(X, 2, 2, _random_samples=U.float()),
        "_random_samples must have the input's dtype, torch.float64, but have torch.float32",
    ),
}
