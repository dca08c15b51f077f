"""Every case of the catalog under what PyTorch does to modules and functions."""

import copy
import io
import pickle

import pytest
import torch
from rows import build, call, cases, gradients, run, wanted_tensors
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from manualgrad.catalog import tensors_of


def plain(row, case):
    """No transform can follow a sparse gradient, or a forward that rewrites a weight."""
    return not case.kwargs.get("sparse") and not case.kwargs.get("max_norm")


@pytest.mark.parametrize(("row", "case"), cases(wanted=plain))
def test_vmap_of_grad(row, case):
    """Per-sample gradients by vmap are those computed one by one."""
    module, inputs = build(case, row.ours)
    torch.func.replace_all_batch_norm_modules_(module)  # running statistics cannot be updated under vmap
    parameters = {k: p.detach() for k, p in module.named_parameters()}
    inputs = [t.detach() for t in inputs]

    def loss(parameters, *inputs):
        outputs = tensors_of(torch.func.functional_call(module, parameters, inputs, dict(case.forward)))
        return sum(o.sin().sum() for o in outputs if o.is_floating_point())

    real = tuple(k + 1 for k, t in enumerate(inputs) if t.is_floating_point())
    grad = torch.func.grad(loss, argnums=(0, *real))
    batch = [torch.stack([t, 0.5 * t if t.is_floating_point() else t]) for t in inputs]
    axes = (None, *(0 for _ in inputs))
    torch.manual_seed(1)
    got = torch.func.vmap(grad, in_dims=axes, randomness="same")(parameters, *batch)
    for k in range(2):
        torch.manual_seed(1)
        expected = grad(parameters, *(t[k] for t in batch))
        assert_close(torch.utils._pytree.tree_map(lambda t, k=k: t[k], got), expected, rtol=1e-10, atol=1e-10)


def shapes_known(row, case):
    """The lengths of packed sequences are values of a tensor, and shapes follow from them: torch.compile
    cannot trace that, in torch's layers neither."""
    return plain(row, case) and not (case.arrange and case.arrange.__name__.startswith("packed"))


@pytest.mark.parametrize(("row", "case"), cases(wanted=shapes_known))
def test_compile_fullgraph(row, case):
    """torch.compile takes forward and backward without a break, and computes the same."""
    expected = run(case, row.ours)
    torch.compiler.reset()
    module, inputs = build(case, row.ours)
    # Without allow_rnn it refuses torch's RNN, LSTM and GRU, and with them every subclass.
    with torch._dynamo.config.patch(allow_rnn=True):
        outputs = call(torch.compile(module, fullgraph=True, backend="aot_eager"), inputs, case)
    got = outputs, gradients(outputs, wanted_tensors(module, inputs)), dict(module.named_buffers())
    assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("row", "case"), cases(wanted=plain))
def test_autocast(row, case, dtype):
    """Under autocast outputs have torch's dtype, gradients the dtype of their tensor, and both its values."""
    found = []
    for cls in (row.ours, row.torchs):
        module, inputs = build(case, cls, torch.float32)
        inputs = tuple(t.detach().to(dtype).requires_grad_() if t.is_floating_point() else t for t in inputs)
        # oneDNN's LSTM has no bfloat16 on many CPUs; without it torch takes its own.
        onednn = torch.backends.mkldnn.flags(enabled=row.name != "LSTM")
        try:
            with onednn, torch.autocast("cpu", torch.bfloat16):
                outputs = call(module, inputs, case)
            found.append((outputs, gradients(outputs, wanted_tensors(module, inputs))))
        except RuntimeError as error:
            found.append(error)
    ours, theirs = found
    if isinstance(theirs, RuntimeError):
        assert isinstance(ours, RuntimeError)
        return
    for got, expected in zip((*ours[0], *ours[1]), (*theirs[0], *theirs[1])):
        scale = 1 + expected.float().abs().max().item() if expected.numel() else 1
        assert_close(got, expected, rtol=0, atol=3e-2 * scale)


@pytest.mark.parametrize(("row", "case"), cases())
def test_pickle_and_deepcopy(row, case):
    module, inputs = build(case, row.ours)
    expected = call(copy.deepcopy(module), inputs, case)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), saved_and_loaded(module)):
        assert type(twin) is type(module)
        assert repr(twin) == repr(module)
        assert_close(call(twin, inputs, case), expected, rtol=0, atol=0)


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(("row", "case"), cases())
def test_checkpoint(row, case):
    """Recomputed in backward, a layer gives the same gradients."""
    expected = run(case, row.ours)[1]
    module, inputs = build(case, row.ours)
    torch.manual_seed(1)
    outputs = tensors_of(checkpoint(module, *inputs, use_reentrant=False, **case.forward))
    assert_close(gradients(outputs, wanted_tensors(module, inputs)), expected, rtol=1e-12, atol=1e-12)


def saved_tensors(module, inputs, case) -> list[torch.Tensor]:
    """What forward saves for backward."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        call(module, inputs, case)
    return saved


def storages(tensors) -> dict[int, int]:
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t.numel()}


@pytest.mark.parametrize(("row", "case"), cases())
def test_saved_tensors_can_be_offloaded(row, case):
    """Everything that backward needs goes through the hooks for saved tensors, as copies here."""
    expected = run(case, row.ours)[1]
    module, inputs = build(case, row.ours)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):
        outputs = call(module, inputs, case)
    assert_close(gradients(outputs, wanted_tensors(module, inputs)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("row", "case"), cases(wanted=lambda row, case: row.saves_no_input))
def test_frozen_weight_saves_no_input(row, case):
    module, inputs = build(case, row.ours)
    module.requires_grad_(False)
    inside = storages(saved_tensors(module, inputs, case))
    assert not inside.keys() & storages(inputs).keys()


@pytest.mark.parametrize(("row", "case"), cases())
def test_saves_no_more_than_torch(row, case):
    """Bytes saved for backward, parameters and inputs included, a storage counted once."""
    counts = []
    for cls in (row.ours, row.torchs):
        module, inputs = build(case, cls)
        everything = storages([*saved_tensors(module, inputs, case), *inputs])
        counts.append(sum(everything.values()))
    assert counts[0] <= counts[1]


@pytest.mark.parametrize(("row", "case"), cases())
def test_nothing_is_saved_without_gradients(row, case):
    module, inputs = build(case, row.ours)
    module.requires_grad_(False)
    assert saved_tensors(module, [t.detach() for t in inputs], case) == []


def has_images(row, case):
    """Inputs (N, C, H, W); with one axis less or more there is no such layout."""
    return not row.name.endswith("3d") and any(len(s.shape) == 4 for s in case.inputs)


image = cases(wanted=has_images)


@pytest.mark.parametrize(("row", "case"), image)
def test_channels_last(row, case):
    expected = run(case, row.ours)
    module, inputs = build(case, row.ours)
    module = module.to(memory_format=torch.channels_last)
    inputs = [
        t.detach().to(memory_format=torch.channels_last).requires_grad_()
        if t.requires_grad and t.dim() == 4
        else t
        for t in inputs
    ]
    outputs = call(module, inputs, case)
    if row.random:  # torch too draws in memory order
        expected = run_channels_last(case, row.torchs)
    found = gradients(outputs, wanted_tensors(module, inputs))
    assert_close((outputs, found), (expected[0], expected[1]), rtol=1e-10, atol=1e-10)


def run_channels_last(case, cls):
    module, inputs = build(case, cls)
    inputs = [t.detach().to(memory_format=torch.channels_last).requires_grad_() for t in inputs]
    outputs = call(module, inputs, case)
    return outputs, gradients(outputs, wanted_tensors(module, inputs))
