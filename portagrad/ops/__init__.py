"""The declarations of every op, one file per category of the standard, and those of networks."""

from portagrad.op import Op
from portagrad.ops import (
    creation,
    data_type,
    elementwise,
    indexing,
    linear_algebra,
    losses,
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
    "losses",
    "manipulation",
    "nn",
    "searching",
    "special",
    "statistical",
    "utility",
]

for _file in (
    *(creation, data_type, elementwise, indexing, linear_algebra, manipulation),
    *(losses, nn, searching, special, statistical, utility),
):
    for _op in vars(_file).values():
        if isinstance(_op, Op):
            _op.category = _file.__name__.rpartition(".")[2]
