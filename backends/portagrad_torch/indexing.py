"""Indexing by the standard's rules: torch has no negative steps, and reads uint8 indices as a mask."""

from typing import Any

import torch

from portagrad.backend import basic_index


def getitem(x: torch.Tensor, *, key: Any) -> torch.Tensor:
    """``x[key]``."""
    flips, plain = _forwards(x, key)
    return (x.flip(flips) if flips else x)[plain]


def index_put(x: torch.Tensor, value: Any, *, key: Any) -> torch.Tensor:
    """`x` with `value` at `key`."""
    flips, plain = _forwards(x, key)
    out = x.flip(flips) if flips else x.clone()
    out[plain] = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return out.flip(flips) if flips else out


def index_add(x: torch.Tensor, value: Any, *, key: Any) -> torch.Tensor:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    flips, plain = _forwards(x, key)
    out = x.flip(flips) if flips else x.clone()
    if basic_index(plain):
        out[plain] += value
    else:
        value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
        _accumulate(out, plain, value)
    return out.flip(flips) if flips else out


def take(x: torch.Tensor, indices: torch.Tensor, *, axis: int | None = None) -> torch.Tensor:
    """By ``x[indices]``: torch's own functions count no index from the end."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    x.size(axis)  # raises where there is no such axis
    return x[(slice(None),) * (axis % x.ndim) + (indices.to(torch.int64),)]


def take_along_axis(x: torch.Tensor, indices: torch.Tensor, *, axis: int = -1) -> torch.Tensor:
    """Indices from the end made such as torch knows."""
    indices = indices.to(torch.int64)
    return torch.take_along_dim(x, torch.where(indices < 0, indices + x.shape[axis], indices), dim=axis)


def _accumulate(out: torch.Tensor, key: tuple[Any, ...], value: torch.Tensor) -> None:
    """Add in place where elements may repeat: by index tensors for leading axes, or by flat positions."""
    if not all(isinstance(part, torch.Tensor) and part.ndim for part in key):
        positions = torch.arange(out.numel(), device=out.device).reshape(out.shape)[key]
        value, out, key = value.expand(positions.shape), out.view(-1), (positions,)
    out.index_put_(key, value, accumulate=True)


def _forwards(x: torch.Tensor, key: Any) -> tuple[list[int], tuple[Any, ...]]:
    """The axes to flip, and the key that then has no negative step; index arrays as int64."""
    parts = list(key if isinstance(key, tuple) else (key,))
    if any(isinstance(part, torch.Tensor) for part in parts):
        parts = _index_arrays(parts, x.device)
    flips: list[int] = []
    axis = 0
    for i, part in enumerate(parts):
        if part is ...:
            axis = x.ndim - sum(map(_consumed, parts[i + 1 :]))
            continue
        if isinstance(part, slice) and part.step is not None and part.step < 0:
            picked = range(x.shape[axis])[part]
            last = x.shape[axis] - 1
            parts[i] = slice(last - picked.start, last - picked.start + len(picked) * -part.step, -part.step)
            if not picked:
                parts[i] = slice(0, 0)
            flips.append(axis)
        axis += _consumed(part)
    return flips, tuple(parts)


def _index_arrays(parts: list[Any], device: torch.device) -> list[Any]:
    """Index arrays as int64; so are integers beside them, which torch would apply on their own."""
    several = any(isinstance(part, torch.Tensor) and part.ndim for part in parts)
    out = []
    for part in parts:
        if isinstance(part, torch.Tensor) and part.dtype != torch.bool:
            part = part.to(torch.int64)
        elif isinstance(part, int) and not isinstance(part, bool):
            part = torch.asarray(part, device=device)
        if several and isinstance(part, torch.Tensor) and part.ndim == 0:
            part = part[None]
        out.append(part)
    return out


def _consumed(part: Any) -> int:
    """How many axes of the array an index stands for."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    return int(part.ndim) if getattr(part, "dtype", None) == torch.bool else 1
