"""Dask: chunked arrays, computed on demand."""

from importlib.metadata import version

import dask.array
import numpy
from array_api_compat.dask import array as xp

from portagrad.backend import Backend
from portagrad_dask.kernels import kernels


def _parse_device(text: str) -> str:
    if text not in ("", "cpu"):
        raise ValueError(f"Dask arrays have one device, 'dask', not {text!r}")
    return "cpu"


backend = Backend(
    name="dask",
    xp=xp,
    array_types=(dask.array.Array,),
    devices=lambda: ["cpu"],
    parse_device=_parse_device,
    device_name=lambda device: "",
    device_of=lambda x: "cpu",
    put=lambda x, device: x,
    to_numpy=lambda x: numpy.array(x.compute()),
    from_numpy=lambda a, device: xp.asarray(numpy.array(a)),
    kernels=kernels,
    one_device=True,
    lazy=True,
    version=version("dask"),
)
