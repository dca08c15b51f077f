"""Distances and the losses made of them: what tables of calls cannot say."""

import options.margin_loss
import pytest
import torch
from torch.testing import assert_close

from manualgrad import functional, nn, swap

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
P = X.softmax(1)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (3, 0)])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, float("inf")])
def test_pdist_of_nothing(shape, p):
    """No pairs, or vectors without elements: torch's backward crashes here."""
    x = torch.randn(shape, requires_grad=True)
    y = functional.pdist(x, p)
    assert_close(y, torch.zeros(shape[0] * (shape[0] - 1) // 2))
    assert_close(torch.autograd.grad(y.sum(), x)[0], torch.zeros(shape))


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, float("inf")])
def test_second_derivatives_of_equal_vectors_are_finite(p):
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for y in (functional.pdist(x, p), functional.pairwise_distance(x, x.detach(), p, eps=0.0)):
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert_close(first, torch.zeros_like(x))
        if first.requires_grad:
            second = torch.autograd.grad((first * X[:2, :3]).sum(), x, allow_unused=True)[0]
            assert second is None or second.isfinite().all()


def test_kl_div_warns_of_mean():
    expected = P.log() - X
    for call in (functional.kl_div, nn.KLDivLoss()):
        with pytest.warns(UserWarning, match="kl_div: reduction: 'mean' .* 'batchmean' is"):
            got = call(X, P)
        assert_close(got, (P * expected).mean())


@pytest.mark.parametrize("name", options.margin_loss.LEGACY)
@pytest.mark.parametrize(
    ("arguments", "reduction"),
    [
        ({"size_average": True}, "mean"),
        ({"size_average": False}, "sum"),
        ({"reduce": False}, "none"),
        ({"size_average": False, "reduce": True}, "sum"),
    ],
)
def test_deprecated_reduction_arguments(name, arguments, reduction):
    call = options.margin_loss.LEGACY[name]
    with pytest.warns(UserWarning, match=f"size_average and reduce args.*reduction='{reduction}'"):
        got = call(functional, X, **arguments)
    with pytest.warns(UserWarning, match=f"size_average and reduce args.*reduction='{reduction}'"):
        expected = call(torch.nn.functional, X, **arguments)
    assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_deprecated_arguments_and_batchmean():
    """torch divides by the batch even if the deprecated arguments replaced the reduction."""
    for F in (functional, torch.nn.functional):
        with pytest.warns(UserWarning, match="size_average and reduce args"):
            got = F.kl_div(X, P, size_average=True, reduction="batchmean")
        assert_close(got, (P * (P.log() - X)).mean() / 3)


def test_soft_margin_does_not_overflow():
    """Where torch's exponential does, and its gradient is NaN."""
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = functional.soft_margin_loss(x, torch.tensor([1, -1]), reduction="none")
    assert_close(loss, torch.tensor([1e4, 1e4]))
    assert_close(torch.autograd.grad(loss.sum(), x)[0], torch.tensor([-1.0, 1.0]))


def test_gradients_of_targets_at_zero():
    """Where torch's are NaN: the limit, and no part of Stirling's formula."""
    x, t = X[0].clone(), torch.zeros(4, dtype=torch.float64, requires_grad=True)
    loss = functional.poisson_nll_loss(x, t, full=True, reduction="sum")
    assert_close(torch.autograd.grad(loss, t)[0], -x)
    loss = functional.kl_div(x, t, reduction="sum")
    assert_close(torch.autograd.grad(loss, t)[0], torch.full_like(t, -float("inf")))


def test_raised_values_have_torchs_second_derivative():
    """torch raises variances and norms to eps without telling autograd; so do we, twice."""
    found = []
    for F in (functional, torch.nn.functional):
        var = torch.tensor([0.1, 0.9, 2.0], dtype=torch.float64, requires_grad=True)
        x = X[:, :3].clone().requires_grad_()
        losses = (
            F.gaussian_nll_loss(x[0], x[1], var, eps=0.5),
            F.cosine_similarity(x, x.flip(0), eps=1.5).sum(),
        )
        first = torch.autograd.grad(sum(losses), (x, var), create_graph=True)
        found.append(torch.autograd.grad(sum(g.sin().sum() for g in first), (x, var)))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_a_variance_for_all_takes_no_memory():
    saved = []
    x = X.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        functional.gaussian_nll_loss(x, X, 0.5)
    assert sorted(t.untyped_storage().nbytes() for t in saved) == [8, 96, 96]


def names(output):
    seen, todo = set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        seen.add(node.name())
        todo += [following for following, _ in node.next_functions if following is not None]
    return seen


@pytest.mark.parametrize("swapped", [False, True])
def test_default_distance_of_a_triplet(swapped):
    """The module holds torch's PairwiseDistance: it is computed by ours, and its hooks are called."""
    module = (torch.nn if swapped else nn).TripletMarginWithDistanceLoss(swap=True)
    if swapped:
        swap(module)
    assert isinstance(module, nn.TripletMarginWithDistanceLoss)
    x = X.clone().requires_grad_()
    expected = torch.nn.functional.triplet_margin_with_distance_loss(x, x.flip(0), x.flip(1), swap=True)
    loss = module(x, x.flip(0), x.flip(1))
    assert_close(loss, expected)
    assert "PairwiseDistanceFunctionBackward" in names(loss)
    assert "LinalgVectorNormBackward0" not in names(loss)
    calls = []
    module.distance_function.register_forward_hook(lambda *_: calls.append(1))
    assert_close(module(x, x.flip(0), x.flip(1)), expected)
    assert len(calls) == 3


def test_a_module_as_distance_keeps_its_gradients():
    """Parameters of a user's distance are trained as in torch."""
    found = []
    for namespace in (nn, torch.nn):
        torch.manual_seed(0)
        bilinear = torch.nn.Bilinear(4, 4, 1).double()
        loss = namespace.TripletMarginWithDistanceLoss(distance_function=bilinear, margin=4.0)
        loss(X, X.flip(0), X.flip(1)).backward()
        found.append([p.grad for p in loss.parameters()])
    assert_close(found[0], found[1])
