"""A run's folder as it is found: whole, unfinished, failed or damaged, it is read and said what it is."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.data.files import missing_file
from portagrad.errors import ConfigError

# No file that a run writes for its report comes near; a larger one is not a run's.
_LARGEST = 256 * 2**20
MARKS = ("config.toml", "metrics.jsonl")
"""A folder with one of these files is a run's."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Test examples by true class (row) and predicted class (column), and the classes' names."""

    counts: np.ndarray[Any, Any]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of a regression: targets of test examples, and what the model made of their inputs.

    Both have the shape (examples, outputs); `names` are the outputs', and there were `total` examples.
    """

    targets: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]
    names: tuple[str, ...]
    total: int


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What is known of a run.

    Attributes
    ----------
    folder : Path
    status : str
        ``"finished"``, ``"failed"`` or ``"unfinished"``: the last was stopped, or still runs.
    config : dict
        The configuration as the file's tables.
    epochs : tuple of dict
        The epochs' lines of ``metrics.jsonl``.
    test : dict
        The measures of the test, without ``test_``.
    summary, environment : dict
        What ``summary.json`` and ``environment.json`` hold, empty where there are none.
    confusion : Confusion, optional
    predictions : Predictions, optional
    error : str
        Of a failed run, why.
    faults : tuple of str
        What could not be read, a line each.
    """

    folder: Path
    status: str
    config: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    test: dict[str, float]
    summary: dict[str, Any]
    environment: dict[str, Any]
    confusion: Confusion | None
    predictions: Predictions | None
    error: str
    faults: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured of every epoch: the loss, the score, and what else there is."""
        splits = ("train_", "validation_")
        keys = dict.fromkeys(
            key for record in self.epochs for key, x in record.items() if number(x) is not None
        )
        names = [key.partition("_")[2] for key in keys if key.startswith(splits)]
        first = ["loss", *([self.score] if self.score else [])]
        return tuple(dict.fromkeys([*(name for name in first if name in names), *names]))

    @property
    def score(self) -> str | None:
        """What is measured beside the loss, for example ``"accuracy"``; None where nothing is."""
        for record in (*self.epochs, {f"train_{key}": value for key, value in self.test.items()}):
            for key in record:
                if key.startswith("train_") and key != "train_loss" and number(record[key]) is not None:
                    return key.removeprefix("train_")
        return None

    @property
    def seconds(self) -> float | None:
        """That the run took, or has taken by its last epoch."""
        last = self.epochs[-1] if self.epochs else {}
        return number(self.summary.get("seconds")) or number(last.get("seconds"))

    def series(self, key: str) -> list[float | None]:
        """One measure over the epochs, None where it is missing or not finite."""
        return [number(record.get(key)) for record in self.epochs]

    def best(self) -> dict[str, Any] | None:
        """The epoch that the run kept, else that of the lowest loss, of validation where there is one."""
        kept = number(self.summary.get("best_epoch"))
        for record in self.epochs:
            if number(record.get("epoch")) == kept:
                return record
        for key in ("validation_loss", "train_loss"):
            known = [record for record in self.epochs if number(record.get(key)) is not None]
            if known:
                return min(known, key=lambda record: float(record[key]))
        return None

    def norms(self, kind: str) -> dict[str, list[float | None]]:
        """Norms of ``"weights"`` or ``"gradients"`` by the array's name, over the epochs."""
        records = [_table(_table(record.get("norms")).get(kind)) for record in self.epochs]
        names = dict.fromkeys(name for record in records for name in record)
        return {name: [number(record.get(name)) for record in records] for name in names}

    def settings(self) -> dict[str, str]:
        """The configuration by dotted key."""
        return {key: x if isinstance(x, str) else _json(x) for key, x in flat(self.config)}


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return any((folder / mark).is_file() for mark in MARKS)


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """The folders of runs that arguments name: themselves, by a pattern, or inside a folder such as ``runs``.

    Raises
    ------
    ConfigError
        If an argument names none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        matches = [path] if path.exists() or not any(mark in str(path) for mark in "*?[") else _matching(path)
        for match in matches:
            inner = [match] if is_run(match) else sorted(filter(is_run, _children(match)), key=_natural)
            found.update(dict.fromkeys(inner))
        if not any(is_run(match) or any(map(is_run, _children(match))) for match in matches):
            what = (
                missing_file(path) if not path.exists() else f"{path}: no run; its folder has no {MARKS[0]}"
            )
            raise ConfigError(what)
    return list(found)


def read_run(folder: str | Path) -> RunRecord:
    """Read a run's folder; what is damaged in it is left out and told as a fault.

    Raises
    ------
    ConfigError
        If the folder is no run's.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise ConfigError(missing_file(folder) if not folder.exists() else f"{folder}: no run; no {MARKS[0]}")
    faults: list[str] = []

    def read(name: str, parse: Callable[[str], Any], required: bool = False) -> Any:
        path = folder / name
        if not path.is_file():
            faults.extend([f"{name} is missing"] if required else [])
            return None
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"larger than {_LARGEST // 2**20} MiB")
            return parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
            faults.append(f"{name} is damaged: {reason or type(error).__name__}")
            return None

    config = read("config.toml", tomllib.loads, required=True) or {}
    lines = read("metrics.jsonl", lambda text: _lines(text, faults), required=True) or []
    summary = read("summary.json", _object) or {}
    epochs = tuple(line for line in lines if number(line.get("epoch")) is not None and "error" not in line)
    error = next((str(line["error"]) for line in lines if "error" in line), "")
    tested = {
        key: value for line in (summary, *lines) for key, value in line.items() if key.startswith("test_")
    }
    test = {key.removeprefix("test_"): float(x) for key, x in tested.items() if number(x) is not None}
    return RunRecord(
        folder=folder,
        status="failed" if error else "finished" if summary else "unfinished",
        config=config,
        epochs=epochs,
        test=test,
        summary=summary,
        environment=read("environment.json", _object) or {},
        confusion=read("confusion.json", lambda text: _confusion(_object(text))),
        predictions=read("predictions.json", lambda text: _predictions(_object(text))),
        error=error,
        faults=tuple(faults),
    )


def number(value: Any) -> float | None:
    """A finite number as a float, and None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def _lines(text: str, faults: list[str]) -> list[dict[str, Any]]:
    records = []
    for place, line in enumerate(text.splitlines(), 1):
        try:
            records.append(_object(line))
        except (ValueError, RecursionError):
            faults.append(f"metrics.jsonl: line {place} is damaged and left out")
    if len(faults) > 5:
        faults[5:] = [f"and {len(faults) - 5} lines more"]
    return records


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _confusion(record: Mapping[str, Any]) -> Confusion:
    names, counts = record["names"], np.asarray(record["counts"])
    square = counts.shape == (len(names), len(names)) and len(names) > 0
    if not square or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError("the counts are not a square of whole numbers, a row and a column per name")
    return Confusion(counts.astype(np.int64), tuple(map(str, names)))


def _predictions(record: Mapping[str, Any]) -> Predictions:
    targets, values = (np.asarray(record[key], dtype=np.float64) for key in ("targets", "values"))
    names, total = record["names"], record["examples"]
    # Beyond, their squares and differences are no longer numbers.
    if targets.shape != values.shape or not (np.abs([targets, values]) < 1e150).all():
        raise ValueError("targets and values are not as many finite numbers")
    if not isinstance(names, list) or targets.shape[1:] != (len(names),) or 0 in targets.shape:
        raise ValueError("targets and values have not a column per name")
    if type(total) is not int or total < len(targets):
        raise ValueError("fewer examples than targets")
    return Predictions(targets, values, tuple(map(str, names)), total)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by dotted key."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _matching(pattern: Path) -> list[Path]:
    parts = pattern.parts
    root = Path(pattern.anchor) if pattern.is_absolute() else Path()
    inside = "/".join(parts[1:] if pattern.is_absolute() else parts)
    return sorted((path for path in root.glob(inside) if path.is_dir()), key=_natural)


def _natural(path: Path) -> tuple[Any, ...]:
    """So that run-2 comes before run-10."""
    stem, _, tail = path.name.rpartition("-")
    return (str(path.parent), stem, int(tail)) if tail.isdecimal() and len(tail) < 18 else (str(path), "", 0)
