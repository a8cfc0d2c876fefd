"""Readers of data files, splits, standardisation and batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portagrad.data.csv_file import read_csv
from portagrad.data.dataset import Dataset, make_dataset
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

_SUFFIXES = {".npz": "npz", ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".data": "csv", ".idx": "idx"}


def file_format(path: str | Path) -> str:
    """Which of ``"npz"``, ``"csv"`` and ``"idx"`` a file is: by its suffix (``.gz`` aside), else its start.

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
        start = file.read(4)
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
    """Read a data set of NPZ, CSV or IDX files.

    Parameters
    ----------
    path : str or Path
        The file; of IDX files, the one that holds the inputs.
    format : str, optional
        ``"npz"``, ``"csv"`` or ``"idx"``; by default found from the file.
    inputs : str, optional
        NPZ: name of the array of inputs.
    labels : str, int or Path, optional
        NPZ: name of the array of labels. CSV: name or number of their column. IDX: path of their file.
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
    raise DataError(f'no format is named {format!r}; there are "npz", "csv" and "idx"')
