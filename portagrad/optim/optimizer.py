"""What an optimizer is, how optimizers chain, and how their updates reach the parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from portagrad.optim.leaves import built, each, guarded, leaves, matched
from portagrad.trace import Traced
from portagrad.transforms.gradient import owned


class Optimizer(NamedTuple):
    """A pair of functions, as in optax.

    A state is a pytree: arrays of the parameters' dtypes on their devices, one per leaf in the leaves' order,
    and the number of steps so far. That count starts as a Python integer, so that an eager step works out
    learning rates and bias corrections as Python numbers, with no kernel and no transfer; a zero-dimensional
    integer array, traced or not, serves in its place.

    Attributes
    ----------
    init : callable
        ``state = init(params)``.
    update : callable
        ``updates, state = update(grads, state, params)``. Nothing is changed in place. Optimizers that do not
        read the parameters can do without `params`. A gradient that is None gives no update.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


def apply_updates(params: Any, updates: Any, *, donate: bool = False) -> Any:
    """The parameters after a step: the sum, leaf by leaf.

    Parameters
    ----------
    params, updates : pytrees
        Of the same structure; where an update is None the parameter stays as it is.
    donate : bool
        Whether the updates may be overwritten: the new parameters then lie in their memory, where the library
        can do so, and a step takes no memory but theirs. No two of them may share memory.

    Raises
    ------
    ValueError
        If the structures differ.

    Examples
    --------
    >>> import numpy as np
    >>> apply_updates({"w": np.ones(2)}, {"w": np.asarray([0.5, -0.5])})
    {'w': array([1.5, 0.5])}
    >>> update = np.asarray([0.5, -0.5])
    >>> apply_updates(np.ones(2), update, donate=True) is update
    True
    """
    ps, structure = leaves(params)
    us = matched("apply_updates", updates, structure, "updates", "params")
    if guarded(us):
        us = each("apply_updates", _sum_leaf, 1, us, ps, donate=donate)[0]
        return built(structure, [p if u is None else u for u, p in zip(us, ps, strict=True)])
    added = _added_to if donate else operator.add
    return built(structure, [p if u is None else added(p, u) for u, p in zip(us, ps, strict=True)])


def _sum_leaf(u: Any, p: Any, *, donate: bool, xp: Any) -> tuple[Any]:
    return (_added_to(p, u) if donate else p + u,)


def _added_to(p: Any, u: Any) -> Any:
    """The sum in the memory of the update, where it fits there."""
    if isinstance(u, Traced) or u.dtype != p.dtype or u.shape != p.shape:
        return p + u
    u = owned(u)
    u += p
    return u


def chain(*optimizers: Optimizer) -> Optimizer:
    """One optimizer out of several: the updates of each are the gradients of the next.

    Parameters
    ----------
    *optimizers : Optimizer
        In the order in which they see the gradients.

    Examples
    --------
    >>> import numpy as np
    >>> from portagrad import optim
    >>> opt = chain(optim.clip_by_global_norm(1.0), optim.sgd(0.5))
    >>> opt.update(np.asarray([3.0, 4.0]), opt.init(np.zeros(2)))[0]
    array([-0.3, -0.4])
    """
    for part in optimizers:
        if not (hasattr(part, "init") and hasattr(part, "update")):
            raise TypeError(f"chain: {part!r} is no optimizer, such as optim.sgd(0.1), with init and update")

    def init(params: Any) -> tuple[Any, ...]:
        return tuple([part.init(params) for part in optimizers])

    def update(grads: Any, state: tuple[Any, ...], params: Any = None) -> tuple[Any, tuple[Any, ...]]:
        if len(state) != len(optimizers):
            raise ValueError(
                f"chain: the state has {len(state)} parts, for {len(optimizers)} optimizers; "
                "make one with opt.init(params)"
            )
        states = []
        for part, its in zip(optimizers, state, strict=True):
            grads, its = part.update(grads, its, params)
            states.append(its)
        return grads, tuple(states)

    return Optimizer(init, update)
