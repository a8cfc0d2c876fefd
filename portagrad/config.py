"""Settings, and where each one came from."""

from __future__ import annotations

import dis
import functools
import os
import re
import sys
import threading
import tomllib
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeVar

from portagrad.errors import ConfigError, Error

_Resolver = TypeVar("_Resolver", bound=Callable[[Any], Any])
Layer = Literal["context", "call", "variable", "file", "default"]

_DEFAULTS: dict[str, Any] = {"device": "cpu", "debug": False}
_FLAGS = {"1": True, "true": True, "yes": True, "on": True} | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
_UNSET: Any = object()


@dataclass(frozen=True)
class Setting:
    """The value of one setting and its source.

    Parameters
    ----------
    name : str
        ``"device"`` or ``"debug"``.
    value : object
        As it was given: the device's name, say, where it comes from a file.
    layer : str
        ``"context"``, ``"call"``, ``"variable"``, ``"file"`` or ``"default"``, strongest first.
    origin : str
        The call with its file and line, the variable, or the file's path and line.
    """

    name: str
    value: Any
    layer: Layer
    origin: str

    def __str__(self) -> str:
        shown = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"{self.name} = {shown} ({self.origin})"


# A setting's value may be a name, such as a device's, that only a later layer can turn into the thing.
_resolvers: dict[str, Callable[[Any], Any]] = {}
_stack: ContextVar[tuple[Override, ...]] = ContextVar("portagrad_settings", default=())
_calls: dict[str, list[_Call]] = {name: [] for name in _DEFAULTS}
_lock = threading.Lock()


def resolver(name: str) -> Callable[[_Resolver], _Resolver]:
    """Decorate the function that turns a setting's given value into what `get` returns."""

    def register(function: _Resolver) -> _Resolver:
        _resolvers[name] = function
        return function

    return register


def get(name: str) -> Any:
    """The value in force of a setting.

    Raises
    ------
    ConfigError, BackendUnavailableError
        If the value makes no sense or cannot be had; the message names its source.

    Examples
    --------
    >>> get("debug")
    False
    """
    return _resolve(setting(name))


@functools.cache
def debugging() -> bool:
    """Whether ``debug`` is on: looked up once and after `configure` or `reload`; every gradient asks."""
    return bool(get("debug"))


def setting(name: str) -> Setting:
    """The setting in force, with its source."""
    return next(layers(name))


def settings() -> dict[str, Setting]:
    """Every setting in force, by name."""
    return {name: setting(name) for name in _DEFAULTS}


def layers(name: str) -> Iterator[Setting]:
    """Every source that sets `name`, the one in force first and the default last."""
    _check_name(name, "portagrad")
    for override in reversed(_stack.get()):
        if override.name == name:
            yield override.inside
    if calls := _calls[name]:
        yield calls[-1].setting
    variable = f"PORTAGRAD_{name.upper()}"
    if text := os.environ.get(variable, ""):
        yield Setting(name, _parse(name, text, variable), "variable", f"the variable {variable}")
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the working folder was removed
        folder = os.sep
    if (found := _file_settings(folder).get(name)) is not None:
        yield found
    yield Setting(name, _DEFAULTS[name], "default", "the default")


def explain(name: str = "device") -> str:
    """One line on the setting in force and where it came from, then one for each source it overrides.

    Examples
    --------
    >>> print(explain("debug"))
    debug = false (the default)
    """
    first, *rest = layers(name)
    return "\n".join([str(first), *(f"  overrides {other}" for other in rest)])


def configure(*, device: Any = _UNSET, debug: Any = _UNSET) -> None:
    """Set process-wide defaults; what is not named stays as it is.

    A ``with pg.use(...)`` block outranks them, and they outrank environment variables and files. Any call
    may be repeated at any time.

    Parameters
    ----------
    device : str, Device or None
        Where new arrays are made. None forgets an earlier choice.
    debug : bool or None
        Whether to spend time on extra checks. None forgets an earlier choice.

    Raises
    ------
    ConfigError
        If a value is of the wrong type or names nothing known; nothing is changed then.
    BackendUnavailableError
        If the device's library or driver is missing; nothing is changed then.

    Examples
    --------
    >>> configure(debug=True)
    >>> get("debug")
    True
    >>> configure(debug=None)
    """
    given = {name: value for name, value in (("device", device), ("debug", debug)) if value is not _UNSET}
    chosen = {}
    for name, value in given.items():
        call = Setting(name, value, "call", f"pg.configure at {place(sys._getframe(1))}")
        chosen[name] = call if value is None else Setting(name, _resolve(call), "call", call.origin)
    with _lock:
        for name, call in chosen.items():
            _calls[name][:] = [] if call.value is None else [_Call(call, None)]
    debugging.cache_clear()


def reload() -> None:
    """Forget what was read from files; the next look-up reads them again.

    A file is read once per working folder, and again after ``os.chdir`` to another.
    """
    _file_settings.cache_clear()
    debugging.cache_clear()


class Override:
    """A choice that holds process-wide when it is only called, and within the block under ``with``.

    A block's choice is local to its thread or asynchronous task; blocks nest, and the choice before is in
    force again after each, however it ends.

    Parameters
    ----------
    name : str
        The setting.
    value : object
        Its value.
    call : str
        The call as the user would write it, e.g. ``"pg.use('cuda')"``.
    frame : frame
        The caller's.
    """

    def __init__(self, name: str, value: Any, call: str, frame: FrameType) -> None:
        origin = f"{call} at {place(frame)}"
        self.name = name
        self.inside = Setting(name, value, "context", f"with {origin}")
        self._call = call
        if not _enters_with(frame):
            _remember(_Call(Setting(name, value, "call", origin), weakref.ref(self)))

    def __enter__(self) -> Any:
        with _lock:
            calls = _calls[self.name]
            calls[:] = [call for call in calls if call.handle is None or call.handle() is not self]
        _stack.set((*_stack.get(), self))
        return self.inside.value

    def __exit__(self, *exception: object) -> None:
        stack = list(_stack.get())
        last = max(i for i, override in enumerate(stack) if override is self)
        _stack.set((*stack[:last], *stack[last + 1 :]))

    def __repr__(self) -> str:
        return f"<{self._call}>"


@dataclass(frozen=True)
class _Call:
    """A process-wide choice; one whose handle lives may yet be withdrawn by entering the handle."""

    setting: Setting
    handle: weakref.ref[Override] | None


def _remember(call: _Call) -> None:
    with _lock:
        calls = _calls[call.setting.name]
        final = [i for i, past in enumerate(calls) if past.handle is None or past.handle() is None]
        # Nothing before the last final choice can come back into force.
        calls[:] = [*calls[final[-1] if final else 0 :], call]


def place(frame: FrameType) -> str:
    """File and line of a frame."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _enters_with(frame: FrameType) -> bool:
    """Whether the caller's next step is to enter a ``with`` block on the value it is about to get.

    Without this a block's choice would be process-wide, and visible to other threads, for the instant between
    the call and the entry. Python 3.11 to 3.13 enter by BEFORE_WITH (BEFORE_ASYNC_WITH), 3.14 by LOAD_SPECIAL
    after a COPY; opcode 0 is CACHE, inline space after an instruction.
    """
    steps = [dis.opname[code] for code in frame.f_code.co_code[frame.f_lasti + 2 :: 2] if code]
    return steps[:1] == ["BEFORE_WITH"] or steps[1:2] == ["LOAD_SPECIAL"]


def _resolve(setting: Setting) -> Any:
    resolve = _resolvers.get(setting.name)
    if resolve is None:
        if type(setting.value) is not type(_DEFAULTS[setting.name]):
            raise ConfigError(_wrong_type(setting.name, setting.value, setting.origin))
        return setting.value
    try:
        return resolve(setting.value)
    except Error as error:
        raise type(error)(f"{setting}: {error}") from error


def _check_name(name: str, where: str) -> None:
    if name not in _DEFAULTS:
        near = get_close_matches(name, _DEFAULTS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_DEFAULTS)}"
        raise ConfigError(f"{where}: unknown setting {name!r}; {hint}")


def _wrong_type(name: str, value: Any, where: str) -> str:
    wanted = "true or false" if name == "debug" else "a device's name, such as 'cuda:0'"
    return f"{where}: {name} must be {wanted}, not {value!r}"


def _parse(name: str, text: str, where: str) -> Any:
    if isinstance(_DEFAULTS[name], bool):
        if text.lower() not in _FLAGS:
            raise ConfigError(f"{where}: {name} must be one of {', '.join(_FLAGS)}, not {text!r}")
        return _FLAGS[text.lower()]
    return text


@functools.cache
def _file_settings(folder: str) -> dict[str, Setting]:
    """The settings of the nearest parent folder that has any; portagrad.toml before pyproject.toml."""
    for parent in (Path(folder), *Path(folder).parents):
        for path, table in ((parent / "portagrad.toml", ""), (parent / "pyproject.toml", "tool.portagrad")):
            if path.is_file() and (found := _read(path, table)) is not None:
                return found
    return {}


def _read(path: Path, table: str) -> dict[str, Setting] | None:
    """The settings of one file; None if it is another tool's."""
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if table and not (isinstance(error, tomllib.TOMLDecodeError) and f"[{table}]" in text):
            return None  # a pyproject.toml that is not for portagrad is not portagrad's to judge
        raise ConfigError(f"{path}: {error}") from error
    for key in filter(None, table.split(".")):
        content = content.get(key)
        if content is None:
            return None
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: [{table}] must be a table, not {content!r}")
    found = {}
    for name, value in content.items():
        line = _line(text, name, table)
        where = f"{path}, line {line}" if line else str(path)
        _check_name(name, where)
        if type(value) is not type(_DEFAULTS[name]):
            raise ConfigError(_wrong_type(name, value, where))
        found[name] = Setting(name, value, "file", where)
    return found


def _line(text: str, name: str, table: str) -> int | None:
    """The number of the line that sets `name` within `table`; None for spellings not worth a parser."""
    header = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            header = found[1]
        elif header == table and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", line):
            return number
    return None
