"""What one rank of a job does: ``mpiexec -n N python tests/ranks.py CHECK...``, see test_distributed.py.

Each check runs on all ranks and asserts; rank 0 prints its name when all have passed it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import portagrad as pg
from portagrad.distributed.layout import SMALL
from portagrad.transforms.tree import Varying

os.environ.setdefault("JAX_ENABLE_X64", "1")

CHECKS: dict[str, Callable[[Any], None]] = {}


def check(f: Callable[[Any], None]) -> Callable[[Any], None]:
    CHECKS[f.__name__] = f
    return f


def raises(kind: type[BaseException], *said: str) -> Any:
    """A context in which this rank must fail, and its message must say so."""

    class Raises:
        def __enter__(self) -> None: ...

        def __exit__(self, found: Any, error: BaseException | None, trace: Any) -> bool:
            assert error is not None, f"nothing was raised, not {kind.__name__}: {said}"
            if not isinstance(error, kind):
                return False
            for text in said:
                assert text in str(error), f"{text!r} is not in {error}"
            return True

    return Raises()


def tree_of(rank: int) -> dict[str, Any]:
    """A tree of a rank, the same whichever process asks: dtypes, shapes, orders and numbers of all kinds."""
    rng = np.random.default_rng(rank)
    return {
        "weights": [rng.normal(size=(37, 5)), rng.normal(size=(5, 4)).astype(np.float32).T],
        "none": None,
        "bias": (rng.normal(size=3), np.asarray(rng.normal()), np.empty((0, 3)), rng.normal(size=8)[::2]),
        "complex": rng.normal(size=3) + 1j * rng.normal(size=3),
        "half": rng.normal(size=3).astype(np.float16),
        "counts": rng.integers(-5, 5, size=4),
        "bytes": rng.integers(0, 5, size=4).astype(np.uint8),
        "loss": float(rng.normal()),
        "examples": rank + 1,
        "count": Varying(rank),
        "constant": pg.asarray(rng.normal(size=2)),
    }


def leaves_of(tree: Any) -> list[Any]:
    from portagrad.transforms.tree import flatten

    return [np.asarray(pg.stop_gradient(x)) if isinstance(x, pg.Tensor) else x for x in flatten(tree)[0]]


def same_kinds(found: Any, given: Any) -> None:
    from portagrad.transforms.tree import flatten

    (found, one), (given, other) = flatten(found), flatten(given)
    assert one == other
    for x, y in zip(found, given, strict=True):
        assert type(x) is type(y), (type(x), type(y))
        assert getattr(x, "dtype", 0) == getattr(y, "dtype", 0)
        assert getattr(x, "shape", 0) == getattr(y, "shape", 0)


def digest(tree: Any) -> str:
    data = b"".join(np.asarray(x).tobytes() for x in leaves_of(tree))
    return hashlib.sha256(data).hexdigest()


@check
def the_sum_is_that_of_the_ranks_trees(comm: Any) -> None:
    trees = [tree_of(rank) for rank in range(comm.size)]
    found = comm.all_reduce(trees[comm.rank])
    same_kinds(found, trees[comm.rank])
    for x, *parts in zip(leaves_of(found), *map(leaves_of, trees), strict=True):
        total = np.sum(
            [np.asarray(p, np.float32 if np.asarray(p).dtype == np.float16 else None) for p in parts], 0
        )
        np.testing.assert_allclose(
            x, total, rtol=2e-3 if np.asarray(x).dtype == np.float16 else 1e-6, atol=1e-6
        )
    assert found["examples"] == comm.size * (comm.size + 1) // 2
    assert comm.all_reduce(np.empty((2, 0))).shape == (2, 0) and comm.all_reduce([None, ()]) == [None, ()]
    for tree in (np.ones(2), pg.asarray(np.ones(2)), np.ones(2)):  # of one shape, but not of one kind
        same_kinds(comm.all_reduce(tree), tree)


@check
def the_mean_is_the_sum_over_the_number(comm: Any) -> None:
    tree = {
        key: tree_of(comm.rank)[key] for key in ("weights", "bias", "complex", "half", "loss", "constant")
    }
    mean, total = comm.all_reduce(tree, op="mean"), comm.all_reduce(tree)
    same_kinds(mean, tree)
    for x, y in zip(leaves_of(mean), leaves_of(total), strict=True):
        np.testing.assert_allclose(x, y / comm.size, rtol=2e-3 if np.asarray(x).dtype == np.float16 else 1e-6)
    same = [np.full(3, 0.1, np.float32), 0.1]
    if comm.size & (comm.size - 1) == 0:
        assert digest(comm.all_reduce(same, op="mean")) == digest(same)


@check
def every_rank_has_the_same_bits_in_every_run(comm: Any) -> None:
    rng = np.random.default_rng(comm.rank)
    big = {
        "a": rng.normal(size=30_011).astype(np.float32) * 10.0 ** rng.integers(-8, 8, 30_011),
        "b": rng.normal(size=77),
    }
    found = [digest(comm.all_reduce(big, op=op)) for op in ("sum", "mean", "max", "min")]
    found += [digest(comm.all_reduce(big, bucket_bytes=size)) for size in (4096, 2**16)]
    assert comm.all_gather_object(found) == [found] * comm.size
    if comm.rank == 0:
        print("bits", *found)


@check
def a_bucket_is_a_message_of_bounded_size(comm: Any) -> None:
    whole = tree_of(comm.rank)
    expected = leaves_of(comm.all_reduce(whole))
    for nbytes in (1, 150, 10**9):
        for x, y in zip(leaves_of(comm.all_reduce(whole, bucket_bytes=nbytes)), expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12 if np.asarray(x).dtype == float else 1e-3)
    if comm.size == 1:
        return
    sent: list[int] = []
    link, mpi_comm = comm._link, comm._link.comm
    link.comm = Spy(mpi_comm, sent)
    try:
        comm.all_reduce(whole, bucket_bytes=640)
    finally:
        link.comm = mpi_comm
    agreement, *messages = sent
    assert agreement == 16 and max(messages) <= 640
    total = sum(np.asarray(x).nbytes for x in leaves_of(whole)) + whole["half"].nbytes  # travels as float32
    assert sum(messages) == total


class Spy:
    """A communicator that notes the bytes of what it reduces."""

    def __init__(self, comm: Any, sent: list[int]) -> None:
        self._comm, self._sent = comm, sent

    def Allreduce(self, send: Any, receive: Any, op: Any) -> None:
        self._sent.append(receive.nbytes)
        self._comm.Allreduce(send, receive, op)

    def Iallreduce(self, send: Any, receive: Any, op: Any) -> Any:
        self._sent.append(receive.nbytes)
        return self._comm.Iallreduce(send, receive, op)


@check
def extremes_pass_on_nan_and_order_zeros(comm: Any) -> None:
    nan, inf, last = float("nan"), float("inf"), comm.rank == comm.size - 1
    for dtype in (np.float32, np.float64):
        x = np.asarray(
            [nan if last else 1.0, -nan if comm.rank == 0 else 1.0, comm.rank, -comm.rank, inf], dtype
        )
        zeros = np.asarray([0.0 if last else -0.0], dtype)
        high, low = comm.all_reduce([x, zeros], op="max"), comm.all_reduce([x, zeros], op="min")
        np.testing.assert_array_equal(high[0], [nan, nan, comm.size - 1, 0, inf])
        np.testing.assert_array_equal(low[0], [nan, nan, 0, 1 - comm.size, inf])
        assert not np.signbit(high[1])[0] and np.signbit(low[1])[0] == (comm.size > 1)
    assert comm.all_reduce(comm.rank == 0, op="max") is True
    assert comm.all_reduce(comm.rank == 0, op="min") is (comm.size == 1)
    np.testing.assert_array_equal(comm.all_reduce(np.asarray([True, comm.rank > 0]), op="min"), [True, False])
    assert comm.all_reduce([comm.rank, -1.5 - comm.rank], op="min") == [0, -0.5 - comm.size]


@check
def a_result_is_never_overwritten_and_its_memory_used_again(comm: Any) -> None:
    tree = [np.full(1000, float(comm.rank)), np.ones((3, 4))]
    assert tree[0].nbytes > SMALL
    kept = [comm.all_reduce(tree) for _ in range(5)]
    piece = comm.all_reduce(tree)[0][10:20]
    for _ in range(3):
        comm.all_reduce([np.full(1000, 7.0), np.zeros((3, 4))])
    for found in kept:
        np.testing.assert_array_equal(found[0], comm.size * (comm.size - 1) / 2)
        if comm.size > 1:
            found[0][...] = -1  # it is the caller's
    np.testing.assert_array_equal(piece, comm.size * (comm.size - 1) / 2)
    loss, _ = comm.all_reduce([np.asarray(1.0), np.ones(1000)])
    assert loss.base is None  # a list of losses does not keep the gradients beside them
    if comm.size > 1:
        del kept, found
        addresses = {comm.all_reduce(tree)[0].ctypes.data for _ in range(20)}
        assert len(addresses) <= 2, "no memory is used again"


@check
def several_reductions_are_under_way_at_once(comm: Any) -> None:
    trees = [{"a": np.full(5000, comm.rank + k, np.float32), "n": k} for k in range(4)]
    handles = [comm.start_all_reduce(tree, bucket_bytes=4096) for tree in trees]
    assert comm.all_reduce(1) == comm.size
    comm.barrier()
    between = comm.size * (comm.size - 1) / 2
    for k in (2, 0, 3):
        found = handles[k].wait()
        np.testing.assert_array_equal(found["a"], np.full(5000, between + k * comm.size, np.float32))
        assert found["n"] == k * comm.size and handles[k].wait() is found and handles[k].done()
    del handles, found  # one is given up; its memory must not be
    assert comm.all_reduce(np.ones(5000))[0] == comm.size
    limit = time.monotonic() + 30
    last = comm.start_all_reduce(np.ones(100_000), op="mean")
    while not last.done():
        assert time.monotonic() < limit
    np.testing.assert_array_equal(last.wait(), 1)


@check
def ranks_that_do_not_do_the_same_are_told(comm: Any) -> None:
    if comm.size == 1:
        return
    first, wrong = comm.rank == 0, pg.DistributedError
    unlike = [
        (np.ones(3), np.ones(4), "float64 (3,)", "float64 (4,)"),
        (np.ones(3), np.ones((3, 1)), "(3,)", "(3, 1)"),
        (np.ones(3), np.ones(3, np.float32), "float64", "float32"),
        ({"a": 1.0}, {"b": 1.0}, "['a']", "['b']"),
        ([1.0, 2.0], [1.0], "[1]: float ()", "buffers: 1 of float64"),
        (1.0, 1, "float", "int"),
    ]
    for one, other, *said in unlike:
        for _ in range(2):  # whether they know the structure or not
            with raises(wrong, "rank 0", *said):
                comm.all_reduce(one if first else other)
    with raises(wrong, "op='sum'", "op='max'"):
        comm.all_reduce(1.0, op="sum" if first else "max")
    with raises(wrong, "rank 0: barrier", "broadcast(root=0)"):
        comm.barrier() if first else comm.broadcast(1.0)
    with raises(wrong, "all_gather_object", "all_reduce"):
        comm.all_gather_object(1) if first else comm.start_all_reduce(1.0)
    with raises(wrong, "root=0", "root=1"):
        comm.broadcast(1.0, root=0 if first else 1)
    assert comm.all_reduce(1) == comm.size  # and go on


@check
def a_failure_of_one_rank_is_told_to_the_others(comm: Any) -> None:
    if comm.size == 1:
        return
    first = comm.rank == 0
    cases = [
        ({"a": "text"}, {"a": 1.0}, TypeError, "the leaf ['a'] is a str"),
        (2**80, 7, OverflowError, "too large"),
        ([object()], [1.0], TypeError, "object"),
        (np.asarray(["x"]), np.ones(1), TypeError, "dtype"),
    ]
    for bad, good, kind, said in cases:
        with raises(kind if first else pg.DistributedError, said):
            comm.all_reduce(bad if first else good)
    with raises(ValueError if first else pg.DistributedError, "op is one of sum, mean, max, min"):
        comm.all_reduce(1.0, op="product" if first else "sum")
    with raises(ValueError if first else pg.DistributedError, "root must be one of"):
        comm.broadcast(1.0, root=comm.size if first else 0)
    with raises(TypeError if first else pg.DistributedError, "JSON"):
        comm.all_gather_object(np.ones(2) if first else 1)
    for call in (lambda: comm.all_reduce(1.0), comm.barrier, lambda: comm.all_gather(np.ones(1))):
        if first:
            assert comm.failed(pg.DataError("no such file"))
        else:
            with raises(pg.DistributedError, "rank 0: fails with DataError: no such file"):
                call()
    assert comm.failed(ValueError("the same everywhere")) is first
    with raises(TypeError, "is boolean"):
        comm.all_reduce(True)
    with raises(TypeError, "no order"):
        comm.all_reduce(1j, op="max")
    with raises(TypeError, "whose mean is none"):
        comm.all_reduce(np.arange(3), op="mean")
    assert comm.all_reduce(1) == comm.size


DTYPES = ("float64", "float32", "float16", "complex64", "complex128", "int8", "int64", "uint32", "bool")
APPLICABLE = {"b": ("max", "min"), "i": ("sum", "max", "min"), "u": ("sum", "max", "min")}
APPLICABLE |= {"f": ("sum", "mean", "max", "min"), "c": ("sum", "mean")}


def drawn_tree(shape: Any, values: Any, kinds: Any, depth: int = 3) -> Any:
    """A tree whose structure comes from one generator and whose values come from another."""
    form = shape.integers(0, 3 if depth == 3 else 4) if depth else 3
    if form < 3:
        parts = [drawn_tree(shape, values, kinds, depth - 1) for _ in range(shape.integers(0, 6))]
        return (parts, tuple(parts), {f"k{i}": part for i, part in enumerate(parts)})[form]
    dtype = np.dtype(kinds[shape.integers(0, len(kinds))])
    x = values.integers(0, 9, size=shape.integers(0, 4, size=shape.integers(0, 4))).astype(dtype)
    x = x.T if shape.integers(0, 2) else x
    number = shape.integers(0, 4) == 0 and x.ndim == 0 and dtype in (bool, int, float, complex)
    return x.item() if number else x


@check
def drawn_trees_become_what_numpy_makes_of_them(comm: Any) -> None:
    """And where one rank has another tree, all of them are told."""
    reduced = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}
    compared = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        op = ("sum", "mean", "max", "min")[seed % 4]
        kinds = [d for d in DTYPES if op in APPLICABLE[np.dtype(d).kind]]
        trees = [
            drawn_tree(np.random.default_rng(seed), np.random.default_rng((seed, rank)), kinds)
            for rank in range(comm.size)
        ]
        nbytes, later, odd = int(draw.integers(1, 200)), draw.integers(0, 2), draw.integers(0, 4) == 0
        mine = trees[comm.rank]
        start = comm.start_all_reduce if later else comm.all_reduce
        if odd and comm.size > 1:
            if comm.rank == seed % comm.size:
                mine = [mine, np.ones(1)]
            with raises(pg.DistributedError, f"rank {seed % comm.size}: "):
                start(mine, op=op, bucket_bytes=nbytes)
            continue
        found = start(mine, op=op, bucket_bytes=nbytes)
        found = found.wait() if later else found
        same_kinds(found, mine)
        for x, *parts in zip(leaves_of(found), *map(leaves_of, trees), strict=True):
            expected = reduced[op](np.stack([np.asarray(part) for part in parts]), axis=0)
            np.testing.assert_allclose(x, expected.astype(np.asarray(x).dtype), rtol=1e-3)
            compared += 1
    assert compared > 100


@check
def a_traced_value_is_refused(comm: Any) -> None:
    with raises(TypeError, "belongs to a transform"):
        pg.grad(lambda x: comm.all_reduce(x))(1.0)
    with raises(TypeError, "belongs to a transform"):
        pg.compile(lambda x: comm.all_reduce(x))(np.ones(2))


@check
def a_tree_and_objects_go_round(comm: Any) -> None:
    for root in {0, comm.size - 1}:
        found = comm.broadcast(tree_of(comm.rank), root)
        same_kinds(found, tree_of(root))
        assert digest(found) == digest(tree_of(root))
        assert comm.broadcast_object({"rank": comm.rank, "text": "ä" * 1000}, root)["rank"] == root
    values = comm.all_gather_object([comm.rank, None, "é" * comm.rank, 0.1, float("inf")])
    assert values == [[r, None, "é" * r, 0.1, float("inf")] for r in range(comm.size)]
    rows = comm.all_gather(
        {"x": np.full((comm.rank, 2), comm.rank, np.float32), "flag": np.asarray([comm.rank > 0])}
    )
    expected = np.repeat(np.arange(comm.size), np.arange(comm.size))
    assert rows["x"].dtype == np.float32
    np.testing.assert_array_equal(rows["x"], np.stack([expected, expected], axis=1))
    np.testing.assert_array_equal(rows["flag"], np.arange(comm.size) > 0)
    rows["x"][...] = 0  # it is the caller's
    assert comm.all_gather(np.empty((comm.rank + 1, 0))).shape == (comm.size * (comm.size + 1) // 2, 0)
    with raises(TypeError, "without axes"):
        comm.all_gather(np.asarray(1.0))
    with raises(TypeError, "Python's objects"):
        comm.all_gather(np.asarray([None]))
    assert comm.all_gather_object(comm.local_rank) == list(range(comm.size))


@check
def the_gradient_over_shards_is_that_of_the_batch(comm: Any) -> None:
    from portagrad.data import slices

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
    params = {"w": rng.normal(size=(6, 3)), "b": rng.normal(size=3)}

    def loss(p: Any, x: Any, labels: Any) -> Any:
        return pg.nn.cross_entropy(x @ p["w"] + p["b"], labels)

    gradients = [pg.value_and_grad(loss)]
    if comm.size == 2:  # compiling takes its time
        gradients.append(pg.compile(gradients[0]))
    for gradient in gradients:
        mine = slices(len(x), 17, shard=(comm.rank, comm.size))
        for (low, high), (first, last) in zip(mine, slices(len(x), 17), strict=True):
            part = gradient(params, x[low:high], labels[low:high])
            weight = (high - low) / (last - first)
            found = comm.all_reduce(_times(weight, part))
            expected = pg.value_and_grad(loss)(params, x[first:last], labels[first:last])
            for a, b in zip(leaves_of(found), leaves_of(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def _times(weight: float, tree: Any) -> Any:
    from portagrad.transforms.tree import tree_map

    return tree_map(lambda x: weight * x, tree)


def mlp(p: Any, x: Any, labels: Any) -> Any:
    """A layer is used twice, one not at all, and `first` is complete last."""
    hidden = pg.tanh(x @ p["first"]["w"] + p["first"]["b"])
    for _ in range(2):
        hidden = pg.tanh(hidden @ p["again"])
    return pg.nn.cross_entropy(hidden @ p["last"], labels) * p["scale"]


def mlp_data(rank: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    p = {
        "first": {"w": rng.normal(size=(6, 5)).astype(np.float32), "b": rng.normal(size=5).astype(np.float32)}
    }
    p |= {"again": rng.normal(size=(5, 5)), "last": rng.normal(size=(5, 3)), "unused": np.ones(2)}
    p |= {"scale": np.asarray(2.0)}
    rng = np.random.default_rng(rank)
    return p, rng.normal(size=(8, 6)), rng.integers(0, 3, 8)


@check
def a_gradient_is_reduced_while_it_is_made(comm: Any) -> None:
    p, x, labels = mlp_data(comm.rank)
    for op in ("mean", "sum"):
        expected = comm.all_reduce(pg.value_and_grad(mlp)(p, x, labels), op=op)
        for nbytes in (1, 200, 10**6):
            found = comm.value_and_grad(mlp, op=op, bucket_bytes=nbytes)(p, x, labels)
            same_kinds(found, expected)
            for a, b in zip(leaves_of(found), leaves_of(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)
            told = comm.all_gather_object(digest(found))
            assert told == [told[0]] * comm.size

    def of_two(a: Any, labels: Any, b: Any) -> Any:
        return mlp({**a, **b}, x, labels), {"rank": comm.rank, "count": pg.sum(a["scale"])}

    one = {key: p[key] for key in ("first", "scale")}
    other = {key: p[key] for key in ("again", "last", "unused")}
    step = comm.value_and_grad(of_two, argnums=(2, 0), has_aux=True)
    (value, aux), (of_b, of_a) = step(one, labels, other)
    expected = comm.all_reduce(pg.value_and_grad(mlp)(p, x, labels), op="mean")
    same_kinds((value, {**of_a, **of_b}), expected)
    for a, b in zip(leaves_of((value, {**of_a, **of_b})), leaves_of(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert aux["rank"] == comm.rank and float(aux["count"]) == 2.0


@check
def buckets_leave_before_the_way_back_ends(comm: Any) -> None:
    """In the order in which they are complete; what is used first comes last."""
    if comm.size == 1:
        return
    from portagrad.distributed.reduction import Handle

    p, x, labels = mlp_data(comm.rank)
    events: list[Any] = []

    @pg.custom_vjp
    def mark(x: Any) -> Any:
        return x

    mark.defvjp(lambda x: (x, None), lambda _, g: (events.append("the first layer"), (g,))[1])

    def marked(p: Any, x: Any, labels: Any) -> Any:
        hidden = mark(pg.tanh(x @ p["first"]["w"] + p["first"]["b"]))
        return pg.nn.cross_entropy(hidden @ p["again"] @ p["last"], labels) * p["scale"]

    send = Handle.send
    Handle.send = lambda self, *a, **k: (
        events.append([g.size for g in self._layout.groups]),
        send(self, *a, **k),
    )[1]
    try:
        comm.value_and_grad(marked, bucket_bytes=1)(p, x, labels)
    finally:
        Handle.send = send
    at = events.index("the first layer")
    assert events[:at] == [[1], [1], [15], [25]]  # the value, scale, last, again
    assert sorted(events[at + 1 :]) == [[2], [5], [30]]  # unused, first


@check
def a_step_that_fails_on_one_rank_is_told_to_the_others(comm: Any) -> None:
    if comm.size == 1:
        return
    p, x, labels = mlp_data(comm.rank)

    @pg.custom_vjp
    def fails(x: Any) -> Any:
        return x

    def back(_: Any, g: Any) -> Any:
        if comm.rank == comm.size - 1:
            raise MemoryError("backward")
        return (g,)

    fails.defvjp(lambda x: (x, None), back)

    def forward(p: Any, x: Any, labels: Any) -> Any:
        if comm.rank == comm.size - 1:
            raise ZeroDivisionError("forward")
        return mlp(p, x, labels)

    def backward(p: Any, x: Any, labels: Any) -> Any:
        return mlp({**p, "again": fails(p["again"])}, x, labels)

    last = comm.rank == comm.size - 1
    for _ in range(2):
        for f, kind in ((forward, ZeroDivisionError), (backward, MemoryError)):
            with raises(kind if last else pg.DistributedError, f.__name__):
                comm.value_and_grad(f, bucket_bytes=1)(p, x, labels)
        with raises(pg.DistributedError, "['gradient'][0]['scale']: float64 ()", "(1,)"):
            scale = np.ones(1) if last else np.ones(())
            comm.value_and_grad(lambda p: pg.sum(p["scale"]))({"scale": scale})
        comm.value_and_grad(mlp)(p, x, labels)
    with raises(TypeError, "belongs to a transform"):
        pg.compile(comm.value_and_grad(mlp))(p, x, labels)


@check
def a_communicator_of_ones_own_is_apart(comm: Any) -> None:
    from mpi4py import MPI

    half = MPI.COMM_WORLD.Split(comm.rank % 2, comm.rank)
    ours = pg.distributed.Communicator(half)
    assert ours.all_reduce(1) == ours.size == half.size
    begun = ours.start_all_reduce(np.ones(1000))
    assert half.allreduce(1) == half.size  # messages of one's own do not meet the library's
    np.testing.assert_array_equal(begun.wait(), half.size)
    half.Free()
    assert ours.all_reduce(np.float64(2.0)) == 2 * ours.size  # a duplicate is used
    assert repr(ours) == f"<Communicator: rank {ours.rank} of {ours.size}>"


@check
def a_failure_of_mpi_names_rank_and_operation(comm: Any) -> None:
    from mpi4py import MPI

    if comm.size == 1:
        return
    broken = pg.distributed.Communicator(MPI.COMM_WORLD)
    broken._link.comm.Free()
    for what, call in (
        ("all_reduce", lambda: broken.all_reduce(1.0)),
        ("barrier", broken.barrier),
        ("broadcast_object", lambda: broken.broadcast_object(1)),
    ):
        with raises(pg.DistributedError, f"{what}: MPI failed on rank {comm.rank} of {comm.size}"):
            call()


@check
def arrays_of_every_library_are_reduced_where_they_live(comm: Any) -> None:
    rng = np.random.default_rng(comm.rank)
    host = {"w": [rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3)], "n": rng.integers(0, 9, 3)}
    host |= {
        "flag": np.asarray([comm.rank == 0]),
        "empty": np.ones((0, 2)),
        "scalar": np.asarray(rng.normal()),
    }
    plain = {key: host[key] for key in host if key != "flag"}
    for name in devices():
        there = pg.to_device(plain, name)
        found = comm.all_reduce({**there, "loss": 1.5})
        same_kinds(found, {**there, "loss": 1.5})
        for op, tree in (("sum", plain), ("max", {"flag": host["flag"], **plain})):
            found, expected = comm.all_reduce(pg.to_device(tree, name), op=op), comm.all_reduce(tree, op=op)
            assert {str(pg.device(x)) for x in flat(found)} == {str(pg.device(name))}
            for a, b in zip(flat(pg.to_device(found, "cpu")), flat(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)
        for root in (0, comm.size - 1):
            sent = pg.to_device(comm.broadcast(there, root), "cpu")
            texts = comm.all_gather_object(digest(sent))
            assert texts == [texts[0]] * comm.size and (comm.rank != root or digest(plain) == texts[0])
        rows = comm.all_gather(pg.to_device(np.full((comm.rank + 1, 2), comm.rank), name))
        assert pg.device(rows) == pg.device(name)
        np.testing.assert_array_equal(
            pg.to_device(rows, "cpu")[:, 0], np.repeat(np.arange(comm.size), np.arange(comm.size) + 1)
        )
        step = comm.value_and_grad(lambda p, s: s * pg.sum(p[0] ** 2))
        gradient = step(there["w"][:1], 1.0 + comm.rank)[1]
        own = comm.all_reduce(2 * (1.0 + comm.rank) * plain["w"][0], op="mean")
        np.testing.assert_allclose(pg.to_device(gradient[0], "cpu"), own, rtol=1e-5)
        handle = comm.start_all_reduce(pg.to_device(np.full(3, 1.0 + comm.rank), name), op="mean")
        np.testing.assert_array_equal(pg.to_device(handle.wait(), "cpu"), (comm.size + 1) / 2)
        if comm.rank == 0:
            print("device", name)
    # Ranks may hold their arrays in different libraries.
    mixed = pg.to_device(np.full(3, 1.0), devices()[comm.rank % len(devices())])
    np.testing.assert_array_equal(pg.to_device(comm.all_reduce(mixed), "cpu"), comm.size)


def devices() -> list[str]:
    return os.environ["RANKS_DEVICES"].split(",")


def flat(tree: Any) -> list[Any]:
    from portagrad.transforms.tree import flatten

    return flatten(tree)[0]


@check
def torch_tensors_go_straight_through_mpi_if_asked(comm: Any) -> None:
    import torch
    from mpi4py import MPI

    direct = pg.distributed.Communicator(MPI.COMM_WORLD, through="mpi")
    x = torch.full((5,), 1.0 + comm.rank)
    for op, expected in (("sum", comm.size * (comm.size + 1) / 2), ("mean", (comm.size + 1) / 2)):
        found = direct.all_reduce([x], op=op)[0]
        assert type(found) is torch.Tensor and found.tolist() == [expected] * 5
        assert x.tolist() == [1.0 + comm.rank] * 5
    loss, _ = comm.all_reduce([torch.tensor(1.0), torch.ones(1000)])
    assert loss.untyped_storage().nbytes() == 4
    half = direct.all_reduce(x.to(torch.bfloat16))
    assert half.dtype is torch.bfloat16 and half[0] == comm.size * (comm.size + 1) / 2
    assert comm.all_reduce(x.to(torch.bfloat16)).tolist() == half.tolist()


@check
def sums_go_through_nccl_where_all_ranks_have_it(comm: Any) -> None:
    from mpi4py import MPI
    from nccl_on_host import nccl

    def alike(ours: Any, op: str, tree: Any) -> None:
        found = pg.to_device(ours.all_reduce(pg.to_device(tree, "strict:device1"), op=op), "cpu")
        for a, b in zip(flat(found), flat(comm.all_reduce(tree, op=op)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6)

    rng = np.random.default_rng(comm.rank)
    tree = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5).astype(np.float32), "c": rng.normal(size=2)}
    tree |= {"z": rng.normal(size=2) + 1j * rng.normal(size=2)}
    with nccl(comm.rank, card=str(comm.rank)) as calls:
        ours = pg.distributed.Communicator(MPI.COMM_WORLD)
        alike(ours, "sum", {**tree, "n": np.arange(3)})
        assert calls == [("float64", 14), ("float32", 5), ("int64", 3), ("float64", 4)]
        alike(ours, "mean", tree)
        assert calls[4:] == [("float64", 14), ("float32", 5), ("float64", 4)]
        alike(ours, "max", tree["a"])  # what NCCL makes of NaN is not laid down
        alike(ours, "sum", np.arange(3, dtype=np.int16))  # no type of NCCL's
        assert len(calls) == 7
        assert ours.routes.found == {"strict:device1": "NCCL"}
        through_host = pg.distributed.Communicator(MPI.COMM_WORLD, through="host")
        alike(through_host, "sum", tree)
        assert len(calls) == 7
        given = pg.to_device(np.ones(3), "strict:device1")
        ours.all_reduce(given)
        assert pg.to_device(given, "cpu").tolist() == [1, 1, 1]
        value, gradient = ours.value_and_grad(lambda x: (1 + comm.rank) * pg.sum(x * x), op="sum")(given)
        total = comm.size * (comm.size + 1) / 2
        assert float(value) == 3 * total and pg.to_device(gradient, "cpu").tolist() == [2 * total] * 3
        assert calls[8:] == [("float64", 4)]
    reasons = {
        f"rank {comm.size - 1}: CuPy 14.0 finds no NCCL: pip install": {
            "available": comm.rank < comm.size - 1
        },
        "share the card same:1": {"card": "same"},
    }
    for said, lacks in reasons.items():
        with nccl(comm.rank, **{"card": str(comm.rank), **lacks}) as calls:
            ours = pg.distributed.Communicator(MPI.COMM_WORLD)
            alike(ours, "sum", tree)
            assert not calls and said in ours.routes.found["strict:device1"]
            strict = pg.distributed.Communicator(MPI.COMM_WORLD, through="device")
            with raises(pg.DistributedError, "through='device' is impossible", said):
                strict.all_reduce(pg.to_device(tree, "strict:device1"))
    with (
        nccl(comm.rank, card=str(comm.rank)),
        raises(pg.DistributedError, "by the collectives of", "the host"),
    ):
        ours = pg.distributed.Communicator(MPI.COMM_WORLD)
        ours.all_reduce(pg.to_device(np.ones(2), "cpu" if comm.rank else "strict:device1"))


# What ends a job.


@check
def one_rank_fails(comm: Any) -> None:
    with comm.guarded():
        if comm.rank == comm.size - 1:
            raise pg.DataError("x.csv, line 7: no number")
        wait_forever(comm)


@check
def one_rank_fails_by_a_bug(comm: Any) -> None:
    with comm.guarded():
        if comm.rank == comm.size - 1:
            {}["missing"]
        wait_forever(comm)


@check
def one_rank_fails_unguarded(comm: Any) -> None:
    if comm.rank == comm.size - 1:
        raise pg.DataError("x.csv, line 7: no number")
    wait_forever(comm)


@check
def one_rank_leaves(comm: Any) -> None:
    with comm.guarded():
        if comm.rank == comm.size - 1:
            raise SystemExit(3)
        wait_forever(comm)


@check
def one_rank_is_killed(comm: Any) -> None:
    with comm.guarded():
        if comm.rank == comm.size - 1:
            comm.start_all_reduce(np.ones(10))
            os.kill(os.getpid(), signal.SIGKILL)
        wait_forever(comm)


@check
def one_rank_is_interrupted(comm: Any) -> None:
    with comm.guarded():
        if comm.rank == comm.size - 1:
            raise KeyboardInterrupt
        wait_forever(comm)


@check
def all_ranks_leave(comm: Any) -> None:
    with comm.guarded():
        stopped = comm.all_reduce(comm.rank == 0, op="max")  # rank 0 alone has had the signal
        assert stopped
        raise SystemExit(143)


def wait_forever(comm: Any) -> None:
    while True:
        comm.all_reduce(np.ones(10))


def main() -> None:
    comm = pg.distributed.world()
    for name in sys.argv[1:]:
        try:
            CHECKS[name](comm)
        except AssertionError as error:
            error.add_note(f"in {name}, rank {comm.rank} of {comm.size}")
            with comm.guarded():
                raise
        comm.barrier()
        if comm.rank == 0:
            print("passed", name, flush=True)


if __name__ == "__main__":
    main()
