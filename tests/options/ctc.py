"""Tables for ``layers/ctc.py``."""

import torch

X = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(2)
T = torch.tensor
TARGETS = T([[1, 1], [2, 0]])
STEPS, LABELS = (4, 3), (2, 1)


def after_softmax(F, x, targets, *rest, **options):
    """The loss of four steps with one sequence and three classes."""
    return F.ctc_loss(F.log_softmax(x.T.reshape(4, 1, 3), 2), targets, *rest, **options)


SAME = {
    "ctc int32": lambda F, x: after_softmax(F, x, T([[1, 2]]).int(), T([4]).int(), T([2]).int()),
    "ctc labels of another kind": lambda F, x: after_softmax(F, x, T([[1.0, 2.0]]), [4], [2]),
    "ctc unbatched tensors": lambda F, x: F.ctc_loss(F.log_softmax(x.T, 1), T([1]), T(4), T(1)),
    "ctc unbatched row": lambda F, x: F.ctc_loss(F.log_softmax(x.T, 1), T([[1]]), (3,), (1,)),
    "ctc no labels": lambda F, x: after_softmax(F, x, T([]).long(), (4,), (0,)),
    "ctc a label that is the blank": lambda F, x: after_softmax(F, x, T([[0]]), (4,), (1,)),
}

AUTOCAST = {"ctc": lambda F, x: F.ctc_loss(x.T.reshape(4, 1, 3), T([[1]]), (4,), (1,))}

ERRORS = {
    "ctc: reduction": (lambda F: F.ctc_loss(X, TARGETS, STEPS, LABELS, reduction="avg"), "ctc_loss: .*'avg'"),
    "ctc: mixed lengths": (lambda F: F.ctc_loss(X, TARGETS, T(STEPS), LABELS), "both.*Tensor and tuple"),
    "ctc: axes": (lambda F: F.ctc_loss(X[0, 0], TARGETS, STEPS, LABELS), r"log_probs.*\[3\]"),
    "ctc: more axes": (lambda F: F.ctc_loss(X[None], TARGETS, STEPS, LABELS), "log_probs"),
    "ctc: empty": (lambda F: F.ctc_loss(X[:0], TARGETS, (0, 0), LABELS), r"empty.*\[0, 2, 3\]"),
    "ctc: no batch": (lambda F: F.ctc_loss(X[:, :0], TARGETS[:0], (), ()), "empty"),
    "ctc: blank": (lambda F: F.ctc_loss(X, TARGETS, STEPS, LABELS, blank=3), "blank=3 is no class"),
    "ctc: negative blank": (lambda F: F.ctc_loss(X, TARGETS, STEPS, LABELS, blank=-1), "blank=-1"),
    "ctc: too few lengths": (lambda F: F.ctc_loss(X, TARGETS, (4,), LABELS), "input_lengths.*2.*has 1"),
    "ctc: too few target lengths": (lambda F: F.ctc_loss(X, TARGETS, T(STEPS), T([2])), "target_lengths"),
    "ctc: real lengths": (lambda F: F.ctc_loss(X, TARGETS, T([4.0, 3]), T(LABELS)), "integral.*float32"),
    "ctc: too long": (lambda F: F.ctc_loss(X, TARGETS, (5, 3), LABELS), "input_lengths.*at most 4.*got 5"),
    "ctc: negative length": (lambda F: F.ctc_loss(X, TARGETS, (-1, 3), LABELS), "at least 0.*-1"),
    "ctc: negative target length": (lambda F: F.ctc_loss(X, TARGETS, STEPS, (-1, 1)), "target_lengths.*-1"),
    "ctc: no room": (lambda F: F.ctc_loss(X, TARGETS, STEPS, (3, 1)), r"length is 3.*\[2, 2\]"),
    "ctc: one behind the other": (lambda F: F.ctc_loss(X, T([1, 2]), STEPS, LABELS), "3 labels.*holds 2"),
    "ctc: target axes": (lambda F: F.ctc_loss(X, TARGETS[None], STEPS, LABELS), r"targets.*\[1, 2, 2\]"),
    "ctc: target rows": (lambda F: F.ctc_loss(X, TARGETS[:1], STEPS, LABELS), r"\[1, 2\].*row"),
    "ctc: integers": (lambda F: F.ctc_loss(X.long(), TARGETS, STEPS, LABELS), "ctc_loss.*int64"),
}  # fmt: skip
