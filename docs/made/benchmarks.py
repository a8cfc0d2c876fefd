"""The pages of benchmarks, from the files of results."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


_BENCHMARKS_HEAD = """\
# Benchmarks

`python -m benchmarks` (after `pip install 'portagrad[bench]'`) runs portagrad beside code written by hand
and other libraries, in one process and one after the other in every round, each with the same number of
threads and configured as its users would have it. Before anything is timed their results are compared. A
number is the median over the rounds of the ratio to the baseline's time; less is better. A round times a
short step in five stretches and takes the best, because what else a machine does only adds. Of a CPU only
ratios are kept: seconds say nothing on another machine. This page is made from `benchmarks/results/` by
`python docs/build.py`.

- *NumPy by hand* is a training step with in-place operations and preallocated products, AdamW's moments
  included.
- *portagrad* has the extras `numba` and `mkl`: its large products are MKL's, as torch's are, where those
  of *NumPy by hand*, *autograd* and *MyGrad* are of the BLAS that NumPy brings. *portagrad compiled,
  NumPy's BLAS* does without.
- *torch* is `torch.nn` with the fused optimizers; under *torch.compile* the network and its loss are
  compiled.
- *jax.jit* is one pure step, parameters and optimizer state donated.
- *autograd* and *MyGrad* use the optimizers of *NumPy by hand*; *tinygrad* its own, under `TinyJit`.
- Each library has the same number of threads, by the variables of its matrix products; XLA starts one
  thread for each core that the process may use, so the process is kept to so many.
- Peak memory is the resident memory of steps after the first two, in a process of their own, less the
  same of a tiny network, so that libraries and compilers cancel and every allocator counts. Compile time
  is what the first step takes more than a later one, in a fresh process without caches.
"""


def benchmarks_page() -> str:
    """What was measured, from the files of results: a CPU's first, then each card's."""
    report = _report()
    parts = [_BENCHMARKS_HEAD]
    for path in sorted(RESULTS.glob("*.json"), key=lambda path: (path.stem != "cpu", path.stem)):
        results = report.load(path)
        title = results.machine.get("card") or "CPU"
        picture = f"![Medians and quartiles of all contenders](../benchmarks/results/{path.stem}.png)"
        parts += [f"## {title}\n\n{report.page(results)}", picture + "\n"]
    return "\n".join(parts)


def with_benchmarks(readme: str) -> str:
    """The README with the tables of training steps between its marks."""
    report = _report()
    results = report.load(RESULTS / "cpu.json")
    shown = [group for group in report.groups(results) if group.endswith("step") and "memory" not in group]
    tables = "\n\n".join(f"{group}:\n\n{report.group_table(results, group)}" for group in shown)
    block = f"<!-- benchmarks -->\n{report.described(results.machine)}\n\n{tables}\n<!-- /benchmarks -->"
    return re.sub(r"<!-- benchmarks -->.*<!-- /benchmarks -->", lambda _: block, readme, flags=re.DOTALL)


def _report() -> Any:
    """benchmarks.report, which is no installed package."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("benchmarks.report")
