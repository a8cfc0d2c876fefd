"""Differentiation: traces of reverse and forward mode, and the transforms built on them."""
