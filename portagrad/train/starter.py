"""A configuration to start from, written from what the configuration's own classes say."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from portagrad.data import read, read_regression
from portagrad.data.files import is_file, missing_file
from portagrad.errors import ConfigError, DataError
from portagrad.train.config import LOSSES, Config
from portagrad.train.config_file import toml_value
from portagrad.train.run_folder import replacing
from portagrad.train.schema import Fault, one_of

_WIDTH = 100
_EXAMPLE = "data.npz"


def starter(data: str | Path | None = None, *, task: str = "classification") -> str:
    """The text of a commented configuration: every key with its default and a word on it.

    Parameters
    ----------
    data : str or Path, optional
        A file of examples; what is found in it is noted beside ``path``.
    task : str
        ``"classification"`` or ``"regression"``.

    Raises
    ------
    ConfigError
        If there is no such task.
    DataError
        If the file is missing or no data.

    Examples
    --------
    >>> text = starter("examples/data/digits.npz")
    >>> "1797 examples of 64 features in 10 classes" in text
    True
    """
    return _text(data, str(data or _EXAMPLE), task)


def _text(data: str | Path | None, path: str, task: str) -> str:
    """The configuration for a file, which it calls `path`."""
    try:
        one_of("task", task, list(LOSSES))
    except Fault as fault:
        raise ConfigError(str(fault)) from None
    if data is not None and not is_file(Path(data)):
        raise DataError(missing_file(Path(data)))
    given = {"path": path, "task": task}
    found = (
        _found(Path(data), task) if data is not None else "# NPZ, CSV or IDX files; relative to this file."
    )
    lines = [
        "# A training run: portagrad train THIS_FILE. Keys behind a # are not set.",
        "",
    ]
    sections = []
    hints = get_type_hints(Config, include_extras=True)
    words = described(Config)
    for field in dataclasses.fields(Config):
        kind = hints[field.name]
        if not dataclasses.is_dataclass(kind):
            lines += _key(field, kind, words, {})
            continue
        sections += ["", f"[{field.name}]"]
        if field.name == "data":
            sections.append(found)
        for inner in dataclasses.fields(kind):
            known = given if field.name == "data" else {}
            types = get_type_hints(kind, include_extras=True)
            sections += _key(inner, types[inner.name], described(hints[field.name]), known)
    return "\n".join(_once([*lines, *sections])) + "\n"


def write_starter(
    path: str | Path,
    data: str | Path | None = None,
    *,
    task: str = "classification",
    force: bool = False,
) -> None:
    """Write `starter` to a file; one that is there already stays, unless `force` is given.

    Parameters
    ----------
    path : str or Path
    data : str or Path, optional
        Written relative to the file's folder.
    task : str
        As for `starter`.
    force : bool

    Raises
    ------
    ConfigError
        If the file exists, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; name another file, or give --force")
    near = os.path.relpath(Path(data).resolve(), path.resolve().parent) if data is not None else _EXAMPLE
    text = _text(data, near, task)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from None


def _found(data: Path, task: str) -> str:
    """A comment on what is in a file."""
    try:
        if task == "regression":
            told = read_regression(data)
            ends = zip(told.names, told.targets.min(axis=0), told.targets.max(axis=0), strict=True)
            targets = ", ".join(f"{name} from {low:g} to {high:g}" for name, low, high in list(ends)[:10])
            return f"# {len(told)} examples of {told.features} features; targets: {' '.join(targets.split())}"
        whole = read(data)
    except DataError as error:
        # Such a file may need a key, for example the name of its labels: the error says which.
        return f"# As it stands: {' '.join(str(error).split())}"
    names = ", ".join(whole.names[:10]) + (", ..." if whole.classes > 10 else "")
    return f"# {len(whole)} examples of {whole.features} features in {whole.classes} classes: {names}"


def _once(lines: list[str]) -> Iterator[str]:
    """Lines without a comment that says of the next key what was said of the one before."""
    said: list[str] = []
    pending: list[str] = []
    for line in lines:
        if line.startswith("# ") and not line.endswith(" ="):
            pending.append(line)
            continue
        yield from pending if pending != said else []
        said, pending = pending, []
        yield line


def _key(
    field: dataclasses.Field[Any], kind: Any, words: Mapping[str, str], given: Mapping[str, Any]
) -> Iterator[str]:
    """The lines of one key: a word on it, then the key with its value."""
    word = words.get(field.name, "")
    offered = list(_offered(kind))
    if any(value not in word for value in offered):
        word = " ".join(filter(None, (word, f"One of {', '.join(offered)}.")))
    if word:
        yield from (f"# {line}" for line in textwrap.wrap(word, _WIDTH))
    value = given.get(field.name, field.default)
    if value is None:
        yield f"# {field.name} ="
    else:
        yield f"{field.name} = {toml_value(value)}"


def _offered(kind: Any) -> Iterator[str]:
    """The values that a key may have, where these are few words."""
    if get_origin(kind) is Literal:
        yield from map(toml_value, get_args(kind))
    elif get_origin(kind) is not None and get_origin(kind) is not Annotated:
        for part in get_args(kind):
            yield from _offered(part)


def described(section: type) -> dict[str, str]:
    """What the docstring of a section says of each key."""
    text = inspect.getdoc(section) or ""
    words: dict[str, str] = {}
    listed = re.split(r"^-+$", text.partition("\nAttributes\n")[2].partition("\nExamples\n")[0], flags=re.M)[
        -1
    ]
    for entry in re.finditer(r"^(\S[^\n]*)\n?((?:    [^\n]*\n?)*)", listed, re.M):
        head, body = entry[1], " ".join(entry[2].split())
        for name in head.partition(" : ")[0].split(","):
            words[name.strip()] = body.replace("``", "")
    return words
