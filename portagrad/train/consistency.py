"""What one key of a configuration alone cannot tell: files, and keys that do or do not go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portagrad.data.files import is_file, missing_file, shown
from portagrad.train.config import LOSSES, OPTIONS, SCHEDULE_OPTIONS, Config, DataConfig
from portagrad.train.metrics import MEASURES, SCORES
from portagrad.train.schema import Fault, one_of

# Keys that go with one task alone, and what the other has in their place.
_OF_ONE_TASK = {
    "data.labels": ("classification", "data.targets names what a regression predicts"),
    "data.test_labels": ("classification", "data.test_targets names what a regression predicts"),
    "data.classes": ("classification", "a regression has an output per target, by data.targets"),
    "data.class_weights": ("classification", "in a regression every example weighs the same"),
    "train.label_smoothing": ("classification", 'a regression has model.loss = "huber" against outliers'),
    "data.targets": ("regression", "data.labels names the classes"),
    "data.test_targets": ("regression", "data.test_labels names the classes"),
}


_OF_FILES = ("format", "inputs", "labels", "targets", "header", "delimiter")
_OF_TEST_FILES = ("test_path", "test_inputs", "test_labels", "test_targets")
_OF_MLP = ("hidden", "activation", "dropout")
_OF_OTHERS = (
    *(f"data.{name}" for name in ("path", *_OF_FILES, *_OF_TEST_FILES)),
    *(f"model.{name}" for name in _OF_MLP),
)


def present(section: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a section that are set, by name."""
    for entry in dataclasses.fields(section):
        value = getattr(section, entry.name)
        if value is not None:
            yield entry.name, value


def check(config: Config) -> None:
    """Raise a Fault for what one key alone cannot tell: files, and keys that do not go together."""
    _check_data(config.data)
    check_task(config)
    optimizer, schedule = config.optimizer, config.schedule
    for key, value in present(optimizer):
        taken = ("lr", *OPTIONS[optimizer.name], "clip_norm", "clip_value")
        if value is not None and key not in ("name", *taken):
            raise Fault(f"optimizer.{key}", f"{optimizer.name} takes no {key}; it takes {', '.join(taken)}")
    if optimizer.nesterov and not optimizer.momentum:
        raise Fault("optimizer.nesterov", "needs optimizer.momentum above 0")
    for key, _ in present(schedule):
        taken = () if schedule.name == "one_cycle" else ("warmup_epochs",)
        taken = (*taken, *SCHEDULE_OPTIONS[schedule.name])
        given = key != "warmup_epochs" or schedule.warmup_epochs > 0
        if given and key not in ("name", *taken):
            offer = f"it takes {', '.join(taken)}" if taken else "it has a warm-up of its own"
            raise Fault(f"schedule.{key}", f"{schedule.name} takes no {key}; {offer}")
    if schedule.warmup_epochs >= config.train.epochs:
        raise Fault("schedule.warmup_epochs", f"must be below train.epochs, {config.train.epochs}")
    if config.output is not None:
        _check_output(config.output)


def idle_keys(config: Config) -> tuple[str, ...]:
    """The keys that say nothing: of files and of the MLP, where a run is given its data and model."""
    return _OF_OTHERS if config.data.path is None else ()


def check_own(config: Config) -> None:
    """Raise a Fault for a key of files or of the MLP that is set, in a run of `train.fit`."""
    for key in _OF_OTHERS:
        section, _, name = key.partition(".")
        part = getattr(config, section)
        if getattr(part, name) != getattr(type(part)(), name):
            what = "data" if section == "data" else "model"
            raise Fault(key, f"says nothing in train.fit, which is given its {what}; leave it out")


def check_task(config: Config) -> None:
    """Raise a Fault for a key that does not go with the task."""
    _check_measures(config)
    task, model = config.data.task, config.model
    for key, (owner, instead) in _OF_ONE_TASK.items():
        section, _, name = key.partition(".")
        part = getattr(config, section)
        (field,) = (entry for entry in dataclasses.fields(part) if entry.name == name)
        if task != owner and getattr(part, name) != field.default:
            raise Fault(key, f'goes with data.task = "{owner}", which is "{task}"; {instead}')
    if model.loss is not None and model.loss not in LOSSES[task]:
        offered = ", ".join(f'"{name}"' for name in LOSSES[task])
        raise Fault("model.loss", f'"{model.loss}" is no loss of a {task} (data.task), which takes {offered}')
    if model.huber_delta is not None and model.loss != "huber":
        raise Fault("model.huber_delta", 'goes with model.loss = "huber" alone')


def _check_measures(config: Config) -> None:
    data, loop = config.data, config.train
    for index, name in enumerate(loop.metrics):
        one_of(f"train.metrics[{index}]", name, MEASURES[data.task])
    if len(set(loop.metrics)) < len(loop.metrics):
        raise Fault("train.metrics", "names a measure twice")
    if loop.metrics and not data.validation_fraction:
        raise Fault("train.metrics", "is of the validation set, and data.validation_fraction is 0")
    if loop.monitor in MEASURES[data.task] and loop.monitor not in loop.metrics:
        raise Fault("train.monitor", f'"{loop.monitor}" is not measured; name it in train.metrics too')
    one_of("train.monitor", loop.monitor, ["loss", SCORES[data.task], *loop.metrics])


def _check_output(output: Path) -> None:
    if not str(output).isprintable():
        raise Fault("output", f"{shown(str(output))} is no name of a folder")
    try:
        if output.exists() and not output.is_dir():
            raise Fault("output", f"{output} is a file, not a folder")
        full = output.exists() and any(output.iterdir())
    except OSError as error:
        raise Fault("output", f"{shown(str(output))} cannot be a folder ({error.strerror})") from None
    if full:
        raise Fault(
            "output",
            f"the folder {output} is not empty; name a fresh one, or leave output out for a "
            "numbered folder under runs",
        )


def _check_data(data: DataConfig) -> None:
    for key, path in (("path", data.path), ("test_path", data.test_path)):
        if path is not None and not is_file(path):
            raise Fault(f"data.{key}", missing_file(path))
    if data.delimiter is not None and len(data.delimiter) != 1:
        raise Fault("data.delimiter", f"expected one character, got {shown(data.delimiter)}")
    if data.names is not None:
        several = data.task == "classification"
        if len(set(data.names)) < max(2 if several else 1, len(data.names)):
            raise Fault("data.names", f"expected {'two' if several else 'one'} or more different names")
        if data.classes is not None and data.classes != len(data.names):
            raise Fault("data.classes", f"is {data.classes}, but data.names has {len(data.names)} names")
    if data.test_path is None and data.validation_fraction + data.test_fraction >= 1:
        raise Fault(
            "data.validation_fraction",
            f"with data.test_fraction it leaves nothing to train on "
            f"({data.validation_fraction:g} + {data.test_fraction:g})",
        )
