"""What the tests try of every op, and where: they are parametrized by it, and a page of the docs tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from portagrad.op import TABLE, Op
from portagrad.testing.draws import DTYPES

DEVICES = ("numpy", "torch", "jax", "dask", "strict:device1")
"""Where the tests run, and CI requires them to. Of array-api-strict not the default device, so that what is
made elsewhere by mistake shows."""
GPU = {"cupy": "cuda"}
"""Backends that are tried besides where there is a GPU, and the device."""
SLOW = ("jax", "dask")
"""JAX compiles for every shape and dtype, Dask builds a graph: fewer arguments say what many would."""

SINGLE = ("float32", "complex64")
DOUBLE = ("float64", "complex128")


class Law(NamedTuple):
    """What holds for every op.

    Attributes
    ----------
    claim : str
    dtypes : tuple of str
        Those that it is tried in, of the op's own.
    derivatives : bool
        Whether it says something of ops with a derivative only.
    slow : str
        What of it is tried on slow libraries, if that is less than a few arguments tell.
    """

    claim: str
    dtypes: tuple[str, ...]
    derivatives: bool = True
    slow: str = ""


LAWS: Mapping[str, Law] = {
    "values": Law(
        "the result is NumPy's, and that of the portable forward where there is one",
        (*SINGLE, *DOUBLE, "int64", "bool"),
        derivatives=False,
    ),
    "forward": Law("the pushforward is what finite differences say", DOUBLE),
    "reverse": Law("the pullback is the transpose of the pushforward", (*SINGLE, *DOUBLE)),
    "precision": Law("in single precision derivatives are those in double precision", SINGLE),
    "second": Law(
        "second derivatives in every mix of modes are what finite differences say",
        DOUBLE,
        slow="each mode over reverse, in one dtype of each op",
    ),
}

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "astype": ("values", "forward", "reverse"),
    "cross_entropy_and_slope": (),
    "one_hot": ("values",),
    "threefry": (),
    "to_device": ("values", "forward", "reverse", "second"),
}
"""Ops whose arguments are no mere numbers, and the laws that tests of their own (tests/test_ops_casts.py)
hold them to; those without any are for compiled functions only, and tested there."""


def held(op: Op) -> tuple[str, ...]:
    """The laws that an op is held to on each device."""
    if op.name in ELSEWHERE:
        return ELSEWHERE[op.name]
    return tuple(name for name in LAWS if any(_dtypes(name, op)))


def trials(law: str) -> Iterator[tuple[Op, str]]:
    """The ops and dtypes that a law is tried on, on each device."""
    for op in TABLE.values():
        if op.name not in ELSEWHERE:
            yield from ((op, dtype) for dtype in _dtypes(law, op))


def _dtypes(law: str, op: Op) -> Iterator[str]:
    stated = LAWS[law]
    if op.differentiable or not stated.derivatives:
        yield from (dtype for dtype in DTYPES[op.dtypes] if dtype in stated.dtypes)
