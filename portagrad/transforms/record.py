"""The reverse trace: what each op leaves behind for the way back; and `no_grad`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import Error, LeakedTraceError, NonDifferentiableError
from portagrad.kernel import namespace
from portagrad.op import Abstract, Op
from portagrad.recipe import recipe
from portagrad.tensor import CONSTANT, Tensor, constants, describe, hold
from portagrad.trace import Trace, Traced, kernel_for, new_level
from portagrad.transforms.collection import PATIENCE
from portagrad.transforms.reverse import PICK, Node
from portagrad.transforms.specialize import specialize

_paused: ContextVar[int] = ContextVar("paused", default=-1)
_pauses: list[None] = []  # one for each `no_grad` entered and not left, in any thread: cheap to test


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing in this block for the transforms that are open where it begins.

    Its results are constants to them and to the tape; a transform opened inside differentiates as always.

    Examples
    --------
    >>> x = pg.tensor(np.asarray([1.0, 2.0]), requires_grad=True)
    >>> with pg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    token = _paused.set(new_level())
    _pauses.append(None)  # atomic, as no `+= 1` is
    try:
        yield
    finally:
        _pauses.pop()
        _paused.reset(token)


def paused(trace: Trace) -> bool:
    """Whether `no_grad` holds for a trace, here."""
    return bool(_pauses) and trace.level <= _paused.get()


def refuse_without_rule(op: Op, values: Any, active: int, y: Any) -> None:
    """A gradient is never dropped silently: a floating result of an op without a rule is an error."""
    for i, a in enumerate(values):
        if active >> i & 1:
            rule = op.pulls[0 if op.starred else i]
            parts = y if isinstance(y, tuple) else (y,)
            if rule is None and any(KIND[part.dtype] for part in parts):
                raise NonDifferentiableError(
                    f"{op.name}: has no derivative with respect to argument {i + 1} ({describe(a)}); "
                    f"pass pg.stop_gradient(x) if none is wanted"
                )


def leaked(op: Op, trace: Trace) -> str:
    """The message for a tensor used after its transform has ended."""
    return (
        f"{op.name}: an argument belongs to a {type(trace).__name__} that has ended; it was kept from inside "
        f"a differentiated function, in a global or an attribute. Return it from the function instead "
        f"(has_aux=True), or keep pg.stop_gradient(x)"
    )


class ReverseTrace(Trace):
    """Records, for each op on its values, what the pullback needs."""

    __slots__ = ("mode", "recording")

    def __init__(self, mode: str = "pull") -> None:
        self.level = new_level()
        self.open = True
        self.mode = mode
        self.recording = mode == "pull"

    def __enter__(self) -> None:
        PATIENCE.begin()

    def __exit__(self, *raised: object) -> None:
        PATIENCE.end()
        self.close()

    def close(self) -> None:
        self.open = self.recording = False

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        values, parents = [], []
        active = 0
        for i, a in enumerate(args):
            if isinstance(a, Traced):
                if a.trace is self:
                    parents.append(a.payload)
                    active |= 1 << i
                    a = a.value
                elif a.trace is CONSTANT:
                    a = a.value
            values.append(a)
        if not self.open:
            raise LeakedTraceError(leaked(op, self))
        kernel = kernel_for(op, values)
        byproduct = None
        if kernel.record is not None:
            y, byproduct = kernel.record(*values, **params)
        else:
            y = kernel.run(*values, **params)
        if paused(self):
            return constants(op, y)
        if self.recording:
            specialize(op, args, values, kernel, _pauses)
        return self.finish(op, tuple(values), params, y, tuple(parents), active, byproduct)

    def finish(
        self, op: Op, values: Any, params: Any, y: Any, parents: Any, active: int, byproduct: Any
    ) -> Any:
        """The result of an op as a tensor, and the node behind it."""
        live = active & op.live
        if live != active:
            if not live or op.several:
                refuse_without_rule(op, values, active, y)
                return constants(op, y)
            indices = [i for i in range(active.bit_length()) if active >> i & 1]
            parents = tuple([node for i, node in zip(indices, parents, strict=True) if live >> i & 1])
        if op.several:
            return self.several(op, values, params, y, live, parents)
        kind = KIND[y.dtype]
        if not kind:
            return constants(op, y)
        complex_ = max(kind, *[node.kind for node in parents]) > 1
        made = recipe(op, self.mode, live, complex_)
        saved = made.save(values, y, parents, byproduct)
        xp = namespace(y) if isinstance(y, Traced) else None
        return Tensor(self, y, Node(made, parents, saved, params, xp, y.shape, y.dtype, kind))

    def several(self, op: Op, values: Any, params: Any, y: Any, live: int, parents: Any) -> Any:
        """Results of an op with several outputs: a node for the op, and one for each result."""
        if not y:  # `unstack` along an axis of length 0
            return op.result()
        if any(isinstance(part, Traced) and part.trace.level >= self.level for part in y):
            raise Error(
                f"{op.name}: closes over a value that is being differentiated, whose gradient would be lost; "
                f"pass it as an argument"
            )
        complex_ = any(
            kind > 1 for kind in [*[node.kind for node in parents], *[KIND[part.dtype] for part in y]]
        )
        made = recipe(op, self.mode, live, complex_)
        xp = namespace(y[0]) if isinstance(y[0], Traced) else None
        saved = made.save(values, y, parents)
        hub = Node(made, parents, saved, params, xp, None, [Abstract(part) for part in y], 0)
        results = []
        for i, part in enumerate(y):
            if KIND[part.dtype]:
                pick = Node(PICK, (hub,), (i, len(y)), None, None, part.shape, part.dtype, KIND[part.dtype])
                results.append(Tensor(self, part, pick))
            else:
                results.append(hold(part))
        return op.result(*results)
