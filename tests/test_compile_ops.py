"""Compiled is eager: over the whole table, and on programs drawn from it."""

from __future__ import annotations

import ctypes
import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portagrad as pg
import portagrad_numpy.blocks as blocks
import portagrad_numpy.jobs as jobs
import portagrad_numpy.loops as loops
import portagrad_numpy.mkl as mkl
import portagrad_numpy.threads as threads
from portagrad.op import TABLE, Op
from portagrad.testing import draws
from portagrad.testing.draws import DTYPES, invoke
from portagrad.testing.trials import ELSEWHERE
from portagrad.transforms.tree import is_array
from portagrad_numpy.calls import BLOCKWISE

OPS = [op for op in TABLE.values() if not op.ragged and op.name not in ELSEWHERE]


def interpreted(source: str, constants: Any, types: Any, associative: bool) -> Any:
    """A generated loop as Python runs it: the same source, without the seconds that machine code takes."""
    scope: dict[str, Any] = {"math": math, "numpy": np, "inner": lambda f: f, **dict(constants)}
    exec(source, scope)
    return scope["step"]


def interpreted_job(source: str, constants: Any, associative: bool) -> Any:
    """A generated loop as a job that calls Python."""

    def word(address: int, k: int) -> int:
        return ctypes.c_int64.from_address(address + 8 * k).value

    def pointer(args: int, k: int) -> int:
        return word(word(args, 0), word(args, k))

    def carray(address: int, length: int, dtype: Any) -> Any:
        memory = (ctypes.c_byte * (1 << 16)).from_address(address)  # of which only a part is looked at
        return np.frombuffer(memory, dtype)

    scope = {"math": math, "numpy": np, "word": word, "pointer": pointer, "carray": carray, **dict(constants)}
    exec(source, scope)
    job = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(scope["step"])
    return SimpleNamespace(address=ctypes.cast(job, ctypes.c_void_p).value, job=job)


@functools.cache
def two() -> threads.Team:
    """A team of two."""
    return threads.Team(2)


STYLES = ("calls", "loops", "blocks", "blocks of loops")
"""The ways in which a plan for NumPy computes."""


@pytest.fixture(params=STYLES)
def style(request: Any, monkeypatch: Any) -> str:
    monkeypatch.setattr(loops, "AVAILABLE", "loops" in request.param)
    monkeypatch.setattr(loops, "_compiled", interpreted)
    monkeypatch.setattr(loops, "_job", interpreted_job)
    monkeypatch.setattr(jobs, "WORTH", 1e-3)  # every loop in pieces
    monkeypatch.setattr(mkl, "GRAIN", 1)
    monkeypatch.setattr(threads, "team", two)
    if "blocks" in request.param:  # of two elements, on two threads
        monkeypatch.setattr(blocks, "LARGE", 1)
        monkeypatch.setattr(blocks, "WORK", 8)
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(threads, "count", lambda: 2)
    return str(request.param)


def leaves(y: Any) -> list[Any]:
    return list(y) if isinstance(y, tuple | list) else [y]


def agree(compiled: Any, eager: Any, *args: Any) -> None:
    """Twice, as the second run meets the first one's memory."""
    with np.errstate(all="ignore"):
        expected = leaves(eager(*args))
        for _ in range(2):
            given = [a.copy() if is_array(a) else a for a in args]
            for mine, its in zip(leaves(compiled(*given)), expected, strict=True):
                assert (mine.shape, mine.dtype) == (its.shape, its.dtype)
                eps = np.finfo(its.dtype).eps if its.dtype.kind in "fc" else 0
                np.testing.assert_allclose(mine, its, rtol=64 * eps, atol=64 * eps)
            for a, b in zip(args, given, strict=True):
                if is_array(a):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("op", "style"),
    [(op, style) for op in OPS for style in STYLES if "blocks" not in style or op.name in BLOCKWISE],
    ids=lambda x: x if isinstance(x, str) else x.name,
    indirect=["style"],
)
def test_an_op_and_its_pullback_compute_the_same_compiled(op: Op, style: str) -> None:
    for dtype in DTYPES[op.dtypes]:
        for call in draws(op, "numpy", dtype):
            places = [i for i, a in enumerate(call.args) if is_array(a)]

            def f(*arrays: Any, call: Any = call, places: Any = places) -> Any:
                given = dict(zip(places, arrays, strict=True))
                args = [given.get(i, a) for i, a in enumerate(call.args)]
                return call.told(invoke(op, call.prepared(args), call.params))

            agree(pg.compile(f), f, *[call.args[i] for i in places])
            if call.xs:
                y, _ = pg.vjp(call, *call.xs)

                def pulled(*xs: Any, call: Any = call, y: Any = y) -> Any:
                    return pg.vjp(call, *xs)[1](y)

                agree(pg.compile(pulled), pulled, *call.xs)


UNARY = ("negative", "tanh", "abs", "square", "matrix_transpose", "relu", "sigmoid", "exp", "flip")
BINARY = ("add", "multiply", "subtract", "maximum", "where", "matmul", "concat")
REDUCED = ("sum", "mean", "max")


@st.composite
def programs(draw: Any) -> Any:
    """A function of three arrays, as a list of steps that each take earlier values."""
    steps = []
    for n in range(draw(st.integers(2, 9))):
        kinds = ("unary", "binary", "reduced", "scaled", "reshape", "row", "element", "put", "rows")
        kind = draw(st.sampled_from(kinds))
        first, second = (draw(st.integers(0, 2 + n)) for _ in range(2))
        name = draw(st.sampled_from({"unary": UNARY, "binary": BINARY}.get(kind, REDUCED)))
        axis = draw(st.sampled_from([None, 0, 1]))
        steps.append((kind, name, first, second, axis))
    count = draw(st.integers(1, 3))
    return steps, count


def run(program: Any, *inputs: Any) -> Any:
    """Run a program: all values are of shape (3, 3), so that any op takes any of them."""
    steps, count = program
    values = list(inputs)
    for kind, name, i, j, axis in steps:
        a, b = values[i], values[j]
        if kind == "unary":
            y = pg.__getattr__(name)(0.1 * a) if name == "exp" else pg.__getattr__(name)(a)
        elif name == "concat":
            y = pg.concat([a[:2, :], b[1:2, :]], axis=0)
        elif name == "where":
            y = pg.where(a > 0.1, b, -0.5)
        elif kind == "binary":
            y = pg.__getattr__(name)(a, b)
        elif kind == "reduced":
            y = b - pg.__getattr__(name)(a, axis=axis, keepdims=True)
        elif kind == "scaled":
            y = 0.5 * a + 1.0
        elif kind == "reshape":
            y = pg.reshape(pg.reshape(a, (9,)), (3, 3))
        elif kind == "row":
            y = pg.broadcast_to(a[1, :], (3, 3)) + b
        elif kind == "element":
            y = a[1, -1] * b
        elif kind == "rows":
            y = a[pg.argsort(b[:, 0])]
        else:
            y = pg.asarray(a, copy=True)
            y[0, :] = b[:, 0]
        values.append(y / (1.0 + pg.max(pg.abs(pg.stop_gradient(y)))))
    return tuple(values[-count:])


def arrays(seed: int) -> list[Any]:
    return list(np.random.default_rng(seed).uniform(-1, 1, (3, 3, 3)))


@given(programs(), st.sampled_from([(), (0,), (0, 1, 2)]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_program_and_its_gradient_compute_the_same_compiled(style: str, program: Any, donate: Any) -> None:
    def f(*inputs: Any) -> Any:
        return run(program, *inputs)

    def step(*inputs: Any) -> Any:
        grads = pg.grad(lambda *xs: sum(pg.sum(y**2) for y in f(*xs)), argnums=(0, 1, 2))(*inputs)
        return tuple(x - 0.1 * g for x, g in zip(inputs, grads, strict=True))

    for function in (f, step):
        compiled = pg.compile(function, donate=donate)
        for seed in range(2):
            expected = function(*arrays(seed))
            given = arrays(seed)
            if seed:  # an order of its own, and memory that must not be written to
                given = [np.asfortranarray(given[0]), given[1], given[2]]
                given[1].flags.writeable = False
            for mine, its in zip(compiled(*given), expected, strict=True):
                np.testing.assert_allclose(mine, its, rtol=1e-12, atol=1e-13)
            for i, x in enumerate(given):
                if i not in donate:
                    np.testing.assert_array_equal(x, arrays(seed)[i])
