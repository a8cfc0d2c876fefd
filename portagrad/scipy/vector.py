"""A function of pytrees as SciPy's solvers see one: of a vector in double precision on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import portagrad as pg
from portagrad.backend import BY_TYPE
from portagrad.device import current_device, device_of, transfer
from portagrad.errors import BackendUnavailableError, ConcretizationError
from portagrad.tensor import bare
from portagrad.transforms.gradient import vjp
from portagrad.transforms.matrices import hvp, jacobian
from portagrad.transforms.tangent import linearize
from portagrad.transforms.tree import any_traced, flatten, is_array, tree_map
from portagrad.transforms.unknowns import Unknowns


def optimize(what: str) -> Any:
    """``scipy.optimize``, an optional companion.

    Raises
    ------
    BackendUnavailableError
        If SciPy is not installed.
    """
    try:
        import scipy.optimize
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"pg.scipy.{what} needs SciPy, which is not installed: pip install 'portagrad[scipy]'"
        ) from error
    return scipy.optimize


class Vector:
    """The unknowns of a solver, which go between the host and their device as one vector each way.

    Parameters
    ----------
    what : str
        The solver's name, for errors.
    x0 : pytree
        Real floating arrays on one device; Python floats become arrays.
    beside : array, optional
        Where Python floats are put; the device in force by default.
    """

    def __init__(self, what: str, x0: Any, beside: Any = None) -> None:
        self.what = what
        leaves = flatten(x0)[0]
        if any_traced(list(map(bare, leaves))):
            raise ConcretizationError(
                f"pg.scipy.{what}: x0 is being differentiated, and a solver looks at numbers; call it "
                f"outside, or as the solver of pg.root or pg.fixed_point, which are differentiable"
            )
        arrays = [bare(x) for x in leaves if is_array(x)]
        like = arrays[0] if arrays else beside
        self.device = current_device() if like is None else device_of(like)
        x0 = tree_map(lambda x: self.moved(x) if type(x) is float else bare(x), x0)
        self.unknowns = Unknowns(f"pg.scipy.{what}", x0)
        self.start = self.host(self.unknowns.vector(x0, "x0"))

    def tree(self, v: Any) -> Any:
        """The pytree of a vector on the host, on its device."""
        return self.unknowns.tree(self.moved(v))

    def moved(self, v: Any) -> Any:
        """A vector or number of the host's on the device."""
        return transfer(np.array(v, np.float64), self.device)  # a copy: SciPy writes to its vectors

    def host(self, *parts: Any) -> Any:
        """Arrays one after the other as a vector of the host's, with one transfer."""
        joined = _joined([bare(x) for x in parts])
        return np.asarray(BY_TYPE[type(joined)].to_numpy(joined), np.float64)  # type: ignore[union-attr]

    def residuals(self, tree: Any) -> Any:
        """What `f` returned as one vector, still on the device."""
        leaves = flatten(tree)[0]
        for x in leaves:
            if not is_array(x):
                raise TypeError(
                    f"pg.scipy.{self.what}: f returned a {type(x).__name__}; it must return arrays"
                )
        if not leaves:
            raise TypeError(f"pg.scipy.{self.what}: f returned no array")
        return _joined(leaves)

    def bounds(self, given: Any) -> Any:
        """Bounds as SciPy takes them: a pair of vectors.

        Parameters
        ----------
        given : (pytree, pytree)
            The lower and the upper bounds: each None or a number for all, or of x0's structure, with None, a
            number or an array for each of its arrays.
        """
        try:
            low, high = given
        except (TypeError, ValueError):
            raise TypeError(
                f"pg.scipy.{self.what}: bounds must be a pair (lower, upper), each None, a number, or of the "
                f"structure of x0; not {given!r}"
            ) from None
        return self._bound(low, -np.inf), self._bound(high, np.inf)

    def _bound(self, given: Any, none: float) -> Any:
        structure, shapes = self.unknowns.structure, self.unknowns.shapes
        if given is None or isinstance(given, int | float):
            leaves: Sequence[Any] = [given] * len(shapes)
        else:
            try:
                leaves = structure.flatten_up_to(given)
            except ValueError as error:
                raise ValueError(
                    f"pg.scipy.{self.what}: bounds do not have the structure of x0, {structure}"
                ) from error
        parts = []
        for bound, shape in zip(leaves, shapes, strict=True):
            bound = none if bound is None else self.host(bound) if is_array(bound) else bound
            flat = np.reshape(bound, np.shape(bound) if np.ndim(bound) == 0 else shape)
            parts.append(np.broadcast_to(np.asarray(flat, np.float64), shape).reshape(-1))
        return np.concatenate(parts)

    def jacobian(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The Jacobian matrix of what `f` makes of the unknowns, on the host: exact, and one transfer."""
        matrix = jacobian(lambda v: self.residuals(f(self.unknowns.tree(v))))

        def of(v: Any) -> Any:
            found = matrix(self.moved(v))
            return self.host(found).reshape(tuple(found.shape))

        return of

    def curvature(self, f: Callable[[Any], Any], v: Any, t: Any) -> Any:
        """The product of the Hessian of `f` at `v` with `t`, on the host."""
        (moved,) = hvp(f, (self.tree(v),), (self.tree(t),))
        return self.host(*flatten(moved)[0])

    def operator(self, f: Callable[[Any], Any], v: Any) -> Any:
        """The Jacobian at `v` as SciPy's linear operator: products with it and its transpose, no matrix."""
        from scipy.sparse.linalg import LinearOperator

        def along(v: Any) -> Any:
            return self.residuals(f(self.unknowns.tree(v)))

        here = self.moved(v)
        y, push = linearize(along, here)
        _, pull = vjp(along, here)

        def cast(w: Any, like: Any) -> Any:
            return pg.astype(self.moved(np.reshape(w, -1)), like.dtype)

        return LinearOperator(
            (y.shape[0], len(v)),
            matvec=lambda t: self.host(push(cast(t, here))),
            rmatvec=lambda g: self.host(*pull(cast(g, y))),
            dtype=np.float64,
        )


def _joined(arrays: Sequence[Any]) -> Any:
    """Arrays of any shapes, one after the other."""
    parts = [pg.reshape(x, (-1,)) for x in arrays]
    return pg.concat(parts) if len(parts) > 1 else parts[0]
