"""NCCL: sums over the GPUs of several processes, from device memory to device memory."""

from __future__ import annotations

from typing import Any

import cupy
from cupy.cuda import nccl

from portagrad.errors import BackendUnavailableError

INSTALL = "pip install nvidia-nccl-cu12, or nvidia-nccl-cu13 for CUDA 13"


class Collectives:
    """This process's part of a NCCL communicator; `Backend.collectives` says what each member does."""

    name = "NCCL"

    def __init__(self, device: Any) -> None:
        if not nccl.available:
            raise BackendUnavailableError(f"CuPy {cupy.__version__} finds no NCCL: {INSTALL}")
        self._device = device
        self.card = cupy.cuda.runtime.deviceGetPCIBusId(device.id)
        self._comm: Any = None
        self._types = {
            "int8": nccl.NCCL_INT8,
            "uint8": nccl.NCCL_UINT8,
            "int32": nccl.NCCL_INT32,
            "uint32": nccl.NCCL_UINT32,
            "int64": nccl.NCCL_INT64,
            "uint64": nccl.NCCL_UINT64,
            "float32": nccl.NCCL_FLOAT32,
            "float64": nccl.NCCL_FLOAT64,
        }

    def invitation(self) -> bytes:
        """The id by which the processes find each other."""
        made: bytes = nccl.get_unique_id()
        return made

    def join(self, rank: int, size: int, invitation: bytes) -> None:
        """Meet the others; returns when all are there."""
        with cupy.cuda.Device(self._device.id):
            self._comm = nccl.NcclCommunicator(size, invitation, rank)

    def sums(self, dtype: str) -> bool:
        """Whether arrays of a dtype can be summed."""
        return _parts(dtype) in self._types

    def all_reduce(self, flat: Any) -> None:
        """Sum a flat array over all processes in place, on the current stream."""
        kind = self._types[_parts(flat.dtype.name)]
        count = flat.size * (2 if flat.dtype.kind == "c" else 1)  # the parts of a complex number add up alone
        stream = cupy.cuda.get_current_stream().ptr
        with cupy.cuda.Device(self._device.id):
            self._comm.allReduce(flat.data.ptr, flat.data.ptr, count, kind, nccl.NCCL_SUM, stream)


def _parts(dtype: str) -> str:
    """The dtype of the real and imaginary part."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
