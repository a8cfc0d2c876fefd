"""The folder of a run: made fresh, and every file in it whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from portagrad.errors import ConfigError


def fresh_folder(name: str, output: Path | None = None) -> Path:
    """Make a new, empty folder for a run.

    Parameters
    ----------
    name : str
        The folder is ``runs/NAME-1``, or the first number that is free.
    output : Path, optional
        The folder itself; it may exist if it is empty.

    Raises
    ------
    ConfigError
        If the folder cannot be made or is not empty.
    """
    try:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            if any(output.iterdir()):
                raise ConfigError(f"output: the folder {output} is not empty; name a fresh one")
            return output
        number = 1
        while True:
            folder = Path("runs") / f"{name}-{number}"
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        where = output or Path("runs")
        raise ConfigError(f"output: the folder {where} cannot be made ({error.strerror or error})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name beside it; on success it is flushed to the disk and renamed.

    Whoever reads `path`, at any time, sees the old content or the new, never a part.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_line(record: Mapping[str, Any], **options: Any) -> str:
    """A record as JSON; numbers that are not finite, which JSON lacks, become null."""
    return json.dumps(_finite(record), allow_nan=False, ensure_ascii=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    is_finite = not isinstance(value, float) or value - value == 0
    return value if is_finite else None


class Metrics:
    """A file of JSON lines; each is on the disk's side of the process when `write` returns.

    It begins with the `records` that a run has already, and with nothing that was written after them.
    """

    def __init__(self, path: Path, records: Sequence[Mapping[str, Any]] = ()) -> None:
        write_text(path, "".join(json_line(record) + "\n" for record in records))
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, **record: Any) -> None:
        """Append one line."""
        self._file.write(json_line(record) + "\n")
        self._file.flush()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
