"""The computational graph of a run's model, drawn anew from its configuration."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad import random
from portagrad.compile.drawing import svg
from portagrad.device import device
from portagrad.train.config import Config
from portagrad.train.model import make_model, make_task
from portagrad.train.report.record import RunRecord, number
from portagrad.train.schema import Fault, build
from portagrad.train.step import loss_of, outputs_of
from portagrad.transforms.gradient import value_and_grad
from portagrad.transforms.graph import graph

# A larger figure is no longer read; and no folder that is shown may ask for more memory than this of weights.
_MOST_EQUATIONS = 64
_MOST_WEIGHTS = 2**26


@dataclass(frozen=True)
class Drawing:
    """A figure as a data URL, or the sentence that stands in its place."""

    title: str
    description: str
    source: str = ""
    note: str = ""


def drawings(run: RunRecord) -> list[Drawing]:
    """The forward pass, and the loss with its gradient; empty where the run's sizes are not known."""
    sizes = _sizes(run)
    if sizes is None:
        return []
    try:
        config = build(Config, run.config)
    except Fault:
        return []
    features, outputs = sizes
    widths = [features, *config.model.hidden, outputs]
    weights = sum(math.prod(pair) for pair in itertools.pairwise(widths))
    if weights > _MOST_WEIGHTS:
        return [Drawing("Forward", "", note=f"not drawn: a network of {weights:,} weights")]
    cpu = device("cpu")
    model = make_model(config, features, outputs, random.key(0), cpu)
    x = np.zeros((config.train.batch_size, features), dtype=config.train.inputs_dtype)
    even = np.ones(outputs) if config.data.class_weights != "none" else None
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, metrics=()))
    task = make_task(config, ("",) * outputs, cpu, class_weights=even)
    targets = task.blank_targets(config.train.batch_size, config.train.inputs_dtype)

    def forward(model: Any, x: Any) -> Any:
        return outputs_of(model, x)

    step = graph(value_and_grad(loss_of(task)), model, x, targets).improved()
    return [
        _drawing("Forward pass", graph(forward, model, x).improved()),
        _drawing("Training step: the loss and its gradient", step),
    ]


def _drawing(title: str, shown: Any) -> Drawing:
    count = len(shown.equations)
    backward = sum(equation.backward for equation in shown.equations)
    if count > _MOST_EQUATIONS:
        note = f"not drawn: {count} operations, of which up to {_MOST_EQUATIONS} can be read"
        return Drawing(title, "", note=note)
    # The layout of our own draws the same picture on every machine.
    encoded = base64.b64encode(svg(shown, graphviz=False).encode()).decode()
    behind = f", {backward} of them of the backward pass" if backward else ""
    described = f"Computational graph, {title}: {count} operations{behind}."
    return Drawing(title, described, source=f"data:image/svg+xml;base64,{encoded}")


def _sizes(run: RunRecord) -> tuple[int, int] | None:
    """How many features the inputs have, and how many numbers the model gives."""
    for record in (run.environment, run.summary):
        features, names = number(record.get("features")), record.get("classes") or record.get("targets")
        outputs = len(names) if isinstance(names, list) else None
        if features and outputs and features >= 1:
            return int(features), outputs
    return None
