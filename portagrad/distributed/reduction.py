"""A reduction over all ranks: its buffers on their way, and the tree that comes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from portagrad.distributed.layout import Group, Layout
from portagrad.distributed.link import Link
from portagrad.distributed.ordered import from_ordered, to_ordered
from portagrad.distributed.routes import Routes

UNDER_WAY: set[Handle] = set()
"""Reductions that nobody may be waiting for: their buffers must live until MPI has done with them."""


class Handle:
    """A reduction that is under way; `Communicator.start_all_reduce` makes it.

    Parameters
    ----------
    link, layout
        Between the ranks, which have agreed on it, and of the tree.
    flats : list of arrays
        The filled buffers.
    tree : pytree
        What they hold, which is the result where a rank is alone.
    """

    def __init__(self, link: Link, layout: Layout, flats: list[Any], tree: Any) -> None:
        self._link, self._layout, self._flats = link, layout, flats
        self._requests: list[Any] = []
        self._arrived = link.size == 1
        self._result = tree if self._arrived else None

    def send(self, routes: Routes, nbytes: int, later: bool) -> Handle:
        """Send the buffers off, and return at once if `later` says so, else when they are reduced."""
        for i, group in enumerate(self._layout.groups if self._link.size > 1 else ()):
            self._flats[i] = self._sent(group, self._flats[i], routes, nbytes, later)
        if self._requests:
            for other in [other for other in UNDER_WAY if other.done()]:
                UNDER_WAY.discard(other)
            UNDER_WAY.add(self)
        return self

    def _sent(self, group: Group, flat: Any, routes: Routes, nbytes: int, later: bool) -> Any:
        """One buffer sent off; where its result will be."""
        op = self._layout.op
        direct = routes.direct(self._link, group, op)
        if direct is not None:
            with group.guard():
                direct(flat, nbytes)
            return flat
        host = group.to_host(flat)
        keys = to_ordered(host, op) if op in ("max", "min") else host
        self._link.reduce(keys, op, nbytes, self._requests if later else None)
        return host

    def done(self) -> bool:
        """Whether `wait` would return at once. MPI makes progress in calls such as this one."""
        if self._requests:
            with self._link.telling("all_reduce"):
                if self._link.mpi.Request.Testall(self._requests):
                    self._requests = []
        return not self._requests

    def wait(self) -> Any:
        """The reduced tree, once it has arrived; the same one for every call."""
        if not self._arrived:
            if self._requests:
                with self._link.telling("all_reduce"):
                    self._link.mpi.Request.Waitall(self._requests)
                self._requests = []
            UNDER_WAY.discard(self)
            flats, self._flats = self._flats, []
            self._result = self._layout.unpack([*map(self._finished, self._layout.groups, flats)])
            self._arrived = True
        return self._result

    def _finished(self, group: Group, flat: Any) -> Any:
        """A reduced buffer, where its arrays shall be."""
        mean = self._layout.op == "mean" and not group.scaled
        if not isinstance(flat, np.ndarray):
            with group.guard():
                return flat / self._link.size if mean else flat
        if mean:
            flat /= self._link.size
        elif self._layout.op in ("max", "min"):
            from_ordered(flat)
        return group.from_host(flat)
