"""Work in machine code, shared by threads that wait for each other in machine code, compiled by numba.

Threads of Python's are told of work, and tell that it is done, in some thirty microseconds: a third of what a
product of 256 by 256 matrices takes. These look at a word in memory instead, and sleep when they have had
nothing to do for a while.

A job is a function of the address of its arguments and the number of a piece. Of what it works on, the
arguments hold no addresses but places in a table of addresses, so that a plan's jobs are written once.
"""

from __future__ import annotations

import functools
import platform
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from portagrad_numpy.kept import keeps
from portagrad_numpy.threads import BUSY, CALLS, CLAIM, DONE, JOB, STEP, TABLE

SPINS = 16_000
"""How often an idle thread looks before it goes to sleep: for some 200 microseconds."""
PATIENCE = 100
"""How many times as long while there will be work."""
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
    """Leave the processor's other half alone for some cycles, where it can be told to."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, *given = _PAUSES.get(platform.machine().lower(), ("",))
        if name:
            hints = [ir.Constant(ir.IntType(32), hint) for hint in given]
            kind = ir.FunctionType(ir.VoidType(), [hint.type for hint in hints])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), hints)
        return context.get_dummy_value()

    return types.void(), code


_X86, _ARM = ("llvm.x86.sse2.pause",), ("llvm.aarch64.hint", 1)  # 1 is YIELD
_PAUSES: dict[str, Any] = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


@intrinsic
def call(typing: Any, function: Any, args: Any, piece: Any) -> Any:
    """Call the machine code of a job at an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = ir.FunctionType(ir.VoidType(), [_INT, _INT]).as_pointer()
        builder.call(builder.inttoptr(args[0], to), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def word(typing: Any, address: Any, index: Any) -> Any:
    """A word of those that begin at an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(builder.inttoptr(args[0], _INT.as_pointer()), [args[1]]))

    return types.int64(types.int64, types.int64), code


@intrinsic
def pointer(typing: Any, args: Any, place: Any) -> Any:
    """The memory at a place of a job's table."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = [_INT.as_pointer()]
        given = builder.inttoptr(args[0], *words)
        table = builder.inttoptr(builder.load(given), *words)
        place = builder.load(builder.gep(given, [args[1]]))
        return builder.inttoptr(builder.load(builder.gep(table, [place])), cgutils.voidptr_t)

    return types.voidptr(types.int64, types.int64), code


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
JOB_TYPE = types.void(types.int64, types.int64)
A, B, C, SHIFTS, GEMM, SIZE, ORDERS, SHAPE, LEADING, ROWS_CUT, LENGTH = 3, 4, 5, 6, 9, 10, 11, 13, 16, 19, 20
"""Where in the arguments of a product stand: the places of its matrices, how many bytes in they begin there,
MKL's function, bytes of a number, the orders of the factors, m, n and k, the leading dimensions, and whether
the pieces are of rows."""


@numba.cfunc(JOB_TYPE, cache=keeps())
def product(args: Any, piece: Any) -> None:
    """Some rows of a product of matrices, or some columns."""
    table, step, size = word(args, TABLE), word(args, STEP), word(args, SIZE)
    a = word(table, word(args, A)) + word(args, SHIFTS)
    b = word(table, word(args, B)) + word(args, SHIFTS + 1)
    c = word(table, word(args, C)) + word(args, SHIFTS + 2)
    ta, tb = word(args, ORDERS), word(args, ORDERS + 1)
    m, n, k = word(args, SHAPE), word(args, SHAPE + 1), word(args, SHAPE + 2)
    lda, ldb, ldc = word(args, LEADING), word(args, LEADING + 1), word(args, LEADING + 2)
    lo = piece * step
    if word(args, ROWS_CUT):
        a += lo * size * (lda if ta == ROWS else 1)
        c += lo * size * ldc
        m = min(step, m - lo)
    else:
        b += lo * size * (1 if tb == ROWS else ldb)
        c += lo * size
        n = min(step, n - lo)
    if size == 4:
        gemm(word(args, GEMM), numba.float32(1), ta, tb, m, n, k, a, lda, b, ldb, c, ldc)
    else:
        gemm(word(args, GEMM), 1.0, ta, tb, m, n, k, a, lda, b, ldb, c, ldc)


@_compiled(types.boolean(_WORDS))
def took(words: Any) -> Any:
    """Do the next piece of the job there is, if there is one."""
    while True:
        claim = load(words, CLAIM)
        if claim & 0xFFFF >= claim >> 16 & 0xFFFF:
            return False
        if swap(words, CLAIM, claim, claim + 1):
            call(words[JOB], words[JOB + 1], claim & 0xFFFF)
            increase(words, DONE)
            return True


@_compiled(types.boolean(_WORDS, types.int64, types.int64))
def serve(words: Any, asleep: Any, calls: Any) -> Any:
    """Do pieces until there has been none for a while, or Python has called for help more than `calls` times.

    Whether it has; if not, the word `asleep` tells that this thread is to be woken.
    """
    idle = 0
    while True:
        while idle < SPINS or (load(words, BUSY) and idle < SPINS * PATIENCE):
            if load(words, CALLS) != calls:
                return True
            idle = 0 if took(words) else idle + 1
            pause()
        store(words, asleep, 1)
        if load(words, CALLS) != calls:
            return True
        if not load(words, BUSY) or idle >= SPINS * PATIENCE:
            return False
        store(words, asleep, 0)  # work came in between


@_compiled(types.void(_WORDS, types.boolean, types.int64, types.int64, types.int64))
def run(words: Any, alone: Any, function: Any, args: Any, pieces: Any) -> None:
    """One job, with the others or alone."""
    if alone or pieces == 1:
        for i in range(pieces):
            call(function, args, i)
        return
    words[JOB], words[JOB + 1] = function, args
    store(words, DONE, 0)
    store(words, CLAIM, (((load(words, CLAIM) >> 32) + 1) << 32) + (pieces << 16))
    while took(words):
        pass
    while load(words, DONE) < pieces:
        pause()


@_compiled(types.void(_WORDS, types.boolean, types.Array(types.int64, 2, "C")))
def perform(words: Any, alone: Any, jobs: Any) -> None:
    """Jobs, one after the other: the function, the arguments and the number of pieces of each are a row."""
    for j in range(len(jobs)):
        run(words, alone, jobs[j, 0], jobs[j, 1], jobs[j, 2])


def _multiply(
    words: Any, alone: Any, function: Any, args: Any, pieces: Any, a: Any, b: Any, out: Any
) -> None:
    """The product of two matrices, each in C or Fortran order; their addresses follow its arguments."""
    size = out.itemsize
    a_in_rows, b_in_rows = a.strides[1] == size, b.strides[1] == size
    args[TABLE] = args.ctypes.data
    args[A], args[B], args[C] = LENGTH, LENGTH + 1, LENGTH + 2
    args[LENGTH], args[LENGTH + 1], args[LENGTH + 2] = a.ctypes.data, b.ctypes.data, out.ctypes.data
    args[ORDERS], args[ORDERS + 1] = ROWS if a_in_rows else COLUMNS, ROWS if b_in_rows else COLUMNS
    args[LEADING] = a.strides[0 if a_in_rows else 1] // size
    args[LEADING + 1] = b.strides[0 if b_in_rows else 1] // size
    args[LEADING + 2] = out.strides[0] // size
    run(words, alone, function, args.ctypes.data, pieces)


@functools.cache
def multiply(size: int) -> Any:
    """`_multiply` for numbers of so many bytes."""
    number = types.float32 if size == 4 else types.float64
    read = types.Array(number, 2, "A", readonly=True)
    whole = types.int64
    out = types.Array(number, 2, "C")
    return _compiled(types.void(_WORDS, types.boolean, whole, _WORDS, whole, read, read, out))(_multiply)
