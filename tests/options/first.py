"""Tables for the layers that the first version had."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2])
KERNEL = torch.ones(2, 3, 3, 3, dtype=torch.float64)

T = torch.tensor
SAME = {
    "linear of a vector": lambda F, x: F.linear(x, x[0].clone()),
    "softmax dtype": lambda F, x: F.softmax(x.float(), 1, dtype=torch.float64),
    "log_softmax dtype": lambda F, x: F.log_softmax(x.float(), dim=0, dtype=torch.float64),
    "softmin dtype": lambda F, x: F.softmin(x.float(), dim=0, dtype=torch.float64),
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
    "batch_norm without running": lambda F, x: F.batch_norm(x, None, None, training=True),
    "linear bias per sample": lambda F, x: F.linear(x, x[:2].clone(), x[:, :2].clone()),
    "conv one-number tuples": lambda F, x: F.conv2d(
        x[None], x[None, None, :2, :2].clone(), None, (2,), (1,), (2,)
    ),
    "conv_transpose one-number tuples": lambda F, x: F.conv_transpose2d(
        x[None], x[None, None, :2].clone(), None, (2,)
    ),
    "max_pool one-number tuples": lambda F, x: F.max_pool2d(x[None], (2,), (1,), (1,)),
    "avg_pool one-number tuples": lambda F, x: F.avg_pool2d(x[None], (3,), (2,), (1,)),
    "avg_pool of a long input": lambda F, x: F.avg_pool1d(x.reshape(1, 12).repeat(1, 500), 7, 3, 2),
    "nll of an impossible class of weight 0": lambda F, x: F.nll_loss(
        torch.cat([x, torch.full_like(x[:, :1], -float("inf"))], 1),
        T([0, 1, 4]),
        T([1.0, 1, 1, 1, 0]).double(),
    ),
    "bce_with_logits dtypes": lambda F, x: F.binary_cross_entropy_with_logits(x.float(), x.flip(0).sigmoid()),
    "soft cross_entropy dtypes": lambda F, x: F.cross_entropy(x.float(), x.flip(0).softmax(1)),
    "mse dtypes": lambda F, x: F.mse_loss(x.float(), x.flip(0)),
    "embedding by frequency": lambda F, x: F.embedding(T([1] * 9 + [2, 0]), x, scale_grad_by_freq=True),
    "layer_norm plain": lambda F, x: F.layer_norm(x, [4]),
    "rms_norm default eps": lambda F, x: F.rms_norm(x, (3, 4)),
    "dropout off": lambda F, x: F.dropout(x, 0.7, training=False),
    "relu inplace": lambda F, x: F.relu(x.clone(), inplace=True),
    "leaky_relu inplace": lambda F, x: F.leaky_relu(x.clone(), 0.2, inplace=True),
    "elu inplace": lambda F, x: F.elu(x.clone(), 0.7, inplace=True),
    "silu inplace": lambda F, x: F.silu(x.clone(), inplace=True),
    "dropout inplace": lambda F, x: F.dropout(x.clone(), 0.5, inplace=True),
    "dropout1d inplace": lambda F, x: F.dropout1d(x.clone(), 0.5, inplace=True),
    "max_pool indices": lambda F, x: F.max_pool1d(x, 2, return_indices=True)[0],
    "max_pool with_indices": lambda F, x: F.max_pool1d_with_indices(x, 2)[0],
    "adaptive with_indices": lambda F, x: F.adaptive_max_pool1d_with_indices(x, 2)[0],
    "pad constant": lambda F, x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "pad crop": lambda F, x: F.pad(x, (-1, 2, 1, -2)),
    "pad reflect": lambda F, x: F.pad(x, (3, 2), mode="reflect"),
    "pad replicate": lambda F, x: F.pad(x, (7, 1), mode="replicate"),
    "pad circular": lambda F, x: F.pad(x, (4, 3), mode="circular"),
    "pad circular crop": lambda F, x: F.pad(x, (-1, 2), mode="circular"),
    "pad reflect crop": lambda F, x: F.pad(x, (2, -1), mode="reflect"),
    "pad replicate crop": lambda F, x: F.pad(x, (-2, 1), mode="replicate"),
}

AUTOCAST = {
    **{
        name: call for name, call in SAME.items() if name.startswith(("mse", "l1", "huber", "pad", "softmax"))
    },
    "pad volume": lambda F, x: F.pad(x.reshape(1, 3, 2, 2), (1, 0, 0, 1, 1, 1), mode="reflect"),
    "softmax": lambda F, x: F.softmax(x, 1),
    "linear": lambda F, x: F.linear(x, x[:2]),
    "avg_pool": lambda F, x: F.avg_pool1d(x, 2),
    "bilinear": lambda F, x: F.bilinear(x, x, x[None, :, :].repeat(2, 2, 1)[:, :4]),
}

ERRORS = {
    "linear: features": (lambda F: F.linear(X, torch.randn(2, 5)), r"in_features=5.*\[3, 4\]"),
    "bilinear: batch": (lambda F: F.bilinear(X, X[:2], torch.randn(2, 4, 4)), "input1"),
    "conv2d: axes": (lambda F: F.conv2d(X[0], torch.randn(2, 3, 3, 3)), r"conv2d: expected.*\[4\]"),
    "conv2d: channels": (lambda F: F.conv2d(IMAGES, torch.randn(2, 4, 3, 3).double()), "expected input"),
    "conv2d: same and stride": (
        lambda F: F.conv2d(IMAGES, KERNEL, padding="same", stride=2),
        "padding='same' is not supported for strided",
    ),
    "conv2d: padding name": (lambda F: F.conv2d(IMAGES, KERNEL, padding="full"), "'full'"),
    "max_pool2d: axes": (lambda F: F.max_pool2d(X, 2), r"max_pool2d: expected.*\[3, 4\]"),
    "max_pool2d: padding": (lambda F: F.max_pool2d(IMAGES, 2, padding=2), "pad"),
    "avg_pool2d: divisor": (lambda F: F.avg_pool2d(IMAGES, 2, divisor_override=0), "divisor"),
    "gelu: form": (lambda F: F.gelu(X, approximate="sigmoid"), "'sigmoid'"),
    "layer_norm: shape": (lambda F: F.layer_norm(X, (3,)), r"normalized_shape=\[3\].*\[3, 4\]"),
    "layer_norm: weight": (lambda F: F.layer_norm(X, (4,), X[0, :3]), "weight"),
    "group_norm: groups": (lambda F: F.group_norm(X, 3), "num_groups=3.*has 4"),
    "group_norm: single": (lambda F: F.group_norm(X[:1], 4), "more than 1 value"),
    "batch_norm: single": (lambda F: F.batch_norm(X[:1], None, None, training=True), "more than 1 value"),
    "batch_norm: missing": (lambda F: F.batch_norm(X, None, None), "running_mean"),
    "batch_norm: weight": (lambda F: F.batch_norm(X, None, None, X[:, 0], training=True), "weight"),
    "dropout: p": (lambda F: F.dropout(X, 1.5), "between 0 and 1.*1.5"),
    "dropout2d: p": (lambda F: F.dropout2d(IMAGES, -0.5), "between 0 and 1"),
    "dropout1d: axes": (lambda F: F.dropout1d(IMAGES), "dropout1d"),
    "embedding: index": (lambda F: F.embedding(T([3]), X), None),
    "embedding: negative": (lambda F: F.embedding(T([-1]), X), None),
    "embedding: padding_idx": (lambda F: F.embedding(T([1]), X, padding_idx=3), "(?i)padding_idx"),
    "cross_entropy: class": (lambda F: F.cross_entropy(X, T([0, 4, 1])), "arget 4 is out of bounds"),
    "cross_entropy: batch": (lambda F: F.cross_entropy(X, T([0, 1])), r"batch_size \(3\)"),
    "cross_entropy: dtype": (lambda F: F.cross_entropy(X, T([0.0, 1.0, 2.0])), None),
    "cross_entropy: smoothing": (lambda F: F.cross_entropy(X, CLASSES, label_smoothing=2.0), "smoothing"),
    "cross_entropy: weight": (lambda F: F.cross_entropy(X, T([0, 1, 2]), X[0, :3]), "weight"),
    "cross_entropy: reduction": (lambda F: F.cross_entropy(X, T([0, 1, 2]), reduction="avg"), "avg"),
    "cross_entropy: integer probabilities": (lambda F: F.cross_entropy(X, X.long()), None),
    "nll_loss: class": (lambda F: F.nll_loss(X, T([0, -1, 1])), "arget -1 is out of bounds"),
    "nll_loss: spatial": (lambda F: F.nll_loss(IMAGES, torch.zeros(2, 5, 5).long()), None),
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
    "gelu: integers": (lambda F: F.gelu(X.long()), "gelu: not implemented for torch.int64"),
    "silu: integers": (lambda F: F.silu(X.long()), "silu"),
    "elu: integers": (lambda F: F.elu(X.long()), "elu"),
    "softplus: integers": (lambda F: F.softplus(X.long()), "softplus"),
    "leaky_relu: integers": (lambda F: F.leaky_relu(X.long()), "leaky_relu"),
    "mse_loss: integers": (lambda F: F.mse_loss(X.long(), X.long()), "mse_loss"),
    "huber_loss: integers": (lambda F: F.huber_loss(X.long(), X.long()), "huber_loss"),
    "layer_norm: dtype": (lambda F: F.layer_norm(X.float(), (4,), X[0]), "mixed dtype"),
    "batch_norm: dtype": (lambda F: F.batch_norm(X.float(), None, None, X[0], training=True), "mixed dtype"),
    "max_pool2d: lengths": (lambda F: F.max_pool2d(IMAGES, (2, 2, 2)), "kernel_size"),
    "pad: mode": (lambda F: F.pad(X, (1, 1), mode="mirror"), "mirror"),
    "pad: too far": (lambda F: F.pad(X, (4, 0), mode="reflect"), None),
    "pad: value": (lambda F: F.pad(X, (1, 0), mode="reflect", value=2.0), "value"),
    "pad: odd": (lambda F: F.pad(X, (1,)), None),
}  # fmt: skip
