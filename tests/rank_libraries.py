"""Arrays of each library, communicators of one's own, and sums by MPI's and NCCL's own ways."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from rank_checks import check, digest, flat, raises, same_kinds

import portagrad as pg


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
