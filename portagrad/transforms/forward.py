"""Forward mode: a tangent carried beside each value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import LeakedTraceError
from portagrad.kernel import namespace
from portagrad.op import Op
from portagrad.recipe import recipe
from portagrad.tensor import CONSTANT, Tensor, constants, hold
from portagrad.trace import Trace, Traced, kernel_for
from portagrad.transforms.record import leaked, paused, refuse_without_rule


class ForwardTrace(Trace):
    """Pushes tangents: the payload of its tensors."""

    __slots__ = ()

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        if not self.open:
            raise LeakedTraceError(leaked(op, self))
        values, tangents = [], []
        active = complex_ = 0
        for i, a in enumerate(args):
            if isinstance(a, Traced):
                if a.trace is self:
                    if op.live >> i & 1:
                        active |= 1 << i
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
                refuse_without_rule(op, args, y, self)
            return constants(op, y)
        several = op.several
        parts = y if several else (y,)
        kinds = [KIND[part.dtype] for part in parts]
        if not any(kinds):
            return constants(op, y)
        made = recipe(op, "push", active, max(complex_, *kinds) > 1)
        some = next((x for x in (*parts, *tangents) if isinstance(x, Traced)), parts[0])
        moved = made.run_beside(some, tangents, made.save(values, y, ()), params, namespace(some))
        results = [
            Tensor(self, part, settle_tangent(t, part)) if kind else hold(part)
            for part, t, kind in zip(parts, moved if several else (moved,), kinds, strict=True)
        ]
        return op.result(*results) if several else results[0]


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
