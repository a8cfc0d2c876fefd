"""A run as TensorBoard's event files, by its own writer, which needs neither torch nor TensorFlow."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from portagrad.errors import ConfigError
from portagrad.train.feed import on_host
from portagrad.train.weights import named_leaves


def require_tensorboard() -> None:
    """Raise a ConfigError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "train.tensorboard: tensorboard is not installed here: pip install 'portagrad[tensorboard]'"
        )


class TensorBoard:
    """Event files in a folder: losses by step, measures and histograms by epoch, the configuration.

    Writing is the work of a thread of TensorBoard's; the loop only hands over what it has read anyway.

    Parameters
    ----------
    folder : Path
        Made if it is absent; ``tensorboard --logdir`` takes it or a folder of several.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    def start(self, text: str, settings: Mapping[str, Any]) -> None:
        """The configuration as text, and its settings as hyperparameters."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb

        indented = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown's block of code
        self._write(text_pb("configuration", indented), 0)
        known = {key: x if isinstance(x, bool | int | float) else str(x) for key, x in settings.items()}
        self._write(hparams_pb(known, trial_id="run"), 0)

    def steps(self, first: int, losses: Sequence[float]) -> None:
        """The losses of some steps in order."""
        for step, loss in enumerate(losses, first):
            self._scalar("step/loss", loss, step)

    def epoch(self, record: Mapping[str, Any], model: Any, gradients: Any) -> None:
        """An epoch's line of ``metrics.jsonl``, and the arrays it ended with."""
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        epoch = int(record["epoch"])
        for key, value in record.items():
            split, _, what = key.partition("_")
            if split in ("train", "validation") and value is not None:
                self._scalar(f"{what}/{split}", value, epoch)
            elif key == "learning_rate":
                self._scalar(key, value, epoch)
        for kind, norms in record.get("norms", {}).items():
            for name, norm in norms.items():
                self._scalar(f"norm of {kind}/{name}", norm, epoch)
        for kind, tree in (("weights", model), ("gradients", gradients)):
            for name, leaf in named_leaves(tree).items():
                self._write(histogram_pb(f"{kind}/{name}", on_host(leaf)), epoch)

    def finish(self, test: Mapping[str, float], epoch: int) -> None:
        """The measures of the test."""
        for key, value in test.items():
            self._scalar(f"{key.removeprefix('test_')}/test", value, epoch)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def _scalar(self, tag: str, value: float, step: int) -> None:
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        self._write(scalar_pb(tag, value), step)

    def _write(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
