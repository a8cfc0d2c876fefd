"""Ordering: when the groups and calls of a graph run, and which groups run together."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from portagrad.compile.grouping import group_of
from portagrad.compile.views import Layouts
from portagrad.transforms.equations import Equation, Graph, Variable


def ordered(graph: Graph, layouts: Layouts, at_once: bool) -> Graph:
    """A grouped graph in the order in which a plan runs it.

    Calls come first, then all groups that can run: so an optimizer's step meets a parameter after its last
    use, and a gradient while it is in the cache. Without `at_once` what nothing waits for is left for the
    end, where one launch takes it all.
    """
    eqs = layouts.computed(graph)
    maker = {out: eq for eq in eqs for out in eq.outs}
    needs = {eq: {maker[r] for r in layouts.reads(eq) if r in maker} for eq in eqs}
    users: dict[Equation, list[Equation]] = {eq: [] for eq in eqs}
    for eq in eqs:
        for needed in needs[eq]:
            users[needed].append(eq)
    urgent: set[Equation] = set()
    for eq in reversed(eqs):
        if group_of(eq) is None or not urgent.isdisjoint(users[eq]):
            urgent.add(eq)
    place = {eq: i for i, eq in enumerate(eqs)}
    waiting = {eq: len(needs[eq]) for eq in eqs}
    calls: list[int] = []  # places of those that can run; the first of them is the next one
    groups: list[Equation] = []
    found: list[Equation] = []

    def can_run(some: Iterable[Equation]) -> None:
        for eq in some:
            if group_of(eq) is None:
                heapq.heappush(calls, place[eq])
            else:
                groups.append(eq)

    can_run(eq for eq in eqs if not needs[eq])
    while calls or groups:
        if calls:
            step = [eqs[heapq.heappop(calls)]]
        else:
            groups.sort(key=place.__getitem__)
            waited = [] if at_once or urgent.isdisjoint(groups) else [eq for eq in groups if users[eq]]
            step = waited or groups
            groups = [eq for eq in groups if not users[eq]] if waited else []
        found += step
        for eq in step:
            for user in users[eq]:
                waiting[user] -= 1
            can_run(user for user in users[eq] if not waiting[user])
    return graph.with_equations(layouts.with_views(found, graph.outputs, ()))


def launches(graph: Graph, layouts: Layouts, apart: bool) -> list[list[Equation]]:
    """The equations that are no views, neighbouring groups in one list; `apart` where none of a list may wait
    for another one."""
    found: list[list[Equation]] = []
    made: set[Variable] = set()
    for eq in layouts.computed(graph):
        joins = found and group_of(eq) is not None and group_of(found[-1][0]) is not None
        if joins and not (apart and layouts.reads(eq) & made):
            found[-1].append(eq)
        else:
            found.append([eq])
            made = set()
        made.update(eq.outs)
    return found
