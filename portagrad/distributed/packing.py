"""Trees of this rank in flat buffers, after all ranks have agreed that theirs are alike."""

from __future__ import annotations

from typing import Any

from portagrad.distributed.layout import Layout, kind
from portagrad.distributed.link import Link, digest, operation
from portagrad.distributed.routes import Routes
from portagrad.transforms.tree import flatten

_KEPT = 64  # layouts, before all are forgotten


class Packing:
    """The layouts of one communicator, each made when its kind of tree is first met."""

    def __init__(self, link: Link, routes: Routes) -> None:
        self._link, self._routes = link, routes
        self._known: dict[Any, tuple[Layout, tuple[str, ...], int]] = {}

    def pack(self, what: str, tree: Any, op: str, failure: Exception | None) -> tuple[Layout, list[Any]]:
        """The layout of a tree, and its buffers: none where a rank is alone.

        What can fail on one rank alone lies before the agreement, so that the others are told.

        Parameters
        ----------
        what : str
            The operation with its arguments.
        tree : pytree
        op : str
            What is to be done with the leaves.
        failure : Exception, optional
            What was found wrong before.
        """
        lines: tuple[str, ...] = (what,)
        fingerprint, layout, flats = 0, None, []
        if failure is None:
            try:
                leaves, structure = flatten(tree)
                layout, lines, fingerprint = self._layout(what, structure, leaves, op)
                flats = layout.pack(leaves) if self._link.size > 1 else []
            except Exception as error:
                failure = error
        self._link.agree(lines, fingerprint, failure)
        assert layout is not None
        return layout, flats

    def _layout(self, what: str, structure: Any, leaves: Any, op: str) -> tuple[Layout, tuple[str, ...], int]:
        """How a tree lies in buffers, what that has in common with other ranks, and its fingerprint."""
        key = (structure, what, *map(kind, leaves))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            try:
                layout = Layout(structure, leaves, op, self._link.size)
            except TypeError as error:
                raise TypeError(f"{operation(what)}: {error}") from None
            lines = (what, *layout.lines, *self._routes.lines(layout))
            known = self._known[key] = layout, lines, digest(lines)
        return known
