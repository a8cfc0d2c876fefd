"""What all tests share: the devices they run on, and JAX with its 64-bit types."""

import importlib.util
import os
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # SciPy asks arrays for their namespace; read on import
# The arrays are tiny: what counts is how long XLA takes to compile for each shape.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false",
)
os.environ.setdefault("DASK_SCHEDULER", "synchronous")  # threads are no help with arrays of six elements
if "jax" in sys.modules:
    sys.modules["jax"].config.update("jax_enable_x64", True)

# The same examples on every run: a failure in one place is a failure in all.
settings.register_profile("portagrad", derandomize=True, deadline=None)
settings.load_profile("portagrad")


def pytest_configure(config: pytest.Config) -> None:
    """Every backend that runs anywhere, and CuPy where there is a GPU; a test on an absent one is skipped."""
    config.addinivalue_line("markers", "slow: takes seconds")
    if not config.getoption("--portagrad-devices"):
        from portagrad.testing.trials import DEVICES, GPU  # after JAX has been told of its 64-bit types

        names = [*DEVICES, *(GPU.values() if _has_cuda() else ())]
        config.option.portagrad_devices = ",".join(names)


def _has_cuda() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    from portagrad.backend import get_backend
    from portagrad.errors import BackendUnavailableError

    try:
        return bool(get_backend("cupy").devices())
    except BackendUnavailableError:
        return False
