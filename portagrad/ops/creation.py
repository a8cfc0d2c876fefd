"""Triangles; the rest of the standard's creation functions make constants."""

from portagrad.op import case, linear

tril = linear(
    "tril",
    "(x, /, *, k=0)",
    lambda g, k, xp: xp.tril(g, k=k),
    cases=(case((3, 3)), case((2, 3, 4), k=1)),
    doc="The lower triangle of matrices, zeros above it.\n"
    "k: int; the last diagonal kept: 0 the main one, positive above it",
)
triu = linear(
    "triu",
    "(x, /, *, k=0)",
    lambda g, k, xp: xp.triu(g, k=k),
    cases=(case((3, 3)), case((2, 3, 4), k=-1)),
    doc="The upper triangle of matrices, zeros below it.\n"
    "k: int; the first diagonal kept: 0 the main one, positive above it",
)
