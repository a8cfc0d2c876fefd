"""The CUDA C++ of plans for CuPy: what it computes on the host's compiler, and that NVRTC takes it."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import cuda_on_host
import numpy as np
import pytest
from cuda_on_host import adapter, planned
from required import lacking

import portagrad as pg
from portagrad.compile.grouping import Group
from portagrad.compile.views import Layouts
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

compiler = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason=cuda_on_host.NO_COMPILER)


def pairs(dtype: str) -> tuple[Any, Any]:
    """Every number with every other, corner cases among them."""
    t = np.dtype(dtype)
    if t.kind in "iu":
        limits = np.iinfo(t)
        values = np.asarray(
            [0, 1, 2, 3, 7, 31, 64, limits.max, limits.min, limits.max - 1, -1, -2, -7], object
        )
        values = np.asarray([int(v) & ((1 << limits.bits) - 1) for v in values], f"u{t.itemsize}").view(t)
    elif t.kind == "b":
        values = np.asarray([False, True])
    elif t.kind == "f":
        values = np.asarray([*NUMBERS, *INFINITE], t)
    else:
        values = np.asarray([complex(a, b) for a in NUMBERS[:11:2] for b in NUMBERS[:11:3]], t)
    return np.repeat(values, len(values)), np.tile(values, len(values))


def table() -> list[tuple[str, str, Any]]:
    """Every generated op with every dtype: its name, the dtype, a function of that dtype's pairs."""
    calls: list[tuple[str, str, Any]] = []
    for name, texts in adapter().expressions.UFUNCS.items():
        count = len(TABLE[name].arrays)
        for dtype in (d for kinds in texts for kind in kinds for d in KINDS[kind]):
            calls.append((name, dtype, lambda *xy, name=name, n=count: getattr(pg, name)(*xy[:n])))
    every = [dtype for dtypes in KINDS.values() for dtype in dtypes]
    for dtype in KINDS["f"]:
        for name in ("erf", "erfc"):
            calls.append((name, dtype, lambda x, y, name=name: getattr(pg.special, name)(x)))
        calls.append(("gammaln", dtype, lambda x, y: pg.special.gammaln(pg.abs(x) + 0.5)))
        calls.append(("pow", dtype, lambda x, y: pg.nn.relu(x) * y**2))
        calls.append(("gate", dtype, lambda x, y: pg.grad(lambda x: pg.sum(pg.nn.relu(x)))(x)))
        calls.append(("where", dtype, lambda x, y: pg.where(x > y, x, -1.0)))
    for dtype in ("float64", "int32", "uint64"):
        calls.append(("clip", dtype, lambda x, y: pg.clip(x, 1, y)))
        calls.append(("clip", dtype, lambda x, y: pg.clip(x, None, 100)))
    for dtype, to in itertools.product(every, every):
        kinds = {"f": "fc", "c": "c"}.get(np.dtype(dtype).kind, "biufc")  # no number out of range
        if np.dtype(to).kind in kinds:
            calls.append(("astype", dtype, lambda x, y, to=to: pg.astype(x, np.dtype(to))))
    for dtype in KINDS["c"]:
        calls.append(("real", dtype, lambda x, y: pg.real(x)))
        calls.append(("imag", dtype, lambda x, y: pg.imag(y) * 2.0))
    calls.append(("round", "int64", lambda x, y: pg.round(x) + y))
    calls.append(("threefry", "int32", lambda x, y: pg.random.bits(pg.random.Key(x[5], y[7]), (99,))))
    return calls


@functools.cache
def everything() -> tuple[Any, Any, list[Any]]:
    """One graph of all of it, its plan, and its arguments."""
    dtypes = [d for some in KINDS.values() for d in some]
    given = [a for d in dtypes for a in pairs(d)]
    calls = table()

    def f(*arrays: Any) -> Any:
        by_dtype = {d: arrays[2 * i : 2 * i + 2] for i, d in enumerate(dtypes)}
        return [call(*by_dtype[dtype]) for _, dtype, call in calls]

    with np.errstate(all="ignore"):
        graph, plan = planned(f, *given)
    return graph, plan, given


@compiler
def test_a_generated_op_computes_what_numpy_does() -> None:
    graph, plan, given = everything()
    with np.errstate(all="ignore"):
        expected = graph.run(given)
    made = plan(*cuda_on_host.arrays(*given))
    for v, mine, its in zip(graph.outputs, made, expected, strict=True):
        told = next((str(eq.op.name) for eq in graph.equations if v in eq.outs), "")
        assert (mine.shape, mine.dtype) == (its.shape, its.dtype), told
        eps = np.finfo(its.dtype).eps if its.dtype.kind in "fc" else 0
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(mine, its, rtol=8 * eps, atol=0, err_msg=told + " " + str(its.dtype))


def test_the_table_of_ops_is_generated_but_for_what_is_named() -> None:
    """An elementwise op of the standard that is not generated has been forgotten."""
    plan = everything()[1]
    assert "calls" not in plan.report  # of CuPy's own functions
    standard = {
        op.name for op in TABLE.values() if op.batch == "pointwise" and op.since and "." not in op.name
    }
    written = {*adapter().expressions.UFUNCS, "astype", "clip", "imag", "real", "where"}
    assert standard - written == set()


REDUCED: tuple[Any, ...] = (
    lambda x, **how: pg.sum(pg.abs(x), **how),
    lambda x, **how: x - pg.mean(x * 2.0, keepdims=True, **how),
    lambda x, **how: pg.max(x + 1.0, **how),
    lambda x, **how: pg.prod(1.0 + 0.01 * x, **how),
    lambda x, **how: pg.exp(x - pg.max(x, keepdims=True, **how)),
    lambda x, **how: pg.sum(pg.astype(10.0 * pg.clip(x, -9.0, 9.0), "int32"), **how),
    lambda x, **how: pg.any(x > 1, **how),
    lambda x, **how: pg.min(x, **how),
    lambda x, **how: pg.all(x > -1, **how),
    lambda x, **how: pg.max(pg.astype(x > 0, "int8"), **how),
    lambda x, **how: pg.mean(x, **how),
)


@functools.cache
def reductions() -> tuple[Any, Any, list[Any]]:
    """Reductions over the last, the first and all axes, with ops before and after them."""
    rng = np.random.default_rng(0)
    shapes = [(5, 3), (70, 40), (3, 1500), (2000, 3), (4, 1, 6), (2, 3, 5), (1,), ()]
    given = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    given[1][3, 2] = np.nan
    turns = itertools.cycle(REDUCED)

    def f(*arrays: Any) -> Any:
        out = []
        for x in arrays:
            axes = {None, *range(x.ndim), tuple(range(1, x.ndim)), tuple(range(x.ndim - 1))} - {()}
            for axis in sorted(axes, key=str):
                for call in (next(turns), next(turns)):
                    out.append(call(x, axis=axis))
        x, y, z = arrays[0], arrays[0].mT, arrays[2][:, 1:4]
        out += [pg.concat([x, z[:, ::-1], 2 * x], axis=0), pg.concat([x[1:, :2], y[::-1, :4].mT], axis=1)]
        out += [pg.stack([x, x + 1, x[::-1, :]], axis=axis) for axis in (0, 1, -1)]
        out += [pg.concat([pg.astype(x > 0, "int8"), pg.astype(z, "int8")], axis=0)]
        out += [pg.sum(pg.concat([z.mT, z.mT], axis=1), axis=axis) for axis in (0, 1)]
        z = pg.astype(arrays[1][:3, ...], "complex64") * (1 + 2j)
        out += [pg.sum(z, axis=0), pg.mean(z, axis=1)]
        for x in arrays[1:3]:
            out += [pg.nn.log_softmax(x), pg.nn.logsumexp(x, axis=-1)]
            out.append(pg.grad(lambda x: pg.sum(pg.nn.layer_norm(x) ** 3))(x))
        return out

    with np.errstate(all="ignore"):
        return (*planned(f, *given), given)


def test_what_does_not_fit_an_int_is_counted_in_long_long() -> None:
    """No array of that size is made: the shapes say it."""
    graph, _ = planned(lambda x: x + 1, np.ones((2, 2)))
    for n, counted in ((40000, "int"), (50000, "long long")):
        for v in (*graph.inputs, *graph.outputs):
            v.shape = (n, n)
        group = Group("flat", (n, n), 0, graph.equations, graph)
        writer = adapter().writer.GroupWriter(group, Layouts(graph), id, {*graph.outputs})
        assert f"for ({counted} r" in writer.function("f")


@compiler
def test_reductions_compute_what_numpy_does() -> None:
    graph, plan, given = reductions()
    with np.errstate(all="ignore"):
        expected = graph.run(given)
    for _ in range(2):  # counters are back at 0
        made = plan(*cuda_on_host.arrays(*given))
    for v, mine, its in zip(graph.outputs, made, expected, strict=True):
        told = str(next((eq for eq in graph.equations if v in eq.outs), ""))
        assert (mine.shape, mine.dtype) == (its.shape, its.dtype), told
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-4, err_msg=told)
    kinds = {group.kind for step in plan.schedule.steps for group in getattr(step, "groups", ())}
    assert kinds == {"flat", "rows", "columns"}


def test_few_long_rows_are_left_to_cupy() -> None:
    for shape, calls in (((2, 9000), "sum"), ((3, 9000), None), ((18000,), None)):
        _, plan = planned(lambda x: pg.sum(2.0 * x, axis=-1), np.ones(shape))
        assert plan.report.get("calls") == calls


def nvrtc() -> Any:
    """NVIDIA's compiler: from its wheel, else the system's. Skips where there is none."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    found = sorted(path for folder in folders for path in folder.rglob("libnvrtc.so.1?"))
    for name in [*map(str, found), "libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    lacking("nvrtc", "there is no NVRTC: pip install nvidia-cuda-nvrtc (58 MB; it needs no GPU)")


def ptx(library: Any, source: str) -> str:
    """What NVRTC makes of a source, with the options that CuPy is given and those that it adds."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    added = ("-ftz=true", "--device-as-default-execution-space", "-arch=compute_80", "-w")
    given = [*adapter().planner.OPTIONS, *added]
    options = (ctypes.c_char_p * len(given))(*[option.encode() for option in given])
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"plan.cu", 0, None, None) == 0
    status = library.nvrtcCompileProgram(program, len(given), options)
    ask, get = (
        (library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog)
        if status
        else (
            library.nvrtcGetPTXSize,
            library.nvrtcGetPTX,
        )
    )
    ask(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    get(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    told = text.value.decode()
    assert status == 0, told
    return told


@pytest.mark.parametrize("made", [everything, reductions], ids=lambda f: f.__name__)
def test_nvrtc_takes_the_generated_source(made: Any) -> None:
    plan = made()[1]
    text = ptx(nvrtc(), plan.source)
    for step in plan.schedule.steps:
        if hasattr(step, "groups"):
            assert f".entry {step.name}(" in text


def test_float32_is_computed_in_float32() -> None:
    """A literal or a function of double precision would run at a small part of the speed.

    Of large angles CUDA's own sinf, cosf and tanf go through float64.
    """
    library = nvrtc()
    angles = ("sin", "cos", "tan", "astype")

    def f(x: Any, y: Any) -> Any:
        out = [call(x, y) for name, dtype, call in table() if dtype == "float32" and name not in angles]
        return [*out, pg.nn.layer_norm(x[:, None] + y), pg.nn.gelu(x), pg.isfinite(x), pg.max(x, axis=0)]

    x, y = (a[:7] for a in pairs("float32"))
    with np.errstate(all="ignore"):
        _, plan = planned(f, x, y)
    lines = [line for line in ptx(library, plan.source).splitlines() if ".f64" in line]
    assert not lines, "\n".join(lines[:10])
