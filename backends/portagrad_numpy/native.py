"""A product of matrices on several threads that wait for each other in machine code, compiled by numba.

Threads of Python's are told of work, and tell that it is done, in some thirty microseconds: a third of what a
product of 256 by 256 matrices takes. These look at a word in memory instead, and sleep when they have had
nothing to do for a while.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from portagrad_numpy.kept import keeps

CLAIM, DONE, JOB = 0, 8, 16
"""Where in the shared words stand: what is to be claimed, how much is done (a cache line each), and the job.

The claim holds the number of the job above bit 32, above bit 16 how many pieces it has, and below the next
one: it is exchanged as a whole, so that nobody takes a piece of a job that is over.
"""
SPINS = 4_000
"""How often an idle thread looks before it goes to sleep: for some 200 microseconds."""
ROWS, COLUMNS = 111, 112
"""How CBLAS calls the two orders of a matrix."""
_INT = ir.IntType(64)


def _word(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """The address of a word."""
    made = context.make_array(array_type)(context, builder, array)
    return builder.gep(made.data, [index])


@intrinsic
def load(typing: Any, words: Any, index: Any) -> Any:
    """A word, as the other threads have left it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _word(context, builder, signature.args[0], *args)
        return builder.load_atomic(at, "seq_cst", 8)

    return types.int64(words, types.int64), code


@intrinsic
def store(typing: Any, words: Any, index: Any, value: Any) -> Any:
    """Write a word, after all that has been written before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, index, value = args
        at = _word(context, builder, signature.args[0], array, index)
        builder.store_atomic(value, at, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), code


@intrinsic
def swap(typing: Any, words: Any, index: Any, old: Any, new: Any) -> Any:
    """Write a word if it is still `old`; whether it was."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, index, old, new = args
        at = _word(context, builder, signature.args[0], array, index)
        return builder.extract_value(builder.cmpxchg(at, old, new, "seq_cst", "seq_cst"), 1)

    return types.boolean(words, types.int64, types.int64, types.int64), code


@intrinsic
def increase(typing: Any, words: Any, index: Any) -> Any:
    """Add one to a word."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _word(context, builder, signature.args[0], *args)
        builder.atomic_rmw("add", at, ir.Constant(_INT, 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(words, types.int64), code


@intrinsic
def pause(typing: Any) -> Any:
    """Leave the processor's other half alone for some cycles."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def gemm(
    typing: Any,
    function: Any,
    one: Any,
    ta: Any,
    tb: Any,
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    b: Any,
    ldb: Any,
    c: Any,
    ldc: Any,
) -> Any:
    """Call the function of CBLAS at an address, for matrices in rows; `one` tells the precision."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, one, *words = args
        number, narrow, place = one.type, ir.IntType(32), cgutils.voidptr_t
        kinds = [narrow] * 6 + [number, place, narrow, place, narrow, number, place, narrow]
        ta, tb, m, n, k, a, lda, b, ldb, c, ldc = words
        rows = ir.Constant(_INT, 101)
        given = [rows, ta, tb, m, n, k, one, a, lda, b, ldb, ir.Constant(number, 0), c, ldc]
        cast = [
            builder.trunc(x, kind) if kind is narrow else builder.inttoptr(x, kind) if kind is place else x
            for x, kind in zip(given, kinds, strict=True)
        ]
        to = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(function, to), cast)
        return context.get_dummy_value()

    return types.void(types.int64, one, *[types.int64] * 11), code


_WORDS = types.Array(types.int64, 1, "C")
_compiled = functools.partial(numba.njit, nogil=True, cache=keeps())


@_compiled(types.void(_WORDS, types.int64))
def piece(words: Any, i: Any) -> None:
    """Some rows of a product, or some columns."""
    function, single, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, rows, step, size = words[JOB : JOB + 16]
    lo = i * step
    if rows:
        a += lo * size * (lda if ta == ROWS else 1)
        c += lo * size * ldc
        m = min(step, m - lo)
    else:
        b += lo * size * (1 if tb == ROWS else ldb)
        c += lo * size
        n = min(step, n - lo)
    if single:
        gemm(function, numba.float32(1), ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    else:
        gemm(function, 1.0, ta, tb, m, n, k, a, lda, b, ldb, c, ldc)


@_compiled(types.boolean(_WORDS))
def took(words: Any) -> Any:
    """Do the next piece of the job there is, if there is one."""
    while True:
        claim = load(words, CLAIM)
        if claim & 0xFFFF >= claim >> 16 & 0xFFFF:
            return False
        if swap(words, CLAIM, claim, claim + 1):
            piece(words, claim & 0xFFFF)
            increase(words, DONE)
            return True


@_compiled(types.void(_WORDS, types.int64))
def serve(words: Any, asleep: Any) -> None:
    """Do pieces until there has been none for a while; the word `asleep` tells that it has ended."""
    idle = 0
    while idle < SPINS:
        idle = 0 if took(words) else idle + 1
        pause()
    store(words, asleep, 1)
    took(words)  # what came in between


def _multiply(words: Any, function: Any, pieces: Any, rows: Any, step: Any, a: Any, b: Any, out: Any) -> None:
    """The product of two matrices, each in C or Fortran order, in pieces."""
    size = out.itemsize
    a_in_rows, b_in_rows = a.strides[1] == size, b.strides[1] == size
    job = words[JOB:]
    job[0], job[1] = function, size == 4
    job[2], job[3] = ROWS if a_in_rows else COLUMNS, ROWS if b_in_rows else COLUMNS
    job[4], job[5], job[6] = a.shape[0], b.shape[1], a.shape[1]
    job[7], job[8] = a.ctypes.data, a.strides[0 if a_in_rows else 1] // size
    job[9], job[10] = b.ctypes.data, b.strides[0 if b_in_rows else 1] // size
    job[11], job[12] = out.ctypes.data, out.strides[0] // size
    job[13], job[14], job[15] = rows, step, size
    store(words, DONE, 0)
    store(words, CLAIM, (((load(words, CLAIM) >> 32) + 1) << 32) + (pieces << 16))
    while took(words):
        pass
    while load(words, DONE) < pieces:
        pause()


@functools.cache
def multiply(size: int) -> Any:
    """`_multiply` for numbers of so many bytes."""
    number = types.float32 if size == 4 else types.float64
    read = types.Array(number, 2, "A", readonly=True)
    whole = types.int64
    signature = types.void(_WORDS, whole, whole, whole, whole, read, read, types.Array(number, 2, "C"))
    return _compiled(signature)(_multiply)
