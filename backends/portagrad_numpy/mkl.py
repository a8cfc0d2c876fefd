"""Products of large matrices by Intel's MKL, where the extra `mkl` is installed: on Linux, with numba."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import struct
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
WAKING = 1 << 23
"""From how many on it pays to wake a thread, which takes as long as half of them."""
MOST = 1 << 31
"""Rows and columns that MKL, which counts in 32 bits, cannot take any more."""
GRAIN = 16
"""Rows or columns of a part are a multiple of this: what a core computes at once."""
_PARTS = ("libmkl_intel_lp64", "libmkl_sequential", "libmkl_core")
_REPRODUCIBLE = 2
"""MKL_CBWR_AUTO: the same bits in each run, wherever in memory the matrices lie."""


@functools.cache
def functions() -> dict[int, int] | None:
    """The addresses of MKL's products, by the bytes of a number; None where something is missing."""
    found = library()
    names = {4: "cblas_sgemm", 8: "cblas_dgemm"}
    return found and {size: ctypes.cast(found[name], ctypes.c_void_p).value for size, name in names.items()}


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


class Product:
    """A product of matrices as a job of the team's: how it is cut, and its arguments."""

    def __init__(self, m: int, k: int, n: int, dtype: Any, split: int | None = None) -> None:
        from portagrad_numpy import native  # which takes numba, and compiles once on a machine

        found = functions()
        assert found is not None
        rows, long = m >= n, max(m, n)  # the longer side is cut, the other factor is read by all
        count = threads.team().count
        cut = m * k * n >= (SPLIT if split is None else split)
        step = -(-long // (count * GRAIN)) * GRAIN if cut else long
        self.pieces = -(-long // step)
        self.wake = m * k * n >= WAKING
        self.function: Any = native.product.address
        self.args = numpy.zeros(native.LENGTH + 3, numpy.int64)
        self.args[[threads.COUNT, threads.STEP, native.ROWS_CUT]] = long, step, rows
        self.args[[native.GEMM, native.SIZE]] = found[dtype.itemsize], dtype.itemsize
        self.args[native.SHAPE : native.SHAPE + 3] = m, n, k
        self.native = native

    def __call__(self, a: Any, b: Any, out: Any) -> None:
        """Multiply arrays in C or Fortran order."""
        work, args = self.native.multiply(out.itemsize), self.args.copy()
        if self.pieces == 1:
            work(threads.NOBODY, True, self.function, args, 1, a, b, out)
            return
        threads.team().perform(work, self.function, args, self.pieces, a, b, out, wake=self.wake)

    def orders(self, *strides: Any) -> None:
        """In which order the elements of the factors and the product lie, by their strides in elements."""
        for i, (rows, columns) in enumerate(strides):
            in_rows = columns == 1
            self.args[self.native.LEADING + i] = rows if in_rows else columns
            if i < 2:
                self.args[self.native.ORDERS + i] = self.native.ROWS if in_rows else self.native.COLUMNS

    def lie(self, table: Any, places: list[int], shifts: list[int]) -> None:
        """Where the matrices are, and how many bytes in the factors begin there."""
        self.args[threads.TABLE] = table.ctypes.data
        self.args[self.native.A : self.native.A + 3] = places
        self.args[self.native.SHIFTS : self.native.SHIFTS + 2] = shifts


def dot(a: Any, b: Any) -> Any:
    """The product of two matrices: MKL's of large ones, else NumPy's."""
    if a.size * b.shape[1] < LEAST or not takes(a, b):
        return a.dot(b)
    (m, k), n = a.shape, b.shape[1]
    out = numpy.empty((m, n), a.dtype)
    _product(m, k, n, a.dtype)(a, b, out)
    return out


_product = functools.lru_cache(maxsize=256)(Product)


def takes(a: Any, b: Any) -> bool:
    """Whether MKL multiplies two matrices."""
    # NumPy lets the stride of an axis of length 1 be anything; MKL does not.
    return (
        _in_order(a)
        and _in_order(b)
        and a.dtype == b.dtype
        and a.dtype.char in "fd"
        and a.shape[1] == b.shape[0]
        and min(*a.shape, b.shape[1]) > 1
        and max(*a.shape, b.shape[1]) < MOST
        and functions() is not None
    )


def _in_order(x: Any) -> bool:
    """Whether a matrix is a plain array in the order of its rows or of its columns."""
    return type(x) is numpy.ndarray and x.flags.forc
