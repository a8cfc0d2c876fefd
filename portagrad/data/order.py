"""In which order an epoch goes through the examples, as a function of its key alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from portagrad import random
from portagrad.data.dataset import Array

Shard = tuple[int, int]
"""``(rank, ranks)``"""


def slices(examples: int, size: int, *, start: int = 0, shard: Shard = (0, 1)) -> Iterator[tuple[int, int]]:
    """The positions, from and to, that each batch of an epoch takes in the epoch's order.

    Parameters
    ----------
    examples, size : int
        `size` is that of the global batch; the last batch has what is left.
    start : int
        Number of the first batch.
    shard : (int, int)
        ``(rank, ranks)``: the rank's own slice of every global batch. The slices of all ranks follow each
        other without gap, so that a global batch is made of the same rows on any number of ranks. They
        differ by one row at most; where a batch has fewer rows than there are ranks, some are empty.

    Examples
    --------
    >>> list(slices(10, 4))
    [(0, 4), (4, 8), (8, 10)]
    >>> list(slices(10, 4, start=1, shard=(1, 2)))
    [(6, 8), (9, 10)]
    """
    rank, ranks = shard
    if not 0 <= rank < ranks:
        raise ValueError(f"shard must be (rank, ranks) with 0 <= rank < ranks, got {shard}")
    for low in range(start * size, examples, size):
        count = min(size, examples - low)
        yield low + count * rank // ranks, low + count * (rank + 1) // ranks


def batches(
    key: random.Key,
    examples: int,
    size: int,
    *,
    start: int = 0,
    shard: Shard = (0, 1),
    device: Any = "cpu",
) -> Iterator[Any]:
    """Row numbers of one epoch's batches: a random permutation cut into pieces of `size`.

    Parameters
    ----------
    key : Key
        From `portagrad.random.key`; with the other arguments it determines every batch.
    examples, size, start, shard
        As for `slices`.
    device : str or Device
        Where the row numbers are; the host by default.

    Examples
    --------
    >>> import portagrad as pg
    >>> [len(rows) for rows in batches(pg.random.key(0), 10, 4)]
    [4, 4, 2]
    """
    order = random.permutation(key, examples, device=device)
    for low, high in slices(examples, size, start=start, shard=shard):
        yield order[low:high]


class BlockOrder:
    """A random order that reads blocks whole: blocks in random order, rows shuffled among several of them.

    The blocks are permuted, so many at a time make a window, and the rows of a window are permuted. Block
    order and each window's rows are draws of their own from the epoch's key, so that any position is found
    without what comes before it.

    Parameters
    ----------
    key : Key
        Of the epoch.
    bounds : array of int64, shape (blocks + 1,)
        Rows before each block, and all rows last.
    window : int
        Blocks that are shuffled together.

    Attributes
    ----------
    starts, ends : array of int64
        The positions of the epoch's order between which each window lies.
    """

    def __init__(self, key: random.Key, bounds: Array, window: int) -> None:
        self._key, self._window = key, window
        self._blocks: Array = random.permutation(random.fold_in(key, 0), len(bounds) - 1, device="cpu")
        ends = np.cumsum(np.diff(bounds)[self._blocks])
        last = np.arange(window - 1, len(ends) + window - 1, window)
        self.ends: Array = ends[np.minimum(last, len(ends) - 1)]
        self.starts: Array = np.concatenate([[0], self.ends[:-1]])

    def blocks(self, window: int) -> list[int]:
        """Which blocks a window holds, in the order in which `rows` counts their rows."""
        found: list[int] = self._blocks[window * self._window : (window + 1) * self._window].tolist()
        return found

    def rows(self, window: int) -> Array:
        """The permutation of a window's rows."""
        size = int(self.ends[window] - self.starts[window])
        rows: Array = random.permutation(random.fold_in(self._key, window + 1), size, device="cpu")
        return rows
