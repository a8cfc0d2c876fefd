"""Pytrees of arrays as flat buffers: where each array lies, how it gets there, and how it comes back."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, Backend
from portagrad.kernel import raw_namespace
from portagrad.tensor import CONSTANT, Tensor, bare, hold
from portagrad.trace import Traced
from portagrad.transforms.tree import Varying, unflatten

Array = np.ndarray[Any, Any]

WIRE = {
    "bool": "uint8",
    "float16": "float32",  # MPI knows no half precision, and sums of it are better than it
    "bfloat16": "float32",
    **{
        name: name
        for name in (
            *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
            *("float32", "float64", "complex64", "complex128"),
        )
    },
}
"""What travels for an array of each dtype."""
NUMBERS = {bool: "bool", int: "int64", Varying: "int64", float: "float64", complex: "complex128"}
"""Python's numbers by what they travel as."""

SMALL = 4096
"""Bytes up to which a result is copied out of its buffer: a list of losses must not keep the gradients."""


@dataclass(frozen=True)
class Place:
    """One leaf's part of a flat buffer: `number` is the type of a Python scalar, `held` a constant tensor."""

    leaf: int
    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: Any
    number: type | None = None
    held: bool = False


class Memory:
    """The memory of a buffer, lent out until the last array on it is gone.

    Results are views of the buffer that was reduced, so that nothing is copied back; a caller who keeps some
    of them gets others the next time.
    """

    def __init__(self) -> None:
        self._bytes: Any = None
        self._lent: weakref.ref[Array] | None = None

    @property
    def lent(self) -> bool:
        """Whether somebody has an array on it."""
        return self._lent is not None and self._lent() is not None

    def lend(self, size: int, dtype: Any) -> Array:
        """A flat array that nobody else has."""
        if self.lent:
            return np.empty(size, dtype)
        if self._bytes is None:
            self._bytes = np.empty(max(1, size * np.dtype(dtype).itemsize), np.uint8).data
        # NumPy's views keep the array that they are made of, unless its memory is another array's: so this
        # is of a memoryview, and lives as long as any view of it.
        flat: Array = np.frombuffer(self._bytes, dtype, size)
        self._lent = weakref.ref(flat)
        return flat


class Group:
    """The leaves of one library, device and dtype of a tree, end to end in one buffer.

    Attributes
    ----------
    wire : numpy.dtype
        Of the buffer.
    backend, device
        Where the arrays live; None for NumPy's and Python's numbers.
    scaled : bool
        Whether packing divides by the number of ranks, so that the sum is the mean.
    """

    def __init__(self, wire: str, backend: Backend | None, device: Any, factor: float = 1.0) -> None:
        self.wire = np.dtype(wire)
        self.scaled, self._factor = factor != 1.0, self.wire.type(factor)
        self.backend, self.device = backend, device
        self.places: list[Place] = []
        self.size = 0
        self._memories = (Memory(), Memory())  # the second for those who still read the last result

    def add(self, leaf: int, shape: tuple[int, ...], dtype: Any, number: type | None, held: bool) -> None:
        """Append a leaf."""
        stop = self.size + math.prod(shape)
        self.places.append(Place(leaf, self.size, stop, shape, dtype, number, held))
        self.size = stop

    def guard(self) -> AbstractContextManager[Any]:
        """The device made current, where that is ambient."""
        return self.backend.guard(self.device) if self.backend and self.backend.guard else nullcontext()

    def pack(self, leaves: Sequence[Any]) -> Any:
        """The buffer with these leaves: NumPy's for NumPy's, else one array on the device."""
        if self.backend is None:
            first, second = self._memories
            flat = (second if first.lent else first).lend(self.size, self.wire)
            for place in self.places:
                part, x = flat[place.start : place.stop].reshape(place.shape), bare(leaves[place.leaf])
                if self.scaled:
                    np.multiply(x, self._factor, out=part, casting="same_kind")
                else:
                    part[...] = x
            return flat
        xp = raw_namespace(self.backend)
        with self.guard():
            parts = [xp.reshape(bare(leaves[place.leaf]), (-1,)) for place in self.places]
            flat = xp.concat(parts)
            return xp.astype(flat, getattr(xp, self.wire.name), copy=False)

    def to_host(self, flat: Any) -> Array:
        """A buffer in the host's memory that may be written to."""
        if self.backend is None:
            own: Array = flat
            return own
        with self.guard():
            return np.ascontiguousarray(self.backend.to_numpy(flat))

    def from_host(self, flat: Array) -> Any:
        """A buffer back on the device."""
        return flat if self.backend is None else self.backend.from_numpy(flat, self.device)

    def unpack(self, flat: Any, leaves: list[Any]) -> None:
        """Put the parts of a buffer into the places of the leaves."""
        if self.backend is None:
            for place in self.places:
                part = flat[place.start : place.stop].reshape(place.shape)
                if place.number is not None:
                    leaves[place.leaf] = place.number(part[()])
                else:
                    part = part.astype(place.dtype, copy=part.nbytes <= SMALL)
                    leaves[place.leaf] = hold(part) if place.held else part
            return
        xp = raw_namespace(self.backend)
        with self.guard():
            for place in self.places:
                part = xp.astype(flat[place.start : place.stop], place.dtype, copy=not place.shape)
                part = xp.reshape(part, place.shape)
                leaves[place.leaf] = hold(part) if place.held else part


class Layout:
    """How the leaves of trees of one kind lie in flat buffers.

    Attributes
    ----------
    op : str
        What is to be done with them.
    lines : tuple of str
        What ranks must have in common, a line for each leaf.
    groups : list of Group

    Raises
    ------
    TypeError
        If a leaf cannot travel, or cannot be reduced by `op`.
    """

    def __init__(self, structure: Any, leaves: Sequence[Any], op: str, size: int) -> None:
        self.structure, self.op = structure, op
        # Halves and quarters are exact, and a product while packing is a pass over the buffer less.
        factor = 1 / size if op == "mean" and size & (size - 1) == 0 else 1.0
        self.groups: list[Group] = []
        found: dict[Any, Group] = {}
        lines = []
        for i, (path, x) in enumerate(zip(structure.accessors(), leaves, strict=True)):
            name = path.codify("")
            dtype, shape, backend, number = _described(x, name)
            _check_op(op, dtype, name)
            wire = WIRE[dtype]
            # What Python and NumPy have is in the host's memory already.
            own = None if number or isinstance(bare(x), np.ndarray | np.generic) else backend
            device = own and own.device_of(bare(x))
            key = (wire, own and own.name, device and str(device))
            group = found.get(key)
            if group is None:
                group = found[key] = Group(wire, own, device, 1.0 if own else factor)
                self.groups.append(group)
            native = None if number else bare(x).dtype
            group.add(i, shape, native, number, isinstance(x, Tensor))
            lines.append(f"{name or 'it'}: {number.__name__ if number else dtype} {shape}")
        sizes = ", ".join(f"{group.size} of {group.wire.name}" for group in self.groups)
        self.lines = (*lines, f"buffers: {sizes or 'none'}")

    def pack(self, leaves: Sequence[Any]) -> list[Any]:
        """A buffer for each group."""
        return [group.pack(leaves) for group in self.groups]

    def unpack(self, flats: Sequence[Any]) -> Any:
        """The tree of what the buffers hold."""
        leaves: list[Any] = [None] * self.structure.num_leaves
        for group, flat in zip(self.groups, flats, strict=True):
            group.unpack(flat, leaves)
        return unflatten(self.structure, leaves, remember=True)


def kind(x: Any) -> Any:
    """What of a leaf decides about its place: equal for two leaves that one layout serves."""
    held, x = isinstance(x, Tensor), bare(x)
    backend = BY_TYPE[type(x)]
    if backend is None:
        return type(x)
    device = None if backend.one_device else str(backend.device_of(x))
    return type(x), tuple(x.shape), x.dtype, device, held


def nbytes(x: Any) -> int:
    """The bytes in which an array travels."""
    size: int = math.prod(x.shape)
    return size * np.dtype(WIRE[_name(x.dtype)]).itemsize


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def _described(x: Any, name: str) -> tuple[str, tuple[int, ...], Backend | None, type | None]:
    """A leaf's dtype and shape by name, its library, and its type if it is a Python number."""
    where = f"the leaf {name}" if name else "it"
    if isinstance(x, Traced) and not (isinstance(x, Tensor) and x.trace is CONSTANT):
        raise TypeError(
            f"{where} is {x!r}, which belongs to a transform: reduce gradients after pg.grad or the compiled "
            f"function has returned them, or stop the gradient with pg.stop_gradient"
        )
    x = bare(x)
    backend = BY_TYPE[type(x)]
    if backend is None:
        wire = next((name for number, name in NUMBERS.items() if isinstance(x, number)), None)
        if wire is None:
            raise TypeError(f"{where} is a {type(x).__name__}, neither an array nor a number")
        return wire, (), None, type(x)  # which may be a subclass, such as that of counts of steps
    dtype = _name(x.dtype)
    if dtype not in WIRE:
        raise TypeError(f"{where} has dtype {x.dtype}, which does not travel; cast it first")
    if not all(isinstance(n, int) for n in x.shape):
        raise TypeError(f"{where} has the shape {x.shape}; compute the chunks' sizes first")
    return dtype, tuple(x.shape), backend, None


def _check_op(op: str, dtype: str, name: str) -> None:
    where = f"the leaf {name}" if name else "it"
    if dtype == "bool" and op in ("sum", "mean"):
        raise TypeError(f"{where} is boolean: op='max' tells whether any rank has True, 'min' whether all do")
    if "complex" in dtype and op in ("max", "min"):
        raise TypeError(f"{where} is complex, and complex numbers have no order: op='sum' or 'mean'")
    if op == "mean" and "int" in dtype:
        raise TypeError(f"{where} is of integers, whose mean is none: make it floating point first")
