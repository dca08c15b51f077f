"""How long a step takes and what it keeps: contenders in turn, so that a busy machine hits all alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile

__all__ = ["interleaved", "peak_bytes", "saved_bytes"]


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, seconds: float = 0.5, rounds: int = 300
) -> dict[str, float]:
    """Median seconds of a call of each contender.

    They are called in turn, each time in the other direction, until ``seconds`` for each of them or
    ``rounds`` are over, after a warm-up in which kernels are compiled; never less than 7 times.
    """
    for call in contenders.values():
        for _ in range(3):
            call()
    names = list(contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds * len(names)
    for k in range(rounds):
        for name in names if k % 2 else reversed(names):
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
        if k >= 6 and time.perf_counter() > end:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def saved_bytes(forward: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Bytes that ``forward`` keeps for backward: storages, each counted once, without those of parameters."""
    ignored = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}

    @torch.compiler.disable  # or else it is compiled for each shape that a compiled model saves
    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in ignored:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):  # pyright: ignore[reportArgumentType]
        output = forward()
    del output
    return sum(kept.values())


def peak_bytes(step: Callable[[], object]) -> int:
    """Most bytes that a call of ``step`` holds at a time, beyond what was there before it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or else it tells when it starts and stops
    with profile(profile_memory=True) as recorded:
        step()
    events: list = [e for e in recorded.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda e: e.start_ns())
    return max(0, *accumulate((e.nbytes() for e in events), initial=0))
