"""Arguments to try an op on, drawn from what its record says."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND
from portagrad.device import Device, device, transfer
from portagrad.kernel import namespace
from portagrad.namespace import function
from portagrad.op import TABLE, Case, Filled, Op
from portagrad.testing.arrays import Host, dtype_name
from portagrad.trace import Traced

DTYPES: Mapping[str, tuple[str, ...]] = {
    "floating": ("float32", "float64"),
    "complex": ("complex64", "complex128"),
    "inexact": ("float32", "float64", "complex64", "complex128"),
    "integer": ("int64",),
    "boolean": ("bool",),
    "any": ("float64", "int64", "bool"),
}
"""The dtypes to try, by what the record says."""

# For ops of more arguments than two the shapes take turns.
_SHAPES: tuple[tuple[Any, ...], ...] = (
    *(((2, 3), (3,)), ((), (2,)), ((2, 1), (2, 3))),
    *(((0, 3), (3,)), ((), ())),
)


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an op, as a function of those of its arguments that are floating arrays.

    Where the record says so, they are prepared first, and of the results comes back what is unique.

    Attributes
    ----------
    op : Op
    args : tuple
        Arrays, Python scalars and None, one for each of ``op.arrays``.
    params : dict
        The other arguments, by name.

    Examples
    --------
    >>> call = next(draws("multiply"))
    >>> call
    multiply(float64 (2, 3), float64 (3,))
    >>> call(*call.xs).shape
    (2, 3)
    """

    op: Op
    args: tuple[Any, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> tuple[int, ...]:
        """Positions of the arguments that can be differentiated."""
        return tuple(
            i for i, x in enumerate(self.args) if _is_array(x) and KIND[x.dtype] and self._has_rule(i)
        )

    @property
    def xs(self) -> tuple[Any, ...]:
        """The arguments that can be differentiated."""
        return tuple(self.args[i] for i in self.active)

    def _has_rule(self, i: int) -> bool:
        pulls = self.op.pulls
        return not pulls or pulls[0 if self.op.starred else i] is not None

    def __call__(self, *xs: Any) -> Any:
        """The public function, these in the places of `xs`."""
        args = list(self.args)
        for i, x in zip(self.active, xs, strict=True):
            args[i] = x
        return self.told(invoke(self.op, self.prepared(args), self.params))

    def prepared(self, args: Sequence[Any]) -> list[Any]:
        """Arguments as the record wants them, such as symmetric matrices."""
        rules = self.op.prepare
        names = self.op.arrays if rules else ()
        made = [
            rules[name](x, namespace(x)) if name in rules else x for name, x in zip(names, args, strict=False)
        ]
        return [*made, *args[len(made) :]]

    def told(self, y: Any) -> Any:
        """Of results that are not unique, what is."""
        invariant = self.op.invariant
        if invariant is None:
            return y
        parts = y if isinstance(y, tuple) else (y,)
        return invariant(*parts, xp=namespace(parts[0]))

    @property
    def __name__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        parts = [f"{dtype_name(x)} {tuple(x.shape)}" if _is_array(x) else repr(x) for x in self.args]
        parts += [f"{name}={value!r}" for name, value in self.params.items()]
        return f"{self.op.name}({', '.join(parts)})"


def invoke(
    op: Op, args: Sequence[Any], params: Mapping[str, Any], call: Callable[..., Any] | None = None
) -> Any:
    """Call the public function of an op, or `call`, by its signature."""
    parameters = inspect.signature(function(op.name)).parameters
    call = call or function(op.name)
    if op.starred:
        return call(list(args), **params) if op.takes_sequence else call(*args, **params)
    values = {**dict(zip(op.arrays, args, strict=False)), **params}
    positional = [
        values.pop(name)
        for name, parameter in parameters.items()
        if parameter.kind is parameter.POSITIONAL_ONLY and name in values
    ]
    # A library's own function may know an argument only where it is given.
    left_out = [name for name in values if values[name] is parameters[name].default is None]
    return call(*positional, **{name: value for name, value in values.items() if name not in left_out})


def draws(op: Op | str, place: Device | str = "cpu", dtype: str = "float64", seed: int = 0) -> Iterator[Call]:
    """Calls of an op on random arguments, the same ones on every library and device.

    Elementwise ops, and ops without cases, get shapes that broadcast, zero-dimensional and empty arrays and
    Python scalars; then come the cases of the record. Values lie in its domain.

    Parameters
    ----------
    op : Op or str
        A record of the table, or its name.
    place : Device or str
        Where the arrays are made.
    dtype : str
        Of the floating arrays, by its name in the standard.
    seed : int
        Another one gives other values.

    Examples
    --------
    >>> [str(call) for call in draws("tril")]
    ['tril(float64 (3, 3))', 'tril(float64 (2, 3, 4), k=1)']
    """
    op = TABLE[op] if isinstance(op, str) else op
    for i, case in enumerate(cases_of(op)):
        yield draw(op, case, place, dtype, seed + i)


def cases_of(op: Op) -> tuple[Case, ...]:
    """The cases of an op: those of its record, and the usual ones if it is elementwise."""
    if op.cases and (op.kind != "elementwise" or op.params):
        return op.cases
    n = len(op.arrays)
    usual = [Case(tuple(shapes[i % 2] for i in range(n)), {}) for shapes in _SHAPES]
    if n == 1:
        usual = [Case((shape,), {}) for shape in ((2, 3), (), (0,))]
    if n == 2 and op.dtypes in ("floating", "inexact"):  # a Python scalar beside an array
        domains = [op.domains.get(name, op.domain) for name in op.arrays]
        first, second = (0.25 * low + 0.75 * high for low, high in domains)
        usual += [Case((first, (2,)), {}), Case(((2,), second), {})]
    return (*usual, *op.cases)


def draw(op: Op, case: Case, place: Device | str = "cpu", dtype: str = "float64", seed: int = 0) -> Call:
    """The call of one case."""
    rng = np.random.default_rng([seed, zlib.crc32(op.name.encode())])
    names = op.arrays * len(case.args) if op.starred else op.arrays
    target = device(place)
    args = []
    for name, spec in zip(names, case.args, strict=False):
        if spec is None or isinstance(spec, int | float | complex):
            args.append(spec)
        else:
            args.append(transfer(_numbers(op, name.lstrip("*"), spec, dtype, rng), target))
    return Call(op, tuple(args), dict(case.params))


def _numbers(op: Op, name: str, spec: Any, dtype: str, rng: np.random.Generator) -> Host:
    """Values of an argument."""
    if isinstance(spec, Filled):
        if spec.high is None:
            return np.asarray(rng.random(spec.shape) < 0.5)
        return np.asarray(rng.integers(0, spec.high, spec.shape))
    if dtype == "bool":
        return np.asarray(rng.random(spec) < 0.5)
    if dtype.startswith(("int", "uint")):
        return np.asarray(rng.integers(0, 5, spec), dtype=dtype)
    low, high = op.domains.get(name, op.domain)
    values = rng.uniform(low, high, spec)
    if dtype.startswith("complex"):
        values = values + 1j * rng.uniform(-0.9, 0.9, spec)
    return np.asarray(values, dtype=dtype)


def _is_array(x: Any) -> bool:
    return isinstance(x, Traced) or BY_TYPE[type(x)] is not None
