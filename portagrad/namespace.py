"""The array-API namespace of tensors, one per backend, built from the op table."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from portagrad.backend import Backend
from portagrad.device import Device, current_device, device
from portagrad.docstring import described
from portagrad.errors import BackendUnavailableError, note_call
from portagrad.indexed import apply_at
from portagrad.kernel import raw_namespace
from portagrad.op import TABLE, define
from portagrad.ops.creation import CREATION, FREQUENCIES
from portagrad.ops.data_type import DTYPE_FUNCTIONS
from portagrad.ops.manipulation import broadcast_shapes
from portagrad.tensor import Tensor, backend_of, hold, raw
from portagrad.trace import Traced, apply, public

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
)
CONSTANTS = ("e", "inf", "nan", "newaxis", "pi")
EXTENSIONS = ("fft", "linalg", "special")
MAKERS = {**CREATION, **FREQUENCIES}
"""The creation functions, those of the extensions by their qualified names."""


@functools.cache
def function(name: str) -> Callable[..., Any]:
    """The public function of an op: dispatches on its arguments, raw in and raw out."""
    op = TABLE[name]
    return public(op, apply_at if "key" in op.params and op.name != "indexed" else apply)


def _noted(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is no op, whose exceptions name it as those of ops do."""

    @functools.wraps(call)
    def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            note_call(error, call.__name__, [a for a in args if not isinstance(a, Namespace)], kwargs)
            raise

    return noted


class Namespace:
    """Everything the standard names, for tensors on one backend.

    Functions dispatch on their arguments; what the creation functions return is a constant tensor. Data types
    and devices are those of the library underneath.
    """

    watched = False
    guard = None  # rules on tensors pass through the dispatch, which makes devices current itself

    def __init__(self, backend: Backend, prefix: str = "") -> None:
        self.backend = backend
        self.prefix = prefix
        self.__name__ = f"portagrad_{backend.name}.xp" + (f".{prefix[:-1]}" if prefix else "")

    def __getattr__(self, name: str) -> Any:
        found = self.find(name)
        setattr(self, name, found)
        return found

    def __repr__(self) -> str:
        return f"<namespace {self.__name__}>"

    def __dir__(self) -> list[str]:
        ops = {n.removeprefix(self.prefix) for n in (*TABLE, *FREQUENCIES) if n.startswith(self.prefix)}
        rest = () if self.prefix else (*CREATION, *DTYPE_FUNCTIONS, *DTYPES, *CONSTANTS, *EXTENSIONS)
        return sorted({*(n for n in ops if "." not in n), *rest, *object.__dir__(self)})

    def find(self, name: str) -> Any:
        """What an attribute stands for: an op, a creation function, or something about dtypes."""
        if self.prefix + name in TABLE:
            return function(self.prefix + name)
        if self.prefix + name in MAKERS:
            make = _maker(self.backend, self.prefix + name)
            return _creation(self.prefix + name, make, lambda d: _native(self.backend, d), hold)
        if not self.prefix and name in EXTENSIONS:
            return Namespace(self.backend, f"{name}.")
        space = getattr(self.backend.xp, self.prefix[:-1]) if self.prefix else self.backend.xp
        found = self.backend.kernels.get(self.prefix + name) or getattr(space, name)
        if name in DTYPE_FUNCTIONS:
            return _on_raw(name, found)
        if not callable(found) or isinstance(found, type) or name.startswith("__"):
            return found
        return _beyond(self.prefix + name)

    def device_of(self, x: Any) -> Any:
        """The native device of an array or tensor."""
        return self.backend.device_of(raw(x))

    broadcast_shapes = staticmethod(broadcast_shapes)
    hold = staticmethod(hold)

    @_noted
    def asarray(
        self, obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
    ) -> Tensor:
        """A tensor of `obj`: of a tensor the same values, differentiably; of numbers a constant.

        Parameters
        ----------
        obj : tensor, array, Python scalar, or nested sequence of these
        dtype, device
            Of the result; by default those of `obj`.
        copy : bool, optional
            True copies always; False raises where that is needed.
        """
        if isinstance(obj, list | tuple) and _holds_tensors(obj):
            beside = self.device_of(_first(obj)) if device is None else device  # where numbers go
            parts = tuple(
                [
                    self.asarray(part, dtype=dtype, device=device if _holds_tensors(part) else beside)
                    for part in obj
                ]
            )
            return apply(TABLE["stack"], parts, {"axis": 0})  # type: ignore[no-any-return]
        if not isinstance(obj, Traced):
            stays = device is None and isinstance(obj, self.backend.array_types)
            place = None if stays else _native(self.backend, device)
            return hold(self.backend.xp.asarray(obj, dtype=dtype, device=place, copy=copy))
        y: Any = obj
        if dtype is not None and dtype != raw(obj).dtype:
            if copy is False:
                raise ValueError(
                    f"asarray: a {y.dtype} tensor cannot become {dtype} without a copy; drop copy=False"
                )
            y = apply(TABLE["astype"], (y,), {"dtype": dtype, "copy": True})
        elif copy:
            y = apply(TABLE["astype"], (y,), {"dtype": y.dtype, "copy": True})
        stays = device is None or device == self.device_of(y)  # by the library's name, which may be another's
        return y if stays else y.to_device(device)  # type: ignore[no-any-return]


def _beyond(name: str) -> Any:
    """A function that a library has beyond the standard: its own knows no tensors, but NumPy asks them."""
    from portagrad.protocols import array_functions  # they are made of this namespace

    try:
        return array_functions()[name]
    except KeyError:
        raise AttributeError(f"tensors have no {name!r}, which is not in the standard", name=name) from None


def _holds_tensors(obj: Any) -> bool:
    if isinstance(obj, list | tuple):
        return any(map(_holds_tensors, obj))
    return isinstance(obj, Traced)


def _first(obj: Any) -> Any:
    """The first tensor in a nested sequence."""
    while isinstance(obj, list | tuple):
        obj = next(part for part in obj if _holds_tensors(part))
    return obj


def _native(backend: Backend, place: Any) -> Any:
    """A native device of `backend`, from whatever a caller may write for it."""
    if place is None:
        chosen = current_device()
        return chosen.native if chosen.backend is backend else None
    if isinstance(place, str):
        try:
            return backend.parse_device(place)
        except ValueError:
            place = device(place)  # a name of ours
    elif not isinstance(place, Device):
        return place  # the library's own
    if place.backend is not backend:
        raise BackendUnavailableError(
            f"{place} is no device of {backend.name}; use pg.namespace({place.backend.name!r}), "
            f"or pg.to_device"
        )
    return place.native


def _maker(backend: Backend, name: str) -> Callable[..., Any]:
    """The creation function of a backend."""
    found: Any = raw_namespace(backend)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _creation(
    name: str, make: Callable[..., Any], place: Callable[[Any], Any], wrap: Callable[[Any], Any]
) -> Callable[..., Any]:
    """A creation function of a namespace."""

    def create(*args: Any, **kwargs: Any) -> Any:
        plain, kwargs = _plain_arguments(name, args, kwargs)
        if not name.endswith("_like"):
            kwargs["device"] = place(kwargs.get("device"))
        return wrap(make(*plain, **kwargs))

    return _described(create, name, MAKERS[name], "tensor", "The result is a constant.")


def _plain_arguments(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of a creation function: a tensor may give its shape, or be a plain number if constant."""
    like = int(name.endswith("_like"))
    plain = [*map(sample, args[:like]), *[_plain(a, name) for a in args[like:]]]
    return plain, {key: _plain(value, name) for key, value in kwargs.items()}


def _plain(value: Any, name: str) -> Any:
    """A Python scalar for a constant tensor; a traced one would lose its gradient."""
    return value.concrete(name) if isinstance(value, Tensor) else value


def _on_raw(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function that asks about dtypes only: tensors stand for their raw values."""

    def ask(*args: Any, **kwargs: Any) -> Any:
        return call(*[raw(a) for a in args], **kwargs)

    return _described(ask, name, DTYPE_FUNCTIONS[name], "", "Data types are those of the library underneath.")


def creation(name: str) -> Callable[..., Any]:
    """A creation function that makes raw arrays, on `device` or the one in force."""

    def create(*args: Any, device: Any = None, **kwargs: Any) -> Any:
        if name.endswith("_like"):
            backend = backend_of(args[0])
            where = None if device is None else _native(backend, device)
        else:
            chosen = _chosen(device)
            backend, where = chosen.backend, chosen.native
        plain, kwargs = _plain_arguments(name, args, kwargs)
        made = _maker(backend, name)(*plain, device=where, **kwargs)
        return hold(made) if args and isinstance(args[0], Traced) else made

    place = "of `x`" if name.endswith("_like") else "in force"
    return _described(create, name, MAKERS[name], "array", f"The device is by default the one {place}.")


def _described(
    call: Callable[..., Any], name: str, told: tuple[str, str], result: str, note: str
) -> Callable[..., Any]:
    """A function with a name, the standard's signature, and a docstring."""
    signature, doc = told
    since = "2022.12" if name in FREQUENCIES else "2021.12"
    name = name.rpartition(".")[2]
    its = inspect.signature(define(f"def {name}{signature}: ...", name, {}))
    call.__name__ = call.__qualname__ = name
    call.__module__ = "portagrad"
    call.__signature__ = its  # type: ignore[attr-defined]
    call.__doc__ = described(doc, its, result, [note, f"In the standard since {since}."])
    return _noted(call)


@_noted
def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """``asarray`` of the standard: a raw array on `device`; an array or tensor stays on its own library.

    Parameters
    ----------
    obj : array, tensor, Python scalar, or nested sequence of these
    dtype, device
        Of the result; by default those of `obj`, or the device in force.
    copy : bool, optional
        True copies always; False raises where that is needed.
    """
    if isinstance(obj, Traced) or _holds_tensors(obj):
        return _first(obj).__array_namespace__().asarray(obj, dtype=dtype, device=device, copy=copy)
    try:
        backend, where = backend_of(obj), None
    except TypeError:
        chosen = _chosen(device)
        backend, where = chosen.backend, chosen.native
        return backend.xp.asarray(obj, dtype=dtype, device=where, copy=copy)
    y = backend.xp.asarray(obj, dtype=dtype, copy=copy)
    return y if device is None else to_device(y, device)


def to_device(x: Any, place: Any) -> Any:
    """One array or tensor on another device, differentiably."""
    target = _chosen(place)
    return apply(TABLE["to_device"], (x,), {"device": target, "source": device(raw(x))})


def _chosen(place: Any) -> Any:
    return current_device() if place is None else device(place)


@functools.cache
def namespace_on(backend: Backend) -> Namespace:
    """The one `Namespace` of a backend."""
    return Namespace(backend)


def namespace(name: Any = None) -> Namespace:
    """The array-API namespace of tensors on a backend.

    Parameters
    ----------
    name : str, Device or array, optional
        As for `pg.device`; by default the device in force.

    Returns
    -------
    Namespace
        Complete by the standard; what its creation functions return is a constant tensor.

    Examples
    --------
    >>> xp = namespace("numpy")
    >>> xp.sum(xp.ones((2, 3)), axis=0)
    Tensor(array([2., 2., 2.]))
    """
    return namespace_on(_chosen(name).backend)


def sample(x: Any) -> Any:
    """A raw array of the shape, dtype and device of one that may be traced."""
    if not isinstance(x, Traced):
        return x
    return sample(x.value)[(0,) * x.trace.axes + (...,)] if x.trace.axes else sample(x.value)
