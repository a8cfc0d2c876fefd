"""The team: this thread and those that help it, with pieces in machine code and with calls of Python's.

NumPy's and numba's loops run without the interpreter's lock. All that is shared is shared by the same
threads, so that none looks for work on a core that another needs.
"""

from __future__ import annotations

import collections
import contextvars
import functools
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy

CLAIM, DONE, JOB, BUSY, CALLS, HELPERS = 0, 8, 16, 18, 24, 32
"""Where in the shared words stand: what is to be claimed; how much is done; the job (its function and its
arguments), and whether there will be others; how often Python has called for help; from here on, who sleeps.
These are a cache line each.

The claim holds the number of the job above bit 32, above bit 16 how many pieces it has, and below the next
one: it is exchanged as a whole, so that nobody takes a piece of a job that is over.
"""
TABLE, COUNT, STEP, PLACES = 0, 1, 2, 3
"""Where in a job's arguments stand: the address of the table, how many rows or elements there are, how many
make a piece, and from here on places in the table."""

NOBODY = numpy.zeros(0, numpy.int64)
"""The shared words of one who is alone."""
MOMENT = 2e-4
"""For how many seconds a thread looks for work before it sleeps, about (`native.SPINS`)."""


@functools.cache
def count() -> int:
    """How many threads a call may use: one for each processor, or as many as OMP_NUM_THREADS says."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable, int(asked)) if asked.isdecimal() and int(asked) else usable


@functools.cache
def team() -> Team:
    """The one team of this process."""
    return Team(count())


class Team:
    """The threads, and what they are told.

    How a job is cut depends on what it is and on how many they are, not on who is there in time: a piece that
    no helper has begun is done by the caller, and the result has the same bits.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.native: Any = None
        if importlib.util.find_spec("numba") is not None:
            from portagrad_numpy import native  # which takes numba, and compiles once on a machine

            self.native = native
        self.gather()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.gather)  # threads stay behind in the parent

    def gather(self) -> None:
        """Begin without helpers."""
        memory = numpy.zeros(HELPERS + 8 * self.count + 8, numpy.int64)
        self.words = memory[-memory.ctypes.data % 64 // 8 :]
        self.lock = threading.Lock()
        self.bells = [(HELPERS + 8 * i, threading.Semaphore(0)) for i in range(self.count - 1)]
        self.calls: collections.deque[tuple[Future[None], Callable[[], None]]] = collections.deque()
        self.started = False
        self.last = 0.0  # when there was last something to share

    def start(self) -> None:
        for asleep, bell in self.bells:
            self.words[asleep] = 1
            threading.Thread(target=self.help, args=(asleep, bell), name="portagrad", daemon=True).start()
        self.started = True

    def wake(self) -> None:
        """Call those who sleep."""
        if not self.started:
            self.start()
        for asleep, bell in self.bells:
            if self.words[asleep]:
                self.words[asleep] = 0
                bell.release()

    def perform(self, work: Callable[..., None], *args: Any, wake: bool) -> None:
        """What runs in machine code and shares its pieces; those who sleep are woken if that pays.

        Else they are woken only if the last such work was a moment ago: they stay awake for the next. While
        the others help another thread of the caller's, or what a signal has interrupted, this thread does all
        of it.
        """
        if not self.lock.acquire(blocking=False):
            work(self.words, True, *args)
            return
        try:
            now = time.perf_counter()
            if wake or now - self.last < MOMENT:
                self.words[BUSY] = 1
                self.wake()
            self.last = now
            work(self.words, False, *args)
        finally:
            self.words[BUSY] = 0
            self.lock.release()

    def help(self, asleep: int, bell: threading.Semaphore) -> None:
        while True:
            bell.acquire()
            called = True
            while called:
                calls = int(self.words[CALLS])
                self.answer()
                if self.native is not None:
                    called = self.native.serve(self.words, asleep, calls)
                else:
                    self.words[asleep] = 1
                    called = bool(self.calls)

    def answer(self) -> None:
        """Run what Python has called for."""
        while self.calls:
            try:
                future, function = self.calls.popleft()
            except IndexError:  # another was faster
                return
            if future.set_running_or_notify_cancel():
                try:
                    function()
                    future.set_result(None)
                except BaseException as error:
                    future.set_exception(error)

    def call(self, function: Callable[[], None]) -> Future[None]:
        """Let a helper call a function, if one comes in time."""
        future: Future[None] = Future()
        if self.bells:
            self.calls.append((future, function))
            self.words[CALLS] += 1
            self.wake()
        return future


def each(workers: Sequence[Callable[[int, int], None]], pieces: Sequence[tuple[int, int]]) -> None:
    """Let the workers take the pieces, the first of them here; all have ended when it returns or raises.

    A thread that has not begun when no piece is left is not waited for: on a busy machine the caller does
    it all.
    Each sees the caller's context, and with it NumPy's error state.
    """
    left = iter(pieces)

    def work(worker: Callable[[int, int], None]) -> None:
        for lo, hi in left:  # one thread at a time is inside the iterator
            worker(lo, hi)

    others = [
        team().call(functools.partial(contextvars.copy_context().run, work, worker)) for worker in workers[1:]
    ]
    try:
        work(workers[0])
    finally:
        errors = [other.exception() for other in others if not other.cancel()]
    for error in errors:
        if error is not None:
            raise error
