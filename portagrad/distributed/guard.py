"""What happens to a job when one of its ranks fails: it ends, and says why."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from portagrad.errors import Error

INTERRUPTED = 130
"""Exit status after Ctrl-C, 128 and the signal's number."""


@contextlib.contextmanager
def ending_all(comm: Any) -> Iterator[None]:
    """End all ranks of an MPI communicator on an exception that leaves the block; SystemExit passes."""
    try:
        yield
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # In one piece, so that the lines of several ranks do not mix.
        sys.stderr.write(last_words(error, comm.Get_rank(), comm.Get_size()))
        sys.stderr.flush()
        sys.stdout.flush()
        comm.Abort(INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1)
        raise


def last_words(error: BaseException, rank: int, size: int) -> str:
    """What a rank says before it ends all others: the error, with its traceback where it is none of ours."""
    if isinstance(error, KeyboardInterrupt):
        return f"rank {rank} of {size}: interrupted; all ranks end\n"
    trace = "" if isinstance(error, Error) else "".join(traceback.format_exception(error))
    return f"{trace}rank {rank} of {size}: {type(error).__name__}: {error}; all ranks end\n"
