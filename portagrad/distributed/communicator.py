"""Communicator: the processes of a data-parallel job and what they do together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.distributed.agreement import Agreement, exchange
from portagrad.distributed.guard import ending_all
from portagrad.distributed.layout import Group, Layout, digest, kind
from portagrad.distributed.ordered import from_ordered, to_ordered
from portagrad.distributed.routes import Routes, Through
from portagrad.errors import DistributedError
from portagrad.tensor import bare, hold
from portagrad.transforms.tree import flatten, unflatten

Op = Literal["sum", "mean", "max", "min"]
OPS = ("sum", "mean", "max", "min")
BUCKET_BYTES = 4 * 2**20
_KEPT = 64  # layouts, before all are forgotten


class Handle:
    """A reduction that is under way; `Communicator.start_all_reduce` makes it."""

    def __init__(
        self, comm: Communicator, layout: Layout, op: str, flats: Any, requests: Any, result: Any = None
    ) -> None:
        self._comm, self._layout, self._op = comm, layout, op
        self._flats, self._requests = flats, requests
        self._result = result

    def done(self) -> bool:
        """Whether `wait` would return at once. MPI makes progress in calls such as this one."""
        if self._requests:
            with self._comm._telling("all_reduce"):
                if self._comm._mpi.Request.Testall(self._requests):
                    self._requests = []
        return not self._requests

    def wait(self) -> Any:
        """The reduced tree, once it has arrived; the same one for every call."""
        if self._flats is not None:
            if self._requests:
                with self._comm._telling("all_reduce"):
                    self._comm._mpi.Request.Waitall(self._requests)
            self._requests = []
            self._comm._pending.discard(self)
            self._result = self._comm._finished(self._layout, self._op, self._flats)
            self._flats = None
        return self._result


class Communicator:
    """Processes that compute together: each runs the same program and knows its rank.

    Every operation but `rank` and `size` is collective: all ranks must call it, in the same order. That they
    do is checked before anything is sent, by 16 bytes that all ranks reduce first; where they do not, or a
    rank has failed or ended, every rank gets a `DistributedError` that says who does what, and none waits.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        A communicator of mpi4py, of which a duplicate is used, so that no message meets one of yours. None is
        this process alone, without MPI. `world` has all processes of the job.
    through : {"auto", "host", "device", "mpi"}
        The way of arrays on accelerators: the library's own collective operations (for CuPy NCCL) where
        every rank has them, else through the host's memory; always through the host; the library's own, or an
        error that says why not; or straight from the device's memory by an MPI that was built for that.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.
    local_rank : int
        The number of this process among those of its machine, from 0: of its GPU, say.

    Raises
    ------
    DistributedError
        Where MPI fails; the message names the rank.

    Examples
    --------
    >>> comm = Communicator()
    >>> comm.rank, comm.size, comm.all_reduce({"loss": 0.5, "examples": 32})
    (0, 1, {'loss': 0.5, 'examples': 32})
    """

    def __init__(self, comm: Any = None, *, through: Through = "auto") -> None:
        self.rank, self.size, self.local_rank = 0, 1, 0
        self._mpi: Any = None
        self._comm: Any = None
        self._layouts: dict[Any, tuple[Layout, tuple[str, ...], int]] = {}
        self._pending: set[Handle] = set()  # their buffers must live until MPI has done with them
        self.routes = Routes(through)
        if comm is None:
            return
        from mpi4py import MPI

        self._mpi = MPI
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        with self._telling("Communicator"):
            self._comm = comm.Dup()
            self._comm.Set_errhandler(MPI.ERRORS_RETURN)  # mpi4py raises what is returned
            near = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
            self.local_rank = near.Get_rank()
            near.Free()
        self._agreement = Agreement(MPI, self._comm)

    def __repr__(self) -> str:
        return f"<Communicator: rank {self.rank} of {self.size}>"

    def all_reduce(self, tree: Any, op: Op = "sum", *, bucket_bytes: int = BUCKET_BYTES) -> Any:
        """The sum, mean, maximum or minimum over all ranks of each leaf of a tree, on every rank.

        The arrays go into one flat buffer for each dtype, which travels in messages of bounded size: a
        message's latency is paid per bucket and not per array. The result is the same bits on every rank and
        in every run. Half precision is added in float32.

        Parameters
        ----------
        tree : pytree
            Arrays of any backend and Python's numbers, the same structure, shapes and dtypes on all ranks.
        op : {"sum", "mean", "max", "min"}
            NaN is passed on. Booleans have "max" (any rank) and "min" (all ranks) only.
        bucket_bytes : int
            The largest message.

        Returns
        -------
        pytree
            Like `tree`, each array of its library, dtype and device; of one rank alone the tree itself.

        Raises
        ------
        DistributedError
            On every rank, if the trees are not alike, or one rank has failed.
        TypeError
            If a leaf has no such reduction.

        Examples
        --------
        >>> Communicator().all_reduce([np.asarray([1.0, 2.0])], op="mean")
        [array([1., 2.])]
        """
        return self._start(tree, op, bucket_bytes, later=False).wait()

    def start_all_reduce(self, tree: Any, op: Op = "sum", *, bucket_bytes: int = BUCKET_BYTES) -> Handle:
        """Begin `all_reduce`, to be waited for later.

        The arrays have been copied when this returns. While a reduction is under way others may be started,
        and every other operation called.

        Parameters
        ----------
        tree, op, bucket_bytes
            As for `all_reduce`.

        Returns
        -------
        Handle
            Its ``wait()`` returns the reduced tree, ``done()`` tells whether it has arrived.

        Examples
        --------
        >>> handle = Communicator().start_all_reduce({"w": np.ones(2)}, op="mean")
        >>> handle.wait()
        {'w': array([1., 1.])}
        """
        return self._start(tree, op, bucket_bytes, later=True)

    def broadcast(self, tree: Any, root: int = 0) -> Any:
        """The tree of one rank, on every rank.

        Parameters
        ----------
        tree : pytree
            Arrays and numbers; on other ranks than `root` what has the same structure, shapes and dtypes, and
            says where the arrays shall be.
        root : int
            Whose tree it is.

        Examples
        --------
        >>> Communicator().broadcast({"w": np.ones(2)})
        {'w': array([1., 1.])}
        """
        failure = self._not_a_root("broadcast", root)
        layout, flats = self._packed(f"broadcast(root={root})", tree, "broadcast", failure)
        if self.size == 1:
            return tree
        hosts = [group.to_host(flat) for group, flat in zip(layout.groups, flats, strict=True)]
        with self._telling("broadcast"):
            for flat in hosts:
                for piece in _pieces(flat, 2**28):
                    self._comm.Bcast(piece, root)
        pairs = zip(layout.groups, hosts, strict=True)
        return tree if self.rank == root else layout.unpack([group.from_host(flat) for group, flat in pairs])

    def all_gather(self, tree: Any) -> Any:
        """The arrays of all ranks one after the other along their first axis, on every rank.

        Parameters
        ----------
        tree : pytree
            Arrays with at least one axis, whose first may differ in length from rank to rank: the predictions
            on this rank's part of the data, say.

        Examples
        --------
        >>> Communicator().all_gather(np.ones((2, 3))).shape
        (2, 3)
        """
        leaves, structure = flatten(tree)
        lines, failure, rows = ["all_gather"], None, []
        try:
            for x in map(bare, leaves):
                backend = BY_TYPE[type(x)]
                if backend is None or not x.shape:
                    raise TypeError(
                        f"all_gather: a leaf is a {type(x).__name__} without axes; "
                        f"numbers and other objects go by all_gather_object"
                    )
                rows.append(np.ascontiguousarray(backend.to_numpy(x)))
                lines.append(f"{rows[-1].dtype} {('rows', *x.shape[1:])}")
        except Exception as error:
            failure = error
        self._seek(lines, failure=failure)
        if self.size == 1:
            return tree
        parts = []
        for x, mine in zip(leaves, rows, strict=True):
            with self._telling("all_gather"):
                told = exchange(self._mpi, self._comm, mine.tobytes())
            whole = np.concatenate([np.frombuffer(t, mine.dtype).reshape(-1, *mine.shape[1:]) for t in told])
            backend = BY_TYPE[type(bare(x))]
            assert backend is not None
            part = backend.from_numpy(whole, backend.device_of(bare(x)))
            parts.append(part if x is bare(x) else hold(part))
        return unflatten(structure, parts)

    def all_gather_object(self, value: Any) -> list[Any]:
        """A small object of every rank, in the order of the ranks, on every rank.

        It travels as JSON: numbers, strings, booleans, None, and lists and dictionaries of these. Nothing is
        unpickled.

        Parameters
        ----------
        value : object

        Examples
        --------
        >>> Communicator().all_gather_object({"examples": 32})
        [{'examples': 32}]
        """
        text, failure = _as_json("all_gather_object", value)
        self._seek(("all_gather_object",), failure=failure)
        if self.size == 1:
            return [json.loads(text)]
        with self._telling("all_gather_object"):
            return [json.loads(data) for data in exchange(self._mpi, self._comm, text)]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """A small object of one rank, on every rank; it travels as JSON, as in `all_gather_object`.

        Parameters
        ----------
        value : object
            On other ranks than `root` it is not read.
        root : int
            Whose it is.

        Examples
        --------
        >>> Communicator().broadcast_object({"run": "runs/7"})
        {'run': 'runs/7'}
        """
        text, failure = _as_json("broadcast_object", value if self.rank == root else None)
        failure = failure or self._not_a_root("broadcast_object", root)
        self._seek((f"broadcast_object(root={root})",), failure=failure)
        if self.size > 1:
            size = np.asarray([len(text)], np.int64)
            with self._telling("broadcast_object"):
                self._comm.Bcast(size, root)
                data = np.frombuffer(text, np.uint8) if self.rank == root else np.empty(size[0], np.uint8)
                self._comm.Bcast(data, root)
            text = data.tobytes()
        return json.loads(text)

    def barrier(self) -> None:
        """Return when all ranks have called it."""
        self._seek(("barrier",))

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Within it an exception that nobody catches ends the whole job, with the rank and the error's line.

        Without it the other ranks learn of the end of this one only when they next do something with it.
        ``SystemExit`` passes: it is for the end on which all ranks have agreed. Where there is one rank only,
        everything passes.

        Examples
        --------
        >>> with Communicator().guarded():
        ...     print("trains")
        trains
        """
        if self.size == 1:
            yield
            return
        with ending_all(self._comm):
            yield

    def _start(self, tree: Any, op: str, bucket_bytes: int, later: bool) -> Handle:
        """Begin a reduction, or do it."""
        failure = None
        if op not in OPS:
            failure = ValueError(f"all_reduce: op is one of {', '.join(OPS)}, not {op!r}")
        elif bucket_bytes < 1:
            failure = ValueError(f"all_reduce: bucket_bytes must be positive, not {bucket_bytes!r}")
        layout, flats = self._packed(f"all_reduce(op={op!r}, bucket_bytes={bucket_bytes})", tree, op, failure)
        if self.size == 1:
            return Handle(self, layout, op, None, [], tree)
        requests: list[Any] = []
        for i, group in enumerate(layout.groups):
            flats[i] = self._reduce(group, flats[i], op, bucket_bytes, requests if later else None)
        handle = Handle(self, layout, op, flats, requests)
        if requests:
            self._pending = {other for other in self._pending if not other.done()} | {handle}
        return handle

    def _packed(
        self, what: str, tree: Any, op: str, failure: Exception | None = None
    ) -> tuple[Layout, list[Any]]:
        """A tree in buffers, after all ranks have agreed that it is like theirs.

        What can fail on one rank alone lies before that, so that the others are told.
        """
        lines: tuple[str, ...] = (what,)
        fingerprint, layout, flats = 0, None, []
        try:
            if failure is not None:
                raise failure
            leaves, structure = flatten(tree)
            key = (structure, what, *map(kind, leaves))
            known = self._layouts.get(key)
            if known is None:
                if len(self._layouts) >= _KEPT:
                    self._layouts.clear()
                layout = Layout(structure, leaves, op)
                lines = (what, *layout.lines, *self.routes.lines(layout))
                known = self._layouts[key] = layout, lines, digest(lines)
            layout, lines, fingerprint = known
            flats = layout.pack(leaves) if self.size > 1 else []
        except Exception as error:
            failure = error
        self._seek(lines, fingerprint, failure)
        assert layout is not None
        return layout, flats

    def _reduce(self, group: Group, flat: Any, op: str, bucket_bytes: int, requests: list[Any] | None) -> Any:
        """Reduce one buffer in place, or add its requests; the buffer that will hold the result."""
        direct = self.routes.direct(self, group, op)
        if direct is not None:
            with group.guard():
                direct(flat)
            return flat
        host = group.to_host(flat)
        self._send(to_ordered(host, op) if op in ("max", "min") else host, op, bucket_bytes, requests)
        return host

    def _sum_where_it_is(self, group: Group, flat: Any) -> None:
        """Let MPI sum a buffer in the memory of a device."""
        assert group.backend is not None
        group.backend.to_numpy(flat[:1])  # MPI knows no streams: what is read has been computed
        self._send(flat, "sum", BUCKET_BYTES, None)

    def _send(self, flat: Any, op: str, bucket_bytes: int, requests: list[Any] | None) -> None:
        with self._telling("all_reduce"):
            reduction = {"max": self._mpi.MAX, "min": self._mpi.MIN}.get(op, self._mpi.SUM)
            for piece in _pieces(flat, bucket_bytes):
                if requests is None:
                    self._comm.Allreduce(self._mpi.IN_PLACE, piece, reduction)
                else:
                    requests.append(self._comm.Iallreduce(self._mpi.IN_PLACE, piece, reduction))

    def _finished(self, layout: Layout, op: str, flats: list[Any]) -> Any:
        """The tree of reduced buffers."""
        for i, group in enumerate(layout.groups):
            flat = flats[i]
            if isinstance(flat, np.ndarray):
                if op == "mean":
                    flat /= self.size
                elif op in ("max", "min"):
                    from_ordered(flat)
                flats[i] = group.from_host(flat)
            elif op == "mean":
                with group.guard():
                    flats[i] = flat / self.size
        return layout.unpack(flats)

    def _seek(self, lines: Any, fingerprint: int = 0, failure: Exception | None = None) -> None:
        """Go on when all ranks are about to do the same, each without a failure."""
        if self.size == 1:
            if failure is not None:
                raise failure
            return
        with self._telling(lines[0].partition("(")[0]):
            self._agreement.seek(lines, fingerprint, failure)

    def _not_a_root(self, what: str, root: int) -> Exception | None:
        if 0 <= root < self.size:
            return None
        return ValueError(f"{what}: root must be one of the {self.size} ranks, not {root!r}")

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """MPI's own errors, with the rank and the operation."""
        try:
            yield
        except Exception as error:
            if self._mpi is None or not isinstance(error, self._mpi.Exception):
                raise
            text = f"{what}: MPI failed on rank {self.rank} of {self.size}: {error}"
            raise DistributedError(text) from error


def _pieces(flat: Any, nbytes: int) -> list[Any]:
    """A flat buffer in messages of bounded size."""
    step = max(1, nbytes // flat.itemsize)
    return [flat[i : i + step] for i in range(0, len(flat), step)]


def _as_json(what: str, value: Any) -> tuple[bytes, Exception | None]:
    try:
        return json.dumps(value).encode(), None
    except (TypeError, ValueError, RecursionError) as error:
        return b"", TypeError(f"{what}: the object does not fit into JSON ({error}); arrays go by all_gather")
