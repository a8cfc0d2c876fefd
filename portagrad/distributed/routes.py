"""On which way arrays of accelerators reach the other ranks."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any, Literal

from portagrad.distributed.layout import Group, Layout
from portagrad.distributed.link import Link, ranks
from portagrad.errors import BackendUnavailableError, DistributedError

Through = Literal["auto", "host", "device", "mpi"]
WAYS = ("auto", "host", "device", "mpi")


class Routes:
    """The ways of one communicator, by device, found when they are first needed.

    Attributes
    ----------
    through : str
        What was asked for.
    found : dict of str to str
        By device, how its arrays travel, and why not better.
    """

    def __init__(self, through: Through) -> None:
        if through not in WAYS:
            raise ValueError(f"Communicator: through is one of {', '.join(WAYS)}, not {through!r}")
        self.through = through
        self.found: dict[str, str] = {}
        self._open: dict[str, Any] = {}

    def lines(self, layout: Layout) -> list[str]:
        """What ranks must have in common about their ways."""
        return [f"{group.wire.name} {self._wish(group) or 'through the host'}" for group in layout.groups]

    def _wish(self, group: Group) -> str:
        if group.backend is None or self.through == "host":
            return ""
        if self.through == "mpi":
            return "from the device by MPI"
        return f"by the collectives of {group.backend.name}" if group.backend.collectives else ""

    def direct(self, link: Link, group: Group, op: str) -> Callable[[Any, int], None] | None:
        """What sums a buffer over all ranks in place where it is; None if it must go through the host.

        Collective, as the first call for a device opens its way.
        """
        if op not in ("sum", "mean") or not self._wish(group):
            return None
        backend = group.backend
        assert backend is not None
        if self.through == "mpi":

            def by_mpi(flat: Any, nbytes: int) -> None:
                backend.to_numpy(flat[:1])  # MPI knows no streams: what can be read has been computed
                link.reduce(flat, "sum", nbytes)

            return by_mpi
        place = f"{backend.name}:{backend.device_name(group.device)}"
        if place not in self._open:
            self._open[place] = self._joined(link, group, place)
        way = self._open[place]
        return None if way is None or not way.sums(group.wire.name) else lambda flat, _: way.all_reduce(flat)

    def _joined(self, link: Link, group: Group, place: str) -> Any:
        """The library's own collectives of all ranks; None where one lacks them, or two share a card."""
        assert group.backend is not None and group.backend.collectives is not None
        own, told = None, {"machine": platform.node()}
        try:
            own = group.backend.collectives(group.device)
            told["card"] = own.card
        except BackendUnavailableError as error:
            told["reason"] = str(error)
        with link.telling("all_reduce"):
            reason = _reason([json.loads(data) for data in link.exchange(json.dumps(told).encode())])
        if reason and self.through == "device":
            raise DistributedError(f"all_reduce: through='device' is impossible: {reason}")
        if own is None or reason:
            self.found[place] = f"through the host: {reason}"
            return None
        with link.telling("all_reduce"):
            invitation = link.broadcast(own.invitation() if link.rank == 0 else b"", 0)
        own.join(link.rank, link.size, invitation)
        self.found[place] = own.name
        return own


def _reason(told: list[dict[str, str]]) -> str:
    """Why ranks cannot use their library's own collectives, empty if they can."""
    lacking: dict[str, list[int]] = {}
    cards: dict[tuple[str, str], list[int]] = {}
    for rank, its in enumerate(told):
        if "reason" in its:
            lacking.setdefault(its["reason"], []).append(rank)
        else:
            cards.setdefault((its["machine"], its["card"]), []).append(rank)
    facts = [f"{ranks(who)}: {reason}" for reason, who in lacking.items()]
    facts += [f"{ranks(who)} share the card {card}" for (_, card), who in cards.items() if len(who) > 1]
    return "; ".join(facts)
