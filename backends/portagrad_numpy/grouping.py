"""Which equations run in one loop, generated or over blocks, and which are calls into given memory."""

from __future__ import annotations

from typing import Any

from portagrad.compile.grouping import Rules, Space
from portagrad_numpy import blocks, fusion, loops


def _space(eq: Any) -> Space | None:
    """Of an equation on its own: ``"flat"`` and ``"sums"`` loops are generated, ``"blocks"`` are calls."""
    if loops.AVAILABLE and fusion.takes(eq):
        return "sums" if fusion.is_sum(eq) else "flat", fusion.space(eq), 0
    return ("blocks", fusion.space(eq), 0) if blocks.takes(eq) else None


def _together(a: Space, b: Space) -> Space | None:
    """What is summed in a loop is not cut into blocks; either takes what is flat."""
    if a[1] != b[1] or {a[0], b[0]} == {"sums", "blocks"}:
        return None
    return b if a[0] == "flat" else a


RULES = Rules(
    space=_space,
    together=_together,
    reduces=fusion.is_sum,
    through_views=False,
    equations=1000,
    reads=1000,
)
