"""check_grads: derivatives against finite differences, and the two modes against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from portagrad.backend import KIND
from portagrad.tensor import Tensor, hold
from portagrad.testing.arrays import (
    beside,
    difference,
    dtype_name,
    host,
    inner,
    place,
    precision,
    random_like,
)
from portagrad.transforms.gradient import vjp
from portagrad.transforms.tangent import jvp
from portagrad.transforms.tree import SPACE, differentiable, flatten, is_array, unflatten

MODES = ("fwd", "rev")


def check_grads(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    order: int = 2,
    modes: Sequence[str] = MODES,
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check the derivatives of a function of arrays of any library.

    The pushforward is compared with central finite differences along a random direction, the pullback with
    the pushforward by the identity ``Re <g, J t> = Re <J^H g, t>``; then the same of both, as functions of
    `args`, up to `order`. Every cotangent must have the dtype, shape and device of its primal. Complex
    arguments are moved in their real and imaginary parts; the gradient of a real loss is dL/dRe + i dL/dIm.

    Parameters
    ----------
    f : callable
        Maps pytrees of arrays to a pytree of arrays, smooth near `args`.
    args : tuple of pytrees
        Its arguments: floating arrays of one device, of any shape.
    order : int
        The highest order of derivative to check.
    modes : sequence of str
        ``"fwd"``, ``"rev"`` or both. Without ``"fwd"`` the pullback is compared with finite differences.
    atol, rtol : float, optional
        Tolerances, of the comparison with finite differences; by default 1000 times their error, which is
        the precision of the dtype to the power 2/3, and ten times more with each order.
    eps : float, optional
        Step of the differences; by default the cube root of the precision, which balances rounding against
        truncation (Nocedal and Wright, 2006, "Numerical Optimization", section 8.1).

    Raises
    ------
    AssertionError
        Naming the function, the mode, the leaf, what was expected and what was found.
    TypeError
        If `args` is no tuple, or a mode is unknown.

    Examples
    --------
    >>> check_grads(lambda x, y: pg.sum(pg.sin(x) * y), (np.ones(3), np.arange(3.0)))
    >>> check_grads(lambda p: {"y": p["w"] ** 2}, ({"w": np.asarray([1.0, 1j])},), order=3)
    """
    if not isinstance(args, tuple):
        raise TypeError(f"check_grads: args is a {type(args).__name__}; pass a tuple, such as (x,)")
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise TypeError(f"check_grads: modes is {tuple(modes)!r}; it may hold 'fwd' and 'rev'")
    leaves, structure = flatten(args)
    xs = [differentiable(x, "check_grads", f"leaf {i}") for i, x in enumerate(leaves)]
    _Check(structure, modes, atol, rtol, eps, _name(f)).run(f, xs, order, "")


def check_pullback(f: Callable[..., Any], args: tuple[Any, ...], rtol: float | None = None) -> None:
    """Check that the pullback is the transpose of the pushforward, by the dot-product identity alone."""
    leaves, structure = flatten(args)
    _Check(structure, MODES, None, rtol, None, _name(f)).reverse(f, leaves, "rev")


class _Check:
    """The comparisons of one call of `check_grads`."""

    def __init__(
        self,
        structure: Any,
        modes: Sequence[str],
        atol: float | None,
        rtol: float | None,
        eps: float | None,
        name: str,
    ) -> None:
        self.structure = structure
        self.modes = modes
        self.atol, self.rtol, self.eps = atol, rtol, eps
        self.name = name
        self.rng = np.random.default_rng(0)

    def run(self, f: Callable[..., Any], xs: list[Any], order: int, path: str) -> None:
        if order < 1:
            return
        along = None
        if "fwd" in self.modes:
            ts, _ = along = self.forward(f, xs, f"fwd{path}")

            def pushed(*args: Any) -> Any:
                return jvp(f, args, self.args(ts))[1]

            self.run(pushed, xs, order - 1, f" of fwd{path}")
        if "rev" in self.modes:
            g = self.reverse(f, xs, f"rev{path}", along)

            def pulled(*args: Any) -> Any:
                return vjp(f, *args)[1](g)

            self.run(pulled, xs, order - 1, f" of rev{path}")

    def args(self, xs: Sequence[Any]) -> Any:
        return unflatten(self.structure, xs)

    def forward(self, f: Callable[..., Any], xs: list[Any], path: str) -> tuple[list[Any], list[Any]]:
        """The pushforward against finite differences; returns the direction and the tangents along it."""
        ts = [random_like(self.rng, x) for x in xs]
        y, dy = jvp(f, self.args(xs), self.args(ts))
        names = leaf_names(y, "result")
        slope = self.slope(f, xs, ts)
        outs, moved = flatten(y)[0], flatten(dy)[0]
        atol, rtol = self.tolerance(xs, path)
        for name, value, t, expected in zip(names, outs, moved, slope, strict=True):
            if expected is not None:
                self.like(f"{path}: the tangent of {name}", t, value)
                wrong = difference(host(t), expected, rtol, atol)
                if wrong:
                    self.fail(f"{path}: the tangent of {name} and finite differences differ\n{wrong}")
        return ts, moved

    def reverse(
        self,
        f: Callable[..., Any],
        xs: list[Any],
        path: str,
        along: tuple[list[Any], list[Any]] | None = None,
    ) -> Any:
        """The pullback against the pushforward, of the cotangent that is returned.

        `along` is a direction and the tangents along it, if they are known.
        """
        y, pullback = vjp(f, *self.args(xs))
        outs, structure = flatten(y)
        gs = [random_like(self.rng, x) if is_array(x) else x for x in outs]
        g = unflatten(structure, gs)
        cotangents = flatten(pullback(g))[0]
        names = leaf_names(self.args(xs), "argument")
        for name, c, x in zip(names, cotangents, xs, strict=True):
            self.like(f"{path}: the cotangent of {name}", c, x)
        ts, moved = along or ([random_like(self.rng, x) for x in xs], None)
        if self.transposed(f, xs, ts, gs, cotangents, path, moved):
            for k, name in enumerate(names):  # which argument is it?
                only = [t if i == k else beside(np.zeros(t.shape), t) for i, t in enumerate(ts)]
                wrong = self.transposed(f, xs, only, gs, cotangents, path)
                if wrong:
                    self.fail(f"{path}: the cotangent of {name} is no transpose of the tangent\n{wrong}")
            self.fail(f"{path}: the pullback is no transpose of the pushforward")
        return g

    def transposed(
        self,
        f: Callable[..., Any],
        xs: list[Any],
        ts: list[Any],
        gs: list[Any],
        cotangents: list[Any],
        path: str,
        moved: list[Any] | None = None,
    ) -> str:
        """What is wrong with Re <g, J t> = Re <J^H g, t>; empty where it holds."""
        if "fwd" in self.modes:
            if moved is None:
                moved = flatten(jvp(f, self.args(xs), self.args(ts))[1])[0]
            tangents = [host(t) for t in moved]
            rtol = self.rtol or 1e3 * max(map(precision, xs), default=0.0)
            atol = 0.0
        else:
            tangents = [np.zeros(()) if t is None else t for t in self.slope(f, xs, ts)]
            atol, rtol = self.tolerance(xs, path)
        left = [inner(host(g), t) for g, t in zip(gs, tangents, strict=True) if is_array(g) and KIND[g.dtype]]
        right = [inner(host(c), host(t)) for c, t in zip(cotangents, ts, strict=True)]
        expected, got = sum(a for a, _ in left), sum(a for a, _ in right)
        allowed = atol + rtol * (sum(b for _, b in left) + sum(b for _, b in right))
        if abs(got - expected) <= allowed:
            return ""
        return (
            f"  got      Re <J^H g, t> = {got!r}\n  expected Re <g, J t>   = {expected!r}\n"
            f"  difference {abs(got - expected):.3g}, tolerance {allowed:.3g}"
        )

    def slope(self, f: Callable[..., Any], xs: list[Any], ts: list[Any]) -> list[Any]:
        """(f(x + eps t) - f(x - eps t)) / 2 eps for each leaf of the result; None for integers."""
        eps = self.eps or max(map(precision, xs), default=1.0) ** (1 / 3)
        ends = []
        for sign in (1, -1):
            moved = [beside(host(x) + sign * eps * host(t), x) for x, t in zip(xs, ts, strict=True)]
            ends.append(flatten(f(*self.args([hold(x) for x in moved])))[0])
        return [
            (host(a) - host(b)) / (2 * eps) if is_array(a) and KIND[a.dtype] else None
            for a, b in zip(*ends, strict=True)
        ]

    def tolerance(self, xs: list[Any], path: str) -> tuple[float, float]:
        error = 1e3 * max(map(precision, xs), default=0.0) ** (2 / 3) * 10 ** path.count(" of ")
        return (
            error if self.atol is None else self.atol,
            error if self.rtol is None else self.rtol,
        )

    def like(self, what: str, x: Any, primal: Any) -> None:
        """A (co)tangent is an array as its primal is one."""
        for facet, of in (("shape", lambda a: tuple(a.shape)), ("dtype", dtype_name), ("device", place)):
            if of(x) != of(primal):
                self.fail(f"{what} has {facet} {of(x)}, its primal {of(primal)}")
        if isinstance(x, Tensor) and not isinstance(primal, Tensor):
            self.fail(f"{what} is a Tensor, its primal a raw array")

    def fail(self, text: str) -> None:
        raise AssertionError(f"{self.name}: {text}")


def leaf_names(tree: Any, what: str) -> list[str]:
    """The way to each leaf of a tree."""
    paths = optree.tree_paths(tree, namespace=SPACE)
    return [what + "".join(f"[{step!r}]" for step in path) for path in paths]


def _name(f: Callable[..., Any]) -> str:
    return str(getattr(f, "__name__", type(f).__name__))
