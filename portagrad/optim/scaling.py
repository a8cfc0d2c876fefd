"""Parts of a chain that scale gradients or add to them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from portagrad.optim.leaves import built, each, leaves, parameters, square
from portagrad.optim.optimizer import Optimizer
from portagrad.optim.schedules import Schedule, rate, schedule_of
from portagrad.transforms.tree import Varying


class ScheduleState(NamedTuple):
    """Of `scale_by_schedule`: steps so far."""

    count: Any


def global_norm(tree: Any) -> Any:
    """The Euclidean norm of all leaves together: a zero-dimensional array, or 0.0 of an empty tree.

    Parameters
    ----------
    tree : pytree of arrays

    Examples
    --------
    >>> import numpy as np
    >>> float(global_norm({"w": np.asarray([3.0, 0.0]), "b": np.asarray(4.0)}))
    5.0
    """
    gs = [g for g in leaves(tree)[0] if g is not None]
    if not gs:
        return 0.0
    total, *rest = each("global_norm", _square_leaf, 1, gs)[0]
    for more in rest:
        (total,) = each("global_norm", _add_leaf, 1, (total,), (more,))[0]
    return each("global_norm", _root_leaf, 1, (total,))[0][0]


def clip_by_global_norm(max_norm: float) -> Optimizer:
    """Scale all gradients by one factor, so that their norm together is at most `max_norm`.

    Pascanu et al. (2013), "On the difficulty of training recurrent neural networks", algorithm 1.

    Parameters
    ----------
    max_norm : float
        Above 0.

    Examples
    --------
    >>> import numpy as np
    >>> clip_by_global_norm(1.0).update(np.asarray([3.0, 4.0]), ())[0]
    array([0.6, 0.8])
    """
    max_norm = rate("clip_by_global_norm", "max_norm", max_norm)
    if not 0 < max_norm < math.inf:
        raise ValueError(f"clip_by_global_norm: max_norm must be above 0 and finite, got {max_norm}")

    def update(grads: Any, state: tuple[()], params: Any = None) -> tuple[Any, tuple[()]]:
        gs, structure = leaves(grads)
        norm = global_norm(gs)
        if isinstance(norm, float) and not norm:
            return grads, ()
        (factor,) = each("clip_by_global_norm", _clip_leaf, 1, (norm,), max_norm=max_norm)[0]
        return built(structure, each("clip_by_global_norm", _scale_leaf, 1, gs, factor=factor)[0]), ()

    return Optimizer(lambda params: (), update)


def clip(max_value: float) -> Optimizer:
    """Bound each element of the gradients to the range from ``-max_value`` to ``max_value``.

    Parameters
    ----------
    max_value : float
        Above 0.

    Examples
    --------
    >>> import numpy as np
    >>> clip(1.0).update(np.asarray([3.0, -0.5]), ())[0]
    array([ 1. , -0.5])
    """
    max_value = rate("clip", "max_value", max_value)
    if not 0 < max_value < math.inf:
        raise ValueError(f"clip: max_value must be above 0 and finite, got {max_value}")

    def update(grads: Any, state: tuple[()], params: Any = None) -> tuple[Any, tuple[()]]:
        gs, structure = leaves(grads)
        return built(structure, each("clip", _bound_leaf, 1, gs, max_value=max_value)[0]), ()

    return Optimizer(lambda params: (), update)


def add_decayed_weights(weight_decay: float) -> Optimizer:
    """Add `weight_decay` times the parameter to each gradient: the derivative of an L2 penalty.

    Examples
    --------
    >>> import numpy as np
    >>> add_decayed_weights(0.1).update(np.asarray([1.0, 2.0]), (), np.asarray([10.0, 10.0]))[0]
    array([2., 3.])
    """
    weight_decay = rate("add_decayed_weights", "weight_decay", weight_decay)

    def update(grads: Any, state: tuple[()], params: Any = None) -> tuple[Any, tuple[()]]:
        gs, structure = leaves(grads)
        ps = parameters("add_decayed_weights", params, structure)
        us = each("add_decayed_weights", _decay_leaf, 1, gs, ps, weight_decay=weight_decay)[0]
        return built(structure, us), ()

    return Optimizer(lambda params: (), update)


def scale(factor: float) -> Optimizer:
    """Multiply each gradient by a number.

    Parameters
    ----------
    factor : float
        Finite; it may be negative.

    Examples
    --------
    >>> import numpy as np
    >>> scale(-0.5).update(np.asarray([1.0, 2.0]), ())[0]
    array([-0.5, -1. ])
    """
    if not isinstance(factor, int | float) or not math.isfinite(factor):
        raise ValueError(f"scale: factor must be a finite number, got {factor!r}")
    factor = float(factor)

    def update(grads: Any, state: tuple[()], params: Any = None) -> tuple[Any, tuple[()]]:
        gs, structure = leaves(grads)
        return built(structure, each("scale", _scale_leaf, 1, gs, factor=factor)[0]), ()

    return Optimizer(lambda params: (), update)


def scale_by_schedule(schedule: Schedule) -> Optimizer:
    """Multiply each gradient by the schedule's value at the step, sign and all.

    Parameters
    ----------
    schedule : callable
        Maps the number of steps taken to a factor.

    Examples
    --------
    >>> import numpy as np
    >>> opt = scale_by_schedule(lambda count: -1.0 / (count + 1))
    >>> opt.update(np.asarray([1.0, 2.0]), ScheduleState(1))
    (array([-0.5, -1. ]), ScheduleState(count=2))
    """
    if not callable(schedule):
        raise TypeError(
            f"scale_by_schedule: the schedule must be a function of the step, not {type(schedule).__name__}; "
            "for a fixed factor use scale(factor)"
        )
    at = schedule_of("scale_by_schedule", "schedule", schedule)

    def update(grads: Any, state: ScheduleState, params: Any = None) -> tuple[Any, ScheduleState]:
        gs, structure = leaves(grads)
        us = each("scale_by_schedule", _scale_leaf, 1, gs, factor=at(state.count))[0]
        return built(structure, us), ScheduleState(state.count + 1)

    return Optimizer(lambda params: ScheduleState(Varying(0)), update)


def _square_leaf(g: Any, *, xp: Any) -> tuple[Any]:
    return (xp.sum(square(g, xp)),)


def _add_leaf(x: Any, y: Any, *, xp: Any) -> tuple[Any]:
    return (x + y,)


def _root_leaf(x: Any, *, xp: Any) -> tuple[Any]:
    return (xp.sqrt(x),)


def _bound_leaf(g: Any, *, max_value: float, xp: Any) -> tuple[Any]:
    return (xp.clip(g, -max_value, max_value),)


def _clip_leaf(norm: Any, *, max_norm: float, xp: Any) -> tuple[Any]:
    """The factor that clips: at most 1, and no quotient by zero."""
    return (max_norm / xp.clip(norm, max_norm, None),)


def _decay_leaf(g: Any, p: Any, *, weight_decay: float, xp: Any) -> tuple[Any]:
    return (g + weight_decay * p,)


def _scale_leaf(g: Any, *, factor: Any, xp: Any) -> tuple[Any]:
    return (g * factor,)
