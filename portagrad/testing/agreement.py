"""assert_same_grads: one function on several devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portagrad.backend import KIND
from portagrad.device import Device, device
from portagrad.device import devices as usable
from portagrad.testing.arrays import Host, beside, difference, host, place, precision
from portagrad.testing.gradients import leaf_names
from portagrad.transforms.gradient import vjp
from portagrad.transforms.tree import flatten, is_array, to_device, unflatten


def assert_same_grads(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    devices: Sequence[Device | str] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Assert that a function has the same values and gradients on every device.

    Parameters
    ----------
    f : callable
        Maps pytrees of arrays to a pytree of arrays; written against the array API standard, or with
        portagrad's functions.
    args : tuple of pytrees
        Arrays of any library; they are moved to each device. Integers and booleans, and what is no array,
        are passed on undifferentiated.
    devices : sequence of Device or str, optional
        At least two, the first the one to compare with; by default every usable one, NumPy's first.
    rtol, atol : float, optional
        Tolerances, `rtol` relative to the largest element of each array; by default 1e5 times the precision
        of the dtype, and none.

    Raises
    ------
    AssertionError
        Naming the function, the device, the leaf, what was expected and what was found; also where a result
        or gradient lies on another device, or has another dtype, than it should.
    TypeError
        If `args` is no tuple, or `devices` names fewer than two.

    Examples
    --------
    >>> def f(x, y):
    ...     xp = x.__array_namespace__()
    ...     return xp.sum(xp.sin(x) * y)
    >>> assert_same_grads(f, (np.ones(3), np.arange(3.0)), devices=["numpy", "cpu"])
    """
    if not isinstance(args, tuple):
        raise TypeError(f"assert_same_grads: args is a {type(args).__name__}; pass a tuple, such as (x,)")
    places = [device(d) for d in devices] if devices is not None else list(usable())
    if len(places) < 2:
        names = ", ".join(map(str, places)) or "none"
        raise TypeError(f"assert_same_grads: needs two devices to compare, got {names}")
    first, *others = places
    name = str(getattr(f, "__name__", type(f).__name__))
    expected = values_and_gradients(f, args, first)
    for other in others:
        found = values_and_gradients(f, args, other)
        if [label for label, _ in found] != [label for label, _ in expected]:
            raise AssertionError(f"{name}: the result has another structure on {other} than on {first}")
        for (label, got), (_, wanted) in zip(found, expected, strict=True):
            tolerance = 1e5 * max(_precision(got), _precision(wanted)) if rtol is None else rtol
            wrong = difference(got, wanted, tolerance, atol or 0.0)
            if wrong:
                raise AssertionError(f"{name}: {label} on {other} is not that on {first}\n{wrong}")


def values_and_gradients(
    f: Callable[..., Any], args: tuple[Any, ...], where: Device
) -> list[tuple[str, Host]]:
    """The leaves of the result and of its pullback of a fixed cotangent, on the host, with their names.

    Raises
    ------
    AssertionError
        If one of them is not where it should be, or not of its primal's dtype.
    """
    leaves, structure = flatten(to_device(args, where))
    names = leaf_names(args, "argument")
    active = [i for i, x in enumerate(leaves) if is_array(x) and KIND[x.dtype]]

    def of_active(*xs: Any) -> Any:
        full = list(leaves)
        for i, x in zip(active, xs, strict=True):
            full[i] = x
        return f(*unflatten(structure, full))

    y, pullback = vjp(of_active, *[leaves[i] for i in active])
    outs, outer = flatten(y)
    rng = np.random.default_rng(0)
    gs = [beside(rng.uniform(0.5, 1.5, tuple(x.shape)), x) if is_array(x) else x for x in outs]
    cotangents = pullback(unflatten(outer, gs))
    found = []
    for label, x in zip(leaf_names(y, "result"), outs, strict=True):
        if is_array(x):
            _check_place(f"{label} of the function", x, where)
        found.append((label, host(x)))
    for i, c in zip(active, cotangents, strict=True):
        label = f"the gradient by {names[i]}"
        _check_place(label, c, where)
        if c.dtype != leaves[i].dtype:
            raise AssertionError(f"{label} is {c.dtype}, the argument {leaves[i].dtype}")
        found.append((label, host(c)))
    return found


def _check_place(label: str, x: Any, where: Device) -> None:
    if place(x) != where:
        raise AssertionError(f"{label} is on {place(x)}, its arguments on {where}")


def _precision(a: Host) -> float:
    return precision(a) if a.dtype.kind in "fc" else 0.0
