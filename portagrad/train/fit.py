"""Training a model of one's own on data of one's own."""

from __future__ import annotations

import dataclasses
from typing import Any

from portagrad.distributed import Communicator, world
from portagrad.train.config import Config, DataConfig
from portagrad.train.config_file import checked
from portagrad.train.launch import begun, make_run, require_extra
from portagrad.train.own import check_model, check_outputs, own_device, own_dtype
from portagrad.train.own_data import own_prepared, task_of
from portagrad.train.progress import Progress
from portagrad.train.result import Result
from portagrad.train.run import Run


def fit(
    model: Any,
    data: Any,
    config: Config | None = None,
    *,
    name: str = "run",
    progress: Progress | None = None,
) -> Result:
    """Train a model of your own on arrays; all else is as in `start`.

    The run has its folder, checkpoints, early stopping, signals, ranks and page as one of a configuration
    has. Inputs are standardised by feature and keep their shape; what the result predicts is in the targets'
    own units.

    Parameters
    ----------
    model : Module or another pytree of arrays
        Called as ``model(x)``, or ``model(x, key=key)`` in training if it takes a key, with examples of the
        shape that they have in `data`; gives a number per class, or per target of a regression. Its weights
        are copied and never overwritten. One that takes a state, as `nn.BatchNorm` does, is called as
        ``model(x, state, train=True)``, returns the outputs and the next state, and has an
        ``initial_state()``; the result's model is called as ``model(x)`` again, and predicts by the state
        that it ended with.
    data : (inputs, targets), Dataset, RegressionDataset, Source, or mapping
        Arrays of any library, inputs of the shape (examples, ...). A mapping has a ``"train"`` of these, and
        maybe a ``"validation"`` and a ``"test"``; what is not there is split off by the configuration.
        Integers stay integers where ``data.standardize`` is ``"none"``. A `Source`, a large memory map, and
        with ``data.stream`` any data are streamed, so that they may be larger than the memory.
    config : Config, optional
        Without files (``data.path``) and without a network (``model.hidden``, ``activation``, ``dropout``).
        ``train.dtype`` and ``device`` are those of the model where they are not set, and ``data.task`` by
        default ``"classification"``, or by the kind of the data set where there is no configuration.
    name : str
        As for `start`.
    progress : Progress, optional

    Returns
    -------
    Result
        Whose ``predict`` takes inputs in their own units. ``model.safetensors`` in its folder has the weights
        by name: ``load_model(folder, like=model)``.

    Raises
    ------
    TypeError
        If the model is none, or the data are not arrays.
    ConfigError, DataError, BackendUnavailableError
        Before anything is written, if the configuration, the data, the model's outputs or the device is
        wrong.
    NonFiniteError, CheckpointError, KeyboardInterrupt, SystemExit
        As `start`; ``resume(folder, model=model, data=data)`` goes on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from portagrad.train import LoopConfig, OptimizerConfig
    >>> x = np.random.default_rng(0).normal(size=(200, 2, 3)).astype(np.float32)
    >>> y = (x.sum(axis=(1, 2)) > 0).astype(np.int32)
    >>> class Flat(pg.nn.Module):
    ...     inner: pg.nn.Linear
    ...
    ...     def __call__(self, x):
    ...         return self.inner(pg.reshape(x, (x.shape[0], -1)))
    >>> model = Flat(pg.nn.Linear.init(pg.random.key(0), 6, 2))
    >>> with TemporaryDirectory() as folder:
    ...     config = Config(
    ...         optimizer=OptimizerConfig(lr=0.05),
    ...         train=LoopConfig(epochs=20, compile=False, figures=False),
    ...         output=Path(folder) / "run",
    ...     )
    ...     result = fit(model, (x, y), config)
    >>> result.test_accuracy > 0.8, result.predict(x[:5]).values.shape
    (True, (5,))
    """
    require_extra()
    if config is None:
        config = Config(data=DataConfig(task=task_of(data)))
    return begun(run_of_own(model, data, config, world()), name, progress)


def run_of_own(model: Any, data: Any, config: Config, comm: Communicator) -> Run:
    """A run of `fit` before its first step, and before anything is written."""
    config = checked(config, own=True)
    weights = check_model(model)
    if config.train.dtype is None:
        loop: Any = dataclasses.replace(config.train, dtype=own_dtype(weights))
        config = dataclasses.replace(config, train=loop)
    if config.device is None:
        config = dataclasses.replace(config, device=own_device(weights))
    run = make_run(config, comm, lambda key, dtype: own_prepared(data, config.data, key, dtype), model)
    check_outputs(run)
    if comm.size > 1:
        run.at.share(comm)  # each rank may have drawn other weights
    return run
