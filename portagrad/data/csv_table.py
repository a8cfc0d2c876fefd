"""CSV as rows of numbers: what is in a file, some rows at a time, and where each number stands."""

from __future__ import annotations

import codecs
import csv
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import numpy as np

from portagrad.data.dataset import Array
from portagrad.data.files import nearest, shown
from portagrad.errors import DataError

# A line longer than this is no table; reading one in full would let a small gzip file fill the memory.
_LONGEST_LINE = 1 << 24

Text = Callable[[list[str] | None, int], int | None]
"""``text(names, width)``: which column of a file stays text."""


class Table:
    """Rows as they are read: 8 bytes per number, and each row's line for messages.

    Attributes
    ----------
    what : str
        The file, for messages.
    first, width : int
        The first line and its number of fields, which all have.
    column : int or None
        The one that stays text, in `labels`.
    names : list of str or None
        Of the columns, where the first line has them.
    """

    def __init__(
        self, what: str, first: int, width: int, column: int | None, names: list[str] | None
    ) -> None:
        self.what, self.first, self.width, self.column, self.names = what, first, width, column, names
        self.values = array("d")
        self.labels: list[str] = []
        self.lines = array("q")

    def name(self, column: int) -> str:
        return self.names[column] if self.names is not None else f"column {column}"

    def place(self, line: int, column: int) -> str:
        name = shown(self.names[column]) if self.names is not None else str(column)
        return f"{self.what}, line {line}, column {name}"

    def _place(self, line: int, position: int) -> tuple[str, int]:
        """The place and the column of a row's number at a position, which the labels do not count for."""
        column = position + (self.column is not None and position >= self.column)
        return self.place(line, column), column

    def add(self, line: int, row: list[str]) -> None:
        if len(row) != self.width:
            raise DataError(
                f"{self.what}, line {line}: {len(row)} values, but line {self.first} has {self.width}"
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
            raise DataError(f"{self.what}: no rows below the header")
        numbers = np.frombuffer(self.values, np.float64).reshape(len(self.lines), -1)
        finite = np.isfinite(numbers)
        if not finite.all():
            row, position = np.argwhere(~finite)[0].tolist()
            place, column = self._place(self.lines[row], position)
            what = "target" if column in targets else "input"
            raise DataError(f"{place}: {numbers[row, position]} is not finite; every {what} must be")
        return numbers

    def answers(self, column: int) -> Array:
        """The labels of a column as numbers where the first one is a number, else as text."""
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


def tables(
    file: IO[bytes],
    what: str,
    *,
    text: Text | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    rows: int | None = None,
) -> Iterator[Table]:
    """The rows of a file, so many at a time or all at once; one table at least.

    Parameters
    ----------
    file : file of bytes
        UTF-8.
    what : str
        What it is called in messages.
    text, header, delimiter
        The last two as for `read_csv`.
    rows : int, optional

    Raises
    ------
    DataError
        If the file holds no row, or one is wrong.
    """
    lines = _rows(what, file, delimiter)
    line, first = next(lines, (0, []))
    if not first:
        raise DataError(f"{what}: no rows, only blank lines")
    named = header if header is not None else not any(map(_is_number, first))
    names = [field.strip() for field in first] if named else None
    column = text(names, len(first)) if text is not None else None
    table = whole = Table(what, line, len(first), column, names)
    if not named:
        table.add(line, first)
    for line, row in lines:
        if len(table.lines) == rows:
            yield table
            table = Table(what, whole.first, whole.width, column, names)
        table.add(line, row)
    yield table


def column_number(
    what: str, asked: str | int | None, names: list[str] | None, width: int, noun: str, usual: Sequence[str]
) -> int:
    """The number of a column that is asked for by name or number; of what is usual, else the last."""
    if asked is None:
        lower = [name.lower() for name in names or []]
        return next((lower.index(name) for name in usual if name in lower), width - 1)
    if isinstance(asked, int):
        if not -width <= asked < width:
            raise DataError(f"{what}: no column {asked} for the {noun}; there are {width}, 0 to {width - 1}")
        return asked % width
    if names is None:
        raise DataError(
            f"{what}: no column {shown(asked)} for the {noun}, as the file has no header; "
            "give the column's number, or set data.header = true"
        )
    if asked not in names:
        close = nearest(asked, names)
        hint = f"the nearest is {shown(close)}" if close else f"there are {', '.join(map(shown, names[:8]))}"
        raise DataError(f"{what}: no column {shown(asked)} for the {noun}; {hint}")
    return names.index(asked)


def _lines(what: str, file: IO[bytes]) -> Iterator[str]:
    """Lines of text of bounded length."""
    number = 0
    while raw := file.readline(_LONGEST_LINE):
        number += 1
        if len(raw) == _LONGEST_LINE:
            raise DataError(f"{what}, line {number}: longer than {_LONGEST_LINE} bytes; this is no CSV file")
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise DataError(f"{what}, line {number}: not UTF-8 text (byte 0x{byte:02x})") from None


def _rows(what: str, file: IO[bytes], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its line."""
    lines = _lines(what, file)
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
        raise DataError(f"{what}, line {start}: {error}") from None
