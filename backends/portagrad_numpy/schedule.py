"""In which order a plan runs a graph's equations, and which of them run together."""

from __future__ import annotations

import math
from typing import Any

from portagrad.compile.views import Layouts
from portagrad_numpy import blocks, fusion


class Step:
    """One call, or the equations of loops that run together."""

    def __init__(self, eqs: list[Any], nests: list[fusion.Nest]) -> None:
        self.eqs = eqs
        self.loop = bool(nests)
        self.nests = nests


def schedule(graph: Any, layouts: Layouts, compiled: bool) -> list[Step]:
    """The equations that are no views, as steps.

    All calls that can run come first, then in one step all loops that they wait for, and those whose results
    are wanted nowhere else: a product never waits for an update, an update meets the parameters after their
    last use, and no part of it runs before it can run as a whole.
    """
    makers = {out: eq for eq in graph.equations if out_is_made(eq, layouts) for out in eq.outs}
    pending = [eq for eq in graph.equations if out_is_made(eq, layouts)]
    waits = {id(eq): {id(makers[r]) for r in roots(eq, layouts) if r in makers} for eq in pending}
    fusable = {id(eq) for eq in pending if (compiled and fusion.takes(eq)) or blocks.takes(eq)}
    users: dict[int, set[int]] = {id(eq): set() for eq in pending}
    for eq in pending:
        for w in waits[id(eq)]:
            users[w].add(id(eq))
    urgent: set[int] = set()  # what some call waits for
    for eq in reversed(pending):
        if id(eq) not in fusable or not users[id(eq)].isdisjoint(urgent):
            urgent.add(id(eq))
    done: set[int] = set()
    steps: list[Step] = []
    while pending:
        progress = True
        while progress:  # the calls
            progress = False
            for eq in list(pending):
                if waits[id(eq)] <= done and id(eq) not in fusable:
                    steps.append(Step([eq], []))
                    pending.remove(eq)
                    done.add(id(eq))
                    progress = True
        together = _together([eq for eq in pending if id(eq) in fusable], waits, done, urgent, users)
        if together:
            steps.append(Step(together, fusion.nests(together, layouts.root.__getitem__, compiled)))
            done.update(map(id, together))
            pending = [eq for eq in pending if id(eq) not in done]
    return steps


def _together(pending: list[Any], waits: Any, done: set[int], urgent: set[int], users: Any) -> list[Any]:
    """The loops that run next."""
    ready: dict[int, Any] = {}
    for eq in pending:  # in the graph's order, so that one pass finds all
        if all(w in done or w in ready for w in waits[id(eq)]):
            ready[id(eq)] = eq
    chosen = dict(ready)
    while True:
        idle = [
            i
            for i, eq in chosen.items()
            if not (waits[i] <= done | chosen.keys())
            or (i not in urgent and math.prod(eq.outs[0].shape) > 1 and not users[i] <= chosen.keys())
        ]
        if not idle:
            return list(chosen.values()) or list(ready.values())
        for i in idle:
            del chosen[i]


def out_is_made(eq: Any, layouts: Layouts) -> bool:
    """Whether an equation computes something."""
    return eq.outs[0] not in layouts.views


def roots(eq: Any, layouts: Layouts) -> set[Any]:
    """The memories that an equation reads."""
    return {layouts.root[a] for a in eq.variables()}
