"""The mean cross-entropy of class scores and its slope, in memory that is allocated once."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy

from portagrad_numpy.kept import keeps


class CrossEntropy:
    """Called with scores, labels and the memory of the two results."""

    def __init__(self, eq: Any, compiled: bool) -> None:
        logits = eq.args[0]
        self.kernel = eq.kernel()
        self.rows = _rows() if compiled else None
        if compiled:
            return
        n, classes = self.shape = logits.shape
        self.first = 2 * classes <= n  # few classes: NumPy reduces long rows faster than short ones
        shape, dtype = ((classes, n) if self.first else (n, classes)), logits.dtype
        self.e = numpy.empty(shape, dtype)
        self.line = numpy.empty((1, n) if self.first else (n, 1), dtype)
        self.lost = numpy.empty(n, dtype)
        self.places = numpy.empty(n, numpy.intp)
        self.starts = numpy.arange(n) if self.first else numpy.arange(0, n * classes, classes)
        self.ones = numpy.full(n, 1 / n, dtype)
        self.count = numpy.asarray(n, dtype)

    @staticmethod
    def takes(eq: Any) -> bool:
        """Whether scores and labels are of the usual kind."""
        logits, labels = eq.args
        return (
            all(hasattr(a, "dtype") for a in eq.args)
            and len(logits.shape) == 2
            and labels.shape == logits.shape[:1]
            and math.prod(logits.shape) > 0
            and logits.dtype in (numpy.float32, numpy.float64)
            and labels.dtype in (numpy.int32, numpy.int64)
        )

    def __call__(self, logits: Any, labels: Any, lost: Any, slope: Any) -> None:
        if self.rows is not None:
            if not self.rows(logits, labels, lost, slope):
                self.kernel(logits, labels)  # which raises, and says why
            return
        n, classes = self.shape
        e, line, places, picked = self.e, self.line, self.places, self.lost
        axis = 0 if self.first else 1
        add: Any = numpy.add.reduce
        maximum: Any = numpy.maximum.reduce
        if labels.min() < 0 or labels.max() >= classes:
            self.kernel(logits, labels)
        numpy.copyto(e, logits.T if self.first else logits)
        maximum(e, axis, None, line, True)
        numpy.subtract(e, line, e)
        numpy.copyto(places, labels)
        if self.first:
            numpy.multiply(places, n, places)
        numpy.add(places, self.starts, places)
        e.take(places, None, picked, "clip")
        numpy.exp(e, e)
        add(e, axis, None, line, True)
        flat = line.reshape(-1)
        numpy.multiply(line, self.count, line)
        numpy.divide(e, line, e)
        numpy.divide(line, self.count, line)
        numpy.log(line, line)
        numpy.subtract(flat, picked, picked)
        e.reshape(-1)[places] -= self.ones
        add(picked, 0, None, lost)
        numpy.divide(lost, self.count, lost)
        numpy.copyto(slope, e.T if self.first else e)


@functools.cache
def _rows() -> Any:
    """The same as one loop over the rows, compiled for the dtypes that come."""
    import numba

    @numba.njit(error_model="numpy", nogil=True, cache=keeps())
    def rows(logits: Any, labels: Any, lost: Any, slope: Any) -> bool:
        n, classes = logits.shape
        total_loss = 0.0
        for i in range(n):
            label = labels[i]
            if label < 0 or label >= classes:
                return False
            top = logits[i, 0]
            for j in range(classes):
                if logits[i, j] > top or logits[i, j] != logits[i, j]:
                    top = logits[i, j]
            total = slope.dtype.type(0)
            for j in range(classes):
                e = math.exp(logits[i, j] - top)
                slope[i, j] = e
                total += e
            total_loss += math.log(total) - (logits[i, label] - top)
            scale = slope.dtype.type(1) / (total * slope.dtype.type(n))
            for j in range(classes):
                slope[i, j] *= scale
            slope[i, label] -= slope.dtype.type(1) / slope.dtype.type(n)
        lost[()] = total_loss / n
        return True

    return rows
