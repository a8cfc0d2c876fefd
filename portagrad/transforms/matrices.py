"""Jacobians and Hessians, column by column or row by row."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portagrad.errors import NonDifferentiableError
from portagrad.op import TABLE
from portagrad.tensor import describe, kind, raw
from portagrad.trace import apply
from portagrad.transforms.gradient import grad, ones, positions, vjp
from portagrad.transforms.reverse import zeros
from portagrad.transforms.tangent import jvp, linearize
from portagrad.transforms.tree import differentiable, flatten, is_array, tree_map, unflatten, wrapped


def _units(x: Any) -> list[Any]:
    """The unit vectors of the shape of x, in its dtype."""
    one = ones(raw(x))
    shape = tuple(x.shape)
    return [apply(TABLE["scatter"], (one,), {"key": index, "shape": shape}) for index in np.ndindex(*shape)]


def _stacked(parts: list[Any], like: Any, shape: tuple[int, ...]) -> Any:
    """Rows or columns put together; of no rows, an empty array."""
    if not parts:
        return zeros(_Shape(shape, like.dtype), like)
    return apply(
        TABLE["reshape"], (apply(TABLE["stack"], tuple(parts), {"axis": 0}),), {"shape": shape, "copy": None}
    )


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

    def transform(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
        @functools.wraps(f)
        def jacobian_of(*args: Any) -> Any:
            wanted = positions(name, argnums, len(args))
            xs = tuple([tree_map(functools.partial(_array, name), args[i]) for i in wanted])
            g = _partial(f, args, wanted)
            y, through = vjp(g, *xs) if rows else linearize(g, *xs)
            ins, inner = flatten(xs)
            outs, outer = flatten(y)
            blocks = _rows(outs, outer, ins, through) if rows else _columns(outs, ins, inner, through)
            tree = unflatten(outer, [unflatten(inner, row) for row in blocks])
            return tree if not isinstance(argnums, int) else _only(tree, outer)

        return jacobian_of

    return transform


def _only(tree: Any, outer: Any) -> Any:
    """Of one wanted argument its own blocks, not a tuple of one."""
    return unflatten(outer, [block[0] for block in outer.flatten_up_to(tree)])


def _rows(outs: list[Any], outer: Any, ins: list[Any], pullback: Callable[..., Any]) -> list[list[Any]]:
    blocks = []
    empty = [zeros(y, y) for y in outs]
    for k, y in enumerate(outs):

        def rows(unit: Any, k: int = k) -> list[Any]:
            return flatten(pullback(unflatten(outer, [*empty[:k], unit, *empty[k + 1 :]])))[0]

        parts = [rows(unit) for unit in _units(y)]
        turned = kind(y) > 1 and any(kind(x) == 1 for x in ins)
        others = [rows(unit * 1j) for unit in _units(y)] if turned else []
        row = []
        for j, x in enumerate(ins):
            shape = tuple(y.shape) + tuple(x.shape)
            block = _stacked([p[j] for p in parts], x, shape)
            if kind(y) > 1:  # a pullback is the adjoint: conjugated, and of real x only the real part
                conjugated = kind(x) > 1
                block = (
                    apply(TABLE["conj"], (block,))
                    if conjugated
                    else _complex(block, _stacked([p[j] for p in others], x, shape))
                )
            row.append(block)
        blocks.append(row)
    return blocks


def _complex(real: Any, imaginary: Any) -> Any:
    return apply(TABLE["add"], (real, apply(TABLE["multiply"], (imaginary, 1j))))


def _columns(outs: list[Any], ins: list[Any], inner: Any, push: Callable[..., Any]) -> list[list[Any]]:
    blocks: list[list[Any]] = [[] for _ in outs]
    empty = [zeros(x, x) for x in ins]
    for j, x in enumerate(ins):

        def columns(unit: Any, j: int = j) -> list[Any]:
            return flatten(push(*unflatten(inner, [*empty[:j], unit, *empty[j + 1 :]])))[0]

        parts = [columns(unit) for unit in _units(x)]
        turned = kind(x) > 1 and any(kind(y) == 1 for y in outs)
        others = [columns(unit * 1j) for unit in _units(x)] if turned else []
        for k, y in enumerate(outs):
            shape, ndim = tuple(y.shape), len(y.shape)
            block = _stacked([p[k] for p in parts], y, (math.prod(x.shape), *shape))
            if kind(x) > 1 and kind(y) == 1:  # as the gradient of a real function: dy/dRe + i dy/dIm
                block = _complex(block, _stacked([p[k] for p in others], y, tuple(block.shape)))
            block = apply(TABLE["permute_dims"], (block,), {"axes": (*range(1, ndim + 1), 0)})
            blocks[k].append(
                apply(TABLE["reshape"], (block,), {"shape": shape + tuple(x.shape), "copy": None})
            )
    return blocks


def jacrev(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian by reverse mode: one backward pass per element of the result.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree of arrays.
    argnums : int or sequence of int
        The arguments to differentiate by.

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
    return _matrix("jacrev", True)(f, argnums)


def jacfwd(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian by forward mode: one pass per element of the arguments, the nonlinear work done once.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree of arrays.
    argnums : int or sequence of int
        The arguments to differentiate by.

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
    return _matrix("jacfwd", False)(f, argnums)


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian by the cheaper mode: forward where the arguments have fewer elements than the result.

    To know the shape of the result, `f` is evaluated once.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree of arrays.
    argnums : int or sequence of int
        The arguments to differentiate by.

    Returns
    -------
    callable
        As for `jacrev`.

    Examples
    --------
    >>> jacobian(lambda x: pg.sum(x * x, axis=0))(np.ones((2, 3))).shape
    (3, 2, 3)
    """

    @functools.wraps(f)
    def jacobian_of(*args: Any) -> Any:
        wanted = positions("jacobian", argnums, len(args))
        inputs = sum(_size(x) for i in wanted for x in flatten(args[i])[0])
        results = sum(_size(y) for y in flatten(f(*tree_map(wrapped, args)))[0])
        return (jacfwd if inputs < results else jacrev)(f, argnums)(*args)

    return jacobian_of


def _size(x: Any) -> int:
    return math.prod(getattr(x, "shape", ()))


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The matrix of second derivatives of a scalar function: forward over reverse.

    Parameters
    ----------
    f : callable
        Maps pytrees to a real array of shape ().
    argnums : int or sequence of int
        The arguments to differentiate by.

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

    @functools.wraps(f)
    def hessian_of(*args: Any) -> Any:
        for i in positions("hessian", argnums, len(args)):
            for x in flatten(args[i])[0]:
                if is_array(x) and kind(x) > 1:
                    raise NonDifferentiableError(
                        f"hessian: argument {i} holds {describe(x)}; one complex matrix cannot hold the "
                        f"second derivatives by real and imaginary parts: differentiate by these, or use hvp"
                    )
        return jacfwd(grad(f, argnums), argnums)(*args)

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
