"""Tables for ``layers/loss.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "mse weight": lambda F, x: F.mse_loss(x, x.flip(0), weight=x.exp()),
    "mse weight sum": lambda F, x: F.mse_loss(x, x.flip(0), weight=x.exp(), reduction="sum"),
    "l1 weight": lambda F, x: F.l1_loss(x, x.flip(0), weight=x.exp()),
    "l1 weight none": lambda F, x: F.l1_loss(x, x.flip(0), weight=x.exp(), reduction="none"),
    "huber weight": lambda F, x: F.huber_loss(x, x.flip(0), weight=x.exp(), delta=0.4),
    "bce broadcast weight": lambda F, x: F.binary_cross_entropy(
        x.sigmoid(), x.flip(0).sigmoid(), x[:1].detach()
    ),
    "bce_with_logits weights": lambda F, x: F.binary_cross_entropy_with_logits(
        x, x.flip(0).sigmoid(), x[:1].detach().exp(), pos_weight=x[0].detach().exp()
    ),
    "bce_with_logits dtypes": lambda F, x: F.binary_cross_entropy_with_logits(x.float(), x.flip(0).sigmoid()),
    "bce_with_logits target's dtypes": lambda F, x: F.binary_cross_entropy_with_logits(
        x, x.flip(0).sigmoid().float(), reduction="none"
    ),
    "bce_with_logits weight's dtypes": lambda F, x: F.binary_cross_entropy_with_logits(
        x.float(), x.flip(0).sigmoid().float(), x.detach().exp(), pos_weight=x[0].detach().exp()
    ),
    "mse dtypes": lambda F, x: F.mse_loss(x.float(), x.flip(0)),
}

AUTOCAST = {name: call for name, call in SAME.items() if name.startswith(("mse", "l1", "huber"))}

ERRORS = {
    "mse_loss: shapes": (lambda F: F.mse_loss(X, X[:, :2]), None),
    "mse_loss: weight": (lambda F: F.mse_loss(X, X, weight=X[0]), "(?i)weight"),
    "huber_loss: delta": (lambda F: F.huber_loss(X, X, delta=-1.0), "delta"),
    "smooth_l1_loss: beta": (lambda F: F.smooth_l1_loss(X, X, beta=-1.0), "beta"),
    "bce: shapes": (lambda F: F.binary_cross_entropy(X.sigmoid(), X[0].sigmoid()), r"\[3, 4\]"),
    "bce: range": (lambda F: F.binary_cross_entropy(2 + X.sigmoid(), X.sigmoid()), "between 0 and 1"),
    "bce_with_logits: shapes": (lambda F: F.binary_cross_entropy_with_logits(X, X[0]), r"\[3, 4\]"),
    "bce: weight": (lambda F: F.binary_cross_entropy(X[0].sigmoid(), X[0].sigmoid(), X), None),
    "bce: dtype": (lambda F: F.binary_cross_entropy(X.sigmoid(), X.sigmoid().float()), "dtype"),
    "bce_with_logits: weight": (lambda F: F.binary_cross_entropy_with_logits(X[0], X[0], X), "weight must"),
    "bce_with_logits: pos_weight": (
        lambda F: F.binary_cross_entropy_with_logits(X[0], X[0], pos_weight=X),
        "pos_weight must",
    ),
    "bce_with_logits: integers": (lambda F: F.binary_cross_entropy_with_logits(X, X.long()), "floating"),
    "mse_loss: integers": (lambda F: F.mse_loss(X.long(), X.long()), "mse_loss"),
    "huber_loss: integers": (lambda F: F.huber_loss(X.long(), X.long()), "huber_loss"),
}  # fmt: skip
