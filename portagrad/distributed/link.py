"""One rank's link to the others: MPI, and that all ranks agree before they use it."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from portagrad.errors import DistributedError

FAILS = "fails with "
LEAVES = "the end of its program"
_BUSY, _PAUSE = 1e-3, 1e-4  # seconds: late by a tenth of the wait at most
_PIECE = 2**28  # bytes of a message, well below MPI's count of elements


class Link:
    """A communicator of MPI, with its errors told as portagrad's, or none where a rank is alone.

    Before they communicate, ranks compare what they are about to do: each brings a fingerprint, and one
    all-reduce of 16 bytes tells whether they are equal. So no rank waits for one that does something else,
    has failed, or has ended.

    Attributes
    ----------
    rank, size : int
    mpi : module
        ``mpi4py.MPI``, None where a rank is alone.
    comm : mpi4py.MPI.Comm
        None where a rank is alone.
    ended : str
        Which ranks are known to have ended, empty if none; nothing can be agreed on with them any more.
    """

    def __init__(self, mpi: Any = None, comm: Any = None) -> None:
        self.mpi, self.comm = mpi, comm
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self.ended = ""
        self._pair = np.zeros(2, np.int64)

    @contextlib.contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """MPI's own errors, with the rank and the operation."""
        try:
            yield
        except Exception as error:
            if self.mpi is None or not isinstance(error, self.mpi.Exception):
                raise
            text = f"{what}: MPI failed on rank {self.rank} of {self.size}: {error}"
            raise DistributedError(text) from error

    def agree(self, lines: Sequence[str], fingerprint: int = 0, failure: BaseException | None = None) -> None:
        """Return when all ranks have called this with the same lines.

        Parameters
        ----------
        lines : sequence of str
            What the ranks must have in common, the operation first.
        fingerprint : int
            `digest` of them, if known.
        failure : BaseException, optional
            What keeps this rank from it, raised again when the others have been told.

        Raises
        ------
        DistributedError
            On every rank, if they differ; it says who is about to do what.
        """
        if self.ended:
            raise DistributedError(f"{operation(lines[0])}: {self.ended}")
        if self.size > 1:
            if failure is not None:
                lines, fingerprint = (lines[0], f"{FAILS}{type(failure).__name__}: {failure}"), 0
            own = fingerprint or digest(lines)
            with self.telling(operation(lines[0])):
                if not self._alike(own):
                    told = [data.decode().split("\0") for data in self.exchange("\0".join(lines).encode())]
                    self._see_who_left(told)
                    failure = failure or DistributedError(difference(lines[0], told))
        if failure is not None:
            raise failure

    def failed(self, error: BaseException) -> bool:
        """Agree on nothing but that this rank fails; whether it is the first of those that say the same."""
        if self.size == 1 or self.ended:
            return not self.rank
        lines = ["failed", f"{FAILS}{type(error).__name__}: {error}"]
        with self.telling("failed"):
            if self._alike(digest(lines)):
                return not self.rank
            told = [data.decode().split("\0") for data in self.exchange("\0".join(lines).encode())]
        self._see_who_left(told)
        return told.index(lines) == self.rank

    def _see_who_left(self, told: Sequence[Sequence[str]]) -> None:
        left = [rank for rank, lines in enumerate(told) if list(lines) == [LEAVES]]
        self.ended = f"{ranks(left)} had ended before" if left else ""

    def _alike(self, fingerprint: int) -> bool:
        """Whether all ranks bring the same: the one way in which they meet, whatever they are about to do.

        A rank that waits for a late one does so after a while without keeping a core busy.
        """
        self._pair[:] = fingerprint, -fingerprint
        request = self.comm.Iallreduce(self.mpi.IN_PLACE, self._pair, self.mpi.MAX)
        patient = time.perf_counter() + _BUSY
        while not request.Test():
            if time.perf_counter() > patient:
                time.sleep(_PAUSE)
        return bool(self._pair[0] == -self._pair[1])  # the largest and the smallest

    def exchange(self, data: bytes) -> list[bytes]:
        """Bytes of every rank, on every rank."""
        counts = np.zeros(self.size, np.int64)
        self.comm.Allgather(np.asarray([len(data)], np.int64), counts)
        ends = np.cumsum(counts)
        into = np.empty(ends[-1], np.uint8)
        self.comm.Allgatherv(np.frombuffer(data, np.uint8), [into, counts, ends - counts, self.mpi.BYTE])
        return [into[end - n : end].tobytes() for n, end in zip(counts, ends, strict=True)]

    def broadcast(self, data: bytes, root: int) -> bytes:
        """Bytes of one rank, on every rank."""
        size = np.asarray([len(data)], np.int64)
        self.comm.Bcast(size, root)
        into = np.frombuffer(data, np.uint8) if self.rank == root else np.empty(size[0], np.uint8)
        self.overwrite(into, root)
        return into.tobytes()

    def overwrite(self, flat: Any, root: int) -> None:
        """The buffer of one rank into those of all."""
        for piece in pieces(flat, _PIECE):
            self.comm.Bcast(piece, root)

    def reduce(self, flat: Any, op: str, nbytes: int, requests: list[Any] | None = None) -> None:
        """Reduce a buffer in place in messages of at most so many bytes; or add the requests of that."""
        reduction = {"max": self.mpi.MAX, "min": self.mpi.MIN}.get(op, self.mpi.SUM)
        with self.telling("all_reduce"):
            for piece in pieces(flat, nbytes):
                if requests is None:
                    self.comm.Allreduce(self.mpi.IN_PLACE, piece, reduction)
                else:
                    requests.append(self.comm.Iallreduce(self.mpi.IN_PLACE, piece, reduction))


def pieces(flat: Any, nbytes: int) -> list[Any]:
    """A flat buffer in messages of bounded size."""
    step = max(1, nbytes // flat.itemsize)
    return [flat[i : i + step] for i in range(0, len(flat), step)]


def operation(line: str) -> str:
    """The name of the operation that a line describes."""
    return line.partition("(")[0]


def digest(lines: Sequence[str]) -> int:
    """A fingerprint of lines: 62 bits, never 0.

    Examples
    --------
    >>> digest(["all_reduce"]) == digest(["all_reduce"]) != digest(["barrier"])
    True
    """
    found = hashlib.blake2b("\0".join(lines).encode(), digest_size=8).digest()
    return (int.from_bytes(found) >> 2) | 1


def difference(what: str, told: Sequence[Sequence[str]]) -> str:
    """The message for ranks that do not agree: the first line in which they differ, and who says what.

    Examples
    --------
    >>> print(difference("barrier", [["barrier"], ["all_reduce(op='sum')", "it: float ()"], ["barrier"]]))
    barrier: the ranks do not do the same
      ranks 0 and 2: barrier
      rank 1: all_reduce(op='sum')
    every rank must call the same operations, in the same order, with trees that differ in values only
    """
    failing = [lines[1] if lines[1:] and lines[1].startswith(FAILS) else "" for lines in told]
    if any(failing):
        return f"{operation(what)}: another rank cannot do it{_said(failing)}"
    left = [rank for rank, lines in enumerate(told) if list(lines) == [LEAVES]]
    if left:
        return f"{operation(what)}: {ranks(left)} had come to the end of the program"
    longest = max(map(len, told))
    padded = [[*lines, *["nothing"] * (longest - len(lines))] for lines in told]
    at = next((i for i in range(longest) if len({lines[i] for lines in padded}) > 1), 0)
    return (
        f"{operation(what)}: the ranks do not do the same{_said([lines[at] for lines in padded])}\n"
        f"every rank must call the same operations, in the same order, with trees that differ in values only"
    )


def _said(lines: Sequence[str]) -> str:
    """The ranks by what they say, those that say nothing left out."""
    said: dict[str, list[int]] = {}
    for rank, line in enumerate(lines):
        said.setdefault(line, []).append(rank)
    return "".join(f"\n  {ranks(who)}: {line}" for line, who in said.items() if line)


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
