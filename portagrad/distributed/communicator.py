"""Communicator: the processes of a data-parallel job and what they do together."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.distributed.guard import ending_all
from portagrad.distributed.layout import Layout, kind
from portagrad.distributed.link import Link, digest, operation
from portagrad.distributed.overlap import Overlap
from portagrad.distributed.reduction import Handle
from portagrad.distributed.routes import Routes, Through
from portagrad.tensor import bare, hold
from portagrad.transforms.gradient import value_and_grad
from portagrad.transforms.tree import flatten, unflatten

Op = Literal["sum", "mean", "max", "min"]
OPS = ("sum", "mean", "max", "min")
BUCKET_BYTES = 4 * 2**20
OVERLAPPED_BYTES = 2**19
_KEPT = 64  # layouts, before all are forgotten


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
        self.routes = Routes(through)
        self.local_rank = 0
        self._link = Link()
        self._layouts: dict[Any, tuple[Layout, tuple[str, ...], int]] = {}
        if comm is not None:
            from mpi4py import MPI

            with Link(MPI, comm).telling("Communicator"):
                own = comm.Dup()
                own.Set_errhandler(MPI.ERRORS_RETURN)  # mpi4py raises what is returned
                near = own.Split_type(MPI.COMM_TYPE_SHARED)
                self.local_rank = near.Get_rank()
                near.Free()
            self._link = Link(MPI, own)
        self.rank, self.size = self._link.rank, self._link.size
        self._overlap = Overlap(self._link, self.routes)

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

        While a reduction is under way others may be started, and every other operation called; its arrays
        must not be written to.

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

    def value_and_grad(
        self,
        f: Callable[..., Any],
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        op: Literal["sum", "mean"] = "mean",
        *,
        bucket_bytes: int = OVERLAPPED_BYTES,
    ) -> Callable[..., Any]:
        """`portagrad.value_and_grad`, value and gradient reduced over the ranks during the backward pass.

        The gradients are put into buckets in the order in which the backward pass completes them; a bucket is
        on its way while the pass makes the next ones. That pays where a link is slow beside the computation,
        and costs time where the ranks' own processors move the bytes: docs/distributed.md has measurements.

        Parameters
        ----------
        f, argnums, has_aux
            As for `portagrad.value_and_grad`; not reduced are auxiliary results. It runs op by op: a compiled
            function returns all of its gradient at once, and has nothing to overlap with.
        op : {"sum", "mean"}
            What of the ranks' functions is differentiated.
        bucket_bytes : int
            How much is gathered before it is sent.

        Returns
        -------
        callable
            Maps f's arguments to ``(value, gradient)`` or ``((value, aux), gradient)``, of which value and
            gradient are the same bits on every rank.

        Raises
        ------
        DistributedError
            On every rank, if the arguments are not alike, or the function fails on one.

        Examples
        --------
        >>> step = Communicator().value_and_grad(lambda w: pg.sum(w * w))
        >>> value, gradient = step(np.asarray([1.0, 2.0]))
        >>> gradient
        array([2., 4.])
        """
        if op not in ("sum", "mean"):
            raise ValueError(f"value_and_grad: op is sum or mean, not {op!r}")
        if bucket_bytes < 1:
            raise ValueError(f"value_and_grad: bucket_bytes must be positive, not {bucket_bytes!r}")
        if self.size == 1:
            return value_and_grad(f, argnums, has_aux)
        return functools.wraps(f)(self._overlap.transform(f, argnums, has_aux, op, bucket_bytes))

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
        failure = _not_a_root("broadcast", root, self.size)
        layout, flats = self._packed(f"broadcast(root={root})", tree, "broadcast", failure)
        if self.size == 1:
            return tree
        hosts = [group.to_host(flat) for group, flat in zip(layout.groups, flats, strict=True)]
        with self._link.telling("broadcast"):
            for flat in hosts:
                self._link.overwrite(flat, root)
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
                if rows[-1].dtype.hasobject:
                    raise TypeError("all_gather: a leaf holds Python's objects, which do not travel")
                lines.append(f"{rows[-1].dtype} {('rows', *x.shape[1:])}")
        except Exception as error:
            failure = error
        self._link.agree(lines, failure=failure)
        if self.size == 1:
            return tree
        parts = []
        for x, mine in zip(leaves, rows, strict=True):
            with self._link.telling("all_gather"):
                told = self._link.exchange(mine.tobytes())
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
        self._link.agree(("all_gather_object",), failure=failure)
        if self.size == 1:
            return [json.loads(text)]
        with self._link.telling("all_gather_object"):
            return [json.loads(data) for data in self._link.exchange(text)]

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
        failure = failure or _not_a_root("broadcast_object", root, self.size)
        self._link.agree((f"broadcast_object(root={root})",), failure=failure)
        if self.size > 1:
            with self._link.telling("broadcast_object"):
                text = self._link.broadcast(text, root)
        return json.loads(text)

    def barrier(self) -> None:
        """Return when all ranks have called it."""
        self._link.agree(("barrier",))

    def failed(self, error: BaseException) -> bool:
        """Tell the other ranks that this one cannot go on; they are told by whatever they do next together.

        Parameters
        ----------
        error : Exception

        Returns
        -------
        bool
            Whether this is the first of the ranks that say the same, and so the one to tell the user.

        Examples
        --------
        >>> Communicator().failed(ValueError("no such file"))
        True
        """
        return self._link.failed(error)

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
        with ending_all(self._link.comm):
            yield

    def _start(self, tree: Any, op: str, bucket_bytes: int, later: bool) -> Handle:
        """Begin a reduction, or do it."""
        failure = None
        if op not in OPS:
            failure = ValueError(f"all_reduce: op is one of {', '.join(OPS)}, not {op!r}")
        elif bucket_bytes < 1:
            failure = ValueError(f"all_reduce: bucket_bytes must be positive, not {bucket_bytes!r}")
        layout, flats = self._packed(f"all_reduce(op={op!r}, bucket_bytes={bucket_bytes})", tree, op, failure)
        return Handle(self._link, layout, flats, tree).send(self.routes, bucket_bytes, later)

    def _packed(self, what: str, tree: Any, op: str, failure: Exception | None) -> tuple[Layout, list[Any]]:
        """A tree in buffers, after all ranks have agreed that it is like theirs.

        What can fail on one rank alone lies before that, so that the others are told.
        """
        lines: tuple[str, ...] = (what,)
        fingerprint, layout, flats = 0, None, []
        if failure is None:
            try:
                leaves, structure = flatten(tree)
                layout, lines, fingerprint = self._layout(what, structure, leaves, op)
                flats = layout.pack(leaves) if self.size > 1 else []
            except Exception as error:
                failure = error
        self._link.agree(lines, fingerprint, failure)
        assert layout is not None
        return layout, flats

    def _layout(self, what: str, structure: Any, leaves: Any, op: str) -> tuple[Layout, tuple[str, ...], int]:
        """How a tree lies in buffers, what that has in common with other ranks, and its fingerprint."""
        key = (structure, what, *map(kind, leaves))
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _KEPT:
                self._layouts.clear()
            try:
                layout = Layout(structure, leaves, op, self.size)
            except TypeError as error:
                raise TypeError(f"{operation(what)}: {error}") from None
            lines = (what, *layout.lines, *self.routes.lines(layout))
            known = self._layouts[key] = layout, lines, digest(lines)
        return known


def _not_a_root(what: str, root: int, size: int) -> Exception | None:
    if 0 <= root < size:
        return None
    return ValueError(f"{what}: root must be one of the {size} ranks, not {root!r}")


def _as_json(what: str, value: Any) -> tuple[bytes, Exception | None]:
    try:
        return json.dumps(value).encode(), None
    except (TypeError, ValueError, RecursionError) as error:
        return b"", TypeError(f"{what}: the object does not fit into JSON ({error}); arrays go by all_gather")
