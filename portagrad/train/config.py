"""The configuration of a training run: its keys, their defaults and ranges, and what must go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from portagrad.data.files import is_file, missing_file, shown
from portagrad.train.schema import Count, Fault, Fraction, NotNegative, Positive, Range


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``[data]``: the files, and how they are split and scaled.

    Attributes
    ----------
    path : Path
        The file of the examples, or of the inputs alone; in a TOML file relative to it.
    format : str, optional
        ``"npz"``, ``"csv"``, ``"idx"``, ``"npy"`` or ``"parquet"``; by default by the file's name.
    inputs, labels : str or int, optional
        Arrays of an NPZ file, the label's column of a CSV or Parquet file, the second file of an IDX or NPY
        pair.
    header : bool, optional
        Whether the first line of a CSV file names the columns; by default by what it holds.
    delimiter : str, optional
        Of a CSV file, by default found out.
    classes : int, optional
        How many there are, by default one more than the largest label.
    names : tuple of str, optional
        Of the classes, for the reports.
    test_path, test_inputs, test_labels : optional
        Examples of their own for the test.
    test_fraction, validation_fraction : float
        What is held out otherwise, at random by the seed.
    standardize : str
        ``"features"``, ``"whole"`` or ``"none"``: over what the inputs' mean and scale are taken.
    stream : bool, optional
        Whether an NPY or Parquet file is read block by block whenever it is needed; by default where its
        inputs take more than 256 MB.
    window_mb : int
        Memory for the blocks of a stream whose rows are shuffled together.
    """

    path: Path
    format: Literal["npz", "csv", "idx", "npy", "parquet"] | None = None
    inputs: str | None = None
    labels: str | int | None = None
    header: bool | None = None
    delimiter: str | None = None
    classes: Annotated[int, Range(2, 1_000_000)] | None = None
    names: tuple[str, ...] | None = None
    test_path: Path | None = None
    test_inputs: str | None = None
    test_labels: str | int | None = None
    test_fraction: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2
    validation_fraction: Fraction = 0.1
    standardize: Literal["features", "whole", "none"] = "features"
    stream: bool | None = None
    window_mb: Annotated[int, Range(1, 1 << 20)] = 16


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """``[model]``: a multilayer perceptron.

    Attributes
    ----------
    hidden : tuple of int
        Sizes of the hidden layers.
    activation : str
    dropout : float
        The rate after each activation.
    """

    hidden: tuple[Count, ...] = (128,)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"] = "relu"
    dropout: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """``[optimizer]``: its name, its learning rate and what else that optimizer takes.

    Attributes
    ----------
    name : str
    lr : float
        The learning rate, before the schedule.
    momentum, nesterov, decay, b1, b2, eps, weight_decay : optional
        As for the function of that name in `portagrad.optim`; its default where it is not given.
    clip_norm : float, optional
        The largest norm of all gradients together.
    clip_value : float, optional
        The largest size of each element of a gradient, bounded before the norm.
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"] = "adamw"
    lr: Positive = 1e-3
    momentum: Fraction | None = None
    nesterov: bool | None = None
    decay: Fraction | None = None
    b1: Fraction | None = None
    b2: Fraction | None = None
    eps: Positive | None = None
    weight_decay: NotNegative | None = None
    clip_norm: Positive | None = None
    clip_value: Positive | None = None


# What each optimizer takes besides lr and clip_norm, as in portagrad.optim.
OPTIONS = {
    "sgd": ("momentum", "nesterov", "weight_decay"),
    "adam": ("b1", "b2", "eps", "weight_decay"),
    "adamw": ("b1", "b2", "eps", "weight_decay"),
    "rmsprop": ("decay", "eps", "momentum", "weight_decay"),
    "adagrad": ("eps", "weight_decay"),
    "lion": ("b1", "b2", "weight_decay"),
}


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """``[schedule]``: the learning rate over the run, relative to ``optimizer.lr``.

    Attributes
    ----------
    name : str
        ``"constant"``, ``"step"``, ``"cosine"`` or ``"one_cycle"``.
    warmup_epochs : float
        How long it rises from a hundredth first.
    every_epochs, factor : float, optional
        Of ``"step"``: how often, and by what the rate is multiplied.
    final : float, optional
        Of ``"cosine"``: where it ends.
    """

    name: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    warmup_epochs: NotNegative = 0.0
    every_epochs: Positive | None = None
    factor: Annotated[float, Range(0, 1, open_low=True)] | None = None
    final: Fraction | None = None


# What each schedule takes, with the value it has when the file does not say.
SCHEDULE_OPTIONS: dict[str, dict[str, float]] = {
    "constant": {},
    "step": {"every_epochs": 10.0, "factor": 0.5},
    "cosine": {"final": 0.0},
    "one_cycle": {},
}


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """``[train]``: the loop.

    Attributes
    ----------
    epochs, batch_size : int
        Passes over the training examples, and how many examples a step takes.
    compile : bool
        Whether steps run as a compiled plan, or op by op.
    dtype : str
        Of inputs and weights, ``"float32"`` or ``"float64"``; or ``"mixed"``: the weights are kept and
        updated in float64, and the model and its gradient computed in float32.
    slice_size : int, optional
        How many examples of a batch are computed at a time, their gradients added up, for a batch that does
        not fit into the device's memory at once; by default all.
    tensorboard : bool
        Whether event files for TensorBoard are written too; they need the extra ``tensorboard``.
    checkpoint_steps : int, optional
        Steps from one checkpoint to the next; by default one at the end of an epoch, where the last is ten
        seconds old or more.
    patience : int, optional
        Epochs without an improvement after which the run ends; by default it never ends early.
    monitor : str
        ``"loss"`` or ``"accuracy"``, which must improve: of the validation set, or without one of training.
    min_delta : float
        Less than this is no improvement.
    restore_best : bool
        Whether the run ends with the weights of its best epoch, instead of the last.
    figures : bool
        Whether the run leaves its plots and the page ``report.html``, which take about a second to draw.
    """

    epochs: Count = 50
    batch_size: Count = 64
    compile: bool = True
    dtype: Literal["float32", "float64", "mixed"] = "float32"
    slice_size: Count | None = None
    tensorboard: bool = False
    checkpoint_steps: Count | None = None
    patience: Count | None = None
    monitor: Literal["loss", "accuracy"] = "loss"
    min_delta: NotNegative = 0.0
    restore_best: bool = False
    figures: bool = True

    @property
    def inputs_dtype(self) -> Literal["float32", "float64"]:
        """In which the model is computed."""
        return "float32" if self.dtype == "mixed" else self.dtype

    @property
    def weights_dtype(self) -> Literal["float32", "float64"]:
        """In which the weights are kept, and their optimizer's state."""
        return "float64" if self.dtype == "mixed" else self.dtype


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole training run. Each field is a key or a section of the TOML file.

    Attributes
    ----------
    data, model, optimizer, schedule, train
        The sections.
    seed : int
        Of everything random: the split, the weights, the order and dropout.
    device : str, optional
        By default the one in force.
    output : Path, optional
        The run's folder; by default a new one under ``runs``.

    Examples
    --------
    >>> config = Config(data=DataConfig(path=Path("examples/data/digits.npz")))
    >>> config.optimizer.name, config.train.epochs
    ('adamw', 50)
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    seed: Annotated[int, Range(0)] = 0
    device: str | None = None
    output: Path | None = None


def present(section: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a section that are set, by name."""
    for entry in dataclasses.fields(section):
        value = getattr(section, entry.name)
        if value is not None:
            yield entry.name, value


def check(config: Config) -> None:
    """Raise a Fault for what one key alone cannot tell: files, and keys that do not go together."""
    _check_data(config.data)
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
        if len(set(data.names)) < max(2, len(data.names)):
            raise Fault("data.names", "expected two or more different names")
        if data.classes is not None and data.classes != len(data.names):
            raise Fault("data.classes", f"is {data.classes}, but data.names has {len(data.names)} names")
    if data.test_path is None and data.validation_fraction + data.test_fraction >= 1:
        raise Fault(
            "data.validation_fraction",
            f"with data.test_fraction it leaves nothing to train on "
            f"({data.validation_fraction:g} + {data.test_fraction:g})",
        )
