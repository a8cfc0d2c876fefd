"""Opening data files: plain or gzip, read in pieces, every fault a DataError of one line."""

from __future__ import annotations

import contextlib
import difflib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from portagrad.errors import DataError

# What one read asks for: a header that lies about its size costs at most this much memory.
_PIECE = 1 << 22
_SHOWN = 40
_MOST_PATH = 1000


def nearest(word: str, known: list[str]) -> str | None:
    """The known word closest to `word` in spelling, or None when none resembles it.

    Examples
    --------
    >>> nearest("digitz.npz", ["digits.npz", "README.md"])
    'digits.npz'
    """
    by_case = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), list(by_case), n=1, cutoff=0.6)
    return by_case[matches[0]] if matches else None


def hint(word: str, known: list[str]) -> str:
    """The end of a message on a name that is none of the known: the nearest of them, if one is near."""
    close = nearest(word, known)
    return f"; the nearest is {shown(close)}" if close else ""


def is_file(path: Path) -> bool:
    """Whether `path` is a file; what cannot be a path, such as one that is too long, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def missing_file(path: Path) -> str:
    """One line saying that `path` is no file, with the nearest name in its folder or the nearest folder."""
    if not str(path).isprintable() or len(str(path)) > _MOST_PATH:
        return f"{shown(str(path))}: no such file"
    folder = path.parent
    try:
        if path.is_dir():
            return f"{path} is a folder, not a file"
        if not folder.is_dir():
            return f"{path}: no such file; there is no folder {folder}"
    except OSError as error:
        return f"{path}: no such file ({error.strerror})"
    with contextlib.suppress(OSError):
        close = nearest(path.name, [entry.name for entry in folder.iterdir() if entry.is_file()])
        if close is not None:
            return f"{path}: no such file; the nearest in that folder is {close}"
    return f"{path}: no such file"


def shown(text: str) -> str:
    """`text` quoted on one line and cut to a readable length, for a message.

    Examples
    --------
    >>> print(shown("a\\nb"))
    'a\\nb'
    """
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


@contextlib.contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, through gzip where its first two bytes say so.

    Faults of the file system and of the compression that come up while it is open become a DataError.
    """
    if not is_file(path):
        raise DataError(missing_file(path))
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
            raw.seek(0)
            if not start:
                raise DataError(f"{path}: the file is empty")
            if start == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield io.BufferedReader(unpacked)
            else:
                yield raw
    except EOFError:
        raise DataError(f"{path}: the gzip file is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_exactly(file: IO[bytes], size: int) -> bytearray:
    """Up to `size` bytes, in pieces: memory follows what the file holds, not what its header claims."""
    content = bytearray()
    while len(content) < size:
        piece = file.read(min(_PIECE, size - len(content)))
        if not piece:
            break
        content += piece
    return content
