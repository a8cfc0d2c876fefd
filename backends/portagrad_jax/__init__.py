"""JAX: immutable arrays, and tracers inside ``jax.jit``."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy

from portagrad.backend import Backend, tensors
from portagrad_jax.kernels import kernels
from portagrad_jax.plan import plan

_config: Any = jax.config


def _devices() -> list[Any]:
    found = [*jax.devices(), *jax.devices("cpu")]
    chosen = _config.jax_default_device  # a device, a platform's name, or None
    default = jax.devices(chosen)[0] if isinstance(chosen, str) else chosen or found[0]
    return list(dict.fromkeys([default, *found]))


def _parse_device(text: str) -> Any:
    known = _devices()
    if text == "traced":
        return None
    for device in known:
        if text in ("", device.platform, str(device), _device_name(device)):
            return device
    raise ValueError(f"JAX's devices here are {', '.join(map(_device_name, known))}, not {text!r}")


def _device_name(device: Any) -> str:
    if device is None:
        return "traced"
    return f"{device.platform}:{device.id}" if isinstance(device, jax.Device) else str(device)


def _device_of(x: Any) -> Any:
    """The device, or the sharding of an array on several; None for a tracer, which jit places."""
    return None if isinstance(x, jax.core.Tracer) else x.device


def _from_numpy(a: Any, device: Any) -> Any:
    made = jnp.array(a, device=device)
    if made.dtype != a.dtype:
        raise TypeError(
            f"JAX holds no {a.dtype} unless 64-bit types are switched on: set JAX_ENABLE_X64=1 or call "
            f"jax.config.update('jax_enable_x64', True) first, or convert to {made.dtype}"
        )
    return made


backend = Backend(
    name="jax",
    xp=jnp,
    array_types=(jax.Array, jax.core.Tracer),
    devices=_devices,
    parse_device=_parse_device,
    device_name=_device_name,
    device_of=_device_of,
    plan=plan,
    put=jax.device_put,
    to_numpy=numpy.array,  # numpy.asarray would give a read-only view
    from_numpy=_from_numpy,
    kernels=kernels,
    numpy_methods=True,
    version=jax.__version__,
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
