"""When a reduction during the backward pass pays: ``python -m benchmarks.overlap`` (mpi4py and mpiexec).

Two ranks of this machine, through shared memory, and through TCP on a loopback of their own whose rate is
limited (Linux, root; ``unshare`` and ``tc``). Writes the table in ``docs/distributed.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks.machine import describe
from benchmarks.scaling import mpiexec

HOME = Path(__file__).parent
PAGE = HOME.parent / "docs" / "distributed.md"
KEPT = HOME / "results" / "scaling" / "overlap.json"
SHARE = 128
NETWORKS = {"784-512-256-10": (784, 512, 256, 10), "256-5x512-1024-10": (256, *[512] * 5, 1024, 10)}
LINKS = {"shared memory": "", "TCP, 3 Gbit/s": "3gbit", "TCP, 1 Gbit/s": "1gbit"}
BUCKETS = (2**17, 2**19, 2**20)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overlap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="steps of each kind (40)")
    parser.add_argument("--redraw", action="store_true", help="the table from the kept measurements")
    parser.add_argument("--rank-of", nargs=2, metavar=("SIZES", "FOUND"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank_of:
        measure(tuple(map(int, given.rank_of[0].split("-"))), given.rounds, Path(given.rank_of[1]))
        return 0
    if not given.redraw:
        runs = [
            {"link": link, "network": name, **launch(sizes, rate, given.rounds)}
            for name, sizes in NETWORKS.items()
            for link, rate in LINKS.items()
        ]
        results = {"machine": describe(1, "cpu"), "rounds": given.rounds, "runs": runs}
        KEPT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(KEPT.read_text(encoding="utf-8"))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(table(results))
    return 0


def launch(sizes: tuple[int, ...], rate: str, rounds: int) -> dict[str, Any]:
    """What `measure` finds on two ranks, on a link of this rate."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(
        [str(HOME.parent), str(HOME.parent / "backends"), os.environ.get("PYTHONPATH", "")]
    )
    environment = {**os.environ, **threads, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        command = [str(mpiexec()), "-n", "2", sys.executable, "-m", "benchmarks.overlap"]
        command += ["--rounds", str(rounds), "--rank-of", "-".join(map(str, sizes)), str(found)]
        if rate:
            limit = f"tc qdisc add dev lo root tbf rate {rate} burst 256k latency 100ms"
            command = [
                "unshare",
                "-n",
                "sh",
                "-c",
                f'ip link set lo up && {limit} && exec "$@"',
                "sh",
                *command,
            ]
            # MPICH's, for its messages within a machine to take the network.
            environment |= {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi"}
            environment |= {"FI_PROVIDER": "tcp", "FI_TCP_IFACE": "lo"}
        subprocess.run(command, check=True, timeout=600, env=environment, stdin=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return result


def measure(sizes: tuple[int, ...], rounds: int, found: Path) -> None:
    """One rank: every kind of step in every round, so that all meet the same disturbances."""
    comm = pg.distributed.world()
    rng = np.random.default_rng(comm.rank)
    x = rng.standard_normal((SHARE, sizes[0])).astype(np.float32)
    labels = rng.integers(0, sizes[-1], SHARE)
    params = [
        (rng.normal(size=(m, n)).astype(np.float32) / np.float32(m**0.5), np.zeros(n, np.float32))
        for m, n in itertools.pairwise(sizes)
    ]
    params = comm.broadcast(params)
    eager = pg.value_and_grad(loss)
    compiled = pg.compile(eager)
    steps: dict[str, Callable[[], Any]] = {
        "alone": lambda: eager(params, x, labels),
        "after": lambda: comm.all_reduce(eager(params, x, labels), op="mean"),
        "compiled": lambda: comm.all_reduce(compiled(params, x, labels), op="mean"),
    }
    for nbytes in BUCKETS:
        overlapped = comm.value_and_grad(loss, bucket_bytes=nbytes)
        steps[str(nbytes)] = lambda overlapped=overlapped: overlapped(params, x, labels)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 3):
        for name, step in steps.items():
            comm.barrier()
            start = time.perf_counter()
            step()
            seconds = comm.all_reduce(time.perf_counter() - start, op="max")
            times[name] += [seconds] if i >= 3 else []  # the first compile and fill caches
    if comm.rank == 0:
        ratios = {
            name: [a / b for a, b in zip(times[name], times["after"], strict=True)]
            for name in ("compiled", *map(str, BUCKETS))
        }
        result = {
            "milliseconds": {name: 1e3 * statistics.median(its) for name, its in times.items()},
            "ratios": {name: statistics.quantiles(its, n=4) for name, its in ratios.items()},
        }
        found.write_text(json.dumps(result), encoding="utf-8")


def loss(params: Any, x: Any, labels: Any) -> Any:
    """Cross-entropy of a multilayer perceptron."""
    for w, b in params[:-1]:
        x = pg.nn.relu(x @ w + b)
    w, b = params[-1]
    return pg.nn.cross_entropy(x @ w + b, labels)


def table(results: dict[str, Any]) -> str:
    """The measurements in Markdown."""
    machine = results["machine"]
    heads = ["network", "link", "step, ms", "without the reduction"]
    heads += [*(f"overlapped, {nbytes // 1024} KiB" for nbytes in BUCKETS), "compiled"]
    lines = [
        f"Measured on {machine['processor']}, {machine['cores']} cores, at commit {machine['commit']}: "
        f"float32, {SHARE} examples on each rank, {results['rounds']} steps of each kind in turn; in "
        f"brackets the quartiles.",
        "",
        f"| {' | '.join(heads)} |",
        f"| --- | --- |{' ---: |' * (len(heads) - 2)}",
    ]
    for run in results["runs"]:
        ratios = [
            f"{middle:.2f} ({low:.2f} to {high:.2f})"
            for low, middle, high in (run["ratios"][name] for name in (*map(str, BUCKETS), "compiled"))
        ]
        seconds = run["milliseconds"]
        lines.append(
            f"| {run['network']} | {run['link']} | {seconds['after']:.1f} | {seconds['alone']:.1f} | "
            f"{' | '.join(ratios)} |"
        )
    return "\n".join(lines)


def with_table(page: str, results: dict[str, Any]) -> str:
    """The page with the table between its marks."""
    block = f"<!-- measured -->\n{table(results)}\n<!-- /measured -->"
    return re.sub(r"<!-- measured -->.*<!-- /measured -->", lambda _: block, page, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
