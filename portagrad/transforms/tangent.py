"""jvp and linearize: transforms of forward mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad.kernel import NAMESPACE
from portagrad.tensor import Tensor, bare, describe, hold
from portagrad.transforms.forward import ForwardTrace, Missing, settle_tangent
from portagrad.transforms.gradient import Inputs, array
from portagrad.transforms.reverse import PICK, Node, zeros
from portagrad.transforms.saved import reverse_trace
from portagrad.transforms.tree import (
    any_traced,
    check_place,
    differentiable,
    flatten,
    is_array,
    lowered,
    unflatten,
)


def jvp(f: Callable[..., Any], xs: tuple[Any, ...], ts: tuple[Any, ...], has_aux: bool = False) -> Any:
    """The value of a function and its derivative along a direction: the Jacobian times `ts`.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree.
    xs, ts : tuple of pytrees of floating arrays
        Where, and along what; of the same structure, shapes and dtypes.
    has_aux : bool
        Whether `f` returns a pair of its result and any pytree, not differentiated.

    Returns
    -------
    y, dy : pytrees of the same structure
    aux : pytree
        With `has_aux` only.

    Raises
    ------
    TypeError
        If structures or shapes differ.

    Examples
    --------
    >>> jvp(lambda x: x * x, (np.asarray([1.0, 2.0]),), (np.asarray([1.0, 0.5]),))
    (array([1., 4.]), array([2., 2.]))
    """
    leaves, structure = flatten(tuple(xs))
    directions, its = flatten(tuple(ts))
    if its != structure:
        raise TypeError(f"jvp: the tangents have structure {its}, the primals {structure}")
    traced = any_traced(leaves) or any_traced(directions)
    trace = ForwardTrace()
    tensors = []
    for i, (x, t) in enumerate(zip(leaves, directions, strict=True)):
        value = differentiable(x, "jvp", f"leaf {i} of the primals")
        tensors.append(Tensor(trace, value, tangent(t, value, i)))
    try:
        out = f(*unflatten(structure, tensors))
    finally:
        trace.close()
    y, aux = out if has_aux else (out, None)

    def outer(x: Any) -> Any:
        return hold(x) if traced and is_array(x) else array(x)

    results, structure = flatten(y)
    values = [outer(lowered(x, trace)) for x in results]
    moved = [outer(_tangent_of(x, trace)) for x in results]
    pair = unflatten(structure, values), unflatten(structure, moved)
    if not has_aux:
        return pair
    extra, structure = flatten(aux)
    return *pair, unflatten(structure, [outer(lowered(x, trace)) for x in extra])


def tangent(t: Any, value: Any, i: int) -> Any:
    """A caller's tangent, checked against its primal."""
    t = differentiable(t, "jvp", f"leaf {i} of the tangents") if not is_array(t) else bare(t)
    if tuple(t.shape) != tuple(value.shape):
        raise TypeError(
            f"jvp: leaf {i} is {describe(value)}, its tangent {describe(t)}; shapes must be equal"
        )
    check_place("jvp", "tangent", t, value)
    return settle_tangent(t, value)


def _tangent_of(x: Any, trace: ForwardTrace) -> Any:
    if isinstance(x, Tensor) and x.trace is trace:
        if isinstance(x.payload, Missing):
            raise x.payload.error
        return x.payload
    value = lowered(x, trace)
    return zeros(value, value) if is_array(value) else 0.0


def linearize(f: Callable[..., Any], *xs: Any) -> Any:
    """The value of a function and its derivative as a function of the direction.

    `f` runs once; each call of the result then costs about one evaluation, without the nonlinear work.

    Returns
    -------
    y : pytree
    pushforward : callable
        Takes tangents like `xs`, as so many arguments, and returns a pytree like `y`.

    Examples
    --------
    >>> y, pushforward = linearize(pg.sin, np.asarray([0.0, 1.0]))
    >>> pushforward(np.asarray([2.0, 1.0]))
    array([2.        , 0.54030231])
    """
    trace = reverse_trace("push")
    inputs = Inputs("linearize", trace, xs, range(len(xs)))
    with trace:
        y = f(*inputs.args)
    leaves, structure = flatten(y)
    ends = [x.payload if isinstance(x, Tensor) and x.trace is trace else None for x in leaves]
    values = [lowered(x, trace) for x in leaves]
    order = _ancestors([node for node in ends if node is not None])

    def pushforward(*ts: Any) -> Any:
        """The derivative along `ts`."""
        directions, its = flatten(ts)
        if its != flatten(xs)[1]:
            raise TypeError(f"pushforward: the tangents have structure {its}, the primals {flatten(xs)[1]}")
        moved: dict[Node, Any] = {}
        for i, (t, node, value) in enumerate(zip(directions, inputs.nodes, inputs.values, strict=True)):
            moved[node] = tangent(t, value, i)
        for node in order:
            if node.recipe is PICK:
                moved[node] = settle_tangent(moved[node.parents[0]][node.saved[0]], node)
            elif node.recipe is not None:
                given = [moved[parent] for parent in node.parents]
                xp = node.xp or _space(given)
                t = node.recipe.run_beside(given[0], given, node.saved, node.params, xp)
                moved[node] = t if node.shape is None else settle_tangent(t, node)
        out = [
            moved[node] if node is not None else zeros(value, value) if is_array(value) else 0.0
            for node, value in zip(ends, values, strict=True)
        ]
        return unflatten(structure, [inputs.outer(x) for x in out])

    return unflatten(structure, [inputs.outer(x) for x in values]), pushforward


def _space(values: list[Any]) -> Any:
    """The namespace of tangents: that of tensors if one of them is a tensor."""
    for x in values:
        if isinstance(x, Tensor):
            return x.__array_namespace__()
    return NAMESPACE[type(values[0])]


def _ancestors(nodes: list[Node]) -> list[Node]:
    """All nodes that these depend on, parents first."""
    found: dict[Node, None] = {}
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack.extend(node.parents)
    return sorted(found, key=lambda node: node.index)
