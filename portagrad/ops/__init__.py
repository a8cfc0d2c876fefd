"""The declarations of every op, one file per category of the standard, and those of networks."""

from portagrad.ops import (
    creation,
    data_type,
    elementwise,
    indexing,
    linear_algebra,
    manipulation,
    nn,
    searching,
    special,
    statistical,
    utility,
)

__all__ = [
    "creation",
    "data_type",
    "elementwise",
    "indexing",
    "linear_algebra",
    "manipulation",
    "nn",
    "searching",
    "special",
    "statistical",
    "utility",
]
