"""From a function to an ONNX model: record it, write each op's counterpart, check what was written."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import portagrad
from portagrad.backend import BY_TYPE
from portagrad.device import device_of, transfer
from portagrad.errors import Error, NoCounterpartError
from portagrad.onnx.counterparts import COUNTERPARTS
from portagrad.onnx.sizes import Dims, Filled, Merged, Size, recordings
from portagrad.onnx.writer import IR_VERSION, OPSET, Value, Writer
from portagrad.op import TABLE
from portagrad.train.run_folder import replacing
from portagrad.transforms.equations import Equation, Variable
from portagrad.transforms.graph import record
from portagrad.transforms.text import called
from portagrad.transforms.tree import flatten, is_array, unflatten

# Their forwards assign to elements, which is one of them again.
_OPAQUE = ("indexing", "gathering", "random")


def export(
    f: Any,
    args: tuple[Any, ...],
    path: str | Path | None = None,
    *,
    dynamic: Mapping[str, Sequence[str | None]] | None = None,
    outputs: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Write a function as an ONNX model.

    The function is recorded as `pg.graph` does, and each of its ops written by its counterpart in ONNX; an op
    that has none is written by those that its portable definition consists of. Arrays that it closes over,
    such as a model's weights, become initialisers.

    Parameters
    ----------
    f : callable
        Maps pytrees of real arrays to a pytree of arrays, for example a `pg.nn.Module`.
    args : tuple of pytrees
        Example arguments; their arrays give the inputs' dtypes and shapes.
    path : str or Path, optional
        Where to write it, whole or not at all.
    dynamic : mapping, optional
        By an input's name, a name for each of its axes whose length may be another in each run, and None for
        one that is fixed: ``{"x": ("batch", None)}``. Axes of one name have one length. The function is
        recorded at several sizes to find what depends on them.
    outputs : sequence of str, optional
        Names of the results; by default ``y``, or ``y0``, ``y1`` and so on.
    metadata : mapping of str to str, optional
        Properties to store in the model.

    Returns
    -------
    onnx.ModelProto
        Checked by ``onnx.checker``; of the version ``pg.onnx.OPSET`` of ONNX's ops.

    Raises
    ------
    NoCounterpartError
        If an op, a dtype or an index has no counterpart in ONNX; the message has the op and its line.
    ConcretizationError
        If what `f` computes depends on values, or on dynamic sizes in a way that ONNX cannot follow.
    Error
        If ONNX is not installed.

    Examples
    --------
    >>> model = pg.nn.MLP.init(pg.random.key(0), [4, 8, 3])
    >>> example = np.ones((2, 4), np.float32)
    >>> written = export(model, (example,), dynamic={"x": ("batch", None)})
    >>> [node.op_type for node in written.graph.node]
    ['Gemm', 'Relu', 'Gemm']
    """
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise Error("onnx.export needs ONNX, not installed here: pip install 'portagrad[onnx]'") from None
    merged, symbols, dims_of = _recorded(f, args, dict(dynamic or {}))
    graph = merged.base
    names = graph.names()
    given = {v: Value(names[v], _dtype(v, "an input"), merged.dims(v)) for v in graph.inputs}
    results = list(outputs) if outputs is not None else _result_names(len(graph.outputs))
    if len(results) != len(graph.outputs):
        raise ValueError(f"onnx.export: {len(results)} names for {len(graph.outputs)} results")
    where = [(size, *dims_of[symbol]) for symbol, size in symbols.items()]
    w = Writer({*names.values(), *results}, where)
    values: dict[Any, Value] = dict(given)
    for step in merged.steps:
        w.line = step.line
        for v, value in zip(step.outs, _lowered(w, merged, step, values, names), strict=True):
            values[v] = value
    w.line = ""
    outs = []
    for name, y in zip(results, merged.outputs, strict=True):
        result = _argument(w, y, values)
        if result is None:
            raise TypeError(f"onnx.export: the result {name} of {graph.name} is None, not an array")
        w.emit("Identity", result)
        w.nodes[-1].output[0] = name
        outs.append(Value(name, result.dtype, result.dims))
    _shorten(w.nodes, set(results), {x.name for x in given.values()} | w.kept)
    text = {size: symbol for symbol, size in symbols.items()}
    made = helper.make_graph(
        w.nodes,
        graph.name.strip("<>") or "f",
        [_info(x, text) for x in given.values()],
        [_info(y, text) for y in outs],
        w.initializers,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="portagrad",
        producer_version=portagrad.__version__,
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(model.SerializeToString())
    return model


@functools.cache
def _inlined() -> frozenset[str]:
    """The ops that are written by what they consist of."""
    return frozenset(
        name
        for name, op in TABLE.items()
        if op.forward is not None and name not in COUNTERPARTS and op.category not in _OPAQUE
    )


def _lacks_double(eq: Equation) -> bool:
    """Whether onnxruntime has ONNX's op in single precision only, while portagrad has a definition."""
    return eq.op.name == "special.erf" and str(eq.outs[0].dtype).endswith("float64")


def _name(f: Any) -> str:
    return str(getattr(f, "__name__", type(f).__name__))


def _recorded(
    f: Any, args: tuple[Any, ...], dynamic: dict[str, Sequence[str | None]]
) -> tuple[Merged, dict[str, Size], dict[str, tuple[str, int]]]:
    """The recordings as one, the dynamic axes by name, and where each is read."""
    plain = record(_name(f), f, args, _inlined())
    inlined = _inlined() | {eq.op.name for eq in plain.equations if _lacks_double(eq)}
    names = plain.names()
    inputs = [names[v] for v in plain.inputs]
    leaves, structure = flatten(args)
    arrays = [i for i, x in enumerate(leaves) if is_array(x)]
    unknown = [name for name in dynamic if name not in inputs]
    if unknown:
        raise ValueError(f"onnx.export: dynamic names {unknown[0]!r}; the inputs are {', '.join(inputs)}")
    places: dict[str, list[tuple[int, int]]] = {}
    for name, axes in dynamic.items():
        i = arrays[inputs.index(name)]
        if len(axes) != len(leaves[i].shape):
            raise ValueError(
                f"onnx.export: dynamic[{name!r}] has {len(axes)} names, but {name} has the shape "
                f"{tuple(leaves[i].shape)}; give None for an axis that is fixed"
            )
        for axis, symbol in enumerate(axes):
            if symbol is not None:
                places.setdefault(symbol, []).append((i, axis))
    first = {symbol: (inputs[arrays.index(at[0][0])], at[0][1]) for symbol, at in places.items()}

    def at_sizes(sizes: Sequence[int]) -> Any:
        mine = list(leaves)
        for n, where in zip(sizes, places.values(), strict=True):
            for i, axis in where:
                mine[i] = _resized(mine[i], axis, n)
        return record(_name(f), f, unflatten(structure, mine), inlined)

    lengths = [leaves[at[0][0]].shape[at[0][1]] for at in places.values()]
    merged, sizes = recordings(lengths, at_sizes)
    return merged, dict(zip(places, sizes, strict=True)), first


def _resized(x: Any, axis: int, n: int) -> Any:
    """`x` with its rows along an axis repeated or cut to be `n`."""
    backend = BY_TYPE[type(x)]
    assert backend is not None
    host = backend.to_numpy(x)
    if not host.shape[axis]:
        raise ValueError(f"onnx.export: an example of shape {host.shape} has no rows; pass one with some")
    return transfer(np.take(host, np.arange(n) % host.shape[axis], axis=axis), device_of(x))


def _result_names(count: int) -> list[str]:
    return ["y"] if count == 1 else [f"y{i}" for i in range(count)]


def _dtype(v: Variable, what: str) -> np.dtype[Any]:
    text = str(v.dtype).rpartition(".")[2]
    try:
        dtype = np.dtype(text)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise NoCounterpartError(f"onnx.export: {what} is {text}, which ONNX's ops do not compute with")
    return dtype


def _argument(w: Writer, a: Any, values: dict[Any, Value]) -> Value | None:
    """What an op is given: a value of the ONNX graph, or None."""
    if isinstance(a, Variable):
        return values[a]
    if isinstance(a, Filled):
        return Value(w.emit("Expand", w.constant(a.value), w.ints(a.dims)).name, a.value.dtype, a.dims)
    return None if a is None else w.constant(a)


def _lowered(
    w: Writer, merged: Merged, step: Any, values: dict[Any, Value], names: Mapping[Any, str]
) -> list[Value]:
    """Write one op; its results with the shapes and dtypes that they have in portagrad."""
    said = f"{called(step.op, step.recorded.args, step.recorded.params, names)} at {step.line}"
    lower = COUNTERPARTS.get(step.op.name)
    if lower is None:
        raise NoCounterpartError(f"onnx.export: {step.op.name} has no counterpart in ONNX: {said}")
    outs = [Value(names[v], _dtype(v, f"a result of {said}"), merged.dims(v)) for v in step.outs]
    args = [a if _plain(a) else _argument(w, a, values) for a in step.args]
    known = [a.dtype for a in args if isinstance(a, Value)]
    # A Python number takes the dtype of the arrays beside it, unless it is of another kind.
    common = np.result_type(*known) if known else outs[0].dtype
    args = [w.constant(a, np.result_type(common, a)) if _plain(a) else a for a in args]
    params = {name: value for name, value in step.params.items() if name not in ("device", "copy")}
    try:
        made = lower(w, outs[0], *args, **params)
    except (ValueError, TypeError) as error:
        raise NoCounterpartError(
            f"onnx.export: {step.op.name} has no counterpart in ONNX: {error}; {said}"
        ) from None
    parts = made if isinstance(made, list) else [made]
    return [
        Value(w.cast(part, out.dtype).name, out.dtype, out.dims)
        for part, out in zip(parts, outs, strict=True)
    ]


def _plain(a: Any) -> bool:
    return isinstance(a, bool | int | float | complex)


def _shorten(nodes: list[Any], results: set[str], fixed: set[str]) -> None:
    """Let the node that computes a result carry the result's name, and drop the copy."""
    by_output = {name: node for node in nodes for name in node.output}
    for node in [n for n in nodes if n.op_type == "Identity" and n.output[0] in results]:
        source = node.input[0]
        maker = by_output.get(source)
        if maker is None or source in fixed or source in results:
            continue
        nodes.remove(node)
        for other in nodes:
            for i, name in enumerate(other.input):
                if name == source:
                    other.input[i] = node.output[0]
        for i, name in enumerate(maker.output):
            if name == source:
                maker.output[i] = node.output[0]


def _info(x: Value, text: Mapping[Size, str]) -> Any:
    from onnx import helper

    dims: Dims = x.dims
    return helper.make_tensor_value_info(
        x.name,
        helper.np_dtype_to_tensor_dtype(x.dtype),
        [n if isinstance(n, int) else text.get(n) for n in dims],
    )
