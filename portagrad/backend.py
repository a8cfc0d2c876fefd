"""The Backend record and its registry: all the engine knows of an array library."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, metadata
from importlib.util import find_spec
from typing import Any

import array_api_compat
import numpy as np

from portagrad.errors import BackendUnavailableError

GROUP = "portagrad.backends"


@dataclass(frozen=True, kw_only=True, eq=False)
class Backend:
    """One array library, as an adapter describes it.

    Parameters
    ----------
    name : str
        The name under which the adapter is registered, e.g. ``"torch"``: the library's top module, or a part
        of its name, so that the adapter is found from an array's type.
    xp : namespace
        The library's array-API namespace of raw arrays.
    array_types : tuple of type
        Every type an array of the library can have, by ``isinstance``.
    devices : callable
        ``devices()`` lists the library's usable devices, the default first; BackendUnavailableError where the
        library is there but its driver is not.
    parse_device : callable
        ``parse_device(text)`` turns what follows the backend's name (``""``, ``"cuda:1"``) into a native
        device; ValueError where there is no such device.
    device_name : callable
        ``device_name(device)`` is the text from which ``parse_device`` gives that device again.
    device_of : callable
        ``device_of(x)`` is the native device of an array; None for a value that the library places later
        (a JAX tracer), which stands beside arrays of any of its devices.
    put : callable
        ``put(x, device)`` moves an array of this library to another of its own devices.
    to_numpy, from_numpy : callable
        ``to_numpy(x)`` copies to the host; ``from_numpy(a, device)`` copies from it. Of the two, one at most
        may share memory, and only NumPy's own do.
    guard : callable, optional
        ``guard(device)`` is a context manager that makes a device current, for libraries whose device is
        ambient.
    kernels : mapping
        Native kernels by op name, of the op's own signature; each replaces the plain forward.
    own : callable, optional
        ``own(x)`` is `x` if a caller may write to it, else a copy: gradients can be views that share memory.
        None for libraries whose arrays are never written to.
    one_device : bool
        Whether all arrays live on one device, so that none needs to be compared.
    lazy : bool
        Whether values are computed on demand only.
    numpy_methods : bool
        Whether arrays have the methods of NumPy's arrays (``x.sum(axis=0)``), and with the same meaning.
    out_of_memory : tuple of exception types
        What the library raises when a device's memory is exhausted.
    plan : callable, optional
        ``plan(graph, run, donated)`` makes of a compiled graph a callable of its inputs, in order, that
        returns the list of its outputs: raw arrays of this library in and out. ``run(*inputs)`` is the
        engine's own replay, op by op; `donated` holds the positions of inputs that may be overwritten. An
        attribute ``report``, a mapping, tells what the backend did. Without a plan the replay serves.
    inlines : collection of str
        Ops that a plan has no use for as a whole: what their forwards call is compiled instead.
    collectives : callable, optional
        ``collectives(device)`` is this process's part of the library's own communication between processes,
        BackendUnavailableError where there is none. It has a `name`; the `card` that no two processes may
        share; ``invitation()``, bytes from one process by which all find each other; ``join(rank, size,
        invitation)``; ``sums(dtype)``, whether arrays of a dtype, by name, can be summed; and
        ``all_reduce(flat)``, which sums a flat array over all processes in place.
    version : str
        The library's version.
    """

    name: str
    xp: Any
    array_types: tuple[type, ...]
    devices: Callable[[], Sequence[Any]]
    parse_device: Callable[[str], Any]
    device_name: Callable[[Any], str] = str
    device_of: Callable[[Any], Any] = array_api_compat.device
    put: Callable[[Any, Any], Any] = array_api_compat.to_device
    to_numpy: Callable[[Any], np.ndarray[Any, Any]] = np.asarray
    from_numpy: Callable[[np.ndarray[Any, Any], Any], Any]
    guard: Callable[[Any], AbstractContextManager[Any]] | None = None
    kernels: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    own: Callable[[Any], Any] | None = None
    one_device: bool = False
    lazy: bool = False
    numpy_methods: bool = False
    out_of_memory: tuple[type[BaseException], ...] = ()
    plan: Callable[[Any, Callable[..., Any], tuple[int, ...]], Callable[..., list[Any]]] | None = None
    inlines: Collection[str] = ()
    collectives: Callable[[Any], Any] | None = None
    version: str = ""

    def __repr__(self) -> str:
        return f"<Backend {self.name} {self.version}>"


_loaded: dict[str, Backend] = {}


@functools.cache
def registered() -> dict[str, EntryPoint]:
    """Entry points of every installed adapter, by backend name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def get_backend(name: str) -> Backend:
    """Load a backend by name.

    Raises
    ------
    BackendUnavailableError
        If no adapter has that name, or its library cannot be imported.
    """
    if name in _loaded:
        return _loaded[name]
    if name not in registered():
        registered.cache_clear()  # it may have been installed since
    point = registered().get(name)
    if point is None:
        installed = ", ".join(sorted(registered())) or "none; install portagrad itself: pip install portagrad"
        raise BackendUnavailableError(f"no backend is named {name!r}; installed: {installed}")
    try:
        backend: Backend = point.load()
    except BackendUnavailableError:
        raise
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"the backend {name!r} needs {error.name}, which is not installed: {_install(name, error)}"
        ) from error
    except Exception as error:  # a broken library, or a stranger's adapter
        raise BackendUnavailableError(
            f"the backend {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return _loaded.setdefault(name, backend)


def tensors(backend: Backend) -> Any:
    """The array-API namespace of tensors on a backend, which an adapter's module shows as its ``xp``."""
    return import_module("portagrad").namespace(backend.name)  # by name: it lies in a layer above


def _install(name: str, error: ModuleNotFoundError) -> str:
    """The command that installs what an adapter lacks."""
    extras = metadata("portagrad").get_all("Provides-Extra") or []
    package = f"'portagrad[{name}]'" if name in extras else (error.name or name).partition(".")[0]
    return f"pip install {package}"


def candidates(kind: type) -> Iterator[Backend]:
    """Backends to which an array or device of this type may belong, the likeliest first.

    A library that nobody imported has made no arrays, so its adapter is left alone.
    """
    root = kind.__module__.partition(".")[0]
    yield from list(_loaded.values())
    for name in sorted(registered(), key=lambda name: name not in root):
        if name not in _loaded and (name in root or not _sleeps(name)):
            try:
                yield get_backend(name)
            except BackendUnavailableError:
                if name in root:
                    raise


def _sleeps(name: str) -> bool:
    """Whether a library of this name is installed and has not been imported."""
    if name in sys.modules:
        return False
    spec = find_spec(name)
    return spec is not None and spec.origin is not None  # a mere folder of that name is no library


def find_backend(array_type: type) -> Backend | None:
    """The backend whose arrays have this type, loading its adapter if need be; None if there is none."""
    matches = (found for found in candidates(array_type) if issubclass(array_type, found.array_types))
    return next(matches, None)


class _ByType(dict[type, "Backend | None"]):
    """Backends by array type, found once."""

    def __missing__(self, key: type) -> Backend | None:
        looks_like_an_array = hasattr(key, "shape") and hasattr(key, "dtype")
        found = find_backend(key) if looks_like_an_array else None
        self[key] = found
        return found


BY_TYPE = _ByType()


def backend_of(x: object) -> Backend | None:
    """The backend of a raw array; None for anything else.

    Examples
    --------
    >>> backend_of(np.zeros(3)).name
    'numpy'
    >>> backend_of([1.0, 2.0]) is None
    True
    """
    return BY_TYPE[type(x)]


class Kinds(dict[Any, int]):
    """By dtype, what differentiation makes of it; asked of the backends once."""

    def __missing__(self, key: Any) -> int:
        found = 0
        for backend in list(_loaded.values()):
            with contextlib.suppress(Exception), warnings.catch_warnings():  # a dtype of another library
                warnings.simplefilter("ignore")
                if backend.xp.isdtype(key, "complex floating"):
                    found = 2
                elif backend.xp.isdtype(key, "real floating"):
                    found = 1
        self[key] = found
        return found


class _KindsByType:
    """`Kinds` by type of dtype: those of two libraries may have one hash and refuse to be compared."""

    def __init__(self) -> None:
        self._tables: dict[type, Kinds] = {}

    def __getitem__(self, dtype: Any) -> int:
        table = self._tables.get(type(dtype))
        if table is None:
            table = self._tables[type(dtype)] = Kinds()
        return table[dtype]


KIND = _KindsByType()
"""By dtype: 0 not differentiable (integers, booleans), 1 real floating, 2 complex floating."""


def basic_index(key: Any) -> bool:
    """Whether an index is made of slices, integers, ``...`` and None only, and so meets no element twice.

    Examples
    --------
    >>> basic_index((slice(1, None), None, ..., -1)), basic_index(np.asarray([0, 0])), basic_index(True)
    (True, False, False)
    """
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None or part is ... or isinstance(part, slice | int | np.integer) for part in parts
    ) and not any(isinstance(part, bool) for part in parts)
