"""What one rank of a job does: ``mpiexec -n N python tests/ranks.py CHECK...``, see test_distributed.py.

Each check runs on all ranks and asserts; rank 0 prints its name when all have passed it.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("JAX_ENABLE_X64", "1")

import rank_faults  # noqa: F401  the checks, which are found by their names
import rank_gradients  # noqa: F401
import rank_libraries  # noqa: F401
import rank_sums  # noqa: F401
from rank_checks import CHECKS

import portagrad as pg


def main() -> None:
    comm = pg.distributed.world()
    for name in sys.argv[1:]:
        try:
            CHECKS[name](comm)
        except AssertionError as error:
            error.add_note(f"in {name}, rank {comm.rank} of {comm.size}")
            with comm.guarded():
                raise
        comm.barrier()
        if comm.rank == 0:
            print("passed", name, flush=True)


if __name__ == "__main__":
    main()
