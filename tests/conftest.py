"""What all tests share: the devices they run on, JAX with its 64-bit types, and who runs what."""

import functools
import gc
import importlib
import importlib.util
import os
import re
import sys
from typing import Any

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

# A worker each: their tests share a cluster, a browser, a run or a wheel, which takes seconds to make.
SHARING = ("test_cli_tools.py", "test_dask_cluster.py", "test_packaging.py", "test_report.py")

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that no worker begins one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """The collector need not walk the modules and the items, which live until the end, again and again."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    if "jax" in sys.modules:
        _share_the_context_of_programs()


@functools.cache
def _share_the_context_of_programs() -> None:
    """One for each program, with all of MLIR's dialects loaded, is a fifth of what compiling an op takes."""
    mlir = importlib.import_module("jax._src.interpreters.mlir")
    if make := getattr(mlir, "make_ir_context", None):  # JAX's own affair: another version may have no such
        mlir.make_ir_context = functools.cache(make)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``, a worker for each test function, one for all of JAX, and one for all jobs of MPI.

    JAX compiles every program once for each process: what one test has compiled, the others find there. Two
    jobs at once would have more ranks than cores, and wait for each other's. xdist begins with the
    largest groups; of tests that are alone, the slow ones come first (`pytest_collection_modifyitems`).
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFunction(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].rpartition("/")[2]
            if file in ("test_distributed.py", "test_train_ranks.py"):
                return "ranks"
            if file in SHARING:
                return file
            function, _, parameters = nodeid.partition("[")
            return "jax" if "jax" in re.split(r"[-:\]]", parameters) else function

    return ByFunction(config, log)


def _has_cuda() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    from portagrad.backend import get_backend
    from portagrad.errors import BackendUnavailableError

    try:
        return bool(get_backend("cupy").devices())
    except BackendUnavailableError:
        return False


@pytest.fixture
def anew(monkeypatch):
    """Declares an op anew for one test, with other fields perhaps: what was derived from it is forgotten."""

    def anew(op, **fields):
        for name, value in {**fields, "kernels": {}, "recipes": {}, "paths": {}}.items():
            monkeypatch.setattr(op, name, value)

    return anew
