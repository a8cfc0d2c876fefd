"""What every draw begins with: its arguments, checked, and random words on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from portagrad.device import Device, current_device, device
from portagrad.errors import ConcretizationError
from portagrad.namespace import namespace_on
from portagrad.random.threefry import DRAW, Key, check_key, index, threefry
from portagrad.trace import Traced

Shape = int | Sequence[int]


class Draw:
    """One draw of an array of a given shape on a device.

    Attributes
    ----------
    what : str
        The function's name, for errors.
    device : Device
    xp : namespace
    shape : tuple of int
    size : int
    width : int
        Bits per number, as the dtype asks for: 32 or 64.
    """

    def __init__(self, what: str, key: Key, shape: Shape, where: Any) -> None:
        check_key(what, key)
        self.what = what
        self.key = key
        self.device: Device = current_device() if where is None else device(where)
        traced = isinstance(key.high, Traced)
        self.xp: Any = namespace_on(self.device.backend) if traced else self.device.backend.xp
        sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        self.shape = tuple(index(what, "shape", n) for n in sizes)
        if any(n < 0 for n in self.shape):
            raise ValueError(f"{what}: sizes must not be negative, as in shape {self.shape}")
        self.size = math.prod(self.shape)
        self.width = 32

    @property
    def guard(self) -> AbstractContextManager[Any]:
        """Makes the device current where the library's device is ambient."""
        guard = self.device.backend.guard
        return guard(self.device.native) if guard else nullcontext()

    def floating(self, dtype: Any) -> Any:
        """The library's own dtype for `dtype`, float32 for None; sets the width."""
        name = "float32" if dtype is None else dtype_name(dtype)
        if name not in ("float32", "float64"):
            raise TypeError(f"{self.what}: draws float32 or float64, not {name}; cast the result")
        self.width = int(name[-2:])
        return self._known(name)

    def integral(self, dtype: Any) -> Any:
        """The library's own integer dtype for `dtype`, its index dtype for None."""
        info = self.xp.__array_namespace_info__()
        name = dtype_name(info.default_dtypes()["indexing"] if dtype is None else dtype)
        if not name.startswith(("int", "uint")):
            raise TypeError(f"{self.what}: draws integers, not {name}; cast the result")
        return self._known(name)

    def _known(self, name: str) -> Any:
        known = self.xp.__array_namespace_info__().dtypes(device=self.device.native)
        if name not in known:
            raise TypeError(f"{self.what}: {self.device} has no {name}; it has {', '.join(sorted(known))}")
        return getattr(self.xp, name)

    def round(self, value: float) -> float:
        """`value` as the drawn dtype has it, so that no library rounds it in its own way."""
        return float(np.float32(value)) if self.width == 32 else float(value)

    def concrete(self) -> None:
        """Refuse a key that is an input of a compiled function, where the numbers are drawn on the host."""
        if isinstance(self.key.high, Traced):
            raise ConcretizationError(
                f"{self.what}: is drawn on the host, which a compiled function cannot do anew in each call; "
                f"draw outside and pass the array"
            )

    def from_numpy(self, a: np.ndarray[Any, Any]) -> Any:
        """A copy on the device."""
        return self.device.backend.from_numpy(a, self.device.native)

    def blocks(self, count: int) -> tuple[Any, Any]:
        """The two int32 words of each of the first `count` blocks of the key's stream."""
        if count > 1 << 31:
            raise ValueError(f"{self.what}: shape {self.shape} is more than one key can draw; split the key")
        counter = self.xp.arange(count, dtype=self.xp.int32, device=self.device.native)
        return threefry(self.key, counter, self.xp.full_like(counter, DRAW))

    def words(self) -> Any:
        """One int32 word per number, in the stream's order."""
        count = max(1, (self.size + 1) // 2)  # Dask cannot reshape an empty array of two dimensions
        pairs = self.xp.stack(self.blocks(count), axis=-1)
        return self.xp.reshape(pairs, (2 * count,))[: self.size]

    def integers(self) -> Any:
        """One random signed integer of the draw's width per number."""
        if self.width == 32:
            return self.words()
        x0, x1 = (self.xp.astype(x, self.xp.int64) for x in self.blocks(self.size))
        x0 <<= 32
        x1 &= 0xFFFFFFFF
        x0 |= x1
        return x0

    def done(self, x: Any) -> Any:
        """The numbers in the shape that was asked for."""
        return self.xp.reshape(x, self.shape)


def dtype_name(dtype: Any) -> str:
    """A dtype's name, whatever library it comes from."""
    try:
        name: str = np.dtype(dtype).name
        return name
    except TypeError:
        return str(dtype).rpartition(".")[2]
