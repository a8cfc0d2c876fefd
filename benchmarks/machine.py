"""What the results were measured on: processor or card, threads, versions of the libraries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "numba", "mkl", "scipy", "torch", "jax", "autograd", "mygrad", "tinygrad", "optree")


def describe(threads: int, device: str) -> dict[str, Any]:
    """For the head of the results."""
    found: dict[str, Any] = {
        "device": device,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "blas": blas(),
        "commit": commit(),
        "versions": versions(),
    }
    if device == "cuda":
        found["card"] = card()
    return found


def processor() -> str:
    """The processor's name, with the widest vectors it has: virtual machines often hide the model."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.+)$", text, re.MULTILINE)
    have = set(flags[1].split()) if flags else set()
    vectors = next((name for name in ("amx_tile", "avx512f", "avx2", "avx") if name in have), "")
    name = " ".join(model[1].split()) if model else platform.machine()
    return f"{name} ({vectors})" if vectors else name


def blas() -> str:
    """The library behind NumPy's matrix products."""
    import numpy as np

    told = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return f"{told['name']} {told['version']}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    installed = {str(d.metadata["Name"]).lower(): d.version for d in importlib.metadata.distributions()}
    for name in sorted(installed):
        if name in LIBRARIES or name == "portagrad" or name.startswith("cupy-cuda"):
            found[name] = installed[name]
    return found


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def card() -> str:
    """The name of the first CUDA device, as its driver gives it."""
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    text, number = ctypes.create_string_buffer(256), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0):
        return ""
    driver.cuDeviceGetName(text, len(text), number)
    return text.value.decode()
