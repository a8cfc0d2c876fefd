"""Tensor: a traced value that is an array-API array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, KIND, Backend
from portagrad.device import device_of
from portagrad.errors import ConcretizationError
from portagrad.indexed import apply_at
from portagrad.op import NO_PARAMS, TABLE, Op, define
from portagrad.ops.indexing import replaces
from portagrad.trace import Trace, Traced, apply, kernel_for

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
NUMPY_ATTRIBUTES = (
    *("all", "any", "argmax", "argmin", "argpartition", "argsort", "astype", "clip", "conj", "conjugate"),
    *("copy", "cumprod", "cumsum", "diagonal", "dot", "flatten", "imag", "item", "max", "mean", "min"),
    *("nonzero", "prod", "ravel", "real", "repeat", "reshape", "round", "searchsorted", "squeeze", "std"),
    *("sum", "swapaxes", "take", "tolist", "transpose", "var"),
)
"""What NumPy's arrays have and the standard's need not."""
VERSIONS = (None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
"""Of the standard; each holds those before it."""
UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}


class _Operands(dict[type, bool]):
    """Whether a type may stand beside a tensor in an expression."""

    def __missing__(self, key: type) -> bool:
        known = issubclass(key, Traced | int | float | complex) or BY_TYPE[key] is not None
        self[key] = known = known and not issubclass(key, np.generic)  # see `number`
        return known


OPERANDS = _Operands()
UFUNCS = {
    found: op
    for op in TABLE.values()
    if isinstance(found := getattr(np, op.name, None), np.ufunc) and not op.params
}
"""Ops by NumPy's universal functions: NumPy has every name of the standard, so none is written here."""


class Tensor(Traced):
    """An array that belongs to a trace: the object that user code sees while it is differentiated.

    It has every attribute, method and operator of the array API standard, and ``x.__array_namespace__()``
    is a complete namespace on the library and device of the values underneath. Assignment (``x[i] = v``,
    ``x += y``) gives this object a new value and touches no other array.

    Transforms and namespaces make tensors; nobody else has a `trace`, a `value` and a `payload` for one.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        """Data type, an object of the library underneath."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def device(self) -> Any:
        """Device of the value, as the library underneath names it."""
        return backend_of(self).device_of(raw(self))

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return apply(TABLE["matrix_transpose"], (self,))  # type: ignore[no-any-return]

    @property
    def T(self) -> Tensor:
        """Transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"x.T is for matrices, not for shape {self.shape}; use x.mT or permute_dims")
        return self.mT

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """The array-API namespace of tensors on this tensor's library."""
        from portagrad.namespace import namespace_on  # the namespace is built from tensors

        if api_version not in VERSIONS:
            raise ValueError(f"__array_namespace__: api_version is {api_version!r}; known are {VERSIONS[1:]}")
        return namespace_on(backend_of(self))

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """Move to another device; differentiable.

        `stream` is the standard's; libraries whose devices have streams order the copy themselves.
        """
        from portagrad.namespace import to_device

        return to_device(self, device)  # type: ignore[no-any-return]

    @property
    def requires_grad(self) -> bool:
        """Whether something differentiates this value."""
        return self.trace is not CONSTANT

    @property
    def grad(self) -> Any:
        """The gradient that `backward` has accumulated here: a raw array; None before."""
        return self.trace.gradient(self)

    @grad.setter
    def grad(self, value: Any) -> None:
        self.trace.set_gradient(self, value)

    def backward(self, gradient: Any = None, *, keep_graph: bool = False) -> None:
        """Accumulate the gradient of this value in the ``.grad`` of the tape's leaves.

        Parameters
        ----------
        gradient : array, optional
            The cotangent to start from; needed unless the tensor is a scalar.
        keep_graph : bool
            Whether to keep what a second backward pass would need.
        """
        self.trace.backward(self, gradient, keep_graph)

    def detach(self) -> Tensor:
        """The same value, constant to every differentiation."""
        return stopped(self)  # type: ignore[no-any-return]

    def __getitem__(self, key: Any, /) -> Tensor:
        return apply_at(TABLE["getitem"], (self,), {"key": key})  # type: ignore[no-any-return]

    def __setitem__(self, key: Any, value: Any, /) -> None:
        if replaces(self.shape, bare(key), value):
            self.rebind(apply(TABLE["reshape"], (hold(value),), {"shape": self.shape, "copy": True}))
        else:
            self.rebind(apply_at(TABLE["index_put"], (self, value), {"key": key}))

    def rebind(self, new: Any) -> Tensor:
        """Give this object the value of another: what in-place operations do."""
        if new.shape != self.shape:
            raise ValueError(f"in-place result has shape {tuple(new.shape)}, the tensor {tuple(self.shape)}")
        if new.dtype != self.dtype:
            if _rank(new) > _rank(self):
                raise TypeError(
                    f"in-place result is {new.dtype}, which {self.dtype} does not hold; "
                    f"write x = x + y instead of x += y, or cast first"
                )
            new = apply(TABLE["astype"], (new,), {"dtype": self.dtype, "copy": True})
        self.trace.rebind(self, new)
        return self

    def __bool__(self) -> bool:
        self.trace.check_branch(self, "bool")
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.concrete("float"))

    def __int__(self) -> int:
        return int(self.concrete("int"))

    def __complex__(self) -> complex:
        return complex(self.concrete("complex"))

    def __index__(self) -> int:
        return self.concrete("operator.index").__index__()  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        value = self.concrete("np.asarray or np.array (np.stack puts tensors together)")
        return BY_TYPE[type(value)].to_numpy(value)  # type: ignore[union-attr]

    def __array_ufunc__(self, ufunc: Any, method: str, /, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and (op := UFUNCS.get(ufunc)) is not None:
            for x in inputs:
                if not OPERANDS[type(x)] and number(x, self) is not x:
                    break
            else:  # `ndarray * tensor` comes this way too
                return apply(op, inputs)
        from portagrad.protocols import array_ufunc  # NumPy's functions are made of functions on tensors

        return array_ufunc(self, ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from portagrad.protocols import array_function  # as above

        return array_function(self, func, types, args, kwargs)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        known = {name: value for name, value in given.items() if value is not None}
        return self.concrete("from_dlpack").__dlpack__(**known)

    def __dlpack_device__(self) -> Any:
        return self.concrete("from_dlpack").__dlpack_device__()

    def concrete(self, what: str) -> Any:
        """The raw array, where no derivative would be lost by taking it."""
        if not self.trace.plain:
            raise ConcretizationError(f"{what}: the value {describe(self)} {self.trace.unplain}")
        return self.value

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a zero-dimensional tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        return iter([self[i, ...] for i in range(len(self))])

    def __repr__(self) -> str:
        label = "" if self.trace is CONSTANT else f", {type(self.trace).__name__} {self.trace.level}"
        return f"Tensor({self.value!r}{label})"


class Constant(Tensor):
    """A tensor that nothing differentiates: a type of its own, by which dispatch knows it."""

    __slots__ = ()


class ConstantTrace(Trace):
    """The lowest trace: values that nothing differentiates, held as tensors for their namespace's sake."""

    __slots__ = ()
    plain = True

    def __init__(self) -> None:
        self.level = 0
        self.open = True

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        values = tuple([a.value if isinstance(a, Traced) else a for a in args])
        return constants(op, kernel_for(op, values).run(*values, **params))


CONSTANT = ConstantTrace()


def hold(y: Any) -> Tensor:
    """A value as a tensor that nothing differentiates, unless it is a tensor already."""
    return y if isinstance(y, Tensor) else Constant(CONSTANT, y)


def constants(op: Op, y: Any) -> Any:
    """The results of an op, held as constants."""
    return hold(y) if not op.several else op.result(*map(hold, y))


def raw(x: Any) -> Any:
    """The raw array underneath any number of traces."""
    while isinstance(x, Traced):
        x = x.value
    return x


def backend_of(x: Any) -> Backend:
    """The backend of an array or tensor."""
    x = raw(x)
    backend = BY_TYPE[type(x)]
    if backend is None:
        raise TypeError(f"{type(x).__name__} is not an array of any installed backend")
    return backend


def kind(x: Any) -> int:
    """0 for integers and booleans, 1 for real floating, 2 for complex arrays."""
    return KIND[x.dtype]


def _rank(x: Any) -> int:
    """Of a tensor's dtype among the kinds, each of which holds those before it."""
    isdtype = backend_of(x).xp.isdtype
    kinds = ("bool", "unsigned integer", "signed integer", "real floating", "complex floating")
    return next((i for i, kind in enumerate(kinds) if isdtype(x.dtype, kind)), len(kinds))


def describe(x: Any) -> str:
    """Library, dtype, shape and device of an array or tensor, for messages."""
    backend, value = backend_of(x), raw(x)
    return f"{backend.name} {value.dtype} {tuple(value.shape)} on {device_of(value)}"


def stopped(x: Any) -> Any:
    """The same value, constant to every differentiation."""
    if not isinstance(x, Traced):
        return x
    if x.trace.differentiates:
        return hold(stopped(x.value))
    return type(x)(x.trace, bare(stopped(x.value)), x.payload)


def bare(x: Any) -> Any:
    """The raw array of a constant tensor; anything else as it is."""
    return x.value if isinstance(x, Tensor) and x.trace is CONSTANT else x


def number(x: Any, like: Any) -> Any:
    """A scalar of NumPy's, as the Python number where it stands beside arrays of another library."""
    if not isinstance(x, np.generic):
        return NotImplemented
    while isinstance(like, Traced):
        like = like.value
    return x if BY_TYPE[type(like)] is BY_TYPE[type(x)] else x.item()


def _operator(name: str, op: str, reflected: bool = False) -> Callable[..., Any]:
    args = "(other, self)" if reflected else "(self, other)"
    return define(
        f"def {name}(self, other, /):\n"
        f"    if not OPERANDS[type(other)]:\n"
        f"        other = number(other, self)\n"
        f"        if other is NotImplemented: return other\n"
        f"    return apply(op, {args}, NO_PARAMS)",
        name,
        {"OPERANDS": OPERANDS, "apply": apply, "op": TABLE[op], "NO_PARAMS": NO_PARAMS, "number": number},
    )


def _inplace(name: str, plain: str) -> Callable[..., Any]:
    return define(
        f"def {name}(self, other, /):\n"
        f"    new = self.{plain}(other)\n"
        f"    return new if new is NotImplemented else self.rebind(new)",
        name,
        {},
    )


def _unary(name: str, op: str) -> Callable[..., Any]:
    env = {"apply": apply, "op": TABLE[op]}
    return define(f"def {name}(self, /): return apply(op, (self,))", name, env)


def _of_numpy(name: str) -> property:
    """A method of NumPy's arrays; an AttributeError where the arrays underneath do not have it."""

    def attribute(self: Tensor) -> Any:
        from portagrad.protocols.methods import attribute

        return attribute(self, name)

    return property(attribute, doc=f"What NumPy calls ``x.{name}``, where the array underneath has it.")


for _stem, _op in {**OPERATORS, **COMPARISONS}.items():
    setattr(Tensor, f"__{_stem}__", _operator(f"__{_stem}__", _op))
for _stem, _op in OPERATORS.items():
    setattr(Tensor, f"__r{_stem}__", _operator(f"__r{_stem}__", _op, reflected=True))
    setattr(Tensor, f"__i{_stem}__", _inplace(f"__i{_stem}__", f"__{_stem}__"))
for _stem, _op in UNARY.items():
    setattr(Tensor, f"__{_stem}__", _unary(f"__{_stem}__", _op))
for _name in NUMPY_ATTRIBUTES:
    setattr(Tensor, _name, _of_numpy(_name))
