"""grad, value_and_grad and vjp: transforms of reverse mode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from portagrad.backend import BY_TYPE, KIND
from portagrad.errors import NonDifferentiableError
from portagrad.kernel import NAMESPACE, namespace
from portagrad.tensor import CONSTANT, Constant, Tensor, bare, describe, hold
from portagrad.trace import Traced
from portagrad.transforms.record import ReverseTrace
from portagrad.transforms.reverse import Node, indices, sweep, zeros
from portagrad.transforms.saved import reverse_trace
from portagrad.transforms.tree import (
    any_traced,
    check_place,
    differentiable,
    flatten,
    is_array,
    lowered,
    tree_map,
    unflatten,
    wrapped,
)

new = object.__new__


class Inputs:
    """Arguments of a differentiated function: the asked-for ones made leaves of a new trace."""

    __slots__ = ("args", "nodes", "structures", "traced", "values")

    def __init__(self, what: str, trace: ReverseTrace, args: Sequence[Any], argnums: Sequence[int]) -> None:
        self.values: list[Any] = []
        self.nodes: list[Node] = []
        self.structures: list[Any] = []
        self.traced = False
        self.args: list[Any] = []
        for i, arg in enumerate(args):
            if i not in argnums and BY_TYPE[type(arg)] is not None:
                self.args.append(Constant(CONSTANT, arg))
                continue
            leaves, structure = flatten(arg)
            if i not in argnums:
                self.traced = self.traced or any_traced(leaves)
                self.args.append(unflatten(structure, [wrapped(x) for x in leaves]))
                continue
            nodes = self.nodes
            tensors: list[Tensor] = []
            for x in leaves:
                space = NAMESPACE[type(x)]
                kind = space and space.kinds[x.dtype]
                if not kind:
                    self.traced = self.traced or isinstance(x, Traced)
                    x = differentiable(
                        x, what, f"argument {i}" + (f", leaf {len(tensors)}," if len(leaves) > 1 else "")
                    )
                    kind = KIND[x.dtype]
                self.values.append(x)
                node = new(Node)  # as `leaf`, without the call of a constructor that is written in Python
                node.recipe, node.parents, node.saved, node.params, node.xp = None, (), None, None, None
                node.shape, node.dtype, node.kind, node.index = x.shape, x.dtype, kind, next(indices)
                nodes.append(node)
                tensor = new(Tensor)
                tensor.trace, tensor.value, tensor.payload = trace, x, node
                tensors.append(tensor)
            self.structures.append((structure, len(leaves)))
            self.args.append(unflatten(structure, tensors))

    def gather(self, found: dict[Node, Any]) -> list[Any]:
        """Cotangents of the asked-for arguments, zeros where none arrived; no two share their memory."""
        leaves = []
        for node, value in zip(self.nodes, self.values, strict=True):
            g = found.get(node)
            g = zeros(node, value) if g is None else owned(g)
            leaves.append(self.outer(g) if self.traced or not node.shape else g)
        if len(set(map(id, leaves))) < len(leaves):
            leaves = [namespace(g).asarray(g, copy=True) for g in leaves]
        out, start = [], 0
        for structure, n in self.structures:
            out.append(unflatten(structure, leaves[start : start + n], remember=True))
            start += n
        return out

    def outer(self, x: Any) -> Any:
        """A result as the caller expects it: raw for raw arguments, tensors for tensors."""
        return hold(x) if self.traced and is_array(x) else array(x)

    def results(self, tree: Any, trace: ReverseTrace) -> Any:
        """What the function returned, without the wrapping of its trace."""
        return tree_map(lambda x: self.outer(lowered(x, trace)), tree)


def owned(g: Any) -> Any:
    """A gradient that its owner may write to, no view that repeats an element."""
    space = NAMESPACE[type(g)]
    return g if space is None or space.own is None else space.own(g)


def array(x: Any) -> Any:
    """A raw result as an array: NumPy's scalars stand for arrays only inside the engine."""
    if isinstance(x, Traced) or getattr(x, "shape", None) != () or type(x) in _ARRAYS:
        return x
    made = namespace(x).asarray(x)
    _ARRAYS.add(type(made))
    return made


_ARRAYS: set[type] = set()  # types that `asarray` has returned, which need it no more


def positions(what: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """`argnums` as a tuple of indices into the positional arguments."""
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for i in wanted:
        if not -count <= i < count:
            raise TypeError(f"{what}: argnums has {i}, but the call has {count} positional arguments")
    return tuple([i % count for i in wanted])


def scalar(what: str, y: Any) -> None:
    """A loss must be a real number: one element, no axes."""
    if not is_array(y):
        raise TypeError(
            f"{what}: the function returned a {type(y).__name__}, not an array of shape (); "
            f"return the loss itself, and other results with has_aux=True"
        )
    if tuple(y.shape) != ():
        raise TypeError(
            f"{what}: the function returned shape {tuple(y.shape)}, not a scalar; "
            f"reduce it, for example with pg.sum, or use pg.jacobian"
        )
    if KIND[y.dtype] != 1:
        hint = "take its real part or modulus" if KIND[y.dtype] else "it does not depend smoothly on anything"
        raise NonDifferentiableError(f"{what}: the loss is {describe(y)}, not real floating; {hint}")


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the value of a scalar function and its gradient.

    Back-propagation (Goodfellow, Bengio and Courville, 2016, "Deep Learning", algorithm 6.2). Of a complex
    argument the gradient is dL/dRe + i dL/dIm, so that ``x - lr * g`` descends.

    Parameters
    ----------
    f : callable
        Returns a real array of shape (); with `has_aux` a pair of it and any pytree.
    argnums : int or sequence of int
        The positional arguments, pytrees of floating arrays, to differentiate by. Nothing else is computed.
    has_aux : bool
        Whether `f` returns auxiliary results.

    Returns
    -------
    callable
        Maps f's arguments to ``(value, gradient)``, or ``((value, aux), gradient)``; the gradient has the
        structure, shapes, dtypes and devices of the argument, and is a tuple where `argnums` is a sequence.

    Raises
    ------
    NonDifferentiableError
        If an argument to differentiate by holds integers.
    TypeError
        If the result is not a scalar.

    Examples
    --------
    >>> value, gradient = value_and_grad(lambda x: pg.sum(x * x))(np.asarray([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """
    return differentiated(f, argnums, has_aux, _swept)


Back = Callable[[Inputs, Any, Any], "dict[Node, Any]"]
"""``back(inputs, node, y)``: cotangents of the inputs' nodes for a loss of this node and the value y."""


def _swept(inputs: Inputs, node: Any, y: Any) -> dict[Node, Any]:
    return {} if node is None else sweep([(node, ones(y))], keep=False)


def differentiated(
    f: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool, back: Back
) -> Callable[..., Any]:
    """`value_and_grad` with a way back of one's own."""

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        trace = reverse_trace()
        chosen = (0,) if argnums == 0 and args else positions("grad", argnums, len(args))
        inputs = Inputs("grad", trace, args, chosen)
        if kwargs:
            kwargs = tree_map(wrapped, kwargs)
        with trace:
            out = f(*inputs.args, **kwargs)
        y, aux = out if has_aux else (out, None)
        node = y.payload if isinstance(y, Tensor) and y.trace is trace else None
        if node is None or node.shape != () or node.kind != 1:
            scalar("grad", y)
        value = lowered(y, trace)
        gradients: Any = inputs.gather(back(inputs, node, value))
        wanted: Any = argnums
        if isinstance(wanted, int):
            (gradients,) = gradients
        else:
            order = sorted(set(positions("grad", wanted, len(args))))
            gradients = tuple([gradients[order.index(i)] for i in positions("grad", wanted, len(args))])
        value = inputs.outer(value)
        return ((value, inputs.results(aux, trace)) if has_aux else value), gradients

    return named_after(f, value_and_gradient)


def named_after(f: Callable[..., Any], made: Any) -> Callable[..., Any]:
    """What `functools.wraps` does, at a quarter of its time: steps are differentiated anew each time."""
    try:
        made.__name__, made.__qualname__, made.__module__ = f.__name__, f.__qualname__, f.__module__
        made.__doc__, made.__annotations__ = f.__doc__, f.__annotations__
        if f.__dict__:
            made.__dict__.update(f.__dict__)
        made.__wrapped__ = f
    except AttributeError:  # of an object that can be called
        functools.update_wrapper(made, f)
    return made  # type: ignore[no-any-return]


def ones(y: Any) -> Any:
    """The cotangent of a scalar loss with respect to itself."""
    space = NAMESPACE[type(y)]
    if space is not None:
        return space.one(y)
    xp = namespace(y)
    return xp.ones((), dtype=y.dtype, device=xp.device_of(y))


def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar function.

    Parameters
    ----------
    f, argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    callable
        Maps f's arguments to the gradient, or with `has_aux` to ``(gradient, aux)``.

    Examples
    --------
    >>> grad(lambda x: pg.sum(pg.sin(x)))(np.asarray([0.0, 1.0]))
    array([1.        , 0.54030231])
    >>> grad(grad(lambda x: x ** 3))(2.0)
    array(12.)
    """
    both = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return named_after(f, gradient)


def vjp(f: Callable[..., Any], *xs: Any, has_aux: bool = False) -> Any:
    """The value of a function and its pullback: cotangents of the result to cotangents of the arguments.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree.
    *xs : pytrees of floating arrays
        Where to evaluate; close over what is not to be differentiated.
    has_aux : bool
        Whether `f` returns a pair of its result and any pytree, not differentiated.

    Returns
    -------
    y : pytree
    pullback : callable
        Takes a pytree like `y` and returns a tuple like `xs`: the transposed Jacobian times it (for complex
        values the adjoint). It can be called any number of times.
    aux : pytree
        With `has_aux` only.

    Examples
    --------
    >>> y, pullback = vjp(lambda x: x * x, np.asarray([1.0, 2.0]))
    >>> pullback(np.asarray([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    trace = reverse_trace()
    inputs = Inputs("vjp", trace, xs, range(len(xs)))
    with trace:
        out = f(*inputs.args)
    y, aux = out if has_aux else (out, None)
    leaves, structure = flatten(y)
    outs = [lowered(x, trace) for x in leaves]
    nodes = [x.payload if isinstance(x, Tensor) and x.trace is trace else None for x in leaves]

    def pullback(g: Any) -> tuple[Any, ...]:
        """Cotangents of the arguments from cotangents of the result."""
        given, its = flatten(g)
        if its != structure:
            raise TypeError(f"pullback: the cotangent has structure {its}, the result {structure}")
        seeds = []
        for c, value, node in zip(given, outs, nodes, strict=True):
            if is_array(value):  # else it is a constant that is no array, and so is its cotangent
                c = cotangent(c, value)
                if node is not None:
                    seeds.append((node, c))
        if any_traced([c for _, c in seeds]):  # one tensor among them, and all the sweep is of tensors
            seeds = [(node, hold(c)) for node, c in seeds]
        return tuple(inputs.gather(sweep(seeds)))

    value = unflatten(structure, [inputs.outer(x) for x in outs])
    return (value, pullback, inputs.results(aux, trace)) if has_aux else (value, pullback)


def cotangent(c: Any, value: Any) -> Any:
    """A caller's cotangent, checked against the value it belongs to."""
    if isinstance(c, int | float | complex) and not is_array(c):
        xp = namespace(value)
        c = xp.full(tuple(value.shape), c, dtype=value.dtype, device=xp.device_of(value))
    if not is_array(c) or tuple(c.shape) != tuple(value.shape):
        shape = tuple(c.shape) if is_array(c) else type(c).__name__
        raise TypeError(f"pullback: a cotangent has shape {shape}, its value {tuple(value.shape)}")
    check_place("pullback", "cotangent", c, value)
    return bare(c)
