"""Casts and moves: identities whose cotangents go back to where their primals are."""

from typing import Any

from portagrad.device import transfer
from portagrad.op import linear


def to_device_forward(x: Any, *, device: Any, source: Any, xp: Any) -> Any:
    """Move a raw array to `device`, wherever it is."""
    return transfer(x, device)


astype = linear(  # the engine casts every cotangent to its primal's dtype
    "astype",
    "(x, dtype, /, *, copy=True, device=None)",
    lambda g: g,
    doc="The values in another data type.\n"
    "copy: bool; whether to copy where the data type is `dtype` already\n"
    "device: device; where the result goes, by default where `x` is",
)
to_device = linear(
    "to_device",
    "(x, /, *, device, source)",
    lambda g, device, source, xp: xp.to_device(g, device=source, source=device),
    forward=to_device_forward,
    doc="The values on another device.\n"
    "device: Device; where the result goes\n"
    "source: Device; where `x` is, to which cotangents return",
)
