"""Calls where JAX differs from the standard, and assignment to its immutable arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

from portagrad_jax import special


def cumulative_prod(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """JAX multiplies small integers in their own dtype; the standard widens them as for `prod`."""
    if dtype is None:
        dtype = jnp.prod(x[:0] if x.ndim else x).dtype
    return jnp.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)


def searchsorted(x1: Any, x2: Any, *, side: str = "left", sorter: Any = None) -> Any:
    """JAX counts in int32; the standard in the dtype of indices."""
    found = jnp.searchsorted(x1, x2, side=side, sorter=sorter)
    return found.astype(jnp.__array_namespace_info__().default_dtypes()["indexing"])


def permute_dims(x: Any, /, axes: tuple[int, ...]) -> Any:
    """JAX's own takes no negative axes."""
    return jnp.transpose(x, axes)


def index_add(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    return x.at[key].add(value)


def index_put(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` at `key`."""
    return x.at[key].set(jnp.asarray(value, dtype=x.dtype))


def solve_triangular(x1: Any, x2: Any, *, upper: bool = False) -> Any:
    """JAX's own broadcasts nothing and promotes nothing."""
    dtype = jnp.result_type(x1, x2)
    b = x2[:, None] if x2.ndim == 1 else x2
    stack = jnp.broadcast_shapes(x1.shape[:-2], b.shape[:-2])
    x1, b = (jnp.broadcast_to(x, (*stack, *x.shape[-2:])).astype(dtype) for x in (x1, b))
    x = lax.linalg.triangular_solve(x1, b, left_side=True, lower=not upper)
    return x[..., 0] if x2.ndim == 1 else x


kernels: Mapping[str, Callable[..., Any]] = {
    **special.kernels,
    "cumulative_prod": cumulative_prod,
    "index_add": index_add,
    "index_put": index_put,
    "linalg.solve_triangular": solve_triangular,
    "permute_dims": permute_dims,
    "searchsorted": searchsorted,
}
