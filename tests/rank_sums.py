"""What ranks reduce, gather and pass round is what NumPy makes of their trees."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rank_checks import check, digest, leaves_of, raises, same_kinds, tree_of

import portagrad as pg
from portagrad.distributed.layout import SMALL


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
