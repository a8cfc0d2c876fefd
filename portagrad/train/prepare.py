"""From the configured files to the arrays of a run: read, split, standardised, in the training dtype."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad import random
from portagrad.data import Dataset, Moments, Part, Source, Standardization, blocks, open_source, read, split
from portagrad.data.dataset import classes_of
from portagrad.errors import DataError
from portagrad.train.config import DataConfig
from portagrad.train.examples import Array, Examples, InMemory, Streamed, scaled

_IN_MEMORY = 256 << 20
"""Bytes of inputs up to which a file that could be streamed is read whole."""
_DISTINCT = 100_000
"""Labels that differ, above which they are no classes."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a run, on the host."""

    train: Examples
    validation: Examples | None
    test: Examples
    standardization: Standardization
    names: tuple[str, ...]

    @property
    def features(self) -> int:
        """Numbers per example."""
        return self.train.features

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


def prepare(config: DataConfig, key: random.Key, dtype: str = "float32") -> Prepared:
    """Read and split the data of a run.

    The test examples are those of ``test_path``, ``test_inputs`` and ``test_labels`` where one of these is
    set, else a part that is split off. The standardisation is fitted on the training examples alone.

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
    source = _streamable(config, config.path, config.labels)
    if source is not None:
        return _streamed(config, source, key, dtype)
    whole = read(
        config.path,
        format=config.format,
        inputs=config.inputs,
        labels=config.labels,
        header=config.header,
        delimiter=config.delimiter,
        classes=config.names or config.classes,
    )
    own_test = _test_set(config, whole)
    fractions = [] if own_test is not None else [config.test_fraction]
    if config.validation_fraction:
        fractions.append(config.validation_fraction)
    rows, *parts = split(whole.labels, fractions, key)
    train = whole.take(rows)
    test = own_test if own_test is not None else whole.take(parts.pop(0))
    validation = whole.take(parts.pop()) if parts else None
    standardization = Standardization.fit(train.inputs, config.standardize)

    def ready(data: Dataset) -> Examples:
        inputs = scaled(standardization, data.inputs, dtype, str(config.path))
        return InMemory(inputs, data.labels.astype(np.int32))  # which every library has

    return Prepared(
        ready(train),
        ready(validation) if validation is not None else None,
        ready(test),
        standardization,
        whole.names,
    )


def _test_set(config: DataConfig, whole: Dataset) -> Dataset | None:
    if config.test_path is None and config.test_inputs is None and config.test_labels is None:
        return None
    path = config.test_path or config.path
    test = read(
        path,
        format=config.format,
        inputs=config.test_inputs or config.inputs,
        labels=config.test_labels if config.test_labels is not None else config.labels,
        header=config.header,
        delimiter=config.delimiter,
        classes=whole.names,
    )
    if test.features != whole.features:
        raise DataError(
            f"{path}: {test.features} features per example, but {config.path} has {whole.features}"
        )
    return test


def _streamable(config: DataConfig, path: Any, labels: str | int | None) -> Source | None:
    """The file as a source, where it is one that can be streamed, and large or asked to be."""
    if config.stream is False:
        return None
    source = open_source(path, format=config.format, targets=labels)
    if source is None:
        if config.stream:
            raise DataError(f"{path}: only .npy and Parquet files can be streamed (data.stream)")
        return None
    size = int(source.bounds[-1]) * source.features * source.dtype.itemsize
    return source if config.stream or size > _IN_MEMORY else None


def _streamed(config: DataConfig, source: Source, key: random.Key, dtype: str) -> Prepared:
    own_test = None
    if config.test_path is not None:
        labels = config.test_labels if config.test_labels is not None else config.labels
        own_test = open_source(config.test_path, format=config.format, targets=labels)
        if own_test is None:
            raise DataError(f"{config.test_path}: must be .npy or Parquet as {config.path} is streamed")
        if own_test.features != source.features:
            raise DataError(
                f"{config.test_path}: {own_test.features} features per example, but {config.path} has "
                f"{source.features}"
            )
    held = 0.0 if own_test is not None else config.test_fraction
    seen = 1 - held - config.validation_fraction
    train = Part(source, key, 0, seen)
    validation = Part(source, key, seen, 1 - held) if config.validation_fraction else None
    test = own_test or Part(source, key, 1 - held, 1)
    moments, labels_seen, total = Moments(), _Labels(source), 0
    for number, (inputs, targets) in enumerate(blocks(source)):
        own = train.rows(number)
        if len(own):
            moments.add(inputs[own])
        labels_seen.add(targets)
        total = zlib.crc32(np.ascontiguousarray(inputs).data, zlib.crc32(repr(targets.shape).encode(), total))
    names, encode = labels_seen.classes(config)
    standardization = moments.standardization(config.standardize)

    def ready(part: Source) -> Streamed:
        window = config.window_mb << 20
        return Streamed(part, encode, standardization, dtype, window, f"{total:08x}")

    return Prepared(
        ready(train),
        ready(validation) if validation is not None else None,
        ready(test),
        standardization,
        names,
    )


class _Labels:
    """The labels of a stream that differ, each with the row where it first comes."""

    def __init__(self, source: Source) -> None:
        self._what, self._row = source.what, 0
        self._first: dict[Any, int] = {}

    def add(self, targets: Array) -> None:
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim != 1:
            raise DataError(f"{self._what}: labels must have one number per example, not {targets.shape[1:]}")
        found, rows = np.unique(targets, return_index=True)
        for label, row in zip(found.tolist(), rows.tolist(), strict=True):
            self._first.setdefault(label, self._row + row)
        self._row += len(targets)
        if len(self._first) > _DISTINCT:
            raise DataError(f"{self._what}: more than {_DISTINCT} different labels by row {self._row}")

    def classes(self, config: DataConfig) -> tuple[tuple[str, ...], Callable[[Array], Array]]:
        """The names of the classes, and the function from labels to their numbers."""
        known = np.asarray(sorted(self._first))
        rows = [self._first[label] for label in known.tolist()]
        numbers, names = classes_of(
            known,
            config.names or config.classes,
            what=f"{self._what}, labels",
            at=lambda index: f"{self._what}, labels, row {rows[index]}",
            examples=self._row,
        )

        def encode(targets: Array) -> Array:
            flat = targets.reshape(-1)
            places = np.minimum(np.searchsorted(known, flat), len(known) - 1)
            if (known[places] != flat).any():
                label = flat[int((known[places] != flat).argmax())]
                raise DataError(
                    f"{self._what}: the label {label} was not there when the run began, or is none of its "
                    "classes"
                )
            return numbers[places].astype(np.int32)  # which every library has

        return names, encode
