"""The time model of data-parallel training, and the batch from which more ranks stop to help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepTime:
    """The time of one data-parallel step, in seconds.

    Parameters
    ----------
    compute : float
        A rank's own work: its share of the batch, and what does not shrink with it.
    reduction : float
        The all-reduce of the gradient.
    hidden : float
        The part of the reduction that runs during the backward pass.
    """

    compute: float
    reduction: float
    hidden: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from one step to the next."""
        return self.compute + self.reduction - self.hidden


def all_reduce_bytes(nbytes: float, ranks: int) -> float:
    """The bytes that each rank sends, and receives, in a ring all-reduce.

    ``2 (N - 1) / N`` times the array: N - 1 messages of its Nth part to sum, as many to tell the sums. No
    algorithm sends fewer (Patarasuk and Yuan, 2009, "Bandwidth optimal all-reduce algorithms for clusters of
    workstations").

    Parameters
    ----------
    nbytes : float
        Size of the array.
    ranks : int
        Their number, N.

    Examples
    --------
    >>> all_reduce_bytes(4e6, 4)
    6000000.0
    """
    _positive(ranks=ranks)
    return 2 * (ranks - 1) / ranks * nbytes


def all_reduce_time(
    nbytes: float, ranks: int, *, latency: float, bandwidth: float, buckets: int = 1
) -> float:
    """The seconds of a ring all-reduce: ``2 (N - 1)`` messages one after the other for each bucket.

    A message of n bytes takes ``latency + n / bandwidth`` (Hockney, 1994, "The communication challenge for
    MPP").

    Parameters
    ----------
    nbytes : float
        Size of the array.
    ranks : int
        Their number, N.
    latency : float
        Seconds of an empty message.
    bandwidth : float
        Bytes per second of a link, in each direction.
    buckets : int
        How many reductions it is done in.

    Examples
    --------
    >>> round(all_reduce_time(4e6, 4, latency=1e-5, bandwidth=1e9), 6)
    0.00606
    """
    _positive(ranks=ranks, bandwidth=bandwidth, buckets=buckets)
    return 2 * (ranks - 1) * latency * buckets + all_reduce_bytes(nbytes, ranks) / bandwidth


def step_time(
    ranks: int,
    *,
    batch: float,
    per_example: float,
    fixed: float = 0.0,
    nbytes: float,
    latency: float,
    bandwidth: float,
    buckets: int = 1,
    overlap: float = 0.0,
    cores: int | None = None,
) -> StepTime:
    """The time model of a data-parallel step on N ranks.

    Compute is ``fixed + per_example * batch / N``. Buckets but the last are reduced while the backward pass
    makes the next ones, as far as it lasts: with k buckets ``(k - 1) / k`` of either at most.

    Parameters
    ----------
    ranks : int
        N.
    batch : float
        Examples of all ranks together; ``N * b`` for growth with b examples on each.
    per_example : float
        Seconds per example, forward and backward.
    fixed : float
        Seconds that each rank needs whatever its share: the optimizer's step, calls, kernel launches.
    nbytes : float
        Bytes of the gradient.
    latency, bandwidth, buckets
        As for `all_reduce_time`.
    overlap : float
        The part of the examples' time during which a reduction can run: 2/3 where the reduction is
        asynchronous and the backward pass costs two forward passes, 0 where it is called after it.
    cores : int, optional
        How many ranks can run at once; beyond it they take turns, and all of compute takes longer.

    Returns
    -------
    StepTime

    Raises
    ------
    ValueError
        If a number that must be positive is not, or `overlap` is not between 0 and 1.

    Examples
    --------
    An MLP of 670 thousand float32 parameters on a link of 1 GB/s:

    >>> cost = dict(batch=1024, per_example=5e-6, fixed=1e-3, nbytes=2.7e6, latency=2e-5, bandwidth=1e9)
    >>> one, four = step_time(1, **cost), step_time(4, **cost)
    >>> round(one.total / four.total, 2)
    0.95
    >>> round(one.total / step_time(4, **cost, buckets=4, overlap=2 / 3).total, 2)
    0.99
    """
    _positive(ranks=ranks, batch=batch, buckets=buckets)
    if not 0 <= overlap <= 1:
        raise ValueError(f"step_time: overlap is a part of the time, between 0 and 1, not {overlap!r}")
    turns = 1.0 if cores is None else max(1.0, ranks / cores)
    examples = per_example * batch / ranks * turns
    reduction = all_reduce_time(nbytes, ranks, latency=latency, bandwidth=bandwidth, buckets=buckets)
    hidden = (buckets - 1) / buckets * min(reduction, overlap * examples)
    return StepTime(fixed * turns + examples, reduction, hidden)


def noise_scale(small: float, small_square: float, big: float, big_square: float) -> float:
    """The gradient noise scale: the batch whose gradient is as much noise as signal.

    ``tr(S) / |G|**2`` for the covariance S of the examples' gradients and their mean G. The squared norm of
    the gradient of B examples is ``|G|**2 + tr(S) / B`` on average, so two batch sizes give both (McCandlish
    et al., 2018, "An empirical model of large-batch training", appendix A.1). A data-parallel step has the
    two: each rank's own gradient, and the reduced one.

    Parameters
    ----------
    small, big : float
        Two batch sizes: a rank's, and all ranks' together.
    small_square, big_square : float
        Squared norms of their gradients, averaged over steps before they come here: the quotient of two
        noisy numbers is no good estimate.

    Raises
    ------
    ValueError
        If the sizes are not ``0 < small < big``, or the averages leave no signal: more steps are needed.

    Examples
    --------
    >>> noise_scale(32, 4.0, 128, 1.75)
    96.0
    """
    if not 0 < small < big:
        raise ValueError(f"noise_scale: the batch sizes must be 0 < small < big, not {small!r} and {big!r}")
    signal = (big * big_square - small * small_square) / (big - small)
    noise = (small_square - big_square) / (1 / small - 1 / big)
    if signal <= 0:
        raise ValueError(
            "noise_scale: these averages leave no gradient beside the noise; average the squared norms over "
            "more steps"
        )
    return max(0.0, noise / signal)


def relative_steps(batch: float, noise: float) -> float:
    """Steps to a given loss, over those that an unlimited batch would need: ``1 + noise / batch``.

    McCandlish et al. (2018), section 2: at a batch of the noise scale the run takes twice the fewest steps
    and twice the fewest examples; beyond it more examples per step hardly save steps.

    Parameters
    ----------
    batch : float
        Examples per step.
    noise : float
        The gradient noise scale.

    Examples
    --------
    >>> [relative_steps(batch, noise=1000) for batch in (100, 1000, 10_000)]
    [11.0, 2.0, 1.1]
    """
    _positive(batch=batch)
    return 1 + noise / batch


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive, not {number!r}")
