"""Tables for ``layers/local_response.py``."""

import torch

X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SAME = {
    "local_response_norm k 0": lambda F, x: F.local_response_norm(x[None], 2, 0.5, 0.3, 0),
    "local_response_norm beta 0": lambda F, x: F.local_response_norm(x[None], 3, beta=0.0),
    "local_response_norm alpha 0": lambda F, x: F.local_response_norm(x[None], 3, alpha=0.0, k=2.0),
    "local_response_norm negative": lambda F, x: F.local_response_norm(x[None], 3, alpha=0.5, beta=-1.5),
    "local_response_norm integers": lambda F, x: F.local_response_norm(x.reshape(1, 6, 1, 2), 4, 1, 2, 3),
}  # fmt: skip

AUTOCAST = {
    "local_response_norm line": lambda F, x: F.local_response_norm(x[None], 3),
    "local_response_norm image": lambda F, x: F.local_response_norm(x.reshape(1, 3, 2, 2), 3),
    "local_response_norm volume": lambda F, x: F.local_response_norm(x.reshape(1, 3, 2, 2, 1), 3),
}

ERRORS = {
    "local_response_norm: axes": (
        lambda F: F.local_response_norm(X[0], 3),
        r"local_response_norm: expected an input \(B, C, \*\).*\[3, 4\]",
    ),
    "local_response_norm: size 0": (lambda F: F.local_response_norm(X, 0), "greater than zero.*0"),
    "local_response_norm: size": (lambda F: F.local_response_norm(X[None], -2), "greater than zero.*-2"),
    "local_response_norm: half a size": (lambda F: F.local_response_norm(X, 2.5), "size.*2.5"),
}
