"""PyTorch's own table of module samples, ``module_db``: every sample of every layer that exists here."""

import pytest
import torch
from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin
from torch.testing import assert_close

from manualgrad.catalog import reexports
from manualgrad.swap import OURS

common_modules = pytest.importorskip(
    "torch.testing._internal.common_modules",
    reason="torch's table of modules is private, and not in this version",
)
INFOS = [info for info in common_modules.module_db if info.module_cls in OURS]


def test_every_entry_is_ours():
    """No entry of torch's table is left out, but those of what has nothing to derive."""
    left_out = {info.module_cls.__name__ for info in common_modules.module_db} - {
        cls.__name__ for cls in OURS
    }
    assert left_out <= reexports.MODULES.keys()


def tensors_in(value) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def outcome(module, arguments):
    """Outputs, gradients of inputs and parameters, and buffers afterwards."""
    args, kwargs = torch.utils._pytree.tree_map_only(
        Tensor,
        lambda t: t.detach().clone().requires_grad_(t.requires_grad),
        (arguments.args, arguments.kwargs),
    )
    torch.manual_seed(1)
    outputs = tensors_in(module(*args, **kwargs))
    wanted = [t for t in (*tensors_in((args, kwargs)), *module.parameters()) if t.requires_grad]
    real = [o for o in outputs if o.requires_grad]
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype) for o in real]
    grads = torch.autograd.grad(real, wanted, directions, allow_unused=True) if real else ()
    return outputs, [None if g is None else g.to_dense() for g in grads], dict(module.named_buffers())


def at_the_logits(outcome, arguments):
    """Of CTC, what log_softmax makes of the gradient: torch's is that already, ours that of the input."""
    outputs, (grad, *others), buffers = outcome
    log_probs = arguments.args[0]
    return outputs, [grad - log_probs.exp() * grad.sum(-1, keepdim=True), *others], buffers


@pytest.mark.filterwarnings("ignore:.*reduction. 'mean' divides")  # of kl_div, torch's and ours
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.module_cls.__name__)
def test_samples(info, dtype, training):
    ours = OURS[info.module_cls]
    samples = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
    assert samples
    for sample in samples:
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        torch.manual_seed(0)
        theirs = info.module_cls(*args, **kwargs).to(dtype).train(training)
        torch.manual_seed(0)
        module = ours(*args, **kwargs).to(dtype).train(training)
        assert repr(module) == repr(theirs)
        assert list(module.state_dict()) == list(theirs.state_dict())
        if not issubclass(info.module_cls, LazyModuleMixin):  # which has parameters after its first call only
            assert_close(module.state_dict(), theirs.state_dict(), rtol=0, atol=0)
        got, expected = outcome(module, sample.forward_input), outcome(theirs, sample.forward_input)
        if info.module_cls is torch.nn.CTCLoss:
            got, expected = (at_the_logits(found, sample.forward_input) for found in (got, expected))
        tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
        assert_close(got, expected, equal_nan=True, **tolerance)


WITH_ERRORS = [info for info in INFOS if info.module_error_inputs_func is not None]


@pytest.mark.parametrize("info", WITH_ERRORS, ids=lambda info: info.module_cls.__name__)
def test_error_inputs(info):
    """What torch's table says must raise raises, with torch's type."""
    ours = OURS[info.module_cls]
    for error in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=True
    ):
        sample = error.module_error_input
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        if error.error_on == common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(error.error_type, match=error.error_regex):
                ours(*args, **kwargs)
            continue
        module = ours(*args, **kwargs)
        with pytest.raises(error.error_type):
            module(*sample.forward_input.args, **sample.forward_input.kwargs)
