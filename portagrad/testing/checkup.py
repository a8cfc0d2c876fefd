"""check_devices: are gradients right, and the same, on this machine's devices?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from portagrad.device import Device, device
from portagrad.device import devices as usable
from portagrad.errors import Error
from portagrad.namespace import function
from portagrad.testing.agreement import values_and_gradients
from portagrad.testing.arrays import Host
from portagrad.testing.gradients import check_grads
from portagrad.transforms.gradient import grad
from portagrad.transforms.tree import to_device

_FAULTS = (Error, AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
_TOLERANCE = {"float64": 1e-9, "float32": 1e-3}


class CheckRow(NamedTuple):
    """What `check_devices` found of one function on one device.

    Attributes
    ----------
    device, function : str
    status : str
        ``"ok"``, ``"wrong"`` (the numbers differ) or ``"failed"`` (an exception).
    error : float
        The largest difference from NumPy's values and gradients, relative to the largest element of each;
        NaN where there is none to tell.
    message : str
        What was wrong, in one line; the precision where it is not double; else empty.
    """

    device: str
    function: str
    status: str
    error: float
    message: str


def check_devices(devices: Iterable[Device | str] | None = None) -> list[CheckRow]:
    """Compare gradients of first and second order of typical functions on this machine's devices.

    NumPy's are compared with finite differences, every other device's with NumPy's. Double precision is used
    where the device has it. It takes seconds.

    Parameters
    ----------
    devices : iterable of Device or str, optional
        By default every usable one.

    Returns
    -------
    list of CheckRow
        One for each device and function.

    Raises
    ------
    BackendUnavailableError, ConfigError
        If a device that was asked for cannot be had.

    Examples
    --------
    >>> {row.status for row in check_devices(["numpy"])}
    {'ok'}
    """
    places = [device(d) for d in devices] if devices is not None else list(usable())
    return [row for where in places for row in _rows(where)]


def _rows(where: Device) -> Iterator[CheckRow]:
    dtype = _widest(where)
    for name, f, args in _functions(dtype):
        try:
            error, message = _error(f, args, where)
        except _FAULTS as fault:
            line = " ".join(str(fault).split()) or "no message"
            yield CheckRow(str(where), name, "failed", float("nan"), f"{type(fault).__name__}: {line}")
            continue
        right = error <= _TOLERANCE[dtype] and not message
        note = "" if dtype == "float64" else f"in {dtype}: the device has no double precision, or it is off"
        yield CheckRow(str(where), name, "ok" if right else "wrong", error, message or note)


def _widest(where: Device) -> str:
    """Double precision, where the device holds it."""
    try:
        to_device(np.ones(1), where)
    except (TypeError, ValueError, RuntimeError):
        return "float32"
    return "float64"


def _error(f: Callable[..., Any], args: tuple[Any, ...], where: Device) -> tuple[float, str]:
    """The largest relative difference from NumPy's numbers; for NumPy, what finite differences object to."""
    here = device("numpy")
    expected = values_and_gradients(f, args, here)
    if where == here:
        try:
            check_grads(lambda *xs: f(*xs, *args[len(xs) :]), _floating(args), order=1)
        except AssertionError as error:
            return float("nan"), " ".join(str(error).split())
        return 0.0, ""
    found = values_and_gradients(f, args, where)
    return max(_relative(got, wanted) for (_, got), (_, wanted) in zip(found, expected, strict=True)), ""


def _floating(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The leading arguments: integers come last."""
    return tuple(a for a in args if not (isinstance(a, np.ndarray) and a.dtype.kind in "iu"))


def _relative(got: Host, wanted: Host) -> float:
    scale = float(np.max(np.abs(wanted), initial=0.0)) or 1.0
    return float(np.max(np.abs(got - wanted), initial=0.0)) / scale


def _functions(dtype: str) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Names, functions and arguments; each function also as its own gradient, for the second order."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Host:
        return rng.standard_normal(shape).astype(dtype)

    net = {"w1": normal(4, 8), "b1": normal(8), "w2": normal(8, 3) / 3, "b2": normal(3)}
    first_order: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("network", _network, (net, normal(6, 4), rng.integers(0, 3, 6, dtype=np.int32))),
        ("products", _products, (normal(3, 4), normal(4, 3), normal(3))),
        ("reductions", _reductions, (normal(3, 4),)),
        ("indexing", _indexing, (normal(4, 3), normal(3))),
        ("elementwise", _elementwise, (np.abs(normal(2, 3)) + 0.5, normal(3))),
    ]
    for name, f, args in first_order:
        yield name, f, args
        yield f"{name}, second order", grad(f), args


def _network(net: dict[str, Any], x: Any, labels: Any) -> Any:
    hidden = function("tanh")(function("linear")(x, net["w1"], net["b1"]))
    return function("cross_entropy")(function("linear")(hidden, net["w2"], net["b2"]), labels)


def _products(a: Any, b: Any, v: Any) -> Any:
    xp = a.__array_namespace__()
    return xp.sum((a @ b) * xp.tensordot(v, v, axes=0)) + xp.vecdot(v, (a @ b) @ v) ** 2


def _reductions(x: Any) -> Any:
    xp = x.__array_namespace__()
    return xp.sum(xp.max(x, axis=1) * xp.mean(x * x, axis=1)) + xp.std(x) * xp.prod(x[0, :])


def _indexing(x: Any, v: Any) -> Any:
    xp = x.__array_namespace__()
    y = xp.zeros_like(x)
    y[1::2, :] = x[::2, :] * v
    y[0, :] = v**2
    return xp.sum(y[:, None, 1] * x[..., -1]) + xp.sum(xp.concat([y, x], axis=0) ** 3)


def _elementwise(x: Any, y: Any) -> Any:
    xp = x.__array_namespace__()
    z = xp.log(x) * xp.sin(y) + xp.where(y > 0, x**y, xp.exp(-x * y)) / xp.hypot(x, y)
    return xp.sum(function("logsumexp")(z, axis=-1) + function("gelu")(z)[:, 0])
