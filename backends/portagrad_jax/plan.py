"""A compiled graph on JAX: the replay, traced by ``jax.jit``, which XLA compiles as a whole."""

from collections.abc import Callable
from typing import Any

import jax


class Plan:
    """What runs a compiled graph on JAX."""

    def __init__(self, run: Callable[..., list[Any]], donated: tuple[int, ...]) -> None:
        self.jitted = jax.jit(run, donate_argnums=donated)
        self.report = {"plan": "one call of jax.jit", "in place": f"{len(donated)} inputs donated"}

    def __call__(self, *inputs: Any) -> list[Any]:
        return list(self.jitted(*inputs))


def plan(graph: Any, run: Callable[..., list[Any]], donated: tuple[int, ...]) -> Plan:
    """The plan of a graph, whose ops `run` replays."""
    return Plan(run, donated)
