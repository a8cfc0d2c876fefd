"""root and fixed_point: solutions of equations, differentiated by the implicit function theorem."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import ConcretizationError, ConvergenceError, Error
from portagrad.kernel import namespace
from portagrad.namespace import function
from portagrad.tensor import bare
from portagrad.transforms.custom import custom_jvp, stop_gradient
from portagrad.transforms.gradient import array
from portagrad.transforms.matrices import jacfwd
from portagrad.transforms.tangent import jvp
from portagrad.transforms.tree import any_traced, flatten, is_array, tree_map, unflatten, wrapped
from portagrad.transforms.unknowns import Unknowns

Solver = Callable[[Callable[[Any], Any], Any], Any]
"""``solver(g, x0)`` returns an x with ``g(x) == 0``; raw arrays throughout."""

_reshape = function("reshape")
NEWTON_STEPS = 50
ITERATIONS = 10_000


def root(f: Callable[..., Any], x0: Any, *args: Any, solver: Solver | None = None) -> Any:
    """A solution x of ``f(x, *args) == 0``, differentiable with respect to `args`.

    Derivatives are those of the solution, however it was found: ``dx = -(df/dx)^-1 df/dargs``, the implicit
    function theorem. They exist in both modes and to every order, and cost one linear system of as many
    equations as there are unknowns. A function that closes over a value that is being differentiated is
    refused: pass it in `args`.

    Parameters
    ----------
    f : callable
        Returns a pytree like its first argument: an equation for each unknown.
    x0 : pytree of real floating arrays
        Where the search starts. The solution does not depend on it: its gradient is zero.
    *args : pytrees
        What `f` takes besides.
    solver : callable, optional
        ``solver(g, x0)`` returns the solution of ``g(x) == 0``, on raw arrays: it may be anyone's code. By
        default Newton's method.

    Returns
    -------
    pytree
        Like `x0`.

    Raises
    ------
    ConvergenceError
        If Newton's method finds no solution.
    TypeError
        If `f` or `solver` returns another structure or other shapes than `x0` has.

    Examples
    --------
    >>> square_root = lambda a: root(lambda x, a: x * x - a, np.ones(()), a)
    >>> pg.value_and_grad(square_root)(np.asarray(16.0))
    (array(4.), array(0.125))
    """
    return _solve("root", f, x0, args, solver or newton)


def fixed_point(f: Callable[..., Any], x0: Any, *args: Any, solver: Solver | None = None) -> Any:
    """A solution x of ``x == f(x, *args)``, differentiable with respect to `args`.

    Parameters
    ----------
    f, x0, *args
        As for `root`, which this is for ``f(x, *args) - x``.
    solver : callable, optional
        ``solver(f, x0)`` returns the fixed point of a function of one argument, on raw arrays; by default `f`
        is applied until its result stays the same to rounding.

    Raises
    ------
    ConvergenceError
        If the iteration comes to no rest.

    Examples
    --------
    >>> g = pg.grad(lambda a: fixed_point(lambda x, a: pg.cos(a * x), np.asarray(0.5), a))
    >>> round(float(g(np.asarray(1.0))), 5)
    -0.29747
    """

    def difference(x: Any, *args: Any) -> Any:
        return tree_map(lambda y, x: y - x, f(x, *args), x)

    given = solver or iterate

    def solve(_: Any, start: Any, plain: Callable[[Any], Any]) -> Any:
        return given(plain, start)

    return _solve("fixed_point", difference, x0, args, solve, f)


def _solve(
    what: str,
    f: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...],
    solver: Callable[..., Any],
    plain: Callable[..., Any] | None = None,
) -> Any:
    start, _ = flatten(stop_gradient(x0))
    unknowns = Unknowns(what, x0)
    n = len(start)
    leaves, structure = flatten(args)
    live = [i for i, x in enumerate(leaves) if is_array(x) and KIND[x.dtype]]
    rest = [None if i in live else wrapped(x) for i, x in enumerate(leaves)]

    def whole(arrays: Any) -> Any:
        full = list(rest)
        for i, x in zip(live, arrays, strict=True):
            full[i] = x
        return unflatten(structure, full)

    def residual(v: Any, arrays: Any) -> Any:
        return unknowns.vector(f(unknowns.tree(v), *whole(arrays)), "the result of f")

    @_named(what)
    def solution(*arrays: Any) -> Any:
        if any_traced(list(map(bare, arrays))):
            raise ConcretizationError(
                f"{what}: a solver looks at numbers, which a graph that is being recorded does not have; "
                f"call it outside pg.compile and pass the solution"
            )

        def bound(g: Callable[..., Any]) -> Callable[[Any], Any]:
            given = whole(arrays[n:])

            def of_x(x: Any) -> Any:
                y = tree_map(_plain, g(tree_map(wrapped, x), *given))
                if any_traced(flatten(y)[0]) and not any_traced(flatten(x)[0]):
                    raise Error(
                        f"{what}: f closes over a value that is being differentiated, whose gradient "
                        f"would be lost; pass it as an argument: {what}(f, x0, value)"
                    )
                return y

            return of_x

        extra = () if plain is None else (bound(plain),)
        x = solver(bound(f), unflatten(unknowns.structure, list(map(_plain, arrays[:n]))), *extra)
        unknowns.vector(x, "the solver's result")
        return x

    def rule(primals: Any, tangents: Any) -> Any:
        x = solution(*primals)
        v = unknowns.vector(x, "the solution")
        given = tuple(primals[n:])
        _, moved = jvp(lambda *arrays: residual(v, arrays), given, tuple(tangents[n:]))
        matrix = jacfwd(lambda v: residual(v, given))(v)
        return x, unknowns.tree(-_step(matrix, moved))

    solution.defjvp(rule)
    return solution(*start, *[leaves[i] for i in live])


def _named(what: str) -> Callable[[Callable[..., Any]], custom_jvp]:
    """A function with a rule of its own, under the name that its errors show."""

    def made(f: Callable[..., Any]) -> custom_jvp:
        f.__name__ = what
        return custom_jvp(f, one_by_one=True)

    return made


def _step(matrix: Any, residual: Any) -> Any:
    """The solution of a linear system with one right side."""
    return _reshape(function("linalg.solve")(matrix, _reshape(residual, (-1, 1))), (-1,))


def _plain(x: Any) -> Any:
    """A raw array for a constant tensor; what something differentiates stays as it is."""
    return array(bare(x)) if is_array(x) else x


def newton(g: Callable[[Any], Any], x0: Any) -> Any:
    """Newton's method from `x0`, whole steps with the exact Jacobian matrix.

    Ends with a step that is small enough for the next one to be nothing but rounding.
    """
    unknowns = Unknowns("root", x0)
    v = unknowns.vector(x0, "x0")
    xp = namespace(v)
    small = float(xp.finfo(v.dtype).eps) ** (2 / 3)

    def residual(v: Any) -> Any:
        return unknowns.vector(g(unknowns.tree(v)), "the result of f")

    for _ in range(NEWTON_STEPS):
        step = _step(jacfwd(residual)(v), residual(v))
        v = v - step
        size = float(xp.max(xp.abs(step)))
        if not math.isfinite(size):
            break
        if size <= small * (1e-3 + float(xp.max(xp.abs(v)))):
            return unknowns.tree(v)
    worst = float(xp.max(xp.abs(residual(v))))
    raise ConvergenceError(
        f"root: Newton's method has found no solution in {NEWTON_STEPS} steps; the largest residual is "
        f"{worst:.3g}. Start closer with another x0, or give a solver: root(f, x0, *args, solver=...)"
    )


def iterate(f: Callable[[Any], Any], x0: Any) -> Any:
    """`f` applied again and again, until what it changes is rounding."""
    unknowns = Unknowns("fixed_point", x0)
    v = unknowns.vector(x0, "x0")
    xp = namespace(v)
    small = 8 * float(xp.finfo(v.dtype).eps)
    change = math.inf
    for _ in range(ITERATIONS):
        new = unknowns.vector(f(unknowns.tree(v)), "the result of f")
        change = float(xp.max(xp.abs(new - v)))
        v = new
        if not math.isfinite(change):
            break
        if change <= small * (1 + float(xp.max(xp.abs(v)))):
            return unknowns.tree(v)
    raise ConvergenceError(
        f"fixed_point: {ITERATIONS} applications of f have come to no rest; the last one changed x by "
        f"{change:.3g}. If f is no contraction, give a solver: fixed_point(f, x0, *args, solver=...)"
    )
