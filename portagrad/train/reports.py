"""What a run leaves for the eye: curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.train.run_folder import json_line, replacing, write_text

_TRAINING, _VALIDATION, _INK, _FAINT = "#2f6fb3", "#d9772b", "#222222", "#d8d8d8"
# Above this many classes the numbers in the cells, and most names, would not be readable.
_MOST_NUMBERS = 20
_MOST_NAMES = 40


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


def write_curves(folder: Path, epochs: Sequence[Mapping[str, Any]], test: Mapping[str, float] | None) -> None:
    """Write ``curves.png``: loss and accuracy over the epochs.

    Parameters
    ----------
    folder : Path
    epochs : sequence of mappings
        The epochs' lines of ``metrics.jsonl``.
    test : mapping, optional
        ``"test_loss"`` and ``"test_accuracy"``, drawn at the end.
    """
    figure = _figure(10.0, 4.2)
    left, right = figure.subplots(1, 2)
    number = [record["epoch"] for record in epochs]
    for axes, what, title in ((left, "loss", "Loss"), (right, "accuracy", "Accuracy")):
        for split, colour in (("train", _TRAINING), ("validation", _VALIDATION)):
            values = [record.get(f"{split}_{what}") for record in epochs]
            if any(value is not None for value in values):
                label = "training" if split == "train" else split
                heights = [np.nan if value is None else value for value in values]
                size = 2.5 if len(number) > 10 else 5
                axes.plot(number, heights, color=colour, label=label, lw=1.8, marker="o", ms=size)
        if test is not None:
            value = test[f"test_{what}"]
            text = f"test, {value:.2%}" if what == "accuracy" else f"test, {value:.3f}"
            axes.plot(number[-1:], [value], "*", color=_INK, ms=11, label=text, clip_on=False, zorder=5)
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
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    right.set_ylim(right.get_ylim()[0] - 0.02, 1.005)
    left.legend(frameon=False, loc="upper right")
    right.legend(frameon=False, loc="lower right")
    _save(figure, folder / "curves.png")


def _figure(width: float, height: float) -> Any:
    """A figure that needs no display and no global state of Matplotlib's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
