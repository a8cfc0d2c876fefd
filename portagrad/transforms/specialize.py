"""The hot path of eager mode: `ReverseTrace.process`, written out for one op and types of arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from portagrad.kernel import Kernel
from portagrad.op import Abstract, Op, define
from portagrad.recipe import recipe
from portagrad.tensor import Constant, Tensor
from portagrad.trace import Traced, dispatch, types_of
from portagrad.transforms.reverse import Node, indices

_TEXT = """
def path(op, args, params):
    {arguments}= args
    trace = a{first}.trace
    if {elsewhere}not trace.recording or pauses:
        return otherwise(op, args, params)
    {unwrapping}
    if {others}:
        return otherwise(op, args, params)
    {run}
    dtype = y.dtype
    v = ({given})
    nodes = ({nodes})
    if dtype is not n{first}.dtype or {kinds} != 1:
        return trace.finish(op, v, params, y, ({active}), {mask}, byproduct)
    node = new(Node)
    node.recipe, node.parents, node.params, node.saved, node.xp = recipe, nodes, params, {saved}, None
    node.shape, node.dtype, node.kind, node.index = y.shape, dtype, 1, next(indices)
    tensor = new(Tensor)
    tensor.trace, tensor.value, tensor.payload = trace, y, node
    return tensor
"""


def specialize(
    op: Op, args: Sequence[Any], values: Sequence[Any], kernel: Kernel, pauses: list[None]
) -> None:
    """Keep a path for arguments of these types with such values, the second time that they come.

    It takes for granted what held this time: which arguments are tensors of one trace, of which type their
    values are, that they are real, and the result of the dtype of the first. Where that does not hold, it
    goes the path that was there before, for values of other types, and in the end the long way.
    """
    types = types_of(args)
    times = kernel.recorded[types] = kernel.recorded.get(types, 0) + 1
    if times == 2 and (path := _written(op, types, values, kernel, pauses)) is not None:
        op.paths[types] = path


def _written(
    op: Op, types: Any, values: Any, kernel: Kernel, pauses: list[None]
) -> Callable[..., Any] | None:
    active = [i for i, kind in enumerate(types) if kind is Tensor]
    wrapped = [i for i, kind in enumerate(types) if issubclass(kind, Traced)]
    mask = sum(1 << i for i in active)
    live = mask & op.live
    if kernel.traced or op.several or not live or any(types[i] not in (Tensor, Constant) for i in wrapped):
        return None
    made = recipe(op, "pull", live, False)
    given = "".join(f"v{i}, " if i in wrapped else f"a{i}, " for i in range(len(types)))
    run = f"run({given}**params)" if op.params else f"run({given})"
    first, *rest = active
    text = _TEXT.format(
        arguments="".join(f"a{i}, " for i in range(len(types))),
        first=first,
        elsewhere="".join(f"a{i}.trace is not trace or " for i in rest),
        unwrapping="; ".join(
            [f"v{i} = a{i}.value" for i in wrapped] + [f"n{i} = a{i}.payload" for i in active]
        ),
        others=" or ".join(f"type(v{i}) is not T{i}" for i in wrapped),
        run=f"y, byproduct = {run}" if kernel.record else f"y, byproduct = {run}, None",
        given=given,
        nodes="".join(f"n{i}, " for i in active if live >> i & 1),
        active="".join(f"n{i}, " for i in active),
        kinds=" | ".join(f"n{i}.kind" for i in active),
        mask=mask,
        saved=made.saved,
    )
    env: dict[str, Any] = {f"T{i}": type(values[i]) for i in wrapped}
    env |= {"recipe": made, "run": kernel.record or kernel.run, "pauses": pauses}
    env |= {"otherwise": op.paths.get(types, dispatch)}
    env |= {"new": object.__new__, "indices": indices, "Node": Node, "Tensor": Tensor, "Abstract": Abstract}
    return define(text, "path", env)
