"""Functions with rules of their own: custom_vjp, custom_jvp, checkpoint, and stop_gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import Error, NonDifferentiableError
from portagrad.kernel import Kernel
from portagrad.op import Op
from portagrad.recipe import Recipe
from portagrad.tensor import CONSTANT, Tensor, bare, hold, stopped
from portagrad.trace import apply
from portagrad.transforms.gradient import array, vjp
from portagrad.transforms.reverse import zeros
from portagrad.transforms.tangent import jvp
from portagrad.transforms.tree import any_traced, flatten, is_array, tree_map, unflatten, wrapped

_ARRAY = object()  # where a result has an array


class _Call:
    """One call of such a function: an op made for it, whose arrays are the leaves of the arguments."""

    def __init__(self, name: str, f: Callable[..., Any], args: Any) -> None:
        leaves, self.structure = flatten(args)
        self.name = name
        self.f = f
        self.where = [i for i, x in enumerate(leaves) if is_array(x)]
        self.leaves = [None if is_array(x) else x for x in leaves]  # what is kept must not keep the arguments
        self.results: tuple[Any, list[Any]] = (None, [])
        self.arrays = tuple([leaves[i] for i in self.where])

    def arguments(self, arrays: Any) -> Any:
        """The arguments, with other arrays for leaves."""
        leaves = list(self.leaves)
        for i, x in zip(self.where, arrays, strict=True):
            leaves[i] = wrapped(x)
        return unflatten(self.structure, leaves)

    def flat(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """`f` on the arrays, returning its result's leaves."""

        def on_arrays(*arrays: Any, xp: Any = None) -> tuple[Any, ...]:
            outs, structure = flatten(f(*self.arguments(arrays)))
            self.results = structure, [_ARRAY if is_array(x) else x for x in outs]
            return tuple([bare(x) for x in outs if is_array(x)])

        return on_arrays

    def result(self, arrays: Any) -> Any:
        """A tree like the result, these in the places of its arrays."""
        structure, leaves = self.results
        it = iter(arrays)
        return unflatten(structure, [next(it) if x is _ARRAY else x for x in leaves])

    def run(self, pull: Any, push: Any, forward: Callable[..., Any], again: bool) -> Any:
        """Apply the op; `again` tells whether lower traces meet the op again, or what `forward` does."""
        arrays, self.arrays = self.arrays, ()
        op = Op(
            name=self.name,
            kind="primitive",
            signature="(*leaves)",
            arrays=("*leaves",),
            params=(),
            outputs=("*results",),
            pulls=(pull,),
            pushes=(push,),
            forward=forward,
            result=lambda *parts: parts,
        )
        op.recipes = _Recipes(self.name, pull, push)
        if not again:
            op.kernels = _Plain(forward)
        try:
            outs = apply(op, arrays)
        finally:
            op.kernels = {}  # some know their op: it is gone at once, not when the collector comes by
        traced = any_traced(arrays)
        return self.result([hold(x) if traced else array(x) for x in outs])


class _Plain(dict[Any, Kernel]):
    """Kernels of an op whose forward runs as it is on whatever values there are."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.kernel = Kernel(forward)

    def __missing__(self, types: Any) -> Kernel:
        return self.kernel


class _Recipes(dict[Any, Recipe]):
    """Recipes of an op made for one call, which are not worth compiling: the rules read all the arrays."""

    def __init__(self, name: str, pull: Callable[..., Any], push: Callable[..., Any]) -> None:
        self.name, self.pull, self.push = name, pull, push

    def get(self, key: Any, default: Any = None) -> Recipe:
        mode, active, _ = key
        rule = self.pull if mode == "pull" else self.push
        indices = [i for i in range(active.bit_length()) if active >> i & 1]

        def pull(g: Any, leaves: Any, params: Any, xp: Any) -> Any:
            parts = rule(g, leaves)
            return [parts[i] for i in indices]

        def push(ts: Any, leaves: Any, params: Any, xp: Any) -> Any:
            given = dict(zip(indices, ts, strict=True))
            return rule([given.get(i) for i in range(len(leaves))], leaves)

        return Recipe(self.name, lambda v, y, nodes, byproduct=None: v, pull if mode == "pull" else push)


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
        call = _Call(f"checkpoint({_name(f)})", f, args)
        forward = call.flat(f)

        def pull(g: Any, leaves: Any) -> Any:
            return _vjp_of(forward, leaves, g)

        def push(t: Any, leaves: Any) -> Any:
            of_live, live = _of_live(forward, leaves)
            ts = _differentiable_only(leaves, t)
            return jvp(of_live, tuple([leaves[i] for i in live]), tuple([ts[i] for i in live]))[1]

        return call.run(pull, push, forward, again=True)

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
        call = _Call(name, self.f, args)
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

        return call.run(pull, push, call.flat(keep_residuals), again=False)


class custom_jvp:
    """A function with a derivative of your own, for both modes.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree.

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

    def __init__(self, f: Callable[..., Any]) -> None:
        functools.update_wrapper(self, f)
        self.f = f
        self.rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> None:
        """Set the rule."""
        self.rule = rule

    def __call__(self, *args: Any) -> Any:
        name = _name(self.f)
        rule = self.rule
        if rule is None:
            raise Error(f"{name}: no rule yet; call {name}.defjvp(rule) first")
        call = _Call(name, self.f, args)

        def moved(leaves: Any, ts: Any) -> tuple[Any, ...]:
            ys, dys = (flatten(part)[0] for part in rule(call.arguments(leaves), call.arguments(ts)))
            pairs = [(bare(y), bare(dy)) for y, dy in zip(ys, dys, strict=True) if is_array(y)]
            return tuple([dy if is_array(dy) else zeros(y, y) + dy for y, dy in pairs])

        def push(t: Any, leaves: Any) -> Any:
            return moved(leaves, _differentiable_only(leaves, t))

        def pull(g: Any, leaves: Any) -> Any:
            return _vjp_of(lambda *ts: moved(leaves, ts), [zeros(x, x) for x in leaves], g)

        return call.run(pull, push, call.flat(self.f), again=True)


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
