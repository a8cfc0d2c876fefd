"""Pytrees of arrays: what goes into a transform and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import optree

from portagrad.backend import BY_TYPE, KIND
from portagrad.device import current_device, device_of
from portagrad.errors import DeviceMismatchError, NonDifferentiableError
from portagrad.namespace import to_device as move
from portagrad.op import define
from portagrad.tensor import CONSTANT, Constant, Tensor, backend_of, bare, describe, raw
from portagrad.trace import Trace, Traced

SPACE = "portagrad"
"""The optree namespace in which modules are registered."""


class Varying(int):
    """An integer that is another in each call of a function, such as a count of steps or a word of a key.

    To a compiled function it is an input, where other numbers are part of the trace; else it is an integer.
    """

    __slots__ = ()

    def __add__(self, other: int) -> Varying:
        return Varying(int(self) + other) if type(other) is int else NotImplemented

    def __repr__(self) -> str:
        return int.__repr__(self)


def flatten(tree: Any, none_is_leaf: bool = False) -> tuple[list[Any], Any]:
    """Leaves and structure; None is a leaf-less node unless `none_is_leaf`.

    What `unflatten` has put together with `remember` is not taken apart again.
    """
    known = getattr(tree, REMEMBERED, None)
    if known is not None:
        return list(known[0]), known[1]
    leaves, structure = optree.tree_flatten(tree, none_is_leaf=none_is_leaf, namespace=SPACE)
    return leaves, structure


def unflatten(structure: Any, leaves: Sequence[Any], remember: bool = False) -> Any:
    """The tree of `structure` with these leaves.

    With `remember` a module keeps them for the next `flatten`, and is put together when one of its fields is
    asked for (`fill`): a training step takes the same trees apart four times, and looks into one of them. Not
    so where a list or dictionary inside could be changed, or holds None.
    """
    build = _builder(structure)
    if build is None:
        return structure.unflatten(leaves)
    if not remember or _NONE in map(type, leaves):
        return build(leaves)
    tree = object.__new__(structure.type)
    tree.__dict__[REMEMBERED] = leaves, structure
    return tree


def fill(tree: Any) -> None:
    """Give a module that only remembers its leaves the fields made of them."""
    there = tree.__dict__
    if REMEMBERED in there and there.keys().isdisjoint(tree.__dataclass_fields__):
        leaves, structure = there[REMEMBERED]
        build = _builder(structure)
        assert build is not None
        there.update(build(leaves).__dict__)


REMEMBERED = "__leaves__"
_NONE = type(None)
_KEPT = 1_000  # structures at most: a static field may be a function that holds arrays
_BUILDERS: dict[Any, Callable[..., Any] | None] = {}
_SEEN: dict[int, tuple[Any, Any]] = {}  # the same by identity, each structure kept alive: half the cost


def _builder(structure: Any) -> Callable[..., Any] | None:
    """What puts a module together whose parts cannot be changed once it is built, nor are None; else None."""
    seen = _SEEN.get(id(structure))
    if seen is None:
        if not hasattr(structure.type, REMEMBERED):
            return None
        try:
            build = _BUILDERS[structure]
        except KeyError:
            build = _written(structure) if _unchanging(structure) else None
            if len(_BUILDERS) >= _KEPT:
                _BUILDERS.clear()
            _BUILDERS[structure] = build
        if len(_SEEN) >= _KEPT:
            _SEEN.clear()
        seen = _SEEN[id(structure)] = structure, build
    return seen[1]


def _unchanging(structure: Any) -> bool:
    if structure.type is not None and issubclass(structure.type, list | dict | deque | None):
        return False
    return all(map(_unchanging, structure.children()))


class _Slot(NamedTuple):
    """The place of a leaf in a tree that stands for all of its structure."""

    place: int


def _written(structure: Any) -> Callable[..., Any]:
    """The tree as straight-line code: optree's own way calls a function for every node."""
    env: dict[str, Any] = {"new": object.__new__}
    lines: list[str] = []
    placed: list[int] = []

    def bound(value: Any) -> str:
        env[f"k{len(env)}"] = value
        return f"k{len(env) - 1}"

    def expression(part: Any) -> str:
        if type(part) is _Slot:
            placed.append(part.place)
            return f"leaves[{part.place}]"
        if type(part) is tuple:
            return f"({''.join(expression(x) + ', ' for x in part)})"
        if not hasattr(part, REMEMBERED):
            return bound(part)
        children = {
            field.name: (bound if "static" in field.metadata else expression)(getattr(part, field.name))
            for field in dataclasses.fields(part)
        }
        name = f"m{len(lines)}"
        lines.append(f"{name} = new({bound(type(part))}); d = {name}.__dict__")
        lines.extend(f"d[{field!r}] = {value}" for field, value in children.items())
        return name

    result = expression(structure.unflatten([_Slot(i) for i in range(structure.num_leaves)]))
    if len(placed) < structure.num_leaves:  # some lie in a node of another kind
        return structure.unflatten  # type: ignore[no-any-return]
    return define("\n    ".join(["def build(leaves):", *lines, f"return {result}"]), "build", env)


def tree_map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`f` on corresponding leaves."""
    return optree.tree_map(f, tree, *rest, namespace=SPACE)


def is_array(x: Any) -> bool:
    """Whether a leaf is an array, raw or traced."""
    return isinstance(x, Traced) or BY_TYPE[type(x)] is not None


def wrapped(x: Any) -> Any:
    """A leaf of an argument that is not differentiated: an array becomes a constant tensor."""
    return Constant(CONSTANT, x) if BY_TYPE[type(x)] is not None else x


def differentiable(x: Any, what: str, position: str) -> Any:
    """A leaf that is to be differentiated, without its constant's wrapping; Python floats become arrays.

    Raises
    ------
    NonDifferentiableError
        For integers and booleans.
    TypeError
        For what is no array at all.
    """
    x = bare(x)
    if isinstance(x, float | complex) and BY_TYPE[type(x)] is None:
        here = current_device()
        return here.backend.xp.asarray(x, device=here.native)
    if not is_array(x):
        if isinstance(x, int):
            raise NonDifferentiableError(
                f"{what}: {position} is the integer {x!r}; pass a float, {float(x)!r}"
            )
        raise TypeError(f"{what}: {position} is a {type(x).__name__}, not an array; leave it out of argnums")
    if not KIND[x.dtype]:
        raise NonDifferentiableError(
            f"{what}: {position} is {describe(x)}, and integers have no derivative; "
            f"cast it first, for example x.astype(float), or leave it out of argnums"
        )
    return x


def check_place(what: str, name: str, x: Any, value: Any) -> None:
    """A cotangent or tangent must live where its value does.

    Raises
    ------
    DeviceMismatchError
    """
    mine, its = backend_of(x), backend_of(value)
    if mine is its and mine.one_device:
        return
    places = [backend.device_of(raw(a)) for backend, a in ((mine, x), (its, value))]
    if mine is not its or (None not in places and places[0] != places[1]):
        raise DeviceMismatchError(
            f"{what}: a {name} lives elsewhere than its value\n"
            f"  {name}: {describe(x)}\n  value: {describe(value)}\n"
            f'move it, for example pg.to_device({name}, "{device_of(raw(value))}")'
        )


def lowered(x: Any, trace: Trace) -> Any:
    """A result without the wrapping of `trace`, and of constants."""
    if isinstance(x, Tensor) and (x.trace is trace or x.trace is CONSTANT):
        return x.value
    return x


def any_traced(leaves: Sequence[Any]) -> bool:
    """Whether tensors come in, so that tensors should come out."""
    return any(isinstance(x, Traced) for x in leaves)


def to_device(tree: Any, device: Any) -> Any:
    """The arrays of a pytree on another device, differentiably: cotangents come back to where they belong.

    Parameters
    ----------
    tree : pytree
        Leaves that are no arrays stay as they are.
    device : str, Device or array
        As for `pg.device`.

    Examples
    --------
    >>> to_device({"w": np.ones(2)}, "numpy")
    {'w': array([1., 1.])}
    """
    return tree_map(lambda x: move(x, device) if is_array(x) else x, tree)
