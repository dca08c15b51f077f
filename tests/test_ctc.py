"""CTCLoss without a log-softmax in front, where the derivative and what torch returns for it differ."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from manualgrad import functional, nn

common_modules = pytest.importorskip("torch.testing._internal.common_modules")

EXACT = {"rtol": 1e-5, "atol": 1e-7}
TARGETS = torch.tensor([[1, 1], [2, 0]])
OPTIONS = [
    {"reduction": "none"},
    {"reduction": "mean"},
    {"reduction": "sum", "blank": 2, "targets": torch.tensor([[1, 0], [0, 1]])},
    {"reduction": "none", "targets": torch.tensor([1, 2, 1]), "lengths": ((4, 3), (2, 1))},
    {"reduction": "none", "lengths": (torch.tensor([4, 0]), torch.tensor([0, 0]))},
    {"reduction": "none", "zero_infinity": True, "lengths": ((2, 3), (2, 1))},
]


def loss_of(options):
    """The loss as a function of log_probs alone."""
    options = dict(options)
    targets, lengths = options.pop("targets", TARGETS), options.pop("lengths", ((4, 3), (2, 1)))
    return lambda x, namespace=functional: namespace.ctc_loss(x, targets, *lengths, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradient_of_log_probs_is_the_derivative(options):
    x = torch.randn(4, 2, 3, dtype=torch.float64).log_softmax(2).requires_grad_()
    assert gradcheck(loss_of(options), x, check_batched_grad=True, **EXACT)
    assert gradgradcheck(loss_of(options), x, check_batched_grad=True, **EXACT)


def test_scores_need_not_be_normalized():
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(loss_of(OPTIONS[0]), x, **EXACT)
    assert_close(loss_of(OPTIONS[0])(x), loss_of(OPTIONS[0])(x, torch.nn.functional))


def test_torch_adds_the_probabilities():
    """torch's gradient of log_probs is ours and s e^x, and no derivative: moving one number shows it."""
    x = torch.randn(4, 2, 3, dtype=torch.float64).log_softmax(2).requires_grad_()
    loss = loss_of({"reduction": "none", "lengths": ((4, 4), (2, 1))})
    ours, theirs = (torch.autograd.grad(loss(x, F).sum(), x)[0] for F in (functional, torch.nn.functional))
    assert_close(theirs, ours + x.exp())
    moved = x.detach().clone()
    moved[0, 0, 0] += 1e-6
    slope = (loss(moved).sum() - loss(x).sum()) / 1e-6
    assert_close(slope.detach(), ours[0, 0, 0], rtol=1e-4, atol=1e-5)


def test_loss_is_the_sum_over_alignments():
    """All 3⁴ readings of four steps, one by one."""
    x = torch.randn(4, 1, 3, dtype=torch.float64).log_softmax(2)
    for target in ([], [1], [1, 1], [2, 1], [1, 2, 1]):
        p = 0.0
        for path in itertools.product(range(3), repeat=4):
            read = [c for c, _ in itertools.groupby(path) if c != 0]
            if read == target:
                p += torch.exp(sum(x[t, 0, c] for t, c in enumerate(path)))
        loss = functional.ctc_loss(x, torch.tensor([target]).long(), (4,), (len(target),), reduction="none")
        assert_close(loss[0], -torch.log(p))


def test_impossible_classes_get_no_gradient():
    """A log-probability of −∞ off the only alignment; torch answers NaN there."""
    x = torch.full((3, 1, 3), -float("inf"), dtype=torch.float64)
    x[:, :, 1] = 0
    x.requires_grad_()
    loss = functional.ctc_loss(x, torch.tensor([[1]]), (3,), (1,), reduction="none")
    (grad,) = torch.autograd.grad(loss.sum(), x)
    assert loss.item() == 0
    assert_close(grad[:, 0], torch.tensor([[0.0, -1, 0]] * 3, dtype=torch.float64))


def test_long_inputs_in_single_precision():
    """As precise as torch: a log-probability of −400 leaves few digits behind the point."""
    x = torch.randn(300, 2, 5)

    def gradient(F, dtype):
        z = x.to(dtype).requires_grad_()
        loss = F.ctc_loss(z.log_softmax(2), torch.tensor([[1, 2, 2, 4, 1]] * 2), (300, 250), (5, 4))
        return torch.autograd.grad(loss, z)[0].double()

    exact = gradient(torch.nn.functional, torch.float64)
    ours, theirs = (gradient(F, torch.float32) for F in (functional, torch.nn.functional))
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max()


def test_lengths_as_tensors_inside_vmap():
    """Lengths that nobody can look at: each sample has its own."""
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    steps, labels = torch.tensor([[4, 3], [3, 4], [2, 2]]), torch.tensor([[2, 1], [1, 1], [0, 1]])

    def loss(x, steps, labels):
        return functional.ctc_loss(x.log_softmax(2), TARGETS, steps, labels)

    got = torch.func.vmap(torch.func.grad(loss))(x, steps, labels)
    for k in range(3):
        assert_close(got[k], torch.func.grad(loss)(x[k], steps[k], labels[k]))


INFO = next(i for i in common_modules.module_db if i.module_cls is torch.nn.CTCLoss)


def test_samples_of_torchs_table():
    """PyTorch's samples, with the gradients of the logits in front of the log-softmax."""
    samples = INFO.module_inputs_func(
        INFO, device="cpu", dtype=torch.float64, requires_grad=True, training=True
    )
    assert samples
    for sample in samples:
        found = []
        for namespace in (nn, torch.nn):
            module = namespace.CTCLoss(*sample.constructor_input.args, **sample.constructor_input.kwargs)
            x, *rest = sample.forward_input.args
            logits = x.detach().clone().requires_grad_()
            loss = module(logits.log_softmax(-1), *rest)
            found.append((loss, *torch.autograd.grad(loss.sum(), logits)))
        assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
