"""Products of large matrices by Intel's MKL, where the extra `mkl` is installed: on Linux, with numba."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from portagrad_numpy import threads

LEAST = 1 << 18
"""From how many multiplications on MKL takes a product: below, NumPy's own costs less a call.

Where OpenBLAS begins to use threads (its GEMM_MULTITHREAD_THRESHOLD): these look for work for a tenth of a
second after each product, on the cores that the next product needs.
"""
SPLIT = 1 << 20
"""From how many on each thread takes a part."""
GRAIN = 16
"""Rows or columns of a part are a multiple of this: what a core computes at once."""
_PARTS = ("libmkl_intel_lp64", "libmkl_sequential", "libmkl_core")
_REPRODUCIBLE = 2
"""MKL_CBWR_AUTO: the same bits in each run, wherever in memory the matrices lie."""


@functools.cache
def team() -> Team | None:
    """What multiplies; None where something is missing."""
    found = library()
    return found and Team(found)


@functools.cache
def library() -> Any:
    """MKL, where its wheel is installed on a system for which this is written, and numba; else None."""
    here = platform.system() == "Linux" and platform.machine() == "x86_64"
    if not here or not importlib.util.find_spec("numba"):
        return None
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = {file.name.partition(".")[0]: str(Path(str(file.locate())).resolve()) for file in files}
    parts = [paths[part] for part in _PARTS if part in paths]
    if len(parts) < len(_PARTS):
        return None
    try:
        return _loaded(parts)
    except OSError:  # of another system's wheel, or where /proc is not to be seen
        return None


def _loaded(paths: list[str]) -> Any:
    """MKL, its symbols visible to nobody else.

    The parts of MKL need each other's symbols and do not say so, and MKL's own loader, libmkl_rt, shows them
    to the whole process: torch, which has an MKL of its own, then runs on this one. So the parts are loaded
    as what a library without contents depends on.
    """
    memory = os.memfd_create("mkl")
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(_depending_on(paths))
        library = ctypes.CDLL(f"/proc/self/fd/{memory}", ctypes.RTLD_LOCAL)
    finally:
        os.close(memory)
    library.MKL_CBWR_Set(_REPRODUCIBLE)
    return library


def _depending_on(paths: list[str]) -> bytes:
    """A shared library that contains nothing but what it depends on.

    Tool Interface Standard (1995), "Executable and linking format", version 1.2; x86-64's numbers.
    """
    names = b"\0" + b"".join(path.encode() + b"\0" for path in paths)
    starts = [names.index(path.encode() + b"\0") for path in paths]
    symbols = 64 + 2 * 56  # after the header and two program headers; one empty symbol of 24 bytes
    dynamic = symbols + 24
    length = 16 * (len(paths) + 5)
    strings = dynamic + length
    needed, strtab, symtab, strsz, syment = 1, 5, 6, 10, 11
    tags = [(needed, start) for start in starts]
    tags += [(strtab, strings), (symtab, symbols), (strsz, len(names)), (syment, 24), (0, 0)]
    end = strings + len(names)
    shared, x86_64, readable, pt_load, pt_dynamic = 3, 62, 4, 1, 2
    writable = readable | 2  # the loader puts addresses in the place of offsets
    return b"".join(
        [
            b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
            struct.pack("<HHIQQQIHHHHHH", shared, x86_64, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0),
            struct.pack("<IIQQQQQQ", pt_load, writable, 0, 0, 0, end, end, 4096),
            struct.pack("<IIQQQQQQ", pt_dynamic, writable, dynamic, dynamic, dynamic, length, length, 8),
            bytes(24),
            *[struct.pack("<QQ", *tag) for tag in tags],
            names,
        ]
    )


class Team:
    """This thread and those that help it.

    How a product is cut depends on its shape and on how many they are, not on who is there in time: a part
    that no helper has begun is done by the caller, and the result has the same bits.
    """

    def __init__(self, library: Any) -> None:
        from portagrad_numpy import native  # which takes numba, and compiles once on a machine

        self.native, self.serve = native.multiply, native.serve
        names = {4: "cblas_sgemm", 8: "cblas_dgemm"}
        self.functions = {
            size: ctypes.cast(library[name], ctypes.c_void_p).value for size, name in names.items()
        }
        self.gather()
        os.register_at_fork(after_in_child=self.gather)  # threads stay behind in the parent

    def gather(self) -> None:
        self.count = threads.count()
        self.first = 32  # past the job; each helper has a cache line to tell that it sleeps
        memory = numpy.zeros(self.first + 8 * self.count + 8, numpy.int64)
        self.words = memory[-memory.ctypes.data % 64 // 8 :]
        self.lock = threading.RLock()  # a signal may bring another product in between
        self.bells = [(self.first + 8 * i, threading.Semaphore(0)) for i in range(self.count - 1)]
        self.awake = False
        self.started = False

    def start(self) -> None:
        for asleep, bell in self.bells:
            self.words[asleep] = 1
            threading.Thread(target=self.help, args=(asleep, bell), name="portagrad", daemon=True).start()
        self.started = True

    def help(self, asleep: int, bell: threading.Semaphore) -> None:
        while True:
            bell.acquire()
            self.serve(self.words, asleep)

    def cut(self, m: int, n: int, work: int) -> tuple[int, bool, int]:
        """How many parts, whether of rows, and how long: of the longer side, the other is read by all."""
        rows, long = m >= n, max(m, n)
        if self.count == 1 or work < SPLIT:
            return 1, rows, long
        step = -(-long // (self.count * GRAIN)) * GRAIN
        return -(-long // step), rows, step

    def multiply(self, a: Any, b: Any, out: Any, cut: tuple[int, bool, int]) -> None:
        """The product of two matrices into `out`, in parts."""
        size = out.itemsize
        with self.lock:
            if cut[0] > 1:
                self.wake()
            self.native(size)(self.words, self.functions[size], *cut, a, b, out)

    def wake(self) -> None:
        if not self.started:
            self.start()
        for asleep, bell in self.bells:
            if self.words[asleep]:
                self.words[asleep] = 0
                bell.release()


class Product:
    """A product of matrices of one shape and precision, called with them and the memory for the result."""

    def __init__(self, team: Team, m: int, k: int, n: int) -> None:
        self.team, self.cut = team, team.cut(m, n, m * k * n)

    def __call__(self, a: Any, b: Any, out: Any) -> None:
        if _in_order(a) and _in_order(b):
            self.team.multiply(a, b, out, self.cut)
        else:
            a.dot(b, out)


def product(m: int, k: int, n: int, dtype: Any) -> Callable[..., Any]:
    """What multiplies matrices of such shapes in a plan: MKL large ones, else NumPy."""
    # NumPy lets the stride of an axis of length 1 be anything; MKL does not.
    if m * k * n < LEAST or min(m, k, n) < 2 or dtype.char not in "fd":
        return numpy.dot
    found = team()
    return Product(found, m, k, n) if found else numpy.dot


def dot(a: Any, b: Any) -> Any:
    """The product of two matrices: MKL's of large ones, else NumPy's."""
    if a.size * b.shape[1] < LEAST or not takes(a, b):
        return a.dot(b)
    (m, k), n = a.shape, b.shape[1]
    out = numpy.empty((m, n), a.dtype)
    product(m, k, n, a.dtype)(a, b, out)
    return out


def takes(a: Any, b: Any) -> bool:
    """Whether MKL could multiply two matrices."""
    return _in_order(a) and _in_order(b) and a.dtype == b.dtype and a.shape[1] == b.shape[0]


def _in_order(x: Any) -> bool:
    """Whether a matrix is a plain array in the order of its rows or of its columns."""
    return type(x) is numpy.ndarray and x.flags.forc
