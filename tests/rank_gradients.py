"""Gradients over shards of a batch, also while they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
from rank_checks import check, digest, leaves_of, raises, same_kinds

import portagrad as pg
from portagrad.data import slices
from portagrad.distributed.reduction import Handle
from portagrad.transforms.tree import tree_map


@check
def the_gradient_over_shards_is_that_of_the_batch(comm: Any) -> None:
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
