"""Run the benchmarks: ``python -m benchmarks [chain] [mlp] [cuda] [--rounds N] [--threads N]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", nargs="*", default=["chain", "mlp"], help="chain, mlp (both by default), cuda"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="of every library's matrix products")
    parser.add_argument("--json", help="write the figures here as well")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(options.threads))
    results: dict[str, Any] = {"numpy": np.__version__, "machine": platform.machine(), "ratios": []}
    if "chain" in options.what:
        results["ratios"] += chains(options.rounds, options.threads)
    if "mlp" in options.what:
        results["ratios"] += mlps(options.rounds, options.threads)
    if "cuda" in options.what:
        results["ratios"] += on_cuda(options.rounds)
    print("| case | portagrad over | median ratio | quartiles | bar |\n|---|---|---|---|---|")
    for row in results["ratios"]:
        low, high = row["quartiles"]
        spread, bar = f"{low:.2f} to {high:.2f}", row["bar"] or ""
        print(f"| {row['case']} | {row['over']} | {row['ratio']:.2f} | {spread} | {bar} |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


def chains(rounds: int, threads: int) -> list[dict[str, Any]]:
    """Overhead per op against torch and HIPS/autograd."""
    import torch

    from benchmarks import chain
    from benchmarks.timing import interleaved

    torch.set_num_threads(threads)
    gradients = {name: np.asarray(run()) for name, run in chain.CONTENDERS.items()}
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, gradients["torch"], rtol=1e-9, err_msg=name)
    seconds = interleaved(chain.CONTENDERS, rounds)
    case = f"{chain.OPS:,} ops on 3 elements, forward and backward"
    return [row(seconds, case, "torch", 1.0), row(seconds, case, "autograd", 1 / 3)]


def mlps(rounds: int, threads: int) -> list[dict[str, Any]]:
    """An SGD step against the step by hand and torch."""
    import torch

    from benchmarks import mlp
    from benchmarks.timing import interleaved

    torch.set_num_threads(threads)
    rows = []
    for case, (sizes, batch) in mlp.CASES.items():
        steps = {name: make(sizes, batch) for name, make in mlp.CONTENDERS.items()}
        losses = {name: [step() for _ in range(20)] for name, step in steps.items()}
        for name, values in losses.items():
            np.testing.assert_allclose(values, losses["by hand"], rtol=2e-3, err_msg=f"{case}: {name}")
        seconds = interleaved(steps, rounds, calls=max(5, 4_000 // sum(sizes)))
        bar = 2.0 if sizes[0] == 64 else 1.15
        rows += [
            row(seconds, f"SGD step, {case}", "by hand", bar),
            row(seconds, f"SGD step, {case}", "torch", None),
        ]
    return rows


def on_cuda(rounds: int) -> list[dict[str, Any]]:
    """A compiled step on the first CUDA device against the step by hand in a CUDA graph."""
    import cupy

    from benchmarks import cuda, mlp
    from benchmarks.timing import interleaved

    card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    rows = []
    for case, (sizes, batch) in mlp.CASES.items():
        steps = {name: make(sizes, batch) for name, make in cuda.CONTENDERS.items()}
        losses = {name: [float(step()) for _ in range(20)] for name, step in steps.items()}
        np.testing.assert_allclose(losses["portagrad"], losses["by hand"], rtol=2e-3, err_msg=case)
        seconds = interleaved({name: cuda.several(step) for name, step in steps.items()}, rounds)
        rows.append(row(seconds, f"compiled SGD step, {case}, {card}", "by hand", None))
    return rows


def row(seconds: dict[str, list[float]], case: str, over: str, bar: float | None) -> dict[str, Any]:
    """One line of the table."""
    from benchmarks.timing import quartiles, ratio

    return {
        "case": case,
        "over": over,
        "ratio": ratio(seconds, "portagrad", over),
        "quartiles": quartiles(seconds, "portagrad", over),
        "bar": bar and round(bar, 3),
    }


if __name__ == "__main__":
    main()
