"""The loop over epochs, and what a run leaves in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import portagrad
from portagrad import random
from portagrad.compile.compiled import compile
from portagrad.device import Device, current_device, device
from portagrad.errors import ConfigError, Error, NonFiniteError
from portagrad.train.config import Config
from portagrad.train.config_file import dump_config
from portagrad.train.feed import Feed, copied, evaluate, read, settled
from portagrad.train.model import Step, make_model, make_optimizer, make_schedule, make_step
from portagrad.train.nonfinite import first_bad_step, is_finite
from portagrad.train.norms import make_watch, read_norms
from portagrad.train.prepare import Prepared, prepare
from portagrad.train.progress import Progress
from portagrad.train.report import flat, read_run, write_report
from portagrad.train.report.environment import write_environment
from portagrad.train.reports import confusion_matrix, write_confusion, write_curves
from portagrad.train.run_folder import Metrics, fresh_folder, json_line, write_text
from portagrad.train.tensorboard import TensorBoard, require_tensorboard
from portagrad.train.weights import count_weights, save_weights

# Steps between two looks at the losses: each look waits for the device, and a fault is found this late.
_WINDOW = 256


@dataclass(frozen=True, eq=False)
class Result:
    """A run that came to its end.

    Attributes
    ----------
    folder : Path
    model : nn.MLP
        The trained model, on the run's device.
    test_loss, test_accuracy : float
    confusion : array of int64, shape (classes, classes)
        Test examples by true class (row) and predicted class (column).
    summary : dict
        What ``summary.json`` holds.
    """

    folder: Path
    model: Any
    test_loss: float
    test_accuracy: float
    confusion: np.ndarray[Any, Any]
    summary: dict[str, Any]

    def __str__(self) -> str:
        right, total = int(np.trace(self.confusion)), int(self.confusion.sum())
        return (
            f"test accuracy {self.test_accuracy:.2%} ({right} of {total}), loss {self.test_loss:.4f}\n"
            f"{self.folder}: {', '.join(sorted(path.name for path in self.folder.iterdir()))}"
        )


def fit(config: Config, *, name: str = "run", progress: Progress | None = None) -> Result:
    """Train a classifier as a configuration describes it.

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
        ``model.safetensors``, ``inputs.safetensors`` (mean and scale of the standardisation),
        ``curves.png``, ``confusion.png``, ``confusion.json``, ``environment.json``, ``summary.json`` and
        the page ``report.html``, which a run that fails or is stopped leaves too; with
        ``train.tensorboard`` also TensorBoard's event files, in ``tensorboard``.

    Raises
    ------
    ConfigError, DataError, BackendUnavailableError
        Before anything is written, if the configuration, a file or the device is wrong.
    NonFiniteError
        If the loss or a weight became NaN or infinite; what is written up to then stays.

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
    if config.train.tensorboard:
        require_tensorboard()
    where = current_device() if config.device is None else device(config.device)
    _check_dtype(config, where)
    config = dataclasses.replace(config, device=str(where))
    data_key, *keys = random.split(random.key(config.seed), 4)
    prepared = prepare(config.data, data_key, config.train.dtype)
    run = _Run(config, where, prepared, keys)
    folder = fresh_folder(name, config.output)
    text = dump_config(_repeatable(config))
    write_text(folder / "config.toml", text)
    write_environment(folder, where, prepared.features, prepared.names)
    # The loop looks for NaNs itself, and says more than NumPy's warnings.
    with (
        np.errstate(all="ignore"),
        progress or Progress() as shown,
        Metrics(folder / "metrics.jsonl") as metrics,
        _reported(folder),
        contextlib.ExitStack() as stack,
    ):
        shown.note(run.described())
        if config.train.tensorboard:
            run.board = stack.enter_context(TensorBoard(folder / "tensorboard"))
            run.board.start(text, dict(flat(tomllib.loads(text))))
        return run.train(folder, shown, metrics)


@contextlib.contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Leave ``report.html`` however the run ends; where it ends badly, that is what is told."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, Error):
            write_report(read_run(folder))
        raise
    write_report(read_run(folder))


class _Run:
    """One run: its model, its data on the device, and how far it is."""

    def __init__(self, config: Config, where: Device, prepared: Prepared, keys: list[random.Key]) -> None:
        self.config, self.where, self.prepared = config, where, prepared
        init_key, self.order_key, dropout_key = keys
        self.model = make_model(config, prepared.features, prepared.classes, init_key, where)
        self.steps = -(-len(prepared.train) // config.train.batch_size)
        self.schedule = make_schedule(config, self.steps)
        optimizer = make_optimizer(config, self.schedule)
        self.eager: Step = make_step(optimizer, config.model.dropout)
        self.step: Step = compile(self.eager, donate=(0, 1)) if config.train.compile else self.eager
        self.state = (optimizer.init(self.model), dropout_key)
        self.feed = Feed(prepared.train, where)
        self.validation = Feed(prepared.validation, where) if prepared.validation is not None else None
        self.watch = make_watch(config.train.compile)
        self.sample: tuple[Any, Any] = (None, None)
        self.board: TensorBoard | None = None
        self.epochs: list[dict[str, Any]] = []

    def described(self) -> str:
        """One line on what is trained on what."""
        data = self.prepared
        weights = count_weights(self.model)
        held = f", {len(data.validation)} validation" if data.validation is not None else ""
        return (
            f"{len(data.train)} training{held}, {len(data.test)} test examples of {data.features} features "
            f"in {data.classes} classes; {weights} weights on {self.where}"
        )

    def train(self, folder: Path, progress: Progress, metrics: Metrics) -> Result:
        """All epochs, then the test."""
        began = time.perf_counter()
        progress.start(self.config.train.epochs, self.steps, len(self.prepared.train))
        for epoch in range(1, self.config.train.epochs + 1):
            try:
                loss, accuracy = self._epoch(epoch, progress)
            except NonFiniteError as error:
                metrics.write(epoch=epoch, error=str(error))
                if self.epochs:
                    write_curves(folder, self.epochs, None)
                raise
            norms, gradients = self.watch(self.model, *self.sample)
            record = {
                "epoch": epoch,
                "step": epoch * self.steps,
                "train_loss": loss,
                "train_accuracy": accuracy,
                **self._validated(),
                "learning_rate": float(self.schedule(epoch * self.steps - 1)),
                "norms": read_norms(self.model, norms),
                "seconds": round(time.perf_counter() - began, 3),
            }
            self.epochs.append(record)
            metrics.write(**record)
            progress.epoch(record)
            if self.board is not None:
                self.board.epoch(record, self.model, gradients)
        return self._finish(folder, metrics, time.perf_counter() - began)

    def _epoch(self, epoch: int, progress: Progress) -> tuple[float, float]:
        """One pass over the training examples: mean loss and accuracy on the way."""
        key = random.fold_in(self.order_key, epoch)
        batches = self._batches(key)
        losses, right = [], []
        sizes: list[int] = []
        for first in range(0, self.steps, _WINDOW):
            before = (
                copied((self.model, self.state)) if self.config.train.compile else (self.model, self.state)
            )
            window: list[tuple[Any, Any]] = []
            for inputs, labels in itertools.islice(batches, _WINDOW):
                self.model, self.state, loss, correct = self.step(self.model, self.state, inputs, labels)
                self.model, self.state = settled((self.model, self.state), self.where)
                window.append((loss, correct))
                self.sample = (inputs, labels) if not sizes else self.sample
                sizes.append(labels.shape[0])
            losses.append(read([loss for loss, _ in window]))
            right.append(read([correct for _, correct in window]))
            if not np.isfinite(losses[-1]).all() or not is_finite(self.model):
                raise NonFiniteError(self._explained(epoch, first, before, key))
            progress.advance(len(window), float(losses[-1][-1]))
            if self.board is not None:
                self.board.steps((epoch - 1) * self.steps + first + 1, losses[-1].tolist())
        loss = np.average(np.concatenate(losses), weights=sizes)
        return float(loss), float(np.concatenate(right).sum() / sum(sizes))

    def _batches(self, key: random.Key) -> Iterator[tuple[Any, Any]]:
        return self.feed.batches(key, self.config.train.batch_size)

    def _explained(self, epoch: int, first: int, before: tuple[Any, Any], key: random.Key) -> str:
        """One line on the step that made a NaN and its op, found by repeating the steps since `before`."""
        batches = itertools.islice(self._batches(key), first, None)
        done, op = first_bad_step(self.eager, before, batches)
        step = (epoch - 1) * self.steps + first + done + 1
        cause = op or "a repeat of the steps was finite, so the device does not compute the same twice"
        return (
            f"the loss or a weight is no longer finite at step {step} (epoch {epoch}): {cause}; "
            "try a lower optimizer.lr, or optimizer.clip_norm"
        )

    def _validated(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        loss, predictions = evaluate(self.model, self.validation)
        hits = predictions == self.validation.examples.labels
        return {"validation_loss": loss, "validation_accuracy": float(hits.mean())}

    def _finish(self, folder: Path, metrics: Metrics, seconds: float) -> Result:
        """The test, and the files that only a whole run has."""
        data = self.prepared
        loss, predictions = evaluate(self.model, Feed(data.test, self.where))
        matrix = confusion_matrix(data.test.labels, predictions, data.classes)
        test = {"test_loss": loss, "test_accuracy": float(np.trace(matrix) / len(data.test))}
        metrics.write(**test)
        if self.board is not None:
            self.board.finish(test, len(self.epochs))
        save_weights(folder / "model.safetensors", self.model)
        scaling = data.standardization
        save_weights(folder / "inputs.safetensors", {"mean": scaling.mean, "scale": scaling.scale})
        write_confusion(folder, matrix, data.names)
        write_curves(folder, self.epochs, test)
        backend = self.where.backend
        summary = {
            **test,
            **{name: value for name, value in self.epochs[-1].items() if name.startswith(("train", "valid"))},
            "examples": {
                "train": len(data.train),
                "validation": len(data.validation) if data.validation is not None else 0,
                "test": len(data.test),
            },
            "features": data.features,
            "classes": list(data.names),
            "weights": count_weights(self.model),
            "epochs": len(self.epochs),
            "steps": len(self.epochs) * self.steps,
            "seed": self.config.seed,
            "device": str(self.where),
            "seconds": round(seconds, 3),
            "versions": {
                "portagrad": portagrad.__version__,
                "numpy": np.__version__,
                backend.name: backend.version,
            },
        }
        write_text(folder / "summary.json", json_line(summary, indent=2) + "\n")
        return Result(folder, self.model, test["test_loss"], test["test_accuracy"], matrix, summary)


def _repeatable(config: Config) -> Config:
    """The configuration as it repeats the run from anywhere: paths absolute, and no folder of its own."""
    data = config.data
    paths = {name: getattr(data, name) for name in ("path", "test_path")}
    absolute: dict[str, Any] = {name: path.resolve() for name, path in paths.items() if path is not None}
    for name in ("labels", "test_labels"):
        value = getattr(data, name)
        if isinstance(value, str) and Path(value).is_file():  # the second file of an IDX pair
            absolute[name] = str(Path(value).resolve())
    return dataclasses.replace(config, data=dataclasses.replace(data, **absolute), output=None)


def _check_dtype(config: Config, where: Device) -> None:
    known = where.backend.xp.__array_namespace_info__().dtypes(device=where.native, kind="real floating")
    if config.train.dtype not in known:
        raise ConfigError(
            f"train.dtype: {where} has no {config.train.dtype}, only {' and '.join(sorted(known))}"
        )


def _require_extra() -> None:
    missing = [
        name for name in ("jinja2", "matplotlib", "safetensors") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(
            f"training needs {' and '.join(missing)}, not installed here: pip install 'portagrad[train]'"
        )
