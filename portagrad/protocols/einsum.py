"""Einstein's summation, one pair of arrays after the other, each by one matrix product."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from portagrad.protocols.counterpart import as_tensor, counterpart
from portagrad.tensor import Tensor

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@counterpart()
def einsum(xp: Any, *operands: Any, optimize: Any = False, dtype: Any = None) -> Any:
    """Sums of products over the subscripts that the result does not have."""
    subscripts, arrays = separated(operands)
    like = next(a for a in arrays if isinstance(a, Tensor))
    arrays = [as_tensor(a, like, "np.einsum") for a in arrays]
    arrays = arrays if dtype is None else [xp.astype(a, dtype) for a in arrays]
    terms, result = parsed(subscripts, [a.ndim for a in arrays])
    parts = [once(xp, a, term) for a, term in zip(arrays, terms, strict=True)]
    for pair in order(parts, result, optimize):
        first, second = (parts.pop(i) for i in sorted(pair, reverse=True))
        left = {*result, *(letter for _, term in parts for letter in term)}
        parts.append(contracted(xp, second, first, left))
    a, term = summed(xp, *parts[0], set(result))
    return xp.permute_dims(a, tuple(term.index(letter) for letter in result))


def separated(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Subscripts and arrays, from either way of giving them: text first, or lists of numbers between."""
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])

    def text(numbers: Sequence[Any]) -> str:
        return "".join("..." if n is ... else LETTERS[n] for n in numbers)

    pairs = len(operands) // 2
    given = ",".join(text(operands[2 * i + 1]) for i in range(pairs))
    arrays = [operands[2 * i] for i in range(pairs)]
    return given + ("->" + text(operands[-1]) if len(operands) % 2 else ""), arrays


def parsed(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each array and of the result, letters of their own in place of an ellipsis."""
    given, arrow, result = subscripts.partition("->")
    terms = given.split(",")
    if len(terms) != len(ndims):
        raise ValueError(
            f"einsum: {subscripts!r} has subscripts of {len(terms)} arrays; there are {len(ndims)}"
        )
    spare = [letter for letter in LETTERS if letter not in subscripts]
    extra = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims, strict=True)]
    for term, n, ndim in zip(terms, extra, ndims, strict=True):
        if n < 0 or (n and "..." not in term):
            raise ValueError(f"einsum: {term!r} does not fit an array of {ndim} axes")
    most = max(extra, default=0)
    rest = "".join(spare[:most])
    terms = [term.replace("...", rest[most - n :]) for term, n in zip(terms, extra, strict=True)]
    if not arrow:
        every = "".join(terms)
        result = rest + "".join(sorted(c for c in {*every} - {*rest} if every.count(c) == 1))
    result = result.replace("...", rest)
    if not {*result} <= {*"".join(terms)} or len({*result}) < len(result):
        raise ValueError(f"einsum: the result of {subscripts!r} must have each letter of some array, once")
    return terms, result


def once(xp: Any, a: Any, term: str) -> tuple[Any, str]:
    """An array with each letter once: of equal subscripts the diagonal is taken."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            a = xp.linalg.diagonal(xp.moveaxis(a, (i, j), (-2, -1)))
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + letter
    return a, term


def order(parts: Sequence[tuple[Any, str]], result: str, optimize: Any) -> list[Sequence[int]]:
    """Which pairs to contract, one after the other: from the left, or NumPy's choice."""
    if not optimize or len(parts) < 3:
        return [(0, 1)] * (len(parts) - 1)
    text = ",".join(term for _, term in parts) + "->" + result
    shapes = [np.broadcast_to(0.0, a.shape) for a, _ in parts]
    path, _ = np.einsum_path(text, *shapes, optimize=optimize)
    pairs: list[Sequence[int]] = []
    for step in path[1:]:
        last = len(parts) - len(pairs) - 1
        pairs.append(step)
        for _ in step[2:]:
            raise ValueError(
                f"einsum: optimize={optimize!r} contracts {len(step)} arrays at once, of {last + 1}"
            )
    return pairs


def summed(xp: Any, a: Any, term: str, left: set[str]) -> tuple[Any, str]:
    """An array without the letters that are not left."""
    gone = tuple(i for i, letter in enumerate(term) if letter not in left)
    return (xp.sum(a, axis=gone), "".join(c for c in term if c in left)) if gone else (a, term)


def contracted(xp: Any, one: tuple[Any, str], other: tuple[Any, str], left: set[str]) -> tuple[Any, str]:
    """The product of two arrays, summed over the letters that both have and that are not left."""
    a, s = summed(xp, *one, left | {*other[1]})
    b, t = summed(xp, *other, left | {*one[1]})
    both = [c for c in s if c in t]
    batch, inner = [c for c in both if c in left], [c for c in both if c not in left]
    rows, columns = [c for c in s if c not in t], [c for c in t if c not in s]
    length = dict(itertools.chain(zip(t, b.shape, strict=True), zip(s, a.shape, strict=True)))
    for c, n in zip(t, b.shape, strict=True):
        length[c] = max(n, length[c]) if 1 in (n, length[c]) and 0 not in (n, length[c]) else n
    groups = [math.prod(length[c] for c in letters) for letters in (batch, rows, inner, columns)]

    def matrices(x: Any, term: str, letters: Sequence[str], shape: tuple[int, ...]) -> Any:
        x = xp.permute_dims(x, tuple(term.index(c) for c in letters))
        return xp.reshape(xp.broadcast_to(x, tuple(length[c] for c in letters)), shape)

    n, r, k, m = groups
    y = xp.matmul(
        matrices(a, s, [*batch, *rows, *inner], (n, r, k)),
        matrices(b, t, [*batch, *inner, *columns], (n, k, m)),
    )
    letters = [*batch, *rows, *columns]
    return xp.reshape(y, tuple(length[c] for c in letters)), "".join(letters)
