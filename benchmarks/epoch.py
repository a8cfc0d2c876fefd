"""What a run costs beside its steps: ``python -m benchmarks.epoch``.

A run of the 784-512-256-10 network is trained as `portagrad train` does it, with its bar, its metrics, its
look at every loss and its random order. After each epoch the bare loop takes as many compiled steps on
batches that are there already, in the same process; the ratio of the two is taken epoch by epoch. The
learning rate is so low that neither learns: gradients of a network that knows its examples by heart are
subnormal numbers, with which arithmetic is several times slower.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks.timing import quartiles
from portagrad.train import BarProgress, Config, DataConfig, LoopConfig, ModelConfig, OptimizerConfig, start
from portagrad.train.model import make_model, make_optimizer, make_schedule, make_step
from portagrad.train.task import Classification

AT_MOST = 1.05
"""The bar."""
BATCH, STEPS = 128, 469
"""Of an epoch of MNIST, 60,000 examples."""


class Interleaved(BarProgress):
    """Measures each epoch of the run, then as many steps of the bare loop."""

    def __init__(self, config: Config, steps: int) -> None:
        from rich.console import Console

        super().__init__(Console(file=io.StringIO(), force_terminal=True))
        rng = np.random.default_rng(0)
        where = pg.device("numpy")
        model = make_model(config, 784, 10, pg.random.key(0), where)
        optimizer = make_optimizer(config, make_schedule(config, steps))
        self._step = make_step(config, optimizer, Classification(tuple("0123456789")), compiled=True)
        self._carried = (model, (optimizer.init(model), pg.random.key(1)))
        self._batches = [
            (rng.random((BATCH, 784), np.float32), rng.integers(0, 10, BATCH, dtype=np.int32))
            for _ in range(steps)
        ]
        self._began = 0.0
        self.ratios: list[float] = []

    def start(self, epochs: int, steps: int) -> None:
        super().start(epochs, steps)
        self._bare()  # compiles
        self._began = time.perf_counter()

    def epoch(self, record: Mapping[str, Any]) -> None:
        super().epoch(record)
        trained = time.perf_counter() - self._began
        bare = self._bare()
        self.ratios.append(trained / bare)
        self._began = time.perf_counter()

    def _bare(self) -> float:
        began = time.perf_counter()
        for inputs, labels in self._batches:
            *carried, _loss, _weight, _hits = self._step(*self._carried, inputs, labels)
            self._carried = tuple(carried)
        return time.perf_counter() - began


def measure(epochs: int, stream: bool, steps: int) -> list[float]:
    """The ratio of each epoch but the first, which compiles."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        rows = round(BATCH * steps / 0.98)  # the rest is for the test
        np.save(f"{folder}/x.npy", rng.random((rows, 784), np.float32))
        np.save(f"{folder}/y.npy", rng.integers(0, 10, rows))
        config = Config(
            data=DataConfig(
                path=Path(f"{folder}/x.npy"),
                labels=f"{folder}/y.npy",
                stream=stream,
                test_fraction=0.02,
                validation_fraction=0.0,
            ),
            model=ModelConfig(hidden=(512, 256)),
            optimizer=OptimizerConfig(lr=1e-7),
            train=LoopConfig(epochs=epochs + 1, batch_size=BATCH),
            device="numpy",
            output=Path(folder) / "run",
        )
        progress = Interleaved(config, steps)
        start(config, progress=progress)
    return progress.ratios[1:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of an epoch ({STEPS}, MNIST's)")
    given = parser.parse_args()
    missed = False
    for stream in (False, True):
        low, median, high = quartiles(measure(given.epochs, stream, given.steps))
        where = "streamed from its file" if stream else "in memory"
        print(
            f"data {where}: an epoch of `portagrad train` over the bare compiled loop, median of "
            f"{given.epochs}: {median:.3f} (quartiles {low:.3f} to {high:.3f}); bar {AT_MOST}"
        )
        missed |= median > AT_MOST and not stream
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
