"""Measure data-parallel training beside its model: ``python -m benchmarks.scaling`` (mpi4py and mpiexec).

Runs itself under ``mpiexec`` on 1, 2 and 4 ranks of this machine, and writes ``results/scaling/ranks.json``,
the figure beside it and the table in ``docs/scaling.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
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
from portagrad.distributed import Communicator, step_time

HOME = Path(__file__).parent
PAGE = HOME.parent / "docs" / "scaling.md"
RANKS = (1, 2, 4)
SIZES = (784, 512, 256, 10)
BATCH = 1024
"""Of all ranks together where it is fixed; half of it on each rank where it grows with them."""
SHARES = (128, 256, 512, 1024)
MESSAGES = tuple(4**k for k in range(2, 12))
"""Bytes, to 4 MB."""
OURS, THEIRS = "#08519c", "#d94801"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="steps that are timed (60)")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS, help="numbers of processes (1 2 4)")
    parser.add_argument("--output", type=Path, default=HOME / "results" / "scaling", metavar="DIR")
    parser.add_argument("--page", type=Path, default=PAGE, help="whose table is replaced")
    parser.add_argument("--redraw", action="store_true", help="table and figure from the kept measurements")
    parser.add_argument("--rank-of", type=Path, help=argparse.SUPPRESS)  # under mpiexec: where to write
    given = parser.parse_args()
    if given.rank_of is not None:
        measure(given.rounds, given.rank_of)
        return 0
    kept = given.output / "ranks.json"
    if not given.redraw:
        runs = {str(n): launch(n, given.rounds) for n in sorted({1, 2, *given.ranks})}
        given.output.mkdir(parents=True, exist_ok=True)
        results = {"machine": describe(1, "cpu"), "rounds": given.rounds, "runs": runs}
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads(kept.read_text(encoding="utf-8"))
    draw(results, given.output / "ranks.png")
    given.page.write_text(with_table(given.page.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(table(results))
    return 0


def mpiexec() -> str | None:
    """The one beside this interpreter, where the wheel of MPICH puts it, or the system's."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def launch(ranks: int, rounds: int) -> dict[str, Any]:
    """What `measure` finds on so many processes."""
    program = mpiexec()
    if program is None:
        raise SystemExit("benchmarks.scaling: there is no mpiexec; pip install mpich mpi4py")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        command = [program, "-n", str(ranks), sys.executable, "-m", "benchmarks.scaling"]
        command += ["--rounds", str(rounds), "--rank-of", str(found)]
        path = os.pathsep.join([str(HOME.parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **one_thread, "PYTHONPATH": path}
        subprocess.run(command, check=True, timeout=300, env=environment, stdin=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return result


def measure(rounds: int, found: Path) -> None:
    """One rank of a run: the link, the work of one rank alone, and steps."""
    world = pg.distributed.world()
    result: dict[str, Any] = {"link": link(world, rounds)}
    if world.size == 1:
        result["work"] = {str(n): median(world, rounds, step(world, n)) for n in SHARES}
    fixed, grown = BATCH // world.size, BATCH // 2
    for what, share in (("fixed batch", fixed), ("fixed share", grown)):
        result[what] = median(world, rounds, step(world, share))
        result[f"{what}, no reduction"] = median(world, rounds, step(world, share, reduces=False))
    result["nbytes"] = sum(x.nbytes for x in parameters())
    if world.rank == 0:
        found.write_text(json.dumps(result), encoding="utf-8")


def median(world: Communicator, rounds: int, run: Callable[[], None]) -> float:
    """The median over rounds of the slowest rank's seconds, each begun together."""
    times = []
    for i in range(rounds + 3):
        world.barrier()
        start = time.perf_counter()
        run()
        seconds = world.all_reduce(time.perf_counter() - start, op="max")
        times += [seconds] if i >= 3 else []  # the first compile and fill caches
    return statistics.median(times)


def parameters() -> list[Any]:
    rng = np.random.default_rng(0)
    pairs = itertools.pairwise(SIZES)
    made = [(rng.normal(size=(m, n)) / m**0.5, np.zeros(n)) for m, n in pairs]
    return [x.astype(np.float32) for pair in made for x in pair]


def step(world: Communicator, share: int, reduces: bool = True) -> Callable[[], None]:
    """A step of stochastic gradient descent on this rank's share."""

    def loss(p: list[Any], x: Any, labels: Any) -> Any:
        for i in range(0, len(p), 2):
            x = x @ p[i] + p[i + 1]
            x = pg.nn.relu(x) if i + 2 < len(p) else x
        return pg.nn.cross_entropy(x, labels)

    gradient = pg.compile(pg.grad(loss))
    rng = np.random.default_rng(world.rank)
    x = rng.standard_normal((share, SIZES[0])).astype(np.float32)
    labels = rng.integers(0, SIZES[-1], share)
    state = parameters()

    def run() -> None:
        found = gradient(state, x, labels)
        if reduces:
            found = world.all_reduce(found, op="mean")
        for p, g in zip(state, found, strict=True):
            p -= np.float32(0.01) * g

    return run


def link(world: Communicator, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds by bytes of MPI's own messages: half a round trip between ranks 0 and 1, and an all-reduce."""
    if world.size == 1:
        return {}
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    found: dict[str, dict[str, float]] = {"ping-pong": {}, "all-reduce": {}}
    for nbytes in MESSAGES:
        buffer = np.zeros(nbytes // 4, np.float32)

        def there_and_back(buffer: Any = buffer) -> None:
            if comm.rank == 0:
                comm.Send(buffer, 1)
                comm.Recv(buffer, 1)
            elif comm.rank == 1:
                comm.Recv(buffer, 0)
                comm.Send(buffer, 0)

        def reduced(buffer: Any = buffer) -> None:
            comm.Allreduce(MPI.IN_PLACE, buffer)

        found["ping-pong"][str(nbytes)] = median(world, rounds, there_and_back) / 2
        found["all-reduce"][str(nbytes)] = median(world, rounds, reduced)
    return found


def line(points: dict[str, float]) -> tuple[float, float]:
    """The line ``a + b n`` through seconds by n, of least squares of relative errors."""
    n = np.array([float(size) for size in points])
    seconds = np.array(list(points.values()))
    matrix = np.stack([np.ones_like(n), n], axis=1) / seconds[:, None]
    a, b = np.linalg.lstsq(matrix, np.ones_like(n), rcond=None)[0]
    return max(float(a), 0.0), float(b)


def fitted(results: dict[str, Any]) -> dict[str, float]:
    """What the model takes: work from one rank, the link from the all-reduce of two."""
    fixed, per_example = line(results["runs"]["1"]["work"])
    latency, per_byte = line(results["runs"]["2"]["link"]["all-reduce"])  # 2 messages of half the bytes
    return {
        "fixed": fixed,
        "per_example": per_example,
        "nbytes": results["runs"]["1"]["nbytes"],
        "latency": latency / 2,
        "bandwidth": 1 / per_byte,
    }


def predicted(results: dict[str, Any], ranks: int, growing: bool) -> float:
    """Seconds of a step by the model."""
    batch = BATCH // 2 * ranks if growing else BATCH
    return step_time(ranks, batch=batch, cores=results["machine"]["cores"], **fitted(results)).total


def efficiency(results: dict[str, Any], ranks: int, growing: bool) -> tuple[float, float]:
    """Measured and by the model: the examples per second of a rank, over those of one alone."""
    what = "fixed share" if growing else "fixed batch"
    runs, share = results["runs"], 1 if growing else ranks
    measured = runs["1"][what] / runs[str(ranks)][what] / share
    return measured, predicted(results, 1, growing) / predicted(results, ranks, growing) / share


def table(results: dict[str, Any]) -> str:
    """The measurements beside the model, in Markdown."""
    model, machine = fitted(results), results["machine"]
    latency, per_byte = line(results["runs"]["2"]["link"]["ping-pong"])
    lines = [
        f"Measured on {machine['processor']}, {machine['cores']} cores, one thread for each rank, at commit "
        f"{machine['commit']}: the MLP {'-'.join(map(str, SIZES))} in float32, "
        f"{model['nbytes'] / 1e6:.2f} MB of gradient, compiled, NumPy; medians of {results['rounds']} steps. "
        f"The work of one rank fits {1e3 * model['fixed']:.2f} ms + {1e6 * model['per_example']:.2f} µs per "
        f"example; the all-reduce of two ranks, through shared memory, fits a latency of "
        f"{1e6 * model['latency']:.1f} µs and a bandwidth of {model['bandwidth'] / 1e9:.2f} GB/s; a message, "
        f"by ping-pong, {1e6 * latency:.1f} µs and {1 / per_byte / 1e9:.2f} GB/s.",
        "",
        "| ranks | batch | step, ms | without the reduction | model, ms | efficiency | model |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for growing in (False, True):
        for ranks in map(int, results["runs"]):
            what, run = "fixed share" if growing else "fixed batch", results["runs"][str(ranks)]
            measured, expected = efficiency(results, ranks, growing)
            over = " (oversubscribed)" if ranks > machine["cores"] else ""
            batch = BATCH // 2 * ranks if growing else BATCH
            lines.append(
                f"| {ranks}{over} | {batch} | {1e3 * run[what]:.2f} | "
                f"{1e3 * run[f'{what}, no reduction']:.2f} | "
                f"{1e3 * predicted(results, ranks, growing):.2f} | {measured:.2f} | {expected:.2f} |"
            )
    return "\n".join(lines)


def with_table(page: str, results: dict[str, Any]) -> str:
    """The page with the table between its marks."""
    block = f"<!-- measured -->\n{table(results)}\n<!-- /measured -->"
    return re.sub(r"<!-- measured -->.*<!-- /measured -->", lambda _: block, page, flags=re.DOTALL)


def draw(results: dict[str, Any], path: Path) -> None:
    """Efficiency by ranks, and the all-reduce by bytes, measured and by the model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    ranks = [int(n) for n in results["runs"]]
    for growing, style in ((False, "-"), (True, "--")):
        pairs = [efficiency(results, n, growing) for n in ranks]
        name = f"{BATCH // 2} examples on each" if growing else f"{BATCH} examples together"
        left.plot(ranks, [p[0] for p in pairs], f"o{style}", color=OURS, label=f"measured, {name}")
        left.plot(ranks, [p[1] for p in pairs], f"s{style}", color=THEIRS, mfc="none", label=f"model, {name}")
    left.set(xlabel="ranks", ylabel="efficiency", ylim=(0, 1.1), xticks=ranks)
    left.legend(fontsize=7)
    cores = results["machine"]["cores"]
    left.set_title(f"{cores} cores: more ranks take turns", fontsize=9)
    model = fitted(results)
    for n, marker in zip(ranks[1:], "o^sv", strict=False):
        points = results["runs"][str(n)]["link"]["all-reduce"]
        right.loglog(
            [int(b) for b in points],
            [1e6 * s for s in points.values()],
            marker,
            color=OURS,
            mfc="none",
            label=f"measured, {n} ranks",
        )
    sizes = np.array(MESSAGES, float)
    right.loglog(
        sizes,
        1e6 * (2 * model["latency"] + sizes / model["bandwidth"]),
        color=THEIRS,
        label="model, 2 ranks",
    )
    right.set(xlabel="bytes", ylabel="µs", title="all-reduce")
    right.legend(fontsize=7)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
