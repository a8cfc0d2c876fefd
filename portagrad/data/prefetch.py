"""Items made by a thread while the last one is used."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar, cast

_Item = TypeVar("_Item")
_END = object()


def prefetched(items: Iterable[_Item], depth: int = 2) -> Generator[_Item]:
    """The same items in the same order, up to `depth` of them made ahead by a thread.

    What raises in the thread is raised here, in its place. The thread ends with the iteration, also where
    that is given up early: close the generator, as a ``for`` loop's end by an exception does.

    Parameters
    ----------
    items : iterable
        It is iterated over, and closed if it is a generator, in the thread.
    depth : int

    Examples
    --------
    >>> list(prefetched(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                waiting.put((item, None))
                if stopped.is_set():
                    break
        except BaseException as error:
            waiting.put((_END, error))
        else:
            waiting.put((_END, None))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    # The device in force belongs to a context; the thread works in the one of its consumer.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="portagrad-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield cast(_Item, item)
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room in the queue, once with an item and once with the end
            with contextlib.suppress(queue.Empty):
                waiting.get_nowait()
            thread.join(0.005)
