"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from portagrad.train.metrics import SHARES


class Progress:
    """Told of everything that happens in a run; this one shows nothing.

    Examples
    --------
    >>> with Progress() as progress:
    ...     progress.start(epochs=2, steps=10)
    ...     progress.advance(10)
    ...     progress.epoch({"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9})
    """

    def start(self, epochs: int, steps: int) -> None:
        """Training begins: so many epochs of so many steps."""

    def advance(self, steps: int) -> None:
        """So many more steps are done."""

    def seen(self, examples: int, loss: float) -> None:
        """So many more examples were trained on, the last batch of them with this loss."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is done; `record` is its line of ``metrics.jsonl``."""

    def note(self, text: str) -> None:
        """A line about the run as a whole."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The run ends, well or not."""


class PlainProgress(Progress):
    """One line per epoch.

    Parameters
    ----------
    file : file, optional
        Where to, standard output by default.

    Examples
    --------
    >>> progress = PlainProgress(sys.stdout)
    >>> progress.start(epochs=20, steps=10)
    >>> progress.epoch({"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9})
    epoch  1/20  loss 0.5000  accuracy 90.00%
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout
        self._epochs = 0

    def start(self, epochs: int, steps: int) -> None:
        self._epochs = epochs

    def epoch(self, record: Mapping[str, Any]) -> None:
        width = len(str(self._epochs))
        line = f"epoch {record['epoch']:{width}}/{self._epochs}  {_described(record, '  ')}"
        print(line, file=self._file, flush=True)

    def note(self, text: str) -> None:
        print(text, file=self._file, flush=True)


class BarProgress(Progress):
    """A bar over the whole run: the rate, the loss as it goes, the last epoch's scores and the time left.

    Its thread draws ten times a second at most, whatever the number of steps.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where it is drawn; the standard output by default.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._steps, self._examples = 1, 0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=console,
        )

    def start(self, epochs: int, steps: int) -> None:
        self._steps = steps
        fields: dict[str, Any] = {"epoch": 1, "epochs": epochs, "rate": "", "loss": "", "scores": ""}
        self._task = self._bar.add_task("", total=epochs * steps, **fields)

    def advance(self, steps: int) -> None:
        task = self._bar.tasks[self._task]
        epoch = int(task.completed + steps) // max(self._steps, 1) + 1
        self._bar.update(self._task, advance=steps, epoch=min(epoch, task.fields["epochs"]))

    def seen(self, examples: int, loss: float) -> None:
        self._examples += examples
        seconds = self._bar.tasks[self._task].elapsed
        rate = f"{_thousands(self._examples / seconds)} examples/s" if seconds else ""
        self._bar.update(self._task, rate=rate, loss=f"loss {loss:.4f}")

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._bar.update(self._task, completed=record["epoch"] * self._steps, scores=_described(record, "  "))

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()


def best_progress() -> Progress:
    """The bar where the standard output is a terminal, else the lines."""
    return BarProgress() if sys.stdout.isatty() else PlainProgress()


def _thousands(x: float) -> str:
    return f"{x:.0f}" if x < 1e4 else f"{x / 1e3:.0f}k" if x < 1e6 else f"{x / 1e6:.1f}M"


def _described(record: Mapping[str, Any], gap: str) -> str:
    parts = []
    for split, label in (("train_", ""), ("validation_", "validation ")):
        found = {key.removeprefix(split): x for key, x in record.items() if key.startswith(split)}
        texts = [f"{name} {_said(name, x)}" for name, x in found.items()]
        parts += [f"{label}{texts[0]}", *texts[1:]] if texts else []
    return gap.join(parts)


def _said(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2%}" if name in SHARES else f"{value:.4f}"
