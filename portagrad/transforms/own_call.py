"""The op that is made for one call of a function with a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad.kernel import Kernel
from portagrad.op import Op
from portagrad.recipe import Recipe
from portagrad.tensor import bare, hold
from portagrad.trace import apply
from portagrad.transforms.batching import Batch
from portagrad.transforms.gradient import array
from portagrad.transforms.tree import any_traced, flatten, is_array, unflatten, wrapped

_ARRAY = object()  # where a tree has an array


class OwnCall:
    """One call of a function with a rule of its own: an op made for it, on the leaves of the arguments."""

    def __init__(self, name: str, args: Any) -> None:
        leaves, self.structure = flatten(args)
        self.name = name
        self.where = [i for i, x in enumerate(leaves) if is_array(x)]
        self.leaves = [None if is_array(x) else x for x in leaves]  # what is kept must not keep the arguments
        self.results: tuple[Any, list[Any]] = (None, [])
        self.arrays = tuple([leaves[i] for i in self.where])

    def arguments(self, arrays: Any) -> Any:
        """The arguments, with other arrays for leaves."""
        leaves = list(self.leaves)
        for i, x in zip(self.where, arrays, strict=True):
            leaves[i] = wrapped(x)
        return unflatten(self.structure, leaves)

    def flat(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """`f` on the arrays, returning its result's leaves."""

        def on_arrays(*arrays: Any, xp: Any = None) -> tuple[Any, ...]:
            outs, self.results = split(f(*self.arguments(arrays)))
            return outs

        return on_arrays

    def result(self, arrays: Any) -> Any:
        """A tree like the result, these in the places of its arrays."""
        return filled(self.results, arrays)

    def run(
        self, pull: Any, push: Any, forward: Callable[..., Any], again: bool, anew: Callable[..., Any] | None
    ) -> Any:
        """Apply the op; `again` tells whether lower traces meet the op again, or what `forward` does.

        ``anew(axes)`` is the same kind of function for a batch of the arrays: one's own rule holds there too.
        """
        arrays, self.arrays = self.arrays, ()

        def batch(call: Batch) -> Any:
            assert anew is not None
            return anew(tuple([0 if b else None for b in call.batched]))(*call.args)

        op = Op(
            name=self.name,
            kind="primitive",
            signature="(*leaves)",
            arrays=("*leaves",),
            params=(),
            outputs=("*results",),
            pulls=(pull,),
            pushes=(push,),
            forward=forward,
            result=lambda *parts: parts,
            batch=batch if anew else None,
        )
        op.recipes = _Recipes(self.name, pull, push)
        if not again:
            op.kernels = _Plain(forward)
        try:
            outs = apply(op, arrays)
        finally:
            op.kernels = {}  # some know their op: it is gone at once, not when the collector comes by
        traced = any_traced(arrays)
        return self.result([hold(x) if traced else array(x) for x in outs])


def split(tree: Any) -> tuple[tuple[Any, ...], tuple[Any, list[Any]]]:
    """The arrays of a tree, and the tree without them."""
    leaves, structure = flatten(tree)
    arrays = tuple([bare(x) for x in leaves if is_array(x)])
    return arrays, (structure, [_ARRAY if is_array(x) else x for x in leaves])


def filled(tree: tuple[Any, list[Any]], arrays: Any) -> Any:
    """The tree with these arrays."""
    structure, leaves = tree
    it = iter(arrays)
    return unflatten(structure, [next(it) if x is _ARRAY else x for x in leaves])


class _Plain(dict[Any, Kernel]):
    """Kernels of an op whose forward runs as it is on whatever values there are."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.kernel = Kernel(forward)

    def __missing__(self, types: Any) -> Kernel:
        return self.kernel


class _Recipes(dict[Any, Recipe]):
    """Recipes of an op made for one call, which are not worth compiling: the rules read all the arrays."""

    def __init__(self, name: str, pull: Callable[..., Any], push: Callable[..., Any]) -> None:
        self.name, self.pull, self.push = name, pull, push

    def get(self, key: Any, default: Any = None) -> Recipe:
        mode, active, _ = key
        rule = self.pull if mode == "pull" else self.push
        indices = [i for i in range(active.bit_length()) if active >> i & 1]

        def pull(g: Any, leaves: Any, params: Any, xp: Any) -> Any:
            parts = rule(g, leaves)
            return [parts[i] for i in indices]

        def push(ts: Any, leaves: Any, params: Any, xp: Any) -> Any:
            given = dict(zip(indices, ts, strict=True))
            return rule([given.get(i) for i in range(len(leaves))], leaves)

        return Recipe(self.name, lambda v, y, nodes, byproduct=None: v, pull if mode == "pull" else push)
