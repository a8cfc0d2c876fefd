"""The figure of a run: a panel for each group, ratios on a logarithmic axis, and the bars to be met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.case import Result, Results
from benchmarks.report import groups
from benchmarks.timing import quartiles

INK, FAINT = "#222222", "#d5d5d5"
COLOURS = {
    "portagrad": "#9ecae1",
    "portagrad compiled": "#08519c",
    "torch": "#fdae6b",
    "torch.compile": "#d94801",
    "jax": "#238b45",
    "autograd": "#9e9ac8",
    "MyGrad": "#8c6d31",
    "tinygrad": "#ce6dbd",
    "by hand": "#000000",
}
"""By what a contender's name has in it: the last that fits."""
COLUMNS = 2


def draw(results: Results, path: Path) -> None:
    """Draw medians and quartiles of all contenders over the baseline of each case, and save the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [[r for r in results.results if r.group == group and r.costs] for group in groups(results)]
    columns: list[list[list[Result]]] = [[] for _ in range(COLUMNS)]
    for panel in filter(None, panels):
        min(columns, key=_lines).append(panel)
    lines = max(map(_lines, columns))
    figure = Figure(figsize=(6.4 * COLUMNS, 0.19 * lines + 1), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    for part, column in zip(figure.subfigures(1, COLUMNS), columns, strict=True):
        if not column:
            continue
        rest = lines - _lines(column)  # empty at the foot, so that a line is as high in both columns
        heights = [*map(_height, column), rest] if rest else [*map(_height, column)]
        axes = part.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axis, panel in zip(axes, column, strict=False):
            _panel(axis, panel)
        if rest:
            axes[-1].set_axis_off()
    figure.suptitle(
        "Cost as a multiple of the baseline's (1): median and quartiles; left is better. "
        "Red: where portagrad is to be, or left of it.",
        fontsize=9,
    )
    figure.savefig(path, metadata={"Software": None})


def _lines(column: list[list[Result]]) -> float:
    return sum(map(_height, column))


def _height(panel: list[Result]) -> float:
    """In lines of text: each contender of each case, the cases' titles, and the panel's own."""
    return sum(len(result.costs) + 1.5 for result in panel) + 4


def _panel(axis: Any, panel: list[Result]) -> None:
    """Each case one below the other; a contender is a dot with its quartiles, a bar a line in its row."""
    from matplotlib.ticker import LogLocator, NullFormatter

    place, ticks, labels = 0.0, [], []
    for result in panel:
        title = axis.text(0.01, place, result.title, transform=axis.get_yaxis_transform())
        title.set(fontsize=8, fontstyle="italic", verticalalignment="center")
        title.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        place += 1
        rows = {name: place + i for i, name in enumerate(result.costs)}
        for name, costs in result.costs.items():
            low, middle, high = quartiles(costs)
            ours = name.startswith("portagrad")
            axis.plot([low, high], [place, place], color=_colour(name), linewidth=3, alpha=0.45)
            axis.plot(middle, place, "o" if ours else "s", color=_colour(name), markersize=6 if ours else 4.5)
            ticks.append(place)
            labels.append((name, ours))
            place += 1
        for bar in result.bars:
            target = _target(result, bar)
            if target is not None:
                ends = [rows[bar.ours] - 0.45, rows[bar.ours] + 0.45]
                axis.plot([target, target], ends, color="#cb181d", linewidth=1.4)
        place += 0.5
    axis.set_ylim(place - 0.5, -0.8)
    axis.set_yticks(ticks, [name for name, _ in labels], fontsize=7.5)
    for text, (_, ours) in zip(axis.get_yticklabels(), labels, strict=True):
        text.set_fontweight("bold" if ours else "normal")
    axis.set_xscale("log")
    axis.axvline(1, color=INK, linewidth=0.8)
    axis.grid(axis="x", color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    low, high = axis.get_xlim()
    low, high = min(low, 0.4), max(high, 2.5)
    axis.set_xlim(low, high)
    narrow = high / low < 30
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", which="both", labelsize=7.5)
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.set_title(f"{panel[0].group}, over {panel[0].baseline}", fontsize=9.5, loc="left", color=INK)


def _target(result: Result, bar: Any) -> float | None:
    """Where a bar lies on the axis: as many times the fastest of those that it is over."""
    over = [quartiles(result.costs[name])[1] for name in bar.over if name in result.costs]
    return bar.at_most * min(over) if over and bar.ours in result.costs else None


def _colour(name: str) -> str:
    fitting = [colour for part, colour in COLOURS.items() if part.lower() in name.lower()]
    if name.startswith("portagrad"):
        return COLOURS["portagrad compiled" if "compiled" in name else "portagrad"]
    return fitting[-1] if fitting else INK
