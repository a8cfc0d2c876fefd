"""The device layer: what a device is, which there are, which is in force, and moves between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from portagrad.backend import Backend, backend_of, candidates, get_backend, registered
from portagrad.config import Override, get, resolver
from portagrad.errors import BackendUnavailableError, ConfigError

SHORT_NAMES = "portagrad.devices"
"""Entry-point group of names that need no backend's name before them: ``cpu``, ``cuda``."""

_DEFAULT = "cpu"
_HOST = 1  # kDLCPU of DLPack


@dataclass(frozen=True, eq=False, slots=True)
class Device:
    """A place where arrays live: a backend and one of its library's own devices.

    ``str`` of it is its name, from which `device` gives it back; devices of one name are equal.

    Attributes
    ----------
    backend : Backend
        The adapter's record.
    native : object
        The library's own device, e.g. a ``torch.device``.
    name : str
        Such as ``"cpu"``, ``"cuda:1"``, ``"torch:cuda:0"``.

    Examples
    --------
    >>> here = device("numpy")
    >>> str(here), here.backend.name, here.native
    ('cpu', 'numpy', 'cpu')
    """

    backend: Backend
    native: Any
    name: str

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Device) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"device({self.name!r})"

    def __reduce__(self) -> tuple[Callable[[Any], Device], tuple[str]]:
        return device, (self.name,)


@dataclass(frozen=True)
class BackendReport:
    """What `report` says of one backend.

    Attributes
    ----------
    name, version : str
        The version is empty where the library is missing.
    devices : tuple of Device
        The usable ones, the backend's default first.
    default : bool
        Whether the device in force is one of them.
    reason : str
        Why there is none; empty for a usable backend.
    """

    name: str
    version: str = ""
    devices: tuple[Device, ...] = ()
    default: bool = False
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether arrays can be made on it."""
        return not self.reason


_known: dict[str, Device] = {}


@resolver("device")
def device(spec: Any) -> Device:
    """The device that `spec` stands for.

    Parameters
    ----------
    spec : str, Device, array, tensor or native device
        ``"cpu"`` and ``"numpy"`` (NumPy), ``"cuda"``, ``"cuda:1"`` and ``"cupy"`` (CuPy), a backend's name
        alone or with one of its devices (``"torch:cuda:0"``, ``"jax:cpu:0"``, ``"strict:device1"``), or
        ``"auto"``: an accelerator's short name where it works, else NumPy. An array stands for the device it
        lives on.

    Raises
    ------
    ConfigError
        If nothing has that name.
    BackendUnavailableError
        If the library or its driver is missing; the message says what to install.
    TypeError
        If `spec` is none of these.

    Examples
    --------
    >>> device("numpy")
    device('cpu')
    >>> import numpy as np
    >>> device(np.ones(3)) == device("cpu")
    True
    """
    if isinstance(spec, Device):
        return spec
    if isinstance(spec, str):
        return _known.get(spec) or _known.setdefault(spec, _auto() if spec == "auto" else _parse(spec))
    if backend_of(spec) is not None:
        return device_of(spec)
    if hasattr(spec, "value"):  # a tensor stands for the array that it holds
        return device(spec.value)
    for backend in candidates(type(spec)):
        try:
            natives = backend.devices()
        except BackendUnavailableError:
            continue
        if type(spec) in {type(native) for native in natives} - {str}:
            return _device(backend, backend.parse_device(backend.device_name(spec)))
    raise TypeError(
        f"device: {spec!r} ({type(spec).__name__}) is neither a device's name, a device, nor an array; "
        f"names are {_names()}"
    )


def devices() -> tuple[Device, ...]:
    """Every usable device of every installed backend, the device of NumPy first.

    Examples
    --------
    >>> devices()[0]
    device('cpu')
    """
    found = [device for backend in report() for device in backend.devices]
    return tuple(sorted(found, key=lambda device: device.name != _DEFAULT))


def devices_of(backend: Backend) -> tuple[Device, ...]:
    """The usable devices of a backend, its default first; no other library is loaded.

    Raises
    ------
    BackendUnavailableError
        If the library or its driver is missing.
    """
    return tuple(_device(backend, native) for native in backend.devices())


def device_of(x: Any) -> Device:
    """The device of a raw array.

    Inside ``jax.jit`` arrays have no device yet; theirs is ``"jax:traced"``.

    Raises
    ------
    TypeError
        If `x` is no array of an installed backend.
    """
    backend = backend_of(x)
    if backend is None:
        raise TypeError(f"{type(x).__name__} is not an array of any installed backend")
    return _device(backend, backend.device_of(x))


def current_device() -> Device:
    """The device in force: where arrays are made when neither ``device=`` nor an input says so.

    Raises
    ------
    ConfigError, BackendUnavailableError
        If the setting cannot be had; the message names its source.
    """
    chosen: Device = get("device")
    return chosen


def use(spec: Any) -> Override:
    """Choose the device on which arrays are made.

    As a call it holds process-wide, until the next. Under ``with`` it holds within the block, in its thread
    or asynchronous task only; blocks nest and outrank every call.

    Parameters
    ----------
    spec : str, Device, array or native device
        As for `device`.

    Examples
    --------
    >>> with use("numpy") as here:
    ...     print(here, current_device())
    cpu cpu
    """
    return Override("device", device(spec), f"pg.use({str(spec)!r})", sys._getframe(1))


def transfer(x: Any, target: Device) -> Any:
    """A raw array on another device, of another library if need be; `x` itself where it is there already.

    Between libraries the values are copied: later assignments to one array do not reach the other. From one
    accelerator library to another they pass through DLPack and do not visit the host.

    Parameters
    ----------
    x : array
        A raw array of any backend.
    target : Device

    Raises
    ------
    TypeError
        If `x` is no array, or the target's library lacks its dtype.
    """
    source = backend_of(x)
    if source is None:
        raise TypeError(f"{type(x).__name__} is not an array of any installed backend")
    if source is target.backend:
        return x if device_of(x) == target else source.put(x, target.native)
    direct = None if source.lazy or target.backend.lazy else _exchange(x, target)
    if direct is not None:
        return direct
    host = source.to_numpy(x)
    if not host.dtype.isnative:
        host = host.astype(host.dtype.newbyteorder("="))
    return target.backend.from_numpy(host, target.native)


def report() -> list[BackendReport]:
    """What there is to say of every registered backend: its version and devices, or why it is not usable.

    Examples
    --------
    >>> [line.version != "" for line in report() if line.name == "numpy"]
    [True]
    """
    try:
        chosen = current_device().backend.name
    except (ConfigError, BackendUnavailableError):  # `portagrad.config.explain` says what is wrong
        chosen = ""
    return [_report(name, name == chosen) for name in sorted(registered())]


def _report(name: str, default: bool) -> BackendReport:
    version = ""
    try:
        backend = get_backend(name)
        version = backend.version
        found = devices_of(backend)
    except BackendUnavailableError as error:
        return BackendReport(name, version, reason=str(error))
    return BackendReport(name, version, found, default, "" if found else "it has no device")


def _exchange(x: Any, target: Device) -> Any:
    """`x` copied to `target` over DLPack; None where the two libraries do not share an accelerator."""
    backend = target.backend
    try:
        if x.__dlpack_device__()[0] == _HOST:
            return None
        shared = backend.xp.from_dlpack(x)
        there = _device(backend, backend.device_of(shared)) == target
        return backend.xp.asarray(shared, copy=True) if there else backend.put(shared, target.native)
    except (AttributeError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def _short_names() -> dict[str, str]:
    """The backend that each short name stands for."""
    by_value = {point.value: name for name, point in registered().items()}
    points = entry_points(group=SHORT_NAMES)
    return {point.name: by_value[point.value] for point in points if point.value in by_value}


def _device(backend: Backend, native: Any) -> Device:
    text = backend.device_name(native)
    name = f"{backend.name}:{text}".rstrip(":")
    found = _known.get(name)
    if found is None:
        head = text.partition(":")[0]
        short = text if _short_names().get(head) == backend.name else name
        found = _known.setdefault(short, Device(backend, native, short))
        _known[name] = found
    return found


def _parse(spec: str) -> Device:
    head, _, rest = spec.partition(":")
    short = _short_names()
    if head not in short and head not in registered():
        raise ConfigError(f"no device is called {spec!r}{_nearest(head)}; names are {_names()}")
    backend = get_backend(short.get(head, head))
    try:
        return _device(backend, backend.parse_device(spec if head in short else rest))
    except ValueError as error:
        raise ConfigError(f"no device is called {spec!r}: {error}") from error


def _auto() -> Device:
    for name in sorted(_short_names()):
        if name != _DEFAULT:
            try:
                found = device(name)
                found.backend.devices()
                return found
            except (BackendUnavailableError, ConfigError):
                continue
    return device(_DEFAULT)


def _nearest(name: str) -> str:
    near = get_close_matches(name, ["auto", *_short_names(), *registered()], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _names() -> str:
    return ", ".join(["auto", *sorted({*_short_names(), *registered()})])
