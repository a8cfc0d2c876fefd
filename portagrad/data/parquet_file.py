"""Parquet files, read by row groups through pyarrow; large groups by way of a copy on the disk."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portagrad.data.dataset import Array
from portagrad.data.files import hint, is_file, missing_file, shown
from portagrad.data.source import even_bounds
from portagrad.errors import DataError

_WHOLE = 32 << 20
"""Bytes of inputs up to which a row group is read whole, and is a block."""
_BUFFER = 1 << 16


class ParquetSource:
    """Columns of a Parquet file as a source (see `portagrad.data.source`); a block is a row group.

    A row group of more than 32 MB of inputs is divided into blocks. As such a group can only be read from its
    beginning, it is copied once, some rows at a time, to a file without a name in ``TMPDIR`` or ``/var/tmp``,
    where its blocks are read in any order; it goes with the source.

    Parameters
    ----------
    path : str or Path
    targets : sequence of str
        Columns of the targets; one alone gives targets of shape (rows,), more or none give (rows, columns).
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
            if not self.columns:
                raise DataError(f"{path}: has no column for the inputs beside {', '.join(self.targets)}")
            dtypes = [self._dtype(name, schema.field(name).type) for name in self.columns]
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.dtype = np.result_type(*dtypes)
        self.features = len(self.columns)
        self.shape: tuple[int, ...] = (self.features,)
        if sum(sizes) <= 0 or min(sizes) < 0:
            raise DataError(f"{path}: no rows")
        row_bytes = self.features * self.dtype.itemsize
        self._places: list[_Place] = []
        for group, size in enumerate(sizes):
            whole = size * row_bytes <= _WHOLE
            ends = np.asarray([0, size]) if whole else even_bounds(size, row_bytes)
            self._places += [
                _Place(group, low, high, size)
                for low, high in itertools.pairwise(ends.tolist())
                if low < high
            ]
        self.bounds = np.concatenate([[0], np.cumsum([place.stop - place.start for place in self._places])])
        self._copies: dict[int, _Copy] = {}
        self._copying = threading.Lock()

    def _dtype(self, name: str, kind: Any) -> np.dtype[np.generic]:
        with contextlib.suppress(NotImplementedError):
            dtype: np.dtype[np.generic] = np.dtype(kind.to_pandas_dtype())
            if dtype.kind in "biuf":
                return dtype
        raise DataError(f"{self.path}, column {shown(name)}: {kind} is no type of real numbers")

    @contextlib.contextmanager
    def _opened(self, **options: Any) -> Iterator[Any]:
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
            with pyarrow.parquet.ParquetFile(self.path, **options) as file:
                yield file
        except DataError:  # which is a ValueError
            raise
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{self.path}: no Parquet file, or damaged ({' '.join(str(error).split())[:200]})"
            ) from None

    def block(self, number: int) -> tuple[Array, Array]:
        place, start = self._places[number], int(self.bounds[number])
        if place.stop - place.start < place.size:
            return self._copy_of(place, start - place.start).read(place.start, place.stop)
        with self._opened() as file:
            self._check_group(file, place.group, start)
            table = file.read_row_group(place.group, columns=self.columns + self.targets)
            self._check_rows(place.group, table.num_rows, place.size)
            return self._arrays(table, start)

    def _copy_of(self, place: _Place, start: int) -> _Copy:
        """The large row group that a block is of; row `start` of the file is its first."""
        with self._copying:
            if place.group not in self._copies:
                copy, done = _Copy(self.path, place.group), 0
                # Page by page: with its own buffering pyarrow would read the whole group ahead.
                with self._opened(pre_buffer=False, buffer_size=_BUFFER) as file:
                    self._check_group(file, place.group, start)
                    for part in file.iter_batches(
                        place.stop - place.start,
                        row_groups=[place.group],
                        columns=self.columns + self.targets,
                        use_threads=False,
                    ):
                        copy.add(*self._arrays(part, start + done))
                        done += part.num_rows
                self._check_rows(place.group, done, place.size)
                self._copies[place.group] = copy
            return self._copies[place.group]

    def _check_group(self, file: Any, group: int, start: int) -> None:
        if group >= file.metadata.num_row_groups:
            raise DataError(f"{self.path}: cut short since it was opened; row {start} is gone")

    def _check_rows(self, group: int, found: int, size: int) -> None:
        if found != size:
            raise DataError(f"{self.path}: row group {group} has {found} rows where its file says {size}")

    def _arrays(self, table: Any, start: int) -> tuple[Array, Array]:
        columns = {name: self._column(table, name, start) for name in (*self.columns, *self.targets)}
        inputs = np.empty((table.num_rows, self.features), self.dtype)
        for position, name in enumerate(self.columns):
            inputs[:, position] = columns[name]
        targets = [columns[name] for name in self.targets]
        if not targets:
            return inputs, np.empty((len(inputs), 0))
        return inputs, targets[0] if len(targets) == 1 else np.stack(targets, axis=1)

    def _column(self, table: Any, name: str, start: int) -> Array:
        column = table.column(name)
        if column.null_count:
            row = start + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{self.path}: row {row}, column {shown(name)} is null; no value may be missing")
        values: Array = column.to_numpy(zero_copy_only=False)
        return np.asarray([str(value) for value in values]) if values.dtype.kind == "O" else values

    def place(self, row: int, column: int) -> str:
        return f"{self.path}: row {row}, column {shown(self.columns[column])}"

    def target_place(self, row: int, column: int) -> str:
        """What one target is called in a message."""
        return f"{self.path}: row {row}, column {shown(self.targets[column])}"


class _Place(NamedTuple):
    """The rows of a block in its row group, which has so many."""

    group: int
    start: int
    stop: int
    size: int


class _Copy:
    """The rows of a row group in a file without a name; text, which labels may be, stays in memory."""

    def __init__(self, path: Path, group: int) -> None:
        self._what = f"{path}: row group {group}"
        # /tmp, where Python would begin, lies in memory on many systems.
        large = "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()
        self._folder = os.environ.get("TMPDIR") or large
        with self._faults_told():
            self._files = [tempfile.TemporaryFile(dir=self._folder) for _ in range(2)]  # noqa: SIM115
        self._kinds: list[Array] = []
        self._texts: list[Array] = []
        self._reading = threading.Lock()

    def add(self, inputs: Array, targets: Array) -> None:
        """Append rows."""
        self._kinds = [inputs[:0], targets[:0]]
        if targets.dtype.kind == "U":
            self._texts.append(targets)
        with self._faults_told():
            for file, rows in zip(self._files, (inputs, targets), strict=True):
                if rows.dtype.kind != "U":
                    file.write(np.ascontiguousarray(rows).data)

    def read(self, start: int, stop: int) -> tuple[Array, Array]:
        """Rows from `start` to before `stop`."""
        found = []
        with self._faults_told(), self._reading:
            for file, kind in zip(self._files, self._kinds, strict=True):
                if kind.dtype.kind == "U":
                    self._texts = [np.concatenate(self._texts)]
                    found.append(self._texts[0][start:stop])
                    continue
                rows = np.empty((stop - start, *kind.shape[1:]), kind.dtype)
                file.seek(start * math.prod(kind.shape[1:]) * kind.dtype.itemsize)
                file.readinto(rows.reshape(-1).view(np.uint8).data)
                found.append(rows)
        return found[0], found[1]

    @contextlib.contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self._what} is too large to be read at once, and its copy in {self._folder} failed "
                f"({error.strerror or error}); set TMPDIR to a folder with room, or write the file with a "
                "smaller row_group_size"
            ) from None
