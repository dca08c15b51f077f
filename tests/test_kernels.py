"""Every kernel against its formula, in every case of the catalog that reaches it."""

import sys

import pytest
import torch
from rows import DERIVED, build, call, gradients, wanted_tensors
from test_derivatives import EXACT, as_function
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import manualgrad
from manualgrad.kernels import twins

pytestmark = pytest.mark.kernels

TWINS = dict(twins())


def cases_of_kernels(edges: bool = False) -> list:
    """(row, case) for every case of a layer one of whose Functions has a twin."""
    return [
        pytest.param(row, case, id=f"{row.name}{case}")
        for row in DERIVED
        if any(function in TWINS for function in row.functions)
        for case in (row.edges if edges else row.cases)
    ]


@pytest.fixture(autouse=True)
def used(monkeypatch) -> set:
    """Kernels are taken for the smallest inputs too. Which ones were: the Functions whose forward ran."""
    cpu = "manualgrad.kernels.cpu"
    monkeypatch.setattr(sys.modules[f"{cpu}._jit"], "CHECKED", True)
    for name, value in {"PRODUCTS": 0, "LEAST": 1, "CACHE": 2**12}.items():
        monkeypatch.setattr(sys.modules[f"{cpu}._winograd"], name, value)
    found = set()

    def watched(twin):
        def takes(*args):
            fits = twin.takes(*args)
            if fits:
                found.add(twin.kernel)
            return fits

        return twin._replace(smallest=0, takes=takes)

    monkeypatch.setattr(
        sys.modules["manualgrad.kernels"], "_table", {f: watched(twin) for f, twin in TWINS.items()}
    )
    return found


def gaps(t):
    """The numbers of ``t``, with others between them in memory."""
    return torch.stack([t, t + 1], -1).detach()[..., 0] if t.is_floating_point() else t


def results(row, case, dtype, mode, spaced=False):
    """Outputs, gradients and buffers, by kernels or by formulas."""
    with manualgrad.kernels(mode):
        module, inputs = build(case, row.ours, dtype)
        if spaced:
            inputs = tuple(gaps(t).requires_grad_() if t.requires_grad else t for t in inputs)
            for t in (*module.parameters(), *module.buffers()):
                t.data = gaps(t)
        outputs = call(module, inputs, case)
        found = gradients(outputs, wanted_tensors(module, inputs), spaced)
        return [t.detach() for t in (*outputs, *found, *module.buffers())]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("spaced", [False, True], ids=["dense", "spaced"])
@pytest.mark.parametrize(("row", "case"), cases_of_kernels())
def test_agrees_with_the_formula(row, case, spaced, dtype):
    got, expected = (results(row, case, dtype, mode, spaced) for mode in ("auto", "formula"))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for g, e in zip(got, expected, strict=True):
        scale = float(e.abs().max()) if e.numel() and e.is_floating_point() else 1.0
        assert_close(g, e, rtol=tolerance, atol=tolerance * max(1.0, scale))


@pytest.mark.parametrize(("row", "case"), cases_of_kernels(edges=True))
def test_agrees_at_edges(row, case):
    """Kinks, ties, NaN and infinities."""
    for dtype in (torch.float64, torch.float32):
        got, expected = (results(row, case, dtype, mode) for mode in ("auto", "formula"))
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        assert_close(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(("row", "case"), cases_of_kernels())
def test_gradcheck(row, case):
    if case.no_derivative:
        return
    function, tensors = as_function(row, case)
    assert gradcheck(function, tensors, check_batched_grad=True, **EXACT)
    # Differentiated again, backward is the formula's, of which test_derivatives checks every case: here it is
    # what the kernel's forward saved for it that is tested, with two cases of each layer.
    if case in row.cases[:2]:
        assert gradgradcheck(function, tensors, **EXACT)


@pytest.mark.parametrize(
    ("shape", "padding"), [((5, 1, 3), 0), ((5, 1), 0), ((5, 1, 3, 3), -1), ((5, 1, 3, 3), (0, -1))], ids=str
)
def test_convolutions_that_the_library_refuses(shape, padding):
    """Of images with one channel, which have a kernel in the forward, too."""
    x, weight, found = torch.randn(2, 1, 9, 9), torch.randn(shape), []
    for mode in ("auto", "formula"):
        with manualgrad.kernels(mode), pytest.raises(RuntimeError) as error:
            manualgrad.functional.conv2d(x, weight, padding=padding)
        found.append(str(error.value))
    assert found[0] == found[1]


def test_padding_wider_than_the_kernel():
    """Of Winograd's rows of tiles, of which a few are made at a time, the first see nothing of the image."""
    g = torch.randn(2, 3, 26, 27, dtype=torch.float64)
    found = []
    for mode in ("auto", "formula"):
        with manualgrad.kernels(mode):
            x = torch.linspace(-1, 1, 2 * 4 * 10 * 11, dtype=torch.float64).reshape(2, 4, 10, 11)
            weight = torch.zeros(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)
            y = manualgrad.functional.conv2d(x, weight, padding=9)
            found.append(torch.autograd.grad(y, weight, g))
    assert_close(*found)


@pytest.mark.parametrize("number", [1e9, -1e9, 1e30, float("inf"), float("nan")])
def test_random_numbers_that_are_none(number):
    """Rounding would place windows outside of the input: where they are is up to the formula."""
    found = []
    for mode in ("auto", "formula"):
        with manualgrad.kernels(mode):
            x, samples = torch.arange(2400.0).reshape(1, 2, 20, 60), torch.full((1, 2, 2), number)
            try:
                found.append(
                    manualgrad.functional.fractional_max_pool2d(x, 2, (3, 40), _random_samples=samples)
                )
            except (IndexError, RuntimeError) as error:
                found.append(str(error))
    if isinstance(found[1], str):
        assert found[0] == found[1]
    else:
        assert_close(*found)


@pytest.mark.parametrize("function", [pytest.param(f, id=f.__name__) for f in TWINS])
def test_every_kernel_is_reached(function, used):
    """The tests above test what they say."""
    for row in DERIVED:
        if function in row.functions:
            for case in row.cases:
                results(row, case, torch.float32, "auto")
    assert TWINS[function].kernel in used


@pytest.mark.parametrize("shape", [(3,), (64,), (5, 7, 29)])
@pytest.mark.parametrize("layer", [manualgrad.nn.Dropout, manualgrad.nn.AlphaDropout])
def test_bits_are_taken_from_torchs_mask(layer, shape, monkeypatch):
    """Where torch has a stream of random numbers that the kernel doesn't know."""
    monkeypatch.setattr(sys.modules["manualgrad.kernels.cpu.dropout"], "same_stream", lambda: False)
    x = torch.randn(shape, requires_grad=True)
    found = []
    for mode in ("auto", "formula"):
        torch.manual_seed(3)
        with manualgrad.kernels(mode):
            y = layer(0.3)(x)
        found.append((y, *torch.autograd.grad(y.sum(), x)))
    assert_close(*found)
