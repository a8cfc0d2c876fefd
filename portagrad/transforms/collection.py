"""Python's garbage collector, while a graph is recorded."""

from __future__ import annotations

import gc
import threading

FULL = 1_000
"""After how many passes over younger objects all are walked, instead of CPython's ten: some eight million."""


class _Patience:
    """Full passes put off: while some function is recorded, in any thread, they are rarer.

    What the ops of a function leave behind is needed until its end. CPython walks through all objects, those
    of every library too, whenever a quarter has been added to them: of a long function that is half of the
    time. Young objects are looked at as ever, so that garbage does not pile up.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.recorded = 0
        self.before = self.during = gc.get_threshold()

    def begin(self) -> None:
        with self.lock:
            self.recorded += 1
            if self.recorded == 1:
                self.before = young, middle, full = gc.get_threshold()
                self.during = young, middle, max(full, FULL)
                gc.set_threshold(*self.during)

    def end(self) -> None:
        with self.lock:
            self.recorded -= 1
            untouched = gc.get_threshold() == self.during
            if not self.recorded and untouched:  # else somebody has set them meanwhile, and has the last word
                gc.set_threshold(*self.before)


PATIENCE = _Patience()
