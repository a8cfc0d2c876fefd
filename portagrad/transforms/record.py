"""The reverse trace: what each op leaves behind for the way back; and `no_grad`."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import Error, LeakedTraceError, NonDifferentiableError
from portagrad.kernel import namespace
from portagrad.op import Abstract, Op, define
from portagrad.recipe import recipe
from portagrad.tensor import CONSTANT, Tensor, constants, describe
from portagrad.trace import Trace, Traced, kernel_for, new_level
from portagrad.transforms.collection import PATIENCE
from portagrad.transforms.reverse import PICK, Node, indices

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


def refuse_without_rule(op: Op, args: Any, y: Any, trace: Trace) -> None:
    """A gradient is never dropped silently: a floating result of an op without a rule is an error."""
    for i, a in enumerate(args):
        if isinstance(a, Traced) and a.trace is trace:
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


# How a reverse trace processes an op. It is the hot path of eager mode, and loops over one, two or three
# arguments would take a good part of its time: so it is written out for up to four, from this one text.
# `new` makes an object without the call of a constructor that is written in Python.
_PROCESS = """
    parents = ()
    active = complex_ = 0
    {unwrapping}
    if not self.open:
        raise LeakedTraceError(leaked(op, self))
    kernel = op.kernels.get(({types})) or kernel_for(op, ({arguments}))
    byproduct = None
    if kernel.record is not None:
        y, byproduct = kernel.record({arguments} **params)
    elif params:
        y = kernel.run({arguments} **params)
    else:
        y = kernel.run({arguments})
    if pauses and paused(self):
        return constants(op, y)
    live = active & op.live
    if live != active:
        if not live or op.several:
            return self.without_rule(op, args, y)
        parents = tuple([a.payload for i, a in enumerate(args) if live >> i & 1])
    if op.several:
        return self.several(op, ({arguments}), params, y, live, parents, complex_ > 1)
    dtype = y.dtype
    kind = kernel.kinds[dtype]
    if not kind:
        return constants(op, y)
    key = (self.mode, live, (complex_ | kind) > 1)
    made = op.recipes.get(key) or recipe(op, *key)
    node = new(Node)
    node.recipe, node.parents, node.params = made, parents, params
    node.saved = made.save(({arguments}), y, parents, byproduct)
    node.xp = y.__array_namespace__() if kernel.traced else None
    node.shape, node.dtype, node.kind = y.shape, dtype, kind
    node.index = next(indices)
    tensor = new(Tensor)
    tensor.trace, tensor.value, tensor.payload = self, y, node
    return tensor
"""
_UNWRAPPING = """
    if isinstance({a}, Traced):
        trace = {a}.trace
        if trace is self:
            node = {a}.payload
            parents += (node,)
            active |= {bit}
            complex_ |= node.kind
            {a} = {a}.value
        elif trace is CONSTANT:
            {a} = {a}.value
"""
_CALLED = (LeakedTraceError, Node, Tensor, Traced, constants, kernel_for, leaked, paused, recipe)
_NAMES = {"CONSTANT": CONSTANT, "indices": indices, "new": object.__new__, "pauses": _pauses}


def _written_out(count: int) -> str:
    """The text for `count` arguments, or for any number if that is 0."""
    names = [f"a{i}" for i in range(count)]
    given = "".join(f"{a}, " for a in names)
    if count:
        unwrapping = "".join(_UNWRAPPING.format(a=a, bit=1 << i) for i, a in enumerate(names)).strip()
    else:
        one = textwrap.indent(_UNWRAPPING.format(a="a", bit="1 << i").rstrip(), "    ")
        unwrapping = f"for i, a in enumerate(args):{one}\n        values[i] = a"
    text = _PROCESS.format(
        arguments=given if count else "*values, ",
        types="".join(f"type({a}), " for a in names) if count else "*map(type, values), ",
        unwrapping=unwrapping,
    )
    first = f"    ({given}) = args" if count else "    values = [*args]"
    return first + text


def _process() -> Callable[..., Any]:
    """`ReverseTrace.process`: the text for each number of arguments, the commonest first."""
    lines = ["def process(self, op, args, params):", "    count = len(args)"]
    for count in (2, 1, 3, 4):
        lines += [f"    if count == {count}:", textwrap.indent(_written_out(count), "    ")]
    names = {**_NAMES, **{called.__name__: called for called in _CALLED}}
    return define("\n".join([*lines, _written_out(0)]), "process", names)


class ReverseTrace(Trace):
    """Records, for each op on its values, what the pullback needs."""

    __slots__ = ("mode",)
    process = _process()

    def __init__(self, mode: str = "pull") -> None:
        self.level = new_level()
        self.open = True
        self.mode = mode

    def __enter__(self) -> None:
        PATIENCE.begin()

    def __exit__(self, *raised: object) -> None:
        PATIENCE.end()
        self.close()

    def several(
        self, op: Op, values: Any, params: Any, y: Any, live: int, parents: Any, complex_: bool
    ) -> Any:
        """Results of an op with several outputs: a node for the op, and one for each result."""
        if not y:  # `unstack` along an axis of length 0
            return op.result()
        if any(isinstance(part, Traced) and part.trace.level >= self.level for part in y):
            raise Error(
                f"{op.name}: closes over a value that is being differentiated, whose gradient would be lost; "
                f"pass it as an argument"
            )
        made = recipe(op, self.mode, live, complex_ or any(KIND[part.dtype] > 1 for part in y))
        xp = namespace(y[0]) if isinstance(y[0], Traced) else None
        saved = made.save(values, y, parents)
        hub = Node(made, parents, saved, params, xp, None, [Abstract(part) for part in y], 0)
        results = []
        for i, part in enumerate(y):
            if KIND[part.dtype]:
                pick = Node(PICK, (hub,), (i, len(y)), None, None, part.shape, part.dtype, KIND[part.dtype])
                results.append(Tensor(self, part, pick))
            else:
                results.append(part if isinstance(part, Tensor) else Tensor(CONSTANT, part))
        return op.result(*results)

    def without_rule(self, op: Op, args: tuple[Any, ...], y: Any) -> Any:
        """Results that do not depend on the active arguments, or have no derivative."""
        refuse_without_rule(op, args, y, self)
        return constants(op, y)
