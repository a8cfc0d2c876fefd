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

    Full passes come after many lesser ones, and only a function in which one of these happens is long enough
    to change anything for: to begin and to end a short one costs next to nothing.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.recorded: list[None] = []  # one for each function: appending is atomic, as no `+= 1` is
        self.before: tuple[int, int, int] | None = None
        self.during = gc.get_threshold()
        gc.callbacks.append(self.collected)

    def begin(self) -> None:
        self.recorded.append(None)

    def end(self) -> None:
        self.recorded.pop()
        if self.before and not self.recorded:
            self.restore()

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """Called by the collector."""
        if info["generation"] and phase == "stop" and self.recorded and not self.before:
            young, middle, full = gc.get_threshold()
            self.during = young, middle, max(full, FULL)
            self.before = young, middle, full
            gc.set_threshold(*self.during)

    def restore(self) -> None:
        with self.lock:
            before, self.before = self.before, None
            if before and gc.get_threshold() == self.during:  # else somebody has set them meanwhile
                gc.set_threshold(*before)


PATIENCE = _Patience()
