"""Pytrees leaf by leaf: structures compared, steps run on the leaf's device and in its dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from portagrad.backend import BY_TYPE, KIND
from portagrad.kernel import raw_namespace
from portagrad.trace import Traced
from portagrad.transforms.tree import Varying, flatten, unflatten

_NUMBERS = (float, int, bool, Varying)  # exactly: NumPy's float64 is a float that promotes


def leaves(tree: Any) -> tuple[list[Any], Any]:
    """Leaves, None among them, and structure."""
    return flatten(tree, none_is_leaf=True)


def built(structure: Any, values: Sequence[Any]) -> Any:
    """The pytree of `structure` with these leaves."""
    return unflatten(structure, values, remember=True)


def matched(what: str, tree: Any, structure: Any, name: str, other: str) -> list[Any]:
    """The leaves of `tree`, which must have the given structure, of `other`."""
    found: list[Any]
    found, its = leaves(tree)
    if its is structure or its == structure:
        return found
    try:
        found = structure.flatten_up_to(tree)
        guarded(found)  # not so for what would be a subtree
    except (TypeError, ValueError):
        raise ValueError(
            f"{what}: {name} and {other} are pytrees of different structure\n"
            f"  {name}: {leaves(tree)[1]}\n  {other}: {structure}\n"
            "pg.grad's result has the structure of the argument it differentiates: pass that one as params"
        ) from None
    return found


def parameters(what: str, params: Any, structure: Any) -> list[Any]:
    """The leaves of `params`, which an optimizer may need beside the gradients."""
    if params is None:
        raise TypeError(f"{what}: needs the parameters as well: opt.update(grads, state, params)")
    return matched(what, params, structure, "params", "grads")


def each(
    what: str, step: Callable[..., tuple[Any, ...]], width: int, *columns: Sequence[Any], **known: Any
) -> list[Any]:
    """Run `step` on each leaf.

    Parameters
    ----------
    what : str
        The optimizer's name, for errors.
    step : callable
        Takes an entry of each column, `known` and `xp`; returns `width` new entries.
    width : int
        How many of the columns, from the first, have new entries.
    columns
        Gradients first. Where one is None there is no step, and the other entries stay as they are.
    known
        Numbers; a zero-dimensional array among them is cast to the leaf's dtype, so that it does not promote.

    Returns
    -------
    list of tuples
        The new columns.
    """
    if len(sizes := {*map(len, columns)}) > 1:
        other = max(sizes - {len(columns[0])})
        raise ValueError(
            f"{what}: the gradients have {len(columns[0])} leaves, the state was made for {other}; "
            "make one with opt.init(params)"
        )
    rows = []
    arrays = [name for name, value in known.items() if type(value) not in _NUMBERS]
    for row in zip(*columns, strict=True):
        g = row[0]
        if g is None:
            rows.append(row[:width])
            continue
        xp = namespace_of(what, g)
        cast = {name: namespace_of(what, known[name]).astype(known[name], g.dtype) for name in arrays}
        if xp.guard is None:
            rows.append(step(*row, xp=xp, **{**known, **cast} if cast else known))
        else:
            with xp.guard(g):
                rows.append(step(*row, xp=xp, **{**known, **cast}))
    return list(zip(*rows, strict=True)) or [()] * width


def zeros(what: str, params: Any, real: bool = False) -> tuple[Any, ...]:
    """Zeros like each parameter, of its dtype and device; real ones if so asked."""
    made = []
    for p in leaves(params)[0]:
        if p is not None:
            xp = namespace_of(what, p)
            with xp.guard(p) if xp.guard else nullcontext():
                p = xp.zeros_like(xp.real(p) if real and KIND[p.dtype] > 1 else p)
        made.append(p)
    return tuple(made)


def square(x: Any, xp: Any) -> Any:
    """``|x|**2``."""
    return x * x if KIND[x.dtype] < 2 else xp.real(xp.conj(x) * x)


def namespace_of(what: str, x: Any) -> Any:
    """What computes with an array: the kernels of its library, or the namespace of tensors."""
    backend = BY_TYPE[type(x)]
    if backend is not None:
        return raw_namespace(backend)
    if isinstance(x, Traced):
        return x.__array_namespace__()  # type: ignore[attr-defined]
    raise TypeError(
        f"{what}: a parameter is a {type(x).__name__}, not an array; make it one with pg.asarray(x)"
    )


class _Guarded(dict[type, bool]):
    """Whether the device of arrays of a type is ambient, so that plain operators will not do."""

    def __missing__(self, key: type) -> bool:
        backend = BY_TYPE[key]
        if backend is None and not issubclass(key, Traced | None):
            raise TypeError(f"{key.__name__} is no array")
        self[key] = found = backend is not None and backend.guard is not None
        return found


_GUARDED = _Guarded()


def guarded(xs: Sequence[Any]) -> bool:
    """Whether some of these arrays need their device made current."""
    return any(map(_GUARDED.__getitem__, set(map(type, xs))))
