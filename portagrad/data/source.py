"""Examples that are read block by block: in memory or on disk, whole or a random part."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from portagrad import random
from portagrad.data.dataset import Array
from portagrad.data.order import BlockOrder, Shard, slices
from portagrad.data.rows import rows_of_map
from portagrad.errors import DataError

BLOCK_BYTES = 1 << 20
"""Of a block, where the file leaves it open: a read this long costs little beside its bytes."""
WINDOW_BYTES = 16 << 20
"""Of the blocks that are shuffled together, by default."""
_MOST = 0.5


class Source(Protocol):
    """Examples in blocks of rows; the only thing that differs between data in memory and on disk.

    Attributes
    ----------
    what : str
        For messages.
    shape : tuple of int
        Of an example, as it is outside of the blocks, which are flat.
    features : int
        Numbers per example.
    dtype : dtype
        Of the inputs.
    bounds : array of int64, shape (blocks + 1,)
        Rows before each block, and all rows last.
    """

    what: str
    shape: tuple[int, ...]
    features: int
    dtype: np.dtype[np.generic]
    bounds: Array

    def block(self, number: int) -> tuple[Array, Array]:
        """Inputs, shape (rows, features), and targets of one block; a DataError if it can not be read.

        A source that can read inputs into an array also has ``fill(number, inputs)``, which returns targets.
        """

    def place(self, row: int, column: int) -> str:
        """What one input is called in a message."""

    def target_place(self, row: int, column: int) -> str:
        """What one target is called in a message."""


def even_bounds(rows: int, row_bytes: int) -> Array:
    """Bounds of equal blocks of about `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // max(1, row_bytes))
    return np.append(np.arange(0, rows, size, dtype=np.int64), rows)


class ArraySource:
    """Arrays in memory as a source.

    Parameters
    ----------
    inputs : array, shape (examples, ...)
        A memory map, as of ``numpy.load(path, mmap_mode="r")``, is read from its file block by block, so that
        it does not fill the memory.
    targets : array, shape (examples, ...)
    what : str
    """

    def __init__(self, inputs: Array, targets: Array, what: str = "inputs") -> None:
        self.what, self._inputs, self._targets = what, inputs, targets
        self._rows = rows_of_map(inputs)
        self.shape = tuple(inputs.shape[1:])
        self.features, self.dtype = math.prod(self.shape), inputs.dtype.newbyteorder("=")
        self.bounds = even_bounds(len(inputs), self.features * self.dtype.itemsize)

    def block(self, number: int) -> tuple[Array, Array]:
        start, stop = self.bounds[number : number + 2].tolist()
        inputs = self._inputs[start:stop] if self._rows is None else self._rows.read(start, stop)
        return inputs.reshape(stop - start, -1), self._targets[start:stop]

    def fill(self, number: int, place: Array) -> Array:
        """As `block`, with the inputs written into an array."""
        start, stop = self.bounds[number : number + 2].tolist()
        if self._rows is None:
            place[:] = self._inputs[start:stop].reshape(stop - start, -1)
        else:
            self._rows.fill(start, stop, place)
        return self._targets[start:stop]

    def place(self, row: int, column: int) -> str:
        return f"{self.what}, row {row}, column {column}"

    def target_place(self, row: int, column: int) -> str:
        return f"targets of {self.what}, row {row}, column {column}"


class Part:
    """A random part of a source, itself a source.

    Of every block the same share of rows is drawn, by a permutation of that block alone: which rows belong to
    a part is known without reading anything, and then kept as a bit for each.

    Parameters
    ----------
    source : Source
    key : Key
        The parts of one split have the same key.
    low, high : float
        The part holds the fractions between these: the parts of 0 to 0.8 and of 0.8 to 1 are a split.

    Examples
    --------
    >>> import portagrad as pg
    >>> source = ArraySource(np.arange(10.0)[:, None], np.arange(10))
    >>> train, test = (Part(source, pg.random.key(0), *ends) for ends in ((0, 0.8), (0.8, 1)))
    >>> sorted([*train.block(0)[1], *test.block(0)[1]]) == list(range(10)), test.bounds
    (True, array([0, 2]))
    """

    def __init__(self, source: Source, key: random.Key, low: float, high: float) -> None:
        self.what, self.dtype = source.what, source.dtype
        self.shape, self.features = source.shape, source.features
        self.source, self.share, self._key = source, high - low, key
        # Every block rounds at another place, spread evenly by the golden ratio, so that small shares of
        # small blocks add up to the fraction; at the same place for all parts, so that these fit together.
        sizes = np.diff(source.bounds)
        offset = (0.5 + np.arange(len(sizes)) * (math.sqrt(5) - 1) / 2) % 1
        self._bits: dict[int, Array] = {}
        self._first = np.floor(sizes * low + offset).astype(np.int64)
        self._last = np.floor(sizes * high + offset).astype(np.int64)
        self.bounds = np.concatenate([[0], np.cumsum(self._last - self._first)])
        if self.bounds[-1] == 0:
            raise DataError(f"{self.what}: a part of {high - low:g} of {source.bounds[-1]} examples is empty")

    def rows(self, number: int) -> Array:
        """Which rows of the source's block belong to the part, in rising order."""
        size = int(self.source.bounds[number + 1] - self.source.bounds[number])
        if number not in self._bits:
            order = random.permutation(random.fold_in(self._key, number), size, device="cpu")
            own = np.zeros(size, np.bool_)
            own[order[self._first[number] : self._last[number]]] = True
            self._bits[number] = np.packbits(own)
        rows: Array = np.flatnonzero(np.unpackbits(self._bits[number], count=size))
        return rows

    def block(self, number: int) -> tuple[Array, Array]:
        inputs, targets = self.source.block(number)
        rows = self.rows(number)
        return inputs[rows], targets[rows]

    def place(self, row: int, column: int) -> str:
        return self.source.place(self._row(row), column)

    def target_place(self, row: int, column: int) -> str:
        return self.source.target_place(self._row(row), column)

    def _row(self, row: int) -> int:
        """Which row of the source one of the part's is."""
        number = int(np.searchsorted(self.bounds, row, side="right")) - 1
        inside = int(self.rows(number)[row - self.bounds[number]])
        return int(self.source.bounds[number]) + inside


def blocks(source: Source, numbers: Iterable[int] | None = None) -> Iterator[tuple[Array, Array]]:
    """Blocks in the file's order, every input checked to be finite.

    Parameters
    ----------
    source : Source
    numbers : iterable of int, optional
        Which blocks; all by default.

    Raises
    ------
    DataError
        At the first value that is missing or not finite, with its row and column.
    """
    for number in range(len(source.bounds) - 1) if numbers is None else numbers:
        inputs, targets = source.block(number)
        if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            row, column = np.argwhere(~np.isfinite(inputs))[0].tolist()
            place = source.place(int(source.bounds[number]) + row, column)
            raise DataError(f"{place} is {inputs[row, column]}; every input must be finite")
        if len(targets):
            yield inputs, targets


def stream(
    source: Source,
    key: random.Key,
    size: int,
    *,
    start: int = 0,
    shard: Shard = (0, 1),
    window_bytes: int = WINDOW_BYTES,
    take: Take = operator.getitem,
) -> Iterator[tuple[Array, Array]]:
    """One epoch's batches, shuffled by blocks, with one window of blocks in memory.

    Parameters
    ----------
    source : Source
    key : Key
        Of the epoch; with `size`, `window_bytes` and the blocks of the source it determines every batch.
    size : int
        Of the global batch.
    start : int
        Number of the first batch, for example where a run goes on: reading starts at its window.
    shard : (int, int)
        ``(rank, ranks)``: the rank's slice of every global batch, as for `slices`. Every rank reads every
        window, since its rows are drawn from all of it.
    window_bytes : int
        Of the blocks that are shuffled together; one block at least.
    take : callable
        ``take(inputs, rows)``: a new array of these rows of a window, for example standardised. The window
        itself is overwritten by the next.

    Examples
    --------
    >>> import portagrad as pg
    >>> source = ArraySource(np.arange(10.0)[:, None], np.arange(10))
    >>> whole = [targets.tolist() for _, targets in stream(source, pg.random.key(0), 4)]
    >>> later = [targets.tolist() for _, targets in stream(source, pg.random.key(0), 4, start=1)]
    >>> [len(batch) for batch in whole], whole[1:] == later
    ([4, 4, 2], True)
    """
    largest = int(np.diff(source.bounds).max()) * source.features * source.dtype.itemsize
    order = BlockOrder(key, source.bounds, max(1, window_bytes // max(1, largest)))
    loaded, window = -1, 0
    held = _Window(source)
    rows = order.rows(0)[:0]
    for low, high in slices(int(source.bounds[-1]), size, start=start, shard=shard):
        pieces: list[tuple[Array, Array]] = []
        while low < high or not pieces:
            while window < len(order.ends) - 1 and low >= order.ends[window]:
                window += 1
            if loaded != window:
                held.load(order.blocks(window))
                rows, loaded = held.rows(order.rows(window)), window
            stop = min(high, int(order.ends[window]))
            own = rows[low - int(order.starts[window]) : stop - int(order.starts[window])]
            pieces.append((take(held.inputs, own), held.targets[own]))
            low = stop
        if len(pieces) == 1:
            yield pieces[0]
        else:
            yield (
                np.concatenate([piece[0] for piece in pieces]),
                np.concatenate([piece[1] for piece in pieces]),
            )


Take = Callable[[Array, Array], Array]


class _Window:
    """Blocks one after the other in memory that is kept for the next ones.

    Of a part that is most of its source the blocks are read whole, and rows of others passed over: to leave
    them out would take a copy of all.
    """

    def __init__(self, source: Source) -> None:
        self._part = source if isinstance(source, Part) and source.share >= _MOST else None
        self._source = source if self._part is None else self._part.source
        self._memory = np.empty((0, source.features), source.dtype)
        self._own: Array | None = None
        self.inputs = self._memory
        self.targets = np.empty(0)

    def load(self, numbers: list[int]) -> None:
        """Read these blocks, each into its place."""
        bounds = self._source.bounds
        ends = np.cumsum([0, *(bounds[number + 1] - bounds[number] for number in numbers)])
        if ends[-1] > len(self._memory):
            self.inputs = self._memory = self._memory[:0]  # freed before the larger one is made
            self._memory = np.empty((int(ends[-1]), self._source.features), self._source.dtype)
        self.inputs = self._memory[: ends[-1]]
        places = zip(numbers, ends[:-1], ends[1:], strict=True)
        self.targets = np.concatenate([self._read(i, self.inputs[low:high]) for i, low, high in places])
        if self._part is not None:
            own = zip(numbers, ends[:-1], strict=True)
            self._own = np.concatenate([self._part.rows(number) + low for number, low in own])

    def rows(self, order: Array) -> Array:
        """Where the rows are that an order of the source's own rows counts."""
        return order if self._own is None else self._own[order]

    def _read(self, number: int, place: Array) -> Array:
        fill = getattr(self._source, "fill", None)
        if fill is not None:
            targets: Array = fill(number, place)
            return targets
        place[:], targets = self._source.block(number)
        return targets
