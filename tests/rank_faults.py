"""What ranks are told of each other's faults, and what ends a job."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
from rank_checks import check, raises

import portagrad as pg


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


@check
def a_traced_value_is_refused(comm: Any) -> None:
    with raises(TypeError, "belongs to a transform"):
        pg.grad(lambda x: comm.all_reduce(x))(1.0)
    with raises(TypeError, "belongs to a transform"):
        pg.compile(lambda x: comm.all_reduce(x))(np.ones(2))


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
