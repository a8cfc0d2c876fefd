"""Where a run is: everything that a checkpoint holds, so that the run can go on from it bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portagrad.device import Device
from portagrad.distributed import Communicator
from portagrad.errors import CheckpointError
from portagrad.train.checkpoint import Checkpoint, write_checkpoint


@dataclass(eq=False)
class State:
    """What changes from step to step.

    Attributes
    ----------
    model, optimizer : pytrees
        The weights; the optimizer's state and the key for dropout.
    epoch, batch : int
        The epoch that is under way, from 1, and how many of its batches are done.
    loss, weight, score, seen : float, float, float, int
        Sums over these batches: of their losses by weight and of the weights, of the scores, and of the
        examples.
    records : list of dict
        The lines of ``metrics.jsonl`` so far, an epoch each.
    best : pytree
        The weights of the best epoch.
    best_epoch, best_value : int, float
        That epoch, 0 before there is one, and what it reached.
    seconds : float
        That the run has taken.
    """

    model: Any
    optimizer: Any
    best: Any
    epoch: int = 1
    batch: int = 0
    loss: float = 0.0
    weight: float = 0.0
    score: float = 0.0
    seen: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.inf
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Of the batches that are done, each example by its weight; 0 where none weighs anything."""
        return self.loss / (self.weight or 1.0)

    def count(self, loss: float, weight: float, score: float, examples: int) -> None:
        """Add a batch; one at a time, so that the sums do not depend on where a run was stopped."""
        self.loss += loss * weight
        self.weight += weight
        self.score += score
        self.seen += examples
        self.batch += 1

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.batch, self.seen = self.epoch + 1, 0, 0
        self.loss = self.weight = self.score = 0.0

    def save(self, folder: Path, steps: int, about: Mapping[str, Any]) -> Path:
        """Write a checkpoint; an epoch has so many `steps`, and `about` says what the run is of."""
        facts = {name: getattr(self, name) for name in _FACTS}
        step = (self.epoch - 1) * steps + self.batch
        return write_checkpoint(folder, step, self._tree(), {**facts, "about": about})

    def load(self, checkpoint: Checkpoint, where: Device, about: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds.

        Raises
        ------
        CheckpointError
            If it is of another run, or its facts are not those of a checkpoint.
        """
        facts = checkpoint.facts
        if facts.get("about") != about:
            raise CheckpointError(
                f"{checkpoint.path}: was made with other data or another model; "
                "a run goes on only with the files and the configuration that it began with"
            )
        for name, kind in _FACTS.items():
            # JSON has no infinity, so what was not yet reached comes back as None.
            value = math.inf if name == "best_value" and facts.get(name) is None else facts.get(name)
            if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 1 << 63):
                raise CheckpointError(f"{checkpoint.path}: its {name} is not what a run writes")
            setattr(self, name, value)
        done = len(self.records)
        numbered = all(_is_record(record, i) for i, record in enumerate(self.records, start=1))
        if (
            not numbered
            or self.epoch != done + 1
            or self.best_epoch > done
            or (self.batch > 0) != (self.seen > 0)
        ):
            raise CheckpointError(f"{checkpoint.path}: its epoch, batch and records contradict each other")
        self._take(checkpoint.restore(self._tree(), where))

    def share(self, comm: Communicator) -> None:
        """Give the first rank's state to all."""
        for name, value in comm.broadcast_object({name: getattr(self, name) for name in _FACTS}).items():
            setattr(self, name, value)
        self._take(comm.broadcast(self._tree()))

    def _take(self, tree: Mapping[str, Any]) -> None:
        self.model, self.optimizer, self.best = tree["model"], tree["optimizer"], tree["best"]

    def _tree(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "best": self.best}


def _is_record(record: Any, epoch: int) -> bool:
    """Whether this may be the line of that epoch, whose losses, scores and norms are plotted."""
    if not isinstance(record, dict) or record.get("epoch") != epoch:
        return False
    norms = record.get("norms", {})
    if not isinstance(norms, dict) or not all(isinstance(part, dict) for part in norms.values()):
        return False
    numbers = [value for name, value in record.items() if name.startswith(("train_", "validation_"))]
    numbers += [value for part in norms.values() for value in part.values()]
    return all(value is None or type(value) in (int, float) for value in numbers)


_FACTS: dict[str, type] = {
    **dict.fromkeys(("epoch", "batch", "seen", "best_epoch"), int),
    **dict.fromkeys(("loss", "weight", "score", "best_value", "seconds"), float),
    "records": list,
}
