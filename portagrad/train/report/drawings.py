"""The computational graph of a run's model, drawn anew from its configuration, or while the run has it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import random
from portagrad.compile.drawing import svg
from portagrad.device import device, device_of, transfer
from portagrad.train.config import Config
from portagrad.train.model import make_model, make_task
from portagrad.train.report.record import DRAWINGS, Drawing, RunRecord, number
from portagrad.train.run_folder import json_line, write_text
from portagrad.train.schema import Fault, build
from portagrad.train.step import loss_of, outputs_of
from portagrad.train.task import Task
from portagrad.transforms.gradient import value_and_grad
from portagrad.transforms.graph import graph

# A larger figure is no longer read; and no folder that is shown may ask for more memory than this of weights.
_MOST_EQUATIONS = 64
_MOST_WEIGHTS = 2**26
_MOST_REASON = 300
_FORWARD = "Forward pass"


def drawings(run: RunRecord) -> list[Drawing]:
    """The forward pass, and the loss with its gradient; empty where the run's sizes are not known."""
    if run.drawings is not None:
        return list(run.drawings)
    if own := run.environment.get("model"):
        return [Drawing(_FORWARD, note=f"not drawn: the run left no drawing of its model, {own}")]
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
        return [Drawing(_FORWARD, note=f"not drawn: a network of {weights:,} weights")]
    cpu = device("cpu")
    model = make_model(config, features, outputs, random.key(0), cpu)
    x = np.zeros((config.train.batch_size, features), dtype=config.train.inputs_dtype)
    even = np.ones(outputs) if config.data.class_weights != "none" else None
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, metrics=()))
    task = make_task(config, ("",) * outputs, cpu, class_weights=even)
    return drawn(model, task, x, config.train.inputs_dtype)


def drawn(model: Any, task: Task, x: Any, dtype: str) -> list[Drawing]:
    """The same of a model and a batch, computed in a dtype."""
    targets = transfer(task.blank_targets(x.shape[0], dtype), device_of(x))

    def forward(model: Any, x: Any) -> Any:
        return outputs_of(model, x)

    step = graph(value_and_grad(loss_of(task)), model, x, targets).improved()
    return [
        _drawing(_FORWARD, graph(forward, model, x).improved()),
        _drawing("Training step: the loss and its gradient", step),
    ]


def write_drawings(folder: Path, model: Any, task: Task, x: Any, dtype: str) -> None:
    """Leave the drawings of a model of one's own in a run's folder, or why there are none."""
    try:
        made = drawn(model, task, x, dtype)
    except Exception as error:  # of whatever the model does: the run needs no drawing
        reason = " ".join(str(error).split())[:_MOST_REASON]
        made = [Drawing(_FORWARD, note=f"not drawn: {type(error).__name__}: {reason}")]
    record = {"drawings": [dataclasses.asdict(drawing) for drawing in made]}
    write_text(folder / DRAWINGS, json_line(record) + "\n")


def _drawing(title: str, shown: Any) -> Drawing:
    count = len(shown.equations)
    backward = sum(equation.backward for equation in shown.equations)
    if count > _MOST_EQUATIONS:
        note = f"not drawn: {count} operations, of which up to {_MOST_EQUATIONS} can be read"
        return Drawing(title, note=note)
    # The layout of our own draws the same picture on every machine.
    text = svg(shown, graphviz=False)
    behind = f", {backward} of them of the backward pass" if backward else ""
    described = f"Computational graph, {title}: {count} operations{behind}."
    return Drawing(title, described, svg=text)


def _sizes(run: RunRecord) -> tuple[int, int] | None:
    """How many features the inputs have, and how many numbers the model gives."""
    for record in (run.environment, run.summary):
        features, names = number(record.get("features")), record.get("classes") or record.get("targets")
        outputs = len(names) if isinstance(names, list) else None
        if features and outputs and features >= 1:
            return int(features), outputs
    return None
