"""The rows of ``layers/ctc.py``."""

from __future__ import annotations

import torch

from ..layers import ctc
from ..layers.softmax import log_softmax
from .row import Layer, Sample
from .samples import REDUCTIONS, case, constant, given, real

__all__ = ["ROWS"]


def after_log_softmax(logits, *rest) -> tuple:
    """The arguments of the loss as they belong: behind a log-softmax, torch's gradient is a derivative."""
    return (log_softmax(logits, logits.dim() - 1), *rest)


def of(*inputs, **options):
    """A case behind a log-softmax."""
    return case(inputs=inputs, arrange=after_log_softmax, **options)


def timed(batch: int, steps: int, classes: int, labels: int):
    """A batch of sequences of one length."""
    targets = Sample((batch, labels), lambda dtype: torch.randint(1, classes, (batch, labels)))
    lengths = {"input_lengths": (steps,) * batch, "target_lengths": (labels,) * batch}
    return of(real(steps, batch, classes), targets, forward=lengths)


LOGITS = real(4, 2, 3)
REPEATED = constant(torch.tensor([[1, 1], [2, 0]]))
NO_EMPTY = {"test_empty_batch": "refused, as in torch"}
LENGTHS = {"input_lengths": (4, 3), "target_lengths": (2, 1)}
IMPOSSIBLE = {"input_lengths": (2, 3), "target_lengths": (2, 1)}  # a repeated label needs a blank between


ROWS: tuple[Layer, ...] = (
    Layer(
        ctc.CTCLoss,
        (ctc.CTCLossFunction,),
        ctc.ctc_loss,
        (
            of(LOGITS, REPEATED, reduction="none", forward=LENGTHS, cannot=NO_EMPTY),
            of(LOGITS, constant(torch.tensor([[0, 2], [2, 2]])), given(4, 3), given(2, 2), blank=1),
            *(
                of(LOGITS, given(1, 2, 1), reduction=reduction, forward=LENGTHS)
                for reduction in REDUCTIONS[1:]
            ),
            of(
                real(3, 3),
                given(2, 1),
                reduction="none",
                forward={"input_lengths": (3,), "target_lengths": (2,)},
            ),
            of(LOGITS, REPEATED, zero_infinity=True, reduction="none", forward=IMPOSSIBLE),
            of(LOGITS, REPEATED, given(4, 0), given(0, 0)),
        ),
        edges=(
            of(LOGITS, REPEATED, reduction="none", forward=IMPOSSIBLE),
            of(
                LOGITS,
                REPEATED,
                reduction="none",
                forward={"input_lengths": (0, 0), "target_lengths": (0, 1)},
            ),
            of(LOGITS, REPEATED, zero_infinity=True, forward=IMPOSSIBLE),
        ),
        sizes=tuple(timed(*numbers) for numbers in ((16, 30, 11, 5), (32, 100, 29, 20), (32, 300, 80, 40))),
        note="the gradient of log_probs is the derivative, which torch's becomes behind a log-softmax only",
    ),
)
