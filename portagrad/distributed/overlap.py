"""A gradient that is reduced over the ranks while the backward pass still makes the rest of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from portagrad.distributed.layout import Layout, kind, nbytes
from portagrad.distributed.link import Link, digest
from portagrad.distributed.reduction import Handle
from portagrad.distributed.routes import Routes
from portagrad.errors import DistributedError
from portagrad.trace import Traced
from portagrad.transforms.gradient import Inputs, differentiated, ones
from portagrad.transforms.reverse import Node, sweep, zeros
from portagrad.transforms.tree import flatten, unflatten
from portagrad.transforms.watched import first_uses, watch


@dataclass(frozen=True)
class Plan:
    """In which buckets the leaves of a gradient travel, in the order in which they are complete.

    `buckets` holds their places; the last leaf is the value of the function.
    """

    fingerprint: int
    lines: tuple[str, ...]
    buckets: list[tuple[list[int], Layout]]


class Overlap:
    """The transform of one communicator, with its plans."""

    def __init__(self, link: Link, routes: Routes) -> None:
        self.link, self.routes = link, routes
        self.plans: dict[Any, Plan] = {}

    def transform(
        self, f: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool, op: str, nbytes: int
    ) -> Callable[..., Any]:
        """`value_and_grad` of the sum or mean over all ranks."""

        def reduced(*args: Any, **kwargs: Any) -> Any:
            step = Step(self, op, nbytes)
            try:
                out, gradients = differentiated(f, argnums, has_aux, step.back)(*args, **kwargs)
            except DistributedError:
                raise  # known to all ranks
            except BaseException as error:
                step.give_up(error)
                raise
            return ((step.value, out[1]) if has_aux else step.value), gradients

        return reduced


class Step:
    """One evaluation: what has been told so far, and what is under way.

    Attributes
    ----------
    value : array
        That of the function, reduced.
    """

    def __init__(self, overlap: Overlap, op: str, nbytes: int) -> None:
        self._overlap, self._op, self._nbytes = overlap, op, nbytes
        self._what = f"value_and_grad(op={op!r}, bucket_bytes={nbytes})"
        self._plan: Plan | None = None
        self._parts: dict[int, Any] = {}
        self._likes: list[Any] = []
        self._handles: list[Handle] = []
        self.value: Any = None

    def back(self, inputs: Inputs, node: Node | None, y: Any) -> dict[Node, Any]:
        """The way back, with reduced gradients in the end."""
        if inputs.traced or isinstance(y, Traced):
            raise TypeError(
                "value_and_grad of ranks: an argument belongs to a transform; compile or differentiate the "
                "function itself, and reduce what comes of it with all_reduce"
            )
        self._likes = [*inputs.values, y]
        uses = first_uses(node, inputs.nodes) if node is not None else [(-1, [])] * len(inputs.nodes)
        self._plan = self._agreed(inputs, [first for first, _ in uses])
        self._tell(len(inputs.nodes), y)
        found: dict[Node, Any] = {}
        if node is not None:
            watch(inputs.nodes, uses, self._tell)
            found = sweep([(node, ones(y))], keep=False)
        for place, leaf in enumerate(inputs.nodes):
            if place not in self._parts:
                self._tell(place, found[leaf] if leaf in found else zeros(leaf, inputs.values[place]))
        *gradients, self.value = self._arrived()
        self._overlap.link.agree((self._what, "the end"))
        return dict(zip(inputs.nodes, gradients, strict=True))

    def give_up(self, error: BaseException) -> None:
        """Tell the other ranks, having sent what they wait for, whatever it is."""
        if self._plan is not None:
            self._parts.update(enumerate(self._likes))
            self._send()
            with contextlib.suppress(Exception):
                self._arrived()
        self._overlap.link.agree((self._what,), failure=error)

    def _agreed(self, inputs: Inputs, first: Sequence[int]) -> Plan:
        """The plan for these leaves, the same on all ranks."""
        key = (self._what, *[structure for structure, _ in inputs.structures], *map(kind, self._likes))
        known = self._overlap.plans.get(key)
        link = self._overlap.link
        if known is not None:
            link.agree(known.lines, known.fingerprint)
            return known
        trees, start = [], 0
        for structure, count in inputs.structures:
            trees.append(unflatten(structure, self._likes[start : start + count]))
            start += count
        leaves, structure = flatten({"gradient": trees, "value": self._likes[-1]})
        layout = Layout(structure, leaves, self._op, link.size)
        lines = (self._what, *layout.lines, *self._overlap.routes.lines(layout))
        link.agree(lines)
        # What is used last is complete first. The ranks' functions may differ, so that rank 0 decides.
        order = sorted(
            range(len(leaves)), key=lambda place: -first[place] if place < len(first) else -(2**62)
        )
        with link.telling("value_and_grad"):
            order = json.loads(link.broadcast(json.dumps(order).encode(), 0))
        plan = Plan(digest(lines), lines, self._buckets(order))
        if len(self._overlap.plans) >= 64:
            self._overlap.plans.clear()
        self._overlap.plans[key] = plan
        return plan

    def _buckets(self, order: Sequence[int]) -> list[tuple[list[int], Layout]]:
        buckets: list[list[int]] = [[]]
        filled = 0
        for place in order:
            if filled >= self._nbytes:
                buckets.append([])
                filled = 0
            buckets[-1].append(place)
            filled += nbytes(self._likes[place])
        made = []
        for places in buckets:
            leaves, structure = flatten([self._likes[place] for place in places])
            made.append((places, Layout(structure, leaves, self._op, self._overlap.link.size)))
        return made

    def _tell(self, place: int, g: Any) -> None:
        """Note a complete leaf, and send off what buckets are complete, always in the plan's order."""
        self._parts[place] = g
        for handle in self._handles:
            handle.done()  # MPI goes on when it is called
        self._send()

    def _send(self) -> None:
        assert self._plan is not None
        for places, layout in self._plan.buckets[len(self._handles) :]:
            if not all(place in self._parts for place in places):
                break
            flats = layout.pack([self._parts[place] for place in places])
            handle = Handle(self._overlap.link, layout, flats, None)
            self._handles.append(handle)
            handle.send(self._overlap.routes, self._nbytes, later=True)

    def _arrived(self) -> list[Any]:
        """The reduced leaves, in their order."""
        assert self._plan is not None
        leaves: list[Any] = [None] * len(self._likes)
        for (places, _), handle in zip(self._plan.buckets, self._handles, strict=True):
            for place, leaf in zip(places, handle.wait(), strict=True):
                leaves[place] = leaf
        return leaves
