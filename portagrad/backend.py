"""The Backend record and its registry: all the engine knows of an array library."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
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
        The name under which the adapter is registered, e.g. ``"torch"``.
    xp : namespace
        The library's array-API namespace of raw arrays.
    array_types : tuple of type
        Every type an array of the library can have, by ``isinstance``.
    devices : callable
        ``devices()`` lists the library's usable devices, the default first.
    parse_device : callable
        ``parse_device(text)`` turns what follows the backend's name (``""``, ``"cuda:1"``) into a native
        device; ValueError where there is no such device.
    device_of : callable
        ``device_of(x)`` is the native device of an array.
    put : callable
        ``put(x, device)`` moves an array of this library to another of its own devices.
    to_numpy, from_numpy : callable
        ``to_numpy(x)`` copies to the host; ``from_numpy(a, device)`` copies from it.
    guard : callable, optional
        ``guard(device)`` is a context manager that makes a device current, for libraries whose device is
        ambient.
    kernels : mapping
        Native kernels by op name, of the op's own signature; each replaces the plain forward.
    one_device : bool
        Whether all arrays live on one device, so that none needs to be compared.
    lazy : bool
        Whether values are computed on demand only.
    out_of_memory : tuple of exception types
        What the library raises when a device's memory is exhausted.
    version : str
        The library's version.
    """

    name: str
    xp: Any
    array_types: tuple[type, ...]
    devices: Callable[[], Sequence[Any]]
    parse_device: Callable[[str], Any]
    device_of: Callable[[Any], Any] = array_api_compat.device
    put: Callable[[Any, Any], Any] = array_api_compat.to_device
    to_numpy: Callable[[Any], np.ndarray[Any, Any]] = np.asarray
    from_numpy: Callable[[np.ndarray[Any, Any], Any], Any]
    guard: Callable[[Any], AbstractContextManager[Any]] | None = None
    kernels: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    one_device: bool = False
    lazy: bool = False
    out_of_memory: tuple[type[BaseException], ...] = ()
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
    point = registered().get(name)
    if point is None:
        raise BackendUnavailableError(
            f"no backend is named {name!r}; installed: {', '.join(sorted(registered()))}"
        )
    try:
        backend: Backend = point.load()
    except BackendUnavailableError:
        raise
    except ImportError as error:
        raise BackendUnavailableError(
            f"the backend {name!r} cannot be imported: {error}\ninstall it with: pip install 'portagrad[{name}]'"
        ) from error
    return _loaded.setdefault(name, backend)


def find_backend(array_type: type) -> Backend | None:
    """The backend whose arrays have this type, loading its adapter if need be; None if there is none."""
    for backend in _loaded.values():
        if issubclass(array_type, backend.array_types):
            return backend
    root = array_type.__module__.partition(".")[0]
    # A library's adapter is usually named after it, so the likely one is loaded first and mostly alone.
    for name in sorted(registered(), key=lambda name: name not in root):
        if name not in _loaded:
            try:
                backend = get_backend(name)
            except BackendUnavailableError:
                continue
            if issubclass(array_type, backend.array_types):
                return backend
    return None


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
