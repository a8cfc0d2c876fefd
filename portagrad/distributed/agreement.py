"""Whether all ranks are about to do the same thing: a few bytes before every collective operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portagrad.distributed.layout import digest
from portagrad.errors import DistributedError

WAYS_OUT = {
    "all_reduce": "give it on every rank, in the same order, trees of the same structure, shapes and dtypes",
    "broadcast": "give it on every rank a tree of the same structure, shapes and dtypes",
    "all_gather": "arrays may differ between ranks in their first axis only",
}


class Agreement:
    """The ranks of a communicator compare what they do before they do it.

    Each brings a fingerprint, and one all-reduce of 16 bytes tells whether they are equal: no rank can wait
    for one that does something else, or has failed, or has ended.
    """

    def __init__(self, mpi: Any, comm: Any) -> None:
        self._mpi, self._comm = mpi, comm
        self._pair = np.zeros(2, np.int64)

    def seek(self, lines: Sequence[str], fingerprint: int = 0, failure: Exception | None = None) -> None:
        """Return when all ranks have called this with the same lines.

        Parameters
        ----------
        lines : sequence of str
            What the ranks must have in common, the operation's name first.
        fingerprint : int
            `digest` of them, if known.
        failure : Exception, optional
            What keeps this rank from it, raised again when the others have been told.

        Raises
        ------
        DistributedError
            On every rank, if they differ; it says who is about to do what.
        """
        if failure is not None:
            lines = (lines[0], f"fails with {type(failure).__name__}: {failure}")
            fingerprint = 0
        own = fingerprint or digest(lines)
        self._pair[:] = own, -own
        self._comm.Allreduce(self._mpi.IN_PLACE, self._pair, self._mpi.MAX)  # the largest, and the smallest
        if self._pair[0] != -self._pair[1]:
            told = [text.split("\0") for text in self._exchange("\0".join(lines))]
            if failure is None:
                raise DistributedError(difference(lines[0], told))
        if failure is not None:
            raise failure

    def _exchange(self, text: str) -> list[str]:
        """A text of every rank, on every rank."""
        return [part.decode() for part in exchange(self._mpi, self._comm, text.encode())]


def exchange(mpi: Any, comm: Any, data: bytes) -> list[bytes]:
    """Bytes of every rank, on every rank."""
    counts = np.zeros(comm.size, np.int64)
    comm.Allgather(np.asarray([len(data)], np.int64), counts)
    ends = np.cumsum(counts)
    into = np.empty(ends[-1], np.uint8)
    comm.Allgatherv(np.frombuffer(data, np.uint8), [into, counts, ends - counts, mpi.BYTE])
    return [into[end - n : end].tobytes() for n, end in zip(counts, ends, strict=True)]


def difference(what: str, told: Sequence[Sequence[str]]) -> str:
    """The message for ranks that do not agree: the first line in which they differ, and who says what."""
    longest = max(map(len, told))
    padded = [[*lines, *["nothing"] * (longest - len(lines))] for lines in told]
    at = next((i for i in range(longest) if len({lines[i] for lines in padded}) > 1), 0)
    said: dict[str, list[int]] = {}
    for rank, lines in enumerate(padded):
        said.setdefault(lines[at], []).append(rank)
    facts = "".join(f"\n  {ranks(who)}: {line}" for line, who in said.items())
    name = what.partition("(")[0]
    fails = any(lines[1:] and lines[1].startswith("fails with") for lines in told)
    way = "" if fails or at == 0 else f"\n{WAYS_OUT.get(name, '')}".rstrip()
    return f"{name}: the ranks do not agree{facts}{way}"


def ranks(numbers: Sequence[int]) -> str:
    """Ranks in words.

    Examples
    --------
    >>> ranks([3]), ranks([0, 2]), ranks([1, 2, 3, 4])
    ('rank 3', 'ranks 0 and 2', 'ranks 1 to 4')
    """
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"ranks {numbers[0]} to {numbers[-1]}"
    return f"ranks {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
