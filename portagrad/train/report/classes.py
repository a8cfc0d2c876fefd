"""The confusion matrix as the page shows it: cells, measures by class, and what is most often confused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad.train.metrics import f1, precision_recall
from portagrad.train.report.record import Confusion

# Up to so many classes a cell has room for its number; beyond, cells are squares of colour.
MOST_NUMBERS = 25


@dataclass(frozen=True)
class Classes:
    """The matrix, by cells or by squares, the table by class, and the pairs most often confused."""

    rows: list[dict[str, Any]]
    measures: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    squares: list[dict[str, Any]]
    count: int
    long: bool  # names that stand upright over their columns
    right: int
    total: int


def classes(confusion: Confusion) -> Classes:
    """All that is shown of a confusion matrix."""
    counts, names = confusion.counts, confusion.names
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    precision, recall = precision_recall(counts)
    score = f1(counts)
    small = len(names) <= MOST_NUMBERS
    rows = [
        {
            "name": name,
            "cells": [
                {"count": int(counts[i, j]), "share": f"{shares[i, j]:.3f}", "right": i == j}
                for j in range(len(names))
            ],
            "recall": f"{recall[i]:.1%}" if totals[i] else "–",
        }
        for i, name in enumerate(names)
    ]
    measures = [
        {
            "name": name,
            "precision": f"{precision[i]:.1%}" if counts[:, i].any() else "–",
            "recall": f"{recall[i]:.1%}" if totals[i] else "–",
            "f1": f"{score[i]:.1%}" if totals[i] or counts[:, i].any() else "–",
            "bar": f"{score[i]:.3f}",
            "examples": int(totals[i]),
        }
        for i, name in enumerate(names)
    ]
    wrong = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:12]
    pairs = [
        {"true": names[i], "taken": names[j], "count": int(wrong[i, j]), "share": f"{shares[i, j]:.1%}"}
        for i, j in (divmod(int(place), len(names)) for place in order)
        if wrong[i, j]
    ]
    squares = [
        {
            "x": int(j),
            "y": int(i),
            # Few errors among many examples must still be seen.
            "opacity": f"{0.25 + 0.75 * shares[i, j]:.2f}",
            "right": bool(i == j),
            "title": f"{names[i]} taken for {names[j]}: {counts[i, j]} of {totals[i]}",
        }
        for i, j in np.argwhere(counts)
    ]
    return Classes(
        rows if small else [],
        measures,
        pairs,
        [] if small else squares,
        len(names),
        max(map(len, names)) > 4,
        int(np.trace(counts)),
        int(counts.sum()),
    )
