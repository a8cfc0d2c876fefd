"""From a configuration, a model and data to a run, and from its first step to its result."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import random
from portagrad.device import Device, current_device, device, devices_of, transfer
from portagrad.distributed import Communicator
from portagrad.errors import ConfigError, DataError
from portagrad.train.config import SECOND_FILES, Config
from portagrad.train.config_file import dump_config
from portagrad.train.consistency import idle_keys
from portagrad.train.output import Folder, Output
from portagrad.train.prepare import Prepared
from portagrad.train.progress import Progress
from portagrad.train.report import flat
from portagrad.train.report.drawings import write_drawings
from portagrad.train.report.environment import write_environment
from portagrad.train.result import Result
from portagrad.train.run import Run
from portagrad.train.run_folder import fresh_folder, write_text
from portagrad.train.tensorboard import require_tensorboard

# What may change in a run that goes on: where and how it runs, and when it ends.
FREE = (
    *("device", "output", "train.epochs", "train.compile", "train.checkpoint_steps"),
    *("train.patience", "train.monitor", "train.min_delta", "train.restore_best", "train.tensorboard"),
    *("train.figures", "train.slice_size"),
)

Prepare = Callable[[random.Key, str], Prepared]
"""``prepare(key, dtype)``: the data of a run, split by a key."""


def make_run(config: Config, comm: Communicator, prepare: Prepare, model: Any = None) -> Run:
    """A run before its first step, and before anything is written.

    Parameters
    ----------
    config : Config
        That passed its checks.
    comm : Communicator
    prepare : callable
    model : pytree, optional
        Whose weights the run begins with, for a model of one's own.
    """
    if config.train.tensorboard:
        require_tensorboard()
    where = current_device() if config.device is None else device(config.device)
    if comm.size > 1:
        where = _own_device(where, comm.local_rank)
    loop = dataclasses.replace(config.train, dtype=config.train.dtype or "float32")
    config = dataclasses.replace(config, device=str(where), train=loop)
    _check_dtype(config, where)
    data_key, *keys = random.split(random.key(config.seed), 4)
    fixed = {key: value for key, value in settings_of(config) if key not in FREE and not _is_path(key)}
    data = prepare(data_key, config.train.inputs_dtype)
    sums = comm.all_gather_object(data.checksum)
    if len(set(sums)) > 1:
        what = config.data.path or "data"
        raise DataError(f"{what}: the ranks have read different data, with the sums {'; '.join(sums)}")
    return Run(config, where, data, keys, fixed, comm, model)


def begun(run: Run, name: str, progress: Progress | None) -> Result:
    """The result of a run in a folder of its own, which the first rank makes."""
    comm = run.comm
    made = str(fresh_folder(name, run.config.output)) if comm.rank == 0 else None
    return train_in(Path(comm.broadcast_object(made)), run, progress)


def _own_device(where: Device, local_rank: int) -> Device:
    """A rank's device, where its machine has several of a kind: the first rank's, the next, and so on."""
    kind = where.name.rstrip("0123456789")
    alike = [other for other in devices_of(where.backend) if other.name.rstrip("0123456789") == kind]
    return alike[(alike.index(where) + local_rank) % len(alike)] if where in alike else where


def train_in(folder: Path, run: Run, progress: Progress | None) -> Result:
    """The result of a run in its folder."""
    first = run.comm.rank == 0
    if first:
        word = "" if run.own is None else f"# train.fit was given the model, {run.own}, and the data.\n"
        write_text(folder / "config.toml", word + dump_config(_repeatable(run.config)))
        write_environment(folder, run.where, run.facts)
        loop = run.config.train
        if run.own is not None and loop.figures:
            data, dtype = run.prepared, loop.inputs_dtype
            taken = dtype if data.standardization is not None else "int32"
            batch = transfer(np.zeros((loop.batch_size, *data.shape), taken), run.where)
            write_drawings(folder, run.at.model, run.task, batch, dtype)
    settings = dict(settings_of(run.config))
    # The loop looks for NaNs itself, and says more than NumPy's warnings.
    with (
        np.errstate(all="ignore"),
        progress if first and progress else Progress() as shown,
        Folder(folder, run.at.records, settings) if first else Output() as output,
    ):
        shown.note(run.described())
        return run.train(folder, shown, output)


def settings_of(config: Config) -> Iterator[tuple[str, Any]]:
    """The keys of a configuration that say something, dotted, with their values as JSON has them."""
    idle = idle_keys(config)
    for key, value in flat(dataclasses.asdict(config)):
        if key in idle:
            continue
        plain = str(value) if isinstance(value, Path) else value
        yield key, list(plain) if isinstance(plain, tuple) else plain


def _is_path(key: str) -> bool:
    """Whether a key may name a file, which may have moved; what it holds is compared by its sum."""
    return key.removeprefix("data.") in ("path", "test_path", *SECOND_FILES)


def _repeatable(config: Config) -> Config:
    """The configuration as it repeats the run from anywhere: paths absolute, and no folder of its own."""
    data = config.data
    paths = {name: getattr(data, name) for name in ("path", "test_path")}
    absolute: dict[str, Any] = {name: path.resolve() for name, path in paths.items() if path is not None}
    for name in SECOND_FILES:
        value = getattr(data, name)
        if isinstance(value, str) and Path(value).is_file():  # the second file of a pair
            absolute[name] = str(Path(value).resolve())
    return dataclasses.replace(config, data=dataclasses.replace(data, **absolute), output=None)


def _check_dtype(config: Config, where: Device) -> None:
    known = where.backend.xp.__array_namespace_info__().dtypes(device=where.native, kind="real floating")
    for dtype in (config.train.inputs_dtype, config.train.weights_dtype):
        if dtype not in known:
            raise ConfigError(f"train.dtype: {where} has no {dtype}, only {' and '.join(sorted(known))}")


def require_extra() -> None:
    """Raise a ConfigError where a package that training needs is not installed."""
    missing = [
        name for name in ("jinja2", "matplotlib", "safetensors") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(
            f"training needs {' and '.join(missing)}, not installed here: pip install 'portagrad[train]'"
        )
