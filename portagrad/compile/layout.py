"""A layered layout of a figure: where its nodes stand and how its edges run, with no program's help.

After Sugiyama, Tagawa and Toda (1981), "Methods for visual understanding of hierarchical system
structures": ranks by longest paths, orders by barycentres, then coordinates. Edges that span ranks pass
through dummies, so that they cross no node.
"""

from __future__ import annotations

import itertools
import unicodedata
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from portagrad.compile.figure import Figure, Node

FONT = 13.0  # sizes are in pixels
LINE = 17.0
ARROW = 8.0
_PAD, _GAP, _RANK_GAP, _MARGIN = 10.0, 26.0, 32.0, 14.0
ROUND = ("input", "value", "result")  # kinds of nodes that are ellipses; the others are boxes
_SWEEPS = 12

Point = tuple[float, float]


@dataclass(slots=True)
class Box:
    """A node's place: its centre, its size, the width of what is written at its right, and its shape."""

    x: float
    y: float
    width: float
    height: float
    beside: float
    round: bool


@dataclass(slots=True)
class Layout:
    """A figure with places.

    Attributes
    ----------
    routes : list of list of Point
        For each edge its points: in turn a straight line along a rank and a curve, upright at both ends,
        to the next rank. The last point is the arrow's.
    """

    width: float
    height: float
    boxes: list[Box]
    routes: list[list[Point]]


def text_width(text: str, size: float = FONT) -> float:
    """The width of a line, for the widest of the usual fonts."""
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.42 if unicodedata.decomposition(character).startswith("<super>") else 0.61


def layout(figure: Figure) -> Layout:
    """Places for everything."""
    boxes = [_box(node) for node in figure.nodes]
    ranks = _ranks(len(boxes), figure.edges)
    hops, rows = _rows(ranks, figure.edges)
    _order(rows, hops)
    count = sum(map(len, rows))
    left = [box.width / 2 for box in boxes] + [4.0] * (count - len(boxes))
    right = [box.width / 2 + box.beside for box in boxes] + [4.0] * (count - len(boxes))
    x = _across(rows, hops, left, right, len(boxes))
    shift = _MARGIN - min((x[i] - left[i] for i in range(count)), default=0.0)
    width = max((x[i] + right[i] for i in range(count)), default=0.0) + shift + _MARGIN
    bands, y = [], _MARGIN
    for row in rows:
        height = max((boxes[i].height for i in row if i < len(boxes)), default=0.0)
        bands.append((y, y + height))
        y += height + _RANK_GAP + ARROW
    for i, box in enumerate(boxes):
        box.x, box.y = x[i] + shift, sum(bands[ranks[i]]) / 2
    xs = [each + shift for each in x]
    routes = _routes(figure.edges, hops, boxes, ranks, bands, xs)
    height = (bands[-1][1] if bands else _MARGIN) + _MARGIN
    if figure.upward:
        for box in boxes:
            box.y = height - box.y
        routes = [[(a, height - b) for a, b in route] for route in routes]
    return Layout(width, height, boxes, routes)


def _box(node: Node) -> Box:
    widest = max(map(text_width, node.lines), default=0.0)
    width, height = widest + 2 * _PAD, LINE * len(node.lines) + _PAD
    if node.kind in ROUND:
        height += 10.0
        width = max(1.2 * widest + _PAD, height)
    beside = text_width(node.beside) + 6.0 if node.beside else 0.0
    return Box(0.0, 0.0, width, height, beside, node.kind in ROUND)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """By longest path; what depends on nothing stands right before what first needs it."""
    ranks = [0] * count
    for tail, head in sorted(edges):
        ranks[head] = max(ranks[head], ranks[tail] + 1)
    first: dict[int, int] = {}
    for tail, head in edges:
        first[tail] = min(first.get(tail, count), ranks[head])
    sources = first.keys() - {head for _, head in edges}
    for i in sources:
        ranks[i] = first[i] - 1
    return ranks


def _rows(ranks: Sequence[int], edges: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """For each edge what it passes, dummies between; and what stands in each rank."""
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for i, rank in enumerate(ranks):
        rows[rank].append(i)
    hops, fresh = [], len(ranks)
    for tail, head in edges:
        between = range(ranks[tail] + 1, ranks[head])
        hops.append([tail, *range(fresh, fresh + len(between)), head])
        for rank in between:
            rows[rank].append(fresh)
            fresh += 1
    return hops, rows


def _neighbours(count: int, hops: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for hop in hops:
        for a, b in itertools.pairwise(hop):
            before[b].append(a)
            after[a].append(b)
    return before, after


def _order(rows: list[list[int]], hops: Sequence[Sequence[int]]) -> None:
    """Sort each rank by the means of its neighbours' places, down and up in turn, and keep the best."""
    sides = _neighbours(sum(map(len, rows)), hops)
    best, fewest = [list(row) for row in rows], _crossings(rows, sides[0])
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for r in order:
            place = {i: k for k, i in enumerate(rows[r - 1 if down else r + 1])}
            mean = {}
            for k, i in enumerate(rows[r]):
                near = sides[0 if down else 1][i]
                mean[i] = sum(place[j] for j in near) / len(near) if near else float(k)
            rows[r].sort(key=mean.__getitem__)
        crossings = _crossings(rows, sides[0])
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _crossings(rows: Sequence[Sequence[int]], before: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(rows):
        place = {i: k for k, i in enumerate(upper)}
        seen: list[int] = []
        for i in lower:
            ends = sorted(place[j] for j in before[i])
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _across(
    rows: Sequence[Sequence[int]],
    hops: Sequence[Sequence[int]],
    left: Sequence[float],
    right: Sequence[float],
    real: int,
) -> list[float]:
    """Each rank as near to its neighbours as the order allows; dummies pull harder, so edges are straight."""
    before, after = _neighbours(len(left), hops)
    x = [0.0] * len(left)
    gaps = []
    for row in rows:
        pairs = list(itertools.pairwise(row))
        gaps.append([right[a] + left[b] + (_GAP if max(a, b) < real else _GAP / 2) for a, b in pairs])
        for i, at in zip(row, placed([0.0] * len(row), [1.0] * len(row), gaps[-1]), strict=True):
            x[i] = at
    down, up = range(len(rows)), range(len(rows) - 1, -1, -1)
    one_side = [(down, (before,)), (up, (after,))] * 4
    both = [(down, (before, after)), (up, (before, after))] * 6
    for order, sides in one_side + both:
        for r in order:
            wanted, weights = [], []
            for i in rows[r]:
                near = [(x[j], _pull(i, j, real)) for side in sides for j in side[i]]
                weights.append(sum(weight for _, weight in near) or 0.01)
                wanted.append(sum(at * weight for at, weight in near) / weights[-1] if near else x[i])
            for i, at in zip(rows[r], placed(wanted, weights, gaps[r]), strict=True):
                x[i] = at
    return x


def _pull(i: int, j: int, real: int) -> float:
    """As in Gansner, Koutsofios, North and Vo (1993), "A technique for drawing directed graphs"."""
    return (1.0, 2.0, 8.0)[(i >= real) + (j >= real)]


def placed(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Positions in this order and at least so far apart, nearest to the wanted ones in least squares.

    Less what comes before them, positions only have to be ascending: pool adjacent violators.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        pools.append((want - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, u, m), (b, v, n) = pools[-2:]
            pools[-2:] = [((a * u + b * v) / (u + v), u + v, m + n)]
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=False)]


def _routes(
    edges: Sequence[tuple[int, int]],
    hops: Sequence[Sequence[int]],
    boxes: Sequence[Box],
    ranks: Sequence[int],
    bands: Sequence[tuple[float, float]],
    x: Sequence[float],
) -> list[list[Point]]:
    """Edges leave a node at its middle and come in side by side, in the order of where they come from."""
    entries: dict[int, list[tuple[float, int]]] = {}
    for e, (_, head) in enumerate(edges):
        entries.setdefault(head, []).append((x[hops[e][-2]], e))
    shift = {}
    for head, coming in entries.items():
        step = min(14.0, 0.6 * boxes[head].width / len(coming))
        for k, (_, e) in enumerate(sorted(coming)):
            shift[e] = (k - (len(coming) - 1) / 2) * step
    routes = []
    for e, (tail, head) in enumerate(edges):
        start, end = boxes[tail], boxes[head]
        route = [(start.x, start.y + start.height / 2), (start.x, bands[ranks[tail]][1])]
        for rank, dummy in enumerate(hops[e][1:-1], ranks[tail] + 1):
            route += [(x[dummy], bands[rank][0]), (x[dummy], bands[rank][1])]
        at = end.x + shift[e]
        # The top of an ellipse is lower at its sides.
        drop = end.height / 2 * (1 - (1 - (2 * shift[e] / end.width) ** 2) ** 0.5) if end.round else 0.0
        route += [(at, bands[ranks[head]][0] - ARROW), (at, end.y - end.height / 2 + drop)]
        routes.append(route)
    return routes
