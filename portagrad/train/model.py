"""What the configuration makes: the model, the schedule, the optimizer, the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portagrad import nn, optim, random
from portagrad.data import Standardization
from portagrad.device import Device, transfer
from portagrad.distributed import Communicator
from portagrad.errors import ConfigError
from portagrad.train.config import LOSSES, OPTIONS, SCHEDULE_OPTIONS, Config
from portagrad.train.examples import Array
from portagrad.train.feed import on_host
from portagrad.train.step import Step
from portagrad.train.task import Classification, Regression, Task
from portagrad.train.weights import named_leaves, structured

Schedule = Callable[[int], float]
_TOP = 5


def make_task(
    config: Config,
    names: tuple[str, ...],
    where: Device,
    *,
    scaling: Standardization | None = None,
    class_weights: Array | None = None,
) -> Task:
    """What the configuration has a model learn.

    Parameters
    ----------
    config : Config
    names : tuple of str
        Of the model's outputs: the classes, or the targets.
    where : Device
        The run's.
    scaling : Standardization, optional
        Of a regression's targets; by default they are as they are.
    class_weights : array, shape (classes,), optional

    Raises
    ------
    ConfigError
        If a measure that is asked for is none of so many classes.
    """
    metrics, model = config.train.metrics, config.model
    if config.data.task == "regression":
        count = len(names)
        scaling = scaling or Standardization(np.zeros(count), np.ones(count))
        kind = model.loss or LOSSES["regression"][0]
        return Regression(names, scaling, kind, model.huber_delta or 1.0, metrics)
    if f"top_{_TOP}" in metrics and len(names) <= _TOP:
        raise ConfigError(
            f"train.metrics: top_{_TOP} is measured of more than {_TOP} classes, not {len(names)}"
        )
    weights = None
    if class_weights is not None:
        weights = transfer(class_weights.astype(config.train.inputs_dtype), where)
    return Classification(names, weights, config.train.label_smoothing, metrics)


def make_model(config: Config, features: int, outputs: int, key: random.Key, where: Device) -> nn.MLP:
    """A multilayer perceptron with fresh weights."""
    model = config.model
    return nn.MLP.init(
        key,
        [features, *model.hidden, outputs],
        activation=model.activation,
        dropout=model.dropout,
        dtype=config.train.weights_dtype,
        device=where,
    )


def placed(model: Any, dtype: str, where: Device) -> Any:
    """A copy of a model, with its weights on a device and in a dtype."""
    leaves = [transfer(on_host(leaf).astype(dtype), where) for leaf in named_leaves(model).values()]
    return structured(model, leaves)


def make_schedule(config: Config, steps: int) -> Schedule:
    """The learning rate by the number of steps taken; an epoch has so many `steps`."""
    schedule, lr = config.schedule, config.optimizer.lr
    warmup = round(schedule.warmup_epochs * steps)
    total = config.train.epochs * steps
    defaults = SCHEDULE_OPTIONS[schedule.name]
    chosen = {name: getattr(schedule, name) for name in defaults if getattr(schedule, name) is not None}
    options = {**defaults, **chosen}
    if schedule.name == "one_cycle":
        rates: Schedule = optim.schedules.one_cycle(lr, total)
    elif schedule.name == "cosine":
        rates = optim.schedules.cosine(lr, max(1, total - warmup), final=lr * options["final"])
    elif schedule.name == "step":
        rates = optim.schedules.step(lr, max(1, round(options["every_epochs"] * steps)), options["factor"])
    else:
        rates = optim.schedules.constant(lr)
    # From a hundredth, not from 0, at which the first step would do nothing.
    return optim.schedules.warmup(rates, warmup, start=lr / 100) if warmup else rates


def make_optimizer(config: Config, schedule: Schedule) -> optim.Optimizer:
    """The optimizer by its name, with the settings that were given, after clipping if that is asked for."""
    settings = config.optimizer
    options = {name: getattr(settings, name) for name in OPTIONS[settings.name]}
    given = {name: value for name, value in options.items() if value is not None}
    made: optim.Optimizer = getattr(optim, settings.name)(schedule, **given)
    clips = []
    if settings.clip_value is not None:
        clips.append(optim.clip(settings.clip_value))
    if settings.clip_norm is not None:
        clips.append(optim.clip_by_global_norm(settings.clip_norm))
    return optim.chain(*clips, made) if clips else made


def make_step(
    config: Config,
    optimizer: optim.Optimizer,
    task: Task,
    *,
    dropout: bool = False,
    compiled: bool = False,
    dtype: Any = None,
    comm: Communicator | None = None,
) -> Step:
    """The step of training that the configuration asks for, of a model that drops out or does not."""
    return Step(
        optimizer,
        task,
        dropout=dropout,
        slice_size=config.train.slice_size,
        compiled=compiled,
        dtype=dtype,
        comm=comm,
    )
