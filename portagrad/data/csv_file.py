"""CSV files, plain or gzip: one example per line."""

from __future__ import annotations

import codecs
import csv
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from portagrad.data.dataset import Array, Dataset, make_dataset
from portagrad.data.files import nearest, open_data, shown
from portagrad.data.regression import RegressionDataset, make_regression
from portagrad.errors import DataError

# A line longer than this is no table; reading one in full would let a small gzip file fill the memory.
_LONGEST_LINE = 1 << 24
# Column names that mean the label, tried in this order.
USUAL_NAMES = ("label", "labels", "class", "target", "y", "species")
USUAL_TARGETS = ("target", "targets", "y")


def read_csv(
    path: str | Path,
    label: str | int | None = None,
    *,
    header: bool | None = None,
    delimiter: str | None = None,
    classes: int | Sequence[str] | None = None,
) -> Dataset:
    """Read a data set of a CSV file.

    Parameters
    ----------
    path : str or Path
        UTF-8 text, plain or gzip. Blank lines are skipped.
    label : str or int, optional
        Column of the labels, by its name or its number (from 0; negative numbers count from the end). By
        default the column called label, class, target, y or species, else the last one.
    header : bool, optional
        Whether the first line names the columns; by default it does where none of its fields is a number.
    delimiter : str, optional
        By default, the one of comma, semicolon and tab that occurs most in the first line.
    classes : int or sequence of str, optional
        Number of classes, or their names; by default, the highest label plus one or the texts found.

    Returns
    -------
    Dataset
        Inputs are float64 of shape (examples, columns - 1). Labels that are all text make classes in sorted
        order.

    Raises
    ------
    DataError
        If the file is wrong; the message gives the line, counted from 1, and the column.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.csv"
    ...     _ = path.write_text("length,species\\n5.1,setosa\\n7.0,versicolor\\n")
    ...     data = read_csv(path)
    >>> data.inputs, data.labels, data.names
    (array([[5.1],
           [7. ]]), array([0, 1]), ('setosa', 'versicolor'))
    """
    path = Path(path)

    def column(names: list[str] | None, width: int) -> int:
        return _column(path, label, names, width, "labels", USUAL_NAMES)

    return _read(path, column, header, delimiter).dataset(classes)


def read_csv_targets(
    path: str | Path,
    targets: str | int | Sequence[str | int] | None = None,
    *,
    header: bool | None = None,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
) -> RegressionDataset:
    """Read the data set of a regression of a CSV file, whose fields are all numbers.

    Parameters
    ----------
    path, header, delimiter
        As for `read_csv`.
    targets : str, int or sequence of these, optional
        Columns of the targets, by name or number. By default the one called target, targets or y, else the
        last one.
    names : sequence of str, optional
        Of the targets; by default the columns' own.

    Raises
    ------
    DataError
        If the file is wrong; the message gives the line, counted from 1, and the column.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "rents.csv"
    ...     _ = path.write_text("area,rent,year\\n40,700,1990\\n55,910,2004\\n")
    ...     data = read_csv_targets(path, "rent")
    >>> data.targets.tolist(), data.names, data.features
    ([[700.0], [910.0]], ('rent',), 2)
    """
    path = Path(path)
    asked = [targets] if targets is None or isinstance(targets, str | int) else list(targets)
    table = _read(path, lambda names, width: None, header, delimiter)
    columns = [_column(path, one, table.names, table.width, "targets", USUAL_TARGETS) for one in asked]
    if len(set(columns)) < len(columns) or len(columns) == table.width:
        fault = "named twice" if len(set(columns)) < len(columns) else "all columns, which leaves no inputs"
        raise DataError(f"{path}: the targets are {fault}: {', '.join(map(str, asked))}")
    numbers = table.numbers(columns)
    return make_regression(
        np.delete(numbers, columns, axis=1),
        numbers[:, columns],
        what=str(path),
        names=names or [table.name(column) for column in columns],
    )


def _read(
    path: Path,
    text: Callable[[list[str] | None, int], int | None],
    header: bool | None,
    delimiter: str | None,
) -> _Table:
    """The rows of a file; ``text(names, width)`` is the column that stays text."""
    with open_data(path) as file:
        rows = _rows(path, file, delimiter)
        line, first = next(rows, (0, []))
        if not first:
            raise DataError(f"{path}: no rows, only blank lines")
        named = header if header is not None else not any(map(_is_number, first))
        names = [field.strip() for field in first] if named else None
        column = text(names, len(first))
        if len(first) < 2:
            raise DataError(f"{path}, line {line}: one column only; a row is its inputs and a label")
        table = _Table(path, line, len(first), column, names)
        if not named:
            table.add(line, first)
        for line, row in rows:
            table.add(line, row)
    return table


class _Table:
    """Rows as they are read: 8 bytes per number, and each row's line for messages."""

    def __init__(
        self, path: Path, first: int, width: int, column: int | None, names: list[str] | None
    ) -> None:
        self.path, self.first, self.width, self.column, self.names = path, first, width, column, names
        self.values = array("d")
        self.labels: list[str] = []
        self.lines = array("q")

    def name(self, column: int) -> str:
        return self.names[column] if self.names is not None else f"column {column}"

    def place(self, line: int, column: int) -> str:
        name = shown(self.names[column]) if self.names is not None else str(column)
        return f"{self.path}, line {line}, column {name}"

    def _place(self, line: int, position: int) -> tuple[str, int]:
        """The place and the column of a row's number at a position, which the labels do not count for."""
        column = position + (self.column is not None and position >= self.column)
        return self.place(line, column), column

    def add(self, line: int, row: list[str]) -> None:
        if len(row) != self.width:
            raise DataError(
                f"{self.path}, line {line}: {len(row)} values, but line {self.first} has {self.width}"
            )
        if self.column is not None:
            self.labels.append(row.pop(self.column).strip())
        try:
            self.values.extend(map(float, row))
        except ValueError:
            position = next(i for i, field in enumerate(row) if not _is_number(field))
            field = row[position].strip()
            fault = f"{shown(field)} is not a number" if field else "the field is empty"
            raise DataError(f"{self._place(line, position)[0]}: {fault}") from None
        self.lines.append(line)

    def numbers(self, targets: Sequence[int] = ()) -> Array:
        """All but the labels, all finite; some columns may be called targets and not inputs."""
        if not self.lines:
            raise DataError(f"{self.path}: no rows below the header")
        numbers = np.frombuffer(self.values, np.float64).reshape(len(self.lines), -1)
        finite = np.isfinite(numbers)
        if not finite.all():
            row, position = np.argwhere(~finite)[0].tolist()
            place, column = self._place(self.lines[row], position)
            what = "target" if column in targets else "input"
            raise DataError(f"{place}: {numbers[row, position]} is not finite; every {what} must be")
        return numbers

    def dataset(self, classes: int | Sequence[str] | None) -> Dataset:
        inputs, column = self.numbers(), self.column
        assert column is not None
        return make_dataset(
            inputs,
            self._label_array(column),
            what=f"{self.path}, column {self.place(0, column).rpartition(' column ')[2]}",
            classes=classes,
            at=lambda row: self.place(self.lines[row], column),
        )

    def _label_array(self, column: int) -> Array:
        """The labels as numbers where the first one is a number, else as text."""
        for row, label in enumerate(self.labels):
            if not label:
                raise DataError(f"{self.place(self.lines[row], column)}: the label is empty")
        if not _is_number(self.labels[0]):
            return np.asarray(self.labels)
        for row, label in enumerate(self.labels):
            if not _is_number(label):
                place = self.place(self.lines[row], column)
                raise DataError(f"{place}: the label {shown(label)} is not a whole number")
        return np.asarray([float(label) for label in self.labels])


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _column(
    path: Path, asked: str | int | None, names: list[str] | None, width: int, what: str, usual: Sequence[str]
) -> int:
    """The number of a column that is asked for by name or number; of what is usual, else the last."""
    if asked is None:
        lower = [name.lower() for name in names or []]
        return next((lower.index(name) for name in usual if name in lower), width - 1)
    if isinstance(asked, int):
        if not -width <= asked < width:
            raise DataError(f"{path}: no column {asked} for the {what}; there are {width}, 0 to {width - 1}")
        return asked % width
    if names is None:
        raise DataError(
            f"{path}: no column {shown(asked)} for the {what}, as the file has no header; "
            "give the column's number, or set data.header = true"
        )
    if asked not in names:
        close = nearest(asked, names)
        hint = f"the nearest is {shown(close)}" if close else f"there are {', '.join(map(shown, names[:8]))}"
        raise DataError(f"{path}: no column {shown(asked)} for the {what}; {hint}")
    return names.index(asked)


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Lines of text of bounded length."""
    number = 0
    while raw := file.readline(_LONGEST_LINE):
        number += 1
        if len(raw) == _LONGEST_LINE:
            raise DataError(f"{path}, line {number}: longer than {_LONGEST_LINE} bytes; this is no CSV file")
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise DataError(f"{path}, line {number}: not UTF-8 text (byte 0x{byte:02x})") from None


def _rows(path: Path, file: IO[bytes], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its line."""
    lines = _lines(path, file)
    read = 0
    for line in lines:
        read += 1
        if line.strip():
            break
    else:
        return
    if delimiter is None:
        delimiter = max(",;\t", key=line.count)

    def rest() -> Iterator[str]:
        yield line
        yield from lines

    reader = csv.reader(rest(), delimiter=delimiter, strict=True)
    start = read
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip()):
                yield start, row
            start = read + reader.line_num
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: {error}") from None
