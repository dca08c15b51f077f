"""From a loop over arrays, in Python, to machine code that is called with tensors."""

from __future__ import annotations

import inspect
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.ufunc.parallel import threading_layer
from torch import Tensor

__all__ = ["GRAIN", "compiled", "inlined", "like"]

# Elements below which one thread is faster than a team of them. ATen's is about the same.
GRAIN = 32768
# What the compiler may do with arithmetic. Not "nnan" and "ninf": NaN and infinities must come through.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
# Numba's cache sees changes of the file of a kernel, but not of the files that it takes functions from.
SOURCES = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
CHECKED = False

inlined = numba.njit(fastmath=FASTMATH, error_model="numpy")

_forked = False
_turn = threading.Lock()


class Compiled:
    """A loop over arrays as machine code, called with tensors for them; see :func:`compiled`."""

    def __init__(self, loop: Callable[..., Any], grain: int, shapes: dict[str, str]):
        self.loop = loop
        self.grain = grain
        self.shapes = shapes
        self.names = list(inspect.signature(loop).parameters)
        self.entries: dict[tuple[torch.dtype, bool], Callable[..., Any]] = {}

    def __call__(self, *args: Any) -> Any:
        first = args[0]
        if CHECKED:
            self.check(args)
        threads = torch.get_num_threads()
        # A forked process has its parent's team of threads in name only.
        team = threads > 1 and first.numel() >= self.grain and not _forked
        entry = self.entries.get((first.dtype, team)) or self.entry(first.dtype, team)
        values = [a.data_ptr() if isinstance(a, Tensor) else 0 if a is None else a for a in args]
        if not team:
            return entry(*values)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        if _team_is_shared():
            with _turn:
                return entry(*values)
        return entry(*values)

    def entry(self, dtype: torch.dtype, team: bool) -> Callable[..., Any]:
        """The machine code for a dtype, for one thread or a team: compiled once, and kept on disk."""
        loop = numba.njit(fastmath=FASTMATH, error_model="numpy", parallel=team, nogil=True)(self.loop)
        # Numba's cache tells functions apart by file and name, and not by what they call.
        name = f"{self.loop.__name__}_{DTYPES[dtype].__name__}_{'team' if team else 'one'}_{SOURCES:08x}"
        arguments = ", ".join(self.passed(argument) for argument in self.names)
        source = f"def {name}({', '.join(self.names)}):\n    return loop({arguments})"
        space = {
            "__name__": self.loop.__module__,
            "T": DTYPES[dtype],
            "np": np,
            "carray": carray,
            "at": _address,
            "loop": loop,
        }
        exec(compile(source, self.loop.__code__.co_filename, "exec"), space)
        entry = numba.njit(cache=True, nogil=True)(space[name])
        self.entries[dtype, team] = entry
        return entry

    def passed(self, argument: str) -> str:
        """How the entry, which gets addresses, passes ``argument`` on."""
        if argument not in self.shapes:
            return argument
        dtype, shape = self.declared(argument)
        if shape.endswith("?"):
            shape = f"{shape[:-1]} if {argument} != 0 else 0"
        return f"carray(at({argument}), ({shape},), {dtype})"

    def declared(self, argument: str) -> tuple[str, str]:
        """The dtype of an array, as a name, and its shape."""
        dtype, colon, shape = self.shapes[argument].rpartition(":")
        return f"np.{dtype}" if colon else "T", shape.strip()

    def check(self, args: tuple) -> None:
        """Raise unless the tensors are as declared: nothing else stands between them and foreign memory."""
        given = dict(zip(self.names, args, strict=True))
        for argument in self.shapes:
            dtype, shape = self.declared(argument)
            if given[argument] is None and shape.endswith("?"):
                continue
            x: Tensor = given[argument]
            sizes = eval(f"({shape.rstrip('?')},)", {}, given)
            wanted = (
                torch.empty(0, dtype=args[0].dtype).numpy().dtype if dtype == "T" else np.dtype(dtype[3:])
            )
            # Dense is what empty_like gives the same strides.
            dense = torch.empty_like(x).stride() == x.stride()
            if not dense or x.numel() != np.prod(sizes) or x.detach().numpy().dtype != wanted:
                raise AssertionError(
                    f"{self.loop.__name__}: {argument} is declared as {self.shapes[argument]!r}, {sizes} of "
                    f"{wanted}, but has {tuple(x.shape)} of {x.dtype} with strides {x.stride()}"
                )


def compiled(*, grain: int = GRAIN, **shapes: str) -> Callable[[Callable[..., Any]], Compiled]:
    """Decorate a loop over arrays, so that it is called with contiguous tensors in their place.

    ``prange`` in it is shared between torch's number of threads if the first tensor has ``grain`` elements or
    more. A kernel is compiled for float32 and for float64, each at the first call.

    Args:
        shapes: of every argument that is an array its shape, in terms of arguments that are whole numbers; in
            front of it the dtype, if it is not the first tensor's. A question mark behind it stands for an
            array that may be None, and is empty then::

                @compiled(x="rows, count", weight="count?", winner="uint8: rows")
                def kernel(x, weight, winner, rows, count): ...
    """
    return lambda loop: Compiled(loop, grain, shapes)


def like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` laid out in memory as ``other`` is: a copy if it is not."""
    return x if x.stride() == other.stride() else torch.empty_like(other).copy_(x)


@intrinsic
def _address(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), codegen


def _team_is_shared() -> bool:
    # Numba's own pool of threads, its last resort where it finds neither TBB nor OpenMP, aborts the process
    # if two threads enter it at a time. Which of them it is, is known after the first parallel call.
    try:
        return threading_layer() == "workqueue"
    except ValueError:
        return True


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
