"""Calls where torch differs from the standard."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from array_api_compat import torch as xp

from portagrad_torch import special
from portagrad_torch.indexing import getitem, index_add, index_put, take, take_along_axis

Axis = int | tuple[int, ...] | None


class UniqueAllResult(NamedTuple):
    """What `unique_all` returns."""

    values: torch.Tensor
    indices: torch.Tensor
    inverse_indices: torch.Tensor
    counts: torch.Tensor


def _unsigned(x: torch.Tensor, dtype: Any) -> bool:
    """Whether a sum of these stays unsigned by the standard, while torch makes it int64."""
    return dtype is None and x.dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def sum(x: torch.Tensor, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> torch.Tensor:
    y: torch.Tensor = xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return y.to(torch.uint64) if _unsigned(x, dtype) else y


def prod(x: torch.Tensor, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> torch.Tensor:
    y: torch.Tensor = xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims)
    return y.to(torch.uint64) if _unsigned(x, dtype) else y


def cumulative_sum(
    x: torch.Tensor, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> torch.Tensor:
    y: torch.Tensor = xp.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)
    return y.to(torch.uint64) if _unsigned(x, dtype) else y


def cumulative_prod(
    x: torch.Tensor, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> torch.Tensor:
    y: torch.Tensor = xp.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)
    return y.to(torch.uint64) if _unsigned(x, dtype) else y


def std(
    x: torch.Tensor, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> torch.Tensor:
    return torch.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def var(
    x: torch.Tensor, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> torch.Tensor:
    if axis is None:
        axis = tuple(range(x.ndim))
    if axis == ():  # torch would reduce over everything
        return torch.var(x[..., None], dim=-1, correction=correction)
    return torch.var(x, dim=axis, correction=correction, keepdim=keepdims)


def can_cast(from_: Any, to: Any, /) -> bool:
    """By the standard's promotion: torch.can_cast allows float64 to float32."""
    source = from_.dtype if isinstance(from_, torch.Tensor) else from_
    kinds = [_kind(source), _kind(to)]
    if kinds == ["int", "int"]:
        inner, outer = torch.iinfo(source), torch.iinfo(to)
        return bool(outer.min <= inner.min and inner.max <= outer.max)
    if kinds == ["float", "float"]:
        return bool(torch.promote_types(source, to) == to)
    return kinds.index("float") > 0 if "float" in kinds else kinds[0] == "bool"


def _kind(dtype: Any) -> str:
    if dtype.is_floating_point or dtype.is_complex:
        return "float"
    return "bool" if dtype == torch.bool else "int"


def unique_all(x: torch.Tensor, /) -> UniqueAllResult:
    """torch does not say where a value occurs first: the least position among its occurrences."""
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    positions = torch.arange(x.numel(), device=x.device)
    first = torch.full(values.shape, x.numel(), dtype=torch.int64, device=x.device)
    first = first.scatter_reduce(0, inverse.reshape(-1), positions, "amin")
    return UniqueAllResult(values, first, inverse, counts)


def solve_triangular(x1: torch.Tensor, x2: torch.Tensor, *, upper: bool = False) -> torch.Tensor:
    """torch's own takes matrices only, and of one dtype."""
    dtype = torch.result_type(x1, x2)
    b = x2[:, None] if x2.ndim == 1 else x2
    x: torch.Tensor = torch.linalg.solve_triangular(x1.to(dtype), b.to(dtype), upper=upper)
    return x[..., 0] if x2.ndim == 1 else x


kernels: Mapping[str, Callable[..., Any]] = {
    **special.kernels,
    "can_cast": can_cast,
    "cumulative_prod": cumulative_prod,
    "cumulative_sum": cumulative_sum,
    "getitem": getitem,
    "index_add": index_add,
    "index_put": index_put,
    "linalg.solve_triangular": solve_triangular,
    "prod": prod,
    "std": std,
    "sum": sum,
    "take": take,
    "take_along_axis": take_along_axis,
    "unique_all": unique_all,
    "var": var,
}
