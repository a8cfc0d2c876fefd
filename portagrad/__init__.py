"""portagrad: differentiate code written against the Python array API standard, on any array library."""

from __future__ import annotations

import importlib
from typing import Any

import portagrad.ops  # declares the ops before anything is built from them
from portagrad.backend import Backend
from portagrad.compile.compiled import compile
from portagrad.config import configure
from portagrad.device import Device, current_device, device, devices, use
from portagrad.errors import (
    BackendUnavailableError,
    CheckpointError,
    ConcretizationError,
    ConfigError,
    ConvergenceError,
    DataError,
    DeviceMismatchError,
    DistributedError,
    Error,
    LeakedTraceError,
    NoCounterpartError,
    NonDifferentiableError,
    NonFiniteError,
    OutOfMemoryError,
    SavedValueMutatedError,
)
from portagrad.namespace import EXTENSIONS, asarray, creation, function, namespace
from portagrad.op import TABLE
from portagrad.ops.creation import CREATION, FREQUENCIES
from portagrad.ops.manipulation import broadcast_shapes
from portagrad.tensor import Tensor
from portagrad.transforms.batch import vmap
from portagrad.transforms.check import check_finite
from portagrad.transforms.custom import checkpoint, custom_jvp, custom_vjp, stop_gradient
from portagrad.transforms.equations import Graph
from portagrad.transforms.gradient import grad, value_and_grad, vjp
from portagrad.transforms.graph import graph
from portagrad.transforms.implicit import fixed_point, root
from portagrad.transforms.matrices import hessian, hvp, jacfwd, jacobian, jacrev
from portagrad.transforms.record import no_grad
from portagrad.transforms.tangent import jvp, linearize
from portagrad.transforms.tape import tensor
from portagrad.transforms.tree import to_device

__version__ = "0.1.0"

_TRANSFORMS = [
    "check_finite",
    "checkpoint",
    "compile",
    "custom_jvp",
    "custom_vjp",
    "fixed_point",
    "grad",
    "graph",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "no_grad",
    "root",
    "stop_gradient",
    "tensor",
    "value_and_grad",
    "vjp",
    "vmap",
]
_DEVICES = ["configure", "current_device", "device", "devices", "namespace", "to_device", "use"]
_ERRORS = [
    "BackendUnavailableError",
    "CheckpointError",
    "ConcretizationError",
    "ConfigError",
    "ConvergenceError",
    "DataError",
    "DeviceMismatchError",
    "DistributedError",
    "Error",
    "LeakedTraceError",
    "NoCounterpartError",
    "NonDifferentiableError",
    "NonFiniteError",
    "OutOfMemoryError",
    "SavedValueMutatedError",
]
_MODULES = ["data", "distributed", "nn", "onnx", "optim", "random", "scipy", "testing", "train"]
_INTERNAL = (
    *(
        "cross_entropy_and_slope",
        "cross_entropy_slope",
        "gate",
        "getitem",
        "index_add",
        "index_put",
        "one_hot",
        "put",
    ),
    *("scatter", "standardize", "threefry", "to_device"),
    *("untake", "untake_along_axis"),
)
_FUNCTIONS = [name for name in TABLE if "." not in name and name not in _INTERNAL]

__all__ = [
    *("Backend", "Device", "Graph", "Tensor", "asarray", "broadcast_shapes"),
    *_TRANSFORMS,
    *_DEVICES,
    *_ERRORS,
    *_FUNCTIONS,
    *CREATION,
    *EXTENSIONS,
    *_MODULES,
]


class _Extension:
    """Functions of an extension (``linalg``, ``fft``, ``special``), dispatching on their arguments."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        full = f"{self._prefix}.{name}"
        if full not in TABLE and full not in FREQUENCIES:
            raise AttributeError(f"portagrad.{self._prefix} has no function {name!r}")
        found = function(full) if full in TABLE else creation(full)
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        known = [name.partition(".") for name in (*TABLE, *FREQUENCIES)]
        return sorted(name for prefix, _, name in known if prefix == self._prefix)


def __getattr__(name: str) -> Any:
    """Ops and the heavy modules, on first use."""
    found: Any
    if name in _MODULES:
        found = importlib.import_module(f"portagrad.{name}")
    elif name in _FUNCTIONS:
        found = function(name)
    elif name in CREATION:
        found = creation(name)
    elif name in EXTENSIONS:
        found = _Extension(name)
    else:
        raise AttributeError(f"portagrad has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
