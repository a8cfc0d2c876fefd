"""Runs of `train.fit` on the digits: what their tests have in common."""

import json
from pathlib import Path
from typing import Any

from portagrad.train import Config, LoopConfig, OptimizerConfig


def configured(folder: Path, name: str = "run", *, epochs: int, batch_size: int, **sections: Any) -> Config:
    """A short eager run without figures, with other settings perhaps."""
    loop = {"epochs": epochs, "batch_size": batch_size, "compile": False, "figures": False}
    loop |= sections.pop("train", {})
    lr = sections.pop("optimizer", OptimizerConfig(lr=0.02))
    return Config(train=LoopConfig(**loop), optimizer=lr, output=folder / name, **sections)


def recorded(run: Path, *without: str) -> list[dict[str, Any]]:
    """The records of a run's epochs, without the time that they took and what else is named."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: x for name, x in record.items() if name not in ("seconds", *without)} for record in records
    ]
