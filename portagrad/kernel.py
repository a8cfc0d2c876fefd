"""How an op runs on raw arrays: which kernel, on which device, and the errors that say why not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from portagrad.backend import BY_TYPE, Backend, Kinds
from portagrad.device import device_of as place_of
from portagrad.errors import BackendUnavailableError, DeviceMismatchError, OutOfMemoryError
from portagrad.op import TABLE, Op


class Kernel:
    """How an op runs on arguments of given types.

    ``run(*args, **params)`` evaluates; ``traced`` tells whether some argument may be. Where the adapter has a
    kernel for the op and its by-product, ``record`` gives both, for reverse mode. ``recorded`` counts how
    often that took the long way, by the types of the arguments as they were wrapped.
    """

    __slots__ = ("record", "recorded", "run", "traced")

    def __init__(
        self, run: Callable[..., Any], traced: bool = True, record: Callable[..., Any] | None = None
    ) -> None:
        self.run = run
        self.traced = traced
        self.record = record
        self.recorded: dict[Any, int] = {}


class RawNamespace:
    """A backend's namespace as rules see it on raw arrays: its kernels, found once, by attribute.

    ``kinds`` is `KIND` for this library's dtypes alone, a plain dictionary. ``guard`` makes an array's device
    current where the library's device is ambient, else None; ``watched`` tells whether a rule needs it, or
    has to explain exhausted memory.
    """

    def __init__(self, backend: Backend, prefix: str = "") -> None:
        self.backend = backend
        self.prefix = prefix
        self.kinds = Kinds()
        self.device_of = backend.device_of
        self.own = backend.own
        self.ones_: dict[Any, Any] = {}
        self.watched = backend.guard is not None or bool(backend.out_of_memory)
        self.guard = backend.guard and (lambda x: backend.guard(backend.device_of(x)))  # type: ignore[misc]

    def one(self, like: Any) -> Any:
        """The number one, of the dtype of `like`, where `like` lives."""
        dtype = like.dtype
        made = self.ones_.get(dtype)
        if made is None:
            made = self.ones((), dtype=dtype, device=self.device_of(like))
            if self.backend.one_device and not self.backend.lazy:
                self.ones_[dtype] = made  # nothing in the engine writes to an array
        return made

    def __getattr__(self, name: str) -> Any:
        op = TABLE.get(self.prefix + name)
        found: Any
        if op is not None:
            run = native(op, self.backend)
            found = _in_order(op, run)
        elif not self.prefix and name in ("linalg", "fft", "special"):
            found = RawNamespace(self.backend, f"{name}.")
        else:
            space = getattr(self.backend.xp, self.prefix[:-1]) if self.prefix else self.backend.xp
            found = self.backend.kernels.get(self.prefix + name) or getattr(space, name)
        setattr(self, name, found)
        return found


@functools.cache
def raw_namespace(backend: Backend) -> RawNamespace:
    """The one `RawNamespace` of a backend."""
    return RawNamespace(backend)


class _Namespaces(dict[type, Any]):
    """Raw namespaces by array type; None for tensors, which know their own."""

    def __missing__(self, key: type) -> Any:
        backend = BY_TYPE[key]
        self[key] = found = raw_namespace(backend) if backend else None
        return found


NAMESPACE = _Namespaces()


def namespace(x: Any) -> Any:
    """The `xp` a rule gets: portagrad's own for tensors, the backend's for raw arrays."""
    return NAMESPACE[type(x)] or x.__array_namespace__()


def resolve(op: Op, args: Sequence[Any]) -> Kernel:
    """The kernel of `op` for raw arguments of these types.

    Raises
    ------
    DeviceMismatchError
        If they belong to several libraries.
    TypeError
        If none of them is an array, or one is neither an array nor a Python scalar.
    """
    backends = {found for a in args if (found := BY_TYPE[type(a)]) is not None}
    if len(backends) > 1:
        raise DeviceMismatchError(_mismatch(op, args))
    if not backends:
        kinds = ", ".join(type(a).__name__ for a in args)
        raise TypeError(
            f"{op.name}: no argument is an array (got {kinds or 'nothing'}); "
            f"make one first, for example np.asarray(x) or pg.asarray(x, device=...)"
        )
    (backend,) = backends
    _check_arguments(op, args)
    run = native(op, backend)
    record = backend.kernels.get(f"{op.name}_and_{op.byproduct}") if op.byproduct else None
    if not backend.one_device:
        run = _guarded(op, run, backend)
        record = record and _guarded(op, record, backend)
    return Kernel(run, traced=False, record=record)


def native(op: Op, backend: Backend) -> Callable[..., Any]:
    """The adapter's kernel, else the plain forward, else the namespace's own function.

    It takes the arrays of a starred op as so many arguments.
    """
    run: Any = backend.kernels.get(op.name)
    if run is None and ((op.kind == "composite" and op.since and op.arrays_lead) or op.forward is None):
        run = _own(backend, op.name)  # a composite's own forward is for traced values
    if run is None:
        if op.forward is None:
            raise BackendUnavailableError(f"{op.name}: {backend.name} {backend.version} does not have it")
        return functools.partial(op.forward, xp=raw_namespace(backend))
    if op.takes_sequence:
        return lambda *arrays, **params: run(arrays, **params)
    return _by_signature(op, run)


def _in_order(op: Op, run: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel called as the public function is: one list of arrays, or parameters in front of them."""
    if op.takes_sequence:
        return lambda arrays, /, **params: run(*arrays, **params)
    leading = op.leading
    if not leading:
        return run
    first = len(leading)
    return lambda *args: run(*args[first:], **dict(zip(leading, args, strict=False)))


def _by_signature(op: Op, run: Callable[..., Any]) -> Callable[..., Any]:
    """A library's function called as the standard has it: positional arguments have other names there."""
    leading = op.leading
    if leading:
        return lambda *args, **params: run(*[params.pop(p) for p in leading], *args, **params)
    before, slash, _ = op.signature.partition("/")
    placed = [p for p in op.params if slash and f" {p}," in before]
    named = [a for a in op.arrays if f" {a}=" in op.signature.partition("*")[2]]
    if not placed and not named:
        return run
    first = len(op.arrays) - len(named)

    def call(*args: Any, **params: Any) -> Any:
        params.update(zip(named, args[first:], strict=False))
        if not placed:
            return run(*args[:first], **params)
        return run(*args, *[params.pop(p) for p in placed if p in params], **params)

    return call


def _own(backend: Backend, name: str) -> Any:
    """The function of a backend's own namespace, None if it has none."""
    found = backend.xp
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _check_arguments(op: Op, args: Sequence[Any]) -> None:
    """Arguments must be arrays of one library, Python scalars, or None."""
    for name, a in zip(_names(op, args), args, strict=True):
        if BY_TYPE[type(a)] is None and not isinstance(a, int | float | complex | bool | None):
            raise TypeError(
                f"{op.name}: {name} is a {type(a).__name__}, neither an array nor a Python scalar; "
                f"make it an array first, for example np.asarray({name})"
            )


def _guarded(op: Op, run: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """A kernel of a library with several devices: arguments compared first, their device made current."""
    device_of, guard = backend.device_of, backend.guard

    def guarded(*args: Any, **params: Any) -> Any:
        device = None
        for a in args:
            if BY_TYPE[type(a)] is not None:
                its = device_of(a)
                if device is None:
                    device = its
                elif its is not None and its != device:
                    raise DeviceMismatchError(_mismatch(op, args))
        try:
            if guard is None:
                return run(*args, **params)
            with guard(device):
                return run(*args, **params)
        except backend.out_of_memory as error:
            named = list(zip(_names(op, args), args, strict=True))
            raise out_of_memory(op.name, named, error) from error

    return guarded


def out_of_memory(what: str, args: Sequence[tuple[str, Any]], error: BaseException) -> OutOfMemoryError:
    """The error for a device whose memory is exhausted: the op, its arguments, and the way out."""
    arrays = [(name, a) for name, a in args if BY_TYPE[type(a)] is not None]
    place = place_of(arrays[0][1]) if arrays else "the device"
    lines = "".join(f"  {line}\n" for line in _describe(arrays))
    return OutOfMemoryError(
        f"{what}: out of memory on {place}\n{lines}{error}\n"
        f"use a smaller batch, or pg.checkpoint to keep fewer intermediate values"
    )


def _names(op: Op, args: Sequence[Any]) -> list[str]:
    if op.starred:
        return [f"{op.arrays[0][1:]}[{i}]" for i in range(len(args))]
    return list(op.arrays[: len(args)])


def _describe(arrays: Sequence[tuple[str, Any]]) -> list[str]:
    """One line per array: library, dtype, shape, device."""
    lines = []
    for name, a in arrays:
        place = place_of(a)
        lines.append(f"{name}: {place.backend.name} {a.dtype} {tuple(a.shape)} on {place}")
    return lines


def _mismatch(op: Op, args: Sequence[Any]) -> str:
    arrays = [(name, a) for name, a in zip(_names(op, args), args, strict=True) if BY_TYPE[type(a)]]
    target = arrays[0][1]
    other = next(name for name, a in arrays[1:] if place_of(a) != place_of(target))
    lines = "\n".join(f"  {line}" for line in _describe(arrays))
    return (
        f"{op.name}: arguments live on different devices\n{lines}\n"
        f'move one of them, for example pg.to_device({other}, "{place_of(target)}")'
    )
