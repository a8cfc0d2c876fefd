"""What the configuration makes: the model, the schedule, the optimizer, the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portagrad import nn, optim, random
from portagrad.device import Device
from portagrad.namespace import function
from portagrad.train.config import OPTIONS, SCHEDULE_OPTIONS, Config
from portagrad.transforms.gradient import value_and_grad

_argmax, _astype, _equal, _sum = map(function, ("argmax", "astype", "equal", "sum"))

Schedule = Callable[[int], float]
Step = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any, Any]]
"""``step(params, state, x, y) -> params, state, loss, correct``"""


def loss(model: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy of a batch, without dropout."""
    return nn.cross_entropy(model(x), y)


def make_model(config: Config, features: int, classes: int, key: random.Key, where: Device) -> nn.MLP:
    """A multilayer perceptron with fresh weights."""
    model = config.model
    return nn.MLP.init(
        key,
        [features, *model.hidden, classes],
        activation=model.activation,
        dropout=model.dropout,
        dtype=config.train.dtype,
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


def make_step(optimizer: optim.Optimizer, dropout: float) -> Step:
    """One step of training, as a function of everything that changes.

    Returns
    -------
    callable
        ``step(params, state, x, y) -> params, state, loss, correct``: the state is the optimizer's and the
        key for dropout; the loss is the batch's mean and `correct` how many examples of it were classified
        rightly, both scalars on the device.
    """

    def objective(model: nn.MLP, x: Any, y: Any, key: random.Key | None) -> tuple[Any, Any]:
        logits = model(x, key=key)
        return nn.cross_entropy(logits, y), logits

    gradient = value_and_grad(objective, has_aux=True)

    def step(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
        own, key = state
        mine = None
        if dropout:
            key, mine = random.split(key)
        (loss, logits), grads = gradient(params, x, y, mine)
        updates, own = optimizer.update(grads, own, params)
        hits = _equal(_argmax(logits, axis=-1), y)
        return optim.apply_updates(params, updates), (own, key), loss, _sum(_astype(hits, y.dtype))

    return step
