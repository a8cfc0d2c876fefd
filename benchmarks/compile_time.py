"""Compile time: what a first step takes more than a later one, in a fresh process without caches."""

from __future__ import annotations

from functools import partial

from benchmarks import alone
from benchmarks.case import Case, Cost
from benchmarks.mlp import SIZES, TORCH_COMPILE
from benchmarks.training import Training


def cases(device: str, quick: bool = False) -> list[Case]:
    training = Training(*SIZES[2], "adamw")
    return [
        Case(
            group="compile time",
            title=f"AdamW step, {training.title}",
            contenders={
                name: partial(compiling, name, training, device)
                for name in ("portagrad compiled", TORCH_COMPILE[device], "jax.jit")
            },
            baseline="jax.jit",
            seconds=30.0,
            rounds=1 if quick else 3,
        )
    ]


def compiling(name: str, training: Training, device: str) -> Cost:
    def cost() -> float:
        told = alone.ask(name, training, device)
        return told.first - told.later

    return cost
