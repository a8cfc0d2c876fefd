"""Functions with rules of their own: custom_vjp, custom_jvp, checkpoint, and stop_gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import Error, NonDifferentiableError
from portagrad.namespace import function
from portagrad.tensor import CONSTANT, Tensor, bare, hold, stopped
from portagrad.transforms.batch import vmap
from portagrad.transforms.gradient import vjp
from portagrad.transforms.own_call import OwnCall, filled, split
from portagrad.transforms.reverse import zeros
from portagrad.transforms.tangent import jvp
from portagrad.transforms.tree import flatten, is_array, tree_map

_sum = function("sum")


def _differentiable_only(leaves: Any, parts: Any) -> list[Any]:
    """A contribution for every array: zeros where a rule gave None."""
    return [zeros(x, x) if part is None else part for x, part in zip(leaves, parts, strict=True)]


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, recomputed in the backward pass instead of remembered: memory for time.

    Only the arguments are kept (Griewank and Walther, 2000, "Algorithm 799: revolve", the case of one
    checkpoint). `f` must be pure, and what is differentiated must come in as an argument.

    Raises
    ------
    Error
        When differentiated, if `f` closes over a value of the same differentiation.

    Examples
    --------
    >>> pg.grad(lambda x: pg.sum(checkpoint(lambda x: pg.exp(pg.sin(x)))(x)))(np.asarray([0.0]))
    array([1.])
    """

    @functools.wraps(f)
    def checkpointed(*args: Any) -> Any:
        call = OwnCall(f"checkpoint({_name(f)})", args)
        forward = call.flat(f)

        def pull(g: Any, leaves: Any) -> Any:
            return _vjp_of(forward, leaves, g)

        def push(t: Any, leaves: Any) -> Any:
            of_live, live = _of_live(forward, leaves)
            ts = _differentiable_only(leaves, t)
            return jvp(of_live, tuple([leaves[i] for i in live]), tuple([ts[i] for i in live]))[1]

        return call.run(pull, push, forward, True, lambda axes: checkpoint(vmap(forward, axes)))

    return checkpointed


def _of_live(forward: Callable[..., Any], leaves: Any) -> tuple[Callable[..., Any], list[int]]:
    """A function of arrays as one of those that can be differentiated, and their positions."""
    live = [i for i, x in enumerate(leaves) if KIND[x.dtype]]

    def of_live(*xs: Any) -> Any:
        full = list(leaves)
        for i, x in zip(live, xs, strict=True):
            full[i] = x
        return forward(*full)

    return of_live, live


def _vjp_of(forward: Callable[..., Any], leaves: Any, g: Any) -> list[Any]:
    """The pullback of a function of arrays, with respect to those that have derivatives."""
    of_live, live = _of_live(forward, leaves)
    _, pullback = vjp(of_live, *[leaves[i] for i in live])
    parts = dict(zip(live, pullback(tuple(g)), strict=True))
    return [parts.get(i) for i in range(len(leaves))]


class custom_vjp:
    """A function with a pullback of your own.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree; what is evaluated where nothing is differentiated.

    Notes
    -----
    ``defvjp(forward, backward)``: ``forward(*args)`` returns ``(y, residuals)``, ``backward(residuals, g)`` a
    tuple with a cotangent for each argument, None for zero. Higher orders differentiate both as ordinary
    code; forward mode needs `custom_jvp`.

    Examples
    --------
    >>> @custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, g: (pg.clip(g, -1.0, 1.0),))
    >>> pg.grad(lambda x: pg.sum(5 * clipped(x)))(np.asarray([1.0]))
    array([1.])
    """

    def __init__(self, f: Callable[..., Any]) -> None:
        functools.update_wrapper(self, f)
        self.f = f
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the two halves of the rule."""
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any) -> Any:
        name = _name(self.f)
        if self.forward is None or self.backward is None:
            raise Error(f"{name}: no rule yet; call {name}.defvjp(forward, backward) first")
        rule, back = self.forward, self.backward
        call = OwnCall(name, args)
        if not any(isinstance(x, Tensor) and x.trace is not CONSTANT for x in call.arrays):
            return self.f(*args)
        residuals: list[Any] = []
        shapes = [(structure, list(map(is_array, leaves))) for leaves, structure in map(flatten, args)]

        def keep_residuals(*args: Any) -> Any:
            y, res = rule(*args)
            residuals[:] = [res]
            return y

        def pull(g: Any, leaves: Any) -> Any:
            cotangents = back(residuals[0], call.result(map(_held, g)))
            if not isinstance(cotangents, tuple) or len(cotangents) != len(shapes):
                raise TypeError(f"{name}: the backward rule must return a tuple of {len(shapes)} cotangents")
            parts: list[Any] = []
            for i, ((structure, its), c) in enumerate(zip(shapes, cotangents, strict=True)):
                try:
                    given = [None] * len(its) if c is None else structure.flatten_up_to(c)
                except ValueError as error:
                    given = [error]
                if not all(part is None or is_array(part) for part in given):
                    raise TypeError(f"{name}: cotangent {i} is not structured as its argument, {structure}")
                parts.extend(bare(part) for is_one, part in zip(its, given, strict=True) if is_one)
            return _differentiable_only(leaves, parts)

        def push(t: Any, leaves: Any) -> Any:
            raise NonDifferentiableError(
                f"{name}: has a custom_vjp and no rule for forward mode; give it one with pg.custom_jvp, "
                f"which serves both modes"
            )

        def anew(axes: Any) -> custom_vjp:
            once, shell = call.flat(keep_residuals), [split(None)[1]]

            def forward(*leaves: Any) -> Any:
                y = once(*leaves)
                arrays, shell[0] = split(residuals[0])
                return y, arrays

            def backward(arrays: Any, leaves: Any, g: Any) -> tuple[Any, ...]:
                residuals[:] = [filled(shell[0], arrays)]
                return tuple(pull(g, leaves))

            def forward_of_all(*leaves: Any) -> Any:
                y, arrays = vmap(forward, axes)(*leaves)
                return y, (arrays, leaves)

            def backward_of_all(kept: Any, g: Any) -> tuple[Any, ...]:
                parts = vmap(backward, (0, axes, 0))(*kept, g)
                return tuple(
                    [p if axis == 0 else _sum(p, axis=0) for p, axis in zip(parts, axes, strict=True)]
                )

            made = custom_vjp(vmap(call.flat(self.f), axes))
            made.defvjp(forward_of_all, backward_of_all)
            return made

        return call.run(pull, push, call.flat(keep_residuals), False, anew)


class custom_jvp:
    """A function with a derivative of your own, for both modes.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree.

    one_by_one : bool
        Whether `vmap` shall call `f` once for each example, because it is no array-API code: a solver, say,
        or another library's function. It then sees numbers, and may convert them.

    Notes
    -----
    ``defjvp(rule)``: ``rule(primals, tangents)`` takes two tuples like the arguments and returns ``(y, dy)``.
    `dy` must be linear in the tangents; reverse mode transposes it.

    Examples
    --------
    >>> @custom_jvp
    ... def log1pexp(x):
    ...     return pg.log1p(pg.exp(x))
    >>> log1pexp.defjvp(lambda xs, ts: (log1pexp(*xs), ts[0] * pg.sigmoid(xs[0])))
    >>> pg.grad(log1pexp)(100.0)
    array(1.)
    """

    def __init__(self, f: Callable[..., Any], one_by_one: bool = False) -> None:
        functools.update_wrapper(self, f)
        self.f = f
        self.one_by_one = one_by_one
        self.rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> None:
        """Set the rule."""
        self.rule = rule

    def __call__(self, *args: Any) -> Any:
        name = _name(self.f)
        rule = self.rule
        if rule is None:
            raise Error(f"{name}: no rule yet; call {name}.defjvp(rule) first")
        call = OwnCall(name, args)

        def both(leaves: Any, ts: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            ys, dys = (flatten(part)[0] for part in rule(call.arguments(leaves), call.arguments(ts)))
            pairs = [(bare(y), bare(dy)) for y, dy in zip(ys, dys, strict=True) if is_array(y)]
            moved = tuple([dy if is_array(dy) else zeros(y, y) + dy for y, dy in pairs])
            return tuple([y for y, _ in pairs]), moved

        def moved(leaves: Any, ts: Any) -> tuple[Any, ...]:
            return both(leaves, ts)[1]

        def push(t: Any, leaves: Any) -> Any:
            return moved(leaves, _differentiable_only(leaves, t))

        def pull(g: Any, leaves: Any) -> Any:
            return _vjp_of(lambda *ts: moved(leaves, ts), [zeros(x, x) for x in leaves], g)

        forward = call.flat(self.f)

        def anew(axes: Any) -> custom_jvp:
            made = custom_jvp(vmap(forward, axes))
            made.defjvp(vmap(both, (axes, axes)))
            return made

        return call.run(pull, push, forward, True, None if self.one_by_one else anew)


def _held(x: Any) -> Any:
    return hold(x) if is_array(x) else x


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)


def stop_gradient(tree: Any) -> Any:
    """The same values, constant to every differentiation; they convert to numbers and NumPy arrays.

    Parameters
    ----------
    tree : pytree
        Its arrays and tensors; what else it holds stays as it is.

    Returns
    -------
    pytree
        Constant tensors in place of tensors.

    Examples
    --------
    >>> pg.grad(lambda x: x * stop_gradient(x))(3.0)
    array(3.)
    """
    return tree_map(stopped, tree)
