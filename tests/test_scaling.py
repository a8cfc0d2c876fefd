"""The time model of data-parallel training counts what a ring all-reduce does, and has the known limits."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from required import lacking

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import scaling
from portagrad.distributed import all_reduce_bytes, all_reduce_time, noise_scale, relative_steps, step_time

COST = {"batch": 512, "per_example": 1e-5, "fixed": 1e-3, "nbytes": 4e6, "latency": 1e-5, "bandwidth": 1e9}


def ring_all_reduce(arrays: list[Any]) -> tuple[list[Any], int, int]:
    """What each rank ends with, and the messages and bytes that each sends."""
    n = len(arrays)
    pieces = [np.split(np.array(a), n) for a in arrays]
    messages = sent = 0
    for step in range(2 * (n - 1)):
        moving = [(r, (r - step) % n) for r in range(n)]
        carried = [pieces[r][i].copy() for r, i in moving]
        for (r, i), piece in zip(moving, carried, strict=True):
            there = pieces[(r + 1) % n]
            there[i] = there[i] + piece if step < n - 1 else piece
        messages, sent = messages + 1, sent + carried[0].nbytes
    return [np.concatenate(p) for p in pieces], messages, sent


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6])
def test_the_model_counts_the_messages_and_bytes_of_a_ring(ranks: int) -> None:
    arrays = list(np.random.default_rng(0).normal(size=(ranks, 60)))
    ends, messages, sent = ring_all_reduce(arrays)
    for end in ends:
        np.testing.assert_allclose(end, sum(arrays))
    assert all_reduce_bytes(arrays[0].nbytes, ranks) == pytest.approx(sent)
    seconds = all_reduce_time(arrays[0].nbytes, ranks, latency=3.0, bandwidth=5.0)
    assert seconds == pytest.approx(3.0 * messages + sent / 5.0)


def test_an_ideal_link_leaves_amdahls_law() -> None:
    one = step_time(1, **{**COST, "latency": 0.0, "bandwidth": math.inf}).total
    serial = COST["fixed"] / one
    for ranks in (2, 8, 1000):
        many = step_time(ranks, **{**COST, "latency": 0.0, "bandwidth": math.inf}).total
        assert one / many == pytest.approx(1 / (serial + (1 - serial) / ranks))


def test_a_reduction_hides_behind_the_backward_pass_as_far_as_it_lasts() -> None:
    for ranks in (2, 4, 64):
        plain = step_time(ranks, **COST)
        hidden = step_time(ranks, **COST, buckets=4, overlap=2 / 3)
        examples = plain.compute - COST["fixed"]
        assert plain.hidden == 0 and hidden.compute == plain.compute
        assert 0 < hidden.hidden <= 0.75 * min(hidden.reduction, 2 / 3 * examples)
    assert step_time(4, **COST, overlap=1.0).hidden == 0  # the only bucket is there when all is done


def test_ranks_beyond_the_cores_take_turns() -> None:
    four = step_time(4, **COST, cores=2)
    assert four.compute == pytest.approx(2 * step_time(4, **COST).compute)
    assert step_time(2, **COST, cores=2) == step_time(2, **COST)


def test_the_noise_scale_is_found_from_the_norms_of_two_batches() -> None:
    rng = np.random.default_rng(1)
    mean, deviation = rng.normal(size=20), 3.0
    exact = 20 * deviation**2 / float(mean @ mean)

    def square(batch: int) -> float:
        drawn = mean + deviation / math.sqrt(batch) * rng.normal(size=(20_000, 20))
        return float(np.mean(np.sum(drawn**2, axis=1)))

    assert noise_scale(16, square(16), 64, square(64)) == pytest.approx(exact, rel=0.1)


def test_twice_the_fewest_steps_take_twice_the_fewest_examples() -> None:
    noise = 300.0
    fewest = relative_steps(1e12, noise)  # of steps
    examples = [batch * relative_steps(batch, noise) / noise for batch in (1e-9, noise)]
    assert fewest == pytest.approx(1) and relative_steps(noise, noise) == 2
    assert examples == pytest.approx([1, 2])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: all_reduce_bytes(8, 0), "ranks must be positive"),
        (lambda: all_reduce_time(8, 2, latency=0.0, bandwidth=0.0), "bandwidth must be positive"),
        (lambda: step_time(2, **COST, overlap=1.5), "between 0 and 1"),
        (lambda: noise_scale(8, 1.0, 8, 1.0), "0 < small < big"),
        (lambda: noise_scale(8, 4.0, 16, 1.0), "more steps"),
        (lambda: relative_steps(0, 1.0), "batch must be positive"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("batch", [4_100, 5_000, 20_000, 40_000])
def test_twice_the_ranks_are_faster_as_long_as_the_page_says(batch: int) -> None:
    cost: Any = {**COST, "nbytes": 2e7, "batch": batch, "buckets": 3}
    faster = [step_time(2 * n, **cost).total < step_time(n, **cost).total for n in range(1, 60)]
    rule = [
        cost["per_example"] * batch
        > 2 * cost["nbytes"] / cost["bandwidth"] + 4 * n**2 * cost["latency"] * cost["buckets"]
        for n in range(1, 60)
    ]
    assert faster == rule and not all(rule) and any(rule)


def test_the_table_on_the_page_is_that_of_the_measurements() -> None:
    results = json.loads((scaling.HOME / "results" / "scaling" / "ranks.json").read_text("utf-8"))
    page = scaling.PAGE.read_text("utf-8")
    assert scaling.with_table(page, results) == page, "run `python -m benchmarks.scaling --redraw`"


def test_a_run_under_mpiexec_measures_the_link_and_the_steps(tmp_path: Path) -> None:
    if importlib.util.find_spec("mpi4py") is None:
        lacking("mpi", "mpi4py is not installed: pip install 'portagrad[mpi]' mpich")
    found = scaling.launch(2, rounds=2)
    assert found["nbytes"] == 4 * sum((m + 1) * n for m, n in itertools.pairwise(scaling.SIZES))
    assert all(0 < found[what] < 60 for what in ("fixed batch", "fixed share"))
    assert all(set(found["link"][what]) == set(map(str, scaling.MESSAGES)) for what in found["link"])


def test_a_line_through_times_is_found_again() -> None:
    points = {str(n): 2e-5 + n / 3e9 for n in scaling.MESSAGES}
    assert scaling.line(points) == pytest.approx((2e-5, 1 / 3e9))
