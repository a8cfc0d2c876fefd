"""Predictions as a CSV file, from data files that need not hold the right answers."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from portagrad.data import (
    Moments,
    ParquetSource,
    blocks,
    file_format,
    read_idx_array,
    read_npy,
    read_npz_arrays,
)
from portagrad.data.csv_table import column_number, tables
from portagrad.data.files import hint, open_data, shown
from portagrad.data.npy_file import NpyFile, NpyHeader
from portagrad.data.regression import check_targets, columns_of
from portagrad.errors import DataError
from portagrad.train.description import Description, OwnDescription
from portagrad.train.examples import ROWS
from portagrad.train.metrics import said
from portagrad.train.saved_model import TrainedModel

Array = np.ndarray[Any, Any]
Told = Description | OwnDescription
Block = tuple[Array, Any]
"""Inputs, and with labels the right answers: names of classes, or numbers of shape (rows, outputs)."""


def predict_rows(
    trained: TrainedModel,
    source: str,
    file: TextIO,
    *,
    probabilities: bool = False,
    labels: Sequence[str] = (),
    inputs: str | None = None,
) -> str:
    """Write a line per row of the data: its number, and what the model makes of it.

    Parameters
    ----------
    trained : TrainedModel
    source : str
        A CSV, NPZ, NPY, IDX or Parquet file; ``"-"`` for CSV from the standard input.
    file : text file
    probabilities : bool
        Whether a column per class follows.
    labels : sequence of str
        The columns (by name, or by number from 0) or the array with the right answers: one of a classifier,
        of a regression as many as it has outputs, in their order.
    inputs : str, optional
        The array of an NPZ file.

    Returns
    -------
    str
        How well the right answers are met; empty without `labels`.

    Raises
    ------
    DataError
        If the data do not fit the model, in one line with the row and the column.
    """
    told = trained.description
    names, outputs = told.classes, told.outputs
    columns = ["class"] if names else list(told.targets) or [f"output {i}" for i in range(outputs)]
    if probabilities and not names:
        raise DataError("--probabilities: the model is a regression, which has none")
    writer = csv.writer(file, lineterminator="\n")
    header = ["row", *columns, *(names if probabilities else ())]
    met: _Hits | _Errors = _Hits() if names else _Errors()
    row = 0
    for block, answers in _blocks(source, told, labels, inputs):
        found = trained.predict(block)
        if not row:  # and not before something is found to be wrong
            writer.writerow(header)
        texts = [[names[k]] for k in found.values] if names else found.values.tolist()
        shares = None if found.probabilities is None or not probabilities else found.probabilities.tolist()
        for i, text in enumerate(texts):
            writer.writerow([row + i, *text, *(shares[i] if shares else ())])
        if answers is not None:
            met.add([text[0] for text in texts] if names else found.values, answers)
        row += len(block)
    return str(met)


class _Hits:
    """How many classes are right."""

    def __init__(self) -> None:
        self._right = self._total = 0

    def add(self, found: Any, answers: Any) -> None:
        self._right += sum(one == other for one, other in zip(found, answers, strict=True))
        self._total += len(answers)

    def __str__(self) -> str:
        if not self._total:
            return ""
        return f"accuracy {self._right / self._total:.2%} ({self._right} of {self._total})"


class _Errors:
    """R2 and the errors of numbers, block by block, as `metrics.regression` has them of all at once."""

    def __init__(self) -> None:
        self._moments, self._squares, self._sizes = Moments(), np.zeros(()), np.zeros(())

    def add(self, found: Any, answers: Any) -> None:
        self._moments.add(answers)
        self._squares = self._squares + ((found - answers) ** 2).sum(axis=0)
        self._sizes = self._sizes + np.abs(found - answers).sum(axis=0)

    def __str__(self) -> str:
        total = self._moments.count
        if not total:
            return ""
        constant = self._moments.squares == 0
        r2 = 1 - self._squares / np.where(constant, 1, self._moments.squares)
        r2 = np.where(constant, self._squares == 0, r2)
        measures = {"r2": r2, "mse": self._squares / total, "mae": self._sizes / total}
        told = ", ".join(f"{name} {said(float(x.mean()), name)}" for name, x in measures.items())
        return f"{told} (of {total})"


def _blocks(source: str, told: Told, labels: Sequence[str], inputs: str | None) -> Iterator[Block]:
    wanted = told.outputs if told.task == "regression" else 1
    if source == "-":
        yield from _csv_blocks(sys.stdin.buffer, "standard input", told, labels, wanted)
        return
    path = Path(source)
    format = file_format(path)
    if format == "csv":
        with open_data(path) as file:
            yield from _csv_blocks(file, str(path), told, labels, wanted)
        return
    if format == "parquet":
        yield from _parquet_blocks(path, told, labels, wanted)
        return
    if len(labels) > 1:
        raise DataError(f"{path}: of {format} files the labels are one array, not {', '.join(labels)}")
    array, answers = _arrays(path, format, labels[0] if labels else None, inputs)
    what = f'{path}, array "{labels[0]}"' if labels else ""
    ready = None if answers is None else _answers(told, answers, what, len(array))
    for start in range(0, len(array), ROWS):
        part = slice(start, min(start + ROWS, len(array)))
        block = array.read(part.start, part.stop) if isinstance(array, NpyFile) else array[part]
        yield block, None if ready is None else ready[part]


def _answers(told: Told, answers: Array, what: str, rows: int) -> Any:
    """The right answers of an array, as many as there are rows."""
    classes = told.task == "classification"
    answers = answers.reshape(-1) if classes else columns_of(answers, what)
    if len(answers) != rows:
        raise DataError(f"{what}: {len(answers)} answers for {rows} inputs")
    if classes:
        return [_name(told, label) for label in answers]
    if answers.shape[1] != told.outputs:
        raise DataError(f"{what}: {answers.shape[1]} answers per row; the model has {told.outputs} outputs")
    check_targets(answers, lambda row, column: f"{what}, row {row}, column {column}")
    return answers


def _arrays(
    path: Path, format: str, labels: str | None, inputs: str | None
) -> tuple[Array | NpyFile, Array | None]:
    if format == "npz":
        arrays = read_npz_arrays(path)
        wanted = inputs or next((name for name in arrays if arrays[name].ndim > 1), None)
        for name in (wanted, labels):
            if name is not None and name not in arrays:
                raise DataError(f"{path}: no array {shown(name)}{hint(name, list(arrays))}")
        if wanted is None:
            raise DataError(f"{path}: no array has an axis of features; it holds {', '.join(arrays)}")
        return arrays[wanted], None if labels is None else arrays[labels]
    if labels is not None:
        raise DataError(f"{path}: only CSV, NPZ and Parquet files hold labels beside the inputs")
    if format == "idx":
        return read_idx_array(path), None
    with open_data(path) as file:
        whole = NpyHeader.read(file, str(path)).fortran  # whose rows lie scattered over the file
    return read_npy(path) if whole else NpyFile(path), None


def _parquet_blocks(path: Path, told: Told, labels: Sequence[str], wanted: int) -> Iterator[Block]:
    """Rows of a Parquet file; its columns are found by the names that the model was trained on."""
    _check_count(str(path), labels, wanted)
    source = ParquetSource(path, labels, getattr(told, "features", ()) or None)
    if source.features != math.prod(told.shape):
        raise DataError(
            f"{path}: {source.features} columns of inputs, but the model takes {math.prod(told.shape)}; "
            "name the columns of answers with --labels"
        )
    what = f"{path}, column {shown(', '.join(labels))}"
    for inputs, targets in blocks(source):
        answers = _answers(told, targets, what, len(inputs)) if labels else None
        for start in range(0, len(inputs), ROWS):
            part = slice(start, start + ROWS)
            yield inputs[part], None if answers is None else answers[part]


def _check_count(what: str, labels: Sequence[str], wanted: int) -> None:
    if labels and len(labels) != wanted:
        raise DataError(f"{what}: {len(labels)} columns of answers; the model has {wanted} outputs")


def _csv_blocks(
    file: IO[bytes], what: str, told: Told, labels: Sequence[str], wanted: int
) -> Iterator[Block]:
    """Rows of a CSV file, some thousand at a time; the first line may name the columns."""
    _check_count(what, labels, wanted)
    features, columns, order = math.prod(told.shape), list[int](), list[int]()

    def text(names: list[str] | None, width: int) -> int | None:
        columns.extend(_column(what, label, names, width) for label in labels)
        if width - len(columns) != features:
            raise DataError(
                f"{what}: {width - len(columns)} numbers a row, but the model takes {features}; "
                "name the columns of answers with --labels"
            )
        if names and (trained_on := getattr(told, "features", ())):
            given = [name for column, name in enumerate(names) if column not in columns]
            order.extend(_place(what, name, given) for name in trained_on)
        return columns[0] if columns and told.task == "classification" else None

    for table in tables(file, what, text=text, rows=ROWS):
        inputs = table.numbers(columns)
        answers: Any = None
        if table.column is not None:
            answers = table.labels
        elif columns:
            inputs, answers = np.delete(inputs, columns, axis=1), inputs[:, columns]
        yield inputs[:, order] if order else inputs, answers


def _place(what: str, name: str, given: list[str]) -> int:
    """Where an input stands that the model was trained on, whatever the order of the columns."""
    if name not in given:
        raise DataError(f"{what}: no column {shown(name)}, which the model was trained on{hint(name, given)}")
    return given.index(name)


def _column(what: str, label: str, names: list[str] | None, width: int) -> int:
    is_number = label.removeprefix("-").isdecimal() and label not in (names or ())
    return column_number(what, int(label) if is_number else label, names, width, "labels", ())


def _name(told: Told, label: Any) -> str:
    """The name of a class by its number, or the name itself."""
    names = told.classes
    is_number = isinstance(label, np.integer) and 0 <= label < len(names)
    return names[int(label)] if is_number else str(label)
