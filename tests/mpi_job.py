"""How a test starts the ranks of an MPI job."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from required import lacking

ROOT = Path(__file__).resolve().parent.parent
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""What Open MPI wants to be told, for a machine that has it and not MPICH."""


def ranks_of(size: int, *arguments: str, **environment: str) -> dict[str, Any]:
    """What `subprocess` takes to run Python with these arguments on so many ranks, a thread on each.

    The test is skipped where there is no MPI, or fails where CI requires it.
    """
    sys.path.insert(0, str(ROOT))
    from benchmarks.scaling import mpiexec

    if importlib.util.find_spec("mpi4py") is None or mpiexec() is None:
        lacking("mpi", "there is no mpi4py or no mpiexec: pip install 'portagrad[mpi]' mpich")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")])
    return {
        "args": [str(mpiexec()), "-n", str(size), sys.executable, *arguments],
        "env": {**os.environ, **one_thread, **OPEN_MPI, "PYTHONPATH": path, **environment},
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
