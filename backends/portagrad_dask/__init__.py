"""Dask: chunked arrays, computed on demand."""

from importlib.metadata import version
from typing import Any

import array_api_compat.dask.array
import dask.array
import numpy

from portagrad.backend import Backend, tensors
from portagrad_dask.kernels import kernels


def _parse_device(text: str) -> str:
    if text not in ("", "cpu"):
        raise ValueError(f"Dask arrays have one device, 'dask', not {text!r}")
    return "cpu"


backend = Backend(
    name="dask",
    xp=array_api_compat.dask.array,
    array_types=(dask.array.Array,),
    devices=lambda: ["cpu"],
    parse_device=_parse_device,
    device_name=lambda device: "",
    device_of=lambda x: "cpu",
    put=lambda x, device: x,
    to_numpy=lambda x: numpy.array(x.compute()),
    from_numpy=lambda a, device: array_api_compat.dask.array.asarray(numpy.array(a)),
    kernels=kernels,
    one_device=True,
    lazy=True,
    numpy_methods=True,
    version=version("dask"),
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
