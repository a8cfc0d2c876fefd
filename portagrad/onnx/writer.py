"""Nodes and initialisers of an ONNX graph while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad.onnx.sizes import Dims, Size

OPSET = 18
"""The version of ONNX's standard ops that models are written in; onnxruntime has it since 1.14."""
IR_VERSION = 8
BOOL, INT64 = np.dtype(np.bool_), np.dtype(np.int64)


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the ONNX graph; its shape is known where an op of portagrad has made it."""

    name: str
    dtype: np.dtype[Any]
    dims: Dims = ()


class Writer:
    """Collects what an ONNX graph consists of.

    Parameters
    ----------
    taken : collection of str
        Names that are those of values already.
    symbols : sequence of (Size, str, int)
        Of each dynamic axis its size, and the name of an input and the axis where it is read.
    """

    def __init__(self, taken: set[str], symbols: Sequence[tuple[Size, str, int]]) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.line = ""
        self._taken = taken
        self._symbols = symbols
        self._known: dict[Any, Value] = {}

    def fresh(self, stem: str) -> str:
        """A name that no value has."""
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name

    @property
    def kept(self) -> set[str]:
        """Names of values that later nodes may use again."""
        return {value.name for value in self._known.values()}

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """An initialiser, one for equal arrays."""
        from onnx import numpy_helper

        array = np.asarray(array, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = self.fresh("k")
            self.initializers.append(
                numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            )
            self._known[key] = Value(name, array.dtype, array.shape)
        return self._known[key]

    def emit(self, op_type: str, *inputs: Value, dtype: Any = None, **attributes: Any) -> Value:
        """Add a node; its result is of the first input's dtype unless another is given."""
        its = inputs[0].dtype if dtype is None else np.dtype(dtype)
        return self.emit_several(op_type, inputs, (its,), **attributes)[0]

    def emit_several(
        self, op_type: str, inputs: Sequence[Value], dtypes: Sequence[np.dtype[Any]], **attributes: Any
    ) -> list[Value]:
        """Add a node of so many results as there are dtypes."""
        from onnx import helper

        outs = [self.fresh(op_type.lower()) for _ in dtypes]
        names = [x.name for x in inputs]
        self.nodes.append(helper.make_node(op_type, names, outs, doc_string=self.line or None, **attributes))
        return [Value(name, dtype) for name, dtype in zip(outs, dtypes, strict=True)]

    def cast(self, x: Value, dtype: Any) -> Value:
        """The same numbers in another dtype."""
        from onnx import helper

        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        return self.emit("Cast", x, dtype=dtype, to=helper.np_dtype_to_tensor_dtype(dtype))

    def ints(self, values: Sequence[int | Size]) -> Value:
        """Whole numbers as a tensor of one axis, computed where they depend on dynamic axes."""
        if all(isinstance(n, int) for n in values):
            return self.constant(np.asarray(values, dtype=np.int64).reshape(-1))
        key = ("ints", tuple(values))
        if key not in self._known:
            self._known[key] = self.emit("Concat", *map(self._one, values), dtype=INT64, axis=0)
        return self._known[key]

    def _one(self, n: int | Size) -> Value:
        """One number as a tensor of one element."""
        if isinstance(n, int):
            return self.constant([n], INT64)
        if n in self._known:
            return self._known[n]
        found = n.affine([size for size, _, _ in self._symbols])
        if found is None:
            raise ValueError(
                f"a size that depends on the dynamic axes as {n.values} is no sum of multiples of them"
            )
        offset, slopes = found
        total: Value | None = self.constant([offset], INT64) if offset else None
        for slope, (size, name, axis) in zip(slopes, self._symbols, strict=True):
            if slope:
                if size not in self._known:
                    whole = Value(name, INT64)
                    self._known[size] = self.emit("Shape", whole, dtype=INT64, start=axis, end=axis + 1)
                term = self._known[size]
                term = term if slope == 1 else self.emit("Mul", term, self.constant([slope], INT64))
                total = term if total is None else self.emit("Add", total, term)
        assert total is not None
        self._known[n] = total
        return total

    def reshaped(self, x: Value, dims: Dims) -> Value:
        """`x` in another shape; of one dynamic length ONNX finds the number itself."""
        moving = [i for i, n in enumerate(dims) if isinstance(n, Size)]
        if len(moving) == 1 and 0 not in dims:
            dims = tuple(-1 if i == moving[0] else n for i, n in enumerate(dims))
        return self.emit("Reshape", x, self.ints(dims), allowzero=1)


Lowering = Callable[..., Value | Sequence[Value]]
"""``lower(writer, out, *args, **params)``: `out` has the dtype and the shape that the result must have."""
