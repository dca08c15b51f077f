"""From a loop over arrays, in Python, to machine code that is called with tensors."""

from __future__ import annotations

import inspect
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from llvmlite.binding import Linkage, set_option
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.ufunc.parallel import threading_layer
from torch import Tensor

__all__ = ["FASTMATH", "cached", "compiled", "contiguous", "forceinline", "inlined", "like"]

# Elements below which one thread is faster than a team of them. ATen's is about the same.
GRAIN = 32768
# What the compiler may do with arithmetic. Not "nnan" and "ninf": NaN and infinities must come through.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
# Numba's cache sees changes of the file of a kernel, but not of the files that it takes functions from.
SOURCES = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
# Whether every call is checked against the declared shapes, as the tests have it.
CHECKED = False

# Of functions that only machine code calls: what a call from Python or C takes, would be compiled in vain.
INNER: dict[str, Any] = {
    "fastmath": FASTMATH,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# For functions that loops call. Where the compiler leaves the call, it does not see that an argument is a
# literal 2, and cannot vectorize: then the second one.
inlined = numba.njit(**INNER)
forceinline = numba.njit(**INNER, forceinline=True)

get_num_threads = torch.get_num_threads
# What is behind numba.set_num_threads, which calls by way of Python.
set_num_threads = types.ExternalFunction("set_num_threads", types.void(types.intc))
_log = logging.getLogger("manualgrad")
_told = False
_forked = False
_one_at_a_time = True
_turn = threading.Lock()


class Compiled:
    """A loop over arrays as machine code, called with tensors for them; see :func:`compiled`."""

    def __init__(self, loop: Callable[..., Any], grain: int, shapes: dict[str, str]):
        self.loop = loop
        self.grain = grain
        self.shapes = shapes
        self.names = list(inspect.signature(loop).parameters)
        # For one thread, and for a team.
        self.entries: tuple[dict[torch.dtype, Callable[..., Any]], ...] = ({}, {})

    def __call__(self, *args: Any) -> Any:
        first = args[0]
        if CHECKED:
            self.check(args)
        threads = get_num_threads()
        # A forked process has its parent's team of threads in name only.
        team = threads > 1 and first.numel() >= self.grain and not _forked
        entry = self.entries[team].get(first.dtype) or self.entry(first.dtype, team, args)
        if team and _one_at_a_time:
            with _turn:
                return entry(threads, *args)
        return entry(threads, *args)

    def entry(self, dtype: torch.dtype, team: bool, args: tuple) -> Callable[..., Any]:
        """The loop for tensors of a dtype, and one thread or a team: compiled once, and kept on disk.

        It is called with the number of threads and the arguments of the loop, such as ``args``. Around the
        machine code, which takes addresses, is a function that takes tensors, written out because a loop over
        them takes longer.
        """
        if team:
            _launch()
        loop = numba.njit(**INNER, parallel=team, nogil=True)(self.loop)
        # Numba's cache tells functions apart by file and name, and not by what they call.
        name = f"{self.loop.__name__}_{DTYPES[dtype].__name__}_{'team' if team else 'one'}_{SOURCES:08x}"
        names = ", ".join(self.names)
        arrays = ", ".join(self.array(argument) for argument in self.names)
        addresses = ", ".join(self.address(argument) for argument in self.names)
        source = [
            f"def {name}(threads, {names}):",
            f"    return loop({arrays})",
            f"def entry(threads, {names}):",
            f"    return machine_code(threads, {addresses})",
        ]
        if team:
            source.insert(1, "    set_num_threads(threads)")
            source[-1] = f"    return machine_code(min(threads, most), {addresses})"
        space: dict[str, Any] = {
            "__name__": self.loop.__module__,
            "T": DTYPES[dtype],
            "np": np,
            "carray": carray,
            "at": _address,
            "loop": loop,
            "set_num_threads": set_num_threads,
            "most": numba.config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]
        }
        exec(compile("\n".join(source), self.loop.__code__.co_filename, "exec"), space)
        space["machine_code"] = cached(space[name])
        given = (0 if argument in self.shapes else value for argument, value in zip(self.names, args))
        with _short_loops():
            space["machine_code"].compile(tuple(map(numba.typeof, (0, *given))))
        self.entries[team][dtype] = space["entry"]
        return space["entry"]

    def array(self, argument: str) -> str:
        """How the machine code, which gets addresses, passes ``argument`` on."""
        if argument not in self.shapes:
            return argument
        dtype, shape = self.declared(argument)
        if shape.endswith("?"):
            shape = f"{shape[:-1]} if {argument} != 0 else 0"
        return f"carray(at({argument}), ({shape},), {dtype})"

    def address(self, argument: str) -> str:
        """How the machine code gets ``argument``."""
        if argument not in self.shapes:
            return argument
        address = f"{argument}.data_ptr()"
        return (
            f"0 if {argument} is None else {address}" if self.declared(argument)[1].endswith("?") else address
        )

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
            dense = x.is_contiguous() or torch.empty_like(x).stride() == x.stride()
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


def cached(function: Callable[..., Any]) -> Any:
    """Decorate a function that Python calls: compiled at the first call, and kept on disk if possible."""
    try:
        folder = FunctionCache(function).cache_path
    except RuntimeError:  # none that can be written to
        folder = None
    options: dict[str, Any] = {
        "cache": folder is not None,
        "nogil": True,
        "no_cfunc_wrapper": True,
        "pipeline_class": partial(_Compiler, folder),
    }
    return numba.njit(**options)(function)


def like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` laid out in memory as ``other`` is: a copy if it is not."""
    if (x.is_contiguous() and other.is_contiguous()) or x.stride() == other.stride():
        return x
    return torch.empty_like(other).copy_(x)


def contiguous(x: Tensor | None) -> Tensor | None:
    """``x`` in contiguous memory, if it is there."""
    return None if x is None else x.contiguous()


class _Whole(JITCodeLibrary):
    """Machine code that calls its own copies of the functions in it.

    Numba leaves the names of these copies to be found by others. The process that compiles them then calls,
    in their place, the functions as it compiled them on their own, which round differently; a process that
    loads the machine code from the disk has the copies alone.
    """

    def _finalize_final_module(self):
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage != Linkage.external:
                function.linkage = Linkage.internal
        super()._finalize_final_module()


class _Compiler(Compiler):
    """Numba's, which is asked only for what the disk does not have."""

    def __init__(self, folder: str | None, *args: Any):
        super().__init__(*args)
        self.folder = folder

    def define_pipelines(self):
        _tell(self.folder)
        self.state.library = _Whole(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


def _tell(folder: str | None) -> None:
    """Say, once, why the first calls of kernels take seconds."""
    global _told
    if not _told:
        _told = True
        kept = f"once; kept in {folder}" if folder else "again in every process: no folder to keep them in"
        _log.info(f"compiling kernels for this machine ({kept})")


@intrinsic
def _address(typingctx, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), codegen


@contextmanager
def _short_loops() -> Iterator[None]:
    # A loop of float32 takes steps of 32, and what is left, one by one: nearly all of a row of 28. LLVM makes
    # vectors of what is left only where one holds 16 numbers, unless it is told to from 8 on. The option is
    # the whole process's, so it is put back.
    with global_compiler_lock:
        set_option("manualgrad", "-epilogue-vectorization-minimum-VF=8")
        try:
            yield
        finally:
            set_option("manualgrad", "-epilogue-vectorization-minimum-VF=16")


def _launch() -> None:
    global _one_at_a_time
    threads = get_num_threads()
    numba.get_num_threads()
    # Starting its team, Numba changes torch's number of threads where both have the same OpenMP.
    if get_num_threads() != threads:
        torch.set_num_threads(threads)
    # Numba's own pool of threads, its last resort where it finds neither TBB nor OpenMP, aborts the process
    # if two threads enter it at a time.
    _one_at_a_time = threading_layer() == "workqueue"


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
