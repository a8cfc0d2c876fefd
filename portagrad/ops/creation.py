"""Triangles; the rest of the standard's creation functions make constants."""

from portagrad.op import case, linear

tril = linear("tril", "(x, /, *, k=0)", lambda g, k, xp: xp.tril(g, k=k), cases=(case((3, 3)), case((2, 3, 4), k=1)))
triu = linear("triu", "(x, /, *, k=0)", lambda g, k, xp: xp.triu(g, k=k), cases=(case((3, 3)), case((2, 3, 4), k=-1)))
