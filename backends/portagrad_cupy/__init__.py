"""CuPy: arrays on CUDA devices."""

from typing import Any

from portagrad.backend import Backend, tensors
from portagrad.errors import BackendUnavailableError

try:
    import array_api_compat.cupy
    import cupy
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("cupy", "cupy_backends"):
        raise
    raise BackendUnavailableError(
        "CuPy is not installed: pip install 'portagrad[cuda12]' for CUDA 12, or 'portagrad[cuda13]' for "
        "CUDA 13; nvidia-smi shows which the driver supports"
    ) from error

from portagrad_cupy.kernels import kernels
from portagrad_cupy.plan import INLINES, plan

_runtime = cupy.cuda.runtime


def _count() -> int:
    try:
        count: int = _runtime.getDeviceCount()
    except _runtime.CUDARuntimeError as error:
        if _runtime.driverGetVersion() == 0:
            raise BackendUnavailableError(
                f"CuPy {cupy.__version__} is installed, but there is no NVIDIA driver: install one, or pass "
                f"the GPU on to the container (docker run --gpus all); nvidia-smi shows whether it works"
            ) from error
        raise BackendUnavailableError(
            f"CuPy {cupy.__version__} is installed, but CUDA does not work: {error}"
        ) from error
    if count == 0:
        raise BackendUnavailableError(
            f"CuPy {cupy.__version__} is installed, but sees no GPU; is CUDA_VISIBLE_DEVICES set to hide it?"
        )
    return count


def _parse_device(text: str) -> Any:
    count = _count()
    number = text.removeprefix("cuda").removeprefix(":") or "0"
    if not number.isdecimal() or int(number) >= count:
        raise ValueError(f"CuPy's devices are {', '.join(f'cuda:{i}' for i in range(count))}, not {text!r}")
    return cupy.cuda.Device(int(number))


def _guard(device: Any) -> Any:
    """CuPy's current device is ambient. A Device is its own context, a fresh one safe in any thread."""
    return cupy.cuda.Device(device.id)


def _copy(x: Any, device: Any) -> Any:
    """An array of NumPy's or of another device, on `device`."""
    with _guard(device):
        return cupy.array(x)


def _collectives(device: Any) -> Any:
    from portagrad_cupy.nccl import Collectives  # which loads NCCL

    return Collectives(device)


backend = Backend(
    name="cupy",
    xp=array_api_compat.cupy,
    array_types=(cupy.ndarray,),
    devices=lambda: [cupy.cuda.Device(i) for i in range(_count())],
    parse_device=_parse_device,
    device_name=lambda device: f"cuda:{device.id}",
    device_of=lambda x: x.device,
    put=_copy,
    to_numpy=cupy.asnumpy,
    from_numpy=_copy,
    guard=_guard,
    kernels=kernels,
    numpy_methods=True,
    plan=plan,
    inlines=INLINES,
    collectives=_collectives,
    out_of_memory=(cupy.cuda.memory.OutOfMemoryError,),
    version=cupy.__version__,
)


def __getattr__(name: str) -> Any:
    """``xp``, the namespace of tensors on this backend."""
    if name == "xp":
        return tensors(backend)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
