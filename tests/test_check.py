"""check works on anyone's Function, functional or module, and names what is wrong."""

import pytest
import torch
from rows import DERIVED, build
from torch import Tensor, nn

import manualgrad
from manualgrad.layers.linear import LinearFunction


class Square(torch.autograd.Function):
    """A stranger's Function, with forward(ctx, ...)."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return factor * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * ctx.factor * x * grad, None


def variant(**methods) -> type:
    """Square with other methods."""
    return type("Variant", (Square,), {name: staticmethod(method) for name, method in methods.items()})


X = torch.linspace(-1, 2, 12).reshape(3, 4)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in DERIVED])
def test_layers_pass(row):
    module, inputs = build(row.cases[0], row.ours)
    report = manualgrad.check(module, *inputs, **row.cases[0].forward)
    assert report, report
    assert report["parity"].details == [f"as {(row.counterpart or type(module)).__name__}"]


def test_strangers_function_passes():
    report = manualgrad.check(Square, X, 3.0)
    assert report, report
    assert report["parity"].status == "-"
    assert [row.property for row in report.rows] == [
        "parity",
        "gradient",
        "double gradient",
        "batched gradient",
        "dtypes and shapes",
        "layouts",
        "partial gradients",
        "ties",
        "tiny probabilities",
        "half precision",
    ]


def test_against():
    assert manualgrad.check(Square, X, 3.0, against=lambda x, factor: factor * x**2)
    report = manualgrad.check(Square, X, 3.0, against=lambda x, factor: factor * x**3)
    assert report["parity"].status == "FAIL"
    assert "output: largest error" in report["parity"].details[0]


def test_function_functional_and_module_are_alike():
    x, w, b = torch.randn(4, 5), torch.randn(3, 5), torch.randn(3)
    assert manualgrad.check(LinearFunction, x, w, b)
    assert manualgrad.check(manualgrad.functional.linear, x, w, bias=b)["parity"].details == ["as linear"]
    assert manualgrad.check(manualgrad.nn.Linear(5, 3), x)["parity"].details == ["as Linear"]
    assert manualgrad.check(nn.Sequential(manualgrad.nn.Linear(5, 3), manualgrad.nn.ReLU(inplace=True)), x)


def test_only_what_requires_a_gradient_is_checked():
    def detached(x: Tensor, y: Tensor) -> Tensor:
        return x * y.detach()

    x, y = torch.randn(3), torch.randn(3)
    assert not manualgrad.check(detached, x, y)
    assert manualgrad.check(detached, x.clone().requires_grad_(), y)


def test_inputs_and_module_stay_as_they_are():
    module, x = manualgrad.nn.BatchNorm1d(3), torch.randn(4, 3)
    state, before = {k: v.clone() for k, v in module.state_dict().items()}, x.clone()
    assert manualgrad.check(module, x)
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    assert torch.equal(x, before)
    assert x.dtype == torch.float32
    assert all(p.grad is None for p in module.parameters())


def failing(report, name: str) -> str:
    assert report[name].status == "FAIL", report
    return " ".join(report[name].details)


def test_wrong_gradient_is_located():
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        wrong = torch.zeros_like(x)
        wrong[1, 2] = 1.0
        return 2 * ctx.factor * x * grad + wrong * grad, None

    text = failing(manualgrad.check(variant(backward=backward), X, 3.0), "gradient")
    assert text.startswith("x: largest error")
    assert "at [1, 2]: expected" in text
    assert "got" in text
    assert "(1 of 12 elements wrong)" in text


def test_the_wrong_argument_is_named():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, left, right):
            ctx.save_for_backward(left, right)
            return left * right

        @staticmethod
        def backward(ctx, grad):
            _, right = ctx.saved_tensors
            return grad * right, grad * right

    text = failing(manualgrad.check(Product, torch.randn(3), torch.randn(3)), "gradient")
    assert text.startswith("right:")


def test_saved_intermediate_breaks_the_double_gradient():
    class Exponential(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.slope = x.exp()  # a constant, as far as autograd knows
            return x.exp()

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.slope

    report = manualgrad.check(Exponential, torch.randn(3))
    assert [row.property for row in report.failures] == ["double gradient"]


def test_once_differentiable_is_no_failure():
    backward = torch.autograd.function.once_differentiable(Square.backward)
    report = manualgrad.check(variant(backward=backward), X, 3.0)
    assert report["double gradient"].status == "-"
    assert report["gradient"].status == "ok"


def test_grad_output_written_into():
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.mul_(2 * ctx.factor * x), None

    assert "writes into grad_output" in failing(
        manualgrad.check(variant(backward=backward), X, 3.0), "layouts"
    )


def test_contiguous_grad_output_assumed():
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        dense = grad.as_strided(x.shape, (4, 1))
        return 2 * ctx.factor * x * dense, None

    assert "grad_output" in failing(manualgrad.check(variant(backward=backward), X, 3.0), "layouts")


def test_shape_and_dtype_that_autograd_would_hide():
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale):
            ctx.save_for_backward(x, scale)
            return x * scale

        @staticmethod
        def backward(ctx, grad):
            x, scale = ctx.saved_tensors
            return (grad * scale).double(), grad * x  # not summed over the batch: autograd does it silently

    report = manualgrad.check(Scale, torch.randn(4, 3), torch.randn(3))
    assert report["gradient"].status == "ok"
    text = failing(report, "dtypes and shapes")
    assert "gradient 1: shape [4, 3], but the argument has [3]" in text
    assert "gradient 0: torch.float64, but the argument has torch.float32" in text


def test_partial_gradients():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, left, right):
            ctx.save_for_backward(left, right)
            return left * right

        @staticmethod
        def backward(ctx, grad):
            left, right = ctx.saved_tensors
            return grad * right, (grad * left if ctx.needs_input_grad[0] else grad)

    text = failing(manualgrad.check(Product, torch.randn(3), torch.randn(3)), "partial gradients")
    assert text.startswith("only right need gradients: right:")


def test_kinks_accept_any_slope_between():
    assert manualgrad.check(manualgrad.functional.relu, torch.tensor([-1.0, 0.0, 1.0]))

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return torch.where(x == 0, 3 * grad, grad * (x > 0))

    assert "at [1]" in failing(manualgrad.check(Wrong, torch.tensor([-1.0, 0.0, 1.0])), "gradient")


def test_jumps_are_not_checked_and_said_so():
    def leap(x):
        return torch.where(x >= 1, x + 1, x)

    report = manualgrad.check(leap, torch.tensor([0.5, 1.0]))
    assert report["gradient"].details == ["x: not continuous at 1 elements, which were not checked"]
    report = manualgrad.check(manualgrad.functional.relu, torch.tensor([-1.0, 0.0, 1.0]))
    assert report["gradient"].details == ["input: a kink at 1 elements, any slope between is right"]


def test_tensors_in_lists_and_dicts():
    class Wrong(Square):
        @staticmethod
        def backward(ctx, grad):
            return grad, None

    def nested(xs, options):
        return {"y": (xs[0] * options["scale"], [Wrong.apply(xs[1], 1.0)])}

    report = manualgrad.check(nested, [X, X], {"scale": X})
    assert failing(report, "gradient").startswith("xs[1]: largest error")
    assert report["batched gradient"].status == "ok"
    assert "returns no floating-point tensor" in str(manualgrad.check(lambda x: x.argmax(), X))


def test_large_inputs_are_sampled_and_said_so():
    report = manualgrad.check(Square, torch.randn(40, 50), 3.0)
    assert report, report
    assert report["gradient"].details == ["x at 100 of its 2000 elements"]


def test_errors_become_rows():
    def raising(x):
        raise ValueError("no such luck")

    report = manualgrad.check(raising, X)
    assert not report
    assert report.rows[0].details == ["raises ValueError: no such luck"]

    def backward(ctx, grad):
        raise RuntimeError("not written yet")

    assert "not written yet" in failing(manualgrad.check(variant(backward=backward), X, 3.0), "gradient")


def test_misuse():
    with pytest.raises(TypeError, match="got Linear; check an instance"):
        manualgrad.check(nn.Linear, X)
    with pytest.raises(TypeError, match="got int"):
        manualgrad.check(3, X)
    with pytest.raises(TypeError, match="no floating-point tensor"):
        manualgrad.check(Square, torch.tensor([1, 2]), 3.0)
    with pytest.raises(KeyError, match="no property 'speed'"):
        manualgrad.check(Square, X, 3.0)["speed"]


def test_report_is_readable():
    text = str(manualgrad.check(Square, X, 3.0))
    assert text.splitlines()[0] == "check Square: passed"
    assert "  gradient            ok" in text.splitlines()


def test_inputs_of_any_strides():
    """Moved element by element, and found where they are, also if no flat view of them is to be had."""
    x, p = torch.randn(3, 4).T, torch.rand(3, 4).T
    assert manualgrad.check(manualgrad.functional.softmax, x, dim=1)
    assert manualgrad.check(manualgrad.functional.binary_cross_entropy, p, torch.rand(4, 3))

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        wrong = torch.zeros_like(x)
        wrong[1, 2] = 1.0
        return 2 * ctx.factor * x * grad + wrong * grad, None

    text = failing(manualgrad.check(variant(backward=backward), x, 3.0), "gradient")
    assert "at [1, 2]: expected" in text
