"""Predictions as a CSV file, from data files that need not hold the right answers."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from portagrad.data import file_format, read_idx_array, read_npy, read_npz_arrays
from portagrad.data.files import hint, open_data, shown
from portagrad.data.npy_file import NpyFile, NpyHeader
from portagrad.errors import DataError
from portagrad.train.examples import ROWS
from portagrad.train.saved_model import TrainedModel

Array = np.ndarray[Any, Any]
Block = tuple[Array, list[str] | None]


def predict_rows(
    trained: TrainedModel,
    source: str,
    file: TextIO,
    *,
    probabilities: bool = False,
    labels: str | None = None,
    inputs: str | None = None,
) -> str:
    """Write a line per row of the data: its number, and what the model makes of it.

    Parameters
    ----------
    trained : TrainedModel
    source : str
        A CSV, NPZ, NPY or IDX file; ``"-"`` for CSV from the standard input.
    file : text file
    probabilities : bool
        Whether a column per class follows.
    labels : str, optional
        The column (by name, or by number from 0) or array with the right answers.
    inputs : str, optional
        The array of an NPZ file.

    Returns
    -------
    str
        How many of the right answers are met; empty without `labels`.

    Raises
    ------
    DataError
        If the data do not fit the model, in one line with the row and the column.
    """
    names = trained.description.classes
    outputs = trained.description.sizes[-1]
    columns = ["class"] if names else [f"output {i}" for i in range(outputs)]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", *columns, *(names if probabilities else ())])
    right = total = 0
    for block, answers in _blocks(source, trained, labels, inputs):
        found = trained.predict(block)
        texts = [[names[k]] for k in found.values] if names else found.values.tolist()
        shares = None if found.probabilities is None or not probabilities else found.probabilities.tolist()
        for i, text in enumerate(texts):
            writer.writerow([total + i, *text, *(shares[i] if shares else ())])
        if answers is not None and names:
            right += sum(text[0] == answer for text, answer in zip(texts, answers, strict=True))
        total += len(block)
    return f"accuracy {right / total:.2%} ({right} of {total})" if labels is not None and total else ""


def _blocks(source: str, trained: TrainedModel, labels: str | None, inputs: str | None) -> Iterator[Block]:
    if source == "-":
        yield from _csv_blocks(sys.stdin, "standard input", trained, labels)
        return
    path = Path(source)
    format = file_format(path)
    if format == "csv":
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from _csv_blocks(file, str(path), trained, labels)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from None
        return
    array, answers = _arrays(path, format, labels, inputs)
    for start in range(0, len(array), ROWS):
        stop = min(start + ROWS, len(array))
        names = None if answers is None else [_name(trained, label) for label in answers[start:stop]]
        yield array.read(start, stop) if isinstance(array, NpyFile) else array[start:stop], names


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
        return arrays[wanted], None if labels is None else arrays[labels].reshape(-1)
    if labels is not None:
        raise DataError(f"{path}: only CSV and NPZ files hold labels beside the inputs")
    if format == "idx":
        return read_idx_array(path), None
    if format != "npy":
        raise DataError(f"{path}: predictions are made of CSV, NPZ, NPY and IDX files, not {format}")
    with open_data(path) as file:
        whole = NpyHeader.read(file, str(path)).fortran  # whose rows lie scattered over the file
    return read_npy(path) if whole else NpyFile(path), None


def _csv_blocks(file: TextIO, what: str, trained: TrainedModel, labels: str | None) -> Iterator[Block]:
    """Rows of a CSV file, some thousand at a time; the first line may name the columns."""
    features = trained.description.sizes[0]
    try:
        lines = (row for row in csv.reader(file) if row)
        first = next(lines, None)
        if first is None:
            raise DataError(f"{what}: holds no row")
        has_names = not all(_is_number(cell) for i, cell in enumerate(first) if str(i) != labels)
        column = _column(first if has_names else None, labels, what)
        rows = lines if has_names else itertools.chain([first], lines)
        number = 0
        while block := list(itertools.islice(rows, ROWS)):
            answers = None if column is None else [_cell(row, column, what, number) for row in block]
            numbers = np.empty((len(block), features))
            for i, row in enumerate(block):
                cells = row if column is None else row[:column] + row[column + 1 :]
                _fill(numbers[i], cells, what, number + i)
            yield numbers, answers
            number += len(block)
    except csv.Error as error:
        raise DataError(f"{what}: not CSV ({error})") from None


def _fill(out: Array, cells: list[str], what: str, row: int) -> None:
    if len(cells) != len(out):
        raise DataError(
            f"{what}, row {row}: {len(cells)} numbers, but the model takes {len(out)}; "
            "name a column of answers with --labels"
        )
    for column, cell in enumerate(cells):
        try:
            out[column] = float(cell)
        except ValueError:
            value = shown(cell) if cell.strip() else "missing"
            raise DataError(f"{what}, row {row}, column {column}: {value}, not a number") from None


def _column(names: list[str] | None, labels: str | None, what: str) -> int | None:
    if labels is None:
        return None
    if names is not None and labels in names:
        return names.index(labels)
    if labels.isdecimal():
        return int(labels)
    raise DataError(f"{what}: no column {shown(labels)}{hint(labels, names or [])}")


def _cell(row: list[str], column: int, what: str, first: int) -> str:
    if column >= len(row):
        raise DataError(f"{what}, row {first} or after it: no column {column}, which holds the labels")
    return row[column].strip()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def _name(trained: TrainedModel, label: Any) -> str:
    """The name of a class by its number, or the name itself."""
    names = trained.description.classes
    is_number = isinstance(label, np.integer) and 0 <= label < len(names)
    return names[int(label)] if is_number else str(label)
