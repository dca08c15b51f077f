"""Tables for distances."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INTEGERS = torch.arange(12).reshape(3, 4)
T = torch.tensor
INF = float("inf")

SAME = {
    "cosine along broadcast vectors": lambda F, x: F.cosine_similarity(x, x[:, :1].clone(), dim=1),
    "cosine with a vector": lambda F, x: F.cosine_similarity(x[0].clone(), x, dim=-1),
    "cosine with integers": lambda F, x: F.cosine_similarity(x, INTEGERS),
    "cosine below eps": lambda F, x: F.cosine_similarity(x, x.flip(0), eps=2.0),
    "cosine of float32 and float64 dtypes": lambda F, x: F.cosine_similarity(x.float(), x.flip(0)),
    "distance along broadcast vectors": lambda F, x: F.pairwise_distance(x, x[:, :1].clone()),
    "distance to a number": lambda F, x: F.pairwise_distance(x, x[0, 0].clone()),
    "distance from integers": lambda F, x: F.pairwise_distance(INTEGERS, x),
    "distance of float32 and float64 dtypes": lambda F, x: F.pairwise_distance(x.float(), x.flip(0)),
    "distance, integer p and eps": lambda F, x: F.pairwise_distance(x, x.flip(0), p=3, eps=0, keepdim=True),
    "pdist of a transposed matrix": lambda F, x: F.pdist(x.t()),
    "pdist integer p": lambda F, x: F.pdist(x, 1),
}

AUTOCAST = {
    "cosine": lambda F, x: F.cosine_similarity(x, x.flip(0)),
    "distance": lambda F, x: F.pairwise_distance(x, x.flip(0)),
    "distance, one norm": lambda F, x: F.pairwise_distance(x, x.flip(0), p=1.0),
}

ERRORS = {
    "cosine: dim": (lambda F: F.cosine_similarity(X, X, dim=2), r"from -2 to 1.*\[3, 4\].*got 2"),
    "cosine: shapes": (
        lambda F: F.cosine_similarity(X, X[:, :3]), r"cosine_similarity: the shapes of x1 \[3, 4\]"
    ),
    "cosine: integers": (lambda F: F.cosine_similarity(INTEGERS, INTEGERS), "floating-point.*torch.int64"),
    "distance: shapes": (
        lambda F: F.pairwise_distance(X, X[:2]), r"pairwise_distance: .*x2 \[2, 4\].*\[2, 3\]"
    ),
    "distance: largest of nothing": (lambda F: F.pairwise_distance(X[:, :0], X[:, :0], INF), None),
    "pdist: axes": (lambda F: F.pdist(X[0]), r"\(N, D\), but got \[4\]"),
    "pdist: p": (lambda F: F.pdist(X, -1.0), "p must be at least 0, but got -1.0"),
    "pdist: p is no number": (lambda F: F.pdist(X, float("nan")), "p must be at least 0, but got nan"),
    "pdist: integers": (lambda F: F.pdist(INTEGERS), "pdist: expected a floating-point input.*torch.int64"),
    "pdist: half": (lambda F: F.pdist(X.half()), "pdist: not implemented for torch.float16"),
}  # fmt: skip
