"""Portable random numbers: the same bits on every backend and device, from explicit keys.

A draw is a function of its key: the same key gives the same numbers, so each draw takes a key of its own,
from `split` or `fold_in`. Results are raw arrays of the device's library.
"""

from portagrad.random.continuous import normal, truncated_normal, uniform
from portagrad.random.discrete import bernoulli, bits, permutation, randint
from portagrad.random.threefry import Key, fold_in, key, split

__all__ = [
    "Key",
    "bernoulli",
    "bits",
    "fold_in",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]
