"""Training as a configuration describes it, from the beginning or from where a run was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portagrad import random
from portagrad.distributed import Communicator, world
from portagrad.errors import ConfigError
from portagrad.train.config import Config
from portagrad.train.config_file import checked, read_config
from portagrad.train.find_lr import RangeTest, find_lr
from portagrad.train.fit import run_of_own
from portagrad.train.launch import FREE, begun, make_run, require_extra, settings_of, train_in
from portagrad.train.model import make_optimizer
from portagrad.train.prepare import prepare
from portagrad.train.progress import Progress
from portagrad.train.result import Result
from portagrad.train.run import Run
from portagrad.train.step import loss_of


def start(config: Config, *, name: str = "run", progress: Progress | None = None) -> Result:
    """Train a classifier, or a regression, as a configuration describes it; `fit` takes a model of your own.

    Parameters
    ----------
    config : Config
        As `load_config` reads it, or made in Python: its types, ranges and files are checked as a file's are.
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
    TypeError
        If it is no Config.
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
    ...     result = start(config)
    >>> result.test_accuracy > 0.9
    True
    """
    require_extra()
    return begun(_run_of_files(config, world()), name, progress)


def resume(
    folder: str | Path,
    settings: Sequence[str] = (),
    *,
    model: Any = None,
    data: Any = None,
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
    model, data : optional
        Those that `fit` was given, for a run that it began; of the model the structure alone is needed.
    device : str, optional
        Another device, also of another library; the run is then the same to rounding.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the folder is no run's, a setting would change what is computed, or the model and the data of `fit`
        are not given.
    DataError, CheckpointError
        If the data are gone or others, the model is another, or every checkpoint is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from portagrad.train import load_config
    >>> with TemporaryDirectory() as folder:
    ...     first = start(load_config("examples/digits.toml", ["train.epochs=3"], output=f"{folder}/run"))
    ...     result = resume(first.folder, ["train.epochs=4"])
    >>> result.summary["epochs"]
    4
    """
    require_extra()
    folder = Path(folder)
    saved = folder / "config.toml"
    if not saved.is_file():
        raise ConfigError(f"{folder}: no folder of a run; it has no config.toml")
    before = read_config(saved)
    config = read_config(saved, settings, device=device)
    for key in _differences(before, config):
        if key not in FREE:
            raise ConfigError(
                f"{key}: cannot change in a run that goes on; these can: {', '.join(FREE)}. "
                f"For another run: portagrad train {saved} --set ..."
            )
    given = {"model": model is not None, "data": data is not None}
    own = before.data.path is None
    if lacking := [name for name, is_given in given.items() if is_given != own]:
        raise ConfigError(
            f"{folder}: is a run of train.fit, and goes on with the model and the data that it was given: "
            f"train.resume(folder, model=model, data=data); not given: {' and '.join(lacking)}"
            if own
            else f"{folder}: is a run of train.start, which has its model and data from the configuration; "
            f"leave out {' and '.join(lacking)}"
        )
    run = run_of_own(model, data, config, world()) if own else _run_of_files(config, world())
    run.go_on_in(folder)
    return train_in(folder, run, progress)


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
    run = _run_of_files(config, comm)
    key = random.fold_in(run.order_key, 1)
    batches = run.feed.batches(key, config.train.batch_size)

    def optimizer(rates: Any) -> Any:
        return make_optimizer(config, rates)

    return find_lr(
        loss_of(run.task), run.at.model, list(batches), optimizer=optimizer, low=low, high=high, steps=steps
    )


def _run_of_files(config: Config, comm: Communicator) -> Run:
    """A run on the files that its configuration names, of the MLP that it describes."""
    config = checked(config)
    if config.data.path is None:
        raise ConfigError("data.path: missing; there is no default")
    return make_run(config, comm, lambda key, dtype: prepare(config.data, key, dtype))


def _differences(one: Config, other: Config) -> list[str]:
    theirs = dict(settings_of(other))
    return [key for key, value in settings_of(one) if theirs[key] != value]
