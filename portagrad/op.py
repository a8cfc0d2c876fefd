"""The op record, its kinds, and the table of ops."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Rule = Callable[..., Any] | int | float | complex | None
"""A derivative rule: a function over array-API code, a constant partial, or None where there is none."""

TABLE: dict[str, Op] = {}
"""Every declared op, by the standard's qualified name (``"sin"``, ``"linalg.svd"``)."""

NO_PARAMS: dict[str, Any] = {}  # never written to; a plain dictionary is what `**` takes fastest


@dataclass(eq=False, slots=True, kw_only=True)
class Op:
    """One differentiable function, declared once.

    Attributes
    ----------
    name : str
        Qualified name, as in the standard.
    kind : str
        How `rules` are read: ``elementwise``, ``linear``, ``bilinear``, ``primitive``, ``constant``, or
        ``composite`` (plain array-API code with no rule of its own).
    signature : str
        The public signature, as source text.
    arrays : tuple of str
        The arguments that are arrays; one name with a star where they come as a sequence.
    params : tuple of str
        The other arguments, static during differentiation.
    outputs : tuple of str
        Names of the results; ``("y",)`` for a single one.
    pulls, pushes : tuple of Rule
        Per array: the contribution to its cotangent, and of its tangent.
    forward : callable, optional
        The plain array-API forward, called with `xp`; without one the namespace's own function serves.
    result : callable
        Wraps the tuple of several results (a named tuple's constructor, or ``tuple``).
    holomorphic : bool
        Of a primitive: its vjps are written for real numbers, and the engine conjugates, as for other kinds.
    moves : bool
        Whether the result may belong to another library than the arguments.
    ragged : bool
        Whether the result's shape depends on the numbers in the arguments.
    batch : str or callable, optional
        The batching rule, or its name in ``transforms/batch.py``; `vmap` loops where there is none.
    byproduct : str
        What a pull rule may read besides: something that an adapter's kernel ``"name_and_byproduct"``
        returns after the result because it has it anyway, and None wherever there is no such kernel.
    domain, domains : (float, float), dict
        The open interval to draw arguments from; by argument where they differ.
    fixed : dict
        Which of the params may be arrays, and why their numbers must be known.
    prepare : dict
        By argument, ``prepare(x, xp)``: array-API code that makes what the tests draw a valid argument, such
        as a symmetric matrix.
    invariant : callable, optional
        ``invariant(*results, xp=xp)``: what the tests compare where the results themselves are not unique.
    cases : tuple of Case
        Shapes and parameters to test; elementwise ops need none.
    dtypes : str
        ``"floating"`` where complex arguments make no sense, ``"complex"`` where real ones do not,
        ``"inexact"`` for both, ``"integer"`` or ``"boolean"`` or ``"any"`` for ops without a derivative.
    since, doc, category : str
        Version of the standard, docstring, and the standard's category.
    """

    name: str
    kind: str
    signature: str
    arrays: tuple[str, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...] = ("y",)
    pulls: tuple[Rule, ...] = ()
    pushes: tuple[Rule, ...] = ()
    forward: Callable[..., Any] | None = None
    result: Callable[..., Any] = tuple
    byproduct: str = ""
    batch: Any = None
    holomorphic: bool = False
    moves: bool = False
    ragged: bool = False
    domain: tuple[float, float] = (-2.0, 2.0)
    domains: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    prepare: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    invariant: Callable[..., Any] | None = None
    cases: tuple[Case, ...] = ()
    dtypes: str = "inexact"
    since: str = "2021.12"
    doc: str = ""
    category: str = ""
    kernels: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)
    recipes: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)
    paths: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    live: int = field(init=False, repr=False, default=0)
    several: bool = field(init=False, repr=False, default=False)
    starred: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        """`live` has a bit for each argument with a derivative that is not zero."""
        tests_elements = self.kind == "constant" and not self.params and not self.cases
        if self.batch is None and (self.kind == "elementwise" or tests_elements):
            self.batch = "pointwise"
        self.several = len(self.outputs) > 1 or self.outputs[0].startswith("*")
        self.starred = self.arrays[0].startswith("*")
        if self.starred:
            self.live = -1 if self.pulls[:1] != (None,) else 0
        else:
            self.live = sum(1 << i for i, rule in enumerate(self.pulls) if rule is not None and rule != 0)

    @property
    def takes_sequence(self) -> bool:
        """Whether the public function takes its arrays as one list, not as so many arguments."""
        return self.starred and not self.signature.startswith("(*")

    @property
    def arrays_lead(self) -> bool:
        """Whether the arrays are the first arguments, so that the library's own function can be called."""
        return (
            self.starred
            or self.signature.lstrip("(").startswith(", ".join(self.arrays))
            or len(self.arrays) == 1
        )

    @property
    def leading(self) -> tuple[str, ...]:
        """The parameters that come before the arrays, such as the order of a Bessel function."""
        names = self.signature.strip("()").split(", ")
        return tuple(itertools.takewhile(self.params.__contains__, names))

    @property
    def differentiable(self) -> bool:
        """Whether some argument has a derivative."""
        return self.kind == "composite" or any(rule is not None for rule in self.pulls)

    def __repr__(self) -> str:
        return f"<Op {self.name}{self.signature} {self.kind}>"


def elementwise(
    name: str,
    *partials: Rule,
    signature: str | None = None,
    arrays: tuple[str, ...] | None = None,
    **record: Any,
) -> Op:
    """An op that acts on each element: one partial derivative per argument serves both modes.

    A partial is a number, or a function of arguments, output and `xp`. One whose first parameter is ``g`` is
    given the (co)tangent and returns the product itself. `arrays` names the arguments that are arrays where
    others come before them. Of a complex argument it is the derivative with respect to z of a holomorphic
    function; the engine conjugates.
    """
    usual = ("x",) if len(partials) == 1 else tuple(f"x{i + 1}" for i in range(len(partials)))
    signature = signature or f"({', '.join(usual)}, /)"
    return _declare(name, "elementwise", signature, arrays or len(partials), partials, partials, record)


def linear(name: str, signature: str, *transposes: Rule, **record: Any) -> Op:
    """An op that is linear in its arrays together: its jvp is the op itself, its vjp the transpose.

    A transpose maps ``g`` to the cotangent of its argument; None marks an argument that is not differentiated
    (a condition, indices). The transpose of a starred argument returns one cotangent per array.
    """
    return _declare(name, "linear", signature, len(transposes), transposes, transposes, record)


def bilinear(name: str, signature: str, *transposes: Rule, **record: Any) -> Op:
    """An op that is linear in each of its arrays; a transpose per argument, its jvp follows."""
    return _declare(name, "bilinear", signature, len(transposes), transposes, transposes, record)


def primitive(name: str, signature: str, vjps: tuple[Rule, ...], jvps: tuple[Rule, ...], **record: Any) -> Op:
    """An op with vjp and jvp spelled out, per argument; several outputs allowed.

    A vjp takes ``g`` (for several outputs a tuple) and a jvp ``t``; contributions of several arguments add
    up. Complex conjugation is the rule's own affair.
    """
    return _declare(name, "primitive", signature, len(vjps), vjps, jvps, record)


def constant(name: str, signature: str, arrays: int | tuple[str, ...] = 1, **record: Any) -> Op:
    """An op without a derivative: its results are integers, booleans, or make no sense to differentiate."""
    count = arrays if isinstance(arrays, int) else len(arrays)
    return _declare(name, "constant", signature, arrays, (None,) * count, (None,) * count, record)


def composite(
    name: str, signature: str, forward: Callable[..., Any], arrays: int | tuple[str, ...] = 1, **record: Any
) -> Op:
    """Plain array-API code under a name: differentiated through the ops it calls."""
    return _declare(name, "composite", signature, arrays, (), (), {**record, "forward": forward})


def _declare(
    name: str,
    kind: str,
    signature: str,
    arrays: int | tuple[str, ...],
    pulls: tuple[Rule, ...],
    pushes: tuple[Rule, ...],
    record: dict[str, Any],
) -> Op:
    parameters = list(inspect.signature(define(f"def f{signature}: ...", "f", {})).parameters)
    names = tuple(parameters[:arrays]) if isinstance(arrays, int) else arrays
    if record.pop("starred", False):
        names = ("*" + names[0],)
    op = Op(
        name=name,
        kind=kind,
        signature=signature,
        arrays=names,
        params=tuple(p for p in parameters if p not in names and "*" + p not in names),
        pulls=pulls,
        pushes=pushes,
        **record,
    )
    clash = {*names, *op.params} & {*op.outputs}
    if clash:
        raise TypeError(f"{name}: {', '.join(sorted(clash))} is the name of an argument and of a result")
    for rule in {*pulls, *pushes}:
        _check_names(op, rule)
    if name in TABLE:
        raise TypeError(f"the op {name!r} is declared twice")
    TABLE[name] = op
    return op


def _check_names(op: Op, rule: Rule) -> None:
    """What a rule may read: a name that does not exist is an error where the op is declared."""
    if not callable(rule):
        return
    arrays = [name.lstrip("*") for name in op.arrays]
    known = {
        *arrays,
        *(f"{name}_like" for name in arrays),
        *op.params,
        *op.outputs,
        op.byproduct,
        "g",
        "t",
        "xp",
    } - {""}
    unknown = [name for name in names_of(rule) if name not in known]
    if unknown:
        raise TypeError(
            f"{op.name}: a rule reads {', '.join(unknown)}, which the op does not have; "
            f"it may read {', '.join(sorted(known))}"
        )


def names_of(rule: Callable[..., Any]) -> tuple[str, ...]:
    """The parameter names of a rule: what it saves."""
    return tuple(inspect.signature(rule).parameters)


class Case(NamedTuple):
    """Arguments on which the tests try an op: shapes (or what stands for them) of the arrays, and params."""

    args: tuple[Any, ...]
    params: dict[str, Any]


class Filled(NamedTuple):
    """An auxiliary array of a case: booleans where `high` is None, else integers in ``[0, high)``."""

    shape: tuple[int, ...]
    high: int | None = None


def case(*args: Any, **params: Any) -> Case:
    """A case: a shape, a `Filled`, a Python scalar or None for each array; the other arguments by name."""
    return Case(args, params)


class Abstract:
    """Shape and dtype of a value that is not kept."""

    __slots__ = ("dtype", "shape")

    def __init__(self, value: Any) -> None:
        self.shape = getattr(value, "shape", ())
        self.dtype = getattr(value, "dtype", None)


def define(source: str, name: str, env: dict[str, Any]) -> Callable[..., Any]:
    """Compile one function from its source."""
    scope = dict(env)
    exec(source, scope)
    function: Callable[..., Any] = scope[name]
    return function
