"""Compilation: passes over a graph, and the plans that run it."""
