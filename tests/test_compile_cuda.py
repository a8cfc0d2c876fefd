"""Compiled is eager on a CUDA device: over the table of ops, on programs drawn from it, and in training.

``scripts/gpu-check`` runs these where there is a card; tests/test_cupy_plan.py tests the same plans without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile import batch, trainer
from test_compile_ops import OPS, leaves, programs
from test_compile_ops import arrays as host_arrays
from test_compile_ops import run as run_program

import portagrad as pg
from portagrad import nn, optim
from portagrad.op import Op
from portagrad.testing import draws
from portagrad.testing.draws import DTYPES, invoke
from portagrad.transforms.tree import is_array

CUDA = next((str(d) for d in pg.devices() if d.backend.name == "cupy"), None)
pytestmark = pytest.mark.skipif(CUDA is None, reason="no CUDA device here; scripts/gpu-check needs one too")


def host(x: Any) -> Any:
    return np.asarray(pg.to_device(x, "numpy"))


def agree(compiled: Any, eager: Any, *args: Any) -> None:
    """Four times: step by step, captured, replayed, and with arguments at other addresses."""
    expected = [host(y) for y in leaves(eager(*args))]
    for call in range(4):
        if call == 3:
            args = tuple([pg.asarray(a, copy=True) if is_array(a) else a for a in args])
        for mine, its in zip(map(host, leaves(compiled(*args))), expected, strict=True):
            assert (mine.shape, mine.dtype) == (its.shape, its.dtype)
            eps = np.finfo(its.dtype).eps if its.dtype.kind in "fc" else 0
            np.testing.assert_allclose(mine, its, rtol=256 * eps, atol=256 * eps, err_msg=compiled.report())


@pytest.mark.parametrize("op", OPS, ids=lambda op: f"cuda-{op.name}")
def test_an_op_and_its_pullback_compute_the_same_compiled(op: Op) -> None:
    for dtype in DTYPES[op.dtypes]:
        for call in draws(op, CUDA, dtype):
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


@given(programs(), st.sampled_from([(), (0,), (0, 1, 2)]))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_program_and_its_gradient_compute_the_same_compiled_on_cuda(program: Any, donate: Any) -> None:
    def step(*inputs: Any) -> Any:
        def loss(*xs: Any) -> Any:
            return sum(pg.sum(y**2) for y in run_program(program, *xs))

        grads = pg.grad(loss, argnums=(0, 1, 2))(*inputs)
        return (*[x - 0.1 * g for x, g in zip(inputs, grads, strict=True)], *run_program(program, *inputs))

    compiled = pg.compile(step, donate=donate)
    for seed in range(4):
        expected = step(*host_arrays(seed))
        made = compiled(*[pg.asarray(x, device=CUDA) for x in host_arrays(seed)])
        for mine, its in zip(map(host, made), expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-10, atol=1e-11, err_msg=compiled.report())


@pytest.mark.parametrize("opt", [optim.sgd(0.1), optim.adamw(0.01)], ids=["cuda-sgd", "cuda-adamw"])
@pytest.mark.parametrize("donate", [(), (0, 1)], ids=["fresh", "donated"])
def test_training_is_captured_and_does_what_eager_training_does(opt: Any, donate: Any) -> None:
    model = nn.MLP.init(pg.random.key(0), (5, 300, 3), dtype="float32", device=CUDA)
    x, labels = batch(CUDA, 1000)
    step = trainer(opt)
    compiled = pg.compile(step, donate=donate)
    theirs = (model, opt.init(model))
    ours = pg.compile(lambda tree: tree)(theirs)  # other arrays
    kept = []
    for _ in range(10):
        *ours, loss = compiled(*ours, x, labels)
        *theirs, expected = step(*theirs, x, labels)
        kept.append((loss, expected))
    for loss, expected in kept:  # read at the end: no call overwrites what another returned
        assert abs(float(loss) - float(expected)) < 1e-4, compiled.report()
    for a, b in zip(ours[0].layers, theirs[0].layers, strict=True):
        np.testing.assert_allclose(host(a.weight), host(b.weight), rtol=1e-3, atol=1e-4)
    report = compiled.report()
    assert "captured 1 times" in report and "0 calls of CuPy" in report, report
    assert ("0 inputs copied" in report) is bool(donate), report


def test_calls_on_two_cuda_streams_follow_each_other() -> None:
    cupy = pytest.importorskip("cupy")
    compiled = pg.compile(lambda x: pg.sum(pg.sin(x) @ x, axis=0))
    x = pg.asarray(np.random.default_rng(0).standard_normal((500, 500)), device=CUDA)
    expected = host(compiled(x))
    cupy.cuda.Device().synchronize()
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    made = []
    for i in range(20):
        with streams[i % 2]:
            made.append(compiled(x))
    cupy.cuda.Device().synchronize()
    for y in made:
        np.testing.assert_allclose(host(y), expected, rtol=1e-10)
