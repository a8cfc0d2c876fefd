"""Training as a configuration describes it, from the beginning or from where a run was stopped."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import random
from portagrad.device import Device, current_device, device, devices
from portagrad.distributed import Communicator, world
from portagrad.errors import ConfigError, DataError
from portagrad.train.config import SECOND_FILES, Config
from portagrad.train.config_file import dump_config, load_config
from portagrad.train.consistency import check_task
from portagrad.train.find_lr import RangeTest, find_lr
from portagrad.train.model import make_optimizer
from portagrad.train.output import Folder, Output
from portagrad.train.prepare import prepare
from portagrad.train.progress import Progress
from portagrad.train.report import flat
from portagrad.train.report.environment import write_environment
from portagrad.train.result import Result
from portagrad.train.run import Run
from portagrad.train.run_folder import fresh_folder, write_text
from portagrad.train.schema import Fault
from portagrad.train.step import loss_of
from portagrad.train.tensorboard import require_tensorboard

# What may change in a run that goes on: where and how it runs, and when it ends.
FREE = (
    *("device", "output", "train.epochs", "train.compile", "train.checkpoint_steps"),
    *("train.patience", "train.monitor", "train.min_delta", "train.restore_best", "train.tensorboard"),
    *("train.figures", "train.slice_size"),
)


def fit(config: Config, *, name: str = "run", progress: Progress | None = None) -> Result:
    """Train a classifier, or a regression, as a configuration describes it.

    Parameters
    ----------
    config : Config
        As `load_config` reads it.
    name : str
        Names the run's folder where the configuration does not: ``runs/NAME-1``, ``runs/NAME-2``, ...
    progress : Progress, optional
        What is shown; nothing by default.

    Returns
    -------
    Result
        Its folder holds ``config.toml`` (the whole configuration, which repeats the run), ``metrics.jsonl``,
        ``model.safetensors`` (see `load_model`) and with a validation set ``best.safetensors``,
        ``checkpoints``, ``curves.png``, ``confusion.png`` and ``confusion.json`` (of a regression
        ``predictions.png`` and ``predictions.json``), ``environment.json``, ``summary.json`` and the page
        ``report.html``, which a run that fails or is stopped leaves too; with ``train.tensorboard`` also
        ``tensorboard``, a folder of event files. ``train.figures = false`` leaves the plots and the page out.

    Raises
    ------
    ConfigError, DataError, BackendUnavailableError
        Before anything is written, if the configuration, a file or the device is wrong.
    NonFiniteError
        If the loss or a weight became NaN or infinite; the last checkpoint is from before.
    CheckpointError
        If a checkpoint cannot be written; the one before it stays.
    KeyboardInterrupt, SystemExit
        After Ctrl-C and SIGTERM: the batch under way is finished and a checkpoint written first, from which
        `resume` goes on. A second Ctrl-C interrupts at once.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from portagrad.train import load_config
    >>> with TemporaryDirectory() as folder:
    ...     config = load_config("examples/digits.toml", ["train.epochs=8"], output=folder)
    ...     result = fit(config)
    >>> result.test_accuracy > 0.9
    True
    """
    _require_extra()
    comm = world()
    run = _prepared(config, comm)
    folder = Path(comm.broadcast_object(str(fresh_folder(name, config.output)) if comm.rank == 0 else None))
    return _trained(run, folder, progress)


def resume(
    folder: str | Path,
    settings: Sequence[str] = (),
    *,
    device: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Go on with a run from its newest checkpoint, bit for bit as if it had never stopped.

    A run without a checkpoint begins anew; one that had ended is tested and written again.

    Parameters
    ----------
    folder : str or Path
        The run's folder.
    settings : sequence of str
        ``"key=value"``, for what may change: ``train.epochs`` and how the run is stopped and saved.
    device : str, optional
        Another device, also of another library; the run is then the same to rounding.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the folder is no run's, or a setting would change what is computed.
    DataError, CheckpointError
        If the data are gone or others, or every checkpoint is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from portagrad.train import load_config
    >>> with TemporaryDirectory() as folder:
    ...     first = fit(load_config("examples/digits.toml", ["train.epochs=3"], output=f"{folder}/run"))
    ...     result = resume(first.folder, ["train.epochs=4"])
    >>> result.summary["epochs"]
    4
    """
    _require_extra()
    folder = Path(folder)
    saved = folder / "config.toml"
    if not saved.is_file():
        raise ConfigError(f"{folder}: no folder of a run; it has no config.toml")
    before = load_config(saved)
    config = load_config(saved, settings, device=device)
    for key in _differences(before, config):
        if key not in FREE:
            raise ConfigError(
                f"{key}: cannot change in a run that goes on; these can: {', '.join(FREE)}. "
                f"For another run: portagrad train {saved} --set ..."
            )
    run = _prepared(config, world())
    run.go_on_in(folder)
    return _trained(run, folder, progress)


def sweep(config: Config, *, steps: int = 100, low: float = 1e-7, high: float = 10.0) -> RangeTest:
    """The range test of `find_lr` on what a configuration describes.

    Parameters
    ----------
    config : Config
    steps : int
    low, high : float
        The first and the last learning rate.

    Returns
    -------
    RangeTest
        Its ``suggestion`` is None where the loss never fell.
    """
    comm = world()
    if comm.size > 1:
        raise ConfigError(f"the range test runs in one process, not in {comm.size}; start it without mpiexec")
    run = _prepared(config, comm)
    key = random.fold_in(run.order_key, 1)
    batches = run.feed.batches(key, config.train.batch_size)

    def optimizer(rates: Any) -> Any:
        return make_optimizer(config, rates)

    return find_lr(
        loss_of(run.task), run.at.model, list(batches), optimizer=optimizer, low=low, high=high, steps=steps
    )


def _prepared(config: Config, comm: Communicator) -> Run:
    """The run of a configuration, before its first step and before anything is written."""
    try:
        check_task(config)  # which one that was made in Python has not passed
    except Fault as fault:
        raise ConfigError(str(fault)) from None
    if config.train.tensorboard:
        require_tensorboard()
    where = current_device() if config.device is None else device(config.device)
    if comm.size > 1:
        where = _own_device(where, comm.local_rank)
    _check_dtype(config, where)
    config = dataclasses.replace(config, device=str(where))
    data_key, *keys = random.split(random.key(config.seed), 4)
    fixed = {key: value for key, value in _flat(config) if key not in FREE and not _is_path(key)}
    data = prepare(config.data, data_key, config.train.inputs_dtype)
    sums = comm.all_gather_object(data.train.checksum())
    if len(set(sums)) > 1:
        raise DataError(
            f"{config.data.path}: the ranks have read different data, with the sums {', '.join(sums)}"
        )
    return Run(config, where, data, keys, fixed, comm)


def _own_device(where: Device, local_rank: int) -> Device:
    """A rank's device, where its machine has several of a kind: the first rank's, the next, and so on."""
    kind = where.name.rstrip("0123456789")
    alike = [other for other in devices() if other.name.rstrip("0123456789") == kind]
    return alike[(alike.index(where) + local_rank) % len(alike)] if where in alike else where


def _trained(run: Run, folder: Path, progress: Progress | None) -> Result:
    data, first = run.prepared, run.comm.rank == 0
    if first:
        write_text(folder / "config.toml", dump_config(_repeatable(run.config)))
        write_environment(folder, run.where, {"features": data.features, **run.task.facts})
    settings = dict(_flat(run.config))
    # The loop looks for NaNs itself, and says more than NumPy's warnings.
    with (
        np.errstate(all="ignore"),
        progress if first and progress else Progress() as shown,
        Folder(folder, run.at.records, settings) if first else Output() as output,
    ):
        shown.note(run.described())
        return run.train(folder, shown, output)


def _flat(config: Config) -> Iterator[tuple[str, Any]]:
    """The keys of a configuration, dotted, with their values as JSON has them."""
    for key, value in flat(dataclasses.asdict(config)):
        plain = str(value) if isinstance(value, Path) else value
        yield key, list(plain) if isinstance(plain, tuple) else plain


def _differences(one: Config, other: Config) -> list[str]:
    theirs = dict(_flat(other))
    return [key for key, value in _flat(one) if theirs[key] != value]


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


def _require_extra() -> None:
    missing = [
        name for name in ("jinja2", "matplotlib", "safetensors") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(
            f"training needs {' and '.join(missing)}, not installed here: pip install 'portagrad[train]'"
        )
