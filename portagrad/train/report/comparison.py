"""Runs side by side: what differs in their configuration, and what came of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portagrad.train.metrics import LOWER_IS_BETTER, SHARES, said
from portagrad.train.report.chart import Chart, Line, line_chart
from portagrad.train.report.page import duration, render
from portagrad.train.report.record import RunRecord, number
from portagrad.train.run_folder import write_text


@dataclass(frozen=True)
class Comparison:
    """A row per run; `best` holds the columns in which a row has the best value of all."""

    runs: tuple[RunRecord, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[frozenset[int], ...]
    settings: tuple[str, ...]


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Put runs side by side, in the order given."""
    tables = [run.settings() for run in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    differing = tuple(key for key in keys if len({table.get(key) for table in tables}) > 1)
    names = list(dict.fromkeys(name for run in runs for name in run.test))
    measures = [("test", name) for name in names]
    per_epoch = list(dict.fromkeys(["loss", *(name for run in runs for name in run.measures)]))
    measures += [("validation", name) for name in per_epoch]
    columns = [[_measured(run, split, name) for run in runs] for split, name in measures]
    shown = [place for place, column in enumerate(columns) if any(value is not None for value in column)]
    header = (
        *("run", "status", "epochs", "duration"),
        *(" ".join(measures[place]) for place in shown),
        *differing,
    )
    rows = []
    for index, (run, table) in enumerate(zip(runs, tables, strict=True)):
        status = f"{run.status}, damaged" if run.faults else run.status
        results = [said(columns[place][index], measures[place][1]) for place in shown]
        settings = [table.get(key, "–") for key in differing]
        rows.append((run.name, status, str(len(run.epochs)), duration(run.seconds), *results, *settings))
    best: list[set[int]] = [set() for _ in runs]
    for offset, place in enumerate(shown):
        known = [value for value in columns[place] if value is not None]
        top = min(known) if measures[place][1] in LOWER_IS_BETTER else max(known)
        for index, value in enumerate(columns[place]):
            if value == top and len(known) > 1:
                best[index].add(4 + offset)
    return Comparison(tuple(runs), header, tuple(rows), tuple(map(frozenset, best)), differing)


def comparison_csv(compared: Comparison) -> str:
    """The comparison as CSV text, with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(compared.header)
    writer.writerows(compared.rows)
    return text.getvalue()


def comparison_html(compared: Comparison) -> str:
    """The comparison as a page, with the runs' curves in the same axes."""
    return render("comparison.html", compared=compared, charts=_charts(compared.runs))


def write_comparison(compared: Comparison, path: Path) -> None:
    """Write a comparison, as CSV where the file's name ends so, else as a page."""
    as_csv = path.suffix.lower() == ".csv"
    write_text(path, comparison_csv(compared) if as_csv else comparison_html(compared))


def _measured(run: RunRecord, split: str, name: str) -> float | None:
    """A measure of the test, or of validation in the best epoch."""
    if split == "test":
        return run.test.get(name)
    return number((run.best() or {}).get(f"{split}_{name}"))


def _charts(runs: Sequence[RunRecord]) -> list[Chart]:
    names = list(dict.fromkeys(["loss", *(name for run in runs for name in run.measures)]))
    made = []
    for split in ("validation", "train"):
        for name in names:
            found = [(run, f"{split}_{name}") for run in runs]
            last = max((int(record["epoch"]) for run, _ in found for record in run.epochs), default=0)
            numbers = [float(n) for n in range(1, last + 1)]
            lines = []
            for place, (run, key) in enumerate(found):
                at = {int(record["epoch"]): number(record.get(key)) for record in run.epochs}
                values = [at.get(int(n)) for n in numbers]
                lines.append(Line.of_many(run.name, values, place))
            word = "Training" if split == "train" else "Validation"
            title, lower = f"{word} {name.replace('_', ' ')}", name in LOWER_IS_BETTER
            made.append(line_chart(title, numbers, lines, percent=name in SHARES, may_log=lower))
    return [chart for chart in made if chart is not None]
