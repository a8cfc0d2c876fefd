"""The checks that ranks go through, by name, and the trees that they compare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

import portagrad as pg
from portagrad.transforms.tree import Varying, flatten

CHECKS: dict[str, Callable[[Any], None]] = {}


def check(f: Callable[[Any], None]) -> Callable[[Any], None]:
    CHECKS[f.__name__] = f
    return f


def raises(kind: type[BaseException], *said: str) -> Any:
    """A context in which this rank must fail, and its message must say so."""

    class Raises:
        def __enter__(self) -> None: ...

        def __exit__(self, found: Any, error: BaseException | None, trace: Any) -> bool:
            assert error is not None, f"nothing was raised, not {kind.__name__}: {said}"
            if not isinstance(error, kind):
                return False
            for text in said:
                assert text in str(error), f"{text!r} is not in {error}"
            return True

    return Raises()


def tree_of(rank: int) -> dict[str, Any]:
    """A tree of a rank, the same whichever process asks: dtypes, shapes, orders and numbers of all kinds."""
    rng = np.random.default_rng(rank)
    return {
        "weights": [rng.normal(size=(37, 5)), rng.normal(size=(5, 4)).astype(np.float32).T],
        "none": None,
        "bias": (rng.normal(size=3), np.asarray(rng.normal()), np.empty((0, 3)), rng.normal(size=8)[::2]),
        "complex": rng.normal(size=3) + 1j * rng.normal(size=3),
        "half": rng.normal(size=3).astype(np.float16),
        "counts": rng.integers(-5, 5, size=4),
        "bytes": rng.integers(0, 5, size=4).astype(np.uint8),
        "loss": float(rng.normal()),
        "examples": rank + 1,
        "count": Varying(rank),
        "constant": pg.asarray(rng.normal(size=2)),
    }


def flat(tree: Any) -> list[Any]:
    return flatten(tree)[0]


def leaves_of(tree: Any) -> list[Any]:
    return [np.asarray(pg.stop_gradient(x)) if isinstance(x, pg.Tensor) else x for x in flat(tree)]


def same_kinds(found: Any, given: Any) -> None:
    (found, one), (given, other) = flatten(found), flatten(given)
    assert one == other
    for x, y in zip(found, given, strict=True):
        assert type(x) is type(y), (type(x), type(y))
        assert getattr(x, "dtype", 0) == getattr(y, "dtype", 0)
        assert getattr(x, "shape", 0) == getattr(y, "shape", 0)


def digest(tree: Any) -> str:
    data = b"".join(np.asarray(x).tobytes() for x in leaves_of(tree))
    return hashlib.sha256(data).hexdigest()
