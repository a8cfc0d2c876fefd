"""Debug mode: values that the backward pass needs are watched for changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portagrad.backend import BY_TYPE
from portagrad.config import debugging
from portagrad.errors import SavedValueMutatedError
from portagrad.op import Op
from portagrad.recipe import Recipe
from portagrad.tensor import Tensor, describe
from portagrad.transforms.record import ReverseTrace
from portagrad.transforms.reverse import PICK


class WatchfulTrace(ReverseTrace):
    """Remembers the bytes of what each node saves, and looks again before the node's pullback runs."""

    __slots__ = ()

    def __init__(self, mode: str = "pull") -> None:
        super().__init__(mode)
        self.recording = False  # else what is written out would pass it by

    def process(self, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        y = super().process(op, args, params)
        for part in y if isinstance(y, tuple) else (y,):
            if isinstance(part, Tensor) and part.trace is self:
                node = part.payload.parents[0] if part.payload.recipe is PICK else part.payload
                if not isinstance(node.recipe, _Watched):
                    node.recipe = _Watched(op, node)
        return y


class _Watched(Recipe):
    """A recipe that compares what was saved before it runs."""

    __slots__ = ("recipe", "seen")

    def __init__(self, op: Op, node: Any) -> None:
        self.recipe = node.recipe
        self.seen = _bytes(node.saved)
        super().__init__(op.name, node.recipe.save, self.compare)

    def compare(self, g: Any, saved: Any, params: Any, xp: Any) -> Any:
        """Run the recipe if nothing has changed."""
        for x, before, now in zip(saved, self.seen, _bytes(saved), strict=True):
            if before != now:
                raise SavedValueMutatedError(
                    f"{self.name}: an array that its backward pass needs was changed in place after the op "
                    f"read it\n"
                    f"  {describe(x)}\n"
                    f"change a copy instead, or make the change before the function is called"
                )
        return self.recipe.run(g, saved, params, xp)


def _bytes(values: Any) -> list[bytes | None]:
    """The contents of raw arrays; None for what cannot change or is not computed yet."""
    found = []
    for x in values:
        backend = BY_TYPE[type(x)]
        watched = backend is not None and backend.own is not None and not backend.lazy
        found.append(backend.to_numpy(x).tobytes() if watched and backend is not None else None)
    return found


def reverse_trace(mode: str = "pull") -> ReverseTrace:
    """A new reverse trace; in debug mode one that watches."""
    return (WatchfulTrace if debugging() else ReverseTrace)(mode)
