"""Parquet files, read by row groups through pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.data.dataset import Array
from portagrad.data.files import hint, is_file, missing_file, shown
from portagrad.errors import DataError


class ParquetSource:
    """Columns of a Parquet file as a source (see `portagrad.data.source`); a block is a row group.

    Parameters
    ----------
    path : str or Path
    targets : sequence of str
        Columns of the targets; one alone gives targets of shape (rows,), more give (rows, columns).
    inputs : sequence of str, optional
        Columns of the inputs, numbers or booleans; by default all others.

    Raises
    ------
    DataError
        If pyarrow is not installed, or the file or a column is wrong.
    """

    def __init__(self, path: str | Path, targets: Sequence[str], inputs: Sequence[str] | None = None) -> None:
        self.path, self.what = Path(path), str(path)
        self.targets = list(targets)
        with self._opened() as file:
            schema, metadata = file.schema_arrow, file.metadata
            names = schema.names
            self.columns = list(inputs) if inputs is not None else [n for n in names if n not in targets]
            for name in (*self.targets, *self.columns):
                if names.count(name) != 1:
                    fault = "no such column" if name not in names else "two columns of that name"
                    raise DataError(f"{path}: column {shown(name)}: {fault}{hint(name, names)}")
            if not self.columns or not self.targets:
                raise DataError(f"{path}: needs columns for the inputs and for the targets")
            dtypes = [self._dtype(name, schema.field(name).type) for name in self.columns]
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.dtype = np.result_type(*dtypes)
        self.features = len(self.columns)
        self.shape: tuple[int, ...] = (self.features,)
        if sum(sizes) <= 0 or min(sizes) < 0:
            raise DataError(f"{path}: no rows")
        self.bounds = np.concatenate([[0], np.cumsum([size for size in sizes if size])])
        self._groups = [number for number, size in enumerate(sizes) if size]

    def _dtype(self, name: str, kind: Any) -> np.dtype[np.generic]:
        with contextlib.suppress(NotImplementedError):
            dtype: np.dtype[np.generic] = np.dtype(kind.to_pandas_dtype())
            if dtype.kind in "biuf":
                return dtype
        raise DataError(f"{self.path}, column {shown(name)}: {kind} is no type of real numbers")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise DataError(
                f"{self.path}: Parquet needs pyarrow, not installed here: pip install 'portagrad[parquet]'"
            ) from None
        if not is_file(self.path):
            raise DataError(missing_file(self.path))
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                yield file
        except DataError:  # which is a ValueError
            raise
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{self.path}: no Parquet file, or damaged ({' '.join(str(error).split())[:200]})"
            ) from None

    def block(self, number: int) -> tuple[Array, Array]:
        start, stop = self.bounds[number : number + 2].tolist()
        with self._opened() as file:
            if self._groups[number] >= file.metadata.num_row_groups:
                raise DataError(f"{self.path}: cut short since it was opened; row {start} is gone")
            table = file.read_row_group(self._groups[number], columns=self.columns + self.targets)
            if table.num_rows != stop - start:
                raise DataError(
                    f"{self.path}: row group {number} has {table.num_rows} rows where its file says "
                    f"{stop - start}"
                )
            columns = {name: self._column(table, name, start) for name in (*self.columns, *self.targets)}
        inputs = np.empty((stop - start, self.features), self.dtype)
        for position, name in enumerate(self.columns):
            inputs[:, position] = columns[name]
        targets = [columns[name] for name in self.targets]
        return inputs, targets[0] if len(targets) == 1 else np.stack(targets, axis=1)

    def _column(self, table: Any, name: str, start: int) -> Array:
        column = table.column(name)
        if column.null_count:
            row = start + int(np.argmax(column.is_null().to_numpy()))
            raise DataError(f"{self.path}: row {row}, column {shown(name)} is null; no value may be missing")
        values: Array = column.to_numpy()
        return np.asarray([str(value) for value in values]) if values.dtype.kind == "O" else values

    def place(self, row: int, column: int) -> str:
        return f"{self.path}: row {row}, column {shown(self.columns[column])}"

    def target_place(self, row: int, column: int) -> str:
        """What one target is called in a message."""
        return f"{self.path}: row {row}, column {shown(self.targets[column])}"
