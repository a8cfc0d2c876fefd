"""Graphs as text: how values, parameters and calls are written."""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import string
from collections.abc import Mapping
from typing import Any

from portagrad.backend import BY_TYPE
from portagrad.op import Op
from portagrad.transforms.tree import is_array

SHOWN_SIZE = 4
"""How many elements a constant may have that is printed."""


def described(v: Any) -> str:
    """Dtype and shape in one word: ``float32[3,4]``."""
    return f"{str(v.dtype).rpartition('.')[2]}[{','.join(map(str, v.shape))}]"


def placed(v: Any) -> str:
    """The same with the device."""
    return f"{described(v)} on {v.device}"


def called(op: Op, args: tuple[Any, ...], params: Mapping[str, Any], names: Mapping[Any, str]) -> str:
    """A call of an op, without parameters that are at their defaults."""
    given = [names[a] if a in names else repr(a) for a in args]
    given += [f"{name}={printed(value)}" for name, value in chosen(op, params).items()]
    return f"{op.name}({', '.join(given)})"


def chosen(op: Op, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not at their defaults."""
    defaults = _defaults(op.signature)

    def plain(name: str, value: Any) -> bool:
        if name not in defaults or type(value) is not type(defaults[name]):
            return False
        return bool(value == defaults[name])

    return {name: value for name, value in params.items() if not plain(name, value)}


@functools.cache
def _defaults(signature: str) -> dict[str, Any]:
    """The defaults in a signature's source."""
    function: Any = ast.parse(f"lambda {signature[1:-1]}: 0", mode="eval").body
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    pairs = [
        *zip(reversed(positional), reversed(given.defaults), strict=False),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    return {name.arg: ast.literal_eval(value) for name, value in pairs if value is not None}


def printed(value: Any) -> str:
    """A parameter or a constant: arrays of a few elements by their numbers, others as ``...``."""
    backend = BY_TYPE[type(value)]
    if backend is not None and math.prod(value.shape) <= SHOWN_SIZE:
        with contextlib.suppress(TypeError):  # of a dtype that NumPy lacks
            return repr(backend.to_numpy(value).tolist())
    if is_array(value):
        return "..."
    if isinstance(value, tuple):
        return f"({', '.join(map(printed, value))}{',' * (len(value) == 1)})"
    return str(value) if isinstance(value, str) or value is None else repr(value)


def letters(i: int) -> str:
    """a ... z, aa, ab, ..."""
    text = ""
    i += 1
    while i:
        i, rest = divmod(i - 1, 26)
        text = string.ascii_lowercase[rest] + text
    return text
