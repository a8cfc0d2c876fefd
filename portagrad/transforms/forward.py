"""Forward mode: a tangent carried beside each value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import LeakedTraceError, note_call
from portagrad.kernel import namespace
from portagrad.op import Op
from portagrad.recipe import Recipe, recipe
from portagrad.tensor import CONSTANT, Tensor, constants, hold
from portagrad.trace import Trace, Traced, kernel_for
from portagrad.transforms.record import leaked, paused, refuse_without_rule


class Missing:
    """In a tangent's place, the error that computing it raised: for whoever asks for it.

    The value is there all the same, as in reverse mode, where a derivative that does not exist is an error
    on the way back only.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class ForwardTrace(Trace):
    """Pushes tangents: the payload of its tensors."""

    __slots__ = ()

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        if not self.open:
            raise LeakedTraceError(leaked(op, self))
        values, tangents = [], []
        mine = active = complex_ = 0
        missing = None
        for i, a in enumerate(args):
            if isinstance(a, Traced):
                if a.trace is self:
                    mine |= 1 << i
                    if op.live >> i & 1:
                        active |= 1 << i
                        if a.payload.__class__ is Missing:
                            missing = a.payload
                        else:
                            tangents.append(a.payload)
                            complex_ |= KIND[a.payload.dtype]
                    a = a.value
                elif a.trace is CONSTANT:
                    a = a.value
            values.append(a)
        kernel = kernel_for(op, values)
        y = kernel.run(*values, **params)
        if not active or paused(self):
            if not active:
                refuse_without_rule(op, values, mine, y)
            return constants(op, y)
        parts = y if op.several else (y,)
        if not any(KIND[part.dtype] for part in parts):
            return constants(op, y)
        if missing is None:
            made = recipe(op, "push", active, complex_ > 1 or any(KIND[part.dtype] > 1 for part in parts))
            moved = push(made, values, y, parts, tangents, params)
        else:
            moved = [missing] * len(parts)
        results = [
            Tensor(self, part, t) if KIND[part.dtype] else hold(part)
            for part, t in zip(parts, moved, strict=True)
        ]
        return op.result(*results) if op.several else results[0]


def push(made: Recipe, values: Any, y: Any, parts: Any, tangents: Any, params: Any) -> list[Any]:
    """The tangents of the results, or why there are none."""
    some = next((x for x in (*parts, *tangents) if isinstance(x, Traced)), parts[0])
    try:
        moved = made.run_beside(some, tangents, made.save(values, y, ()), params, namespace(some))
    except MemoryError:
        raise
    except Exception as error:
        note_call(error, f"the derivative of {made.name}", values, params)
        return [Missing(error)] * len(parts)
    if len(parts) == 1 and parts[0] is y:
        moved = (moved,)
    return [settle_tangent(t, part) if KIND[part.dtype] else t for t, part in zip(moved, parts, strict=True)]


def settle_tangent(t: Any, y: Any) -> Any:
    """A tangent with the shape, realness and dtype of its primal: the one place that makes these right."""
    if t.shape == y.shape and t.dtype == y.dtype:
        return t
    xp = namespace(t)
    if KIND[t.dtype] > 1 and KIND[y.dtype] == 1:
        t = xp.real(t)
    if t.dtype != y.dtype:
        t = xp.astype(t, y.dtype)
    return t if tuple(t.shape) == tuple(y.shape) else xp.broadcast_to(t, tuple(y.shape))
