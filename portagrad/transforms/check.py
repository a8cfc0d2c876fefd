"""check_finite: find the op that made a NaN."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import NonFiniteError
from portagrad.kernel import namespace
from portagrad.op import Op
from portagrad.tensor import CONSTANT, Tensor, describe, hold, raw
from portagrad.trace import Trace, Traced, evaluate
from portagrad.transforms.tree import is_array, lowered, tree_map


class CheckTrace(Trace):
    """Looks at every result of every op on its values."""

    __slots__ = ()

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        values = [a.value if isinstance(a, Traced) and a.trace in (self, CONSTANT) else a for a in args]
        y = evaluate(op, values, params)
        parts = y if op.several else (y,)
        for part in parts:
            if KIND[part.dtype] and not _finite(part):
                raise NonFiniteError(_report(op, values, part))
        results = [
            Tensor(self, raw(part) if isinstance(part, Tensor) and part.trace is CONSTANT else part)
            for part in parts
        ]
        return op.result(*results) if op.several else results[0]


def check_finite(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, stopping at the first op that makes a NaN or an infinity out of finite numbers.

    Wrap a gradient, ``check_finite(grad(loss))``, to watch the backward pass as well. Every result is read,
    so this is for finding a fault, not for training.

    Raises
    ------
    NonFiniteError
        Naming the op, its arguments, and the line of code.

    Examples
    --------
    >>> check_finite(lambda x: pg.sum(pg.log(x)))(np.asarray([1.0, 2.0]))
    array(0.69314718)
    """

    @functools.wraps(f)
    def checked(*args: Any, **kwargs: Any) -> Any:
        trace = CheckTrace()

        def enter(x: Any) -> Any:
            return (
                Tensor(trace, x.value if isinstance(x, Tensor) and x.trace is CONSTANT else x)
                if is_array(x)
                else x
            )

        def leave(x: Any) -> Any:
            x = lowered(x, trace)
            return namespace(x).asarray(x) if is_array(x) and not isinstance(x, Traced) else x

        try:
            out = f(*tree_map(enter, args), **tree_map(enter, kwargs))
        finally:
            trace.close()
        return tree_map(leave, out)

    return checked


def _finite(x: Any) -> bool:
    x = hold(raw(x))
    xp = x.__array_namespace__()
    return bool(xp.all(xp.isfinite(x)))


def _report(op: Op, values: list[Any], y: Any) -> str:
    """What the op was given and made, and where it stands in the caller's code."""
    value = hold(raw(y))
    xp = value.__array_namespace__()
    count = int(xp.sum(xp.astype(xp.logical_not(xp.isfinite(value)), xp.int64)))
    lines = [f"{op.name}: made {count} of {value.size} values NaN or infinite"]
    names = [f"{op.arrays[0][1:]}[{i}]" for i in range(len(values))] if op.starred else op.arrays
    for name, v in zip(names, values, strict=False):
        if is_array(v):
            low, high = _range(v)
            state = f"values from {low:.4g} to {high:.4g}" if _finite(v) else "itself not finite"
            lines.append(f"  {name}: {describe(v)}, {state}")
    return "\n".join([*lines, f"  {_place()}"])


def _range(x: Any) -> tuple[float, float]:
    x = hold(raw(x))
    xp = x.__array_namespace__()
    x = xp.abs(x) if KIND[x.dtype] > 1 else x
    return (float(xp.min(x)), float(xp.max(x))) if x.size else (0.0, 0.0)


def _place() -> str:
    """The line of the caller's code that is being evaluated, or the backward pass of it."""
    own = str(Path(__file__).parent.parent)
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith((own, "<"))]
    inside = any(frame.name == "sweep" for frame in traceback.extract_stack())
    where = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "unknown line"
    return f"in the backward pass of {where}" if inside else f"at {where}"
