"""AdaptiveLogSoftmaxWithLoss beside forward: log_prob, predict, errors, which clusters are computed."""

import pytest
import torch
from test_graph import left_to_autograd
from torch.testing import assert_close

from manualgrad import nn
from manualgrad.layers.adaptive import adaptive_log_softmax_with_loss

OPTIONS = {"div_value": 2.0, "head_bias": True}
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
T = torch.tensor


def both():
    """Ours and torch's, with the same weights."""
    modules = []
    for namespace in (nn, torch.nn):
        torch.manual_seed(0)
        modules.append(namespace.AdaptiveLogSoftmaxWithLoss(4, 9, [2, 5], **OPTIONS).double())
    return modules


@pytest.mark.parametrize("target", [[0, 1, 1, 0, 1, 0], [8, 5, 7, 8, 6, 5], [0, 8, 2, 4, 1, 5]], ids=str)
@pytest.mark.parametrize("part", ["output", "loss"])
def test_same_as_torch(target, part):
    """Every cluster in use, or one, or none: the weights of the others get no gradient."""
    found = []
    for module in both():
        x = X.clone().requires_grad_()
        result = module(x, T(target))
        tensors = [x, *module.parameters()]
        grads = torch.autograd.grad(getattr(result, part).sin().sum(), tensors, allow_unused=True)
        found.append((*result, *grads))
    assert type(result).__name__ == "_ASMoutput"
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_empty_batch():
    """No outputs, and a mean over nothing."""
    found = []
    for module in both():
        x = X[:0].clone().requires_grad_()
        result = module(x, T([]).long())
        weights = [x, module.head.weight, module.head.bias]
        found.append((*result, *torch.autograd.grad(result.loss, weights)))
    assert_close(found[0], found[1], equal_nan=True)


def test_log_prob():
    found = []
    for module in both():
        x = X.clone().requires_grad_()
        y = module.log_prob(x)
        found.append((y, *torch.autograd.grad(y.sin().sum(), [x, *module.parameters()])))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
    assert_close(y.exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_log_prob_leaves_nothing_to_autograd():
    assert left_to_autograd([both()[0].log_prob(X.clone().requires_grad_())]) == set()


@pytest.mark.parametrize("size", [0, 1, 500])
def test_predict(size):
    """With inputs of which some are, and some are not, in the shortlist."""
    x = 3 * torch.randn(size, 4, dtype=torch.float64)
    ours, theirs = (module.predict(x) for module in both())
    assert_close(ours, theirs)
    if size > 1:
        assert ours.min() < 2 < ours.max()


def test_only_clusters_in_use_are_computed():
    """A broken cluster is not noticed as long as nobody is in it."""
    module = both()[0]
    torch.nn.init.constant_(module.tail[1][1].weight, float("nan"))
    assert module(X, T([0, 1, 2, 3, 4, 0])).output.isfinite().all()
    assert module(X, T([0, 1, 2, 3, 4, 5])).output.isnan().sum() == 1


def test_targets_that_nobody_can_look_at():
    """Under vmap over the targets the clusters are masked, and give the same."""
    module = both()[0]
    targets = T([[0, 8, 2, 4, 1, 5], [1, 1, 0, 0, 1, 1]])
    got = torch.func.vmap(lambda t: module(X, t).output)(targets)
    assert_close(got, torch.stack([module(X, t).output for t in targets]))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 3, 4), r"head_weight must have 4 rows for cutoffs=\[2, 5, 9\]"),
        ((4, 2, 4), r"tails\[0\]\[1\] must have 3 rows"),
        ((4, 3, 1), r"tails\[1\]\[1\] must have 4 rows"),
        ((4, 3), "make 2 clusters, but there are 1 tails"),
    ],
    ids=str,
)
def test_weights_without_a_row_for_each_class_are_refused(sizes, message):
    """A kernel would read, and write, what is behind them."""
    head, *tails = [torch.randn(rows, 4, dtype=torch.float64, requires_grad=True) for rows in sizes]
    down = torch.randn(4, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=f"adaptive_log_softmax_with_loss: .*{message}"):
        adaptive_log_softmax_with_loss(X, T([0, 8, 2, 4, 1, 5]), [2, 5, 9], head, [(down, q) for q in tails])


def deeper(module):
    """A cluster of three modules, of which one is no linear map."""
    module.tail[0] = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)
    ).double()


def with_bias(module):
    module.tail[1][1] = torch.nn.Linear(module.tail[1][0].out_features, 4).double()


def hooked(module):
    module.head.register_forward_hook(lambda m, args, y: 2 * y)
    module.tail[0].register_forward_pre_hook(lambda m, args: (args[0].sin(),))
    module.tail[1][0].register_forward_hook(lambda m, args, y: y.cos())


def parametrized(module):
    torch.nn.utils.parametrizations.weight_norm(module.tail[0][1])
    torch.nn.utils.parametrizations.weight_norm(module.head)


def another_head(module):
    module.head = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sigmoid()).double()


CHANGED = [deeper, with_bias, hooked, parametrized, another_head]


@pytest.mark.parametrize("target", [[0, 8, 2, 4, 1, 5], [8, 5, 7, 8, 6, 5], 3], ids=str)
@pytest.mark.parametrize("change", CHANGED, ids=lambda change: change.__name__)
def test_head_and_tail_that_are_not_torchs(change, target):
    """They are called, as torch calls them: their values, their gradients, and which there are."""
    found = []
    for module in both():
        torch.manual_seed(1)
        change(module)
        x = (X if isinstance(target, list) else X[0]).clone().requires_grad_()
        result = module(x, T(target))
        more = module.log_prob(x.reshape(-1, 4))
        tensors = [x, *module.parameters()]
        losses = result.output.sin().sum() + result.loss, more.cos().sum()
        grads = [g for loss in losses for g in torch.autograd.grad(loss, tensors, allow_unused=True)]
        found.append((*result, more, *grads))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("change", [with_bias, parametrized], ids=lambda change: change.__name__)
def test_head_and_tail_that_are_not_torchs_under_vmap(change):
    module = both()[0]
    change(module)
    targets = T([[0, 8, 2, 4, 1, 5], [1, 1, 0, 0, 1, 1]])
    got = torch.func.vmap(lambda t: module(X, t).output)(targets)
    assert_close(got, torch.stack([module(X, t).output for t in targets]))


def test_a_bias_of_a_cluster_leaves_nothing_to_autograd():
    module = both()[0]
    with_bias(module)
    assert left_to_autograd([*module(X.clone().requires_grad_(), T([0, 8, 2, 4, 1, 5]))]) == set()


ERRORS = {
    "class": (lambda m: m(X, T([0, 1, 2, 3, 4, 9])), r"\[0, 8\].*\[0, 9\]"),
    "negative class": (lambda m: m(X, T([0, 1, 2, 3, 4, -1])), r"\[-1, 4\]"),
    "batch": (lambda m: m(X, T([0, 1])), r"\[6, 4\] and \[2\]"),
    "target axes": (lambda m: m(X, T([[0]])), r"target.*\[1, 1\]"),
    "one input": (lambda m: m(X[0], T([0, 1, 2, 3])), r"2 axes.*\[4\]"),
    "several inputs": (lambda m: m(X, T(0)), "1 axes"),
    "features": (lambda m: m(X[:, :3], T([0, 1, 2, 3, 4, 5])), r"in_features=4.*\[6, 3\]"),
    "dtype": (lambda m: m(X, T([0.0, 1, 2, 3, 4, 5])), "int32 or int64.*float32"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_torchs_type(name):
    call, message = ERRORS[name]
    ours, theirs = both()
    with pytest.raises(Exception) as error:  # noqa: PT011
        call(theirs)
    with pytest.raises(error.type, match=message):
        call(ours)


@pytest.mark.parametrize("cutoffs", [[], [5, 2], [0, 2], [2, 9], [2, 2]], ids=str)
def test_cutoffs(cutoffs):
    for namespace in (nn, torch.nn):
        with pytest.raises(ValueError, match="cutoffs"):
            namespace.AdaptiveLogSoftmaxWithLoss(4, 9, cutoffs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast(dtype):
    """torch's raises here for a float32 input; the output has the input's dtype, as where it does not."""
    module = both()[0]
    expected = module(X, T([0, 8, 2, 4, 1, 5]))
    module = module.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(X.to(dtype), T([0, 8, 2, 4, 1, 5]))
    assert found.output.dtype == found.loss.dtype == dtype
    assert_close(found.output.double(), expected.output, rtol=2e-2, atol=2e-2)
