"""IDX files, the format of MNIST, plain or gzip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.data.dataset import Array, Dataset, check_inputs, make_dataset
from portagrad.data.files import open_data, read_exactly
from portagrad.errors import DataError

# The third byte of the file. Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits",
# section "The IDX file format".
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx_array(path: str | Path) -> Array:
    """Read one IDX file.

    Parameters
    ----------
    path : str or Path
        Plain or gzip.

    Returns
    -------
    array
        Of the file's shape and number type, in native byte order.

    Raises
    ------
    DataError
        If the file is missing, damaged, truncated or longer than its header says. Memory is bounded by what
        the file holds, whatever its header claims.
    """
    path = Path(path)
    with open_data(path) as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES or start[3] == 0:
            raise DataError(f"{path}: not an IDX file (it starts with the bytes {start.hex(' ')})")
        dtype, ndim = np.dtype(_DTYPES[start[2]]), start[3]
        sizes = file.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise DataError(f"{path}: truncated in the IDX header")
        shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
        expected = math.prod(shape) * dtype.itemsize
        content = read_exactly(file, expected)
        if len(content) < expected:
            raise DataError(
                f"{path}: truncated; the header says {shape} {dtype.name}, {expected} bytes, "
                f"the file holds {len(content)}"
            )
        if file.read(1):
            raise DataError(f"{path}: longer than the {shape} {dtype.name} its header says")
    try:
        array: np.ndarray[Any, Any] = np.frombuffer(content, dtype).reshape(shape)
    except ValueError:  # more axes than NumPy has, or a size of 0 beside one beyond any memory
        raise DataError(f"{path}: the shape in the IDX header is impossible ({ndim} axes)") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_idx(path: str | Path, labels: str | Path, *, classes: int | Sequence[str] | None = None) -> Dataset:
    """Read a data set of two IDX files.

    Parameters
    ----------
    path, labels : str or Path
        The file of inputs and the file of labels, for example ``train-images-idx3-ubyte.gz`` and
        ``train-labels-idx1-ubyte.gz``.
    classes : int or sequence of str, optional
        Number of classes, or their names; by default, the highest label plus one or the texts found.

    Raises
    ------
    DataError
        If a file is wrong, or one does not fit the other.
    """
    inputs = read_idx_array(path)
    check_inputs(inputs, str(path))
    return make_dataset(inputs, read_idx_array(labels), what=str(labels), classes=classes)
