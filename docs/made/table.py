"""The table of ops."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from portagrad.backend import get_backend, registered
from portagrad.errors import BackendUnavailableError
from portagrad.op import TABLE, Op

_OPS_HEAD = """\
# The table of ops

Every function that is declared as an op, made from the declarations by `python docs/build.py`. A backend
runs an op by its library's own function; where that is missing or not the standard's, by a kernel of its
adapter; and an op with a *portable* forward, which is array-API code, runs wherever there is nothing better.

- **kind**: how the op is differentiated. *elementwise*, *linear* and *bilinear* ops have one rule that serves
  both modes, *primitive* ones have two, *composite* ones none of their own, *constant* ones no derivative.
- **derivative**: the arguments it is taken with respect to; `0` where it is zero.
- **kernels**: the backends whose adapter has a kernel for it.
- **since**: the version of the standard that has the function.
"""

_COLUMNS = ("function", "kind", "derivative", "forward", "kernels", "since", "")


def ops_page(before: str = "") -> str:
    """The table of ops as Markdown.

    What an adapter overrides is known where its library is installed; of the others `before`, the page as it
    was, is believed.
    """
    known = _kernels()
    lines = [_OPS_HEAD]
    for category, ops in groupby(sorted(TABLE.values(), key=place), key=lambda op: op.category):
        title = category.replace("_", " ")
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        lines += [_row(op, known, before) for op in ops]
        lines.append("")
    return "\n".join(lines)


def place(op: Op) -> tuple[str, str]:
    return op.category, op.name


def _row(op: Op, known: dict[str, Iterable[str]], before: str) -> str:
    signature = f"`{op.name}{op.signature}`".replace("|", "\\|")
    had = re.search(rf"^\| `{re.escape(op.name)}\(.*$", before, re.MULTILINE)
    told = had[0].split(" | ")[4].split(", ") if had else []
    kernels = [
        name for name in sorted(registered()) if (op.name in known[name] if name in known else name in told)
    ]
    cells = (
        signature,
        op.kind,
        derivative(op),
        "portable" if op.forward is not None else "",
        ", ".join(kernels),
        op.since,
        op.doc.partition("\n")[0],
    )
    return f"| {' | '.join(cells)} |"


def derivative(op: Op) -> str:
    if op.kind == "constant":
        return ""
    if op.kind == "composite":
        return ", ".join(name.lstrip("*") for name in op.arrays)
    if op.kind == "elementwise" and not op.live:
        return "0"
    rules = zip(op.arrays, op.pulls, strict=True)
    return ", ".join(name.lstrip("*") for name, rule in rules if rule is not None and rule != 0)


def _kernels() -> dict[str, Iterable[str]]:
    """The kernels of every adapter whose library is installed."""
    found: dict[str, Iterable[str]] = {}
    for name in registered():
        try:
            found[name] = get_backend(name).kernels
        except BackendUnavailableError:
            continue
    return found
