"""Tables for ``layers/cross_entropy.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2])
T = torch.tensor

SAME = {
    "nll of an impossible class of weight 0": lambda F, x: F.nll_loss(
        torch.cat([x, torch.full_like(x[:, :1], -float("inf"))], 1),
        T([0, 1, 4]),
        T([1.0, 1, 1, 1, 0]).double(),
    ),
    "soft cross_entropy dtypes": lambda F, x: F.cross_entropy(x.float(), x.flip(0).softmax(1)),
}

ERRORS = {
    "cross_entropy: class": (lambda F: F.cross_entropy(X, T([0, 4, 1])), "arget 4 is out of bounds"),
    "cross_entropy: batch": (lambda F: F.cross_entropy(X, T([0, 1])), r"batch_size \(3\)"),
    "cross_entropy: dtype": (lambda F: F.cross_entropy(X, T([0.0, 1.0, 2.0])), None),
    "cross_entropy: smoothing": (lambda F: F.cross_entropy(X, CLASSES, label_smoothing=2.0), "smoothing"),
    "cross_entropy: weight": (lambda F: F.cross_entropy(X, T([0, 1, 2]), X[0, :3]), "weight"),
    "cross_entropy: reduction": (lambda F: F.cross_entropy(X, T([0, 1, 2]), reduction="avg"), "avg"),
    "cross_entropy: integer probabilities": (lambda F: F.cross_entropy(X, X.long()), None),
    "nll_loss: class": (lambda F: F.nll_loss(X, T([0, -1, 1])), "arget -1 is out of bounds"),
    "nll_loss: spatial": (lambda F: F.nll_loss(IMAGES, torch.zeros(2, 5, 5).long()), None),
}  # fmt: skip
