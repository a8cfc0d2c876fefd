"""How each library is set up and used: its arrays, its device, and what it takes to wait for a result."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import portagrad as pg
from benchmarks.case import NotHere

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def configure(threads: int, device: str) -> None:
    """The same number of threads for every library, before any of them is imported.

    Libraries read how many threads to start from these variables, or start one for each core that the process
    may use; XLA on a CPU only does the latter, so the process is kept to so many cores where there are more.
    """
    for name in THREADS:
        os.environ[name] = str(threads)
    os.environ["NPROC"] = str(threads)  # XLA's
    os.environ["NUM_CPU_THREADS"] = str(threads)  # tinygrad's
    os.environ.pop("OPENBLAS_CORETYPE", None)  # every BLAS picks its kernels itself
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the GPU is shared with the others
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes beside what is timed
    os.environ.setdefault("JAX_PLATFORMS", "cpu" if device == "cpu" else "cuda,cpu")
    os.environ["DEV"] = "CPU" if device == "cpu" else "CUDA"  # tinygrad's
    if device == "cpu" and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def nothing(result: Any) -> None:
    """The library is done when its function returns."""


def on_a_cpu(device: str) -> None:
    if device != "cpu":
        raise NotHere("runs on CPUs only")


def torch() -> Any:
    """torch, with the threads of the others."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    return torch


def torch_arrays(device: str, arrays: Sequence[Any]) -> list[Any]:
    library = torch()
    if device == "cuda" and not library.cuda.is_available():
        raise NotHere("torch finds no CUDA device")
    return [library.from_numpy(np.array(a)).to(device) for a in arrays]


def torch_wait(device: str) -> Callable[[Any], object]:
    return nothing if device == "cpu" else lambda result: torch().cuda.synchronize()


def torch_read(x: Any) -> Any:
    return x.detach().cpu().numpy()


def jax_arrays(device: str, arrays: Sequence[Any]) -> list[Any]:
    import jax

    try:
        place = jax.devices(device)[0]
    except RuntimeError as error:
        raise NotHere(f"JAX finds no {device} device: {error}") from error
    return [jax.device_put(a, place) for a in arrays]


def pg_device(library: str, device: str) -> Any:
    """portagrad's device for a library on a CPU or a GPU; ``""`` is NumPy's or CuPy's."""
    names = {
        ("", "cpu"): "cpu",
        ("", "cuda"): "cuda",
        ("torch", "cpu"): "torch:cpu",
        ("torch", "cuda"): "torch:cuda:0",
        ("jax", "cpu"): "jax:cpu:0",
        ("jax", "cuda"): "jax:cuda:0",
    }
    try:
        return pg.device(names[library, device])
    except (pg.Error, RuntimeError, ValueError) as error:  # RuntimeError is JAX's, of a platform
        raise NotHere(str(error)) from error


def pg_wait(library: str, device: str) -> Callable[[Any], object]:
    """Waits as the library underneath is waited for."""
    if library == "torch":
        return torch_wait(device)
    if library == "jax":
        import jax

        return lambda result: jax.block_until_ready(result)
    if device == "cuda":
        import cupy

        return lambda result: cupy.cuda.Device().synchronize()
    return nothing


def pg_read(x: Any) -> Any:
    return np.asarray(pg.to_device(x, "cpu"))


def cupy(device: str) -> Any:
    """CuPy, where a device is."""
    if device != "cuda":
        raise NotHere("CuPy runs on CUDA devices only")
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotHere(f"CuPy finds no CUDA device: {error}") from error
    if not count:
        raise NotHere("CuPy finds no CUDA device")
    return cupy
