"""SyncBatchNorm in two processes is BatchNorm in one, on the whole batch. gloo, on the CPU.

torch.nn.SyncBatchNorm itself cannot run here: in several processes it refuses tensors on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import spawn
from torch.testing import assert_close

from manualgrad import nn
from manualgrad.layers.sync_batchnorm import sync_batch_norm

PROCESSES = 2
EXACT = {"rtol": 1e-10, "atol": 1e-10}


@dataclass(frozen=True)
class Scenario:
    """How many samples each process has, the shape of one, and the layer."""

    split: tuple[int, int]
    shape: tuple[int, ...] = (3, 4)
    kwargs: dict = field(default_factory=dict)
    steps: int = 1
    group: str | None = None
    dtype: torch.dtype = torch.float64


SCENARIOS = {
    "even": Scenario((3, 3)),
    "uneven": Scenario((4, 1)),
    "one process is empty": Scenario((5, 0)),
    "the other is empty": Scenario((0, 5)),
    "one value in each": Scenario((1, 1), (3,)),
    "images": Scenario((1, 3), (2, 2, 3)),
    "not affine": Scenario((2, 1), kwargs={"affine": False}),
    "no bias": Scenario((2, 1), kwargs={"bias": False}),
    "average of all batches": Scenario((3, 2), kwargs={"momentum": None}, steps=3),
    "momentum and eps": Scenario((3, 2), kwargs={"momentum": 0.4, "eps": 0.1}, steps=2),
    "no running statistics": Scenario((3, 2), kwargs={"track_running_stats": False}),
    "a group of both": Scenario((3, 2), group="both"),
    "float32": Scenario((3, 2), dtype=torch.float32),
}
ALONE = Scenario((3, 2), group="alone")


def tensors(scenario: Scenario) -> tuple[nn.Module, list[Tensor]]:
    """torch's layer, its parameters random, and a step's inputs, weights of a loss, and of its gradient."""
    torch.manual_seed(3)
    channels = scenario.shape[0]
    layer = torch.nn.SyncBatchNorm(channels, **scenario.kwargs).to(scenario.dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    shape = (scenario.steps, 3, sum(scenario.split), *scenario.shape)
    return layer, list(torch.randn(shape, dtype=torch.float64).to(scenario.dtype))


def outcome(layer: nn.Module, steps: list[Tensor]) -> dict[str, Tensor]:
    """Outputs, two derivatives of the last step, running statistics, and outputs in evaluation."""
    for x, weights, again in steps:
        x = x.clone().requires_grad_()
        y = layer(x)
        wanted = [x, *layer.parameters()]
        first = torch.autograd.grad((y.sin() * weights).sum(), wanted, create_graph=True)
        total = sum((g * (again if k == 0 else 1 + k)).sum() for k, g in enumerate(first))
        second = torch.autograd.grad(total, wanted)
    found = {"y": y, **{f"first {k}": g for k, g in enumerate(first)}}
    found |= {f"second {k}": g for k, g in enumerate(second)}
    found |= {name: buffer.clone() for name, buffer in layer.named_buffers()}
    if layer.track_running_stats:
        found["evaluated y"] = layer.eval()(x)
    return {name: tensor.detach() for name, tensor in found.items()}


def part(scenario: Scenario, rank: int, steps: list[Tensor]) -> list[Tensor]:
    """The samples that process ``rank`` has."""
    return [step.split(scenario.split, 1)[rank] for step in steps]


def synchronized(scenario: Scenario, groups: dict) -> dict[str, Tensor]:
    layer, steps = tensors(scenario)
    layer.__class__ = nn.SyncBatchNorm
    layer.process_group = groups.get(scenario.group)
    return outcome(layer, part(scenario, dist.get_rank(), steps))


def transformed() -> dict:
    """What transforms make of the layer: each call is synchronized with its namesake on the other process."""
    torch.manual_seed(4)
    xs = torch.randn(PROCESSES, 2, 5, 3, dtype=torch.float64)[dist.get_rank()]
    layer = nn.SyncBatchNorm(3, track_running_stats=False).double()

    def loss(x):
        return layer(x).sin().sum()

    grad = torch.func.grad(loss)
    found = {
        "one by one": torch.stack([grad(x) for x in xs]),
        "vmap": torch.func.vmap(grad)(xs),
    }
    x = xs[0].clone().requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found["first"] = found["one by one"][0]
    found["compiled"] = torch.autograd.grad(compiled(x).sin().sum(), x)[0]
    found["parameters"] = torch.autograd.grad(loss(x), [x, *layer.parameters()])[1:]
    found["parameters alone"] = torch.autograd.grad(loss(x.detach()), list(layer.parameters()))
    try:
        torch.autograd.grad(layer(x), x, torch.ones(2, 5, 3, dtype=torch.float64), is_grads_batched=True)
    except RuntimeError as error:
        found["is_grads_batched"] = str(error)
    return found


def process(rank: int, folder: str) -> None:
    """What each of the processes does: all scenarios, in the same order."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=120),
    )
    groups = {"both": dist.new_group([0, 1])}
    alone = [dist.new_group([k]) for k in range(PROCESSES)]
    groups["alone"] = alone[rank]
    found = {name: synchronized(scenario, groups) for name, scenario in SCENARIOS.items()}
    found["alone"] = synchronized(ALONE, groups)
    found["transformed"] = transformed()
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """What the two processes computed."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch was built without gloo")
    folder: Path = tmp_path_factory.mktemp("gloo")
    spawn(process, args=(str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def joined(name: str, parts: list[Tensor]) -> Tensor:
    """What the processes have is parts of the batch, shares of the gradient of a weight, or the same."""
    if name in ("y", "first 0", "second 0", "evaluated y"):
        return torch.cat(parts)
    if name.startswith(("first", "second")):
        return parts[0] + parts[1]
    assert_close(parts[0], parts[1], rtol=0, atol=0)
    return parts[0]


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_one_process(name, found):
    scenario = SCENARIOS[name]
    layer, steps = tensors(scenario)
    expected = outcome(layer, steps)  # in one process torch's SyncBatchNorm is BatchNorm, on the CPU too
    tolerance = EXACT if scenario.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    assert len(expected) > 3
    for key, value in expected.items():
        got = joined(key, [result[name][key] for result in found])
        assert_close(got, value, **tolerance, msg=lambda text, key=key: f"{key}: {text}")


def test_group_of_one(found):
    """There is nobody to synchronize with: batch normalization of the process's own batch."""
    for rank, result in enumerate(found):
        layer, steps = tensors(ALONE)
        assert_close(result["alone"], outcome(layer, part(ALONE, rank, steps)), **EXACT)


@pytest.mark.parametrize(
    ("way", "plain"),
    [("vmap", "one by one"), ("compiled", "first"), ("parameters alone", "parameters")],
)
def test_transformed(way, plain, found):
    for result in found:
        assert_close(result["transformed"][way], result["transformed"][plain], **EXACT)


def test_batched_gradients_are_refused(found):
    """The older vmap, of is_grads_batched, cannot follow a collective call, and says so."""
    for result in found:
        assert (
            "Batching rule not implemented for c10d::allreduce_" in result["transformed"]["is_grads_batched"]
        )


@pytest.mark.parametrize("shape", [(0, 2, 3), (0, 2)])
def test_empty_batch_moves_no_running_statistics(shape):
    layer = nn.SyncBatchNorm(2)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers() if name.startswith("running")}
    x = torch.randn(shape, requires_grad=True)
    layer(x).sum().backward()
    for name, value in before.items():
        assert_close(getattr(layer, name), value, rtol=0, atol=0)
    assert x.grad.shape == shape
    assert_close(layer.weight.grad, torch.zeros(2))


def test_convert_makes_layers_of_this_class():
    model = torch.nn.Sequential(
        torch.nn.BatchNorm1d(3), torch.nn.Sequential(nn.BatchNorm2d(2, momentum=None))
    )
    before = model.state_dict(keep_vars=True)
    assert type(torch.nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3))) is torch.nn.SyncBatchNorm
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model, "the group")
    layers = [converted[0], converted[1][0]]
    assert [type(layer) for layer in layers] == [nn.SyncBatchNorm] * 2
    assert [layer.process_group for layer in layers] == ["the group"] * 2
    assert {name: id(t) for name, t in before.items()} == {
        name: id(t) for name, t in converted.state_dict(keep_vars=True).items()
    }
    single = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3))
    assert type(single) is nn.SyncBatchNorm


def test_errors():
    with pytest.raises(ValueError, match="at least 2D"):
        nn.SyncBatchNorm(3)(torch.randn(3))
    with pytest.raises(ValueError, match="channels should be non-zero"):
        nn.SyncBatchNorm(0)(torch.randn(2, 0))
    with pytest.raises(ValueError, match=r"sync_batch_norm: expected more than 1 value.*\[1, 3\]"):
        nn.SyncBatchNorm(3)(torch.randn(1, 3))
    with pytest.raises(RuntimeError, match=r"sync_batch_norm: expected an input \(B, C, \*\).*\[3\]"):
        sync_batch_norm(torch.randn(3), None, None)
    with pytest.raises(ValueError, match="sync_batch_norm: eps must be positive, but got 0"):
        sync_batch_norm(torch.randn(3, 2), None, None, eps=0)
    with pytest.raises(RuntimeError, match="sync_batch_norm: weight must have one element per channel"):
        sync_batch_norm(torch.randn(3, 2), None, None, torch.ones(3))
