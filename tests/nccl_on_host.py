"""NCCL's place taken by MPI, and a GPU's by array-api-strict's devices: CuPy's adapter sums without a card.

The adapter's `Collectives` run as they are, on a stand-in for the module ``cupy.cuda.nccl``, whose
communicator finds the memory by its address, as NCCL does.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from portagrad.backend import get_backend

ADAPTER = Path(__file__).resolve().parent.parent / "backends" / "portagrad_cupy"
STREAM = 4711
# Of nccl.h, as CuPy passes them on.
TYPES = {
    "NCCL_INT8": (0, "int8"),
    "NCCL_UINT8": (1, "uint8"),
    "NCCL_INT32": (2, "int32"),
    "NCCL_UINT32": (3, "uint32"),
    "NCCL_INT64": (4, "int64"),
    "NCCL_UINT64": (5, "uint64"),
    "NCCL_FLOAT16": (6, "float16"),
    "NCCL_FLOAT32": (7, "float32"),
    "NCCL_FLOAT64": (8, "float64"),
}
CALLS: list[tuple[str, int]] = []
"""Type and count of each sum."""


class Device:
    """Its own context, as CuPy's."""

    current: ClassVar[list[int]] = [0]

    def __init__(self, id: int) -> None:
        self.id = id

    def __enter__(self) -> None:
        Device.current.append(self.id)

    def __exit__(self, *error: Any) -> None:
        Device.current.pop()


class NcclCommunicator:
    """Sums memory by its address, over MPI."""

    def __init__(self, ndev: int, commId: bytes, rank: int) -> None:
        from mpi4py import MPI

        assert type(commId) is bytes and len(commId) == 128
        assert MPI.COMM_WORLD.allgather(commId) == [commId] * ndev, "the ranks have different ids"
        assert (ndev, rank) == (MPI.COMM_WORLD.Get_size(), MPI.COMM_WORLD.Get_rank())
        assert Device.current[-1] == 1
        self._comm = MPI.COMM_WORLD.Dup()

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        from mpi4py import MPI

        assert sendbuf == recvbuf and op == 0 and stream == STREAM and Device.current[-1] == 1
        name = next(name for number, name in TYPES.values() if number == datatype)
        nbytes = count * np.dtype(name).itemsize
        memory = np.frombuffer((ctypes.c_char * nbytes).from_address(sendbuf), name)
        self._comm.Allreduce(MPI.IN_PLACE, memory, MPI.SUM)
        CALLS.append((name, count))


def adapter(rank: int, available: bool, card: str) -> Any:
    """The class `Collectives` of the adapter, on the stand-in."""
    nccl: Any = types.ModuleType("cupy.cuda.nccl")
    nccl.available = available
    if available:
        for name, (number, _) in TYPES.items():
            setattr(nccl, name, number)
        nccl.NCCL_SUM = 0
        nccl.NcclCommunicator = NcclCommunicator
        nccl.get_unique_id = lambda: bytes([rank]) * 128
    cupy: Any = types.ModuleType("cupy")
    cupy.__version__ = "14.0"
    cupy.cuda = types.ModuleType("cupy.cuda")
    cupy.cuda.nccl = nccl
    cupy.cuda.Device = Device
    cupy.cuda.get_current_stream = lambda: types.SimpleNamespace(ptr=STREAM)
    cupy.cuda.runtime = types.SimpleNamespace(deviceGetPCIBusId=lambda id: f"{card}:{id}")
    package: Any = types.ModuleType("portagrad_cupy")
    package.__path__ = [str(ADAPTER)]
    stand_ins = {"cupy": cupy, "cupy.cuda": cupy.cuda, "cupy.cuda.nccl": nccl, "portagrad_cupy": package}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        sys.modules.pop("portagrad_cupy.nccl", None)
        return importlib.import_module("portagrad_cupy.nccl").Collectives
    finally:
        sys.modules.pop("portagrad_cupy.nccl", None)
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Flat:
    """One of array-api-strict's arrays as CuPy's show themselves."""

    def __init__(self, array: Any) -> None:
        memory = array._array
        assert memory.flags.c_contiguous and memory.ndim == 1
        self.size, self.dtype = memory.size, memory.dtype
        self.data = types.SimpleNamespace(ptr=memory.ctypes.data)


@contextmanager
def nccl(rank: int, available: bool = True, card: str = "0000:65:00") -> Any:
    """Within it array-api-strict's arrays have NCCL."""
    backend, found = get_backend("strict"), adapter(rank, available, card)

    class OfStrict(found):  # type: ignore[misc, valid-type]
        def __init__(self, device: Any) -> None:
            super().__init__(Device(1))

        def all_reduce(self, flat: Any) -> None:
            super().all_reduce(Flat(flat))

    object.__setattr__(backend, "collectives", OfStrict)
    CALLS.clear()
    try:
        yield CALLS
    finally:
        object.__setattr__(backend, "collectives", None)
