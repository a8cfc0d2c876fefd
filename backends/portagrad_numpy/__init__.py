"""NumPy: arrays in the host's memory."""

from typing import Any

import array_api_compat.numpy
import numpy

from portagrad.backend import Backend, tensors
from portagrad_numpy.indexing import index_add, index_put
from portagrad_numpy.kernels import kernels
from portagrad_numpy.plan import plan
from portagrad_numpy.words import threefry


def _parse_device(text: str) -> str:
    if text not in ("", "cpu"):
        raise ValueError(f"NumPy has one device, 'cpu', not {text!r}")
    return "cpu"


backend = Backend(
    name="numpy",
    xp=array_api_compat.numpy,
    array_types=(numpy.ndarray, numpy.generic),
    devices=lambda: ["cpu"],
    parse_device=_parse_device,
    device_of=lambda x: "cpu",
    put=lambda x, device: x,
    from_numpy=lambda a, device: a,
    kernels={"index_add": index_add, "index_put": index_put, "threefry": threefry, **kernels},
    own=lambda x: x if x.flags.writeable else x.copy(),
    one_device=True,
    plan=plan,
    inlines=(
        *("elu", "gelu", "layer_norm", "leaky_relu", "linear", "log_softmax", "logsumexp", "relu", "sigmoid"),
        *("silu", "softmax", "softplus", "standardize"),
    ),
    numpy_methods=True,
    version=numpy.__version__,
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
