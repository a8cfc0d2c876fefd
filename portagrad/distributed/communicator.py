"""Communicator: the processes of a data-parallel job and what they do together."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from portagrad.distributed.gather import broadcast_object, gather_arrays, gather_objects
from portagrad.distributed.guard import ending_all
from portagrad.distributed.link import Link
from portagrad.distributed.overlap import Overlap
from portagrad.distributed.packing import Packing
from portagrad.distributed.reduction import Handle
from portagrad.distributed.routes import Routes, Through
from portagrad.transforms.gradient import value_and_grad

Op = Literal["sum", "mean", "max", "min"]
OPS = ("sum", "mean", "max", "min")
BUCKET_BYTES = 4 * 2**20
OVERLAPPED_BYTES = 2**19


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
        self._packing = Packing(self._link, self.routes)
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
        failure = self._not_a_root("broadcast", root)
        layout, flats = self._packing.pack(f"broadcast(root={root})", tree, "broadcast", failure)
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
        return gather_arrays(self._link, tree)

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
        return gather_objects(self._link, value)

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
        failure = self._not_a_root("broadcast_object", root)
        return broadcast_object(self._link, value, root, failure)

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
        what = f"all_reduce(op={op!r}, bucket_bytes={bucket_bytes})"
        layout, flats = self._packing.pack(what, tree, op, failure)
        return Handle(self._link, layout, flats, tree).send(self.routes, bucket_bytes, later)

    def _not_a_root(self, what: str, root: int) -> Exception | None:
        if 0 <= root < self.size:
            return None
        return ValueError(f"{what}: root must be one of the {self.size} ranks, not {root!r}")
