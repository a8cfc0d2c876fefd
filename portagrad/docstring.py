"""The docstrings of public functions, made from their op records."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from portagrad.op import Op

_KNOWN = {
    "x": "array",
    "x1": "array or Python scalar; broadcast with `x2`",
    "x2": "array or Python scalar; broadcast with `x1`",
    "arrays": "arrays; any number",
    "axis": "int",
    "keepdims": "bool; whether reduced axes stay, with length 1",
    "dtype": "dtype; of the result",
    "device": "device; where the result goes",
    "copy": "bool; whether the result has memory of its own: True always, False never, None if need be",
    "shape": "tuple of int; of the result",
    "correction": "float; taken from the number of elements to divide by: 1 gives the unbiased estimate",
    "include_initial": "bool; whether the result of no elements at all comes first",
    "eps": "float; added to the variance before its root divides",
}
"""Arguments that mean the same wherever they occur, as ``type; meaning``."""

_MODES = {
    "elementwise": "Elementwise; differentiable in both modes and to any order.",
    "linear": "Linear: the derivative is the function itself, its pullback the transpose.",
    "bilinear": "Linear in each argument: the pullbacks are products of the same kind.",
    "primitive": "Differentiable in both modes and to any order.",
    "constant": "Without a derivative: the result is a constant.",
    "composite": "Differentiable in both modes and to any order, through the functions it is made of.",
}


def docstring(op: Op, signature: inspect.Signature) -> str:
    """The docstring of an op's public function."""
    standard = f"In the standard since {op.since}." if op.since else "Not in the standard."
    return described(op.doc, signature, _result(op), [_derivative(op), standard])


def described(doc: str, signature: inspect.Signature, result: str, notes: Sequence[str]) -> str:
    """A docstring in numpydoc's sections.

    `doc` opens with the summary, a line. In each line after it, ``name: type; meaning`` describes an argument
    (``returns: type; meaning`` the result, which is else `result`); any other line is a note before `notes`.
    """
    summary, *lines = doc.splitlines()
    told, own = {**_KNOWN, "returns": result}, []
    names = [*signature.parameters, "returns"]
    for line in lines:
        name, colon, text = line.partition(": ")
        if colon and name in names:
            told[name] = text
        else:
            own.append(line)
    sections = [summary, "", "Parameters", "----------"]
    for parameter in signature.parameters.values():
        sections += _argument(parameter, told.get(parameter.name, ""))
    sections += ["", "Returns", "-------", *_entry("", told["returns"])]
    return "\n".join([*sections, "", "Notes", "-----", *own, *notes, ""])


def _argument(parameter: inspect.Parameter, text: str) -> list[str]:
    """The entry of one argument."""
    name, default = parameter.name, parameter.default
    if name == "axis" and text == "int":
        several = "int or tuple of int; the axes"
        text = {None: f"{several}, by default all", parameter.empty: several}.get(default, "int; the axis")
    if parameter.kind is parameter.VAR_POSITIONAL:
        return _entry(f"*{name}", text)
    kind, _, meaning = text.partition("; ")
    given = (
        "" if default is parameter.empty else ", optional" if default is None else f", default {default!r}"
    )
    return _entry(name, f"{kind}{given}; {meaning}")


def _entry(name: str, text: str) -> list[str]:
    kind, _, meaning = text.partition("; ")
    head = f"{name} : {kind}" if name and kind else name or kind
    return [head, f"    {meaning[:1].upper()}{meaning[1:]}."] if meaning else [head]


def _result(op: Op) -> str:
    if op.several:
        return "tuple of arrays"
    if op.kind != "elementwise":
        return "array"
    return "array; shaped as `x`" if len(op.arrays) == 1 else "array; of the broadcast shape"


def _derivative(op: Op) -> str:
    """What differentiation makes of the op, in a sentence or two."""
    if op.kind == "elementwise" and not op.live:
        return "The derivative is 0 wherever there is one, and taken as 0 elsewhere."
    text = _MODES[op.kind]
    still = [name for name, rule in zip(op.arrays, op.pulls, strict=False) if rule is None]
    if op.kind == "constant" or not still:
        return text
    return f"{text} Not with respect to {' and '.join(f'`{name}`' for name in still)}."
