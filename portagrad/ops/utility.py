"""Tests over whole arrays, and differences along an axis."""

from typing import Any

from portagrad.op import case, composite, constant


def diff_forward(x: Any, prepend: Any, append: Any, *, axis: int, n: int, xp: Any) -> Any:
    """The n-th difference of neighbours, after the ends have been put on."""
    if not -len(x.shape) <= axis < len(x.shape):
        raise IndexError(f"diff: an array of shape {tuple(x.shape)} has no axis {axis}")
    parts = [part for part in (prepend, x, append) if part is not None]
    x = xp.concat(parts, axis=axis) if len(parts) > 1 else x
    before = (slice(None),) * (axis % len(x.shape))
    for _ in range(n if x.shape[axis] else 0):
        x = x[(*before, slice(1, None), ...)] - x[(*before, slice(None, -1), ...)]
    return x


all = constant(
    "all",
    "(x, /, *, axis=None, keepdims=False)",
    dtypes="any",
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3), axis=0, keepdims=True)),
    batch="reduction",
    doc="Whether all elements along axes are true.",
)
any = constant(
    "any",
    "(x, /, *, axis=None, keepdims=False)",
    dtypes="any",
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3), axis=0, keepdims=True)),
    batch="reduction",
    doc="Whether at least one element along axes is true.",
)
diff = composite(
    "diff",
    "(x, /, *, axis=-1, n=1, prepend=None, append=None)",
    diff_forward,
    arrays=("x", "prepend", "append"),
    cases=(
        case((4,), None, None),
        case((4, 3), (1, 3), None, axis=0),
        case((2, 4), None, (2, 2), n=2),
        case((2, 4), None, None, n=0),
    ),
    since="2024.12",
    doc="Differences of neighbours along an axis, `n` times over.\n"
    "n: int; how often\n"
    "prepend: array; put in front along `axis` first\n"
    "append: array; put behind along `axis` first",
)
