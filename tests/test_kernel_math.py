"""The elementary functions of kernels, over the whole of float32."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from manualgrad.kernels.cpu import _math
from manualgrad.kernels.cpu._elementwise import forward_of, mapped

pytestmark = pytest.mark.kernels

# float32 by its bits, every 997th of all, and all within 2000 of the numbers at which something changes.
SWEEP = np.arange(0, 2**32, 997, dtype=np.uint32).view(np.float32)
TURNS = [
    0.0,
    2.0**-126,
    0.5,
    0.5 * math.log(2),
    math.sqrt(0.5),
    math.log(2),
    1.0,
    8.0,
    14.0,
    15.0,
    18.0,
    87.3366,
    88.7228,
    89.0,
    103.9721,
    104.0,
]
AROUND = np.float32(TURNS).view(np.int32)[:, None] + np.arange(-2000, 2001, dtype=np.int32)
AROUND = np.concatenate([AROUND.view(np.float32), -AROUND.view(np.float32)]).ravel()
SPECIAL = np.float32([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 3.4e38, -3.4e38])
NUMBERS = torch.from_numpy(np.concatenate([SWEEP, AROUND, SPECIAL]))


def made(function):
    def applied(x, a, b, T):
        return function(x)

    applied.__name__ = f"{function.__name__}_tested"
    return forward_of(applied)


def normal_pdf(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


FUNCTIONS = {
    "exp": (_math.exp, torch.exp, 2),
    "expm1": (_math.expm1, torch.expm1, 2),
    "log": (_math.log, torch.log, 4),
    "log1p": (_math.log1p, torch.log1p, 4),
    "log1p_exp": (_math.log1p_exp, lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())), 4),
    "sigmoid": (_math.sigmoid, torch.sigmoid, 4),
    "tanh": (_math.tanh, torch.tanh, 4),
    "normal_cdf": (_math.normal_cdf, lambda x: 0.5 * torch.erfc(x * -math.sqrt(0.5)), 5),
    "normal_pdf": (_math.normal_pdf, normal_pdf, 4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_over_float32(name):
    function, reference, limit = FUNCTIONS[name]
    got = mapped(made(function), NUMBERS).double().numpy()
    exact = reference(NUMBERS.double()).numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(np.float32)
    assert (np.isnan(got) == np.isnan(exact)).all()
    infinite = np.isinf(rounded)
    assert (got[infinite] == rounded[infinite]).all()
    finite = np.isfinite(rounded)
    units = np.abs(got[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)
    worst = units.argmax()
    assert units[worst] <= limit, f"{units[worst]:.2f} units in the last place at {NUMBERS[finite][worst]}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_over_float64(name):
    function, reference, _ = FUNCTIONS[name]
    x = torch.cat([torch.linspace(-40, 40, 100_001, dtype=torch.float64), torch.from_numpy(SPECIAL).double()])
    torch.testing.assert_close(
        mapped(made(function), x), reference(x), rtol=1e-13, atol=1e-320, equal_nan=True
    )
