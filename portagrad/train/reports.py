"""What a run leaves for the eye: curves, and the confusion matrix or predictions against targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.train.metrics import SHARES, said
from portagrad.train.run_folder import json_line, replacing, write_text

_TRAINING, _VALIDATION, _INK, _FAINT = "#2f6fb3", "#d9772b", "#222222", "#d8d8d8"
# Above this many classes the numbers in the cells, and most names, would not be readable.
_MOST_NUMBERS = 20
_MOST_NAMES = 40
# Beyond so many points or outputs a file or a figure grows and shows no more.
_MOST_POINTS = 10_000
_MOST_OUTPUTS = 6
_MOST_BINS = 60


def write_confusion(folder: Path, matrix: np.ndarray[Any, Any], names: Sequence[str]) -> None:
    """Write ``confusion.json``.

    Parameters
    ----------
    folder : Path
    matrix : array of int64, shape (classes, classes)
        As `confusion_matrix` gives it.
    names : sequence of str
        A name per class.
    """
    record = {
        "rows": "true class",
        "columns": "predicted class",
        "names": list(names),
        "counts": matrix.tolist(),
    }
    write_text(folder / "confusion.json", json_line(record) + "\n")


def draw_confusion(folder: Path, matrix: np.ndarray[Any, Any], names: Sequence[str]) -> None:
    """Draw ``confusion.png`` of what `write_confusion` writes."""
    classes = len(names)
    side = min(4.6 + 0.34 * classes, 14.0)
    figure = _figure(side, side * 0.94)
    axes = figure.add_subplot()
    rows = matrix.sum(axis=1, keepdims=True)
    image = axes.imshow(matrix / np.maximum(rows, 1), cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format=lambda share, _: f"{share:.0%}")
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    if classes <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                dark = count > 0.5 * rows[row, 0]
                axes.text(
                    column,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    color="white" if dark else _INK,
                    fontsize=9,
                )
    ticks = list(range(0, classes, -(-classes // _MOST_NAMES)))
    shown = [names[tick] if len(names[tick]) <= 16 else names[tick][:15] + "…" for tick in ticks]
    turned = max(map(len, shown)) > 3 or classes > _MOST_NUMBERS
    axes.set_xticks(ticks, shown, rotation=90 if turned else 0)
    axes.set_yticks(ticks, shown)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right = int(np.trace(matrix))
    total = int(matrix.sum())
    axes.set_title(
        f"Test set: {right} of {total} right ({right / max(total, 1):.2%})", loc="left", pad=12, color=_INK
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _save(figure, folder / "confusion.png")


def write_predictions(
    folder: Path, targets: np.ndarray[Any, Any], values: np.ndarray[Any, Any], names: Sequence[str]
) -> None:
    """Write ``predictions.json``: what was predicted beside what was right, of some thousand examples.

    Parameters
    ----------
    folder : Path
    targets, values : array, shape (examples, outputs)
        In the targets' own units.
    names : sequence of str
        Of the outputs.
    """
    step = -(-len(targets) // _MOST_POINTS)
    record = {
        "names": list(names),
        "examples": len(targets),
        "targets": targets[::step].tolist(),
        "values": values[::step].tolist(),
    }
    write_text(folder / "predictions.json", json_line(record) + "\n")


def draw_predictions(
    folder: Path, targets: np.ndarray[Any, Any], values: np.ndarray[Any, Any], names: Sequence[str]
) -> None:
    """Draw ``predictions.png`` of what `write_predictions` writes: predicted against true, and residuals."""
    finite = np.isfinite(targets - values).all(axis=1)
    if not finite.any():
        return
    targets, values = targets[finite], values[finite]
    shown = min(len(names), _MOST_OUTPUTS)
    figure = _figure(9.0, 4.2 * shown)
    step = -(-len(targets) // _MOST_POINTS)
    for k, (left, right) in enumerate(figure.subplots(shown, 2, squeeze=False)):
        true, found = targets[:, k], values[:, k]
        ends = [min(true.min(), found.min()), max(true.max(), found.max())]
        left.plot(ends, ends, color=_INK, lw=0.9, ls="--")
        left.plot(true[::step], found[::step], "o", color=_TRAINING, ms=4, alpha=0.5, mew=0)
        left.set_xlabel("true")
        left.set_ylabel("predicted")
        left.set_title(f"Test set: {names[k]}", loc="left")
        right.hist(true - found, bins=bin_count(true - found), color=_TRAINING, alpha=0.8)
        right.axvline(0, color=_INK, lw=0.9, ls="--")
        right.set_xlabel("true less predicted")
        right.set_ylabel("examples")
        right.set_title("Residuals", loc="left")
        for axes in (left, right):
            axes.grid(color=_FAINT, lw=0.7)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / "predictions.png")


def write_curves(folder: Path, epochs: Sequence[Mapping[str, Any]], test: Mapping[str, float] | None) -> None:
    """Write ``curves.png``: loss and score, which is what else is measured in training, over the epochs.

    Parameters
    ----------
    folder : Path
    epochs : sequence of mappings
        The epochs' lines of ``metrics.jsonl``.
    test : mapping, optional
        ``"test_loss"`` and the test's score, drawn at the end.
    """
    figure = _figure(10.0, 4.2)
    measured = [key.removeprefix("train_") for key in epochs[0] if key.startswith("train_")]
    (score,) = (name for name in measured if name != "loss")
    left, right = figure.subplots(1, 2)
    number = [record["epoch"] for record in epochs]
    for axes, what, title in ((left, "loss", "Loss"), (right, score, titled(score))):
        for split, colour in (("train", _TRAINING), ("validation", _VALIDATION)):
            values = [record.get(f"{split}_{what}") for record in epochs]
            if any(value is not None for value in values):
                label = "training" if split == "train" else split
                heights = [np.nan if value is None else value for value in values]
                size = 2.5 if len(number) > 10 else 5
                axes.plot(number, heights, color=colour, label=label, lw=1.8, marker="o", ms=size)
        if test is not None:
            value = test[f"test_{what}"]
            label = f"test, {said(value, what)}"
            axes.plot(number[-1:], [value], "*", color=_INK, ms=11, label=label, clip_on=False, zorder=5)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.set_xlim(min(0.5, number[-1] - 0.5), number[-1] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(axis="y", color=_FAINT, lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    losses = np.concatenate([line.get_ydata() for line in left.lines])
    losses = losses[np.isfinite(losses)]
    if losses.size and losses.min() > 0 and losses.max() > 10 * losses.min():
        left.set_yscale("log")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.set_title("Loss (log scale)", loc="left")
    if score in SHARES:
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    right.set_ylim(right.get_ylim()[0] - 0.02, 1.005)
    left.legend(frameon=False, loc="upper right")
    right.legend(frameon=False, loc="lower right")
    _save(figure, folder / "curves.png")


def draw_sweep(
    path: Path,
    rates: np.ndarray[Any, Any],
    losses: np.ndarray[Any, Any],
    smoothed: np.ndarray[Any, Any],
    suggestion: float | None,
) -> None:
    """Draw a sweep of learning rates as PNG, or as SVG where the file's name ends so.

    Parameters
    ----------
    path : Path
    rates, losses, smoothed : array, shape (steps,)
    suggestion : float, optional
        Is marked.
    """
    figure = _figure(7.5, 4.4)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#a8a8a8", lw=1, label="loss of a batch")
    axes.plot(rates, smoothed, color=_TRAINING, lw=2, label="smoothed")
    if suggestion is not None:
        height = float(np.interp(np.log(suggestion), np.log(rates), smoothed))
        label = f"suggested, {suggestion:.2g}: the steepest fall"
        axes.axvline(suggestion, color=_VALIDATION, lw=1, ls="--")
        axes.plot([suggestion], [height], "o", color=_VALIDATION, ms=9, label=label, zorder=5)
    axes.set_xscale("log")
    # A loss that has begun to diverge is no reason to flatten the fall before it.
    low, first = float(min(smoothed.min(), losses.min())), float(smoothed[:10].max())
    axes.set_ylim(low - 0.05 * abs(first - low) - 1e-12, max(first, low) + 0.5 * abs(first - low) + 1e-12)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.set_title("Learning rates tried, a step each", loc="left")
    axes.grid(color=_FAINT, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path, "svg" if path.suffix.lower() == ".svg" else "png")


def bin_count(values: np.ndarray[Any, Any]) -> int:
    """How many bins of a histogram show how values are spread.

    By the rule of D. Freedman, P. Diaconis, "On the histogram as a density estimator: L2 theory" (1981), or
    where half of the values are the same by that of H. A. Sturges (1926); bounded, as one outlier would else
    ask for any number.

    Examples
    --------
    >>> bin_count(np.arange(100.0)), bin_count(np.asarray([0.0, 1, 2, 3, 1e9])), bin_count(np.ones(5))
    (5, 60, 1)
    """
    spread = float(np.ptp(values))
    width = 2 * float(np.subtract(*np.percentile(values, [75, 25]))) / len(values) ** (1 / 3)
    if not spread:
        return 1
    wanted = spread / width if width else math.log2(len(values)) + 1
    return math.ceil(min(wanted, _MOST_BINS))


def titled(name: str) -> str:
    """A measure's name as a title.

    Examples
    --------
    >>> titled("balanced_accuracy"), titled("r2"), titled("f1_macro")
    ('Balanced accuracy', 'R2', 'F1 macro')
    """
    words = name.replace("_", " ")
    return words.upper() if len(name) < 5 and name != "loss" else words[:1].upper() + words[1:]


def _figure(width: float, height: float) -> Any:
    """A figure that needs no display and no global state of Matplotlib's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path, format: str = "png") -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format=format, dpi=130)
