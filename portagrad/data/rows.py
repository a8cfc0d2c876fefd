"""Rows of an array that lies in a file, read as they are asked for."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.data.dataset import Array
from portagrad.data.files import open_data
from portagrad.errors import DataError


class FileRows:
    """An array in C order somewhere in a file, whose first axis is read by parts.

    Rows are read, not mapped: a mapped file that is cut short ends the process by SIGBUS, a read of it is a
    DataError, and what was read once does not stay in memory. The file is opened for each read, so that one
    that is gone is noticed too.

    Parameters
    ----------
    path : Path
    start : int
        Where in the file the array begins.
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self._start, self._dtype = path, shape, start, dtype
        self.row_bytes = math.prod(shape[1:]) * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> Array:
        """Rows from `start` to before `stop`, in native byte order."""
        rows = np.empty((stop - start, *self.shape[1:]), self._dtype)
        self._read(start, rows)
        return rows.astype(self._dtype.newbyteorder("="), copy=False)

    def fill(self, start: int, stop: int, place: Array) -> None:
        """The same into an array in C order, of as many numbers in native byte order."""
        if self._dtype.isnative:
            self._read(start, place)
        else:
            place[:] = self.read(start, stop).reshape(place.shape)

    def _read(self, start: int, place: Array) -> None:
        with open_data(self.path) as file:
            file.seek(self._start + start * self.row_bytes)
            got = file.readinto(place.reshape(-1).view(np.uint8))  # type: ignore[attr-defined]
        if got < place.nbytes:
            row = start + got // self.row_bytes
            raise DataError(f"{self.path}: cut short since it was opened; it ends before row {row}")


def rows_of_map(array: Array) -> FileRows | None:
    """Where in its file a memory map lies, or None of an array whose rows no file has in one piece.

    What was written through the map is in the file, but for one that is copied when it is written to.
    """
    if not isinstance(array, np.memmap) or array.filename is None or array.mode == "c":
        return None
    if not array.flags.c_contiguous or not array.ndim or not array.size:
        return None
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.base
    if base is None:
        return None
    # A view has the offset of the map that it is of; the map itself begins at a whole page before that.
    first = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    behind = (
        array.__array_interface__["data"][0] - np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    )
    return FileRows(Path(array.filename), first + behind, array.shape, array.dtype)
