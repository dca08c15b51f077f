"""Every case of the catalog under what PyTorch and its users do to modules and functions.

``conformance.py`` writes down, layer by layer, what these tests find.
"""

import copy
import io
import pickle

import pytest
import torch
from rows import DERIVED_ROWS, build, call, cases, gradients, run, wanted_tensors
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from manualgrad.catalog import tensors_of


@pytest.mark.parametrize(("row", "case"), cases())
def test_vmap_of_grad(row, case):
    """Per-sample gradients by vmap are those computed one by one."""
    module, inputs = build(case, row.ours)
    torch.func.replace_all_batch_norm_modules_(module)  # running statistics cannot be updated under vmap
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.instancenorm._InstanceNorm) and layer.training:
            layer.running_mean = layer.running_var = None
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


@pytest.mark.parametrize(("row", "case"), cases())
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


TORCH_CANNOT_AUTOCAST = {"AdaptiveLogSoftmaxWithLoss"}  # it copies bfloat16 into float32, and raises


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("row", "case"), cases())
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
        assert isinstance(ours, RuntimeError) or row.name in TORCH_CANNOT_AUTOCAST
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


@pytest.mark.parametrize(("row", "case"), cases())
def test_non_contiguous(row, case):
    """Strides of inputs and of grad_output do not matter."""
    expected = run(case, row.ours)
    module, inputs = build(case, row.ours)
    inputs = [
        torch.stack([t, t], -1).detach()[..., 0].requires_grad_() if t.requires_grad else t for t in inputs
    ]
    outputs = call(module, inputs, case)
    found = gradients(outputs, wanted_tensors(module, inputs), spaced=True)
    assert_close((outputs, found), expected[:2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("row", "case"), cases())
def test_stride_0_grad_output(row, case):
    """What ``.sum().backward()`` sends: one number for all elements, which must not be written to."""
    module, inputs = build(case, row.ours)
    outputs = [o for o in call(module, inputs, case) if o.requires_grad]
    tensors = wanted_tensors(module, inputs)
    if not outputs:
        return
    ones = [torch.ones((), dtype=o.dtype).expand(o.shape) for o in outputs]
    dense = [torch.ones_like(o, memory_format=torch.contiguous_format) for o in outputs]
    options = {"retain_graph": True, "allow_unused": True}
    expected = torch.autograd.grad(outputs, tensors, dense, **options)
    assert_close(torch.autograd.grad(outputs, tensors, ones, **options), expected, rtol=1e-10, atol=1e-10)
    assert all(one.sum() == one.numel() for one in ones)


IN_PLACE = {"+= 1": lambda y: y.add_(1), "*= 2": lambda y: y.mul_(2), "relu_": torch.relu_}


def run_then_in_place(case, cls, k: int, change):
    """The outputs and gradients when the caller changes output ``k``, or torch's refusal."""
    module, inputs = build(case, cls)
    outputs = call(module, inputs, case)
    try:
        change(outputs[k])
        return outputs, gradients(outputs, wanted_tensors(module, inputs))
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(("row", "case"), cases())
def test_in_place_after(row, case):
    """What may be done in place to an output of torch's layer may be done to ours: a residual, a relu_."""
    module, inputs = build(case, row.torchs)
    for k, output in enumerate(call(module, inputs, case)):
        for name, change in IN_PLACE.items() if output.is_floating_point() else ():
            theirs = run_then_in_place(case, row.torchs, k, change)
            if isinstance(theirs, RuntimeError):
                continue
            ours = run_then_in_place(case, row.ours, k, change)
            assert not isinstance(ours, RuntimeError), f"{name} on output {k}: {ours}"
            assert_close(ours, theirs, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("row", DERIVED_ROWS)
def test_empty_batch(row):
    """A batch without samples has outputs and gradients: those of torch."""
    empty = [case for case in (*row.cases, *row.edges) if any(0 in sample.shape for sample in case.inputs)]
    assert empty, "no case has an empty input"
    for case in empty:
        ours, theirs = run(case, row.ours), run(case, row.torchs)
        for got, expected in zip(ours, theirs):
            assert_close(got, expected, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize(("row", "case"), cases())
def test_frozen_parameters(row, case):
    """Without gradients for the parameters, those of the inputs are the same."""
    module, inputs = build(case, row.ours)
    parameters = len(list(module.parameters()))
    expected = run(case, row.ours)[1]
    module.requires_grad_(False)
    got = gradients(call(module, inputs, case), wanted_tensors(module, inputs))
    assert_close(got, expected[: len(expected) - parameters], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("row", "case"), cases())
def test_partial_gradients(row, case):
    """Each tensor that alone requires a gradient gets the one that it gets among others."""
    expected = run(case, row.ours)[1]
    for k in range(len(expected)):
        module, inputs = build(case, row.ours)
        tensors = wanted_tensors(module, inputs)
        for other in tensors[:k] + tensors[k + 1 :]:
            other.requires_grad_(False)
        outputs = call(module, inputs, case)
        got = gradients(outputs, [tensors[k]]) or [torch.zeros_like(tensors[k])]
        assert_close(got, [expected[k]], rtol=1e-10, atol=1e-10)


def has_parameters(row, case):
    return bool(list(case.build(row.ours).parameters()))


@pytest.mark.parametrize(("row", "case"), cases(wanted=has_parameters))
def test_tied_weights(row, case):
    """Two layers that share their parameters: each parameter gets the sum of both gradients."""
    found = []
    for cls in (row.ours, row.torchs):
        module, inputs = build(case, cls)
        tied = copy.deepcopy(module)
        for name, parameter in module.named_parameters():
            owner, _, leaf = name.rpartition(".")
            setattr(tied.get_submodule(owner), leaf, parameter)
        both = call(module, inputs, case) + call(tied, inputs, case)
        found.append((both, gradients(both, wanted_tensors(module, inputs))))
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


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


HALF_TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 2e-5}


@pytest.mark.parametrize("dtype", HALF_TOLERANCE, ids=str)
@pytest.mark.parametrize(("row", "case"), cases())
def test_parity_in_lower_precision(row, case, dtype):
    # Both are compared with float64, and we must not be less precise than torch is, or than rounding allows.
    exact = run(case, row.ours)
    try:
        theirs = run(case, row.torchs, dtype)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"torch has no {dtype} for this: {str(error).splitlines()[0]}")
    ours = run(case, row.ours, dtype)
    if row.random:  # the half types draw other random numbers than float64
        exact = theirs
    for got, torch_got, expected in zip(
        ours[0] + tuple(ours[1]), theirs[0] + tuple(theirs[1]), exact[0] + tuple(exact[1])
    ):
        assert got.dtype == torch_got.dtype
        scale = expected.double().abs().max().item() if expected.numel() else 1
        error = (got.double() - expected.double()).abs().max().item() if got.numel() else 0
        torch_error = (torch_got.double() - expected.double()).abs().max().item() if got.numel() else 0
        assert error <= max(3 * torch_error, HALF_TOLERANCE[dtype] * scale)
