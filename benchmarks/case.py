"""What a benchmark is: one piece of work, who does it, and the bars that portagrad's times are held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class NotHere(Exception):
    """Why a contender cannot run here."""


@dataclass(frozen=True)
class Running:
    """A contender that is ready to work.

    Libraries run ahead of Python on a GPU, and JAX on a CPU too, so that `step` may return before its result
    is there; `wait` is given the last result and returns when all work is done. `read` gives a result as
    NumPy sees it, to be compared with what the others computed.
    """

    step: Callable[[], Any]
    wait: Callable[[Any], object]
    read: Callable[[Any], Any]


Cost = Callable[[], float]
"""A measurement that is no time of a step, such as a peak of memory: called once a round."""

Make = Callable[[], Running | Cost]
"""Loads the contender's library, puts its data where it belongs, and compiles nothing yet."""


@dataclass(frozen=True)
class Bar:
    """`ours` takes at most `at_most` times what the fastest of `over` takes."""

    ours: str
    over: tuple[str, ...]
    at_most: float


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes
    ----------
    group, title : str
        The panel of the figure, and the name of this case in it.
    contenders : mapping of name to function
        In the order of the table.
    baseline : str
        The contender whose median is 1 in the results.
    bars : sequence of Bar
    compared : int
        How many results of each contender are compared with the baseline's, before anything is timed.
    rtol, atol : float
        How far they may differ: by the rounding of sums in another order, times what the computation makes
        of it.
    seconds : float
        About how long the case may take, in all its rounds.
    rounds : int
        The most that are of use.
    bytes : bool
        Whether costs are bytes, not seconds.
    """

    group: str
    title: str
    contenders: Mapping[str, Make]
    baseline: str
    bars: Sequence[Bar] = ()
    compared: int = 1
    rtol: float = 1e-3
    atol: float = 0.0
    seconds: float = 12.0
    rounds: int = 1_000
    bytes: bool = False


@dataclass
class Result:
    """What was measured: by contender a list of costs, one a round, in units of the baseline's median.

    `unit` is what 1 is, in seconds or bytes; it is kept for a GPU, and left out (0) for times on a CPU, which
    say nothing on another machine. `absent` has a reason for each contender that was not measured.
    """

    group: str
    title: str
    baseline: str
    costs: dict[str, list[float]]
    absent: dict[str, str]
    bars: list[Bar]
    unit: float = 0.0


@dataclass
class Results:
    """All of a run, as its JSON file holds it."""

    machine: dict[str, Any]
    results: list[Result] = field(default_factory=list)
