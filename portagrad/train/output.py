"""What a run leaves behind: everything in its folder is written from here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from portagrad.errors import Error
from portagrad.train.report import read_run, write_report
from portagrad.train.reports import write_curves
from portagrad.train.run_folder import Metrics, json_line, write_text
from portagrad.train.saved_model import TrainedModel, save_model
from portagrad.train.state import State
from portagrad.train.task import Tested
from portagrad.train.tensorboard import TensorBoard

CHECKPOINTS = "checkpoints"


class Output:
    """Told of what happens in a run; this one leaves nothing, as on every rank but the first.

    Entered where the training begins, with the run's state then.
    """

    def steps(self, first: int, losses: Sequence[float]) -> None:
        """The losses of some steps in order, the `first` counted from 1."""

    def epoch(self, record: Mapping[str, Any], model: Any, gradients: Any) -> None:
        """The line of an epoch, and the arrays it ended with."""

    def checkpoint(self, state: State, steps: int, about: Mapping[str, Any]) -> None:
        """The run can go on from here; an epoch has so many `steps`, `about` says what the run is of."""

    def failed(self, state: State, error: str) -> None:
        """An epoch came to no end."""

    def finished(
        self,
        records: Sequence[Mapping[str, Any]],
        test: Mapping[str, float],
        models: Mapping[str, TrainedModel],
        tested: Tested,
        summary: Mapping[str, Any],
    ) -> None:
        """The run's end: its models by name, and the test."""

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The run ends, well or not."""


class Folder(Output):
    """Leaves all of it in the run's folder.

    Parameters
    ----------
    path : Path
    records : sequence of mappings
        The lines that ``metrics.jsonl`` has already.
    settings : mapping
        The configuration's dotted keys.
    """

    def __init__(self, path: Path, records: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, settings
        self._figures = bool(settings["train.figures"])
        self._metrics = Metrics(path / "metrics.jsonl", records)
        self._board = TensorBoard(path / "tensorboard") if settings["train.tensorboard"] else None

    def __enter__(self) -> Folder:
        if self._board is not None:
            self._board.start((self._path / "config.toml").read_text("utf-8"), self._settings)
        return self

    def steps(self, first: int, losses: Sequence[float]) -> None:
        if self._board is not None:
            self._board.steps(first, losses)

    def epoch(self, record: Mapping[str, Any], model: Any, gradients: Any) -> None:
        self._metrics.write(**record)
        if self._board is not None:
            self._board.epoch(record, model, gradients)

    def checkpoint(self, state: State, steps: int, about: Mapping[str, Any]) -> None:
        state.save(self._path / CHECKPOINTS, steps, about)

    def failed(self, state: State, error: str) -> None:
        self._metrics.write(epoch=state.epoch, error=error)
        if state.records and self._figures:
            write_curves(self._path, state.records, None)

    def finished(
        self,
        records: Sequence[Mapping[str, Any]],
        test: Mapping[str, float],
        models: Mapping[str, TrainedModel],
        tested: Tested,
        summary: Mapping[str, Any],
    ) -> None:
        self._metrics.write(**test)
        if self._board is not None:
            self._board.finish(test, len(records))
        for name, model in models.items():
            save_model(self._path / f"{name}.safetensors", model)
        tested.write(self._path, figures=self._figures)
        if self._figures:
            write_curves(self._path, records, test)
        write_text(self._path / "summary.json", json_line(summary, indent=2) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.__exit__()
        if self._board is not None:
            self._board.__exit__(kind, error, trace)
        if self._figures:
            # Where the run ends badly, that is what is told, not what the page lacks.
            with contextlib.suppress(OSError, Error) if error is not None else contextlib.nullcontext():
                write_report(read_run(self._path))
