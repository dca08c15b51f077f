"""check names what is wrong: each of a library of wrong backwards by its kind, and none that is right."""

import pytest
import torch
from test_check import Square, X, variant
from torch import Tensor, nn
from wrong import RIGHT, WRONG

import manualgrad
from manualgrad.check.kinds import KINDS

# What no hypothesis explains: rejected, located, but without a name. Strict: one that gets a name has to go.
UNNAMED = {
    "embedding of the last occurrence": "the sum lacks some of its terms, as indices have it",
    "rnn states one late": "what is moved, the hidden states, is neither argument nor output of one step",
}


@pytest.mark.parametrize("wrong", [pytest.param(w, id=w.name.replace(" ", "-")) for w in WRONG])
def test_wrong_backward_is_rejected_and_named(wrong, request):
    report = manualgrad.check(wrong.target, *wrong.inputs(), **wrong.kwargs)
    assert not report
    if wrong.name in UNNAMED:
        assert not report.diagnoses, "it has a name now: remove it from UNNAMED"
        assert "none of the mistakes known by name" in " ".join(report["gradient"].details)
        return
    kinds = {d.kind for d in report.diagnoses if wrong.argument in (None, d.argument) or not d.argument}
    assert kinds & {wrong.kind, *wrong.also}, report


def test_the_library_is_large_enough():
    per_kind = {kind: sum(w.kind == kind for w in WRONG) for kind in KINDS}
    assert len(WRONG) >= 60
    assert {kind for kind, count in per_kind.items() if count < 3} == {
        "not written",  # two: with a message and without
        "wrong number of gradients",  # these are autograd's own errors, tested below
        "raises",
        "saved tensor written into",
        "not for vmap",
        "needs_input_grad misread",
    }
    assert len(UNNAMED) <= 0.1 * len(WRONG)
    assert set(UNNAMED) <= {w.name for w in WRONG}


@pytest.mark.parametrize("right", [pytest.param(r, id=r.name) for r in RIGHT])
def test_right_backward_passes(right):
    report = manualgrad.check(right.target, *right.inputs(), **right.kwargs)
    assert report, report
    assert not report.diagnoses


class Product(torch.autograd.Function):
    """A matrix product, to be given backwards."""

    @staticmethod
    def forward(left, right):
        return left @ right

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)


LEFT, RIGHT_MATRIX = torch.linspace(-1, 1, 6).reshape(2, 3), torch.linspace(0, 2, 12).reshape(3, 4) ** 2


def kinds_of(backward, *inputs) -> list[str]:
    cls = type("Wrong", (Product,), {"backward": staticmethod(backward)})
    return [d.kind for d in manualgrad.check(cls, *inputs).diagnoses]


def test_kinds_that_are_errors_of_autograd():
    def too_few(ctx, g):
        return g @ ctx.saved_tensors[1].mT

    def shapes_do_not_fit(ctx, g):
        left, right = ctx.saved_tensors
        return g @ right, left.mT @ g

    def asks_for_a_number(ctx, g):
        left, right = ctx.saved_tensors
        return g @ right.mT * (1 if g.sum().item() else 0), left.mT @ g

    def misreads_what_is_needed(ctx, g):
        left, right = ctx.saved_tensors
        return g @ right.mT, left.mT @ g * (1 if ctx.needs_input_grad[0] else 2)

    def breaks(ctx, g):
        raise OSError("no disk")

    def writes_into_saved(ctx, g):
        left, right = ctx.saved_tensors
        right.mul_(1)
        return g @ right.mT, left.mT @ g

    matrices = LEFT, RIGHT_MATRIX
    assert kinds_of(too_few, *matrices) == ["wrong number of gradients"]
    assert kinds_of(shapes_do_not_fit, *matrices) == ["transposed"]  # seen on arguments cut to 2 x 2
    assert kinds_of(asks_for_a_number, *matrices) == ["not for vmap"]
    assert kinds_of(misreads_what_is_needed, *matrices) == ["needs_input_grad misread"]
    assert kinds_of(breaks, *matrices) == ["raises"]
    assert "saved tensor written into" in kinds_of(writes_into_saved, *matrices)


def test_a_mistake_inside_a_network_of_one_function():
    class Network(torch.autograd.Function):
        @staticmethod
        def forward(x, w, v):
            return torch.tanh(x @ w).softmax(1) @ v

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, w, v = ctx.saved_tensors
            h = torch.tanh(x @ w)
            p = h.softmax(1)
            dh = p * (1 - p) * (g @ v.mT)
            dz = dh * (1 - h * h)
            return dz @ w.mT, x.mT @ dz, p.mT @ g

    torch.manual_seed(0)
    report = manualgrad.check(Network, torch.randn(4, 3), torch.randn(3, 5), torch.randn(5, 2))
    assert [(d.kind, d.argument) for d in report.diagnoses] == [
        ("softmax diagonal", "x"),
        ("softmax diagonal", "w"),
    ]


def test_functions_inside_functionals_and_modules():
    class Wrong(Square):
        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return ctx.factor * x * grad, None

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(1, 2, 4))

        def forward(self, x):
            return Wrong.apply(x, 3.0) * self.weight

    for target in (lambda x: Wrong.apply(x, 3.0), Layer()):
        (diagnosis,) = manualgrad.check(target, X).diagnoses
        assert (diagnosis.kind, diagnosis.argument) == ("constant factor", "x")
        assert "1/2 times" in diagnosis.finding


def test_one_mistake_for_each_argument():
    def backward(ctx, g):
        left, right = ctx.saved_tensors
        return -g @ right.mT, 2 * left.mT @ g

    assert kinds_of(backward, LEFT, RIGHT_MATRIX) == ["sign", "constant factor"]


def test_what_cannot_be_explained_is_said():
    def nonsense(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.sin(), None

    report = manualgrad.check(variant(backward=nonsense), X, 3.0)
    assert report["gradient"].details[-1] == "none of the mistakes known by name explains it alone"
    report = manualgrad.check(variant(backward=nonsense), torch.randn(40, 50), 3.0)
    assert "smaller arguments would be explained" in report["gradient"].details[-1]
    assert not report.diagnoses


def test_outputs_without_derivative_are_left_out():
    class TopTwo(torch.autograd.Function):
        @staticmethod
        def forward(x):
            values, places = x.topk(2)
            return values, places.to(x.dtype)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(output[1])
            ctx.length = inputs[0].shape[-1]

        @staticmethod
        def backward(ctx, g, _):
            (places,) = ctx.saved_tensors
            return (g[..., None] * (places[..., None] == torch.arange(ctx.length))).sum(-2)

    report = manualgrad.check(TopTwo, X)
    assert report, report
    assert report["gradient"].details == ["output 1 requires no gradient and was left out"]


def wrong_report():
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return -2 * ctx.factor * x * grad, None

    return manualgrad.check(variant(backward=backward), X, 3.0)


def test_report_names_the_mistake_and_advises_once():
    text = str(wrong_report())
    assert "→ sign: the gradient of x is the negative of the true one" in text
    assert " ".join(text.split()).count(KINDS["sign"]) == 1
    assert "\x1b" not in text
    assert "ties                -     once the gradient is right" in text


def test_report_in_a_terminal_and_in_a_notebook(monkeypatch):
    report = wrong_report()
    assert "\x1b[33;1msign\x1b[0m" in report.text(colour=True)
    html = report._repr_html_()
    assert "sign</span>: the gradient of x is the negative of the true one" in html
    assert "→" in html
    assert html.count("<tr>") == len(report.rows) == html.count("</tr>")

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in str(report)
    assert "\x1b" not in report.text()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in str(report)


def test_a_report_escapes_what_it_quotes_in_html():
    def backward(ctx, grad):
        raise NotImplementedError("grad_x = ? <b> & more")

    html = manualgrad.check(variant(backward=backward), X, 3.0)._repr_html_()
    assert "&lt;b&gt; &amp; more" in html
    assert "<b>" not in html


def test_an_error_without_a_message():
    def backward(ctx, grad):
        raise NotImplementedError

    report = manualgrad.check(variant(backward=backward), X, 3.0)
    assert [d.kind for d in report.diagnoses] == ["not written"]
    assert [row.status for row in report.rows[2:]] == ["-"] * (len(report.rows) - 2)


def test_ties_are_seen_where_the_point_has_none():
    class Largest(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.amax(-1)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0], output)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g[..., None] * (x == y[..., None])

    report = manualgrad.check(Largest, torch.tensor([[0.1, 0.7, 0.3], [2.0, 1.0, 0.5]]))
    assert [d.kind for d in report.diagnoses] == ["ties given to all"]


def test_a_clamp_is_seen_where_no_probability_is_tiny():
    class NegativeLog(torch.autograd.Function):
        @staticmethod
        def forward(p: Tensor) -> Tensor:
            return -p.log()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (p,) = ctx.saved_tensors
            return -g / p.clamp(min=1e-7)

    report = manualgrad.check(NegativeLog, torch.tensor([0.2, 0.5, 0.9]))
    assert [row.property for row in report.failures] == ["tiny probabilities"]
    assert [d.kind for d in report.diagnoses] == ["log clamped"]


def test_a_backward_of_another_class():
    class Borrowed(Square):
        backward = Square.backward  # a plain function in the class's dictionary

    assert manualgrad.check(Borrowed, X, 3.0)


def test_at_a_kink_the_first_derivative_jumps_and_has_none():
    assert manualgrad.check(
        torch.abs, torch.tensor([0.0, 1.0, -2.0])
    )  # sign(0) = 0 is the middle of its jump


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (2.0, "2 times"),
        (0.25, "1/4 times the true one; 4 is the length of axis 1 of x"),
        (3**0.5, "1.732"),
        (1 / 0.3, "1/factor times the true one; factor = 0.3"),
    ],
)
def test_factors_have_names(factor, name):
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * factor * ctx.factor * x * grad, None

    X = torch.linspace(-1, 2, 8).reshape(2, 4)
    (diagnosis,) = manualgrad.check(variant(backward=backward), X, 0.3).diagnoses
    assert diagnosis.kind == "constant factor"
    assert name in diagnosis.finding


def test_dtypes_that_meet_in_backward_are_reported_as_such():
    def backward(ctx, g):
        left, right = ctx.saved_tensors
        wide = g.float() if g.dtype == torch.bfloat16 else g
        return wide @ right.mT, left.mT @ g

    cls = type("Wrong", (Product,), {"backward": staticmethod(backward)})
    (diagnosis,) = manualgrad.check(cls, LEFT, RIGHT_MATRIX).diagnoses
    assert diagnosis.kind == "raises"
    assert "dtype" in diagnosis.finding


def test_what_is_no_mistake_in_a_formula_is_said():
    def remark(cls_or_function, *inputs) -> str:
        report = manualgrad.check(cls_or_function, *inputs)
        assert not report
        assert "gradient" not in {row.property for row in report.rows if row.diagnoses}
        return " ".join(report["gradient"].details)

    def of(factor):
        return variant(backward=lambda ctx, grad: (grad * factor(grad), None))

    assert "the gradient of x is not finite" in remark(of(lambda g: float("nan")), X, 3.0)
    assert "x is another one each time" in remark(of(torch.randn_like), X, 3.0)
    assert "the gradient of x is 0: backward returns it, or detach()" in remark(of(torch.zeros_like), X, 3.0)
    assert "the gradient of w is 0" in remark(lambda x, w: x * torch.tensor(w.tolist()), X, X[0])
    assert "no output requires a gradient: detach()" in remark(lambda x: x.detach().sin(), X)
    assert "the output is not finite here" in remark(torch.log, X)


def test_what_is_no_tuple_of_tensors_is_left_to_autograd_to_name():
    def backward(value):
        return variant(backward=lambda ctx, grad: value(grad))

    (diagnosis,) = manualgrad.check(backward(lambda g: [g, None]), X, 3.0).diagnoses
    assert diagnosis.kind == "wrong number of gradients"
    (diagnosis,) = manualgrad.check(backward(lambda g: (2.0, None)), X, 3.0).diagnoses
    assert diagnosis.kind == "raises"
    assert "float" in diagnosis.finding
    assert "attribute" not in diagnosis.finding


def test_random_numbers_go_on_as_if_nothing_had_been_checked():
    def backward(ctx, grad):
        torch.manual_seed(1)
        return grad * torch.rand_like(grad), None

    before = torch.get_rng_state()
    manualgrad.check(variant(backward=backward), X, 3.0)
    assert torch.equal(before, torch.get_rng_state())


def test_everything_is_restored_when_backward_is_interrupted():
    def backward(ctx, grad):
        raise KeyboardInterrupt

    interrupted = variant(backward=backward)
    before, state = dict(vars(interrupted)), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        manualgrad.check(interrupted, X, 3.0)
    assert dict(vars(interrupted)) == before
    assert torch.equal(state, torch.get_rng_state())


def test_methods_of_the_class():
    class Cosine(torch.autograd.Function):
        @classmethod
        def forward(cls, ctx, x):
            ctx.save_for_backward(x)
            return x.cos()

        @classmethod
        def backward(cls, ctx, g):
            (x,) = ctx.saved_tensors
            return -g * x.sin()

    before = dict(vars(Cosine))
    report = manualgrad.check(Cosine, X)
    assert report, report
    assert dict(vars(Cosine)) == before


def test_a_name_that_says_too_much_is_not_given():
    class Largest(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.shape = x.shape
            return x.amax(-1)

        @staticmethod
        def backward(ctx, g):
            return g[:, None].expand(ctx.shape)  # also to those that are not the largest

    assert [d.kind for d in manualgrad.check(Largest, torch.randn(3, 4)).diagnoses] == ["mask not applied"]

    class Total(Largest):
        @staticmethod
        def forward(ctx, x):
            return x.sum(-1)

        @staticmethod
        def backward(ctx, g):
            return g[:, None]

    assert [d.kind for d in manualgrad.check(Total, torch.randn(3, 4)).diagnoses] == ["wrong shape or dtype"]

    class Narrow(Square):
        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return (2 * ctx.factor * x * grad).float(), None

    assert [d.kind for d in manualgrad.check(Narrow, X, 3.0).diagnoses] == ["wrong shape or dtype"]


def test_the_search_for_a_name_stays_short():
    calls = 0

    class Convolution(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            nonlocal calls
            calls += 1
            ctx.save_for_backward(x, w)
            return torch.conv2d(x, w, padding=1)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return x * torch.conv_transpose2d(g, w, padding=1), w * g.sum()

    assert not manualgrad.check(Convolution, torch.randn(1, 2, 7, 7), torch.randn(2, 2, 3, 3)).diagnoses
    assert calls < 3000


class LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.logsumexp(-1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g[..., None] * (x - y[..., None]).exp()


PROBABILITIES = torch.linspace(0.1, 0.9, 6).reshape(2, 3)


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        (LogSumExp, (torch.linspace(-1, 1, 24).sin().reshape(4, 6) + 50,)),  # half rounds 50.2 to 50.25
        (lambda x: x.relu() ** 2, (torch.tensor([0.0, 1.0, -1.0]),)),  # whose second derivative jumps at 0
        (torch.linalg.inv, (torch.eye(4) + torch.linspace(-1, 1, 16).sin().reshape(4, 4),)),
        (torch.nn.functional.hardsigmoid, (X,)),  # PyTorch has no second derivative of it
        (torch.cdist, (X, X + 1)),
        (torch.nn.functional.binary_cross_entropy, (PROBABILITIES, PROBABILITIES.flip(0))),
    ],
)
def test_difficult_points_are_no_mistakes(target, inputs):
    report = manualgrad.check(target, *inputs)
    assert report, report


def test_refusals_of_pytorch_are_reported_as_such():
    report = manualgrad.check(torch.nn.functional.hardsigmoid, X)
    assert report["double gradient"].status == "-"
    assert "not implemented (it refuses" in report["double gradient"].details[0]


def test_a_forward_that_computes_in_float32_is_told_so():
    class Rounded(Square):
        @staticmethod
        def forward(ctx, x, factor):
            return Square.forward(ctx, x.float(), factor).to(x.dtype)

    report = manualgrad.check(Rounded, X, 3.0)
    assert not report.diagnoses
    assert "forward computes in float32" in report["gradient"].details[-1]
    layer = nn.Linear(4, 2)
    assert "called in float64" in manualgrad.check(lambda x: layer(x), X)["forward"].details[-1]


def test_a_function_that_raises_elsewhere_is_not_given_another_name():
    class Times(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            if not all(ctx.needs_input_grad):
                raise OSError("no disk")
            return g * y, g * x

    (diagnosis,) = manualgrad.check(Times, X, X + 1).diagnoses
    assert (diagnosis.kind, diagnosis.finding) == ("raises", "OSError: no disk")


def test_a_child_that_inherits_backward_alone():
    class Sharper(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return (3 * x).softmax(-1)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            y = (2 * x).softmax(-1)
            return 2 * y * (1 - y) * g

    class Sharp(Sharper):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (2 * x).softmax(-1) + 0 * x

    (diagnosis,) = manualgrad.check(lambda x: Sharp.apply(x) ** 2, X).diagnoses
    assert diagnosis.kind == "softmax diagonal"


def test_a_wrong_branch_at_small_numbers_is_no_clamp():
    class Huber(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.where(x < 0.5, x * x, x - 0.25)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * torch.where(x < 0.5, x, torch.ones_like(x))  # forgot the 2

    assert not manualgrad.check(Huber, torch.linspace(0.1, 0.9, 7)).diagnoses


def test_a_part_that_ignores_grad_output():
    def backward(ctx, g):
        left, right = ctx.saved_tensors
        return g @ right.mT + 1, left.mT @ g

    assert kinds_of(backward, LEFT, RIGHT_MATRIX) == ["upstream gradient ignored"]


def test_arguments_outside_of_the_domain_are_not_tried():
    class Roots(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if bool((x < 0).any()):
                raise ValueError("roots of negative numbers")
            ctx.save_for_backward(x)
            return x.sqrt()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * x.sin()

    assert not manualgrad.check(Roots, PROBABILITIES).diagnoses
