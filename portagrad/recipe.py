"""What differentiating an op takes: its rules, compiled into straight-line functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad.backend import BY_TYPE
from portagrad.kernel import RawNamespace, out_of_memory
from portagrad.op import Abstract, Op, define, names_of
from portagrad.trace import Traced, evaluate


class Recipe:
    """What differentiating an op takes when a given set of its arguments is active.

    ``save(values, y, nodes, byproduct)`` picks what the rules read and nothing else; ``run(g, saved, params,
    xp)`` gives the contributions (a tuple over active arguments for a pull, the sum for a push). ``saved`` is
    the expression that `save` returns.
    """

    __slots__ = ("name", "run", "save", "saved")

    def __init__(self, name: str, save: Callable[..., Any], run: Callable[..., Any], saved: str = "") -> None:
        self.name = name
        self.save = save
        self.run = run
        self.saved = saved

    def run_beside(self, x: Any, g: Any, saved: Any, params: Any, xp: Any) -> Any:
        """``run`` with the device of `x` current, where the library's device is ambient."""
        try:
            if xp.guard is None:
                return self.run(g, saved, params, xp)
            with xp.guard(x):
                return self.run(g, saved, params, xp)
        except xp.backend.out_of_memory as error:
            raise out_of_memory(f"{self.name}, its derivative", [("g", x)], error) from error


def recipe(op: Op, mode: str, active: int, complex_: bool) -> Recipe:
    """The recipe of `op` for ``mode`` ``"pull"`` or ``"push"`` and the bit mask of active arguments.

    Written as source and compiled once, so that a call unpacks what it needs and calls the rules, no more.
    """
    key = (mode, active, complex_)
    made: Recipe | None = op.recipes.get(key)
    if made is None:
        made = op.recipes[key] = _Writer(op, mode, active, complex_).recipe()
    return made


class _Writer:
    """Writes the source of one recipe."""

    def __init__(self, op: Op, mode: str, active: int, complex_: bool) -> None:
        self.op = op
        self.mode = mode
        self.active = active
        self.indices = [i for i in range(active.bit_length()) if active >> i & 1]
        self.complex = complex_
        self.rules = op.pulls if mode == "pull" else op.pushes
        self.saved: dict[str, str] = {}  # local name -> where save() finds it
        self.env: dict[str, Any] = {"op": op, "evaluate": evaluate}

    def recipe(self) -> Recipe:
        lines = self.pull() if self.mode == "pull" else self.push()
        unpack = f"({''.join(n + ', ' for n in self.saved)}) = saved" if self.saved else "pass"
        if (
            self.saved or len(self.indices) > 1
        ):  # not every library's arrays leave `array * tensor` to the tensor
            self.env.update(RawNamespace=RawNamespace, held=_held)
            unpack = f"if xp.__class__ is not RawNamespace: g, saved = held((g, saved), xp)\n    {unpack}"
        run = define("\n    ".join(["def run(g, saved, params, xp):", unpack, *lines]), "run", self.env)
        gather = f"({''.join(source + ', ' for source in self.saved.values())})"
        save = define(
            f"def save(v, y, nodes, byproduct=None): return {gather}", "save", {"Abstract": Abstract}
        )
        return Recipe(self.op.name, save, run, gather)

    def read(self, name: str) -> str:
        """The expression by which a rule's parameter is handed over, and a note to save what it needs."""
        op = self.op
        if name in op.params:
            return f"params[{name!r}]"
        if name == "xp":
            return name
        like = name.endswith("_like")
        if name == op.byproduct:
            self.saved[name] = "byproduct"
        elif name in op.outputs:
            self.saved[name] = "y" if not op.several else f"y[{op.outputs.index(name)}]"
        elif op.starred:
            self.saved[name] = "[Abstract(a) for a in v]" if like else "v"
        elif like:
            i = op.arrays.index(name.removesuffix("_like"))
            known = self.mode == "pull" and i in self.indices  # a node has a shape and a dtype as well
            self.saved[name] = f"nodes[{self.indices.index(i)}]" if known else f"Abstract(v[{i}])"
        else:
            self.saved[name] = f"v[{op.arrays.index(name)}]"
        return name

    def call(self, i: int, g: str) -> str:
        """A call of the rule of argument `i` on the (co)tangent expression `g`."""
        rule = self.rules[i]
        assert callable(rule)
        self.env[f"rule{i}"] = rule
        given = [g if name in ("g", "t") else self.read(name) for name in names_of(rule)]
        return f"rule{i}({', '.join(given)})"

    def partial(self, i: int, g: str) -> str:
        """Product of `g` and the partial derivative with respect to argument `i`."""
        rule = self.rules[i]
        if not callable(rule):
            return g if rule == 1 else f"-{g}" if rule == -1 else f"{g} * {rule!r}"
        if names_of(rule)[:1] == ("g",):
            return self.call(i, g)
        return f"{g} * {self.call(i, g)}"

    def pull(self) -> list[str]:
        """For a C-linear map A the pullback is conj(A^T conj(g)): the engine's one conjugation."""
        op, lines = self.op, []
        conjugate = self.complex and (op.kind != "primitive" or op.holomorphic)
        if conjugate:
            several = op.several
            lines.append("g = tuple([xp.conj(a) for a in g])" if several else "g = xp.conj(g)")
        if op.starred:
            lines.append(f"parts = {self.call(0, 'g')}")
            given = [f"parts[{i}]" for i in self.indices]
        else:
            rule = self.partial if op.kind == "elementwise" else self.call
            given = [rule(i, "g") for i in self.indices]
        if conjugate:
            given = [f"xp.conj({part})" for part in given]
        return [*lines, f"return ({', '.join(given)},)"]

    def push(self) -> list[str]:
        """The tangent of the output: a sum over the active arguments."""
        op, tangent = self.op, {i: f"g[{k}]" for k, i in enumerate(self.indices)}
        if op.kind == "linear":
            return self.push_linear(tangent)
        if op.starred:
            self.saved["v"] = "v"
            ts = f"ts = [next(g) if {self.active} >> i & 1 else None for i in range(len(v))]"
            return ["g = iter(g)", ts, f"return {self.call(0, 'ts')}"]
        if op.kind == "elementwise":
            terms = [self.partial(i, t) for i, t in tangent.items()]
        elif op.kind == "bilinear":
            values = [self.read(name) for name in op.arrays]
            terms = [
                f"evaluate(op, ({', '.join(t if j == i else v for j, v in enumerate(values))},), params)"
                for i, t in tangent.items()
            ]
        else:
            terms = [self.call(i, t) for i, t in tangent.items()]
        if op.several and len(terms) > 1:
            self.env["add"] = _add
            return [f"return tuple(map(add, zip({', '.join(terms)})))"]
        return [f"return {' + '.join(terms)}"]

    def push_linear(self, tangent: dict[int, str]) -> list[str]:
        """The op itself, on tangents: zeros where an argument has none, auxiliary arguments as they are."""
        op = self.op
        self.env["zero"] = _zero
        if op.starred:
            self.saved["v"] = "v"
            return [
                "g = iter(g)",
                f"ts = [next(g) if {self.active} >> i & 1 else zero(a, xp) for i, a in enumerate(v)]",
                "return evaluate(op, ts, params)",
            ]
        given = [
            tangent.get(i) or (self.read(name) if op.pulls[i] is None else f"zero({self.read(name)}, xp)")
            for i, name in enumerate(op.arrays)
        ]
        return [f"return evaluate(op, ({', '.join(given)},), params)"]


def _held(values: Any, xp: Any) -> Any:
    """The raw arrays among these as tensors that nothing differentiates."""
    if isinstance(values, tuple | list):
        return [_held(x, xp) for x in values]
    return (
        values if isinstance(values, Traced | Abstract) or BY_TYPE[type(values)] is None else xp.hold(values)
    )


def _zero(value: Any, xp: Any) -> Any:
    """The zero tangent of an argument that is not active."""
    return 0 if isinstance(value, int | float | complex) else xp.zeros_like(value)


def _add(terms: Any) -> Any:
    """Sum of one output's tangents over the arguments."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first
