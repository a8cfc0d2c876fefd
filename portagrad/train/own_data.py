"""Data of one's own, checked before anything is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from portagrad import random
from portagrad.data import ArraySource, Dataset, RegressionDataset, Source, make_dataset, make_regression
from portagrad.data.dataset import Array, check_inputs, check_shape
from portagrad.data.files import hint, shown
from portagrad.errors import ConfigError, DataError
from portagrad.train.config import DataConfig
from portagrad.train.feed import on_host
from portagrad.train.prepare import IN_MEMORY, Data, Prepared, divided, streamed
from portagrad.transforms.tree import is_array

PARTS = ("train", "validation", "test")
_TASKS = {Dataset: "classification", RegressionDataset: "regression"}


def task_of(data: Any) -> Literal["classification", "regression"]:
    """What data are for, where nothing says it: numbers if they are a RegressionDataset, else classes."""
    first = data.get("train") if isinstance(data, Mapping) else data
    return "regression" if isinstance(first, RegressionDataset) else "classification"


def own_prepared(data: Any, config: DataConfig, key: random.Key, dtype: str) -> Prepared:
    """Data of one's own, checked and split; examples keep their shape.

    Raises
    ------
    TypeError, DataError, ConfigError
        If they are not what `fit` takes.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"train": data}
    for name in parts:
        if name not in PARTS:
            near = hint(str(name), list(PARTS))
            raise DataError(f"data: {shown(str(name))} is no part; the parts are {', '.join(PARTS)}{near}")
    if "train" not in parts:
        raise DataError(f'data: has no "train", only {", ".join(parts) or "nothing"}')
    if _is_streamed(parts, config):
        return _own_streamed(parts, config, key, dtype)
    whole = _part(parts["train"], "", config, config.names or config.classes)
    others: dict[str, Data] = {}
    for name in PARTS[1:]:
        if parts.get(name) is None:
            continue
        other = others[name] = _part(parts[name], f"{name} ", config, whole.names)
        _check_alike(name, other.inputs.shape[1:], whole.inputs.shape[1:])
    integers = _as_they_are(config, whole.inputs.dtype)
    return divided(config, whole, key, dtype, what="data", flat=False, integers=integers, **others)


def _as_they_are(config: DataConfig, dtype: np.dtype[Any]) -> bool:
    """Whether inputs are integers that nothing is to change, such as the numbers of words."""
    return config.standardize == "none" and dtype.kind in "iu"


def _check_alike(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise DataError(f"{name} inputs: examples have the shape {shape}, in training {expected}")


def _is_source(part: Any) -> bool:
    return all(hasattr(part, name) for name in ("bounds", "block", "shape", "features"))


def _is_streamed(parts: Mapping[str, Any], config: DataConfig) -> bool:
    """Whether the data are read block by block: sources always, large memory maps if nothing says no."""
    given = [part for part in parts.values() if part is not None]
    sources = [part for part in given if _is_source(part)]
    if sources and config.stream is False:
        raise ConfigError(f"data.stream: is false, but the data are a {type(sources[0]).__name__}, a stream")
    inputs = [part[0] for part in given if isinstance(part, tuple | list) and part]
    inputs += [part.inputs for part in given if type(part) in _TASKS]
    maps = sum(x.nbytes for x in inputs if isinstance(x, np.memmap))
    return bool(sources) or bool(config.stream) or (config.stream is None and maps > IN_MEMORY)


def _own_streamed(parts: Mapping[str, Any], config: DataConfig, key: random.Key, dtype: str) -> Prepared:
    sources: dict[str, Source] = {}
    for name in PARTS:
        part = parts.get(name)
        if part is None:
            continue
        source = sources[name] = part if _is_source(part) else _as_source(part, name, config)
        _check_alike(name, source.shape, sources["train"].shape)
    first = parts["train"]
    if type(first) in _TASKS and config.names is None:
        config = dataclasses.replace(config, names=first.names)
    whole = sources.pop("train")
    integers = _as_they_are(config, whole.dtype)
    return streamed(config, whole, key, dtype, flat=False, integers=integers, **sources)


def _as_source(part: Any, name: str, config: DataConfig) -> Source:
    prefix = "" if name == "train" else f"{name} "
    if type(part) in _TASKS:
        _check_task(part, prefix, config)
        inputs, targets = part.inputs, part.targets
    else:
        inputs, targets = _pair(part, prefix)
    check_shape(inputs, f"{prefix}inputs")
    return ArraySource(inputs, targets, f"{prefix}inputs")


def _check_task(part: Data, name: str, config: DataConfig) -> None:
    if (task := _TASKS[type(part)]) != config.task:
        raise ConfigError(
            f'data.task: is "{config.task}", but the {name}data are a {type(part).__name__}; set '
            f'data.task = "{task}"'
        )


def _part(part: Any, name: str, config: DataConfig, names: Any) -> Data:
    """One part as a data set; `names` are those of the classes or targets where they are known."""
    if type(part) in _TASKS:
        _check_task(part, name, config)
        if isinstance(names, int) and names != len(part.names):
            raise ConfigError(f"data.classes: is {names}, but the data are of {len(part.names)} classes")
        if isinstance(names, tuple) and config.names is None and names != part.names:
            raise DataError(f"{name}data: are of {listed(part.names)}, in training of {listed(names)}")
        names = names if isinstance(names, tuple) else part.names
        inputs, targets = part.inputs, part.targets
    else:
        inputs, targets = _pair(part, name)
    check_inputs(inputs, f"{name}inputs")
    if config.task == "regression":
        return make_regression(inputs, targets, what=f"{name}targets", names=names)
    what = f"{name}labels"
    if targets.dtype.kind == "f" and targets.ndim == 1 and not np.isfinite(targets).all():
        row = int((~np.isfinite(targets)).argmax())
        raise DataError(f"{what}, row {row} is {targets[row]}; every label must be a class")
    try:
        return make_dataset(inputs, targets, what=what, classes=names)
    except DataError as error:
        if targets.dtype.kind != "f":
            raise
        raise DataError(f'{error}; numbers are learned with data.task = "regression"') from None


def _pair(part: Any, name: str) -> tuple[Array, Array]:
    """Inputs and targets on the host."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        size = f" of {len(part)}" if isinstance(part, tuple | list) else ""
        raise TypeError(
            f"fit: the {name}data are {type(part).__name__}{size}; give (inputs, targets), a Dataset, a "
            'RegressionDataset, or a mapping of these by "train", "validation" and "test"'
        )
    for what, array in zip(("inputs", "targets"), part, strict=True):
        if not is_array(array):
            raise TypeError(f"fit: the {name}{what} are {type(array).__name__}, not an array")
    inputs, targets = (x if isinstance(x, np.memmap) else on_host(x) for x in part)
    if inputs.ndim and targets.ndim and len(inputs) != len(targets):
        raise DataError(f"{name}data: {len(inputs)} inputs, but {len(targets)} targets; each input needs one")
    return inputs, targets


def listed(names: tuple[str, ...]) -> str:
    """The first few names, for a message."""
    few = ", ".join(names[:5])
    return f"({few}{', ...' if len(names) > 5 else ''})"
