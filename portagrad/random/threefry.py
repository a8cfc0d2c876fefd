"""Keys, and the generator: Threefry-2x32 with 20 rounds.

Keyed and counter-based: block i of a draw is a function of the key and of i alone. The rounds are in
ops/random.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from portagrad.op import TABLE
from portagrad.ops.random import rounds
from portagrad.trace import Traced, apply
from portagrad.transforms.tree import Varying

_MASK = 0xFFFFFFFF
# Draws, splits and folds read disjoint counters of a key: this is the counter's second word.
DRAW, _SPLIT, _FOLD = 0, 1, 2


class Key(NamedTuple):
    """What a draw depends on: two 32-bit words, `high` and `low`.

    A pair of Python integers rather than an array: immutable, hashable, the same for every library, and
    easily printed, pickled or written to JSON; deriving keys never touches a device. In a compiled function
    that takes a key they are arrays, other words in each call.
    """

    high: Any
    low: Any


def key(seed: int) -> Key:
    """The key that stands for a seed.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.

    Raises
    ------
    TypeError, ValueError
        If `seed` is no integer, or out of range.

    Examples
    --------
    >>> key(42)
    Key(high=0, low=42)
    """
    seed = index("key", "seed", seed)
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"key: the seed must lie between 0 and 2**64 - 1, not {seed}")
    return Key(Varying(seed >> 32), Varying(seed & _MASK))


def split(key: Key, num: int = 2) -> tuple[Key, ...]:
    """`num` new keys, independent of each other and of what `key` itself draws.

    Examples
    --------
    >>> for_weights, for_dropout = split(key(0))
    >>> for_weights == split(key(0), 5)[0] != for_dropout
    True
    """
    check_key("split", key)
    num = index("split", "num", num)
    if not 0 <= num <= _MASK:
        raise ValueError(f"split: num must lie between 0 and 2**32 - 1, not {num}")
    return tuple(_derive(key, i, _SPLIT) for i in range(num))


def fold_in(key: Key, data: int) -> Key:
    """The new key that belongs to `key` and an integer, such as the number of a step or of a layer.

    Parameters
    ----------
    key : Key
    data : int
        From 0 to 2**32 - 1.

    Examples
    --------
    >>> fold_in(key(0), 7) == fold_in(key(0), 7) != fold_in(key(0), 8)
    True
    """
    check_key("fold_in", key)
    if not isinstance(data, Traced):
        data = index("fold_in", "data", data)
        if not 0 <= data <= _MASK:
            raise ValueError(f"fold_in: data must lie between 0 and 2**32 - 1, not {data}")
    return _derive(key, data, _FOLD)


def threefry(key: Key, x0: Any, x1: Any, wrap: Callable[[Any], Any] = lambda x: x) -> tuple[Any, Any]:
    """The block of the counter (x0, x1): one op where a compiled function draws, else at once."""
    args = (_word(key.high), _word(key.low), x0, x1)
    if any(isinstance(a, Traced) for a in args):
        return tuple(apply(TABLE["threefry"], args))
    return rounds(*args, wrap)


def _word(word: Any) -> Any:
    """A word of a key as a Python integer, also of a key that a compiled function has returned."""
    return word if isinstance(word, int | Traced) else int(word) & _MASK


def multiply_high(x: Any, n: int, width: int) -> Any:
    """The high word of the product of the words `x`, read as unsigned, and 0 <= n <= 2**width.

    From products of half words (Warren, "Hacker's Delight", 2nd ed., section 8-2).
    """
    half = width // 2
    mask = (1 << half) - 1
    n_high, n_low = n >> half, n & mask
    x_high, x_low = (x >> half) & mask, x & mask
    t = x_high * n_low + ((x_low * n_low >> half) & mask)
    s = x_low * n_high + (t & mask)
    return x_high * n_high + ((t >> half) & mask) + ((s >> half) & mask)


def index(what: str, name: str, value: Any) -> int:
    """`value` as a Python integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what}: {name} must be an integer, not {type(value).__name__}") from None


def check_key(what: str, key: Any) -> None:
    """Refuse what is no key."""
    if not isinstance(key, Key):
        raise TypeError(
            f"{what}: the first argument must be a key, not {type(key).__name__}; make one with "
            "pg.random.key(seed), and more with pg.random.split"
        )


def _derive(key: Key, word: Any, purpose: int) -> Key:
    if isinstance(key.high, Traced) or isinstance(word, Traced):
        return Key(*threefry(key, word, purpose))
    return Key(*map(Varying, threefry(key, word, purpose, lambda x: x & _MASK)))
