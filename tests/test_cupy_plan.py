"""Plans for CuPy without a GPU: kernels on the host, NumPy in CuPy's place, captures as recordings."""

from __future__ import annotations

import ctypes
import types
from typing import Any

import cuda_on_host
import numpy as np
import pytest
from cuda_on_host import Array, Stream, adapter, arrays, planned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile_ops import programs
from test_compile_ops import run as run_program

import portagrad as pg
from portagrad import nn, optim
from portagrad.transforms.tree import flatten, is_array

pytestmark = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason=cuda_on_host.NO_COMPILER)


def step(model: Any, state: Any, x: Any, labels: Any) -> Any:
    """A training step of a classifier."""
    loss, grads = pg.value_and_grad(lambda m: nn.cross_entropy(m(x), labels))(model)
    updates, state = OPTIMIZER.update(grads, state, model)
    return optim.apply_updates(model, updates), state, loss


OPTIMIZER = optim.adamw(0.05)


class Training:
    """A planned training step, with its model and state donated."""

    def __init__(self) -> None:
        model = nn.MLP.init(pg.random.key(0), (5, 8, 8, 3), dtype="float32")
        args = (model, OPTIMIZER.init(model), *self.batch(0))
        self.given = [a for a in flatten(args)[0] if is_array(a)]
        self.donated = tuple(range(len(self.given) - 2))
        self.graph, self.plan = planned(step, *args, donate=self.donated)
        self.state = arrays(*self.given[:-2])
        self.expected = list(self.given[:-2])

    @staticmethod
    def batch(seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        return rng.standard_normal((70, 5)).astype(np.float32), rng.integers(0, 3, 70)

    def run(self, batch: Any) -> None:
        """One step of the plan and one of the graph, which must agree."""
        made = [y for y in self.plan(*self.state, *batch) if is_array(y)]
        expected = [y for y in self.graph.run([*self.expected, *batch]) if is_array(y)]
        for mine, its in zip(made, expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=2e-5, atol=2e-6)
        (*self.state, self.loss), (*self.expected, _) = made, expected

    def told(self) -> str:
        return str(self.plan.report["CUDA graph"])


def test_a_training_step_is_launched_then_captured_then_replayed() -> None:
    training = Training()
    memory = [x.ctypes.data for x in training.state]
    batch = arrays(*Training.batch(1))
    for told in ("not captured yet", "captured 1 times, launched 1", "captured 1 times, launched 2"):
        training.run(batch)
        assert told in training.told()
    assert [x.ctypes.data for x in training.state] == memory  # results lie in donated memory
    assert "0 inputs copied" in training.told()


def test_a_training_step_of_one_example() -> None:
    """The last batch of an epoch may have no more."""
    model = nn.MLP.init(pg.random.key(0), (5, 8, 3), dtype="float32")
    x, labels = Training.batch(0)
    state = OPTIMIZER.init(model)
    graph, plan = planned(step, model, state, x[:1], labels[:1])
    given = [a for a in flatten((model, state, x[:1], labels[:1]))[0] if is_array(a)]
    for mine, its in zip(plan(*arrays(*given)), graph.run(given), strict=True):
        np.testing.assert_allclose(mine, its, rtol=2e-5, atol=2e-6)


def test_a_training_step_takes_few_kernels() -> None:
    """Bias, relu; the loss and its slope, with softmax; gates and bias gradients; all updates in one."""
    report = Training().plan.report
    assert (
        report["plan"].startswith("6 generated kernels") and "8 products, 0 copies, 0 calls" in report["plan"]
    )
    assert report["in place"] == "18 results in donated memory"


def test_inputs_are_copied_once_their_address_changes() -> None:
    training = Training()
    first = arrays(*Training.batch(1))
    training.run(first)
    for seed in range(2, 5):
        training.run(arrays(*Training.batch(seed)))
        assert "captured 1 times" in training.told() and "2 inputs copied" in training.told()
    x, labels = arrays(*Training.batch(5))
    training.run((np.asfortranarray(x).view(Array), labels))  # of another order, made contiguous


def test_other_donated_addresses_get_a_graph_of_their_own_when_they_come_again() -> None:
    training = Training()
    batch = arrays(*Training.batch(1))
    for _ in range(3):
        training.run(batch)
    training.state = arrays(*training.state)  # training goes on from a checkpoint
    launched = training.plan.captures.launched
    training.run(batch)
    assert training.plan.captures.launched == launched
    training.run(batch)
    assert "captured 2 times" in training.told()
    for _ in range(5):  # new memory in each call: nothing worth a capture
        training.state = arrays(*training.state)
        training.run(batch)
    assert training.plan.captures.captured == 2
    for _ in range(3):
        training.state = arrays(*training.state)
        training.run(batch)
        training.run(batch)
    assert training.plan.captures.captured == 5
    assert len(training.plan.captures.graphs) == adapter().capture.GRAPHS == 4


def test_results_are_not_overwritten_by_the_next_call() -> None:
    x = np.linspace(0, 1, 6)
    _, plan = planned(lambda x: (pg.sin(x), x, x[::2]), x)
    calls = [(y, plan(y)) for y in arrays(x, x + 1, x + 2, x + 3)]
    for y, outs in calls:
        for mine, its in zip(outs, (np.sin(y), y, y[::2]), strict=True):
            np.testing.assert_allclose(mine, its)
            assert not np.may_share_memory(mine, y)


def test_what_cannot_be_captured_is_launched_and_the_report_says_why() -> None:
    x = np.linspace(0, 1, 6)
    _, plan = planned(lambda x: pg.cumulative_sum(pg.sin(x)) * 2, x)
    for _ in range(4):
        np.testing.assert_allclose(plan(*arrays(x))[0], np.cumsum(np.sin(x)) * 2)
    assert plan.report["calls"] == "cumulative_sum"
    told = plan.report["CUDA graph"]
    assert told.startswith("not captured") and "not permitted when stream is capturing" in told
    assert "step 2 of 3 of the plan: cumulative_sum by CuPy at test_cupy_plan.py:" in told
    assert plan.captures.launched == 0


def test_with_blocking_launches_nothing_is_captured(monkeypatch: Any) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    _, plan = planned(lambda x: pg.sin(x), np.ones(3))
    for _ in range(3):
        plan(*arrays(np.ones(3)))
    assert "CUDA_LAUNCH_BLOCKING" in plan.report["CUDA graph"] and plan.captures.launched == 0


def test_a_call_on_another_stream_waits_for_the_last_one() -> None:
    training = Training()
    batch = arrays(*Training.batch(1))
    training.run(batch)
    first, other = Stream.current, Stream()
    with other:
        training.run(batch)
        training.run(batch)
    assert other.waited == [("event of", first)]
    training.run(batch)
    assert ("event of", other) in first.waited


def test_an_error_before_the_first_write_leaves_donated_arrays_whole() -> None:
    training = Training()
    plan = training.plan
    batch = arrays(*Training.batch(1))
    training.run(batch)
    writes = plan.schedule.steps[plan.schedule.first_write]
    assert writes is plan.schedule.steps[-1]
    for broken, intact in ((plan.schedule.steps[0], True), (writes, False)):
        name = broken.name if hasattr(broken, "name") else None
        before = dict(plan.functions)

        def fails(*args: Any) -> None:
            raise RuntimeError("no")

        if name is None:
            plan.multiply, kept = fails, plan.multiply
        else:
            plan.functions[name] = fails
        plan.captures.refused = "a test"
        with pytest.raises(RuntimeError, match="no") as caught:
            plan(*training.state, *batch)
        assert plan.intact(caught.value) is intact
        assert (
            "of the plan: " in caught.value.__notes__[0]
            and "at test_cupy_plan.py:" in caught.value.__notes__[0]
        )
        plan.functions.update(before)
        if name is None:
            plan.multiply = kept


def test_compile_trains_with_a_plan_of_cupys() -> None:
    """Through `pg.compile`: a step count and keys that change, dropout, and an error in a call."""

    def step(model: Any, state: Any, x: Any, labels: Any, key: Any) -> Any:
        def loss(m: Any) -> Any:
            return nn.cross_entropy(nn.dropout(m(x), 0.5, key=key), labels)

        value, grads = pg.value_and_grad(loss)(model)
        updates, state = OPTIMIZER.update(grads, state, model)
        return optim.apply_updates(model, updates), state, value

    x, labels = Training.batch(3)
    model = nn.MLP.init(pg.random.key(0), (5, 8, 3), dtype="float32")
    theirs: Any = (model, OPTIMIZER.init(model))
    with cuda_on_host.compiling():
        compiled = pg.compile(step, donate=(0, 1))
        ours: Any = pg.compile(lambda tree: tree)(theirs)
        for seed in range(5):
            key = pg.random.key(seed)
            *ours, loss = compiled(*ours, x, labels, key)
            *theirs, expected = step(*theirs, x, labels, key)
            assert abs(float(loss) - float(expected)) < 1e-5
        plan = (
            compiled.last.plan
        )  # captured once more where keys lay at one address twice, and then elsewhere
        assert "captured" in compiled.report() and plan.captures.launched == 4 and compiled.traces == 1
        plan.captures.refused = "a test"
        plan.functions.clear()
        with pytest.raises(KeyError) as caught:
            compiled(*ours, x, labels, pg.random.key(9))
        assert "donated arrays may be overwritten" in caught.value.__notes__[-1]  # the step count comes first


@given(st.lists(programs(), min_size=3, max_size=3), st.sampled_from([(), (0, 1, 2)]))
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_programs_and_their_gradients_compute_the_same(some: Any, donate: Any) -> None:
    def f(*inputs: Any) -> Any:
        out = []
        for program in some:
            out += run_program(program, *inputs)

            def loss(*xs: Any, program: Any = program) -> Any:
                return sum(pg.sum(y**2) for y in run_program(program, *xs))

            grads = pg.grad(loss, argnums=(0, 1, 2))(*inputs)
            out += [x - 0.1 * g for x, g in zip(inputs, grads, strict=True)]
        return out

    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 3))
    graph, plan = planned(f, *x, donate=donate)
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(-1, 1, (3, 3, 3))
        expected = graph.run(list(x))
        for mine, its in zip(plan(*arrays(*x)), expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-11, atol=1e-12)


SHAPES = ((70, 33), (33,), (70, 1), (1,), (2, 5, 33), (40, 1, 3), ())
STEPS = (
    "tanh",
    "abs",
    "add",
    "multiply",
    "maximum",
    "sum",
    "mean",
    "max",
    "flat",
    "part",
    "turned",
    "joined",
)


def many_shapes(choices: Any, inputs: Any) -> list[Any]:
    """A program over values of any shape, as pairs of a step and two numbers that choose what it takes."""
    values = list(inputs)
    for name, i, j in choices:
        a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            b = pg.sum(b) * 0.1
        else:
            b = b if np.prod(shape) < 10_000 else pg.max(b)
        axis = j % a.ndim if a.ndim else None
        if name in ("tanh", "abs"):
            y = getattr(pg, name)(a)
        elif name in ("add", "multiply", "maximum"):
            y = getattr(pg, name)(a, b)
        elif name in ("sum", "mean", "max"):
            y = getattr(pg, name)(a, axis=None if i == 9 else axis, keepdims=j % 3 > 0)
            y = a - y if j % 3 == 1 else y
        elif name == "flat":
            y = pg.reshape(a, (-1,))[::-1]
        elif name == "part":
            y = a[..., 1:] if a.ndim and a.shape[-1] > 1 else a + 1.0
        elif name == "turned":
            y = pg.permute_dims(a, tuple(range(a.ndim))[::-1])
        else:
            y = pg.concat([a, 0.5 * a], axis=axis) if a.ndim and np.prod(a.shape) < 5_000 else -a
        values.append(y)
    return values[len(inputs) :]


@given(
    st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), min_size=15, max_size=40
    )
)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_programs_over_many_shapes_compute_the_same(choices: Any) -> None:
    rng = np.random.default_rng(0)
    x = [rng.uniform(-1, 1, shape) for shape in SHAPES]
    graph, plan = planned(lambda *xs: many_shapes(choices, xs), *x)
    expected = graph.run(x)
    for _ in range(2):
        for mine, its in zip(plan(*arrays(*x)), expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-10, atol=1e-10)


class ColumnMajor:
    """The functions of cuBLAS that a plan calls, by their documentation, on the host's memory."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        for letter, dtype in zip("SDCZ", ("f4", "f8", "c8", "c16"), strict=True):
            setattr(self, f"cublas{letter}gemm_v2", self.gemm(letter, np.dtype(dtype), False))
            setattr(self, f"cublas{letter}gemmStridedBatched", self.gemm(letter, np.dtype(dtype), True))

    def cublasCreate_v2(self, handle: Any) -> int:
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:
        self.calls.append("stream")
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, memory: Any, size: Any) -> int:
        self.calls.append("workspace")
        return 0

    def gemm(self, letter: str, dtype: Any, batched: bool) -> Any:
        def matrix(pointer: Any, rows: int, columns: int, leading: int, transposed: bool, at: int) -> Any:
            """Columns `leading` elements apart."""
            if transposed:
                rows, columns = columns, rows
            assert leading >= rows
            size = leading * (columns - 1) + rows
            memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(
                pointer.value + at * dtype.itemsize
            )
            flat = np.frombuffer(memory, dtype)
            seen = np.lib.stride_tricks.as_strided(
                flat, (rows, columns), (dtype.itemsize, leading * dtype.itemsize)
            )
            return seen.T if transposed else seen

        def multiply(handle: Any, transa: Any, transb: Any, m: Any, n: Any, k: Any, *rest: Any) -> int:
            it = iter(rest)
            strided = (lambda: next(it).value) if batched else (lambda: 0)
            next(it)
            a, lda, stride_a = next(it), next(it), strided()
            b, ldb, stride_b = next(it), next(it), strided()
            next(it)
            c, ldc, stride_c = next(it), next(it), strided()
            for i in range(next(it).value if batched else 1):
                x = matrix(a, m.value, k.value, lda.value, bool(transa.value), i * stride_a)
                y = matrix(b, k.value, n.value, ldb.value, bool(transb.value), i * stride_b)
                matrix(c, m.value, n.value, ldc.value, False, i * stride_c)[...] = x @ y
            self.calls.append("batched" if batched else "gemm")
            return 0

        return multiply


PRODUCTS: tuple[tuple[Any, str, tuple[Any, ...]], ...] = (
    (lambda x, y: x @ y, "gemm", ((4, 3), (3, 5))),
    (lambda x, y: x.mT @ y, "gemm", ((3, 4), (3, 5))),
    (lambda x, y: x @ y.mT, "gemm", ((4, 3), (5, 3))),
    (lambda x, y: x.mT @ y.mT, "gemm", ((3, 4), (5, 3))),
    (lambda x, y: x[1:3, 1:] @ y, "gemm", ((4, 4), (3, 5))),
    (lambda x, y: x @ y, "gemm", ((4, 3), (3,))),
    (lambda x, y: x @ y.mT, "gemm", ((3,), (5, 3))),
    (lambda x, y: x @ y, "gemm", ((3,), (3,))),
    (lambda x, y: x[:, 1] @ y, "gemm", ((3, 2), (3, 5))),
    (lambda x, y: x @ y, "gemm", ((2, 4, 3), (3, 5))),
    (lambda x, y: x.mT @ y, "batched", ((2, 3, 4), (3, 5))),
    (lambda x, y: x @ y, "batched", ((2, 6, 4, 3), (2, 6, 3, 5))),
    (lambda x, y: x @ y, "batched", ((4, 3), (2, 3, 5))),
    (lambda x, y: pg.tensordot(x, y), "gemm", ((2, 3, 4), (3, 4, 5))),
    (lambda x, y: pg.tensordot(x, y, axes=0), "gemm", ((2, 3), (4,))),
    (lambda x, y: pg.tensordot(x, y, axes=((0, 1), (0, 1))), "gemm", ((3, 4, 2), (3, 4, 5))),
    (lambda x, y: pg.tensordot(x, y, axes=((2, 1), (0, 2))), "", ((2, 3, 4), (4, 5, 3))),
    (lambda x, y: x @ y, "", ((2, 1, 4, 3), (6, 3, 5))),
    (lambda x, y: x[:, ::2] @ y, "", ((4, 6), (3, 5))),
    (lambda x, y: x @ y, "", ((4, 0), (0, 5))),
)
"""Products, and how cuBLAS is called for them; not at all where it could not be."""


def not_found() -> Any:
    raise OSError("libcublas.so.12")


@pytest.mark.parametrize("case", range(len(PRODUCTS)))
def test_products_are_what_cublas_is_asked_for(case: int, monkeypatch: Any) -> None:
    f, how, shapes = PRODUCTS[case]
    library = ColumnMajor()
    handle = adapter().blas.Blas(library)
    monkeypatch.setattr(adapter().plan, "blas", lambda: handle)
    rng = np.random.default_rng(case)
    for dtype in ("float32", "float64", "complex64", "complex128")[case % 2 :: 2]:
        x, y = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        if x.dtype.kind == "c":
            x, y = x * (1 + 2j), y * (2 - 1j)
        graph, plan = planned(lambda x, y: f(pg.asarray(x), pg.asarray(y)), x, y)
        (mine,), (its,) = plan(*arrays(x, y)), graph.run([x, y])
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)
        monkeypatch.setattr(adapter().plan, "blas", not_found)
        _, plan = planned(lambda x, y: f(pg.asarray(x), pg.asarray(y)), x, y)
        np.testing.assert_allclose(plan(*arrays(x, y))[0], its, rtol=1e-5, atol=1e-5)
        assert ("cuBLAS was not found: OSError" in plan.report.get("products", "")) is bool(how)
        monkeypatch.setattr(adapter().plan, "blas", lambda: handle)
    assert library.calls[-3:] == (["stream", "workspace", how] if how else [])


def test_values_on_several_devices_are_replayed() -> None:
    graph, _ = planned(lambda x: pg.sin(x), np.ones(2))
    moved = types.SimpleNamespace(
        inputs=graph.inputs,
        constants=graph.constants,
        equations=[types.SimpleNamespace(outs=graph.inputs, op=types.SimpleNamespace(moves=True))],
    )
    plan = adapter().plan.plan(moved, lambda *xs: [xs[0] + 1], ())
    assert "several devices" in plan.report["plan"] and (plan(np.ones(2))[0] == 2).all()
