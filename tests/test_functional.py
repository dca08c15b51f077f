"""What the functionals have beyond the modules: options, in-place forms, and errors of torch's types."""

import importlib
import pkgutil

import options
import pytest
import torch
import torch.nn.functional as torch_functional
from torch.testing import assert_close

from manualgrad import functional, nn

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

T = torch.tensor


def table(kind: str) -> dict:
    """All tables of a kind in ``options/``, joined."""
    pages = [
        importlib.import_module(f"options.{page.name}") for page in pkgutil.iter_modules(options.__path__)
    ]
    joined = {}
    for page in pages:
        entries = getattr(page, kind, {})
        assert not joined.keys() & entries.keys(), "two tables have an entry of the same name"
        joined |= entries
    return joined


SAME, AUTOCAST, ERRORS = table("SAME"), table("AUTOCAST"), table("ERRORS")


@pytest.mark.parametrize("name", SAME)
def test_same_as_torch(name):
    found = []
    for namespace in (functional, torch_functional):
        x = X.clone().requires_grad_()
        torch.manual_seed(0)
        y = SAME[name](namespace, x)
        found.append((y, *torch.autograd.grad((y * torch.arange(y.numel()).reshape(y.shape)).sum(), x)))
    tolerance = 1e-7 if name.endswith("dtypes") else 1e-10  # one of the two tensors is float32
    assert_close(found[0], found[1], rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "silu", "dropout"])
def test_in_place_really_is(name):
    function = getattr(functional, name)
    x = X.clone()
    y = function(x, inplace=True)
    assert y is x
    assert not torch.equal(x, X)
    leaf = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        function(leaf, inplace=True)
    compiled = torch.compile(lambda x: function(x * 1, inplace=True), backend="aot_eager", fullgraph=True)
    if name != "dropout":
        assert_close(compiled(X), function(X))


def test_in_place_between_layers():
    """As in every ResNet: a batch norm's output is overwritten by the ReLU behind it, and then added to."""
    found = []
    for names in (nn, torch.nn):
        torch.manual_seed(0)
        model = names.Sequential(
            names.Conv2d(3, 4, 3),
            names.BatchNorm2d(4),
            names.ReLU(inplace=True),
            names.Flatten(),
            names.Linear(48, 5),
            names.Dropout(0.3, inplace=True),
            names.Linear(5, 2),
            names.ReLU(inplace=True),
        ).double()
        model(IMAGES).sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_frequency_is_counted_in_any_precision():
    """More occurrences than a half type can count to."""
    weight = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    functional.embedding(
        torch.zeros(1000, dtype=torch.long), weight, scale_grad_by_freq=True
    ).sum().backward()
    assert_close(weight.grad[0], torch.ones(3, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", AUTOCAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_dtypes(name, dtype):
    found = []
    for namespace in (functional, torch_functional):
        x = X.to(dtype)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(AUTOCAST[name](namespace, x))
    assert_close(found[0], found[1], rtol=2e-2, atol=2e-2)


def test_fake_tensors():
    """Shapes are inferred without data, as tools that trace or plan memory do."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.randn(4, 3, requires_grad=True)
        loss = functional.cross_entropy(x, torch.zeros(4, dtype=torch.long))
        loss = loss + functional.binary_cross_entropy(x.sigmoid(), torch.rand(4, 3))
        assert torch.autograd.grad(loss, x)[0].shape == x.shape


def test_deprecated_reduction_arguments():
    with pytest.warns(UserWarning, match="size_average and reduce args"):
        assert_close(
            functional.mse_loss(X, 2 * X, size_average=False),
            torch_functional.mse_loss(X, 2 * X, reduction="sum"),
        )
    with pytest.warns(UserWarning, match="size_average and reduce args"):
        assert functional.l1_loss(X, 2 * X, reduce=False).shape == X.shape


def test_broadcast_target_warns():
    with pytest.warns(UserWarning, match=r"mse_loss: the target has shape \[4\] and the input \[3, 4\]"):
        functional.mse_loss(X, X[0])


def test_implicit_softmax_axis_warns():
    with pytest.warns(UserWarning, match="softmax: dim was not given, and dim=1 was taken"):
        assert_close(functional.softmax(X), torch.softmax(X, 1))


@pytest.mark.filterwarnings("ignore:Using a target size", "ignore:mse_loss. the target has shape")
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_torchs_type(name):
    call, message = ERRORS[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch_functional)
    with pytest.raises(theirs.type, match=message):
        call(functional)


def test_complex_is_refused():
    with pytest.raises(TypeError, match="linear: complex tensors have no hand-written derivative"):
        functional.linear(X.to(torch.complex128), X.to(torch.complex128))


def test_ignored_class_may_be_anything():
    target = torch.tensor([0, 77, 1])
    assert_close(
        functional.cross_entropy(X, target, ignore_index=77),
        torch_functional.cross_entropy(X, target, ignore_index=77),
    )


@pytest.mark.parametrize("captured", [True, False], ids=["captured parameter", "detached"])
def test_compiled_function_transforms(captured):
    """torch.compile of torch.func.grad: Dynamo alone returns zeros if a captured weight is learned."""
    weight = X[:2].clone().requires_grad_(captured)
    grad = torch.func.grad(lambda x: functional.linear(x, weight).sin().sum())
    expected = grad(X).detach()
    torch.compiler.reset()
    assert_close(torch.compile(grad, backend="aot_eager")(X).detach(), expected)
    torch.compiler.reset()
    whole = torch.compile(grad, backend="aot_eager", fullgraph=True)
    if captured:
        with pytest.raises(torch._dynamo.exc.Unsupported, match="detach the captured parameters"):
            whole(X)
    else:
        assert_close(whole(X), expected)
