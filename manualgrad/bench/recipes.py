"""Whole training steps: forward, loss, backward, update, of networks on random numbers shaped like digits."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import manualgrad

from .measure import interleaved, peak_bytes, saved_bytes
from .networks import NETWORKS
from .result import Result

__all__ = ["Contender", "bench_network", "bench_recipes", "measure", "networks_of"]


class Training(nn.Module):
    """A network with its loss, so that both are swapped, or compiled, together."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(self.network(x), y)


class Contender:
    """A copy of a module in training, whose output is the loss.

    Args:
        backend: ours, eager or compile.
        training: the module, of torch.nn.
        optimizer: its name in torch.optim.
        options: of the optimizer.
        batch: what the module is called with at each step.
    """

    def __init__(
        self,
        backend: str,
        training: nn.Module,
        optimizer: str,
        options: Mapping[str, Any],
        batch: tuple[Tensor, ...],
    ):
        self.batch = batch
        self.module = copy.deepcopy(training)
        self.run: Callable[..., Tensor] = self.module
        optimizers: object = torch.optim
        if backend == "ours":
            manualgrad.swap(self.module)
            manualgrad.fuse(self.module)
            optimizers = manualgrad.optim
        elif backend == "compile":
            self.run = torch.compile(self.module)
        self.optimizer = getattr(optimizers, optimizer)(self.module.parameters(), **options)

    def forward(self) -> Tensor:
        return self.run(*self.batch)

    def step(self) -> float:
        """One update; returns the loss before it."""
        self.optimizer.zero_grad()
        loss = self.forward()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def peak(self) -> int:
        """Most bytes that an update holds at a time, with the gradients, without parameters and state."""
        self.optimizer.zero_grad()
        return peak_bytes(self.step)


def networks_of(names: Sequence[str]) -> list[str]:
    """The networks named, or all.

    Raises:
        KeyError: if there is none of a name.
    """
    for name in names:
        if name not in NETWORKS:
            raise KeyError(f"no network named {name!r}; there are: {', '.join(NETWORKS)}")
    return list(names or NETWORKS)


def bench_network(
    name: str, against: Sequence[str] = ("eager",), seconds: float = 0.5, batch_size: int | None = None
) -> Result:
    """Measure training steps of a network, after a check that losses agree through two updates.

    Raises:
        ImportError: if the network needs a package that is not installed.
        RuntimeError: if losses of the contenders differ.
    """
    network = NETWORKS[name]
    torch.manual_seed(0)
    shape = (batch_size or network.shape[0], *network.shape[1:])
    batch = torch.randn(shape), torch.randint(10, shape[:1])
    training = Training(network.build())
    contenders = {
        backend: Contender(backend, training, network.optimizer, network.options, batch)
        for backend in ("ours", *against)
    }
    losses = {backend: [contender.step() for _ in range(2)] for backend, contender in contenders.items()}
    farthest = 0.0
    for backend, values in losses.items():
        for ours, theirs in zip(losses["ours"], values):
            difference = abs(ours - theirs) / abs(theirs)
            farthest = max(farthest, difference)
            if not difference < network.agree:
                raise RuntimeError(f"{name}: the loss of ours is {ours}, but {theirs} of {backend}")
    case = f"batch {'x'.join(map(str, shape))} {network.optimizer}"
    result = measure(name, case, contenders, seconds)
    saved = result.saved
    shares = ", ".join(f"{saved['ours'] / max(1, saved[b]):.2f} of {b}" for b in against)
    return result._replace(note=f"losses agree to {farthest:.0e}; saved {shares}")


def measure(name: str, case: str, contenders: Mapping[str, Contender], seconds: float = 0.5) -> Result:
    """Measure training steps of contenders, side by side."""
    times = interleaved({backend: c.step for backend, c in contenders.items()}, seconds=seconds)
    return Result(
        name,
        case,
        {backend: 1e3 * t for backend, t in times.items()},
        {
            backend: saved_bytes(c.forward, [*c.module.parameters(), *c.module.buffers(), *c.batch])
            for backend, c in contenders.items()
        },
        {backend: c.peak() for backend, c in contenders.items()},
    )


def bench_recipes(names: Sequence[str], against: Sequence[str], seconds: float = 0.5) -> Iterator[Result]:
    """Measure networks, one after the other; one that cannot be imported is left out, as a line says."""
    for name in names:
        try:
            yield bench_network(name, against, seconds)
        except ImportError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
