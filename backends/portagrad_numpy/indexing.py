"""Functional assignment: the array is copied, then written to."""

from typing import Any

import numpy

from portagrad.backend import basic_index


def index_add(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` added at `key`; repeated elements accumulate."""
    out = numpy.array(x)
    if basic_index(key):
        out[key] += value
    else:
        numpy.add.at(out, key, value)
    return out


def index_put(x: Any, value: Any, *, key: Any) -> Any:
    """`x` with `value` at `key`."""
    out = numpy.array(x)
    out[key] = value
    return out
