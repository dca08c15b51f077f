"""Tables for the margin losses, ``embedding_loss.py`` and ``likelihood_loss.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.tensor
SIGNS = T([[1, -1, 1, 1], [-1, -1, -1, 1], [1, 1, -1, -1]])
PAIRS = T([1, -1, 1])
CLASSES = T([0, 3, 1])
LABELS = T([[2, 0, -1, 1], [-1, 0, 0, 0], [3, 3, 1, -1]])


def positive(x: torch.Tensor) -> torch.Tensor:
    return x.abs() + 0.5


LEGACY = {
    "hinge": lambda F, x, **o: F.hinge_embedding_loss(x, SIGNS, **o),
    "ranking": lambda F, x, **o: F.margin_ranking_loss(x, x.flip(0), SIGNS, 0.1, **o),
    "multi_margin": lambda F, x, **o: F.multi_margin_loss(x, CLASSES, **o),
    "multilabel_margin": lambda F, x, **o: F.multilabel_margin_loss(x, LABELS, **o),
    "soft_margin": lambda F, x, **o: F.soft_margin_loss(x, SIGNS, **o),
    "multilabel_soft_margin": lambda F, x, **o: F.multilabel_soft_margin_loss(x, positive(x), **o),
    "cosine_embedding": lambda F, x, **o: F.cosine_embedding_loss(x, x.flip(1), PAIRS, -0.2, **o),
    "triplet_margin": lambda F, x, **o: F.triplet_margin_loss(x, x.flip(0), x.flip(1), **o),
    "kl_div": lambda F, x, **o: F.kl_div(x, positive(x), **o),
    "poisson_nll": lambda F, x, **o: F.poisson_nll_loss(x, positive(x), **o),
}

SAME = {
    **{
        f"{name} {reduction}": lambda F, x, call=call, reduction=reduction: call(F, x, reduction=reduction)
        for name, call in LEGACY.items()
        for reduction in ("none", "sum")
    },
    "hinge of a broadcast input": lambda F, x: F.hinge_embedding_loss(x[0].clone(), SIGNS, reduction="none"),
    "hinge of a row of signs": lambda F, x: F.hinge_embedding_loss(x, SIGNS[0].double(), 2),
    "ranking of integers": lambda F, x: F.margin_ranking_loss(x, SIGNS, SIGNS, reduction="none"),
    "ranking dtypes": lambda F, x: F.margin_ranking_loss(x.float(), x.flip(0), SIGNS),
    "soft_margin of a row of signs": lambda F, x: F.soft_margin_loss(x, SIGNS[0]),
    "multi_margin of one score": lambda F, x: F.multi_margin_loss(x[0, 0], T(0)),
    "multi_margin of one sample": lambda F, x: F.multi_margin_loss(x[:1], T(2), reduction="none"),
    "multi_margin weights": lambda F, x: F.multi_margin_loss(x, CLASSES, 2, 2, T([0.5, 1, 2, 3]).double()),
    "multilabel_margin of one score": lambda F, x: F.multilabel_margin_loss(x[0, 0], T(0)),
    "multilabel_soft_margin weight": lambda F, x: F.multilabel_soft_margin_loss(x, SIGNS, x[0].exp()),
    "multilabel_soft_margin weights": lambda F, x: F.multilabel_soft_margin_loss(x, x.sin(), x.exp()),
    "multilabel_soft_margin of a number": lambda F, x: F.multilabel_soft_margin_loss(x[:1, :1], x.flip(0)),
    "multilabel_soft_margin dtypes": lambda F, x: F.multilabel_soft_margin_loss(x.float(), x.flip(0)),
    "cosine_embedding of one target": lambda F, x: F.cosine_embedding_loss(x, x.flip(0), T([1])),
    "cosine_embedding of one pair": lambda F, x: F.cosine_embedding_loss(
        x[:1], x[1:2], PAIRS, reduction="none"
    ),
    "cosine_embedding of real signs": lambda F, x: F.cosine_embedding_loss(x, x.flip(0), PAIRS.double()),
    "triplet of a broadcast negative": lambda F, x: F.triplet_margin_loss(x, x.flip(0), x[:1]),
    "triplet of broadcast distances": lambda F, x: F.triplet_margin_loss(x[:1], x[1:2], x, swap=True),
    "triplet with distance": lambda F, x: F.triplet_margin_with_distance_loss(x, x.flip(0), x.flip(1)),
    "triplet with a cosine": lambda F, x: F.triplet_margin_with_distance_loss(
        x, x.flip(0), x.flip(1), distance_function=F.cosine_similarity, margin=0.5, swap=True, reduction="sum"
    ),
    "triplet with a loss": lambda F, x: F.triplet_margin_with_distance_loss(
        x, x.flip(0), x.flip(1), distance_function=F.mse_loss, margin=5
    ),
    "kl_div batchmean": lambda F, x: F.kl_div(x, positive(x), reduction="batchmean"),
    "kl_div log_target": lambda F, x: F.kl_div(x, x.flip(0), reduction="batchmean", log_target=True),
    "kl_div of a row": lambda F, x: F.kl_div(x[:1], positive(x), reduction="batchmean"),
    "kl_div dtypes": lambda F, x: F.kl_div(x.float(), positive(x), reduction="sum"),
    "poisson full": lambda F, x: F.poisson_nll_loss(x, 4 * positive(x), full=True),
    "poisson not log": lambda F, x: F.poisson_nll_loss(positive(x), 4 * positive(x), False, True, eps=0.1),
    "poisson counts": lambda F, x: F.poisson_nll_loss(x, SIGNS + 2, full=True),
    "poisson of a row": lambda F, x: F.poisson_nll_loss(x[0].clone(), positive(x), reduction="none"),
    "gaussian": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), positive(x), full=True),
    "gaussian one variance": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), 0.3, reduction="none"),
    "gaussian raised variance": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), 1e-9, eps=0.1),
    "gaussian raised variances": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), positive(x), eps=1.0),
    "gaussian per sample": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), positive(x[:, 0])),
    "gaussian per column": lambda F, x: F.gaussian_nll_loss(x, x.flip(0), positive(x[:1])),
    "gaussian one target": lambda F, x: F.gaussian_nll_loss(x, x[0], positive(x), reduction="sum"),
    "gaussian dtypes": lambda F, x: F.gaussian_nll_loss(x.float(), x.flip(0), positive(x)),
}

AUTOCAST = {
    name: call
    for name, call in SAME.items()
    if "dtypes" not in name and "weight" not in name and "with a" not in name
} | {
    "triplet with distance, sum": lambda F, x: F.triplet_margin_with_distance_loss(
        x, x.flip(0), x.flip(1), reduction="sum"
    ),
}

ERRORS = {
    **{
        f"{name}: reduction": (lambda F, call=call: call(F, X, reduction="avg"), "'sum', but got 'avg'")
        for name, call in LEGACY.items()
    },
    "triplet with distance: reduction": (
        lambda F: F.triplet_margin_with_distance_loss(X, X, X, reduction="avg"), "but got 'avg'"
    ),
    "gaussian: reduction": (lambda F: F.gaussian_nll_loss(X, X, 1.0, reduction="avg"), "but got 'avg'"),
    "hinge: shapes": (lambda F: F.hinge_embedding_loss(X, X[:2]), r"hinge_embedding_loss: .*target \[2, 4\]"),
    "hinge: integers": (lambda F: F.hinge_embedding_loss(SIGNS, SIGNS), "torch.int64"),
    "ranking: axes": (lambda F: F.margin_ranking_loss(X, X, PAIRS), r"\[3, 4\], \[3, 4\] and \[3\]"),
    "ranking: shapes": (lambda F: F.margin_ranking_loss(X, X[:2], SIGNS), r"input2 \[2, 4\]"),
    "soft_margin: shapes": (lambda F: F.soft_margin_loss(X, SIGNS[:2]), r"target \[2, 4\]"),
    "soft_margin: target is larger": (
        lambda F: F.soft_margin_loss(X[0], SIGNS), r"\[3, 4\], must broadcast to the input.*\[4\]"
    ),
    "soft_margin: integers": (lambda F: F.soft_margin_loss(SIGNS, SIGNS), "soft_margin_loss: .*int64"),
    "soft_margin: target's gradient": (
        lambda F: F.soft_margin_loss(X, SIGNS.double().requires_grad_()), "'target' is not implemented"
    ),
    "multilabel_soft_margin: number": (
        lambda F: F.multilabel_soft_margin_loss(X[0, 0], X[0, 0]), "class axis"
    ),
    "multilabel_soft_margin: shapes": (lambda F: F.multilabel_soft_margin_loss(X, X[:2]), r"target \[2, 4\]"),
    "multilabel_soft_margin: weight": (
        lambda F: F.multilabel_soft_margin_loss(X, X, X[:2]), r"weight \[2, 4\]"
    ),
    "multilabel_soft_margin: integers": (lambda F: F.multilabel_soft_margin_loss(SIGNS, X), "torch.int64"),
    "multi_margin: p": (lambda F: F.multi_margin_loss(X, CLASSES, p=3), "p must be 1 or 2, but got 3"),
    "multi_margin: axes": (lambda F: F.multi_margin_loss(X[None], CLASSES), r"\[1, 3, 4\]"),
    "multi_margin: no classes": (lambda F: F.multi_margin_loss(X[:, :0], CLASSES), r"non-empty.*\[3, 0\]"),
    "multi_margin: target": (lambda F: F.multi_margin_loss(X, CLASSES[:2]), r"shape \[3\].*\[2\]"),
    "multi_margin: target's axes": (lambda F: F.multi_margin_loss(X, CLASSES[:, None]), r"\[3, 1\]"),
    "multi_margin: class": (lambda F: F.multi_margin_loss(X, T([0, 4, 1])), "target 4 is out of range.*to 3"),
    "multi_margin: negative": (lambda F: F.multi_margin_loss(X, T([0, -1, 1])), "target -1 is out of range"),
    "multi_margin: target's dtype": (lambda F: F.multi_margin_loss(X, CLASSES.int()), "int64.*torch.int32"),
    "multi_margin: integers": (lambda F: F.multi_margin_loss(SIGNS, CLASSES), "multi_margin_loss: .*int64"),
    "multi_margin: weight": (lambda F: F.multi_margin_loss(X, CLASSES, weight=X[0, :3]), "each of the 4.*3"),
    "multi_margin: weight's axes": (lambda F: F.multi_margin_loss(X, CLASSES, weight=X), r"\(C\).*\[3, 4\]"),
    "multi_margin: weight's dtype": (
        lambda F: F.multi_margin_loss(X, CLASSES, weight=X[0].float()), "float32"
    ),
    "multi_margin: weight's gradient": (
        lambda F: F.multi_margin_loss(X, CLASSES, weight=X[0].clone().requires_grad_()), "'weight' is not"
    ),
    "multilabel_margin: axes": (lambda F: F.multilabel_margin_loss(X[None], LABELS[None]), r"\[1, 3, 4\]"),
    "multilabel_margin: no classes": (
        lambda F: F.multilabel_margin_loss(X[:, :0], LABELS[:, :0]), "non-empty"
    ),
    "multilabel_margin: target": (lambda F: F.multilabel_margin_loss(X, LABELS[:2]), r"size \[2, 4\]"),
    "multilabel_margin: vector": (lambda F: F.multilabel_margin_loss(X[0], LABELS[:1]), r"size \[1, 4\]"),
    "multilabel_margin: class": (
        lambda F: F.multilabel_margin_loss(X, LABELS + 1), "target 4 is out of range"
    ),
    "multilabel_margin: negative": (lambda F: F.multilabel_margin_loss(X, LABELS - 1), "target -2 is out"),
    "multilabel_margin: target's dtype": (lambda F: F.multilabel_margin_loss(X, LABELS.double()), "float64"),
    "multilabel_margin: integers": (lambda F: F.multilabel_margin_loss(SIGNS, LABELS), "torch.int64"),
    "cosine_embedding: target": (lambda F: F.cosine_embedding_loss(X, X, PAIRS[:, None]), r"\[3, 1\]"),
    "cosine_embedding: vectors": (
        lambda F: F.cosine_embedding_loss(X[0], X[0], PAIRS), r"\[4\], \[4\] and \[3\]"
    ),
    "cosine_embedding: input2": (lambda F: F.cosine_embedding_loss(X, X[0], PAIRS), r"\[3, 4\], \[4\]"),
    "cosine_embedding: number": (lambda F: F.cosine_embedding_loss(X, X, T(1)), r"and \[\]"),
    "cosine_embedding: shapes": (lambda F: F.cosine_embedding_loss(X, X[:2], PAIRS), r"input2 \[2, 4\]"),
    "cosine_embedding: pairs": (lambda F: F.cosine_embedding_loss(X, X, PAIRS[:2]), "do not broadcast"),
    "triplet: margin": (lambda F: F.triplet_margin_loss(X, X, X, margin=0), "greater than 0, but got 0"),
    "triplet: axes": (lambda F: F.triplet_margin_loss(X, X, X[0]), r"\[3, 4\], \[3, 4\] and \[4\]"),
    "triplet: shapes": (lambda F: F.triplet_margin_loss(X, X[:2], X), r"x2 \[2, 4\]"),
    "triplet: distances": (
        lambda F: F.triplet_margin_with_distance_loss(
            X, X[:2], X, distance_function=lambda u, v: F.pairwise_distance(v[:, :1], v)
        ),
        r"d\(anchor, positive\) \[2\], d\(anchor, negative\) \[3\]",
    ),
    "triplet with distance: margin": (
        lambda F: F.triplet_margin_with_distance_loss(X, X, X, margin=-1.0), "greater than 0, but got -1.0"
    ),
    "triplet with distance: axes": (lambda F: F.triplet_margin_with_distance_loss(X, X[0], X), r"\[4\]"),
    "kl_div: shapes": (lambda F: F.kl_div(X, X[:2], reduction="sum"), r"kl_div: .*target \[2, 4\]"),
    "kl_div: integers": (lambda F: F.kl_div(SIGNS, X, reduction="sum"), "input must be floating"),
    "kl_div: integer target": (lambda F: F.kl_div(X, SIGNS, reduction="sum"), "target must be floating"),
    "poisson: shapes": (lambda F: F.poisson_nll_loss(X, X[:2]), r"poisson_nll_loss: .*target \[2, 4\]"),
    "gaussian: shapes": (lambda F: F.gaussian_nll_loss(X, X[:2], 1.0), r"target \[2, 4\]"),
    "gaussian: negative": (lambda F: F.gaussian_nll_loss(X, X, -1.0), "negative, but got -1.0"),
    "gaussian: a negative variance": (lambda F: F.gaussian_nll_loss(X, X, T([[1.0], [1.0], [-2.0]])), "-2"),
    "gaussian: variance's shape": (lambda F: F.gaussian_nll_loss(X, X, X[0].exp()), r"\[3, 4\].*has \[4\]"),
    "gaussian: two broadcast axes": (lambda F: F.gaussian_nll_loss(X, X, T([[1.0]])), r"has \[1, 1\]"),
    "gaussian: integer": (lambda F: F.gaussian_nll_loss(X, X, 1), "float, but got int"),
}  # fmt: skip
