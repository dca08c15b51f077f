"""Interpolation, grids and grouped products: what the tables cannot say."""

import pytest
import torch
import torch.nn.functional as torch_functional
from test_graph import left_to_autograd
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from manualgrad import functional
from manualgrad.catalog.linear import group_by_group

PICTURE = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def both(call, *tensors):
    """Value and gradients by manualgrad and by torch."""
    found = []
    for namespace in (functional, torch_functional):
        leaves = [t.clone().requires_grad_() for t in tensors]
        y = call(namespace, *leaves)
        weights = torch.arange(y.numel(), dtype=torch.float64).sin().reshape(y.shape).to(y.dtype)
        found.append((y, *torch.autograd.grad((y * weights).sum(), leaves)))
    return found


@pytest.mark.parametrize("name", ["upsample", "upsample_nearest", "upsample_bilinear"])
def test_deprecated_names_warn(name):
    with pytest.warns(UserWarning, match=f"`nn.functional.{name}` is deprecated"):
        expected = getattr(torch_functional, name)(PICTURE, scale_factor=1.7)
    with pytest.warns(UserWarning, match=f"{name} is deprecated, as in torch; use interpolate") as record:
        assert_close(getattr(functional, name)(PICTURE, scale_factor=1.7), expected)
    assert record[0].filename == __file__


@pytest.mark.parametrize("name", ["affine_grid", "grid_sample"])
def test_missing_align_corners_warns(name):
    arguments = (
        (PICTURE, PICTURE[..., :2]) if name == "grid_sample" else (PICTURE[:, 0, :2, :3], (2, 1, 2, 3))
    )
    expected = getattr(torch_functional, name)(*arguments, align_corners=False)
    with pytest.warns(UserWarning, match=f"{name}: align_corners was not given") as record:
        assert_close(getattr(functional, name)(*arguments), expected)
    assert record[0].filename == __file__


def test_single_element_of_an_aligned_grid_warns():
    theta = PICTURE[:, 0, :2, :3]
    with pytest.warns(UserWarning, match="unit-size grids"):
        expected = torch_functional.affine_grid(theta, (2, 1, 1, 3), align_corners=True)
    with pytest.warns(UserWarning, match="has its only element at 0"):
        assert_close(functional.affine_grid(theta, (2, 1, 1, 3), align_corners=True), expected)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "lanczos"])
def test_bytes_are_resized_as_torch_does(mode, antialias):
    picture = (PICTURE.abs() * 100).to(torch.uint8)
    antialias = (antialias or mode == "lanczos") and not mode.startswith("nearest")
    options = {"size": (3, 6), "mode": mode, "antialias": antialias}
    got, expected = (F.interpolate(picture, **options) for F in (functional, torch_functional))
    assert_close(got, expected, rtol=0, atol=0)


SCALES = [0.3, 0.5, 0.77, 1.0, 1.3, 2.0, 2.6, 3.3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nearest_takes_the_elements_that_torch_takes(mode, ndim, dtype):
    """Places that are close to integers are rounded as torch rounds them, in any number of axes."""
    for length in range(1, 24):
        x = (
            torch.arange(length, dtype=dtype)
            .reshape(1, 1, length, *(1,) * (ndim - 1))
            .expand(1, 3, *(-1,) * ndim)
        )
        sizes = [{"size": (places, *(1,) * (ndim - 1))} for places in (1, 3, 7, 10, 22, 2 * length)]
        scales = [{"scale_factor": (scale, *(1.0,) * (ndim - 1))} for scale in SCALES if length * scale >= 1]
        for options in sizes + scales:
            got, expected = (F.interpolate(x, mode=mode, **options) for F in (functional, torch_functional))
            assert torch.equal(got, expected), options


def jacobian(function, x):
    """By columns, as forward has it, and by rows, as backward has it: the same, of a linear function."""
    columns = torch.stack([function(e.reshape(x.shape)).flatten() for e in torch.eye(x.numel()).to(x)], 1)
    y = function(x.requires_grad_())
    rows = [
        torch.autograd.grad(y, x, e.reshape(y.shape), retain_graph=True)[0]
        for e in torch.eye(y.numel()).to(y)
    ]
    return columns, torch.stack(rows).reshape(columns.shape)


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": 1.1, "mode": "nearest"},
        {"scale_factor": 2.1, "mode": "nearest"},
        {"scale_factor": (1.1, 1.1), "mode": "bicubic"},
        {"scale_factor": (1.1, 1.6), "mode": "bilinear", "antialias": True},
        {"size": (5, 1), "mode": "bilinear", "antialias": True},
    ],
    ids=str,
)
def test_backward_is_of_forward(options):
    """Where torch 2.13's backward is not of its forward, or its forward is wrong (antialias, width 1)."""
    axes = 2 if "bi" in options["mode"] else 1
    x = torch.zeros(1, 1, *(4, 3)[:axes], dtype=torch.float64)
    columns, rows = jacobian(lambda x: functional.interpolate(x, **options), x)
    assert_close(columns, rows)
    assert_close(columns.sum(1), torch.ones_like(columns[:, 0]))


def test_antialias_of_a_column():
    """One column is resized as each of two is."""
    options = {"mode": "bicubic", "antialias": True}
    got = functional.interpolate(PICTURE[..., :1], (7, 1), **options)
    expected = torch_functional.interpolate(PICTURE[..., :1].expand(2, 2, 4, 2), (7, 2), **options)
    assert_close(got, expected[..., :1])


LATTICE = torch.tensor([-1.0, -0.75, -0.25, 0.0, 0.5, 1.0, 1.25, -3.25, 1e6], dtype=torch.float64)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_at_kinks(mode, padding_mode, align_corners):
    """On elements, between them, on borders and outside the gradients of places are torch's."""
    grid = torch.stack(torch.meshgrid(LATTICE, LATTICE, indexing="ij"), -1).expand(2, 9, 9, 2)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    ours, theirs = both(lambda F, x, grid: F.grid_sample(x, grid, **options), PICTURE, grid)
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
def test_grid_sample_at_no_place(padding_mode):
    """Coordinates that are not finite get the gradient 0; torch 2.13 reads memory that it does not own."""
    grid = torch.zeros(2, 1, 3, 2, dtype=torch.float64)
    grid[0, 0, :, 0] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    x, grid = PICTURE.clone().requires_grad_(), grid.requires_grad_()
    y = functional.grid_sample(x, grid, padding_mode=padding_mode, align_corners=False)
    for gradient in torch.autograd.grad(y.sum(), (x, grid)):
        assert gradient.isfinite().all()


def test_grid_sample_needs_the_input_for_the_grid_alone():
    def saved(x, grid):
        found = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t.shape) or t, lambda t: t):
            functional.grid_sample(x, grid, align_corners=False)
        return found

    x, grid = PICTURE.clone(), PICTURE[..., :2].clone()
    assert saved(x.requires_grad_(), grid) == [grid.shape]
    assert saved(x.detach(), grid.requires_grad_()) == [x.shape, grid.shape]


FORMS = {
    "rows": ((6, 8), (2, 8, 8)),
    "columns": ((2, 4, 8), (8, 8)),
    "sums": ((8, 8), (8, 8)),
    "stacks": ((2, 4, 8), (2, 8, 8)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_grouped_mm_is_torchs(form, dtype):
    """Torch's knows lower precision alone. Its groups must fill the whole: the rest has no value."""
    a, b = (torch.randn(shape).to(dtype) for shape in FORMS[form])
    offs = {"rows": (2, 6), "columns": (4, 8), "sums": (3, 8)}.get(form)
    offs = None if offs is None else torch.tensor(offs, dtype=torch.int32)
    ours, theirs = both(lambda F, a, b: F.grouped_mm(a, b, offs=offs), a, b)
    assert_close(ours, theirs)


@pytest.mark.parametrize("form", ["rows", "columns", "sums"])
def test_grouped_mm_outside_of_groups(form):
    """By the kernel (float32) and by masks (float64) what is in no group is 0, and so is its gradient."""
    shapes, offs = FORMS[form], torch.tensor([0, 3], dtype=torch.int32)
    for dtype in (torch.float32, torch.float64):
        a, b = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
        y, expected = (f(a, b, offs=offs) for f in (functional.grouped_mm, group_by_group))
        assert_close(y, expected)
        direction = torch.randn_like(y)
        assert_close(*(torch.autograd.grad(out, (a, b), direction) for out in (y, expected)))


def test_grouped_mm_of_infinities():
    """They stay in their group."""
    a, b = torch.ones(4, 4, dtype=torch.float64), torch.ones(2, 4, 4, dtype=torch.float64)
    b[1] = float("inf")
    y = functional.grouped_mm(a, b, offs=torch.tensor([2, 4], dtype=torch.int32))
    assert_close(y[:2], torch.full((2, 4), 4.0, dtype=torch.float64))


def test_grouped_mm_of_odd_lengths_in_single_precision():
    a, b = torch.randn(5, 3, requires_grad=True), torch.randn(2, 3, 7, requires_grad=True)
    offs = torch.tensor([2, 5], dtype=torch.int32)
    y, expected = (f(a, b, offs=offs) for f in (functional.grouped_mm, group_by_group))
    assert_close(y, expected)
    assert_close(*(torch.autograd.grad(out.sum(), (a, b)) for out in (y, expected)))
    assert left_to_autograd([y]) == set()


def test_grouped_mm_without_tokens():
    a, b = torch.randn(0, 4).double().requires_grad_(), torch.randn(2, 4, 3).double().requires_grad_()
    offs = torch.tensor([0, 0], dtype=torch.int32)
    assert gradcheck(lambda a, b: functional.grouped_mm(a, b, offs=offs), (a, b))
    assert gradgradcheck(lambda a, b: functional.grouped_mm(a, b, offs=offs), (a, b))


def bytes_saved(call):
    found = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
        call()
    return sum(t.untyped_storage().nbytes() for t in found)


def test_grouped_mm_saves_what_torch_saves():
    offs = torch.tensor([2, 6], dtype=torch.int32)
    counts = []
    for namespace in (functional, torch_functional):
        a, b = torch.randn(6, 8, requires_grad=True), torch.randn(2, 8, 8, requires_grad=True)
        counts.append(bytes_saved(lambda n=namespace, a=a, b=b: n.grouped_mm(a, b, offs=offs)))
    assert counts[0] <= counts[1]
