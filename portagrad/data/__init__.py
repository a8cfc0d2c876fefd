"""Readers of data files, splits, standardisation and batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from portagrad.data.csv_file import read_csv
from portagrad.data.dataset import Dataset, check_inputs, make_dataset
from portagrad.data.files import open_data
from portagrad.data.idx_file import read_idx, read_idx_array
from portagrad.data.moments import Moments, Standardization
from portagrad.data.npy_file import NpySource, read_npy
from portagrad.data.npz_file import read_npz, read_npz_arrays
from portagrad.data.order import batches, slices
from portagrad.data.parquet_file import ParquetSource
from portagrad.data.prefetch import prefetched
from portagrad.data.preparation import class_weights, split
from portagrad.data.source import ArraySource, Part, Source, blocks, stream
from portagrad.errors import DataError

__all__ = [
    "ArraySource",
    "Dataset",
    "Moments",
    "NpySource",
    "ParquetSource",
    "Part",
    "Source",
    "Standardization",
    "batches",
    "blocks",
    "class_weights",
    "file_format",
    "make_dataset",
    "open_source",
    "prefetched",
    "read",
    "read_csv",
    "read_idx",
    "read_idx_array",
    "read_npy",
    "read_npz",
    "read_npz_arrays",
    "slices",
    "split",
    "stream",
]

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
        values = read_npy(path)
        check_inputs(values, str(path))
        second = _second_file(path, labels)
        return make_dataset(values, read_npy(second), what=str(second), classes=classes)
    if format == "parquet":
        source = ParquetSource(path, [_column(path, labels)])
        parts = list(blocks(source))
        targets = np.concatenate([part[1] for part in parts])
        what = f"{path}, column {labels}"
        return make_dataset(np.concatenate([part[0] for part in parts]), targets, what=what, classes=classes)
    raise DataError(f"no format is named {format!r}; there are {', '.join(sorted(set(_SUFFIXES.values())))}")


def open_source(
    path: str | Path,
    *,
    format: str | None = None,
    inputs: str | None = None,
    labels: str | int | Path | None = None,
) -> Source | None:
    """The files as a source that is read block by block, or None where their format is read whole.

    Parameters
    ----------
    path, format, inputs, labels
        As for `read`; NPY (not compressed) and Parquet files can be streamed.
    """
    format = format or file_format(path)
    if format == "npy" and not str(path).endswith(".gz"):
        return NpySource(path, _second_file(path, labels))
    if format == "parquet":
        return ParquetSource(path, [_column(path, labels)])
    return None


def _second_file(path: str | Path, labels: str | int | Path | None) -> str | Path:
    if labels is None or isinstance(labels, int):
        raise DataError(f"{path}: the labels of an NPY file are a second file; give its path as labels")
    return labels


def _column(path: str | Path, labels: str | int | Path | None) -> str:
    if not isinstance(labels, str):
        raise DataError(f"{path}: which column holds the labels? Name it with data.labels")
    return labels
