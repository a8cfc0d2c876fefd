"""Casts and moves: identities whose cotangents go back to where their primals are."""

from typing import Any

from portagrad.device import transfer
from portagrad.op import linear

DTYPE_FUNCTIONS = {
    "can_cast": (
        "(from_, to, /)",
        "Whether values of one data type can be cast to another by the rules of promotion.\n"
        "from_: dtype or array\n"
        "to: dtype\n"
        "returns: bool",
    ),
    "finfo": (
        "(type, /)",
        "Limits of a floating data type.\ntype: dtype or array\nreturns: object; with ``bits``, ``eps``, "
        "``max``, ``min``, ``smallest_normal`` and ``dtype``",
    ),
    "iinfo": (
        "(type, /)",
        "Limits of an integer data type.\ntype: dtype or array\nreturns: object; with ``bits``, ``max``, "
        "``min`` and ``dtype``",
    ),
    "isdtype": (
        "(dtype, kind)",
        "Whether a data type is of a kind.\n"
        "dtype: dtype\n"
        'kind: dtype, str or tuple of these; such as ``"real floating"``\n'
        "returns: bool",
    ),
    "result_type": (
        "(*arrays_and_dtypes)",
        "The data type of a result of these arguments.\n"
        "arrays_and_dtypes: arrays, dtypes and Python scalars\n"
        "returns: dtype",
    ),
}
"""Functions that ask about data types, with signature and docstring."""


def to_device_forward(x: Any, *, device: Any, source: Any, xp: Any) -> Any:
    """Move a raw array to `device`, wherever it is."""
    return transfer(x, device)


astype = linear(  # the engine casts every cotangent to its primal's dtype
    "astype",
    "(x, dtype, /, *, copy=True, device=None)",
    lambda g: g,
    batch="pointwise",
    doc="The values in another data type.\n"
    "copy: bool; whether to copy where the data type is `dtype` already\n"
    "device: device; where the result goes, by default where `x` is",
)
to_device = linear(
    "to_device",
    "(x, /, *, device, source)",
    lambda g, device, source, xp: xp.to_device(g, device=source, source=device),
    forward=to_device_forward,
    moves=True,
    since="",
    batch="trailing",
    doc="The values on another device.\n"
    "device: Device; where the result goes\n"
    "source: Device; where `x` is, to which cotangents return",
)
