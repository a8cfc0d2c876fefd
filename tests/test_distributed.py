"""Ranks that mpiexec starts: what they reduce, that none waits for one that is gone, and how a job ends.

The checks themselves are in rank_*.py, many for each start of processes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from mpi_job import ranks_of
from required import lacking

import portagrad as pg
from portagrad.backend import get_backend
from portagrad.distributed import launch
from portagrad.testing.plugin import REQUIRE
from portagrad.testing.trials import DEVICES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import overlap

PAGE = overlap.PAGE.read_text("utf-8")
SCRIPT = Path(__file__).with_name("ranks.py")
SECONDS = 90
"""A job that takes longer hangs."""

TOGETHER = (
    "the_sum_is_that_of_the_ranks_trees",
    "the_mean_is_the_sum_over_the_number",
    "every_rank_has_the_same_bits_in_every_run",
    "a_bucket_is_a_message_of_bounded_size",
    "extremes_pass_on_nan_and_order_zeros",
    "a_result_is_never_overwritten_and_its_memory_used_again",
    "several_reductions_are_under_way_at_once",
    "ranks_that_do_not_do_the_same_are_told",
    "a_failure_of_one_rank_is_told_to_the_others",
    "drawn_trees_become_what_numpy_makes_of_them",
    "a_traced_value_is_refused",
    "a_tree_and_objects_go_round",
    "the_gradient_over_shards_is_that_of_the_batch",
    "a_gradient_is_reduced_while_it_is_made",
    "buckets_leave_before_the_way_back_ends",
    "a_step_that_fails_on_one_rank_is_told_to_the_others",
)
OF_MPI = ("a_communicator_of_ones_own_is_apart", "a_failure_of_mpi_names_rank_and_operation")


def job(size: int, *checks: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ranks that go through these checks; skipped where there is no MPI."""
    return run(size, str(SCRIPT), *checks, **environment)


def run(size: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**ranks_of(size, *arguments, **environment), timeout=SECONDS, check=False)


def passed(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("passed ") for line in done.stdout.splitlines() if line.startswith("passed ")]


@pytest.mark.parametrize("check", TOGETHER)
def test_one_process_alone_is_a_rank_too(check: str) -> None:
    """The same checks, in this process, without MPI."""
    ranks.CHECKS[check](pg.distributed.Communicator())


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_compute_together(size: int) -> None:
    done = job(size, *TOGETHER, *OF_MPI)
    assert passed(done) == [*TOGETHER, *OF_MPI]
    if size == 2:
        bits = [line for line in done.stdout.splitlines() if line.startswith("bits")]
        again = job(size, "every_rank_has_the_same_bits_in_every_run")
        assert bits and again.stdout.splitlines()[:1] == bits


def test_arrays_stay_in_their_library() -> None:
    devices = [name for name in DEVICES if installed(name)]
    absent = {name.partition(":")[0] for name in DEVICES} - {name.partition(":")[0] for name in devices}
    assert not absent & {*os.environ.get(REQUIRE, "").split(",")}
    checks = ["arrays_of_every_library_are_reduced_where_they_live"]
    checks += ["torch_tensors_go_straight_through_mpi_if_asked"] if "torch" in devices else []
    done = job(2, *checks, RANKS_DEVICES=",".join(devices))
    assert passed(done) == checks
    assert re.findall(r"^device (.*)$", done.stdout, re.MULTILINE) == devices


def test_sums_go_through_nccl_where_all_ranks_have_it() -> None:
    if not installed("strict"):
        lacking("strict", "array-api-strict is not installed: pip install array-api-strict")
    check = "sums_go_through_nccl_where_all_ranks_have_it"
    assert passed(job(2, check)) == [check]


def test_nccl_sums_in_cuda_memory() -> None:
    """On one card, with a communicator of one process: the library is found, and takes what it is given."""
    try:
        backend = get_backend("cupy")
        own = backend.collectives(device := backend.devices()[0])  # type: ignore[misc]
    except pg.BackendUnavailableError as error:
        lacking("nccl", str(error))
    own.join(0, 1, own.invitation())
    for dtype in ("int32", "int64", "float32", "float64", "complex64", "complex128"):
        x = backend.from_numpy(np.arange(5).astype(dtype), device)
        own.all_reduce(x)
        np.testing.assert_array_equal(backend.to_numpy(x), np.arange(5))


def installed(device: str) -> bool:
    library = device.partition(":")[0]
    return importlib.util.find_spec({"strict": "array_api_strict"}.get(library, library)) is not None


def test_the_example_on_the_page_trains_alike_on_any_number_of_ranks() -> None:
    example = re.search(r"^```python\n(import numpy.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert example
    source = example[1].replace("round(total, 3)", "repr(total)")
    source = source.replace("    @pg.compile\n", "")  # which takes longer than the training
    curves = []
    for size in (1, 2, 4):
        done = run(size, "-c", source)
        assert done.returncode == 0, done.stderr
        curves.append([float(line.split()[1]) for line in done.stdout.splitlines()])
    assert len(curves[0]) == 3 and curves[0][-1] < 0.9 * curves[0][0]
    np.testing.assert_allclose(curves[1:], [curves[0]] * 2, rtol=1e-5)


def test_the_table_on_the_page_is_that_of_the_measurements() -> None:
    results = json.loads(overlap.KEPT.read_text("utf-8"))
    assert overlap.with_table(PAGE, results) == PAGE, "run `python -m benchmarks.overlap --redraw`"


@pytest.mark.parametrize(
    ("check", "size", "status", "said"),
    [
        ("one_rank_fails", 2, 1, "rank 1 of 2: DataError: x.csv, line 7: no number; all ranks end\n"),
        ("one_rank_fails_by_a_bug", 2, 1, "rank 1 of 2: KeyError: 'missing'; all ranks end\n"),
        ("one_rank_fails_unguarded", 3, 1, "all_reduce: rank 2 had come to the end of the program"),
        ("one_rank_leaves", 2, 1, "all_reduce: rank 1 had come to the end of the program; all ranks end\n"),
        ("one_rank_is_killed", 3, 9, ""),
        ("one_rank_is_interrupted", 2, 130, "rank 1 of 2: interrupted; all ranks end\n"),
        ("all_ranks_leave", 2, 143, ""),
    ],
)
def test_a_job_ends_when_one_of_its_ranks_does(check: str, size: int, status: int, said: str) -> None:
    begun = time.monotonic()
    done = job(size, check)
    assert time.monotonic() - begun < SECONDS / 3
    assert done.returncode == status or (check == "one_rank_is_killed" and done.returncode == 137), (
        done.stderr
    )
    assert said in done.stderr and "passed" not in done.stdout
    assert ("abort" in done.stderr.lower()) == said.endswith("all ranks end\n")
    assert ("Traceback" in done.stderr) == ("bug" in check or "unguarded" in check)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not asked for its world, and that no launcher has started."""
    for name in [*launch.SIZES, "PMIX_RANK"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    launch._world.cache_clear()
    yield monkeypatch
    launch._world.cache_clear()


def test_without_a_launcher_nobody_needs_mpi(anew: pytest.MonkeyPatch) -> None:
    anew.setitem(sys.modules, "mpi4py", None)
    for size in ({}, {"PMI_SIZE": "1"}, {"SLURM_NTASKS": "8"}, {"PMIX_RANK": "0"}):
        launch._world.cache_clear()
        for name, value in size.items():
            anew.setenv(name, value)
        comm = pg.distributed.world()
        assert (comm.rank, comm.size, comm.local_rank) == (0, 1, 0) and pg.distributed.world() is comm
        assert comm.all_reduce(2.5, op="mean") == 2.5
        with pytest.raises(KeyError), comm.guarded():
            raise KeyError
        for name in size:
            anew.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "who"),
    [
        ("PMI_SIZE", "4", "mpiexec of MPICH"),
        ("OMPI_COMM_WORLD_SIZE", "2", "mpiexec of Open MPI"),
        ("SLURM_STEP_NUM_TASKS", "16", "srun"),
        ("PMIX_RANK", "1", "PMIx"),
    ],
)
def test_a_launcher_without_mpi4py_is_an_error(
    anew: pytest.MonkeyPatch, name: str, value: str, who: str
) -> None:
    anew.setenv(name, value)
    anew.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(pg.DistributedError, match=r"pip install 'portagrad\[mpi\]'") as caught:
        pg.distributed.world()
    assert who in str(caught.value)
    broken: Any = types.ModuleType("mpi4py")
    broken.__getattr__ = lambda name: (_ for _ in ()).throw(RuntimeError("cannot load MPI library"))
    anew.setitem(sys.modules, "mpi4py", broken)
    with pytest.raises(pg.DistributedError, match="cannot load MPI library"):
        pg.distributed.world()


def test_a_launcher_of_another_mpi_is_an_error(anew: pytest.MonkeyPatch) -> None:
    """Each process finds itself alone, and would train on its own."""
    module: Any = types.ModuleType("mpi4py")
    module.MPI = types.SimpleNamespace(
        COMM_WORLD=types.SimpleNamespace(Get_size=lambda: 1),
        Get_library_version=lambda: "Open MPI v5.0.6, package: Debian\n\0",
    )
    anew.setitem(sys.modules, "mpi4py", module)
    anew.setenv("PMI_SIZE", "4")
    told = r"4 processes, but each is alone: .*Open MPI v5\.0\.6; start.* start them without PMI_SIZE in"
    with pytest.raises(pg.DistributedError, match=told):
        pg.distributed.world()


def test_arguments_are_checked_on_one_rank_too() -> None:
    comm = pg.distributed.Communicator()
    calls = [
        lambda: comm.all_reduce(1.0, op="product"),  # type: ignore[arg-type]
        lambda: comm.all_reduce(1.0, bucket_bytes=0),
        lambda: comm.broadcast(1.0, root=1),
        lambda: comm.broadcast_object(1, root=-1),
        lambda: pg.distributed.Communicator(through="air"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()
    for value in (np.ones(2), {1, 2}, object()):
        with pytest.raises(TypeError, match="JSON"):
            comm.all_gather_object(value)
