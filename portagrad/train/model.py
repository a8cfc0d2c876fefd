"""What the configuration makes: the model, the schedule, the optimizer, the step."""

from __future__ import annotations

from collections.abc import Callable

from portagrad import nn, optim, random
from portagrad.device import Device
from portagrad.distributed import Communicator
from portagrad.train.config import OPTIONS, SCHEDULE_OPTIONS, Config
from portagrad.train.step import Step
from portagrad.train.task import Task

Schedule = Callable[[int], float]


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
    compiled: bool = False,
    comm: Communicator | None = None,
) -> Step:
    """The step of training that the configuration asks for."""
    return Step(
        optimizer,
        task,
        dropout=config.model.dropout,
        slice_size=config.train.slice_size,
        compiled=compiled,
        comm=comm,
    )
