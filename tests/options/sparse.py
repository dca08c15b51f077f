"""Tables for ``layers/sparse.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.tensor
FLAT, STARTS, ROWS = T([0, 2, 1, 2, 0]), T([0, 2]), T([[0, 2], [1, 1]])


def tied(x):
    """A table whose columns tie here and there."""
    return x.round()


SAME = {
    "embedding by frequency": lambda F, x: F.embedding(T([1] * 9 + [2, 0]), x, scale_grad_by_freq=True),
    "embedding_bag int32": lambda F, x: F.embedding_bag(FLAT.int(), x, STARTS.int()),
    "embedding_bag two kinds of integers": lambda F, x: F.embedding_bag(FLAT, x, STARTS.int(), mode="max"),
    "embedding_bag small integers": lambda F, x: F.embedding_bag(FLAT.to(torch.int8), x, STARTS, mode="sum"),
    "embedding_bag ties": lambda F, x: F.embedding_bag(ROWS, tied(x) + 0 * x, mode="max"),
    "embedding_bag of its own factors": lambda F, x: F.embedding_bag(
        ROWS, x.clone(), mode="sum", per_sample_weights=x[:2, :2].clone()
    ),
    "embedding_bag a frozen table": lambda F, x: F.embedding_bag(
        FLAT, X, STARTS, mode="sum", per_sample_weights=x.reshape(12)[:5], padding_idx=2
    ),
    "embedding_bag by frequency": lambda F, x: F.embedding_bag(
        T([[0, 2], [1, 2]]),
        x,
        mode="sum",
        per_sample_weights=T([[2.0, 3.0], [4.0, 5.0]]).double(),
        scale_grad_by_freq=True,
    ),
    "embedding_bag only padding": lambda F, x: F.embedding_bag(T([[1, 1], [1, 0]]), x, padding_idx=1),
    "embedding_bag max of padding": lambda F, x: F.embedding_bag(
        T([[1, 1], [1, 0]]), x, mode="max", padding_idx=1
    ),
    "embedding_bag nested": lambda F, x: F.embedding_bag(
        torch.nested.nested_tensor([T([1, 2]), T([0])], layout=torch.jagged), x
    ),
}

AUTOCAST = {
    "embedding_bag": lambda F, x: F.embedding_bag(ROWS, x),
    "embedding_bag max": lambda F, x: F.embedding_bag(ROWS, x, mode="max"),
    "embedding_bag factors": lambda F, x: F.embedding_bag(ROWS, x, mode="sum", per_sample_weights=x[:2, :2]),
}

ERRORS = {
    "embedding: index": (lambda F: F.embedding(T([3]), X), None),
    "embedding: negative": (lambda F: F.embedding(T([-1]), X), None),
    "embedding: padding_idx": (lambda F: F.embedding(T([1]), X, padding_idx=3), "(?i)padding_idx"),
    "bag: first offset": (lambda F: F.embedding_bag(FLAT, X, T([1, 2])), r"offsets\[0\].*is 1"),
    "bag: last offset": (lambda F: F.embedding_bag(FLAT, X, T([0, 6])), r"offsets\[-1\].*5.*is 6"),
    "bag: offset": (lambda F: F.embedding_bag(FLAT, X, T([0, -1])), r"offset -1 is outside of \[0, 5\]"),
    "bag: offset too large": (lambda F: F.embedding_bag(FLAT, X, T([0, 9, 2])), "offset 9"),
    "bag: offset axes": (lambda F: F.embedding_bag(FLAT, X, STARTS[None]), r"offsets.*shape \[1, 2\]"),
    "bag: no offsets": (lambda F: F.embedding_bag(FLAT, X), "offsets with one, but got None"),
    "bag: offsets of rows": (lambda F: F.embedding_bag(ROWS, X, STARTS), r"\[2, 2\].*offsets must be None"),
    "bag: real offsets": (lambda F: F.embedding_bag(FLAT, X, STARTS.double()), "int64, torch.float64"),
    "bag: real indices": (lambda F: F.embedding_bag(ROWS.float(), X), "int32 or int64.*float32"),
    "bag: small indices": (lambda F: F.embedding_bag(ROWS.to(torch.int8), X), "int8"),
    "bag: no last offset": (
        lambda F: F.embedding_bag(FLAT, X, STARTS[:0], include_last_offset=True), "offsets has 0 elements"
    ),
    "bag: input axes": (lambda F: F.embedding_bag(ROWS[None], X), r"1 or 2 axes.*\[1, 2, 2\]"),
    "bag: rows without elements": (lambda F: F.embedding_bag(ROWS[:, :0], X), r"\[2, 0\]"),
    "bag: weight axes": (lambda F: F.embedding_bag(ROWS, X[None]), r"weight.*\[1, 3, 4\]"),
    "bag: weight dtype": (lambda F: F.embedding_bag(ROWS, X.long()), "floating point.*int64"),
    "bag: mode": (lambda F: F.embedding_bag(ROWS, X, mode="min"), "mode='min'"),
    "bag: factors of a mean": (
        lambda F: F.embedding_bag(ROWS, X, per_sample_weights=X[:2, :2]), "mode='sum', but mode='mean'"
    ),
    "bag: factors' shape": (
        lambda F: F.embedding_bag(ROWS, X, mode="sum", per_sample_weights=X[:2]), r"\[2, 2\].*has \[2, 4\]"
    ),
    "bag: factors' dtype": (
        lambda F: F.embedding_bag(ROWS, X, mode="sum", per_sample_weights=X[:2, :2].float()), "float32"
    ),
    "bag: frequency of a max": (
        lambda F: F.embedding_bag(ROWS, X, mode="max", scale_grad_by_freq=True), "scale_grad_by_freq"
    ),
    "bag: sparse max": (lambda F: F.embedding_bag(ROWS, X, mode="max", sparse=True), "sparse.*mode='max'"),
    "bag: sparse and frequency": (
        lambda F: F.embedding_bag(
            ROWS, X.clone().requires_grad_(), mode="sum", sparse=True, scale_grad_by_freq=True
        ).sum().backward(),
        "sparse=False",
    ),
    "bag: index": (lambda F: F.embedding_bag(ROWS + 1, X), r"index 3 is outside of \[0, 3\)"),
    "bag: negative index": (lambda F: F.embedding_bag(ROWS - 1, X, mode="max"), "index -1"),
    "bag: padding_idx": (lambda F: F.embedding_bag(ROWS, X, padding_idx=3), "padding_idx.*but got 3"),
    "bag: negative padding_idx": (lambda F: F.embedding_bag(ROWS, X, padding_idx=-4), "but got -4"),
}  # fmt: skip
