"""Jacobians and Hessians: all rows, or all columns, in one batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from portagrad.errors import NonDifferentiableError
from portagrad.kernel import namespace
from portagrad.op import TABLE
from portagrad.tensor import describe, kind, raw
from portagrad.trace import apply
from portagrad.transforms.batch import vmap
from portagrad.transforms.gradient import grad, positions, vjp
from portagrad.transforms.reverse import zeros
from portagrad.transforms.tangent import jvp, linearize
from portagrad.transforms.tree import differentiable, flatten, is_array, tree_map, unflatten, wrapped


def _units(x: Any, start: int, count: int) -> Any:
    """Unit vectors of the shape of x, in its dtype, one behind the other: `count` of them from `start` on."""
    space = namespace(raw(x))
    eye = space.eye(count, math.prod(x.shape), k=start, dtype=x.dtype, device=space.device_of(raw(x)))
    return _shaped(eye, (count, *x.shape))


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return apply(TABLE["reshape"], (x,), {"shape": shape, "copy": None})


def _sent(
    through: Callable[..., list[Any]], x: Any, ends: list[Any], chunk: int | None, by: complex = 1
) -> list[Any]:
    """What becomes of every unit vector of x times `by`, `chunk` at once: at each end an array of all."""
    n = math.prod(x.shape)
    if not n:
        return [zeros(_Shape((0, *end.shape), end.dtype), end) for end in ends]
    parts = []
    for start in range(0, n, chunk or n):
        units = _units(x, start, min(chunk or n, n - start))
        parts.append(vmap(through)(units if by == 1 else units * by))
    if len(parts) == 1:
        return parts[0]  # type: ignore[no-any-return]
    return [apply(TABLE["concat"], rows, {"axis": 0}) for rows in zip(*parts, strict=True)]


def _checked(name: str, chunk_size: int | None) -> int | None:
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(
            f"{name}: chunk_size is {chunk_size!r}; it must be a positive integer, or None for all at once"
        )
    return chunk_size


class _Shape:
    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def _partial(f: Callable[..., Any], args: Sequence[Any], wanted: Sequence[int]) -> Callable[..., Any]:
    """`f` as a function of the wanted arguments, the others fixed."""

    fixed = [arg if i in wanted else tree_map(wrapped, arg) for i, arg in enumerate(args)]

    def of_wanted(*xs: Any) -> Any:
        full = list(fixed)
        for i, x in zip(wanted, xs, strict=True):
            full[i] = x
        return f(*full)

    return of_wanted


def _array(name: str, x: Any) -> Any:
    """A leaf as an array: a Python float may stand for one."""
    return x if is_array(x) else differentiable(x, name, "an argument")


def _matrix(name: str, rows: bool) -> Callable[..., Callable[..., Any]]:
    """jacrev or jacfwd: they differ in which side's unit vectors are sent through."""

    def transform(
        f: Callable[..., Any], argnums: int | Sequence[int], chunk_size: int | None
    ) -> Callable[..., Any]:
        chunk = _checked(name, chunk_size)

        @functools.wraps(f)
        def jacobian_of(*args: Any) -> Any:
            wanted = positions(name, argnums, len(args))
            xs = tuple([tree_map(functools.partial(_array, name), args[i]) for i in wanted])
            g = _partial(f, args, wanted)
            y, through = vjp(g, *xs) if rows else linearize(g, *xs)
            ins, inner = flatten(xs)
            outs, outer = flatten(y)
            if rows:
                blocks = _rows(outs, outer, ins, through, chunk)
            else:
                blocks = _columns(outs, ins, inner, through, chunk)
            tree = unflatten(outer, [unflatten(inner, row) for row in blocks])
            return tree if not isinstance(argnums, int) else _only(tree, outer)

        return jacobian_of

    return transform


def _only(tree: Any, outer: Any) -> Any:
    """Of one wanted argument its own blocks, not a tuple of one."""
    return unflatten(outer, [block[0] for block in outer.flatten_up_to(tree)])


def _rows(
    outs: list[Any], outer: Any, ins: list[Any], pullback: Callable[..., Any], chunk: int | None
) -> list[list[Any]]:
    blocks = []
    empty = [zeros(y, y) for y in outs]
    for k, y in enumerate(outs):

        def rows(unit: Any, k: int = k) -> list[Any]:
            return flatten(pullback(unflatten(outer, [*empty[:k], unit, *empty[k + 1 :]])))[0]

        parts = _sent(rows, y, ins, chunk)
        if kind(y) > 1:  # a pullback is the adjoint: conjugated, and of real x only the real part
            turned = any(kind(x) == 1 for x in ins)
            others = _sent(rows, y, ins, chunk, by=1j) if turned else parts
            parts = [
                apply(TABLE["conj"], (p,)) if kind(x) > 1 else _complex(p, o)
                for x, p, o in zip(ins, parts, others, strict=True)
            ]
        blocks.append([_shaped(p, (*y.shape, *x.shape)) for x, p in zip(ins, parts, strict=True)])
    return blocks


def _complex(real: Any, imaginary: Any) -> Any:
    return apply(TABLE["add"], (real, apply(TABLE["multiply"], (imaginary, 1j))))


def _columns(
    outs: list[Any], ins: list[Any], inner: Any, push: Callable[..., Any], chunk: int | None
) -> list[list[Any]]:
    blocks: list[list[Any]] = [[] for _ in outs]
    empty = [zeros(x, x) for x in ins]
    for j, x in enumerate(ins):

        def columns(unit: Any, j: int = j) -> list[Any]:
            return flatten(push(*unflatten(inner, [*empty[:j], unit, *empty[j + 1 :]])))[0]

        parts = _sent(columns, x, outs, chunk)
        if kind(x) > 1:  # of a real result as its gradient: dy/dRe + i dy/dIm
            turned = any(kind(y) == 1 for y in outs)
            others = _sent(columns, x, outs, chunk, by=1j) if turned else parts
            parts = [
                _complex(p, o) if kind(y) == 1 else p for y, p, o in zip(outs, parts, others, strict=True)
            ]
        for k, (y, part) in enumerate(zip(outs, parts, strict=True)):
            last = apply(TABLE["moveaxis"], (part,), {"source": 0, "destination": -1})
            blocks[k].append(_shaped(last, (*y.shape, *x.shape)))
    return blocks


def jacrev(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The Jacobian by reverse mode: a backward pass for the elements of the result, batched by `vmap`.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree of arrays.
    argnums : int or sequence of int
        The arguments to differentiate by.
    chunk_size : int, optional
        How many rows are computed at once, by default all. The matrix is the same; the memory for what comes
        between grows with it.

    Returns
    -------
    callable
        Maps f's arguments to blocks of shape ``y.shape + x.shape``, structured as the result with the
        argument's structure inside. Of a complex argument a block holds the complex derivative of a complex
        result, which must be holomorphic, and dy/dRe + i dy/dIm of a real one.

    Examples
    --------
    >>> jacrev(lambda x: x * x)(np.asarray([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return _matrix("jacrev", True)(f, argnums, chunk_size)


def jacfwd(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The Jacobian by forward mode: a pass for the elements of the arguments, batched by `vmap`.

    Parameters
    ----------
    f, argnums, chunk_size
        As for `jacrev`; what is chunked are the columns.

    Returns
    -------
    callable
        As for `jacrev`.

    Examples
    --------
    >>> jacfwd(lambda x: x[0] * x)(np.asarray([2.0, 3.0]))
    array([[4., 0.],
           [3., 2.]])
    """
    return _matrix("jacfwd", False)(f, argnums, chunk_size)


def jacobian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The Jacobian by the cheaper mode: forward where the arguments have fewer elements than the result.

    To know the shape of the result, `f` is evaluated once.

    Parameters
    ----------
    f, argnums, chunk_size
        As for `jacrev`.

    Returns
    -------
    callable
        As for `jacrev`.

    Examples
    --------
    >>> jacobian(lambda x: pg.sum(x * x, axis=0))(np.ones((2, 3))).shape
    (3, 2, 3)
    """

    chunk = _checked("jacobian", chunk_size)

    @functools.wraps(f)
    def jacobian_of(*args: Any) -> Any:
        wanted = positions("jacobian", argnums, len(args))
        inputs = sum(_size(x) for i in wanted for x in flatten(args[i])[0])
        results = sum(_size(y) for y in flatten(f(*tree_map(wrapped, args)))[0])
        return (jacfwd if inputs < results else jacrev)(f, argnums, chunk)(*args)

    return jacobian_of


def _size(x: Any) -> int:
    return math.prod(getattr(x, "shape", ()))


def hessian(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The matrix of second derivatives of a scalar function: forward over reverse.

    Parameters
    ----------
    f : callable
        Maps pytrees to a real array of shape ().
    argnums, chunk_size
        As for `jacrev`.

    Returns
    -------
    callable
        Maps f's arguments to blocks of shape ``x.shape + x.shape``.

    Raises
    ------
    NonDifferentiableError
        If an argument is complex.

    Examples
    --------
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.asarray([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """

    chunk = _checked("hessian", chunk_size)

    @functools.wraps(f)
    def hessian_of(*args: Any) -> Any:
        for i in positions("hessian", argnums, len(args)):
            for x in flatten(args[i])[0]:
                if is_array(x) and kind(x) > 1:
                    raise NonDifferentiableError(
                        f"hessian: argument {i} holds {describe(x)}; one complex matrix cannot hold the "
                        f"second derivatives by real and imaginary parts: differentiate by these, or use hvp"
                    )
        return jacfwd(grad(f, argnums), argnums, chunk)(*args)

    return hessian_of


def hvp(f: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """Hessian-vector product of a scalar function, without forming the Hessian.

    Forward over reverse: the derivative of ``grad(f)`` along `tangents`; about the cost of two gradients
    (Pearlmutter, 1994, "Fast exact multiplication by the Hessian").

    Parameters
    ----------
    f : callable
        Maps `primals` to a scalar (shape ``()``).
    primals, tangents : tuple of pytrees
        Of the same structure, shapes and dtypes, on one device.

    Returns
    -------
    pytree
        ``H @ tangents``, shaped as ``primals``.

    Raises
    ------
    TypeError
        If ``f`` does not return a scalar, or structures differ.

    Examples
    --------
    >>> hvp(lambda x: pg.sum(x ** 3), (np.asarray([1.0, 2.0]),), (np.asarray([1.0, 0.0]),))
    (array([6., 0.]),)
    """
    gradient = grad(f, tuple(range(len(primals))))
    return jvp(gradient, primals, tangents)[1]
