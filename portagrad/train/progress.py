"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO


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
    """A bar over the whole run, with the last epoch's loss and accuracy beside it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._steps = 0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )

    def start(self, epochs: int, steps: int) -> None:
        self._steps = steps
        self._task = self._bar.add_task("", total=epochs * steps, epoch=1, epochs=epochs, scores="")

    def advance(self, steps: int) -> None:
        self._bar.update(self._task, advance=steps)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._bar.update(
            self._task,
            completed=record["epoch"] * self._steps,
            epoch=record["epoch"],
            scores=_described(record, "  "),
        )

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


def _described(record: Mapping[str, Any], gap: str) -> str:
    parts = [f"loss {record['train_loss']:.4f}", f"accuracy {record['train_accuracy']:.2%}"]
    if record.get("validation_loss") is not None:
        parts += [
            f"validation loss {record['validation_loss']:.4f}",
            f"accuracy {record['validation_accuracy']:.2%}",
        ]
    return gap.join(parts)
