"""Sorting: a permutation of the elements, the stable one where some are equal."""

from typing import Any

from portagrad.op import case, constant, primitive


def order(x: Any, axis: int, descending: bool, xp: Any) -> Any:
    """The stable permutation by which `sort` is differentiated."""
    return xp.argsort(x, axis=axis, descending=descending, stable=True)


def sort_vjp(g: Any, x: Any, axis: int, descending: bool, xp: Any) -> Any:
    """Back to where each element came from."""
    return xp.untake_along_axis(g, order(x, axis, descending, xp), axis=axis, shape=tuple(x.shape))


def sort_jvp(t: Any, x: Any, axis: int, descending: bool, xp: Any) -> Any:
    return xp.take_along_axis(t, order(x, axis, descending, xp), axis=axis)


argsort = constant(
    "argsort",
    "(x, /, *, axis=-1, descending=False, stable=True)",
    cases=(case((2, 3)), case((3, 2), axis=0, descending=True), case((4,), stable=False)),
    dtypes="floating",
    batch="along",
    doc="The indices that sort an array along an axis.\n"
    "axis: int; the axis\n"
    "descending: bool; whether the greatest comes first\n"
    "stable: bool; whether equal elements stay in the order they have",
)
sort = primitive(
    "sort",
    "(x, /, *, axis=-1, descending=False, stable=True)",
    (sort_vjp,),
    (sort_jvp,),
    cases=(case((2, 3)), case((3, 2), axis=0, descending=True), case((4,), stable=False)),
    dtypes="floating",
    batch="along",
    doc="The elements in order along an axis.\n"
    "axis: int; the axis\n"
    "descending: bool; whether the greatest comes first\n"
    "stable: bool; of no matter here: equal elements cannot be told apart\n"
    "Differentiated by the stable permutation, where elements are equal.",
)
