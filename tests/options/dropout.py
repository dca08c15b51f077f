"""Tables for ``layers/dropout.py``."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "dropout off": lambda F, x: F.dropout(x, 0.7, training=False),
    "dropout inplace": lambda F, x: F.dropout(x.clone(), 0.5, inplace=True),
    "dropout1d inplace": lambda F, x: F.dropout1d(x.clone(), 0.5, inplace=True),
    "feature_alpha_dropout of a vector, of all": lambda F, x: F.feature_alpha_dropout(x[0], 1.0, True),
    "alpha_dropout by default": lambda F, x: F.alpha_dropout(x),
    "alpha_dropout": lambda F, x: F.alpha_dropout(x, 0.3, True),
    "alpha_dropout inplace": lambda F, x: F.alpha_dropout(x.clone(), 0.3, True, True),
    "alpha_dropout inplace of all": lambda F, x: F.alpha_dropout(x.clone(), 1.0, True, True),
    "alpha_dropout inplace of none": lambda F, x: F.alpha_dropout(x.clone(), 0.0, True, True),
    "alpha_dropout of a transposed input": lambda F, x: F.alpha_dropout(x.T, 0.3, True),
    "alpha_dropout of integers in eval": lambda F, x: F.alpha_dropout(torch.arange(3)) + 0 * x[0, 0],
    "feature_alpha_dropout by default": lambda F, x: F.feature_alpha_dropout(x),
    "feature_alpha_dropout": lambda F, x: F.feature_alpha_dropout(x.reshape(2, 3, 2), 0.3, True),
    "feature_alpha_dropout inplace": lambda F, x: F.feature_alpha_dropout(x.clone(), 0.3, True, True),
    "feature_alpha_dropout of a vector in eval": lambda F, x: F.feature_alpha_dropout(x[0], 0.3),
}

AUTOCAST = {
    "alpha_dropout of all": lambda F, x: F.alpha_dropout(x, 1.0, True),
    "alpha_dropout without noise": lambda F, x: 0 * F.alpha_dropout(x, 0.3, True),
    "feature_alpha_dropout without noise": lambda F, x: 0 * F.feature_alpha_dropout(x, 0.3, True),
}

ERRORS = {
    "dropout: p": (lambda F: F.dropout(X, 1.5), "between 0 and 1.*1.5"),
    "dropout2d: p": (lambda F: F.dropout2d(IMAGES, -0.5), "between 0 and 1"),
    "dropout1d: axes": (lambda F: F.dropout1d(IMAGES), "dropout1d"),
    "alpha_dropout: p": (lambda F: F.alpha_dropout(X, 1.5), "alpha_dropout: .*between 0 and 1.*1.5"),
    "alpha_dropout: integers": (lambda F: F.alpha_dropout(X.long(), 0.5, True), "alpha_dropout: .*int64"),
    "feature_alpha_dropout: p": (
        lambda F: F.feature_alpha_dropout(X, -0.5, True),
        "feature_alpha_dropout: .*between 0 and 1.*-0.5",
    ),
    "feature_alpha_dropout: axes": (
        lambda F: F.feature_alpha_dropout(X[0], 0.5, True),
        r"feature_alpha_dropout: .*\[4\]",
    ),
}
