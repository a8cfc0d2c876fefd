"""Traces, and `apply`: the only dispatch."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from portagrad.backend import BY_TYPE
from portagrad.docstring import docstring
from portagrad.errors import Error, note_call
from portagrad.kernel import Kernel, resolve
from portagrad.op import NO_PARAMS, Op, define

_levels = itertools.count(1)


def new_level() -> int:
    """A level above those of all traces opened so far, and below those of later ones."""
    return next(_levels)


class Trace:
    """One transform at work. A later one lies higher: its values contain those of the earlier ones."""

    __slots__ = ("level", "open")
    axes = 0
    """How many axes in front of a value are the trace's own."""
    unplain = (
        "is being differentiated, and a Python number or NumPy array would lose its gradient; take "
        "pg.stop_gradient(x) first where that is meant, or return the value from the function (has_aux=True)"
    )
    """Why a value is no plain number, for messages."""
    plain = False
    """Whether values become Python numbers and NumPy arrays all the same."""
    differentiates = True
    """Whether `stop_gradient` leaves the trace."""
    recording = False
    """Whether the trace is open and records for the way back, as `op.paths` do."""

    def __init__(self) -> None:
        self.level = next(_levels)
        self.open = True

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        """Evaluate `op` where some of `args` belong to this trace and none to a higher one."""
        raise NotImplementedError

    def check_branch(self, value: Any, what: str) -> None:
        """Refuse a Python branch on a value, where the trace must not depend on one."""

    def check_shape(self, op: Op) -> None:
        """Refuse an op whose result's shape depends on numbers, where the trace does not have them."""

    def rebind(self, tensor: Traced, new: Traced) -> None:
        """Let the object `tensor` stand for the value of `new`."""
        tensor.__class__ = new.__class__
        tensor.trace, tensor.value, tensor.payload = new.trace, new.value, new.payload

    def backward(self, tensor: Any, gradient: Any, keep_graph: bool) -> None:
        """Go back from `tensor`, where the trace is the tape."""
        raise Error(
            "backward: this tensor is not on the tape; start from pg.tensor(x, requires_grad=True), "
            "or inside a differentiated function return the loss and let pg.grad go back"
        )

    def gradient(self, tensor: Any) -> Any:
        """The accumulated gradient of a leaf of the tape, else None."""

    def set_gradient(self, tensor: Any, value: Any) -> None:
        """Set the accumulated gradient of a leaf of the tape."""
        raise Error("only tensors made by pg.tensor(..., requires_grad=True) keep a .grad")

    def close(self) -> None:
        """End the transform: values that are still around have leaked."""
        self.open = False


class Traced:
    """A value that belongs to a trace; `Tensor` adds the operators.

    Attributes
    ----------
    trace : Trace
    value : array
        Raw, or a value of a lower trace.
    payload
        What the trace knows of it: a node, a tangent.
    """

    __slots__ = ("__weakref__", "payload", "trace", "value")

    def __init_subclass__(cls) -> None:
        BY_TYPE[cls] = None  # no library's array: no adapter is asked

    def __init__(self, trace: Trace, value: Any, payload: Any = None) -> None:
        self.trace = trace
        self.value = value
        self.payload = payload


def apply(op: Op, args: tuple[Any, ...], params: Mapping[str, Any] = NO_PARAMS) -> Any:
    """Let the highest trace among `args` process `op`; with none, the backend evaluates it.

    An exception of the library's is told which op it comes from.
    """
    try:
        return op.paths.get(types_of(args), dispatch)(op, args, params)
    except Exception as error:
        note_call(error, op.name, args, params)
        raise


def types_of(args: Any) -> tuple[type, ...]:
    """The types of arguments, for a look-up; to go through them would cost three times as much."""
    count = len(args)
    if count == 2:
        return type(args[0]), type(args[1])
    if count == 1:
        return (type(args[0]),)
    if count == 3:
        return type(args[0]), type(args[1]), type(args[2])
    return tuple([type(a) for a in args])


def dispatch(op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """`apply`, whatever the arguments. For some types of them `op.paths` has a function that is faster."""
    top = None
    for a in args:
        if isinstance(a, Traced):
            trace = a.trace
            if top is None or trace.level > top.level:
                top = trace
    if top is None:
        return evaluate(op, args, params)
    if op.kind == "composite":
        assert op.forward is not None
        if op.ragged:
            top.check_shape(op)
        xp = next(a for a in args if isinstance(a, Traced)).__array_namespace__()  # type: ignore[attr-defined]
        return op.forward(*[a if BY_TYPE[type(a)] is None else xp.hold(a) for a in args], xp=xp, **params)
    return top.process(op, args, params)


def evaluate(op: Op, args: Any, params: Mapping[str, Any] = NO_PARAMS) -> Any:
    """Run `op` on raw arrays, or on values of lower traces."""
    return kernel_for(op, args).run(*args, **params)


def kernel_for(op: Op, args: Any) -> Kernel:
    """The kernel of `op` for these arguments, found by their types and kept."""
    types = types_of(args)
    try:
        return op.kernels[types]  # type: ignore[no-any-return]
    except KeyError:
        if any(isinstance(a, Traced) for a in args):
            kernel = Kernel(lambda *args, **params: apply(op, args, params))
        else:
            kernel = resolve(op, args)
        op.kernels[types] = kernel
        return kernel


def _fixed(value: Any, name: str) -> Any:
    """A parameter that may be an array, without the wrapping of a constant."""
    return value.concrete(name) if isinstance(value, Traced) else value  # type: ignore[attr-defined]


def public(op: Op, dispatch: Callable[..., Any] = apply) -> Callable[..., Any]:
    """The public function of an op, of its exact signature, dispatching on its arguments."""
    name = op.name.rpartition(".")[2]
    if op.starred:
        given = f"tuple({op.arrays[0][1:]})"
    else:
        given = f"({''.join(a + ', ' for a in op.arrays)})"
    told = {p: f"{op.name}, {p}= ({why})" for p, why in op.fixed.items()}
    read = {p: f"fixed({p}, {told[p]!r})" if p in told else p for p in op.params}
    params = "{" + ", ".join(f"{p!r}: {read[p]}" for p in op.params) + "}" if op.params else "NO_PARAMS"
    function = define(
        f"def {name}{op.signature}:\n    return apply(op, {given}, {params})",
        name,
        {"apply": dispatch, "op": op, "NO_PARAMS": NO_PARAMS, "fixed": _fixed},
    )
    function.__module__ = "portagrad"
    function.__qualname__ = name
    function.__doc__ = docstring(op, inspect.signature(function))
    return function
