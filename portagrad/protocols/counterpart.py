"""What stands for a NumPy function on tensors: a function of the same arguments, in array-API code."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.errors import DeviceMismatchError, NoCounterpartError
from portagrad.tensor import UFUNCS, Tensor, backend_of, describe, hold

Array = Any
"""An argument that is made a tensor: an array of the same library, a number, a nested list."""
Operand = Any
"""An argument that may stay a Python number; anything else is made a tensor."""
Arrays = Any
"""An argument that is a sequence of arrays, each made a tensor."""
Nested = Any
"""An argument that is a list of arrays, or of such lists."""

F = TypeVar("F", bound=Callable[..., Any])

COUNTERPARTS: dict[Any, Counterpart] = {}
"""By the NumPy function (or universal function): what is called in its place."""

ELSEWHERE = {
    "bitwise_count": "the bitwise operators",
    "choose": "np.select",
    "frexp": "np.log2 and np.floor",
    "histogram": "np.digitize with np.bincount",
    "intersect1d": "np.isin",
    "lexsort": "np.argsort",
    "poly": "np.convolve of the factors",
    "resize": "np.tile",
    "roots": "np.linalg.eigvals of the companion matrix",
    "setdiff1d": "np.isin",
    "union1d": "np.unique of np.concatenate",
}
"""What to use instead, where the likeness of names does not show it."""


HARMLESS = ("assume_unique", "casting", "copy", "kind", "order", "overwrite_input", "subok")
"""Arguments that choose an algorithm, a place in memory or the strictness of casts, and no result."""


class Counterpart:
    """A function on tensors that stands for a NumPy function.

    It is called with NumPy's arguments by NumPy's names, those left out that are at their defaults; in front
    of them it takes `xp`, the namespace of the tensor that was found among them. Annotations tell which are
    arrays. An argument ``out`` never reaches it, ``dtype`` is translated to the library's own, and ``device``
    is the tensor's unless given.
    """

    __slots__ = ("name", "run", "signature", "takes")

    def __init__(
        self, name: str, run: Callable[..., Any], signature: inspect.Signature, takes: dict[str, Any]
    ) -> None:
        self.name = name
        self.run = run
        self.signature = signature
        self.takes = takes

    def __call__(self, like: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        given = self.bind(args, kwargs)
        out = given.pop("out", None)
        xp = like.__array_namespace__()
        for name, value in given.items():
            if name == "dtype":
                given[name] = native_dtype(value, xp, self.name)
            elif name in self.takes:
                given[name] = self.takes[name](value, like, self.name)
        if "device" in self.takes:
            given.setdefault("device", xp.device_of(like))
        y = self.run(xp, *self.starred(given), **given)
        return y if out is None else assign(out, y, f"{self.name}, out=")

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, without those that are at NumPy's defaults."""
        given: dict[str, Any] = {}
        for name, value in self.signature.bind(*args, **kwargs).arguments.items():
            parameter = self.signature.parameters[name]
            if parameter.kind is parameter.VAR_KEYWORD:
                given.update(value)
            elif not is_default(value, parameter.default):
                given[name] = value
        for name in [name for name in given if name not in (*self.takes, "out")]:
            if name in HARMLESS:
                del given[name]
            elif "**" not in self.takes:
                known = ", ".join(name for name in self.takes if "*" not in name)
                raise NoCounterpartError(
                    f"{self.name}: {name}={given[name]!r} has no counterpart on tensors; these have: {known}"
                )
        return given

    def starred(self, given: dict[str, Any]) -> list[Any]:
        """The arguments to pass by position: those up to a star, where there is one."""
        names = [*self.signature.parameters]
        kinds = [p.kind for p in self.signature.parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL not in kinds:
            return []
        star = kinds.index(inspect.Parameter.VAR_POSITIONAL)
        return [*[given.pop(name) for name in names[:star]], *given.pop(names[star], ())]


def is_default(value: Any, default: Any) -> bool:
    """Whether an argument is at its default, or is passed on by NumPy as not given."""
    return value is default or value is np._NoValue or (type(value) is type(default) and value == default)


def counterpart(*names: str) -> Callable[[F], F]:
    """Let a function stand for the NumPy functions of these names, or of its own."""

    def declare(run: F) -> F:
        own = inspect.signature(run)
        _, *parameters = own.parameters.values()
        takes = {
            "**" if p.kind is p.VAR_KEYWORD else p.name: CONVERSIONS.get(p.annotation, as_given)
            for p in parameters
        }
        for name in names or (run.__name__,):
            stand_for(name, run, takes, own.replace(parameters=parameters))
        return run

    return declare


def stand_for(
    name: str, run: Callable[..., Any], takes: dict[str, Any], own: inspect.Signature | None = None
) -> None:
    """Enter a counterpart in the table; what the NumPy at hand does not have is left out."""
    found = numpy_function(name)
    if found is not None:
        COUNTERPARTS[found] = Counterpart(f"np.{name}", run, signature_of(found, takes, own), takes)


def signature_of(found: Any, takes: dict[str, Any], own: inspect.Signature | None) -> inspect.Signature:
    """NumPy's signature; `own` where it gives none, or names what it needs otherwise.

    Universal functions have none, nor have the compiled functions of NumPy before 2.4.
    """
    try:
        signature = inspect.signature(found)
    except ValueError:
        signature = None
    if own is not None and (
        signature is None
        or isinstance(found, np.ufunc)
        or any(
            p.default is p.empty and p.name not in takes and p.kind is not p.VAR_KEYWORD
            for p in signature.parameters.values()
        )
    ):
        return own
    assert signature is not None, found
    return signature


def numpy_function(name: str) -> Any:
    """The NumPy function of a qualified name; None if the NumPy at hand lacks it."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def as_tensor(value: Any, like: Tensor, what: str) -> Any:
    """An argument as a tensor of the library of `like`.

    A number has the dtype of `like` if it can, and the numbers of a list are at least as precise.
    """
    backend = backend_of(like)
    if value is None:
        return value
    if isinstance(value, np.generic):
        value = as_operand(value, like, what)
    if isinstance(value, Tensor) or BY_TYPE[type(value)] is backend:
        return hold(value)
    if BY_TYPE[type(value)] is not None:
        raise DeviceMismatchError(
            f"{what}: arguments live on different devices\n  {describe(like)}\n  {describe(value)}\n"
            f"move one of them, for example with pg.to_device"
        )
    if not isinstance(value, int | float | complex | list | tuple):
        raise TypeError(f"{what}: an argument is a {type(value).__name__}, neither an array nor a number")
    xp = like.__array_namespace__()
    dtype = like.dtype if fits(value, like, xp) else None
    if isinstance(value, list | tuple) and dtype is not None:
        dtype = xp.result_type(dtype, xp.__array_namespace_info__().default_dtypes()["real floating"])
    return xp.asarray(value, dtype=dtype, device=xp.device_of(like))


def fits(value: Any, like: Tensor, xp: Any) -> bool:
    """Whether a Python number, or a list of real ones, can have the dtype of `like`."""
    if isinstance(value, list | tuple):
        return KIND[like.dtype] == 1 and all(
            isinstance(part, float) or (isinstance(part, list | tuple) and fits(part, like, xp))
            for part in value
        )
    if isinstance(value, bool) or xp.isdtype(like.dtype, "bool"):
        return False
    kind = 0 if isinstance(value, int) else 1 if isinstance(value, float) else 2
    return isinstance(value, int | float | complex) and KIND[like.dtype] >= kind


def as_operand(value: Any, like: Tensor, what: str) -> Any:
    """An argument as a tensor, but for Python numbers; NumPy's are such beside arrays of other libraries."""
    if isinstance(value, np.generic) and BY_TYPE[type(value)] is not backend_of(like):
        return value.item()
    if value is None or isinstance(value, int | float | complex):
        return value
    return as_tensor(value, like, what)


def as_tensors(value: Any, like: Tensor, what: str) -> list[Tensor]:
    """A sequence of arrays as tensors; an array is the sequence of its parts."""
    return [as_tensor(part, like, what) for part in value]


def as_nested(value: Any, like: Tensor, what: str) -> Any:
    """An array, or the arrays of lists in lists, as tensors."""
    if isinstance(value, list):
        return [as_nested(part, like, what) for part in value]
    return as_tensor(value, like, what)


def as_given(value: Any, like: Tensor, what: str) -> Any:
    """An argument as it is."""
    return value


CONVERSIONS = {"Array": as_tensor, "Operand": as_operand, "Arrays": as_tensors, "Nested": as_nested}
"""By annotation, what is made of an argument."""


def native_dtype(dtype: Any, xp: Any, what: str) -> Any:
    """A data type as NumPy names it, as the library's own."""
    try:
        name = None if dtype is None else np.dtype(dtype).name
    except TypeError:
        return dtype  # it is the library's own
    if name is not None and not hasattr(xp, name):
        raise NoCounterpartError(f"{what}: {xp.backend.name} has no data type {name}")
    return None if name is None else getattr(xp, name)


def assign(out: Any, y: Any, what: str) -> Any:
    """Put a result where ``out=`` says: a tensor takes it as its value, a raw array holds numbers only."""
    if isinstance(out, tuple) and not isinstance(y, tuple):
        (out,) = out
    if isinstance(out, tuple):
        return tuple(
            [part if to is None else assign(to, part, what) for to, part in zip(out, y, strict=True)]
        )
    if isinstance(out, Tensor):
        return out.rebind(hold(y))
    out[...] = np.asarray(hold(y).concrete(f"{what} a raw array (write a = a + x for a += x)"))
    return out


def refuse(what: str, why: str = "") -> NoCounterpartError:
    """The error for a NumPy function without a counterpart."""
    return NoCounterpartError(
        f"{what} has no counterpart on tensors{why}; the nearest is {nearest(what)}. "
        f"Where no gradient is wanted, call it on np.asarray(pg.stop_gradient(x))"
    )


def nearest(what: str) -> str:
    """What to use in place of a NumPy function that has no counterpart."""
    name = what.rpartition(".")[2]
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    known = {ufunc.__name__: f"np.{ufunc.__name__}" for ufunc in UFUNCS}
    known |= {c.name.rpartition(".")[2]: c.name for c in COUNTERPARTS.values()}
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return known[found[0]]
