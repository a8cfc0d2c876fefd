"""Indexing by arrays that belong to a trace: they are arguments of the op, not part of its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import ConcretizationError
from portagrad.op import TABLE, Op
from portagrad.ops.indexing import Slot
from portagrad.trace import Traced, apply


def apply_at(op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """Apply an op that takes an index.

    Constant arrays of the index stay in it. One that a trace does not let go (an input of a graph, one number
    for each example of a batch) leaves a `Slot` behind and becomes an argument of the op ``indexed``. A mask
    selects an unknown number of elements; only an assignment to them need not know how many.
    """
    key = params["key"]
    parts = key if isinstance(key, tuple) else (key,)
    arrays: list[Any] = []
    template: list[Any] = []
    for part in parts:
        if isinstance(part, Traced) and not part.trace.plain and _is_integer(part):
            template.append(Slot(len(arrays)))
            arrays.append(part)
        elif isinstance(part, Traced):
            if not part.trace.plain and _is_mask(part):
                if op.name == "index_put" and _fills(parts, part, args):
                    return _where(part, *args)
                raise ConcretizationError(
                    f"indexing by a mask: how many elements it selects depends on the numbers in it, and it "
                    f"{part.trace.unplain}. To assign one number, x[mask] = 0.0, works; so does xp.where"
                )
            template.append(part.concrete("an index"))  # type: ignore[attr-defined]
        else:
            template.append(part)
    whole = tuple(template) if isinstance(key, tuple) else template[0]
    if not arrays:
        return apply(op, args, {**params, "key": whole})
    return apply(TABLE["indexed"], (*args, *arrays), {"shape": None, **params, "of": op.name, "key": whole})


def _is_integer(x: Any) -> bool:
    return not KIND[x.dtype] and not _is_mask(x)


def _is_mask(x: Any) -> bool:
    return "bool" in str(x.dtype)  # the name in every library


def _fills(parts: tuple[Any, ...], mask: Any, args: tuple[Any, ...]) -> bool:
    """Whether an assignment by a mask gives the same to every element, or to every element of a row."""
    x, value = args
    rest = len(x.shape) - len(mask.shape)
    alone = len(parts) == 1 or (len(parts) == 2 and parts[0] is mask and parts[1] is ...)
    return alone and len(getattr(value, "shape", ())) <= rest


def _where(mask: Any, x: Any, value: Any) -> Any:
    """``x[mask] = value``, whatever the mask."""
    shape = (*mask.shape, *[1] * (len(x.shape) - len(mask.shape)))
    if shape != tuple(mask.shape):
        mask = apply(TABLE["reshape"], (mask,), {"shape": shape, "copy": None})
    if getattr(value, "dtype", x.dtype) != x.dtype:
        value = apply(TABLE["astype"], (value,), {"dtype": x.dtype, "copy": True})
    return apply(TABLE["where"], (mask, value, x))
