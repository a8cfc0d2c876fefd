"""Which format a file is in, and the reader of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portagrad.data.csv_file import read_csv, read_csv_targets
from portagrad.data.dataset import Array, Dataset, check_inputs, make_dataset
from portagrad.data.files import open_data
from portagrad.data.idx_file import read_idx
from portagrad.data.npy_file import NpySource, read_npy
from portagrad.data.npz_file import read_npz, read_npz_targets
from portagrad.data.parquet_file import ParquetSource
from portagrad.data.regression import RegressionDataset, make_regression
from portagrad.data.source import Source, blocks
from portagrad.errors import DataError

Columns = str | int | Path | Sequence[str | int]
"""What names the targets: columns, an array or a second file."""

_SUFFIXES = {
    ".npz": "npz",
    ".idx": "idx",
    ".npy": "npy",
    ".parquet": "parquet",
    ".pq": "parquet",
    **dict.fromkeys((".csv", ".tsv", ".txt", ".data"), "csv"),
}


def file_format(path: str | Path) -> str:
    """Which of the formats of `read` a file is: by its suffix (``.gz`` aside), else by its start.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    DataError
        If the file is missing or empty.

    Examples
    --------
    >>> file_format("examples/data/digits.npz")
    'npz'
    """
    path = Path(path)
    with open_data(path) as file:
        suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        if suffix in _SUFFIXES:
            return _SUFFIXES[suffix]
        start = file.read(6)
    if start == b"\x93NUMPY":
        return "npy"
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"PK"):
        return "npz"
    return "idx" if start.startswith(b"\0\0") else "csv"


def read(
    path: str | Path,
    *,
    format: str | None = None,
    inputs: str | None = None,
    labels: str | int | Path | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    classes: int | Sequence[str] | None = None,
) -> Dataset:
    """Read a data set of NPZ, CSV, IDX, NPY or Parquet files into memory.

    Parameters
    ----------
    path : str or Path
        The file; of IDX and NPY files, the one that holds the inputs.
    format : str, optional
        ``"npz"``, ``"csv"``, ``"idx"``, ``"npy"`` or ``"parquet"``; by default found from the file.
    inputs : str, optional
        NPZ: name of the array of inputs.
    labels : str, int or Path, optional
        NPZ: name of the array of labels. CSV: name or number of their column. Parquet: name of their column.
        IDX and NPY: path of their file.
    header, delimiter : optional
        CSV: as for `read_csv`.
    classes : int or sequence of str, optional
        Number of classes, or their names; by default, the highest label plus one or the texts found.

    Raises
    ------
    DataError
        If a file is wrong, in one line that says where and how.

    Examples
    --------
    >>> data = read("examples/data/digits.npz")
    >>> data.labels[:5]
    array([0, 1, 2, 3, 4])
    """
    format = format or file_format(path)
    if format == "npz":
        if isinstance(labels, int):
            raise DataError(f"{path}: in an NPZ file the labels are an array's name, not {labels}")
        return read_npz(path, inputs, None if labels is None else str(labels), classes=classes)
    if format == "csv":
        column = str(labels) if isinstance(labels, Path) else labels
        return read_csv(path, column, header=header, delimiter=delimiter, classes=classes)
    if format == "idx":
        if labels is None or isinstance(labels, int):
            raise DataError(f"{path}: the labels of an IDX file are a second file; give its path as labels")
        return read_idx(path, labels, classes=classes)
    if format == "npy":
        values, targets, second = _npy_pair(path, labels, "labels")
        return make_dataset(values, targets, what=second, classes=classes)
    if format == "parquet":
        source = ParquetSource(path, _columns(path, labels, "labels"))
        values, targets = _whole(source)
        data = make_dataset(values, targets, what=f"{path}, column {labels}", classes=classes)
        return replace(data, columns=tuple(source.columns))
    raise _no_format(format)


def read_regression(
    path: str | Path,
    *,
    format: str | None = None,
    inputs: str | None = None,
    targets: Columns | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    names: Sequence[str] | None = None,
) -> RegressionDataset:
    """Read the data set of a regression of NPZ, CSV, NPY or Parquet files into memory.

    Parameters
    ----------
    path, format, inputs, header, delimiter
        As for `read`.
    targets : str, int, Path or sequence, optional
        NPZ: name of the array of targets, of shape (examples,) or (examples, outputs). CSV: names or numbers
        of their columns. Parquet: names of their columns. NPY: path of their file.
    names : sequence of str, optional
        Of the outputs; by default what the file calls them.

    Raises
    ------
    DataError
        If a file is wrong, in one line that says where and how; or is an IDX file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/line.npz", x=np.ones((4, 2)), y=np.arange(4.0))
    ...     data = read_regression(f"{folder}/line.npz")
    >>> data.targets.shape, data.names
    ((4, 1), ('y',))
    """
    format = format or file_format(path)
    if format == "npz":
        if targets is not None and not isinstance(targets, str | Path):
            raise DataError(f"{path}: in an NPZ file the targets are one array, by its name, not {targets}")
        return read_npz_targets(path, inputs, None if targets is None else str(targets), names=names)
    if format == "csv":
        columns = str(targets) if isinstance(targets, Path) else targets
        return read_csv_targets(path, columns, header=header, delimiter=delimiter, names=names)
    if format == "npy":
        values, numbers, second = _npy_pair(path, targets, "targets")
        return make_regression(values, numbers, what=second, names=names)
    if format == "parquet":
        source = ParquetSource(path, _columns(path, targets, "targets"))
        values, numbers = _whole(source)
        told = make_regression(
            values,
            numbers,
            what=f"{path}, targets",
            names=names or source.targets,
            at=source.target_place,
        )
        return replace(told, columns=tuple(source.columns))
    if format == "idx":
        raise DataError(
            f"{path}: an IDX file is read for classes alone; the targets of a regression come from NPZ, CSV, "
            "NPY or Parquet files"
        )
    raise _no_format(format)


def open_source(
    path: str | Path,
    *,
    format: str | None = None,
    targets: Columns | None = None,
    what: str = "labels",
) -> Source | None:
    """The files as a source that is read block by block, or None where their format is read whole.

    Parameters
    ----------
    path, format
        As for `read`; NPY (not compressed) and Parquet files can be streamed.
    targets
        The labels as for `read`, or the targets as for `read_regression`.
    what : str
        ``"labels"`` or ``"targets"``, as messages call them.
    """
    format = format or file_format(path)
    if format == "npy" and not str(path).endswith(".gz"):
        return NpySource(path, _second_file(path, targets, what))
    if format == "parquet":
        return ParquetSource(path, _columns(path, targets, what))
    return None


def _npy_pair(path: str | Path, targets: Columns | None, what: str) -> tuple[Array, Array, str]:
    """The arrays of two NPY files, and the name of the second."""
    values = read_npy(path)
    check_inputs(values, str(path))
    second = _second_file(path, targets, what)
    return values, read_npy(second), str(second)


def _whole(source: ParquetSource) -> tuple[Array, Array]:
    parts = list(blocks(source))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _second_file(path: str | Path, targets: Columns | None, what: str) -> str | Path:
    if not isinstance(targets, str | Path):
        raise DataError(f"{path}: the {what} of an NPY file are a second file; give its path as {what}")
    return targets


def _columns(path: str | Path, targets: Columns | None, what: str) -> list[str]:
    """The columns' names; labels have one, targets one or more."""
    several = not isinstance(targets, str | int | Path | None) and what == "targets"
    names = list(targets) if several else [targets]  # type: ignore[arg-type]
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: which column holds the {what}? Name it with data.{what}")
    return names  # type: ignore[return-value]


def _no_format(format: str) -> DataError:
    known = ", ".join(sorted(set(_SUFFIXES.values())))
    return DataError(f"no format is named {format!r}; there are {known}")
