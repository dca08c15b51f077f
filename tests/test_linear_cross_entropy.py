"""LinearCrossEntropyLoss: what is stored, and what torch's chunked form cannot do."""

import pytest
import torch
from torch.testing import assert_close

from manualgrad import functional, kernels, nn

Options = nn.LinearCrossEntropyOptions


def saved_bytes(loss, *inputs) -> int:
    """Bytes saved for backward that are neither inputs nor parameters."""
    known = {t.untyped_storage().data_ptr() for t in (*inputs, *loss.parameters())}
    saved = {}

    def pack(t):
        if t.untyped_storage().data_ptr() not in known:
            saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss(*inputs)
    return sum(saved.values())


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_saved_bytes_do_not_grow_with_the_classes(reduction):
    x = torch.randn(64, 8, requires_grad=True)
    counts = {}
    for classes in (10, 1000):
        target = torch.randint(classes, (64,))
        for namespace in (nn, torch.nn):
            loss = namespace.LinearCrossEntropyLoss(8, classes, bias=True, reduction=reduction)
            counts[namespace, classes] = saved_bytes(loss, x, target)
    assert counts[nn, 10] == counts[nn, 1000] == 0
    assert (
        counts[torch.nn, 1000] - counts[torch.nn, 10] >= 64 * 990 * 4
    )  # the test sees logits where they are


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The number of elements of the largest memory that is taken."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in torch.utils._pytree.tree_leaves(out):
            if isinstance(t, torch.Tensor):
                self.elements = max(self.elements, t.untyped_storage().nbytes() // t.itemsize)
        return out


@pytest.mark.parametrize(
    ("options", "rows"),
    [(None, 8), (Options and Options(batch_chunk_size=2), 2), (Options and Options(), 2)],
    ids=["default", "batch_chunk_size", "auto"],
)
def test_logits_are_never_whole(options, rows):
    """In forward and in backward, no tensor is larger than a chunk's logits, or the weight."""
    x, weight = torch.randn(64, 8, requires_grad=True), torch.randn(1000, 8, requires_grad=True)
    bias, target = torch.randn(1000, requires_grad=True), torch.randint(1000, (64,))
    with Largest() as seen:
        loss = functional.linear_cross_entropy(x, weight, target, linear_bias=bias, options=options)
        assert seen.elements == max(rows * 1000, weight.numel())
        loss.backward()
    assert seen.elements == max(rows * 1000, weight.numel())


@pytest.mark.parametrize("rows", [1, 3, 5, 8])
@pytest.mark.parametrize("soft", [False, True])
def test_chunks_do_not_change_the_result(rows, soft):
    x, weight = torch.randn(5, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    target = torch.randn(5, 3, dtype=torch.float64).softmax(1) if soft else torch.tensor([0, 2, -100, 1, 1])
    found = []
    for F, options in (
        (functional, Options(batch_chunk_size=rows)),
        (torch.nn.functional, None),
    ):
        tensors = [t.clone().requires_grad_() for t in ((x, weight, target) if soft else (x, weight))]
        loss = F.linear_cross_entropy(
            tensors[0], tensors[1], tensors[2] if soft else target, label_smoothing=0.1, options=options
        )
        found.append((loss, *torch.autograd.grad(loss, tensors)))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_with_options_backward_runs_again_and_twice(reduction):
    """Where torch's chunked form raises: retained graphs, second derivatives, vmap."""
    options = Options(batch_chunk_size=2)
    target = torch.tensor([0, 2, 1])
    x, weight = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def loss(x, weight):
        return functional.linear_cross_entropy(x, weight, target, reduction=reduction, options=options)

    value = loss(x, weight)
    first = torch.autograd.grad(value, (x, weight), retain_graph=True)
    assert_close(torch.autograd.grad(value, (x, weight)), first)
    assert torch.autograd.gradcheck(loss, (x, weight), rtol=1e-5, atol=1e-7)
    assert torch.autograd.gradgradcheck(loss, (x, weight), rtol=1e-5, atol=1e-7)
    theirs = torch.nn.functional.linear_cross_entropy(x, weight, target, reduction=reduction, options=options)
    assert_close((value, *first), (theirs, *torch.autograd.grad(theirs, (x, weight))))


def test_options_that_contradict_each_other():
    options = Options(batch_chunk_size=3, chunking_method="aspect_ratio")
    for F in (functional, torch.nn.functional):
        with pytest.raises(ValueError, match="batch_chunk_size"):
            F.linear_cross_entropy(
                torch.randn(8, 2), torch.randn(9, 2), torch.zeros(8, dtype=torch.long), options=options
            )


@pytest.mark.parametrize("mode", ["auto", "formula"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_slope_that_was_kept(mode, weighted, reduction):
    """Where the logits are no larger than the weight: once, again, batched and differentiated."""
    x, weight, bias = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((9, 12), (5, 12), (5,))
    )
    target = torch.tensor([0, -100, 4] * 3)
    options = {"weight": torch.rand(5).double(), "label_smoothing": 0.1} if weighted else {}

    def loss(F, x, weight, bias):
        return F.linear_cross_entropy(
            x, weight, target, linear_bias=bias, reduction=reduction, **options
        )  # fmt: skip

    with kernels(mode):
        ours, theirs = (loss(F, x, weight, bias) for F in (functional, torch.nn.functional))
        node = ours.grad_fn.next_functions[0][0] if reduction == "none" else ours.grad_fn
        assert node.saved_tensors[-1].shape == (9, 5)
        several = torch.randn(2, *ours.shape, dtype=torch.float64)
        for batched, g in ((False, several[0]), (True, several)):
            found, expected = (
                torch.autograd.grad(
                    y, (x, weight, bias), g, retain_graph=True, is_grads_batched=batched
                )
                for y in (ours, theirs)
            )  # fmt: skip
            assert_close(found, expected)
        assert_close(ours, theirs)
        assert torch.autograd.gradgradcheck(lambda *tensors: loss(functional, *tensors), (x, weight, bias))
