"""From a TOML table to a frozen dataclass, every value checked against its annotation."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from portagrad.data.files import nearest, shown

_Section = TypeVar("_Section")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Path: "a path"}


_PLAIN = re.compile(r"[\w.\[\]-]{1,80}", re.ASCII)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Fault(Exception):
    """What is wrong with one key; the reader of the file adds where the key was set."""

    def __init__(self, key: str, text: str) -> None:
        # A key comes from the file, and may be anything.
        super().__init__(f"{key if _PLAIN.fullmatch(key) else shown(key)}: {text}")
        self.key, self.text = key, text


@dataclass(frozen=True)
class Range:
    """The range of a number: ``low <= x <= high``, or without the bound where it is open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, x: float) -> bool:
        above = self.low < x if self.open_low else self.low <= x
        return above and (x < self.high if self.open_high else x <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        high = f"below {self.high:g}" if self.open_high else f"at most {self.high:g}"
        return " and ".join([low] * (self.low > -math.inf) + [high] * (self.high < math.inf))


Positive = Annotated[float, Range(0, open_low=True)]
NotNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]
Count = Annotated[int, Range(1)]


def build(
    section: type[_Section], table: Mapping[str, Any], prefix: str = "", root: type | None = None
) -> _Section:
    """Make the dataclass `section` of a table, and of the tables in it those that its fields name.

    Raises
    ------
    Fault
        At the first key that is unknown, missing, of the wrong type or out of range.
    """
    root = root or section
    annotations = _annotations(section)  # type: ignore[arg-type]
    for name in table:
        if name not in annotations:
            raise Fault(prefix + name, _unknown(name, prefix, section, root))
    values = {}
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        key = prefix + field.name
        if dataclasses.is_dataclass(annotations[field.name]):
            inner = table.get(field.name, {})
            if not isinstance(inner, Mapping):
                raise Fault(key, f"expected a table, [{key}], got {_described(inner)}")
            values[field.name] = build(annotations[field.name], inner, key + ".", root)
        elif field.name in table:
            values[field.name] = _checked(key, table[field.name], annotations[field.name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Fault(key, "missing; there is no default")
    return section(**values)


@functools.cache
def _annotations(section: type) -> dict[str, Any]:
    """Of each field; they are kept as text, which is evaluated once."""
    return get_type_hints(section, include_extras=True)


def keys(section: type, prefix: str = "") -> Iterator[str]:
    """Every key of a configuration, dotted."""
    annotations = _annotations(section)
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(annotations[field.name]):
            yield from keys(annotations[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def _unknown(name: str, prefix: str, section: type, root: type) -> str:
    here = [field.name for field in dataclasses.fields(section)]
    close = nearest(name, here)
    elsewhere = [key for key in keys(root) if key.rpartition(".")[2] == name]
    if elsewhere or close:
        return f"no such key; the nearest is {elsewhere[0] if elsewhere else f'{prefix}{close}'}"
    where = f"[{prefix[:-1]}]" if prefix else "the file"
    return f"no such key; {where} takes {', '.join(here)}"


def _described(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        short = value if len(value) <= 60 else value[:57] + "..."
        return f"the string {json.dumps(short, ensure_ascii=False)}"
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list) else f"{value!s}"


def _checked(key: str, value: Any, annotation: Any) -> Any:
    """`value` as the annotation asks for it."""
    limits = None
    if get_origin(annotation) is Annotated:
        annotation, limits = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _checked(key, value, kinds[0])
        for kind in kinds:
            if type(value) is _type_of(kind):
                return _checked(key, value, kind)
        raise Fault(key, f"expected {' or '.join(map(_named, kinds))}, got {_described(value)}")
    if get_origin(annotation) is Literal:
        return one_of(key, value, get_args(annotation))
    if get_origin(annotation) is tuple:
        if not isinstance(value, list):
            raise Fault(key, f"expected a list, got {_described(value)}")
        inner = get_args(annotation)[0]
        return tuple(_checked(f"{key}[{index}]", item, inner) for index, item in enumerate(value))
    if annotation is Path and isinstance(value, str | Path):
        return Path(value)
    if type(value) is int and abs(value) >= 2**63:
        raise Fault(key, "beyond the numbers of 64 bits")
    if annotation is float and type(value) is int:
        value = float(value)
    if type(value) is not annotation:
        raise Fault(key, f"expected {_KINDS[annotation]}, got {_described(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Fault(key, f"must be finite, got {value}")
    if isinstance(value, str) and _SURROGATE.search(value):  # JSON can spell it, no file can hold it
        raise Fault(key, f"{shown(value)} holds half of a character")
    if limits is not None and value not in limits:
        raise Fault(key, f"must be {limits}, got {_described(value)}")
    return value


def _type_of(kind: Any) -> type:
    """The type that TOML has for what an annotation asks for."""
    origin = get_origin(kind)
    made: type = list if origin is tuple else str if origin is Literal else kind
    return made


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f'"{name}"' for name in get_args(kind))
    return "a list" if get_origin(kind) is tuple else _KINDS[kind]


def one_of(key: str, value: Any, allowed: Sequence[str]) -> Any:
    """`value`, which must be one of some words; the Fault offers them, and the nearest."""
    if value in allowed:
        return value
    offered = ", ".join(f'"{name}"' for name in allowed)
    close = nearest(value, list(allowed)) if isinstance(value, str) else None
    hint = f'; the nearest is "{close}"' if close else ""
    raise Fault(key, f"expected one of {offered}; got {_described(value)}{hint}")
