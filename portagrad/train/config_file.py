"""The configuration as a TOML file: reading it, overriding it, writing it."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.data.files import is_file, missing_file, shown
from portagrad.device import Device
from portagrad.errors import ConfigError
from portagrad.train.config import SECOND_FILES, Config
from portagrad.train.consistency import check, check_own, idle_keys, present
from portagrad.train.schema import Fault, build

_BARE_POINT = re.compile(r"[+-]?(\.\d+|\d+\.)([eE][+-]?\d+)?")
# A key of so many parts that reading it, whose time grows with their square, would not end.
_DEEP = re.compile(r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){1000}""")
_MOST_TEXT = 1 << 20  # tables take some hundred times their text
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    output: str | Path | None = None,
) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    path : str or Path
        A TOML file. Paths in it are relative to its folder.
    overrides : sequence of str
        Settings that replace the file's, each ``"section.key=value"`` with a TOML value; a value that is no
        TOML is taken as a string. Paths in them are relative to the working folder.
    device : str, optional
        Replaces ``device``.
    output : str or Path, optional
        Replaces ``output``; relative to the working folder.

    Raises
    ------
    ConfigError
        At the first fault, in one line with the key, its source and, for a misspelling, the nearest key.

    Examples
    --------
    >>> config = load_config("examples/digits.toml", ["optimizer.lr=0.01"])
    >>> config.optimizer.lr
    0.01
    """
    config = read_config(path, overrides, device=device, output=output)
    if config.data.path is None:
        raise ConfigError(f"{path}: data.path: missing; there is no default")
    return config


def read_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    output: str | Path | None = None,
) -> Config:
    """As `load_config`; also of a run of `train.fit`, which names no data."""
    path = Path(path)
    table = _read_toml(path)
    sources = dict.fromkeys(_dotted(table), str(path))
    _anchor(table, path.parent)
    for override in overrides:
        key, value = _parse_override(override)
        _insert(table, key, value, f"--set {override}")
        for changed in (key, *(f"{key}.{inner}" for inner in _dotted({"": value}) if inner)):
            sources[changed] = f"--set {override}"
    for key, flag in (("device", device), ("output", output)):
        if flag is not None:
            table[key], sources[key] = flag, f"--{key}"
    try:
        config = build(Config, table)
        check(config)
    except Fault as fault:
        source = _source(sources, fault.key, path)
        named = source == f"--{fault.key}" or source.startswith(f"--set {fault.key}=")
        text = fault.text if named else str(fault)
        raise ConfigError(f"{source}: {text}") from None
    return config


def dump_config(config: Config) -> str:
    """The configuration as the text of a TOML file; keys that are not set are left out.

    Parameters
    ----------
    config : Config

    Examples
    --------
    >>> from portagrad.train.config import DataConfig
    >>> print(dump_config(Config(data=DataConfig(path=Path("x.npz"))))[:31])
    seed = 0
    <BLANKLINE>
    [data]
    path = "x.npz"
    """
    lines, sections = [], []
    idle = idle_keys(config)
    for name, value in present(config):
        if dataclasses.is_dataclass(value):
            keys = [pair for pair in present(value) if f"{name}.{pair[0]}" not in idle]
            sections += [f"\n[{name}]", *(f"{key} = {toml_value(inner)}" for key, inner in keys)]
        else:
            lines.append(f"{name} = {toml_value(value)}")
    return "\n".join(lines + sections) + "\n"


def checked(config: Config, *, own: bool = False) -> Config:
    """A configuration that was made in Python, after every check that a file's passes.

    Values are taken as a file has them: lists for tuples, NumPy's numbers for Python's, whole numbers for
    those that need not be. `own` says that the model and the data are given, as to `train.fit`.

    Raises
    ------
    TypeError
        If it is no Config.
    ConfigError
    """
    if not isinstance(config, Config):
        raise TypeError(f"config is {type(config).__name__}; give a train.Config, such as load_config reads")
    try:
        found = build(Config, _plain(config))
        if own:
            check_own(found)
        check(found)
    except Fault as fault:
        raise ConfigError(str(fault)) from None
    return found


def _plain(value: Any) -> Any:
    """A section as a table, and a value as TOML has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Device):
        return {name: _plain(inner) for name, inner in present(value)}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path | Device) else value


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_toml(path: Path) -> dict[str, Any]:
    if not is_file(path):
        raise ConfigError(missing_file(path))
    try:
        size = path.stat().st_size
        text = path.read_bytes().decode("utf-8-sig") if size <= _MOST_TEXT else ""
        deep = _DEEP.search(text)
        table = tomllib.loads(text) if deep is None else {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except (OSError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if size > _MOST_TEXT:
        raise ConfigError(f"{path}: {size} bytes are too many for a configuration")
    if deep is not None:
        raise ConfigError(f"{path}: a key of a thousand parts, {shown(deep[0])}")
    return table


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}." if prefix + key else "")


def _source(sources: Mapping[str, str], key: str, path: Path) -> str:
    """Where a key was set: the key's own source, or that of the table or list that holds it."""
    key = key.partition("[")[0]
    while key not in sources and "." in key:
        key = key.rpartition(".")[0]
    return sources.get(key, str(path))


def _anchor(table: dict[str, Any], folder: Path) -> None:
    """Make the paths of a file relative to its folder."""
    if isinstance(table.get("output"), str):
        table["output"] = folder / table["output"]
    data = table.get("data")
    if not isinstance(data, dict):
        return
    for key in ("path", "test_path"):
        if isinstance(data.get(key), str):
            data[key] = folder / data[key]
    # The labels of an IDX file are a path, of other files a name; only an existing file can be the former.
    for key in SECOND_FILES:
        if isinstance(data.get(key), str) and is_file(folder / data[key]):
            data[key] = str(folder / data[key])


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(f"--set {shown(text)}: expected key=value, such as optimizer.lr=0.01")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        # TOML wants digits on both sides of the point; a shell user may leave one side out.
        return key, float(value) if _BARE_POINT.fullmatch(value) else value
    return key, parsed["value"] if len(parsed) == 1 else value


def _insert(table: dict[str, Any], key: str, value: Any, source: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{source}: {key}: {section} is not a table")
    table[name] = value
