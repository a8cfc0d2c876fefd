"""CSV files, plain or gzip: one example per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portagrad.data.csv_table import Table, Text, column_number, tables
from portagrad.data.dataset import Dataset, make_dataset
from portagrad.data.files import open_data
from portagrad.data.regression import RegressionDataset, make_regression
from portagrad.errors import DataError

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
    what = str(path)

    def text(names: list[str] | None, width: int) -> int:
        return column_number(what, label, names, width, "labels", USUAL_NAMES)

    table = _read(path, text, header, delimiter)
    inputs, column = table.numbers(), text(table.names, table.width)
    data = make_dataset(
        inputs,
        table.answers(column),
        what=f"{what}, {table.place(0, column).rpartition(', ')[2]}",
        classes=classes,
        at=lambda row: table.place(table.lines[row], column),
    )
    return replace(data, columns=_columns(table, [column]))


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
    what = str(path)
    asked = [targets] if targets is None or isinstance(targets, str | int) else list(targets)
    table = _read(path, None, header, delimiter)
    columns = [column_number(what, one, table.names, table.width, "targets", USUAL_TARGETS) for one in asked]
    if len(set(columns)) < len(columns) or len(columns) == table.width:
        fault = "named twice" if len(set(columns)) < len(columns) else "all columns, which leaves no inputs"
        raise DataError(f"{path}: the targets are {fault}: {', '.join(map(str, asked))}")
    numbers = table.numbers(columns)
    data = make_regression(
        np.delete(numbers, columns, axis=1),
        numbers[:, columns],
        what=what,
        names=names or [table.name(column) for column in columns],
    )
    return replace(data, columns=_columns(table, columns))


def _columns(table: Table, targets: Sequence[int]) -> tuple[str, ...]:
    """The names of the inputs, if each has one of its own."""
    found = [name for column, name in enumerate(table.names or ()) if column not in targets]
    return tuple(found) if all(found) and len(set(found)) == len(found) else ()


def _read(path: str | Path, text: Text | None, header: bool | None, delimiter: str | None) -> Table:
    """All rows of a file."""
    with open_data(Path(path)) as file:
        (table,) = tables(file, str(path), text=text, header=header, delimiter=delimiter)
    if table.width < 2:
        raise DataError(f"{path}, line {table.first}: one column only; a row is its inputs and a label")
    return table
