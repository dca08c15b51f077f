"""Tables for ``layers/linear_cross_entropy.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.tensor
CLASSES = T([0, 2, 1])

SAME = {
    "lce of a vector": lambda F, x: F.linear_cross_entropy(x[0], x.clone(), T(1)),
    "lce places": lambda F, x: F.linear_cross_entropy(
        x, x.reshape(3, 1, 4).repeat(1, 2, 1), T([[0, 1], [2, 1], [1, -100]]), reduction="none"
    ),
    "lce small classes": lambda F, x: F.linear_cross_entropy(x, x.clone(), CLASSES.to(torch.uint8)),
    "lce learned distribution": lambda F, x: F.linear_cross_entropy(
        x, x.flip(0), F.softmax(x[:, :3].clone(), 1), weight=T([1.0, 2, 3]).double(), reduction="none"
    ),
    "lce distribution dtypes": lambda F, x: F.linear_cross_entropy(
        x.float(), x.float(), x[:, :3].clone().softmax(1)
    ),
}  # fmt: skip

AUTOCAST = {
    "lce": lambda F, x: F.linear_cross_entropy(x, x, CLASSES),
    "lce distribution": lambda F, x: F.linear_cross_entropy(x, x, x[:, :3].softmax(1)),
}

ERRORS = {
    "lce: input axes": (lambda F: F.linear_cross_entropy(X[None], X, CLASSES), r"input.*\[1, 3, 4\]"),
    "lce: weight axes": (lambda F: F.linear_cross_entropy(X, X[0], CLASSES), r"linear_weight.*has \[4\]"),
    "lce: features": (lambda F: F.linear_cross_entropy(X, X[:, :3], CLASSES), r"\[3, 4\] and \[3, 3\]"),
    "lce: bias": (
        lambda F: F.linear_cross_entropy(X, X, CLASSES, linear_bias=X[0]), r"linear_bias.*\[3\].*\[4\]"
    ),
    "lce: places of a vector": (
        lambda F: F.linear_cross_entropy(X[0], X.reshape(3, 1, 4), CLASSES), r"\[3, 1, 4\].*batch"
    ),
    "lce: ignored distribution": (
        lambda F: F.linear_cross_entropy(X, X, X[:, :3], ignore_index=1), "ignore_index=1"
    ),
    "lce: integer distribution": (lambda F: F.linear_cross_entropy(X, X, X[:, :3].long()), "floating"),
    "lce: smoothing": (lambda F: F.linear_cross_entropy(X, X, CLASSES, label_smoothing=1.5), "1.5"),
    "lce: reduction": (lambda F: F.linear_cross_entropy(X, X, CLASSES, reduction="avg"), "avg"),
    "lce: reduction of a distribution": (
        lambda F: F.linear_cross_entropy(X, X, X[:, :3], reduction="avg"), "avg"
    ),
    "lce: class weights": (lambda F: F.linear_cross_entropy(X, X, CLASSES, weight=X[0]), "weight must"),
    "lce: class weights of a distribution": (
        lambda F: F.linear_cross_entropy(X, X, X[:, :3], weight=X[0]), "weight must"
    ),
    "lce: weights' dtype": (
        lambda F: F.linear_cross_entropy(X, X, CLASSES, weight=torch.ones(3)), "weight.*float32"
    ),
    "lce: batch": (lambda F: F.linear_cross_entropy(X, X, CLASSES[:2]), r"batch_size \(3\)"),
    "lce: target axes": (lambda F: F.linear_cross_entropy(X, X, CLASSES[:, None]), "target"),
    "lce: class": (lambda F: F.linear_cross_entropy(X, X, CLASSES + 1), "arget 3 is out of bounds"),
    "lce: target dtype": (lambda F: F.linear_cross_entropy(X, X, CLASSES.double()), "int64"),
    "lce: dtypes": (lambda F: F.linear_cross_entropy(X.float(), X, CLASSES), None),
}  # fmt: skip
