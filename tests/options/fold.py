"""Tables for fold and unfold."""

import torch

X = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
COLUMNS = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "unfold options": lambda F, x: F.unfold(x[None], [2, 1], padding=1, stride=2),
    "fold options": lambda F, x: F.fold(x, [1, 4], [1, 3], padding=[0, 1]),
    "fold of a stride-0 tensor": lambda F, x: F.fold(x[:2, :1].expand(2, 4), (2, 4), (2, 1)),
}

AUTOCAST = {
    "unfold": lambda F, x: F.unfold(x[None], 2),
    "fold": lambda F, x: F.fold(x[:2].reshape(4, 2), (1, 3), (1, 2)),
}

ERRORS = {
    "unfold: one axis": (lambda F: F.unfold(X[0, 0, 0], 2), r"unfold: expected.*\[6\]"),
    "unfold: two axes": (lambda F: F.unfold(X[0, 0], 2), r"unfold: expected.*\[5, 6\]"),
    "unfold: five axes": (lambda F: F.unfold(X[None], 2), r"unfold: expected.*\[1, 2, 3, 5, 6\]"),
    "unfold: no channels": (lambda F: F.unfold(X[:, :0], 2), r"unfold: expected.*\[2, 0, 5, 6\]"),
    "unfold: integers": (lambda F: F.unfold(X.long(), 2), "unfold: not implemented for torch.int64"),
    "unfold: too large": (lambda F: F.unfold(X, 8), r"unfold: no window.*kernel_size=\(8, 8\).*\(5, 6\)"),
    "unfold: dilated": (lambda F: F.unfold(X, 2, dilation=5), r"unfold: no window.*dilation=\(5, 5\)"),
    "unfold: kernel": (lambda F: F.unfold(X, 0), "unfold: kernel_size must be at least 1"),
    "unfold: kernel of three": (lambda F: F.unfold(X, (2, 2, 2)), "unfold: kernel_size must be one number"),
    "unfold: dilation": (lambda F: F.unfold(X, 2, dilation=0), "unfold: dilation must be at least 1"),
    "unfold: padding": (lambda F: F.unfold(X, 2, padding=-1), "unfold: padding must be at least 0"),
    "unfold: stride": (lambda F: F.unfold(X, 2, stride=(1, 0)), r"unfold: stride must.*stride=\(1, 0\)"),
    "fold: axes": (lambda F: F.fold(COLUMNS[None], (5, 6), 2), r"fold: expected.*\[1, 2, 12, 20\]"),
    "fold: nothing": (lambda F: F.fold(COLUMNS[:, :0], (5, 6), 2), r"fold: expected.*\[2, 0, 20\]"),
    "fold: integers": (lambda F: F.fold(COLUMNS.long(), (5, 6), 2), "fold: not implemented"),
    "fold: rows": (lambda F: F.fold(COLUMNS[:, :11], (5, 6), 2), r"fold: axis -2.*has 11.*\(2, 2\)"),
    "fold: columns": (lambda F: F.fold(COLUMNS[..., 1:], (5, 6), 2), "fold: .*4 x 5 windows.*has 19"),
    "fold: two negative counts": (lambda F: F.fold(COLUMNS[:, :9, :4], (0, 0), 3), "fold: .*-2 x -2 windows"),
    "fold: no image": (lambda F: F.fold(COLUMNS, (0, 6), 2), "fold: the image of output_size"),
    "fold: output_size of three": (lambda F: F.fold(COLUMNS, (5, 6, 1), 2), "fold: output_size must be one"),
    "fold: kernel": (lambda F: F.fold(COLUMNS, (5, 6), (2, 0)), "fold: kernel_size must be at least 1"),
    "fold: dilation": (lambda F: F.fold(COLUMNS, (5, 6), 2, dilation=-1), "fold: dilation must be"),
    "fold: padding": (lambda F: F.fold(COLUMNS, (5, 6), 2, padding=-1), "fold: padding must be"),
    "fold: stride": (lambda F: F.fold(COLUMNS, (5, 6), 2, stride=0), "fold: stride must be"),
}  # fmt: skip
