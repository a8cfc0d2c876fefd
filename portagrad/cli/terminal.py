"""Runs on a terminal: one in full, or several side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from portagrad.cli.shared import whole_lines
from portagrad.train.metrics import said
from portagrad.train.report.comparison import Comparison
from portagrad.train.report.page import duration
from portagrad.train.report.record import RunRecord, number

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_COLUMNS = 4
_STYLES = {"finished": "green", "failed": "bold red", "unfinished": "yellow"}


def sparkline(values: Sequence[float | None], width: int = 20) -> str:
    """A curve in one line of blocks; of more values than `width` each block is the mean of some.

    The scale is that of the logarithm where all values are above 0 and span more than a decade.

    Examples
    --------
    >>> sparkline([0.0, 1.0, None, 4.0, 7.0])
    '▁▂ ▅█'
    """
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        values = [_mean(values[a:b]) for a, b in itertools.pairwise(edges)]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if min(known) > 0 and max(known) > 10 * min(known):
        values = [None if value is None else math.log10(value) for value in values]
        known = [value for value in values if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(" " if x is None else _BLOCKS[min(7, int((x - low) / span * 8))] for x in values)


def print_run(run: RunRecord, console: Any = None) -> None:
    """Print a run: how it ended, its results, its curves, its configuration."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    console.print(Text(run.name, style="bold"), Text(run.status, style=_STYLES[run.status]))
    _print_faults(console, run, "")
    best = run.best() or {}
    results, shown = [], set()
    for key, label in _measures(run):
        known = [value for value in run.series(key) if value is not None]
        if known:
            what = key.partition("_")[2]
            tested = said(run.test[what], what) if what in run.test and what not in shown else ""
            shown.add(what)
            cells = [said(x, what) for x in (known[0], number(best.get(key)), known[-1])]
            results.append([label, *cells, tested, sparkline(run.series(key))])
    for what, value in run.test.items():
        if what not in shown and results:
            results.append([what.replace("_", " "), "", "", "", said(value, what), ""])
    if results:
        _print_table(console, ("", "first", "best epoch", "last", "test", "curve"), results)
        told = f"{len(run.epochs)} epochs in {duration(run.seconds)}, the best of them {int(best['epoch'])}"
        console.print(told, highlight=False)
    if run.config:
        _print_table(console, ("setting", "value"), [list(pair) for pair in run.settings().items()])


def print_comparison(compared: Comparison, console: Any = None) -> None:
    """Print runs side by side: their results, and the settings in which they differ.

    A few runs have a column each, which a narrow terminal has room for; more have a row each.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    marked = [
        [
            Text(cell, style=_STYLES.get(cell, "bold green" if place in best else ""))
            for place, cell in enumerate(row)
        ]
        for row, best in zip(compared.rows, compared.best, strict=True)
    ]
    header: Sequence[str] = compared.header
    if len(marked) <= _MOST_COLUMNS:
        columns = [[Text(name) for name in header], *marked]
        first, *marked = [list(row) for row in zip(*columns, strict=True)]
        header = [cell.plain for cell in first]
    _print_table(console, header, marked)
    for run in compared.runs:
        _print_faults(console, run, f"{run.name}: ")


def _print_faults(console: Any, run: RunRecord, prefix: str) -> None:
    from rich.text import Text

    for line in [*([run.error] if run.error else []), *run.faults]:
        console.print(Text(f"! {prefix}{line}", style="red"), soft_wrap=True)


def _measures(run: RunRecord) -> list[tuple[str, str]]:
    names = run.measures
    pairs = [
        (f"{split}_{name}", f"{label} {name.replace('_', ' ')}") for name in names for split, label in _SPLITS
    ]
    return [*pairs, ("learning_rate", "learning rate")]


_SPLITS = (("train", "training"), ("validation", "validation"))


def _print_table(console: Any, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; a pipe gets it as wide as it is and without padding, so that its lines can be searched."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    if console.is_terminal:
        console.print(table)
        return
    console.file.write("\n".join(whole_lines(table)) + "\n")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
