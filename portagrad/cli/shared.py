"""What every command shares: its exit codes, its errors as lines, its tables."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from portagrad.errors import (
    BackendUnavailableError,
    CheckpointError,
    ConfigError,
    DataError,
    DistributedError,
    Error,
)

# Exit codes: the run failed; the command, the configuration or the data are wrong; Ctrl-C (128 + SIGINT).
FAILED, WRONG, INTERRUPTED = 1, 2, 130
_WRONG_INPUT = (ConfigError, DataError, CheckpointError, BackendUnavailableError)


@contextmanager
def errors_as_lines(typer: Any, debug: bool) -> Iterator[None]:
    """Turn portagrad's errors into their message and an exit code; with `debug`, let them pass."""
    try:
        yield
    except KeyboardInterrupt as error:
        if debug:
            raise
        if _first_to_tell(error) is not None:
            print("portagrad: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except (Error, OSError, MemoryError) as error:
        first = _first_to_tell(error)
        if debug:
            raise
        wrong = isinstance(error, _WRONG_INPUT)
        text = str(error) or type(error).__name__
        if first is not None:
            print(f"portagrad{first}: {' '.join(text.split()) if wrong else text}", file=sys.stderr)
        raise typer.Exit(WRONG if wrong else FAILED) from None


def _first_to_tell(error: BaseException) -> str | None:
    """Who tells of an error: of several ranks with the same one the first alone, by its number.

    An interruption, which all ranks are told of by themselves, is the first rank's to tell.
    """
    from portagrad.distributed import world

    try:
        comm = world()
        told = comm.failed(error) if isinstance(error, Exception) else comm.rank == 0
    except DistributedError:  # it is what is being told
        return ""
    if not told:
        return None
    return f", rank {comm.rank} of {comm.size}" if comm.size > 1 else ""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as it needs to be, or as the terminal is."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if console.is_terminal:
        console.print(table)
        return
    print("\n".join(line.strip() for line in whole_lines(table)).strip())


def whole_lines(table: Any) -> list[str]:
    """A table's lines for a pipe: not cut to the 80 columns that Rich takes one for, and not padded."""
    from rich.console import Console

    wide = Console(width=Console(width=10_000).measure(table).maximum)
    with wide.capture() as captured:
        wide.print(table)
    return [line.rstrip() for line in captured.get().strip("\n").splitlines()]
