"""From the configured files to the arrays of a run: read, split, standardised, in the training dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portagrad import random
from portagrad.data import Dataset, Standardization, read, split
from portagrad.errors import DataError
from portagrad.train.config import DataConfig

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs, shape (examples, features), in the training dtype, and their classes, int32."""

    inputs: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


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
        return int(self.train.inputs.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.names)


def prepare(config: DataConfig, key: random.Key, dtype: str = "float32") -> Prepared:
    """Read and split the data of a run.

    The test examples are those of ``test_path``, ``test_inputs`` and ``test_labels`` where one of these is
    set, else a part that is split off. The standardisation is fitted on the training examples alone.

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
        with np.errstate(over="ignore"):
            inputs = standardization(data.inputs).astype(dtype)
        if not np.isfinite(inputs).all():
            row, column = np.argwhere(~np.isfinite(inputs))[0].tolist()
            raise DataError(f"{config.path}: feature {column} is beyond the range of {dtype} (example {row})")
        return Examples(inputs, data.labels.astype(np.int32))  # which every library has

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
