"""Charts as small inline SVG; their axes' labels are text of the page and keep their size on a phone.

The drawing is stretched over the room there is; strokes do not scale with it, and a point is a stroke of no
length with round ends. Colours are the page's variables and follow its light and dark.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from portagrad.train.reports import bin_count

Series = Sequence[float | None]
_WIDTH, _HEIGHT = 1000.0, 400.0  # units of the drawing, of no consequence but for rounding
_TONES = 8  # colours of the page


@dataclass(frozen=True)
class Line:
    """One curve: its label, its heights and the number of its colour."""

    label: str
    values: Series
    tone: int = 0
    dashed: bool = False

    @classmethod
    def of_many(cls, label: str, values: Series, place: int) -> Line:
        """The curve at a place among many: the colours by turns, then dashed."""
        return cls(label, values, place % _TONES, dashed=place // _TONES % 2 == 1)


@dataclass(frozen=True)
class Stroke:
    """A path of the drawing, as a line, as dots or as filled areas."""

    d: str
    tone: int | str
    dashed: bool = False
    form: Literal["line", "dots", "bars"] = "line"


@dataclass(frozen=True)
class Tick:
    """A label on an axis, at a place in percent from the left or the top."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What the template draws."""

    title: str
    description: str
    x_label: str
    paths: list[Stroke]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    legend: list[Line] = field(default_factory=list)
    points: str = ""
    """JSON for the pointer: where the points are and what is said at each."""
    y_label: str = ""


@dataclass(frozen=True)
class Axis:
    """A range of numbers and the places of its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    percent: bool = False

    def at(self, value: float) -> float:
        """The share of the axis below a value."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return (value - low) / (high - low)

    def said(self, value: float) -> str:
        """A value as its tick says it."""
        if self.percent:
            return f"{value * 100:.4g}%"
        return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e+")


def axis(
    values: Sequence[float], *, percent: bool = False, may_log: bool = False, whole: bool = False
) -> Axis:
    """The axis for values: in decades where they span more than one and it may, else in round steps."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = min(values), max(values)
    if may_log and low > 0 and high > 10 * low:
        decades = LogLocator(numticks=6).tick_values(low, high)
        fine = high < 100 * low
        marks = LogLocator(subs=(1, 2, 5) if fine else (1,), numticks=6).tick_values(low, high)
        chosen = tuple(float(x) for x in marks if low * 0.99 <= x <= high * 1.01) or tuple(decades)
        return Axis(low / 1.08, high * 1.08, chosen, log=True)
    if low == high:
        pad = abs(low) * 0.1 or 0.5
        low, high = low - pad, high + pad
    elif not whole:
        pad = (high - low) * 0.03
        low, high = low - pad, high + pad
    if percent:
        high = min(high, 1.005)
    marks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high)
    return Axis(low, high, tuple(float(x) for x in marks if low <= x <= high), percent=percent)


def line_chart(
    title: str,
    numbers: Sequence[float],
    lines: Sequence[Line],
    *,
    x_label: str = "epoch",
    percent: bool = False,
    may_log: bool = False,
) -> Chart | None:
    """Curves over epochs; None where there is nothing to draw."""
    lines = [line for line in lines if any(value is not None for value in line.values)]
    known = [value for line in lines for value in line.values if value is not None]
    if not known or not numbers:
        return None
    across = axis([min(numbers), max(numbers)], whole=True)
    up = axis(known, percent=percent, may_log=may_log)
    paths = [Stroke(_curve(numbers, line.values, across, up), line.tone, line.dashed) for line in lines]
    # A value alone, such as that of a run of one epoch, would be lost as a point of a line's width.
    alone = ["".join(re.findall(r"M[^ML]+h0", path.d)) for path in paths]
    paths += [Stroke(d, line.tone, form="dots") for line, d in zip(lines, alone, strict=True) if d]
    said = [
        {
            "x": round(across.at(n), 5),
            "title": f"{x_label} {n:g}",
            "rows": [
                [line.tone, line.label, _exact(line.values[i], percent), round(1 - up.at(value), 5)]
                for line in lines
                if (value := line.values[i]) is not None
            ],
        }
        for i, n in enumerate(numbers)
    ]
    ends = "; ".join(f"{line.label} {_range(line.values, percent)}" for line in lines)
    return Chart(
        title=f"{title}, log scale" if up.log else title,
        description=f"{title} over {len(numbers)} epochs. {ends}.",
        x_label=x_label,
        paths=paths,
        x_ticks=[Tick(100 * across.at(x), f"{x:g}") for x in across.ticks],
        y_ticks=[Tick(100 * (1 - up.at(y)), up.said(y)) for y in up.ticks],
        legend=list(lines),
        points=json.dumps(said, ensure_ascii=False),
    )


def scatter_chart(
    title: str, x: Series, y: Series, *, x_label: str, y_label: str, guide: str, description: str
) -> Chart:
    """Points, with the line y = x (``guide="diagonal"``) or y = 0 (``"zero"``) that they should lie on."""
    xs, ys = ([value for value in values if value is not None] for values in (x, y))
    if guide == "diagonal":
        across = up = axis([*xs, *ys])
        ends = [(across.low, across.low), (across.high, across.high)]
    else:
        across, up = axis(xs), axis([*ys, 0.0])
        ends = [(across.low, 0.0), (across.high, 0.0)]
    dots = "".join(f"M{_place(a, b, across, up)}h0" for a, b in zip(xs, ys, strict=True))
    return Chart(
        title=title,
        description=description,
        x_label=x_label,
        y_label=y_label,
        paths=[
            Stroke("M" + "L".join(_place(a, b, across, up) for a, b in ends), "guide", dashed=True),
            Stroke(dots, 0, form="dots"),
        ],
        x_ticks=[Tick(100 * across.at(value), across.said(value)) for value in across.ticks],
        y_ticks=[Tick(100 * (1 - up.at(value)), up.said(value)) for value in up.ticks],
    )


def histogram_chart(
    title: str, values: np.ndarray[Any, Any], *, x_label: str, y_label: str, description: str
) -> Chart:
    """How values are spread, with a line at 0."""
    counts, edges = np.histogram(values, bin_count(values))
    across, up = axis([*edges.tolist(), 0.0]), axis([0.0, float(counts.max())], whole=True)
    bars, said = [], []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        left, right, top = across.at(low) * _WIDTH, across.at(high) * _WIDTH, (1 - up.at(count)) * _HEIGHT
        if count:
            bars.append(f"M{left:.1f} {_HEIGHT:.1f}V{top:.1f}H{right:.1f}V{_HEIGHT:.1f}Z")
        said.append(
            {
                "x": round(across.at((low + high) / 2), 5),
                "title": f"{low:.4g} to {high:.4g}",
                "rows": [[0, y_label, str(count), round(1 - up.at(count), 5)]],
            }
        )
    zero = f"{across.at(0.0) * _WIDTH:.1f}"
    return Chart(
        title=title,
        description=description,
        x_label=x_label,
        y_label=y_label,
        paths=[
            Stroke("".join(bars), 0, form="bars"),
            Stroke(f"M{zero} 0V{_HEIGHT:.1f}", "guide", dashed=True),
        ],
        x_ticks=[Tick(100 * across.at(x), across.said(x)) for x in across.ticks],
        y_ticks=[Tick(100 * (1 - up.at(y)), f"{y:g}") for y in up.ticks],
        points=json.dumps(said, ensure_ascii=False),
    )


def _place(x: float, y: float, across: Axis, up: Axis) -> str:
    return f"{across.at(x) * _WIDTH:.1f} {(1 - up.at(y)) * _HEIGHT:.1f}"


def _curve(numbers: Sequence[float], values: Series, across: Axis, up: Axis) -> str:
    """A path through the values, broken where one is missing; a value alone is a point."""
    runs: list[list[str]] = [[]]
    for n, value in zip(numbers, values, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(_place(n, value, across, up))
    return "".join(f"M{'L'.join(run)}" if len(run) > 1 else f"M{run[0]}h0" for run in runs if run)


def _exact(value: float | None, percent: bool) -> str:
    return "" if value is None else f"{value:.2%}" if percent else f"{value:.4g}"


def _range(values: Series, percent: bool) -> str:
    known = [value for value in values if value is not None]
    return f"from {_exact(known[0], percent)} to {_exact(known[-1], percent)}"
