"""The graph trace: a function's ops, recorded as equations while they run once."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from portagrad.device import device_of
from portagrad.errors import ConcretizationError, LeakedTraceError
from portagrad.op import TABLE, Op
from portagrad.tensor import CONSTANT, Tensor, bare, describe, raw
from portagrad.trace import Trace, Traced, evaluate
from portagrad.transforms.equations import Constant, Equation, Graph, Variable
from portagrad.transforms.record import leaked
from portagrad.transforms.reverse import sweep
from portagrad.transforms.tree import flatten, is_array, unflatten

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_GENERATED = ("<string>", "<plan>", "<frozen")  # not what is typed, such as "<stdin>" or a notebook's cell


class GraphTrace(Trace):
    """Records every op on its values; the payload of its tensors is their `Variable`.

    Its values are those of one real run, so shapes, dtypes and errors are the backend's own; what is recorded
    may depend on none of them.
    """

    __slots__ = ("constants", "equations", "inlines", "inputs", "scope", "scopes")
    differentiates = False
    unplain = (
        "is an input of a graph that is being recorded, or computed from one, and is another number in each "
        "run; compute with it in xp, or pass a plain Python number, which is part of the graph"
    )

    def __init__(self, inlines: Collection[str] = ()) -> None:
        super().__init__()
        self.inlines = inlines
        self.scope = self.scopes = 0
        self.inputs: list[Variable] = []
        self.equations: list[Equation] = []
        self.constants: dict[int, Constant] = {}

    def input(self, value: Any) -> Tensor:
        """An argument of the function."""
        variable = _variable(value)
        self.inputs.append(variable)
        return Tensor(self, value, variable)

    def argument(self, a: Any) -> Any:
        """What stands for an argument of an op in its equation."""
        if isinstance(a, Traced) and a.trace is self:
            return a.payload
        value = bare(a)
        if not is_array(value):
            return value
        known = self.constants.get(id(value))
        if known is None:
            known = self.constants[id(value)] = Constant(value, device_of(raw(value)))
        return known

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        if not self.open:
            raise LeakedTraceError(leaked(op, self))
        if _ragged(op, params):
            raise ConcretizationError(
                f"{op.name}: the shape of its result depends on numbers that are others in each run of a "
                f"graph ({_origin()}); use xp.where and a fixed shape, or call it outside pg.compile"
            )
        own = TABLE.get(op.name) is not op  # made for one call of a function with a rule of its own
        if op.forward is not None and (own or op.name in self.inlines):
            return self.inline(op, args, params, own)
        values = [a.value if isinstance(a, Traced) and a.trace in (self, CONSTANT) else a for a in args]
        y = evaluate(op, values, params)
        parts = tuple(map(bare, y)) if op.several else (bare(y),)
        outs = tuple(map(_variable, parts))
        given = tuple(map(self.argument, args))
        self.equations.append(
            Equation(op, given, dict(params), outs, _origin(), self.scope, _within(sweep.__code__))
        )
        made = [Tensor(self, part, v) for part, v in zip(parts, outs, strict=True)]
        return op.result(*made) if op.several else made[0]

    def inline(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any], own: bool) -> Any:
        """The ops that an op's forward is made of, in its place."""
        assert op.forward is not None
        outside = self.scope
        if own:
            self.scopes += 1
            self.scope = self.scopes
        try:
            xp = next(a for a in args if isinstance(a, Tensor)).__array_namespace__()
            return op.forward(*[xp.hold(a) if is_array(a) else a for a in args], xp=xp, **params)
        finally:
            self.scope = outside

    def check_branch(self, value: Any, what: str) -> None:
        raise ConcretizationError(
            f"{what}: Python branches on {describe(value)} at {_origin()}, a number that is another in each "
            f"run of a graph; use xp.where, pass a plain Python value, or branch outside pg.compile"
        )


def _variable(value: Any) -> Variable:
    return Variable(tuple(value.shape), value.dtype, device_of(raw(value)))


def _ragged(op: Op, params: Mapping[str, Any]) -> bool:
    """Whether the shape of the result depends on numbers."""
    return op.ragged or any(isinstance(value, Traced) for value in params.values())


def _origin() -> str:
    """``file:line`` of the innermost code that is not the engine's."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, *_GENERATED)):
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _within(code: CodeType) -> bool:
    """Whether this function runs, called by what is being recorded."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not record.__code__:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def _parameters(f: Callable[..., Any], count: int) -> tuple[str, ...]:
    """The names of the first arguments, ``xs[0]`` and so on for those that have none of their own."""
    try:
        given = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # some functions of C have none
        return ()
    named = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = next((p.name for p in given if p.kind is p.VAR_POSITIONAL), "")
    rest = [f"{starred}[{i}]" for i in range(count - len(named))] if starred else []
    return tuple([*named, *rest][:count])


def record(
    name: str,
    f: Callable[..., Any],
    args: Any,
    inlines: Collection[str] = (),
) -> Graph:
    """The graph of ``f(*args)``.

    Of the ops in `inlines` those that their forwards call are recorded.
    """
    trace = GraphTrace(inlines)
    leaves, structure = flatten(args)
    inner, statics = [], []
    for x in leaves:
        x = bare(x)
        statics.append(None if is_array(x) else (x,))
        inner.append(trace.input(x) if is_array(x) else x)
    try:
        out = f(*unflatten(structure, inner))
        results, shape = flatten(out)
        outputs = tuple(map(trace.argument, results))
    finally:
        trace.close()
    return Graph(
        name,
        tuple(trace.inputs),
        tuple(trace.equations),
        outputs,
        structure,
        shape,
        tuple(statics),
        _parameters(f, len(args)),
    )


def graph(f: Callable[..., Any], *args: Any) -> Graph:
    """The computational graph of a function, at arguments of given shapes.

    Every op that `f` calls on its arguments becomes an equation, also those of a gradient that it computes:
    ``pg.graph(pg.grad(f), x)`` is the gradient as a graph, the symbol-to-symbol approach of Goodfellow,
    Bengio and Courville (2016), "Deep Learning", section 6.5.5.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree. It runs once, on `args`.
    *args : pytrees
        Their arrays are the graph's inputs; what else they hold is part of the graph.

    Returns
    -------
    Graph
        Prints as text, draws itself, and runs.

    Raises
    ------
    ConcretizationError
        If `f` branches on a value or makes a Python number of one, or a shape depends on values.

    Examples
    --------
    >>> def f(x):
    ...     return pg.sum(pg.sin(x))
    >>> print(graph(f, np.zeros(3)))
    f(x: float64[3]):  # on cpu
        a: float64[3] = sin(x)  # <doctest ...>:2
        b: float64[] = sum(a)   # <doctest ...>:2
        return b
    >>> g = graph(pg.grad(f), np.zeros(3))
    >>> [equation.op.name for equation in g.equations]
    ['sin', 'sum', 'cos', 'multiply']
    >>> g(np.asarray([0.0, 1.0, 2.0]))
    array([ 1.        ,  0.54030231, -0.41614684])
    """
    return record(getattr(f, "__name__", type(f).__name__), f, args)
