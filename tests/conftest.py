"""One thread per test process, the same seed for every test, and torchvision made importable."""

from pathlib import Path

import pytest
import torch
from conformance import Conformance

from manualgrad import kernels
from manualgrad.catalog import Case, Layer
from manualgrad.kernels import unavailable
from recipes import mnist
from recipes.compat import import_torchvision

import_torchvision()
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> str:
    """MNIST in the checkout's own data folder, fetched there once."""
    root = Path(__file__).parent.parent / "data"
    mnist.ensure(root)
    return str(root)


@pytest.fixture(autouse=True)
def _formulas(request):
    """Formulas are what is tested, but in files marked ``kernels``."""
    with kernels("auto" if "kernels" in request.keywords else "formula"):
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--conformance", type=Path, metavar="FILE", help="write what the tests found, layer by layer, to FILE"
    )


def pytest_configure(config):
    path = config.getoption("--conformance")
    if path and not hasattr(config, "workerinput"):  # reports of all workers come to the one that has none
        config.pluginmanager.register(Conformance(path))


def pytest_collection_modifyitems(items):
    for item in items:
        if "kernels" in item.keywords and unavailable():
            item.add_marker(pytest.mark.skip(reason=unavailable()))
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        cases = parameters["row"].cases if isinstance(parameters.get("row"), Layer) else ()
        for case in (parameters["case"],) if isinstance(parameters.get("case"), Case) else cases:
            if item.originalname in case.cannot:
                item.add_marker(pytest.mark.xfail(reason=case.cannot[item.originalname], strict=True))
