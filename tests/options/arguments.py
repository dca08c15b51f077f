"""Values of arguments that torch refuses, and that would give a result all the same: one of each kind."""

import torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SIGNAL, IMAGE, VOLUME = X[None], X[None, None], X[None, None, None]
WHOLE, TRUTHS = torch.arange(12).reshape(3, 4), X > 0
CLASSES = torch.tensor([0, 1, 2])
SIGNS = torch.tensor([1, -1, 1])
NAN = float("nan")
LENGTHS = {"input_lengths": (3,), "target_lengths": (1,)}
LABELS = torch.tensor([[1]])
LOG_PROBS = X.log_softmax(1)[:, None]

SAME = {
    "mse_loss: target of truths": lambda F, x: F.mse_loss(x, x.flip(0) > 0),
    "mse_loss: input of truths": lambda F, x: F.mse_loss(x > 0, x, reduction="sum"),
    "smooth_l1_loss: target of truths": lambda F, x: F.smooth_l1_loss(x, x.flip(0) > 0),
    "conv_tbc: bias of other dtypes": lambda F, x: F.conv_tbc(x[None], x[None].mT, x[0, :3].detach().float()),
}

ERRORS = {
    # Numbers that are none, or not whole, or out of range.
    "ignore_index of nll_loss": (lambda F: F.nll_loss(X, CLASSES, ignore_index=1.5), "ignore_index.*1.5"),
    "ignore_index": (lambda F: F.cross_entropy(X, CLASSES, ignore_index=None), "ignore_index.*None"),
    "padding_idx": (lambda F: F.embedding(CLASSES, X, padding_idx=1.5), "padding_idx.*1.5"),
    "blank": (lambda F: F.ctc_loss(LOG_PROBS, LABELS, **LENGTHS, blank=0.5), "blank.*0.5"),
    "lengths": (lambda F: F.ctc_loss(LOG_PROBS, LABELS, (3.0,), (1,)), r"lengths.*\(3.0,\)"),
    "num_groups": (lambda F: F.group_norm(X, 2.0), "num_groups.*2.0"),
    "normalized_shape": (lambda F: F.layer_norm(X, (4.0,)), r"normalized_shape.*\(4.0,\)"),
    "kernel_size of unfold": (lambda F: F.unfold(IMAGE, 2.0), "kernel_size.*2.0"),
    "stride of max_unpool": (
        lambda F: F.max_unpool1d(SIGNAL, WHOLE[None], 1, stride=1.0),
        "max_unpool1d: stride.*1.0",
    ),
    "pad": (lambda F: F.conv_tbc(X[None], X[None].mT, X[0, :3], pad=1.0), "conv_tbc: pad.*1.0"),
    "margin of hinge_embedding_loss": (
        lambda F: F.hinge_embedding_loss(X, X.sign(), margin="1"),
        "hinge_embedding_loss: margin.*'1'",
    ),
    "margin of margin_ranking_loss": (
        lambda F: F.margin_ranking_loss(X, X, X.sign(), margin="1"),
        "margin_ranking_loss: margin.*'1'",
    ),
    "margin of multi_margin_loss": (
        lambda F: F.multi_margin_loss(X, CLASSES, margin="1"),
        "multi_margin_loss: margin.*'1'",
    ),
    "margin of cosine_embedding_loss": (
        lambda F: F.cosine_embedding_loss(X, X, SIGNS, margin="1"),
        "cosine_embedding_loss: margin.*'1'",
    ),
    "p of pairwise_distance": (lambda F: F.pairwise_distance(X, X, p="2"), "pairwise_distance: p.*'2'"),
    "eps of triplet_margin_loss": (
        lambda F: F.triplet_margin_loss(X, X, X, eps="1"),
        "triplet_margin_loss: eps.*'1'",
    ),
    "eps of poisson_nll_loss": (lambda F: F.poisson_nll_loss(X, X, eps="1"), "poisson_nll_loss: eps.*'1'"),
    "eps of gaussian_nll_loss": (
        lambda F: F.gaussian_nll_loss(X, X, X.exp(), eps="1"),
        "gaussian_nll_loss: eps.*'1'",
    ),
    "eps of cosine_similarity": (lambda F: F.cosine_similarity(X, X, eps=-1.0), "eps.*-1.0"),
    "beta of NaN": (lambda F: F.smooth_l1_loss(X, X, beta=NAN), "beta.*nan"),
    "delta of NaN": (lambda F: F.huber_loss(X, X, delta=NAN), "delta.*nan"),
    "infinite scale_factor": (lambda F: F.interpolate(SIGNAL, scale_factor=float("inf")), "finite.*inf"),
    "scale_factor of text": (lambda F: F.interpolate(SIGNAL, scale_factor="2"), "scale_factor.*'2'"),
    "dtype of softmax": (lambda F: F.softmax(X, 1, dtype="cpu"), "softmax: dtype.*'cpu'"),
    # Sequences of another length.
    "output_size of one": (lambda F: F.adaptive_avg_pool2d(IMAGE, (1,)), r"output_size.*2.*\(1,\)"),
    "output_size of three": (lambda F: F.adaptive_max_pool3d(VOLUME, (1, 1)), r"output_size.*3.*\(1, 1\)"),
    "no output_size": (lambda F: F.adaptive_max_pool2d(IMAGE, None), "output_size.*None"),
    "no length": (lambda F: F.adaptive_avg_pool1d(SIGNAL, (None,)), "output_size.*None"),
    "stride of unfold": (lambda F: F.unfold(IMAGE, 2, stride=(1,)), r"unfold: stride.*2.*\(1,\)"),
    "half a border": (lambda F: F.pad(IMAGE, (1, 1, 1), "reflect"), r"pad=\[1, 1, 1\].*two numbers"),
    "too many borders": (lambda F: F.pad(SIGNAL, (1,) * 8, "circular"), "at most as many axes"),
    # Shapes.
    "bias of bilinear": (
        lambda F: F.bilinear(X, X, X.new_ones(2, 4, 4), X[0, :1]),
        r"bias.*2 outputs.*\[1\]",
    ),
    "weight of linear": (lambda F: F.linear(X, X[0, 0]), "weight.*is a number"),
    "running_mean alone": (
        lambda F: F.batch_norm(X, X[0].clone(), None, training=True),
        "both running_mean and running_var",
    ),
    # Values and dtypes.
    "target of BCE": (
        lambda F: F.binary_cross_entropy(X.sigmoid(), 2 + X.sigmoid()),
        "target.*between 0 and 1",
    ),
    "BCE of integers": (lambda F: F.binary_cross_entropy(0 * WHOLE, 0 * WHOLE), "int64"),
    "BCE with logits of integers": (
        lambda F: F.binary_cross_entropy_with_logits(WHOLE, X.sigmoid()),
        "not implemented for torch.int64",
    ),
    "huber_loss of integers": (lambda F: F.huber_loss(WHOLE, X), "not implemented for torch.int64"),
    "l1_loss of truths": (lambda F: F.l1_loss(X, TRUTHS), "not implemented for torch.bool"),
    "cross_entropy of integers": (lambda F: F.cross_entropy(WHOLE, CLASSES), "torch.int64"),
    "nll_loss of integers": (lambda F: F.nll_loss(WHOLE, CLASSES), "torch.int64"),
    "rank by truths": (lambda F: F.margin_ranking_loss(X, X, TRUTHS), "target.*torch.bool"),
    "count truths": (lambda F: F.poisson_nll_loss(X, TRUTHS, full=True), "full=True.*torch.bool"),
    "variance of integers": (lambda F: F.gaussian_nll_loss(X, X, WHOLE + 1), "torch.int64.*var"),
    "maximum of integers": (lambda F: F.max_pool1d(WHOLE, 2), "max_pool1d.*torch.int64"),
    "norm pool of integers": (lambda F: F.lp_pool1d(WHOLE, float("inf"), 2), "lp_pool1d.*torch.int64"),
    "drop of integers": (lambda F: F.dropout(WHOLE, 0.5), "dropout.*torch.int64"),
    "layer_norm of integers": (lambda F: F.layer_norm(WHOLE, (4,)), "layer_norm.*torch.int64"),
    "layer_norm of integers, weighted": (
        lambda F: F.layer_norm(WHOLE, (4,), X[0]),
        "layer_norm.*torch.int64",
    ),
    "rms_norm of integers": (lambda F: F.rms_norm(WHOLE, (4,)), "rms_norm.*torch.int64"),
    "attention of integers": (
        lambda F: F.scaled_dot_product_attention(WHOLE, WHOLE, WHOLE),
        "attention.*torch.int64",
    ),
    "conv1d with another bias": (
        lambda F: F.conv1d(SIGNAL, X[None, :, :2], X[0, :1].float()),
        "bias is torch.float32",
    ),
    "conv_transpose1d of two dtypes": (
        lambda F: F.conv_transpose1d(SIGNAL, X[:, None].float()),
        "weight is torch.float32",
    ),
    "bilinear of two dtypes": (
        lambda F: F.bilinear(X, X.float(), X.new_ones(2, 4, 4)),
        "input2 is torch.float32",
    ),
}
