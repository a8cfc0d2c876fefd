"""The configuration of a training run: its keys, their defaults and ranges.

What must go together is in `portagrad.train.consistency`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from portagrad.train.schema import Count, Fraction, NotNegative, Positive, Range

Columns = str | int | tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``[data]``: the files, and how they are split and scaled.

    Attributes
    ----------
    path : Path
        The file of the examples, or of the inputs alone; in a TOML file relative to it. Only `train.fit`,
        which is given arrays, needs none.
    format : str, optional
        ``"npz"``, ``"csv"``, ``"idx"``, ``"npy"`` or ``"parquet"``; by default by the file's name.
    task : str
        ``"classification"`` learns classes, by the labels; ``"regression"`` numbers, the targets.
    inputs, labels : str or int, optional
        Arrays of an NPZ file, the label's column of a CSV or Parquet file, the second file of an IDX or NPY
        pair.
    targets : str, int or list of these, optional
        Of a regression, in place of labels: an array of an NPZ file, columns of a CSV or Parquet file, the
        second file of an NPY pair. They are standardised by their mean and deviation among the training
        examples, and predictions given in the targets' own units.
    header : bool, optional
        Whether the first line of a CSV file names the columns; by default by what it holds.
    delimiter : str, optional
        Of a CSV file, by default found out.
    classes : int, optional
        How many there are, by default one more than the largest label.
    class_weights : str or list of float
        How much an example counts in the loss by its class: ``"none"``, ``"balanced"`` (all classes the same
        in total) or a number per class.
    names : tuple of str, optional
        Of the classes, or of a regression's outputs, for the reports.
    test_path, test_inputs, test_labels, test_targets : optional
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

    path: Path | None = None
    format: Literal["npz", "csv", "idx", "npy", "parquet"] | None = None
    task: Literal["classification", "regression"] = "classification"
    inputs: str | None = None
    labels: str | int | None = None
    targets: Columns | None = None
    header: bool | None = None
    delimiter: str | None = None
    classes: Annotated[int, Range(2, 1_000_000)] | None = None
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    names: tuple[str, ...] | None = None
    test_path: Path | None = None
    test_inputs: str | None = None
    test_labels: str | int | None = None
    test_targets: Columns | None = None
    test_fraction: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2
    validation_fraction: Fraction = 0.1
    standardize: Literal["features", "whole", "none"] = "features"
    stream: bool | None = None
    window_mb: Annotated[int, Range(1, 1 << 20)] = 16


# Keys that may name a second file, and are relative to the configuration where they do.
SECOND_FILES = ("labels", "targets", "test_labels", "test_targets")


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
    loss : str, optional
        ``"cross_entropy"`` of a classification; ``"mse"``, ``"huber"`` or ``"mae"`` of a regression, by
        default the first.
    huber_delta : float, optional
        The error, in deviations of the target, above which ``"huber"`` grows no more by the square; 1 by
        default.
    """

    hidden: tuple[Count, ...] = (128,)
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"] = "relu"
    dropout: Fraction = 0.0
    loss: Literal["cross_entropy", "mse", "huber", "mae"] | None = None
    huber_delta: Positive | None = None


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


# The losses that each task takes, the default first.
LOSSES = {"classification": ("cross_entropy",), "regression": ("mse", "huber", "mae")}


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
    dtype : str, optional
        Of inputs and weights, ``"float32"`` or ``"float64"``; or ``"mixed"``: the weights are kept and
        updated in float64, and the model and its gradient computed in float32. By default float32, or that of
        the model which `train.fit` is given.
    slice_size : int, optional
        How many examples of a batch are computed at a time, their gradients added up, for a batch that does
        not fit into the device's memory at once; by default all.
    label_smoothing : float
        Of a classification: the share of a label's probability that is spread over all classes.
    metrics : tuple of str
        What else is measured on the validation set after every epoch. Of a classification
        ``"balanced_accuracy"``, ``"f1_macro"``, ``"f1_micro"``, ``"f1_weighted"``, ``"roc_auc"``,
        ``"log_loss"``, ``"top_5"``; of a regression ``"mse"``, ``"rmse"``, ``"mae"``.
    tensorboard : bool
        Whether event files for TensorBoard are written too; they need the extra ``tensorboard``.
    checkpoint_steps : int, optional
        Steps from one checkpoint to the next; by default one at the end of an epoch, where the last is ten
        seconds old or more.
    patience : int, optional
        Epochs without an improvement after which the run ends; by default it never ends early.
    monitor : str
        What must improve: ``"loss"``, ``"accuracy"`` of a classification, ``"r2"`` of a regression, or one of
        `metrics`; of the validation set, or without one of training.
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
    dtype: Literal["float32", "float64", "mixed"] | None = None
    slice_size: Count | None = None
    label_smoothing: Fraction = 0.0
    metrics: tuple[str, ...] = ()
    tensorboard: bool = False
    checkpoint_steps: Count | None = None
    patience: Count | None = None
    monitor: str = "loss"
    min_delta: NotNegative = 0.0
    restore_best: bool = False
    figures: bool = True

    @property
    def inputs_dtype(self) -> Literal["float32", "float64"]:
        """In which the model is computed."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def weights_dtype(self) -> Literal["float32", "float64"]:
        """In which the weights are kept, and their optimizer's state."""
        return "float64" if self.dtype in ("float64", "mixed") else "float32"


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
        By default the one in force, or that of the model which `train.fit` is given.
    output : Path, optional
        The run's folder; by default a new one under ``runs``.

    Examples
    --------
    >>> config = Config(data=DataConfig(path=Path("examples/data/digits.npz")))
    >>> config.optimizer.name, config.train.epochs
    ('adamw', 50)
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: LoopConfig = field(default_factory=LoopConfig)
    seed: Annotated[int, Range(0)] = 0
    device: str | None = None
    output: Path | None = None
