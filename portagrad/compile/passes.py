"""Passes: small functions from a graph to a graph that computes the same with less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from portagrad.backend import KIND
from portagrad.kernel import namespace
from portagrad.op import TABLE
from portagrad.ops.manipulation import broadcast_shapes
from portagrad.tensor import bare
from portagrad.trace import Traced, evaluate
from portagrad.transforms.equations import Constant, Equation, Graph, Variable
from portagrad.transforms.gradient import array
from portagrad.transforms.tree import is_array

FOLDED_SIZE = 1 << 16
"""How many elements a constant may have that is computed beforehand: larger ones would only take memory."""


def dead_code(graph: Graph) -> Graph:
    """Without the equations that no result depends on."""
    needed = {y for y in graph.outputs if isinstance(y, Variable)}
    kept = []
    for eq in reversed(graph.equations):
        if not needed.isdisjoint(eq.outs):
            kept.append(eq)
            needed.update(eq.variables())
    return graph.with_equations(reversed(kept))


def rewritten(graph: Graph, rule: Callable[[Equation, dict[Variable, Any]], Any]) -> Graph:
    """Each equation replaced by what `rule` makes of it.

    `rule` gets the equation, its arguments brought up to date, and for each value so far the equation that
    makes it. It returns an equation with the same results; or, of an equation with one result, the value that
    stands for it, and of one with several a tuple of them.
    """
    stands: dict[Variable, Any] = {}
    makers: dict[Variable, Any] = {}
    equations = []
    for eq in graph.equations:
        eq = _with_args(eq, tuple([stands.get(a, a) if isinstance(a, Variable) else a for a in eq.args]))
        new = rule(eq, makers)
        if isinstance(new, Equation):
            equations.append(new)
            makers.update(dict.fromkeys(new.outs, new))
        else:
            values = new if isinstance(new, tuple) else (new,)
            stands.update(zip(eq.outs, values, strict=True))
    outputs = [stands.get(y, y) if isinstance(y, Variable) else y for y in graph.outputs]
    return graph.with_equations(equations, outputs)


def _with_args(eq: Equation, args: tuple[Any, ...]) -> Equation:
    return eq if args == eq.args else replace(eq, args=args)


def common_subexpressions(graph: Graph) -> Graph:
    """Each op on the same values once.

    What `pg.checkpoint` computes again it computes again here: an equation's scope tells.
    """
    known: dict[Any, tuple[Variable, ...]] = {}

    def rule(eq: Equation, makers: Any) -> Any:
        args = tuple([a if isinstance(a, Variable) else _frozen(a) for a in eq.args])
        key = (eq.op.name, id(eq.op), args, _frozen(eq.params), eq.scope)
        return eq if known.setdefault(key, eq.outs) is eq.outs else known[key]

    return rewritten(graph, rule)


def _frozen(value: Any) -> Any:
    """Something hashable that is equal only for equal parameters."""
    if isinstance(value, dict):
        return tuple([(name, _frozen(part)) for name, part in value.items()])
    if isinstance(value, tuple | list):
        return tuple(map(_frozen, value))
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if is_array(value):
        return ("array", id(value))
    if isinstance(value, float | complex):
        return (type(value), repr(value))  # -0.0 is another number than 0.0, and NaN is itself
    return (type(value), value)


def fold_constants(graph: Graph) -> Graph:
    """What depends on constants alone, computed now."""

    def rule(eq: Equation, makers: Any) -> Any:
        size = max((_size(out) for out in eq.outs), default=0)
        given = list(eq.variables())
        if not given or size > FOLDED_SIZE or not all(isinstance(a, Constant) for a in given):
            return eq
        y = evaluate(eq.op, [a.value if isinstance(a, Constant) else a for a in eq.args], eq.params)
        parts = y if eq.op.several else (y,)
        return tuple([Constant(bare(part), out.device) for part, out in zip(parts, eq.outs, strict=True)])

    return rewritten(graph, rule)


def spread_constants(graph: Graph) -> Graph:
    """Constants that are one number throughout, such as the cotangent of a sum, as that number.

    Only where an elementwise op takes its shape from its other arguments, all of one dtype.
    """
    numbers: dict[Constant, Any] = {}

    def number(a: Constant) -> Any:
        if a not in numbers:
            numbers[a] = _number(a)
        return numbers[a]

    def rule(eq: Equation, makers: Any) -> Any:
        if eq.op.batch != "pointwise" or len({v.dtype for v in eq.variables()}) > 1:
            return eq
        args = list(eq.args)
        for i, a in enumerate(args):
            others = [v.shape for v in (*args[:i], *args[i + 1 :]) if isinstance(v, Variable)]
            if not isinstance(a, Constant) or not a.shape or not others:
                continue
            if broadcast_shapes(*others) == eq.outs[0].shape and number(a) is not None:
                args[i] = number(a)
        return _with_args(eq, tuple(args))

    return rewritten(graph, rule)


def _number(a: Constant) -> Constant | None:
    """The one number of a constant; None if it has several, or one whose sign a comparison does not tell."""
    if not _size(a) or KIND[a.dtype] != 1:
        return None
    first = a.value[(0,) * len(a.shape)]
    xp = namespace(a.value)
    alike = bool(first != 0) and bool(xp.all(a.value == first))
    return Constant(array(first), a.device) if alike else None


def _size(v: Variable) -> int:
    size = 1
    for n in v.shape:
        size *= n
    return size


def simplify(graph: Graph) -> Graph:
    """Algebra that is exact in floating point: nothing is rounded otherwise, no sign of a zero changes.

    So not ``x + 0``, which is 0 for -0, nor ``x * 0``, nor a product with 1 of complex numbers, whose parts
    are multiplied by its imaginary part, 0, as well.
    """
    return rewritten(graph, _simpler)


def _simpler(eq: Equation, makers: dict[Variable, Any]) -> Any:
    out = eq.outs[0]

    def same(x: Any) -> bool:
        return (
            isinstance(x, Variable)
            and (x.shape, x.dtype, x.device) == (out.shape, out.dtype, out.device)
            and len(eq.outs) == 1
        )

    name, args = eq.op.name, eq.args
    if name == "multiply" and not _is_complex(out):
        for x, other in (args, args[::-1]):
            if same(x) and _is(other, 1):
                return x
            if same(x) and isinstance(other, Constant) and _is(other, -1):
                return replace(eq, op=TABLE["negative"], args=(x,), params={})
    if name in ("divide", "pow") and not _is_complex(out) and same(args[0]) and _is(args[1], 1):
        return args[0]
    if name == "subtract" and same(args[0]) and _is(args[1], 0):
        return args[0]
    if name in _IDLE and same(args[0]):
        return args[0]
    before = makers.get(args[0]) if args and isinstance(args[0], Variable) else None
    if before is None:
        return eq
    if name == before.op.name and name in _INVOLUTIONS and same(before.args[0]):
        return before.args[0]
    if name == "reshape" == before.op.name and False not in (
        eq.params.get("copy"),
        before.params.get("copy"),
    ):
        return replace(eq, args=before.args)
    if name == "permute_dims" == before.op.name:
        first, second = (tuple(a % len(out.shape) for a in e.params["axes"]) for e in (before, eq))
        axes = tuple(first[a] for a in second)
        if axes == tuple(range(len(axes))):
            return before.args[0]
        return replace(eq, args=before.args, params={"axes": axes})
    return eq


_IDLE = frozenset({"positive", "reshape", "broadcast_to", "astype", "squeeze", "expand_dims", "to_device"})
"""Ops whose result is their argument, where it has the argument's shape, dtype and device."""
_INVOLUTIONS = frozenset({"negative", "matrix_transpose", "conj", "bitwise_invert", "logical_not"})


def _is(x: Any, number: int) -> bool:
    """Whether an argument is this number, of no shape of its own; -0.0 is not 0."""
    if isinstance(x, Constant):  # which of the zeros it would be, not every library tells
        return number != 0 and x.shape == () and not isinstance(x.value, Traced) and bool(x.value == number)
    return isinstance(x, int | float | complex) and x == number and repr(complex(x)) == repr(complex(number))


def _is_complex(v: Variable) -> bool:
    return KIND[v.dtype] == 2


def with_byproducts(graph: Graph) -> Graph:
    """An op and the derivative that shares its work, by the adapter's one kernel for both.

    `cross_entropy` and `cross_entropy_slope` of the same scores share their exponentials.
    """
    pairs: dict[Any, dict[str, Equation]] = {}
    for eq in graph.equations:
        for name in _SHARING.get(eq.op.name, ()):
            pairs.setdefault((name, eq.args, eq.scope), {}).setdefault(eq.op.name, eq)
    joined = {
        name: (TABLE[f"{name}_and_{op.byproduct}"], op.name, f"{name}_{op.byproduct}")
        for name, op in ((name, TABLE[name]) for name, *_ in pairs)
    }

    def rule(eq: Equation, makers: Any) -> Any:
        for name in _SHARING.get(eq.op.name, ()):
            both = pairs.get((name, eq.args, eq.scope), {})
            if len(both) == 2 and both[eq.op.name].outs == eq.outs:
                joint, first, second = joined[name]
                outs = (both[first].outs[0], both[second].outs[0])
                if outs[0] in makers:
                    return eq.outs
                return replace(eq, op=joint, params={}, outs=outs)
        return eq

    return rewritten(graph, rule)


_SHARING = {
    name: (op.name,)
    for op in TABLE.values()
    if op.byproduct
    for name in (op.name, f"{op.name}_{op.byproduct}")
}

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    spread_constants,
    simplify,
    fold_constants,
    common_subexpressions,
    with_byproducts,
    dead_code,
)


def results_apart(graph: Graph, recorded: Graph) -> Graph:
    """With results that are arrays of their own where the recorded ones are.

    Where an argument, a constant or another result has come to stand for one, that is copied: who calls the
    function may write into what it returns.
    """
    makers = {out: eq for eq in recorded.equations for out in eq.outs}
    taken = {*graph.inputs}
    given: dict[Any, Any] = {}
    copies = []
    for was, y in zip(recorded.outputs, graph.outputs, strict=True):
        if not isinstance(y, Variable) or was in given:
            continue
        given[was] = y
        if was in makers and (y in taken or isinstance(y, Constant)):
            given[was] = Variable(y.shape, y.dtype, y.device)
            params = {"dtype": y.dtype, "copy": True, "device": None}
            eq = replace(makers[was], op=TABLE["astype"], args=(y,), params=params, outs=(given[was],))
            copies.append(eq)
        taken.add(y)
    outputs = [given[y] if isinstance(y, Variable) else y for y in recorded.outputs]
    return graph.with_equations((*graph.equations, *copies), outputs)


def improved(graph: Graph) -> Graph:
    """All passes, until none finds anything."""
    recorded = graph
    while True:
        before = graph.equations
        for apply_pass in PASSES:
            graph = apply_pass(graph)
        if len(graph.equations) == len(before):
            return results_apart(graph, recorded)
