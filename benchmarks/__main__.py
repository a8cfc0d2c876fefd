"""Run the benchmarks: ``python -m benchmarks [CASE ...]``, all of them by default."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HOME = Path(__file__).parent
CASES = ("mlp", "chain", "black_scholes", "hvp", "cholesky", "memory", "compile_time")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=15, help="at most; large cases get fewer (15)")
    parser.add_argument("--threads", type=int, default=2, help="of every library (2)")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that all works")
    parser.add_argument("--minutes", type=float, default=60, help="start no case after so many (60)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="cases whose group or title has this in it"
    )
    parser.add_argument("--output", type=Path, default=HOME / "results", metavar="DIR")
    parser.add_argument("--name", default="", help="of the files: cpu, or the card's name")
    given = parser.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")

    from benchmarks import libraries

    libraries.configure(given.threads, given.device)  # before any library is imported
    from benchmarks.run import run_all

    start = time.perf_counter()
    return run_all(
        [name for name in CASES if name in (given.cases or CASES)],
        device=given.device,
        threads=given.threads,
        rounds=3 if given.quick else given.rounds,
        quick=given.quick,
        only=given.only,
        until=start + 60 * given.minutes,
        folder=given.output,
        name=given.name,
    )


if __name__ == "__main__":
    sys.exit(main())
