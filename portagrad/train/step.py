"""The step of training: whole, or as the sum of slices of its batch that are computed one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad import optim, random
from portagrad.backend import KIND
from portagrad.compile.compiled import compile
from portagrad.distributed import Communicator
from portagrad.namespace import creation, function
from portagrad.train.stateful import in_training, joined, state_of, trained_part
from portagrad.train.task import Task, divisor
from portagrad.transforms.gradient import value_and_grad
from portagrad.transforms.tree import tree_map

_add, _astype, _sum = map(function, ("add", "astype", "sum"))
_full_like, _zeros_like = creation("full_like"), creation("zeros_like")


Sums = tuple[tuple[Any, tuple[Any, Any, Any]], Any]
"""``(loss, (weight, score, state)), gradients``, each summed over examples; the state with their number"""


def outputs_of(model: Any, x: Any) -> Any:
    """What a model predicts, computed in the inputs' dtype; of integers, in that of the weights."""
    return computed_in(x.dtype, model)(x)


def computed_in(dtype: Any, model: Any) -> Any:
    """A model to be computed in this dtype, if it is one of floating-point numbers.

    The weights may have another one, in which they are kept and updated (Micikevicius et al., 2018, "Mixed
    precision training", section 3.1); their gradients then have it too.
    """
    return weights_as(dtype, model) if KIND[dtype] else model


def weights_as(dtype: Any, model: Any) -> Any:
    """A model with its weights in this dtype."""
    return tree_map(lambda w: w if w.dtype == dtype else _astype(w, dtype), model)


def loss_of(task: Task) -> Callable[[Any, Any, Any], Any]:
    """``loss(model, x, y)``: the mean over a batch, without dropout."""

    def loss(model: Any, x: Any, y: Any) -> Any:
        return task.loss(outputs_of(model, x), y)[0]

    return loss


class Step:
    """One step of training, as a function of everything that changes.

    ``step(params, state, x, y) -> params, state, loss, weight, score``: the state is the optimizer's and the
    key for dropout; the loss is the batch's mean, the weight what it counts in the mean over batches, and the
    score a sum, all scalars on the device; the weight is None where every example counts the same.

    Parameters
    ----------
    optimizer : Optimizer
    task : Task
    dropout : float or bool
        Whether each step draws a key for the model.
    slice_size : int, optional
        How many examples are computed at a time, for a batch whose activations would not fit into memory: the
        gradients of its slices are added up, and the step is the same to rounding. By default all.
    compiled : bool
        Whether it runs as compiled plans, which overwrite `params` and `state`.
    dtype : dtype, optional
        In which the model is computed; by default that of its inputs, which are then no integers.
    comm : Communicator, optional
        The ranks among which every batch is divided: each is called with its own rows, some with none, and
        the gradients of all are added up. Loss, weight and score are those of the whole batch on every rank.
    """

    def __init__(
        self,
        optimizer: optim.Optimizer,
        task: Task,
        *,
        dropout: float = 0.0,
        slice_size: int | None = None,
        compiled: bool = False,
        dtype: Any = None,
        comm: Communicator | None = None,
    ) -> None:
        def made(f: Callable[..., Any], *donate: int) -> Callable[..., Any]:
            return compile(f, donate=donate) if compiled else f

        def objective(weights: Any, state: Any, x: Any, y: Any, key: random.Key | None) -> tuple[Any, Any]:
            at = x.dtype if dtype is None else dtype
            outputs, after = in_training(computed_in(at, weights), computed_in(at, state), x, key)
            loss, weight = task.loss(outputs, y)
            return loss, (weight, outputs, tree_map(lambda s, old: _astype(s, old.dtype), after, state))

        mean_slope = value_and_grad(objective, has_aux=True)

        def total(weights: Any, state: Any, x: Any, y: Any, key: random.Key | None) -> tuple[Any, Any]:
            loss, (weight, outputs, state) = objective(weights, state, x, y, key)
            weight = _full_like(loss, weight) if task.alike else _astype(weight, loss.dtype)
            rows = x.shape[0]
            counted = (
                (tree_map(lambda s: s * rows, state), _full_like(loss, rows)) if state is not None else ()
            )
            return loss * weight, (weight, _astype(task.score(outputs, y), loss.dtype), counted)

        slope = value_and_grad(total, has_aux=True)

        def update(params: Any, own: Any, grads: Any, state: Any) -> tuple[Any, Any]:
            weights = trained_part(params)
            updates, own = optimizer.update(grads, own, weights)
            return joined(optim.apply_updates(weights, updates, donate=True), state), own

        def whole(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, ...]:
            own, key, mine = self._drawn(state)
            (loss, (weight, outputs, after)), grads = mean_slope(
                trained_part(params), state_of(params), x, y, mine
            )
            params, own = update(params, own, grads, after)
            return params, (own, key), loss, None if task.alike else weight, task.score(outputs, y)

        def finish(params: Any, own: Any, sums: Sums) -> tuple[Any, ...]:
            (loss, (weight, score, counted)), _ = sums
            after = None
            if counted:  # the mean over slices and ranks, each of which has seen its own rows alone
                after = tree_map(lambda s: s / _astype(counted[1], s.dtype), counted[0])
            return *update(params, own, _mean(sums), after), loss / divisor(weight), weight, score

        self._alike = task.alike
        self._dropout, self._slice, self._dtype = bool(dropout), slice_size, dtype
        self._comm = comm or Communicator()
        self._part = whole
        self._whole = made(whole, 0, 1)
        self._sums = made(slope)
        self._added = made(lambda a, b: tree_map(_add, a, b), 0)
        self._finish = made(finish, 0, 1)
        self._mean = made(_mean)

    def __call__(self, params: Any, state: Any, x: Any, y: Any) -> tuple[Any, ...]:
        if self._comm.size == 1 and (self._slice is None or x.shape[0] <= self._slice):
            done: tuple[Any, ...] = self._whole(params, state, x, y)
            return done
        own, key, mine = self._drawn(state)
        params, own, loss, weight, score = self._finish(params, own, self._summed(params, x, y, mine))
        return params, (own, key), loss, None if self._alike else weight, score

    def gradient(self, params: Any, x: Any, y: Any) -> Any:
        """The gradient of a batch's loss without dropout, for which no random number is used up."""
        return self._mean(self._summed(params, x, y, None))

    def part(self, params: Any, state: Any, x: Any, y: Any) -> Any:
        """The step as if this rank's rows were the batch, op by op; nothing where it has none."""
        return self._part(params, state, x, y) if x.shape[0] else ()

    def _drawn(self, state: Any) -> tuple[Any, random.Key, random.Key | None]:
        """The optimizer's state, the key for the next step, and the one for this step's dropout."""
        own, key = state
        if not self._dropout:
            return own, key, None
        key, mine = random.split(key)
        return own, key, random.fold_in(mine, self._comm.rank) if self._comm.size > 1 else mine

    def _summed(self, params: Any, x: Any, y: Any, key: random.Key | None) -> Sums:
        rows = x.shape[0]
        size = self._slice or max(rows, 1)
        sums: Sums | None = None
        for number, low in enumerate(range(0, rows, size)):
            part = slice(low, min(low + size, rows))
            given = (x[part, ...], y[part, ...]) if size < rows else (x, y)
            mine = random.fold_in(key, number) if key is not None else None
            more = self._sums(trained_part(params), state_of(params), *given, mine)
            sums = more if sums is None else self._added(sums, more)
        if sums is None:
            sums = self._nothing(params, x)
        if self._comm.size > 1:
            sums = self._comm.all_reduce(sums)
        return sums

    def _nothing(self, params: Any, x: Any) -> Sums:
        """The sums over no example."""
        zero = _sum(x if self._dtype is None else _astype(x, self._dtype))
        state = state_of(params)
        counted = (tree_map(_zeros_like, state), zero) if state is not None else ()
        return (zero, (zero, zero, counted)), tree_map(_zeros_like, trained_part(params))


def _mean(sums: Sums) -> Any:
    """The gradient of the mean loss."""
    (_, (weight, _, _)), grads = sums
    by = divisor(weight)  # a batch that weighs nothing changes nothing
    return tree_map(lambda g: g / _astype(by, g.dtype), grads)
