"""What all ranks have, on every rank: arrays end to end, and objects as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.distributed.link import Link
from portagrad.tensor import bare, hold
from portagrad.transforms.tree import flatten, unflatten


def gather_arrays(link: Link, tree: Any) -> Any:
    """The arrays of all ranks, joined along their first axis; they travel as bytes."""
    leaves, structure = flatten(tree)
    lines, failure, rows = ["all_gather"], None, []
    try:
        for x in map(bare, leaves):
            backend = BY_TYPE[type(x)]
            if backend is None or not x.shape:
                raise TypeError(
                    f"all_gather: a leaf is a {type(x).__name__} without axes; "
                    f"numbers and other objects go by all_gather_object"
                )
            rows.append(np.ascontiguousarray(backend.to_numpy(x)))
            if rows[-1].dtype.hasobject:
                raise TypeError("all_gather: a leaf holds Python's objects, which do not travel")
            lines.append(f"{rows[-1].dtype} {('rows', *x.shape[1:])}")
    except Exception as error:
        failure = error
    link.agree(lines, failure=failure)
    if link.size == 1:
        return tree
    parts = []
    for x, mine in zip(leaves, rows, strict=True):
        with link.telling("all_gather"):
            told = link.exchange(mine.tobytes())
        counts = [len(data) for data in told]
        row = mine.dtype.itemsize * int(np.prod(mine.shape[1:]))
        shape = (sum(counts) // row if row else _rows(link, mine), *mine.shape[1:])
        whole = np.frombuffer(bytearray().join(told), mine.dtype).reshape(shape)
        backend = BY_TYPE[type(bare(x))]
        assert backend is not None
        part = backend.from_numpy(whole, backend.device_of(bare(x)))
        parts.append(part if x is bare(x) else hold(part))
    return unflatten(structure, parts)


def _rows(link: Link, mine: Any) -> int:
    """All ranks' rows together, where rows have no bytes."""
    return sum(json.loads(data) for data in link.exchange(str(len(mine)).encode()))


def gather_objects(link: Link, value: Any) -> list[Any]:
    """An object of each rank."""
    text, failure = _as_json("all_gather_object", value)
    link.agree(("all_gather_object",), failure=failure)
    if link.size == 1:
        return [json.loads(text)]
    with link.telling("all_gather_object"):
        return [json.loads(data) for data in link.exchange(text)]


def broadcast_object(link: Link, value: Any, root: int, failure: Exception | None) -> Any:
    """The object of one rank."""
    text = b""
    if link.rank == root and failure is None:
        text, failure = _as_json("broadcast_object", value)
    link.agree((f"broadcast_object(root={root})",), failure=failure)
    if link.size > 1:
        with link.telling("broadcast_object"):
            text = link.broadcast(text, root)
    return json.loads(text)


def _as_json(what: str, value: Any) -> tuple[bytes, Exception | None]:
    try:
        return json.dumps(value).encode(), None
    except (TypeError, ValueError, RecursionError) as error:
        return b"", TypeError(f"{what}: the object does not fit into JSON ({error}); arrays go by all_gather")
