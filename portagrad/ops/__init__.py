"""The declarations of every op, one file per category of the standard, and those of networks."""

from portagrad.op import Op
from portagrad.ops import (
    bessel,
    creation,
    data_type,
    decompositions,
    elementwise,
    error_functions,
    fft,
    gamma,
    gathering,
    indexing,
    linalg,
    linear_algebra,
    losses,
    manipulation,
    nn,
    norms,
    random,
    searching,
    sets,
    sorting,
    special,
    spectra,
    statistical,
    triangular,
    utility,
)

__all__ = [
    "bessel",
    "creation",
    "data_type",
    "decompositions",
    "elementwise",
    "error_functions",
    "fft",
    "gamma",
    "gathering",
    "indexing",
    "linalg",
    "linear_algebra",
    "losses",
    "manipulation",
    "nn",
    "norms",
    "random",
    "searching",
    "sets",
    "sorting",
    "special",
    "spectra",
    "statistical",
    "triangular",
    "utility",
]

for _file in [globals()[_name] for _name in __all__]:
    for _op in vars(_file).values():
        if isinstance(_op, Op):
            _extension, _dot, _ = _op.name.partition(".")
            _op.category = _extension if _dot else _file.__name__.rpartition(".")[2]
