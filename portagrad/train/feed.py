"""Batches on a device, and what a model makes of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from portagrad import random
from portagrad.backend import BY_TYPE
from portagrad.data import batches, prefetched, slices
from portagrad.data.order import Shard
from portagrad.device import Device, transfer
from portagrad.distributed import Communicator
from portagrad.errors import OutOfMemoryError
from portagrad.namespace import asarray, function
from portagrad.train.examples import Array, Examples, InMemory, pieces
from portagrad.train.task import Task
from portagrad.transforms.tree import flatten, tree_map, unflatten

_stack = function("stack")


class Feed:
    """Examples as batches on a device.

    They are moved there once; where the device has no room for them, or the host none, a thread reads and
    moves the next batches while a step is computed.

    Parameters
    ----------
    examples : Examples
    where : Device
    shard : (int, int)
        ``(rank, ranks)``: which part of every batch, and of all examples, is this rank's.

    Attributes
    ----------
    resident : bool
        Whether the device holds all examples.
    """

    def __init__(self, examples: Examples, where: Device, shard: Shard = (0, 1)) -> None:
        self.examples, self._where, self._shard = examples, where, shard
        guard = where.backend.guard
        self._guard = functools.partial(guard, where.native) if guard else contextlib.nullcontext
        self._take = where.backend.xp.take
        self.resident = False
        # A lazy library would carry all examples through each step's graph.
        if isinstance(examples, InMemory) and not where.backend.lazy:
            with contextlib.suppress(OutOfMemoryError, *where.backend.out_of_memory):
                self._inputs, self._targets = (
                    transfer(examples.inputs, where),
                    transfer(examples.targets, where),
                )
                self.resident = True

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, key: random.Key, size: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """One epoch from the batch `start` on: the examples in the random order of `key`."""
        if not self.resident:
            yield from self._moved(self.examples.batches(key, size, start, self._shard))
            return
        for rows in batches(key, len(self), size, device=self._where, start=start, shard=self._shard):
            with self._guard():
                inputs = self._take(self._inputs, rows, axis=0)
                labels = self._take(self._targets, rows, axis=0)
            yield inputs, labels

    def _moved(self, host: Iterator[tuple[Array, Array]]) -> Iterator[tuple[Any, Any]]:
        return prefetched(
            (transfer(inputs, self._where), transfer(labels, self._where)) for inputs, labels in host
        )

    def all(self) -> Iterator[tuple[Any, Any]]:
        """The rank's part of all examples, in their order, some thousand at a time."""
        low, high = next(slices(len(self), len(self), shard=self._shard))
        if not self.resident:
            yield from self._moved(self.examples.rows(low, high))
            return
        for part in pieces(low, high):
            yield self._inputs[part, ...], self._targets[part, ...]


def on_host(x: Any) -> np.ndarray[Any, Any]:
    """A copy of an array in the host's memory; waits for the device."""
    backend = BY_TYPE[type(x)]
    return np.asarray(x) if backend is None else backend.to_numpy(x)


def evaluate(model: Any, feed: Feed, task: Task, comm: Communicator) -> tuple[float, np.ndarray[Any, Any]]:
    """Mean loss of a model on examples, and what it predicts for each, computed by all ranks together.

    The model's weights are in the dtype in which it is computed.

    Returns
    -------
    loss : float
    predictions : array of float64, shape (examples, outputs)
    """
    losses, weights, predictions = [], [], []
    for inputs, targets in feed.all():
        outputs = model(inputs)
        loss, weight = task.loss(outputs, targets)
        losses.append(loss)
        weights.append(weight)
        predictions.append(task.predictions(outputs))
    # From the device when all is under way: to ask for each piece would wait for each.
    found = [float(weight) for weight in weights]
    total = float(np.sum(np.multiply(read(losses), found))) if losses else 0.0
    total, weight = comm.all_reduce((total, sum(found)))
    parts = [np.empty((0, task.outputs)), *(on_host(part).astype(np.float64) for part in predictions)]
    return total / (weight or 1.0), comm.all_gather(np.concatenate(parts))


def read(scalars: list[Any]) -> np.ndarray[Any, Any]:
    """Scalars of a device as one array of the host, in one transfer."""
    return on_host(_stack(scalars))


def copied(tree: Any) -> Any:
    """A pytree with memory of its own, which a step that is compiled does not overwrite."""
    return tree_map(lambda x: asarray(x, copy=True) if BY_TYPE[type(x)] is not None else x, tree)


def settled(tree: Any, where: Device) -> Any:
    """A pytree whose values are computed; the tree itself unless its library is lazy.

    Without this a lazy library would compute each step anew from the first one. All its arrays are computed
    at once.
    """
    if not where.backend.lazy:
        return tree
    leaves, structure = flatten(tree)
    groups: dict[str, list[int]] = {}
    for position, leaf in enumerate(leaves):
        if BY_TYPE[type(leaf)] is where.backend:
            groups.setdefault(str(leaf.dtype), []).append(position)
    xp = where.backend.xp
    for positions in groups.values():
        flat = on_host(xp.concat([xp.reshape(leaves[i], (-1,)) for i in positions]))
        start = 0
        for i in positions:
            shape = tuple(leaves[i].shape)
            size = int(np.prod(shape))
            leaves[i] = transfer(flat[start : start + size].reshape(shape), where)
            start += size
    return unflatten(structure, leaves)


def too_large(where: Device, rows: int, slice_size: int | None, error: BaseException) -> OutOfMemoryError:
    """A step for which the device has no room, with what would need less of it."""
    at_once = min(rows, slice_size or rows)
    smaller = f"try train.slice_size = {at_once // 2}, which computes the same step in parts, or "
    advice = smaller if at_once > 1 else "try "
    return OutOfMemoryError(
        f"{where} has no memory left for {at_once} examples of a batch of {rows} at once; "
        f"{advice}a smaller model ({' '.join(str(error).split())[:200]})"
    )
