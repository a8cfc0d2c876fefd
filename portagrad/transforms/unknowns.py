"""Unknowns of an equation: a pytree of arrays as one vector, for solvers that know vectors only."""

from __future__ import annotations

import math
from typing import Any

from portagrad.backend import KIND
from portagrad.errors import NonDifferentiableError
from portagrad.namespace import function
from portagrad.tensor import describe
from portagrad.transforms.tree import flatten, is_array, unflatten

_astype, _concat, _reshape = map(function, ("astype", "concat", "reshape"))


class Unknowns:
    """A pytree of real floating arrays as one vector."""

    def __init__(self, what: str, tree: Any) -> None:
        self.what = what
        leaves, self.structure = flatten(tree)
        for x in leaves:
            if not is_array(x) or KIND[x.dtype] != 1:
                kind = describe(x) if is_array(x) else type(x).__name__
                raise NonDifferentiableError(
                    f"{what}: x0 holds {kind}, and the unknowns must be real floating arrays; convert it, or "
                    f"solve for the real and the imaginary part"
                )
        if not leaves:
            raise TypeError(f"{what}: x0 holds no array to solve for")
        self.shapes = [tuple(x.shape) for x in leaves]
        self.dtypes = [x.dtype for x in leaves]

    def vector(self, tree: Any, name: str) -> Any:
        """The arrays of a tree shaped like the unknowns, one after the other."""
        leaves, structure = flatten(tree)
        if structure != self.structure or [tuple(getattr(x, "shape", ())) for x in leaves] != self.shapes:
            shapes = [tuple(getattr(x, "shape", ())) for x in leaves]
            raise TypeError(
                f"{self.what}: {name} has structure {structure} and shapes {shapes}, x0 has {self.structure} "
                f"and {self.shapes}; there must be one equation for each unknown"
            )
        if len(leaves) == 1 and len(self.shapes[0]) == 1:
            return leaves[0]
        parts = [_reshape(x, (-1,)) for x in leaves]
        return parts[0] if len(parts) == 1 else _concat(parts)

    def tree(self, v: Any) -> Any:
        """The tree of a vector."""
        leaves, start = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = math.prod(shape)
            part = _reshape(v[start : start + size], shape)
            leaves.append(part if part.dtype == dtype else _astype(part, dtype))
            start += size
        return unflatten(self.structure, leaves)
