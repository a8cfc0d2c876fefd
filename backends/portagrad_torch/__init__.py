"""PyTorch: tensors on CPU, CUDA, MPS and XPU devices."""

from typing import Any

import array_api_compat.torch
import numpy
import torch

from portagrad.backend import Backend, tensors
from portagrad_torch.kernels import kernels


def _devices() -> list[torch.device]:
    found = [torch.device("cpu")]
    for kind in (torch.cuda, torch.xpu):
        if kind.is_available():
            name = kind.__name__.rpartition(".")[2]
            found += [torch.device(name, i) for i in range(kind.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps", 0))
    default = torch.empty(0).device
    return sorted(found, key=lambda device: device != default)


def _parse_device(text: str) -> torch.device:
    known = _devices()
    if not text:
        return known[0]
    for device in known:
        if text in (str(device), device.type):
            return device
    raise ValueError(f"torch's devices here are {', '.join(map(str, known))}, not {text!r}")


def _to_numpy(x: torch.Tensor) -> Any:
    # A tensor that requires torch's own gradient is refused by .numpy(), with torch's advice.
    return numpy.array(x.cpu().resolve_conj().resolve_neg().numpy())


def _from_numpy(a: Any, device: torch.device) -> torch.Tensor:
    # torch takes no negative strides, and would share a host array's memory.
    return torch.from_numpy(numpy.array(a, order="C")).to(device)


backend = Backend(
    name="torch",
    xp=array_api_compat.torch,
    array_types=(torch.Tensor,),
    devices=_devices,
    parse_device=_parse_device,
    device_of=lambda x: x.device,
    put=lambda x, device: x.to(device),
    to_numpy=_to_numpy,
    from_numpy=_from_numpy,
    kernels=kernels,
    own=lambda x: x if 0 not in x.stride() else x.clone(memory_format=torch.contiguous_format),
    out_of_memory=(torch.OutOfMemoryError,),
    version=torch.__version__,
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
