"""Ctrl-C and SIGTERM: the batch under way is finished first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from portagrad.distributed import Communicator


class StopSignals:
    """While open, the first signal is only noted, for `look` to find; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python has no signals, it does nothing.

    Attributes
    ----------
    found : int
        The number of the signal that was found, 0 before there was one.
    """

    def __init__(self) -> None:
        self.found = 0
        self._noted = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._noted = number

    def look(self, comm: Communicator) -> bool:
        """Whether there was a signal: where it has reached one rank alone, all find it in the same call."""
        self.found = comm.all_reduce(self._noted, "max") if comm.size > 1 else self._noted
        return bool(self.found)

    def leave(self) -> None:
        """Raise what the signal means: KeyboardInterrupt, or SystemExit with 128 and its number."""
        if self.found == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.found)
