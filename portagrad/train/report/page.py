"""The page of a run, ``report.html``: one file that needs nothing beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.errors import Error
from portagrad.train.metrics import LOWER_IS_BETTER, SHARES, said
from portagrad.train.report.chart import Chart, Line, histogram_chart, line_chart, scatter_chart
from portagrad.train.report.classes import classes
from portagrad.train.report.drawings import Drawing, drawings
from portagrad.train.report.record import Predictions, RunRecord, number
from portagrad.train.reports import titled
from portagrad.train.run_folder import write_text

# Epochs and points beyond so many make a page slow and no curve clearer.
_MOST_ROWS = 500
_MOST_POINTS = 2000
_MOST_OUTPUTS = 12


def write_report(run: RunRecord, path: Path | None = None) -> Path:
    """Write the page of a run, by default as ``report.html`` in its folder.

    Returns
    -------
    Path
        Of the file.
    """
    path = path or run.folder / "report.html"
    write_text(path, report_html(run))
    return path


def report_html(run: RunRecord) -> str:
    """The page of a run as text; it asks for nothing from any network, and escapes all it is given."""
    return render("report.html", **_context(run))


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in."""
    text: str = _templates().get_template(template).render(values)
    return text


@functools.cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("portagrad.train.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _context(run: RunRecord) -> dict[str, Any]:
    return {
        "run": run,
        "tiles": _tiles(run),
        "curves": curves(run),
        "history": _history(run),
        "classes": classes(run.confusion) if run.confusion else None,
        "fit": _fit(run.predictions) if run.predictions else [],
        "drawings": _drawn(run),
        "norms": _norm_charts(run),
        "environment": _environment(run),
    }


def duration(seconds: float | None) -> str:
    """A time in the two units that matter.

    Examples
    --------
    >>> duration(4.858), duration(75), duration(7384)
    ('4.9 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _tiles(run: RunRecord) -> list[tuple[str, str, str]]:
    """The numbers that are looked for first: label, value, remark."""
    made = []
    for name in dict.fromkeys([*([run.score] if run.score else []), *run.test]):
        if name in run.test:
            right = ""
            if run.confusion and name == "accuracy":
                counts = run.confusion.counts
                right = f"{int(np.trace(counts))} of {int(counts.sum())} right"
            made.append((f"test {_words(name)}", said(run.test[name], name), right))
    best = run.best()
    if best is not None:
        key = "validation_loss" if number(best.get("validation_loss")) is not None else "train_loss"
        made.append(
            (f"best {key.replace('_', ' ')}", said(number(best[key])), f"in epoch {int(best['epoch'])}")
        )
    planned = run.config.get("train", {})
    planned = planned.get("epochs") if isinstance(planned, dict) else None
    made.append(("epochs", str(len(run.epochs)), f"of {planned}" if planned else ""))
    made.append(("duration", duration(run.seconds), ""))
    weights = number(run.summary.get("weights"))
    if weights is not None:
        made.append(("weights", f"{int(weights):,}", ""))
    return made


def curves(run: RunRecord) -> list[Chart]:
    """Everything that was measured, and the learning rate, over the epochs."""
    numbers = [float(record["epoch"]) for record in run.epochs]

    charts = []
    for name in run.measures:
        lines = [
            Line("training", run.series(f"train_{name}"), 0),
            Line("validation", run.series(f"validation_{name}"), 1),
        ]
        lower, trained = name in LOWER_IS_BETTER, any(x is not None for x in lines[0].values)
        title = titled(name) if trained else f"{titled(name)} of validation"
        charts.append(line_chart(title, numbers, lines, percent=name in SHARES, may_log=lower))
    rate = Line("learning rate", run.series("learning_rate"), 2)
    charts.append(line_chart("Learning rate", numbers, [rate]))
    return [chart for chart in charts if chart is not None]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _history(run: RunRecord) -> dict[str, Any]:
    """The curves as a table."""
    keys = list(dict.fromkeys(k for r in run.epochs for k, value in r.items() if number(value) is not None))
    step = -(-len(run.epochs) // _MOST_ROWS) or 1
    kept = run.epochs[::step]
    rows = [[_cell(key, number(record.get(key))) for key in keys] for record in kept]
    return {"header": [key.replace("_", " ") for key in keys], "rows": rows, "step": step}


def _cell(key: str, value: float | None) -> str:
    whole = key in ("epoch", "step")
    return "–" if value is None else f"{value:.0f}" if whole else said(value, key.partition("_")[2])


def _fit(predictions: Predictions) -> list[Chart]:
    """Predicted against true, and how the residuals are spread, of every output."""
    made = []
    for k, name in enumerate(predictions.names[:_MOST_OUTPUTS]):
        targets, values = predictions.targets[:, k], predictions.values[:, k]
        step = -(-len(targets) // _MOST_POINTS) or 1
        x, y = targets[::step].tolist(), values[::step].tolist()
        residuals = targets - values
        spread = float(np.sqrt(np.mean(residuals**2)))
        made += [
            scatter_chart(
                f"{name}: predicted against true",
                x,
                y,
                x_label="true",
                y_label="predicted",
                guide="diagonal",
                description=f"{name}: {len(x)} test examples; a right prediction lies on the diagonal.",
            ),
            histogram_chart(
                f"{name}: residuals",
                residuals,
                x_label="true less predicted",
                y_label="examples",
                description=f"Residuals of {name}, true less predicted, of {len(residuals)} test examples; "
                f"the root of their mean square is {spread:.4g}.",
            ),
        ]
    return made


def _drawn(run: RunRecord) -> list[Drawing]:
    # A page without its drawing is better than none: what is drawn comes from files that may be anything.
    with contextlib.suppress(Error, ValueError, TypeError, MemoryError):
        return drawings(run)
    return []


def _norm_charts(run: RunRecord) -> dict[str, Any]:
    numbers = [float(record["epoch"]) for record in run.epochs]
    charts, rows = [], []
    for kind, title in (("gradients", "Norm of the gradient"), ("weights", "Norm of the weights")):
        by_name = run.norms(kind)
        lines = [Line.of_many(name, values, place) for place, (name, values) in enumerate(by_name.items())]
        charts.append(line_chart(title, numbers, lines, may_log=True))
        rows += [[kind, name, *_first_and_last(values)] for name, values in by_name.items()]
    return {"charts": [chart for chart in charts if chart is not None], "rows": rows}


def _first_and_last(values: Sequence[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return (said(known[0]), said(known[-1])) if known else ("–", "–")


def _environment(run: RunRecord) -> list[tuple[str, str]]:
    found: dict[str, Any] = {key: run.summary[key] for key in ("device", "versions") if key in run.summary}
    found.update(run.environment)
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        if key in ("classes", "targets", "features") or value is None:
            continue
        if isinstance(value, dict):
            rows += [(str(inner), str(x)) for inner, x in value.items() if x is not None]
        else:
            rows.append((key, str(value)))
    examples = run.summary.get("examples")
    if isinstance(examples, dict):
        rows += [(f"{split} examples", str(count)) for split, count in examples.items()]
    return [*rows, ("duration", duration(run.seconds))]
