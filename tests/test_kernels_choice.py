"""When a kernel is taken and when its formula; threads, processes, and life without Numba."""

import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import manualgrad
from manualgrad.kernels import choose, plain
from manualgrad.layers.normalization import LayerNormFunction

pytestmark = pytest.mark.kernels

SHAPE = (256, 512)


def arguments(x):
    return x, None, None, 1, 1e-5


def taken(x) -> bool:
    """Whether layer normalization of ``x`` is the kernel's."""
    return choose(LayerNormFunction, arguments(x)) is not LayerNormFunction


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(manualgrad.nn.LayerNorm(512), manualgrad.nn.ReLU())


def step(threads: int = 1):
    """The output and the gradients of a network of two kernels, large enough for a team of threads."""
    torch.set_num_threads(threads)
    model = network()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = model(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


class Watched(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Subclass(torch.Tensor):
    pass


def test_taken_for_plain_tensors():
    assert taken(torch.randn(SHAPE))
    assert taken(torch.randn(SHAPE, dtype=torch.float64))
    assert taken(torch.nn.Parameter(torch.randn(SHAPE)))


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(torch.randn(SHAPE).half(), id="half"),
        pytest.param(torch.randn(SHAPE).bfloat16(), id="bfloat16"),
        pytest.param(torch.randn(0, 512), id="empty"),
        pytest.param(torch.randn(SHAPE, device="meta"), id="meta"),
        pytest.param(torch.randn(SHAPE).as_subclass(Subclass), id="subclass"),
        pytest.param(torch.randn(SHAPE).to_sparse(), id="sparse"),
        pytest.param(torch._neg_view(torch.randn(SHAPE)), id="negated view"),
    ],
)
def test_formula_for_others(x):
    assert not taken(x)


def test_formula_where_dtypes_differ():
    x, weight = torch.randn(SHAPE), torch.randn(512, dtype=torch.float64)
    assert choose(LayerNormFunction, (x, weight, None, 1, 1e-5)) is LayerNormFunction


def test_formula_under_modes():
    x = torch.randn(SHAPE)
    with Watched():
        assert not taken(x)
    with torch.autograd.forward_ad.dual_level():
        assert not taken(x)
    assert taken(x)


def test_formula_under_transforms(monkeypatch):
    """torch.func and torch.compile see formulas: a kernel would read memory that is not there."""
    layer, x = manualgrad.nn.LayerNorm(512), torch.randn(4, *SHAPE, dtype=torch.float64)
    layer = layer.double()
    expected = torch.nn.functional.layer_norm(x, (512,), layer.weight, layer.bias)
    assert_close(torch.vmap(layer)(x), expected)
    assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)
    assert torch.func.grad(lambda x: layer(x).sum())(x[0]).shape == SHAPE


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_formula_while_recording():
    """torch.jit.trace records operators, and would take what a kernel computed for a constant."""
    found = []

    def function(x):
        found.append(taken(x))
        return 2 * x

    torch.jit.trace(function, (torch.randn(SHAPE),), check_trace=False)
    assert found == [False]


def test_backward_is_plain():
    g = torch.randn(3)
    assert not plain(g)  # gradients are on: the backward itself is being differentiated
    with torch.no_grad():
        assert plain(g)
        assert not plain(g, g.to_sparse())
        assert not plain(torch._neg_view(g))
        with Watched():
            assert not plain(g)


def test_gradient_that_is_a_negated_view():
    """As that of an imaginary part is, behind a conjugate: memory has the other sign."""
    found = []
    for mode in ("auto", "formula"):
        x = torch.linspace(-1, 1, 2048, requires_grad=True)
        with manualgrad.kernels(mode):
            loss = manualgrad.functional.mse_loss(x, torch.zeros(2048))
        (torch.complex(torch.zeros(()), loss).conj() * (2 + 1j)).real.backward()
        found.append(x.grad)
    assert_close(*found)


def test_batched_gradients():
    """A batch of grad_outputs goes to the formula's backward, and so does vmap around autograd.grad."""
    x = torch.randn(64, 512, dtype=torch.float64, requires_grad=True)
    y = network().double()(x)
    directions = torch.randn(3, *y.shape, dtype=torch.float64)
    expected = torch.stack([torch.autograd.grad(y, x, d, retain_graph=True)[0] for d in directions])
    (got,) = torch.autograd.grad(y, x, directions, retain_graph=True, is_grads_batched=True)
    assert_close(got, expected)
    got = torch.vmap(lambda d: torch.autograd.grad(y, x, d, retain_graph=True)[0])(directions)
    assert_close(got, expected)


def test_setting():
    x = torch.randn(SHAPE)
    with manualgrad.kernels("formula"):
        assert not taken(x)
        with manualgrad.kernels("auto"):
            assert taken(x)
        assert not taken(x)
    assert taken(x)
    manualgrad.kernels("formula")
    assert not taken(x)
    manualgrad.kernels("auto")
    assert taken(x)


def test_setting_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="mode must be 'auto' or 'formula', but got 'fast'"):
        manualgrad.kernels("fast")
    assert taken(torch.randn(SHAPE))


def test_number_of_threads_matters_for_rounding_alone(two_threads):
    """One thread and a team run the same loops, which the compiler may have put in another order."""
    assert_close(step(1), step(2), rtol=1e-5, atol=1e-5)
    for once, again in zip(step(2), step(2), strict=True):
        assert torch.equal(once, again)


def test_threads_of_python(two_threads):
    """Several at a time enter kernels that are themselves parallel."""
    expected = step(2)
    found, errors = [], []

    def work():
        try:
            found.extend(step(2) for _ in range(20))
        except BaseException as error:
            errors.append(error)

    team = [threading.Thread(target=work) for _ in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not errors
    assert len(found) == 80
    for result in found:
        assert all(torch.equal(got, e) for got, e in zip(result, expected, strict=True))


def forward_alone(pipe, x):
    # Two threads by torch's setting, though a forked child has none: torch's own operators would hang.
    y, mean, rstd = choose(LayerNormFunction, arguments(x)).forward(*arguments(x))
    pipe.send([t.numpy() for t in (y, mean, rstd)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_fork(two_threads):
    """A child has no team of threads: a kernel computes in one."""
    x = torch.randn(SHAPE)
    kernel = choose(LayerNormFunction, arguments(x))
    expected = [t.numpy() for t in kernel.forward(*arguments(x))]
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=forward_alone, args=(there, x))
    child.start()
    try:
        assert here.poll(60), "the child does not answer"
        assert_close(here.recv(), expected, rtol=1e-5, atol=1e-5)
    finally:
        child.kill()
        child.join()


class Normalized(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, k):
        with torch.no_grad():
            return network()(torch.full(SHAPE, float(k)) + torch.arange(512.0))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader(method, two_threads):
    step(2)
    loader = torch.utils.data.DataLoader(Normalized(), num_workers=2, multiprocessing_context=method)
    found = torch.cat(list(loader))
    assert_close(found, torch.stack([Normalized()[k] for k in range(4)]), rtol=1e-5, atol=1e-5)


WITHOUT_NUMBA = """
import logging, sys
sys.modules["numba"] = None
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch, manualgrad
from manualgrad.kernels import twins, unavailable
for _ in range(2):
    x = torch.randn(256, 512, requires_grad=True)
    manualgrad.nn.LayerNorm(512)(x).sum().backward()
assert not twins() and "pip install 'manualgrad[fast]'" in unavailable()
"""


def test_without_numba():
    """One line of information, and formulas."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'manualgrad[fast]'" in done.stderr


THREADS = """
import torch, manualgrad
torch.set_num_threads(2)
x = torch.randn(256, 512, requires_grad=True)
for _ in range(2):
    manualgrad.nn.LayerNorm(512)(x).sum().backward()
    print(torch.get_num_threads())
"""


def test_torchs_number_of_threads_stays():
    """Numba starts four of them, and with the same OpenMP that would be torch's number too."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2"]


TRAINED = """
import hashlib, logging, torch, manualgrad
from manualgrad import nn
logging.basicConfig(level=logging.INFO, format="%(message)s")
digest = hashlib.sha256()
def train(model, *shape):
    x = torch.randn(shape, requires_grad=True)
    optimizer = manualgrad.optim.AdamW(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        y = model(x)
        y = y[0] if isinstance(y, tuple) else y
        y.backward(torch.randn_like(y))
        optimizer.step()
    for t in (y, x.grad, *model.state_dict().values()):
        digest.update(t.detach().numpy().tobytes())
torch.manual_seed(0)
cnn = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
manualgrad.fuse(cnn)
train(cnn, 8, 4, 28, 28)
train(nn.LSTM(8, 16), 5, 4, 8)
train(nn.Sequential(nn.GroupNorm(2, 8), nn.LayerNorm(8)), 32, 8)
torch.set_num_threads(2)
train(nn.BatchNorm2d(4), 16, 4, 28, 28)
print(digest.hexdigest())
"""


def test_compiled_once_for_all_processes(tmp_path):
    """The process that compiles says so, and computes, bit for bit, what those after it will."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", TRAINED]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert first.stderr.startswith(f"compiling kernels for this machine (once; kept in {tmp_path}")
    assert len(first.stderr.splitlines()) == 1
    assert second.stderr == ""
    assert first.stdout == second.stdout


def test_nowhere_to_keep_machine_code(monkeypatch, caplog):
    jit = sys.modules["manualgrad.kernels.cpu._jit"]
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    monkeypatch.setattr(jit, "_told", False)
    with caplog.at_level("INFO", "manualgrad"):
        assert jit.cached(lambda x: x + 1)(2) == 3
    assert "again in every process" in caplog.text
