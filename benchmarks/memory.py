"""Peak memory of a training step of 1024-2048-2048-10 at batch 512.

Each contender runs twice in processes of its own: this step, and one of a tiny network. The difference of
their peaks of resident memory, while steps run after the first two, is what the step needs: weights,
state, gradients, activations and work space, by whatever allocator; libraries and compilers cancel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks import alone
from benchmarks.case import Bar, Case, Cost, NotHere
from benchmarks.mlp import NUMPY, SIZES
from benchmarks.training import Training

TINY = ((8, 8, 8, 10), 8)
CONTENDERS = (
    "portagrad",
    "portagrad compiled",
    NUMPY,
    "torch",
    "torch.compile",
    "jax.jit",
    "autograd",
    "MyGrad",
)


def cases(device: str, quick: bool = False) -> list[Case]:
    return [
        Case(
            group="peak memory of a step",
            title="SGD" if optimizer == "sgd" else "AdamW",
            contenders={name: partial(needed, name, optimizer, device) for name in CONTENDERS},
            baseline="torch",
            bars=[Bar("portagrad compiled", ("torch",), 1.0)] if device == "cpu" else (),
            rounds=1,  # what is allocated does not vary
            bytes=True,
        )
        for optimizer in (("sgd",) if quick else ("sgd", "adamw"))
    ]


def needed(name: str, optimizer: str, device: str) -> Cost:
    if device != "cpu":
        raise NotHere("measured on CPUs only")
    training = Training(*SIZES[3], optimizer)
    tiny = replace(training, sizes=TINY[0], batch=TINY[1])
    return lambda: float(alone.ask(name, training, device).peak - alone.ask(name, tiny, device).peak)
