"""The processes that a launcher such as mpiexec has started."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
from collections.abc import Mapping

from portagrad.distributed.communicator import Communicator
from portagrad.distributed.link import LEAVES
from portagrad.distributed.routes import Through
from portagrad.errors import DistributedError

SIZES = {
    "PMI_SIZE": "mpiexec of MPICH, Intel MPI or MVAPICH",
    "OMPI_COMM_WORLD_SIZE": "mpiexec of Open MPI",
    "MV2_COMM_WORLD_SIZE": "mpiexec of MVAPICH2",
    "PALS_SIZE": "mpiexec of HPE Cray",
    "SLURM_STEP_NUM_TASKS": "srun",  # SLURM_NTASKS is there in a batch script too, which is one process
}
"""In which variable a launcher tells how many processes it started."""


def world(through: Through = "auto") -> Communicator:
    """All processes of this job: those that ``mpiexec`` started, or this one alone.

    Every rank must call it, as it is a collective operation. Without a launcher, or with one process, neither
    MPI nor mpi4py is needed. A rank whose program ends while others still count on it is told to them.

    Parameters
    ----------
    through : {"auto", "host", "device", "mpi"}
        How arrays of accelerators travel, as for `Communicator`.

    Returns
    -------
    Communicator
        The same one for every call with the same `through`.

    Raises
    ------
    DistributedError
        If a launcher has started several processes and mpi4py is missing, or belongs to another MPI than the
        launcher.

    Examples
    --------
    >>> comm = world()
    >>> comm.rank, comm.size
    (0, 1)
    """
    return _world(through)


@functools.cache
def _world(through: Through) -> Communicator:
    started, launcher = launched(os.environ)
    if started == 1 and "mpi4py.MPI" not in sys.modules:
        return Communicator(through=through)
    try:
        from mpi4py import MPI
    except Exception as error:  # without a library of MPI it is a RuntimeError
        reason = f"{type(error).__name__}: {error}"
        raise DistributedError(
            f"{launcher} has started {started} processes, but mpi4py cannot be imported ({reason}): "
            f"pip install 'portagrad[mpi]', and an MPI, the system's or pip install mpich{_alone()}"
        ) from error
    size = MPI.COMM_WORLD.Get_size()
    if size == 1 and started > 1:
        library = MPI.Get_library_version().partition("\n")[0].partition(",")[0].strip("\0 ")
        raise DistributedError(
            f"{launcher} has started {started} processes, but each is alone: mpi4py uses another MPI, "
            f"{library}; start them with the mpiexec of that one, or install mpi4py for the other{_alone()}"
        )
    if size == 1:
        return Communicator(through=through)
    comm = Communicator(MPI.COMM_WORLD, through=through)
    atexit.register(_leave, comm, os.getpid())
    return comm


def launched(environment: Mapping[str, str]) -> tuple[int, str]:
    """How many processes a launcher has started, by the environment, and which launcher.

    Examples
    --------
    >>> launched({"OMPI_COMM_WORLD_SIZE": "4"}), launched({"SLURM_NTASKS": "4"})
    ((4, 'mpiexec of Open MPI'), (1, 'nobody'))
    """
    told = {who: environment.get(name, "") for name, who in SIZES.items()}
    found = [(int(size), who) for who, size in told.items() if size.isdecimal()]
    if not found and environment.get("PMIX_RANK", "0") != "0":
        return 2, "a launcher of PMIx"  # it tells the rank alone: at least two
    return max(found, default=(1, "nobody"))


def _alone() -> str:
    """The way out for processes that a launcher has started to work each for itself, as by ``srun -n 4``."""
    told = [name for name in (*SIZES, "PMIX_RANK") if name in os.environ]
    return f"; where each is to work alone, start them without {' and '.join(told)} in their environment"


def _leave(comm: Communicator, process: int) -> None:
    """At the end of the program: tell those who still count on this rank."""
    if os.getpid() != process or comm._link.ended or comm._link.mpi.Is_finalized():
        return  # a forked child, or there is nobody left to tell
    with contextlib.suppress(DistributedError):  # raised where it is news
        comm._link.agree((LEAVES,))
