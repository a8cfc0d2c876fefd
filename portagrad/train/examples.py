"""The examples of a run on the host: arrays that fit into memory, or a stream of blocks of a file."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from portagrad import random
from portagrad.data import Source, Standardization, batches, blocks, stream
from portagrad.data.order import Shard
from portagrad.errors import DataError

Array = np.ndarray[Any, Any]
Batch = tuple[Array, Array]

ROWS = 4096
"""Rows at a time in a pass over all: enough that calls cost little, few enough for any device."""


class Examples(Protocol):
    """Inputs, shape (examples, ...), standardised and in the training dtype, or int32; and targets.

    Targets are classes, int32 of shape (examples,), or of a regression standardised numbers in the training
    dtype, shape (examples, outputs).
    """

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""

    @property
    def targets(self) -> Array:
        """Those of all examples, in their order."""

    def batches(self, key: random.Key, size: int, start: int, shard: Shard) -> Iterator[Batch]:
        """One epoch in the random order of `key`, from the batch `start` on: the rank's rows of each."""

    def rows(self, low: int, high: int) -> Iterator[Batch]:
        """Examples in their order, some thousand at a time."""

    def checksum(self) -> str:
        """Tells whether a run goes on with the data that it had."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """Examples as two arrays."""

    inputs: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    def batches(self, key: random.Key, size: int, start: int, shard: Shard) -> Iterator[Batch]:
        for rows in batches(key, len(self), size, start=start, shard=shard):
            yield self.inputs[rows], self.targets[rows]

    def rows(self, low: int, high: int) -> Iterator[Batch]:
        for part in pieces(low, high):
            yield self.inputs[part], self.targets[part]

    def checksum(self) -> str:
        total = 0
        for array in (self.inputs, self.targets):
            total = zlib.crc32(np.ascontiguousarray(array).data, total)
        return f"{len(self)} {total:08x}"


@dataclass(frozen=True, eq=False)
class Streamed:
    """Examples that are read from their file whenever they are needed.

    Parameters
    ----------
    source : Source
    encode : callable
        From targets as the file has them to those of the examples.
    standardization : Standardization or None
        None of integers.
    dtype : str
    shape : tuple of int
        Of an example.
    window_bytes : int
        Of the blocks that are shuffled together.
    sum : str
        Of the whole file, taken when it was first read.
    """

    source: Source
    encode: Callable[[Array], Array]
    standardization: Standardization | None
    dtype: str
    shape: tuple[int, ...]
    window_bytes: int
    sum: str

    def __len__(self) -> int:
        return int(self.source.bounds[-1])

    @functools.cached_property
    def targets(self) -> Array:
        return np.concatenate([self.encode(targets) for _, targets in blocks(self.source)])

    def batches(self, key: random.Key, size: int, start: int, shard: Shard) -> Iterator[Batch]:
        for inputs, targets in stream(
            self.source,
            key,
            size,
            start=start,
            shard=shard,
            window_bytes=self.window_bytes,
            take=self._taken,
        ):
            yield inputs, self.encode(targets)

    def rows(self, low: int, high: int) -> Iterator[Batch]:
        for number, (first, end) in enumerate(itertools.pairwise(self.source.bounds.tolist())):
            if first < high and low < end:
                for inputs, targets in blocks(self.source, [number]):
                    for part in pieces(max(low - first, 0), min(high, end) - first):
                        yield self._ready(inputs[part], targets[part])

    def checksum(self) -> str:
        return f"{len(self)} {self.sum}"

    def _ready(self, inputs: Array, targets: Array) -> Batch:
        return self._taken(inputs), self.encode(targets)

    def _taken(self, inputs: Array, rows: Array | None = None) -> Array:
        ready = as_inputs(self.standardization, inputs, self.dtype, self.source.what, rows=rows)
        return ready.reshape(len(ready), *self.shape)


def pieces(low: int, high: int) -> Iterator[slice]:
    """Rows from and to, `ROWS` at a time."""
    for start in range(low, high, ROWS):
        yield slice(start, min(start + ROWS, high))


def as_inputs(
    standardization: Standardization | None,
    values: Array,
    dtype: str,
    what: str,
    *,
    first: int = 0,
    rows: Array | None = None,
) -> Array:
    """Inputs as a model takes them, shape (examples, features): `scaled`, or where nothing scales, int32.

    Raises
    ------
    DataError
        If they are no integers, or beyond 32 bits, which is what every library has.
    """
    if standardization is not None:
        return scaled(standardization, values, dtype, what, first=first, rows=rows)
    values = values if rows is None else values[rows]
    if values.dtype.kind not in "iu":
        raise DataError(f"{what}: {values.dtype}, where the model takes integers, as they are")
    flat = values.reshape(len(values), -1)
    whole: Array = flat.astype(np.int32)
    if flat.dtype.itemsize > 2 and (whole != flat).any():
        row, column = np.argwhere(whole != flat)[0].tolist()
        raise DataError(f"{what}: row {first + row}, column {column} is {flat[row, column]}, beyond 32 bits")
    return whole


def scaled(
    standardization: Standardization,
    values: Array,
    dtype: str,
    what: str,
    *,
    noun: str = "feature",
    first: int = 0,
    rows: Array | None = None,
) -> Array:
    """Standardised values in the training dtype, of all rows or these; a DataError beyond its range.

    `first` is the number of the first row, and `noun` what a column is called, in the message.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ready: Array = standardization(values, dtype, rows)
    if not np.isfinite(ready).all():
        row, column = np.argwhere(~np.isfinite(ready))[0].tolist()
        row = row if rows is None else int(rows[row])
        value = values.reshape(len(values), -1)[row, column]
        fault = f"beyond the range of {dtype}" if np.isfinite(value) else "not a finite number"
        raise DataError(f"{what}: row {first + row}, {noun} {column} is {value}, {fault}")
    return ready
