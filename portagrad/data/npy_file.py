"""NPY files: one NumPy array each, read whole or block by block, without pickle and without mapping."""

from __future__ import annotations

import math
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from portagrad.data.dataset import Array
from portagrad.data.files import open_data, read_exactly
from portagrad.data.rows import FileRows
from portagrad.data.source import even_bounds
from portagrad.errors import DataError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class NpyHeader:
    """What an NPY header says, checked but not believed: `bytes` may be more than there are."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]

    @classmethod
    def read(cls, file: IO[bytes], where: str) -> NpyHeader:
        """Read the header at the start of a file; a DataError if it is damaged or means pickle."""
        try:
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            if min(shape, default=0) < 0:
                raise ValueError(shape)
        except (ValueError, KeyError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
            # NumPy parses the header as Python's literals and lets the parser's errors through.
            raise DataError(f"{where}: not a NumPy array (its NPY header is damaged)") from None
        if dtype.hasobject:
            raise DataError(f"{where}: Python objects, which only pickle could read; store numbers instead")
        return cls(shape, fortran, dtype)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def truncated(self, where: str, held: int) -> DataError:
        return DataError(
            f"{where}: truncated; the header says {self.shape} {self.dtype}, {self.bytes} bytes, "
            f"the file holds {held}"
        )


def read_array(file: IO[bytes], where: str) -> Array:
    """One array, its memory bounded by what the file holds; NumPy's own reader allocates what is claimed."""
    header = NpyHeader.read(file, where)
    content = read_exactly(file, header.bytes)
    if len(content) < header.bytes:
        raise header.truncated(where, len(content))
    if file.read(1):  # at the end of a zip's member zipfile also checks its sum
        raise DataError(f"{where}: longer than the {header.shape} {header.dtype} its header says")
    try:
        array: Array = np.frombuffer(content, header.dtype).reshape(
            header.shape, order="F" if header.fortran else "C"
        )
    except ValueError:
        raise DataError(f"{where}: the shape {header.shape} is impossible for {header.dtype}") from None
    return array.astype(header.dtype.newbyteorder("="), copy=False)


def read_npy(path: str | Path) -> Array:
    """Read the array of an NPY file.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds Python objects: nothing is unpickled.
    """
    path = Path(path)
    with open_data(path) as file:
        return read_array(file, str(path))


class NpyFile(FileRows):
    """An NPY file of which rows are read as they are asked for.

    Parameters
    ----------
    path : str or Path
        Not compressed, in C order, one example a row.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        with open_data(path) as file:
            self.header = header = NpyHeader.read(file, str(path))
            start = file.tell()
        held = path.stat().st_size - start
        if held < header.bytes:
            raise header.truncated(str(path), held)
        if header.fortran and len(header.shape) > 1:
            raise DataError(
                f"{path}: in Fortran order, whose rows lie scattered over the file; to stream it, write "
                "np.ascontiguousarray of it"
            )
        if header.dtype.kind not in "biuf" or not header.shape or 0 in header.shape:
            raise DataError(f"{path}: {header.shape} {header.dtype} is no table of real numbers")
        super().__init__(path, start, header.shape, header.dtype)


class NpySource:
    """Two NPY files, of inputs and of targets, as a source (see `portagrad.data.source`).

    Parameters
    ----------
    inputs, targets : str or Path
    """

    def __init__(self, inputs: str | Path, targets: str | Path) -> None:
        self._inputs, self._targets = NpyFile(inputs), NpyFile(targets)
        self.what = str(inputs)
        if len(self._inputs) != len(self._targets):
            raise DataError(
                f"{targets}: {len(self._targets)} targets for {len(self._inputs)} inputs in {inputs}; "
                "each input needs one"
            )
        header = self._inputs.header
        self.shape = header.shape[1:]
        self.features = math.prod(self.shape)
        self.dtype = header.dtype.newbyteorder("=")
        self.bounds = even_bounds(len(self._inputs), self._inputs.row_bytes)

    def block(self, number: int) -> tuple[Array, Array]:
        start, stop = self.bounds[number : number + 2].tolist()
        return self._inputs.read(start, stop).reshape(stop - start, -1), self._targets.read(start, stop)

    def fill(self, number: int, place: Array) -> Array:
        """As `block`, with the inputs written into an array."""
        start, stop = self.bounds[number : number + 2].tolist()
        self._inputs.fill(start, stop, place)
        return self._targets.read(start, stop)

    def place(self, row: int, column: int) -> str:
        return f"{self.what}: row {row}, column {column}"

    def target_place(self, row: int, column: int) -> str:
        """What one target is called in a message."""
        return f"{self._targets.path}: row {row}, column {column}"
