"""The CUDA C++ that CuPy's plans are made of: what it computes, on the host's compiler, and that NVRTC takes it."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import cuda_on_host
import numpy as np
import pytest
from cuda_on_host import adapter, planned

import portagrad as pg
from portagrad.op import TABLE

KINDS = {
    "b": ("bool",),
    "i": ("int8", "int32", "int64"),
    "u": ("uint8", "uint32", "uint64"),
    "f": ("float32", "float64"),
    "c": ("complex64", "complex128"),
}
INFINITE = (np.inf, -np.inf, np.nan)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -3.5, 7.0, 0.1, -0.7, 100.0, 1e30, 1e-30)

compiler = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="neither g++ nor clang++ is installed")


def pairs(dtype: str) -> tuple[Any, Any]:
    """Every number with every other, corner cases among them."""
    t = np.dtype(dtype)
    if t.kind in "iu":
        limits = np.iinfo(t)
        values = np.asarray([0, 1, 2, 3, 7, 31, 64, limits.max, limits.min, limits.max - 1, -1, -2, -7], object)
        values = np.asarray([int(v) & ((1 << limits.bits) - 1) for v in values], f"u{t.itemsize}").view(t)
    elif t.kind == "b":
        values = np.asarray([False, True])
    elif t.kind == "f":
        values = np.asarray([*NUMBERS, *INFINITE], t)
    else:
        values = np.asarray([complex(a, b) for a in NUMBERS[:11:2] for b in NUMBERS[:11:3]], t)
    return np.repeat(values, len(values)), np.tile(values, len(values))


def table() -> list[tuple[str, Any]]:
    """Every generated elementwise op with every dtype, as a name and a function of that dtype's pairs."""
    calls: list[tuple[str, Any]] = []
    for name, texts in adapter().expressions.UFUNCS.items():
        count = len(TABLE[name].arrays)
        for dtype in (d for kinds in texts for kind in kinds for d in KINDS[kind]):
            calls.append((dtype, lambda *xy, name=name, count=count: getattr(pg, name)(*xy[:count])))
    for dtype in ("float32", "float64"):
        for name in ("erf", "erfc"):
            calls.append((dtype, lambda x, y, name=name: getattr(pg.special, name)(x)))
        calls.append((dtype, lambda x, y: pg.special.gammaln(pg.abs(x) + 0.5)))
        calls.append((dtype, lambda x, y: pg.nn.relu(x) * y ** 2))
        calls.append((dtype, lambda x, y: pg.grad(lambda x: pg.sum(pg.nn.relu(x)))(x)))
        calls.append((dtype, lambda x, y: pg.where(x > y, x, -1.0)))
    for dtype in ("float64", "int32", "uint64"):
        calls.append((dtype, lambda x, y: pg.clip(x, 1, y)))
        calls.append((dtype, lambda x, y: pg.clip(x, None, 100)))
    for dtype in (d for some in KINDS.values() for d in some):
        for to in (d for some in KINDS.values() for d in some):
            if np.dtype(dtype).kind in "biu" or np.dtype(to).kind in ("fc" if np.dtype(dtype).kind == "f" else "c"):
                calls.append((dtype, lambda x, y, to=to: pg.astype(x, np.dtype(to))))
    for dtype in KINDS["c"]:
        calls += [(dtype, lambda x, y: pg.real(x)), (dtype, lambda x, y: pg.imag(y) * 2.0)]
    calls.append(("int32", lambda x, y: pg.random.bits(pg.random.Key(x[5], y[7]), (99,))))
    return calls


@functools.cache
def everything() -> tuple[Any, Any, list[Any], list[str]]:
    """One graph of all of it, its plan, and its arguments."""
    dtypes = [d for some in KINDS.values() for d in some]
    given = [a for d in dtypes for a in pairs(d)]
    calls = table()

    def f(*arrays: Any) -> Any:
        by_dtype = {d: arrays[2 * i : 2 * i + 2] for i, d in enumerate(dtypes)}
        return [call(*by_dtype[dtype]) for dtype, call in calls]

    with np.errstate(all="ignore"):
        graph, plan = planned(f, *given)
    return graph, plan, given, [dtype for dtype, _ in calls]


@compiler
def test_a_generated_op_computes_what_numpy_does() -> None:
    graph, plan, given, _ = everything()
    with np.errstate(all="ignore"):
        expected = graph.run(given)
    made = plan(*cuda_on_host.arrays(*given))
    for v, mine, its in zip(graph.outputs, made, expected, strict=True):
        told = next((str(eq.op.name) for eq in graph.equations if v in eq.outs), "")
        assert (mine.shape, mine.dtype) == (its.shape, its.dtype), told
        eps = np.finfo(its.dtype).eps if its.dtype.kind in "fc" else 0
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(mine, its, rtol=8 * eps, atol=0, err_msg=told + " " + str(its.dtype))
