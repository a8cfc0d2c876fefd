"""From the configured files to the arrays of a run: read, split, standardised, in the training dtype."""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad import random
from portagrad.data import (
    Dataset,
    Moments,
    Part,
    RegressionDataset,
    Source,
    Standardization,
    open_source,
    read,
    read_regression,
    split,
)
from portagrad.data.files import shown
from portagrad.errors import DataError
from portagrad.train.config import Columns, DataConfig
from portagrad.train.examples import Array, Examples, InMemory, Streamed, as_inputs
from portagrad.train.targets import Labels, Learned, Values, checked, learned_classes, learned_values

IN_MEMORY = 256 << 20
"""Bytes of inputs up to which a file that could be streamed is read whole."""

Data = Dataset | RegressionDataset


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a run, on the host.

    Attributes
    ----------
    train, validation, test : Examples
    standardization : Standardization or None
        Of the inputs; None of integers that a model of one's own takes as they are.
    names : tuple of str
        Of the model's outputs: a name per class, or per target of a regression.
    targets : Standardization or None
        Of a regression's targets.
    class_weights : array of float64, shape (classes,), or None
    extremes : array, shape (2, ...), or None
        Of integers as they are, two examples of which one has the smallest and one the largest.
    columns : tuple of str
        A name per input, where they are known.
    given_integers : bool
        Whether the inputs were integers, standardised or not.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    standardization: Standardization | None
    names: tuple[str, ...]
    targets: Standardization | None = None
    class_weights: Array | None = None
    extremes: Array | None = None
    columns: tuple[str, ...] = ()
    given_integers: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example, as the model takes it."""
        return self.train.shape

    @property
    def features(self) -> int:
        """Numbers per example."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """Numbers that the model gives."""
        return len(self.names)

    @functools.cached_property
    def checksum(self) -> str:
        """Tells whether a run goes on with the data that it had."""
        parts = (self.train, self.validation, self.test)
        return ", ".join(part.checksum() for part in parts if part is not None)


def prepare(config: DataConfig, key: random.Key, dtype: str = "float32") -> Prepared:
    """Read and split the data of a run.

    The test examples are those of ``test_path``, ``test_inputs`` and ``test_labels`` (or ``test_targets``)
    where one of these is set, else a part that is split off, of a classification by class. Standardisations
    are fitted on the training examples alone.

    A large ``.npy`` or Parquet file is read once, block by block, to check it and to fit the standardisation,
    and then streamed whenever it is needed. Its parts are drawn within each block (see `Part`), not by class.

    Raises
    ------
    DataError
        If a file is wrong, or the test file does not fit the training file.

    Examples
    --------
    >>> from pathlib import Path
    >>> prepared = prepare(DataConfig(path=Path("examples/data/digits.npz")), random.key(0))
    >>> len(prepared.train), len(prepared.validation), len(prepared.test), prepared.features
    (1258, 180, 359, 64)
    """
    source = _streamable(config)
    if source is not None:
        return _streamed(config, source, key, dtype)
    whole = _read(config, classes=config.names or config.classes)
    return divided(config, whole, key, dtype, what=str(config.path), test=_test_set(config, whole))


def divided(
    config: DataConfig,
    whole: Data,
    key: random.Key,
    dtype: str,
    *,
    what: str,
    validation: Data | None = None,
    test: Data | None = None,
    flat: bool = True,
    integers: bool = False,
) -> Prepared:
    """Split off the parts that are not given, and make of all what is trained on.

    Parameters
    ----------
    config : DataConfig
    whole : Dataset or RegressionDataset
    key : Key
        Of the split.
    dtype : str
    what : str
        What the data are called in a message.
    validation, test : Dataset or RegressionDataset, optional
    flat : bool
        Whether an example is one row of numbers, or keeps its shape.
    integers : bool
        Whether inputs are left as they are.
    """
    fractions = [] if test is not None else [config.test_fraction]
    if validation is None and config.validation_fraction:
        fractions.append(config.validation_fraction)
    labels = whole.labels if isinstance(whole, Dataset) else np.zeros(len(whole), np.int64)
    rows, *parts = split(labels, fractions, key)
    train = whole.take(rows)
    test = test if test is not None else whole.take(parts.pop(0))
    validation = whole.take(parts.pop()) if parts else validation
    standardization = None if integers else Standardization.fit(train.inputs, config.standardize)
    learned = _learned(config, train, dtype, what)

    def ready(data: Data) -> Examples:
        inputs = as_inputs(standardization, data.inputs, dtype, what)
        return InMemory(inputs if flat else inputs.reshape(data.inputs.shape), learned.encode(data.targets))

    extremes = _Extremes()
    for part in (train, validation, test) if integers else ():
        extremes.add(part.inputs if part is not None else train.inputs[:0])
    return Prepared(
        ready(train),
        ready(validation) if validation is not None else None,
        ready(test),
        standardization,
        learned.names,
        learned.scaling,
        learned.class_weights,
        extremes.rows,
        whole.columns,
        whole.inputs.dtype.kind in "iu",
    )


class _Extremes:
    """The examples with the smallest and the largest of all numbers."""

    def __init__(self) -> None:
        self.rows: Array | None = None

    def add(self, inputs: Array) -> None:
        known = inputs if self.rows is None else np.concatenate([self.rows, inputs])
        flat = known.reshape(len(known), -1)
        if len(flat):
            self.rows = known[[int(flat.min(axis=1).argmin()), int(flat.max(axis=1).argmax())]]


def _read(config: DataConfig, test: bool = False, classes: Sequence[str] | int | None = None) -> Data:
    """The file of the examples, or that of the test."""
    path, inputs, targets = config.path, config.inputs, _targets(config, test)
    if test:
        path, inputs = config.test_path or path, config.test_inputs or inputs
    assert path is not None  # `load_config` and `start` see to it
    options: dict[str, Any] = {
        "format": config.format,
        "inputs": inputs,
        "header": config.header,
        "delimiter": config.delimiter,
    }
    if config.task == "regression":
        return read_regression(path, targets=targets, names=config.names, **options)
    assert not isinstance(targets, tuple)  # which labels are not, by their annotation
    return read(path, labels=targets, classes=classes, **options)


def _targets(config: DataConfig, test: bool) -> Columns | None:
    """What names the labels or targets, of the test where they have a name of their own."""
    regression = config.task == "regression"
    own = config.test_targets if regression else config.test_labels
    return own if test and own is not None else config.targets if regression else config.labels


def _learned(config: DataConfig, train: Data, dtype: str, what: str) -> Learned:
    if isinstance(train, Dataset):
        counts = np.bincount(train.labels, minlength=train.classes)
        return learned_classes(config, train.names, counts, lambda labels: labels.astype(np.int32))
    moments = Moments()
    moments.add(train.targets)
    return learned_values(train.names, moments, what, dtype)


def _test_set(config: DataConfig, whole: Data) -> Data | None:
    own = (config.test_path, config.test_inputs, config.test_labels, config.test_targets)
    if all(setting is None for setting in own):
        return None
    path = config.test_path or config.path
    test = _read(config, test=True, classes=whole.names)
    if test.features != whole.features:
        raise DataError(
            f"{path}: {test.features} features per example, but {config.path} has {whole.features}"
        )
    _check_columns(path, test.columns, whole.columns)
    if test.columns and whole.columns:
        order = [test.columns.index(name) for name in whole.columns]
        test = dataclasses.replace(test, inputs=test.inputs[:, order], columns=whole.columns)
    if len(test.names) != len(whole.names):  # of a regression; classes are the same by now
        raise DataError(
            f"{path}: {len(test.names)} targets per example, but {config.path} has {len(whole.names)}"
        )
    return test


def _streamable(config: DataConfig) -> Source | None:
    """The file as a source, where it is one that can be streamed, and large or asked to be."""
    if config.stream is False:
        return None
    source = _source(config, test=False)
    if source is None:
        if config.stream:
            raise DataError(f"{config.path}: only .npy and Parquet files can be streamed (data.stream)")
        return None
    size = int(source.bounds[-1]) * source.features * source.dtype.itemsize
    return source if config.stream or size > IN_MEMORY else None


def _source(config: DataConfig, test: bool) -> Source | None:
    path = (config.test_path if test else None) or config.path
    assert path is not None  # as above
    what = "targets" if config.task == "regression" else "labels"
    return open_source(path, format=config.format, targets=_targets(config, test), what=what)


def _streamed(config: DataConfig, source: Source, key: random.Key, dtype: str) -> Prepared:
    """The files of a configuration as streams."""
    test = None
    if config.test_path is not None:
        test = _source(config, test=True)
        if test is None:
            raise DataError(f"{config.test_path}: must be .npy or Parquet as {config.path} is streamed")
        if test.features != source.features:
            raise DataError(
                f"{config.test_path}: {test.features} features per example, but {config.path} has "
                f"{source.features}"
            )
        _check_columns(config.test_path, _names_of(test), _names_of(source))
        if _names_of(test) != _names_of(source):
            raise DataError(f"{config.test_path}: has its columns in another order than {config.path}")
    return streamed(config, source, key, dtype, test=test)


def streamed(
    config: DataConfig,
    source: Source,
    key: random.Key,
    dtype: str,
    *,
    validation: Source | None = None,
    test: Source | None = None,
    flat: bool = True,
    integers: bool = False,
) -> Prepared:
    """As `divided`, of sources that are read once here and then whenever they are needed."""
    held = 0.0 if test is not None else config.test_fraction
    seen = 1 - held - (config.validation_fraction if validation is None else 0.0)
    train = Part(source, key, 0, seen)
    others = {"validation": validation, "test": test}
    if validation is None and config.validation_fraction:
        validation = Part(source, key, seen, 1 - held)
    test = test or Part(source, key, 1 - held, 1)
    regression = config.task == "regression"
    moments, found, extremes = Moments(), (Values if regression else Labels)(source), _Extremes()
    sums: list[int] = []
    for number, (inputs, targets) in enumerate(_summed(source, regression, sums)):
        own = train.rows(number)
        if integers:
            extremes.add(inputs)
        elif len(own):
            moments.add(inputs[own])
        found.add(targets, own)
    learned = found.learned(config, dtype)
    for other in others.values():
        for inputs, targets in _summed(other, regression, sums) if other is not None else ():
            learned.encode(targets)  # which says now, and not after hours, what is wrong with them
            if integers:
                extremes.add(inputs)
    standardization = None if integers else moments.standardization(config.standardize)
    shape = (source.features,) if flat else source.shape
    total = " ".join(f"{one:08x}" for one in sums)

    def ready(part: Source) -> Examples:
        window = config.window_mb << 20
        return Streamed(part, learned.encode, standardization, dtype, shape, window, total)

    rows = extremes.rows
    return Prepared(
        ready(train),
        ready(validation) if validation is not None else None,
        ready(test),
        standardization,
        learned.names,
        learned.scaling,
        learned.class_weights,
        rows.reshape(2, *shape) if rows is not None else None,
        _names_of(source),
        source.dtype.kind in "iu",
    )


def _names_of(source: Source) -> tuple[str, ...]:
    return tuple(getattr(source, "columns", ()))


def _check_columns(path: object, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise a DataError where files name their inputs, and not alike."""
    if found and expected and set(found) != set(expected):
        lost = next(name for name in (*expected, *found) if (name in found) != (name in expected))
        raise DataError(f"{path}: the column {shown(lost)} is not in both, the training and the test file")


def _summed(source: Source, regression: bool, sums: list[int]) -> Iterator[tuple[Array, Array]]:
    """All blocks, `checked`; adds the sum of their bytes to `sums` in the end."""
    total = 0
    for inputs, targets in checked(source, regression):
        yield inputs, targets
        total = zlib.crc32(np.ascontiguousarray(inputs).data, zlib.crc32(targets.tobytes(), total))
    sums.append(total)
