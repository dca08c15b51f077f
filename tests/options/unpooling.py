"""Tables for max unpooling."""

import torch

T = torch.tensor
PLACES = T([[4, 2, 1, 0], [0, 3, 2, 5], [7, 0, 1, 6]])
X = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INDEX = T([[0, 3], [9, 12]]).expand(2, 3, 2, 2)
VOLUME = torch.ones(1, 2, 2, 2, dtype=torch.float64)
CORNER = T([[[0, 1], [4, 5]], [[16, 17], [20, 21]]])[None]

SAME = {
    "max_unpool of a slice": lambda F, x: F.max_unpool1d(x[:, ::2], PLACES[:, ::2], 5, 3),
    "max_unpool lists": lambda F, x: F.max_unpool2d(x[None], PLACES[None], [2, 1], [2, 1], [0, 0], [5, 4]),
    "max_unpool less": lambda F, x: F.max_unpool1d(x[:2], PLACES[:2], 3, output_size=torch.Size([11])),
    "max_unpool without output_size": lambda F, x: F.max_unpool1d(x, PLACES, 4, 2, 1),
    "max_unpool expanded": lambda F, x: F.max_unpool1d(x[:1].expand(3, 4), PLACES, 2),
}

AUTOCAST = {
    "max_unpool1d": lambda F, x: F.max_unpool1d(x, PLACES, 2),
    "max_unpool2d": lambda F, x: F.max_unpool2d(x[None], PLACES[None], 2),
    "max_unpool3d": lambda F, x: F.max_unpool3d(x[None, None], PLACES[None, None], 2),
}

ERRORS = {
    "max_unpool1d: axes": (lambda F: F.max_unpool1d(X, INDEX, 2), r"max_unpool1d: expected.*\[2, 3, 2, 2\]"),
    "max_unpool2d: axes": (lambda F: F.max_unpool2d(X[0, 0], INDEX[0, 0], 2), r"max_unpool2d: expected"),
    "max_unpool3d: axes": (lambda F: F.max_unpool3d(X[0], INDEX[0], 2), r"max_unpool3d: expected"),
    "max_unpool2d: index": (lambda F: F.max_unpool2d(X, INDEX + 4, 2), r"run from 4 to 16"),
    "max_unpool2d: negative": (lambda F: F.max_unpool2d(X, INDEX - 1, 2), r"run from -1 to 11"),
    "max_unpool3d: index": (lambda F: F.max_unpool3d(VOLUME, CORNER + 60, 2), r"run from 60 to 81"),
    "max_unpool2d: int32": (lambda F: F.max_unpool2d(X, INDEX.int(), 2), "indices must be int64.*int32"),
    "max_unpool2d: real": (lambda F: F.max_unpool2d(X, INDEX.double(), 2), "indices must be int64"),
    "max_unpool3d: int32": (lambda F: F.max_unpool3d(VOLUME, CORNER.int(), 2), "indices must be int64"),
    "max_unpool2d: shapes": (lambda F: F.max_unpool2d(X, INDEX[:1], 2), r"\[2, 3, 2, 2\].*\[1, 3, 2, 2\]"),
    "max_unpool3d: shapes": (
        lambda F: F.max_unpool3d(VOLUME, CORNER[:, 1:], 2),
        "indices must have the shape",
    ),
    "max_unpool2d: channels": (lambda F: F.max_unpool2d(X[:, :0], INDEX[:, :0], 2), "only the first"),
    "max_unpool3d: channels": (lambda F: F.max_unpool3d(VOLUME[:, :0], CORNER[:, :0], 2), "only the first"),
    "max_unpool2d: integers": (lambda F: F.max_unpool2d(X.long(), INDEX, 2), "max_unpool2d: not implemented"),
    "max_unpool2d: output_size": (
        lambda F: F.max_unpool2d(X, INDEX, 2, output_size=(6, 4)),
        r"output_size=\(6, 4\).*number 0 must be between 2 and 6",
    ),
    "max_unpool2d: length of output_size": (
        lambda F: F.max_unpool2d(X, INDEX, 2, output_size=(3, 4, 4)),
        r"2 numbers, or 4.*\(3, 4, 4\)",
    ),
    "max_unpool1d: a number": (lambda F: F.max_unpool1d(X[0], INDEX[0], 2, output_size=4), None),
    "max_unpool2d: padding": (lambda F: F.max_unpool2d(X, INDEX, 2, padding=4), "must not be negative"),
    "max_unpool3d: stride": (
        lambda F: F.max_unpool3d(VOLUME, CORNER, 4, stride=0),
        r"stride must be at least 1.*\(0, 0, 0\)",
    ),
    "max_unpool2d: kernel": (lambda F: F.max_unpool2d(X, INDEX, ()), "kernel_size must be"),
}
