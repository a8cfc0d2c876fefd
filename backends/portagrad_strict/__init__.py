"""array-api-strict: the standard to the letter, on three simulated devices."""

from typing import Any

import array_api_strict as strict

from portagrad.backend import Backend, tensors
from portagrad_strict.kernels import kernels

_names = {strict.Device(name): name for name in ("CPU_DEVICE", "device1", "device2")}


def _parse_device(text: str) -> Any:
    for device, name in _names.items():
        if text == name or (text in ("", "cpu") and name == "CPU_DEVICE"):
            return device
    raise ValueError(f"array-api-strict's devices are {', '.join(_names.values())}, not {text!r}")


def _to_numpy(x: Any) -> Any:
    return x._array.copy()  # the public conversions refuse every device but the first


backend = Backend(
    name="strict",
    xp=strict,
    array_types=(type(strict.empty(0)),),
    devices=lambda: list(_names),
    parse_device=_parse_device,
    device_name=_names.__getitem__,
    device_of=lambda x: x.device,
    put=lambda x, device: x.to_device(device),
    to_numpy=_to_numpy,
    from_numpy=lambda a, device: strict.asarray(a, device=device, copy=True),
    kernels=kernels,
    version=strict.__version__,
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
