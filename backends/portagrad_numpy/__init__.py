"""NumPy: arrays in the host's memory."""

import numpy
from array_api_compat import numpy as xp

from portagrad.backend import Backend
from portagrad_numpy.indexing import index_add, index_put
from portagrad_numpy.kernels import kernels


def _parse_device(text: str) -> str:
    if text not in ("", "cpu"):
        raise ValueError(f"NumPy has one device, 'cpu', not {text!r}")
    return "cpu"


backend = Backend(
    name="numpy",
    xp=xp,
    array_types=(numpy.ndarray, numpy.generic),
    devices=lambda: ["cpu"],
    parse_device=_parse_device,
    device_of=lambda x: "cpu",
    put=lambda x, device: x,
    from_numpy=lambda a, device: a,
    kernels={"index_add": index_add, "index_put": index_put, **kernels},
    one_device=True,
    version=numpy.__version__,
)
