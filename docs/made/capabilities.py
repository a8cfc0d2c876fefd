"""What is differentiable, and tested where."""

from __future__ import annotations

import inspect
from itertools import groupby
from typing import Any

import portagrad as pg
from made.table import derivative, place
from portagrad.namespace import MAKERS
from portagrad.op import TABLE, Op
from portagrad.ops.data_type import DTYPE_FUNCTIONS
from portagrad.testing.trials import DEVICES, ELSEWHERE, GPU, LAWS, SLOW, held

_CAPABILITIES_HEAD = """\
# What is differentiable, and tested where

Function by function and backend by backend, made by `python docs/build.py` from the declarations of the ops
and from what parametrizes their tests (`portagrad.testing.trials`): what stands here is tried, and what is
tried stands here.

- **derivative**: *yes* with respect to every array, or the arguments it is taken by; *zero* where it is 0
  wherever it exists; *no* where the results are integers or booleans, or there is nothing to differentiate.
- **orders**: a rule is itself made of these functions, so derivatives have derivatives of their own: *all*.
- **dtypes**: those that the function is meant for and tried with.
- **vmap**: *at once*, by a batching rule, or one call after the other in a *loop*; *parts* where it is made
  of other functions, by whose rules it goes; *no* where the shape of a result depends on its numbers.
- the backends, and under each the laws that hold there:
"""

_SIGNS = {"values": "V", "forward": "F", "reverse": "R", "precision": "P", "second": "2"}


def capabilities_page() -> str:
    """What is differentiable and tested, as Markdown."""
    backends = [name.partition(":")[0] for name in DEVICES]
    lines = [_CAPABILITIES_HEAD]
    for name, law in LAWS.items():
        less = f"; on {' and '.join(SLOW)} less of it: {law.slow}" if law.slow else ""
        lines.append(f"    - **{_SIGNS[name]}**: {law.claim}, in {', '.join(law.dtypes)}{less}")
    unseen = ", ".join(f"`{name}`" for name, laws in ELSEWHERE.items() if not laws)
    lines += [
        "",
        f"Continuous integration has no GPU: of {', '.join(GPU)}, in brackets, the same tests run on a",
        "machine that has one, by `scripts/gpu-check`, and only there. Where nothing is said of any backend",
        f"({unseen}), compiled functions alone meet the op, and are tested for themselves.",
        "",
    ]
    columns = ("function", "derivative", "orders", "dtypes", "vmap", *backends, *GPU)
    for category, ops in groupby(sorted(TABLE.values(), key=place), key=lambda op: op.category):
        title = category.replace("_", " ")
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for op in ops:
            signs = " ".join(_SIGNS[law] for law in held(op))
            told = [signs] * len(backends) + [signs and f"({signs})"] * len(GPU)
            cells = (f"`{op.name}`", _extent(op), _orders(op), _DTYPES[op.dtypes], _batching(op), *told)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Functions that are no ops", ""]
    lines += [f"- {what}: {', '.join(f'`{name}`' for name in names)}" for what, names in _others().items()]
    return "\n".join([*lines, ""])


_DTYPES = {
    "floating": "real",
    "complex": "complex",
    "inexact": "real, complex",
    "integer": "integer",
    "boolean": "boolean",
    "any": "any",
}


def _extent(op: Op) -> str:
    """With respect to what an op has a derivative."""
    told = derivative(op)
    if told in ("", "0"):
        return "zero" if told else "no"
    return "yes" if len(told.split(", ")) == len(op.arrays) else told


def _orders(op: Op) -> str:
    return "all" if op.differentiable else ""


def _batching(op: Op) -> str:
    if op.ragged:
        return "no"
    return "parts" if op.kind == "composite" else "loop" if op.batch is None else "at once"


def _others() -> dict[str, list[str]]:
    """What is in the public namespaces and is no op."""
    network = [
        f"nn.{name}" for name in pg.nn.__all__ if name not in TABLE and _of_arrays(getattr(pg.nn, name))
    ]
    return {
        "make constants": sorted(MAKERS),
        "pass on what they are given, differentiably": ["asarray"],
        "tell of data types and shapes": sorted([*DTYPE_FUNCTIONS, "broadcast_shapes"]),
        "are written with the ops above, and differentiated through them": sorted(network),
    }


def _of_arrays(value: Any) -> bool:
    """Whether this is a function whose first argument is an array: those have no name to be called by."""
    if not inspect.isfunction(value):
        return False
    first = next(iter(inspect.signature(value).parameters.values()), None)
    return first is not None and first.kind is first.POSITIONAL_ONLY
