"""One run: its model, its data on the device, its epochs and its test."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from portagrad import random
from portagrad.device import Device
from portagrad.distributed import Communicator
from portagrad.errors import NonFiniteError
from portagrad.nn.containers import takes
from portagrad.train.checkpoint import newest_checkpoint
from portagrad.train.config import Config
from portagrad.train.examples import Examples
from portagrad.train.feed import Feed, copied, evaluate, read, settled, too_large
from portagrad.train.metrics import LOWER_IS_BETTER
from portagrad.train.model import make_model, make_optimizer, make_schedule, make_step, make_task, placed
from portagrad.train.nonfinite import first_bad_step, is_finite
from portagrad.train.norms import make_watch, read_norms
from portagrad.train.output import CHECKPOINTS, Output
from portagrad.train.prepare import Prepared
from portagrad.train.progress import Progress
from portagrad.train.result import Result, summarised, trained_model, versions
from portagrad.train.signals import StopSignals
from portagrad.train.state import State
from portagrad.train.stateful import trained_part, with_state
from portagrad.train.step import weights_as
from portagrad.train.weights import count_weights

# Steps between two looks at the losses: each look waits for the device, and a fault is found this late.
_WINDOW = 256
# Between two checkpoints at the ends of epochs, so that short epochs do not spend their time on writing.
_SECONDS = 10.0


class Run:
    """A run, and how far it is.

    Parameters
    ----------
    config : Config
    where : Device
    prepared : Prepared
    keys : list of Key
        For the weights, the order of the examples and dropout.
    fixed : mapping
        The settings that may not change where the run goes on.
    comm : Communicator
        The ranks that train it together. Each holds the same state at any time.
    model : pytree, optional
        Of one's own, of which the run takes a copy; by default the MLP of the configuration.

    Attributes
    ----------
    own : str or None
        The name of the class of a model of one's own.
    """

    def __init__(
        self,
        config: Config,
        where: Device,
        prepared: Prepared,
        keys: list[random.Key],
        fixed: Mapping[str, Any],
        comm: Communicator,
        model: Any = None,
    ) -> None:
        self.config, self.where, self.prepared, self.comm = config, where, prepared, comm
        init_key, self.order_key, dropout_key = keys
        self.task = make_task(
            config, prepared.names, where, scaling=prepared.targets, class_weights=prepared.class_weights
        )
        self.own = type(model).__name__ if model is not None else None
        dropout = bool(config.model.dropout)
        if model is None:
            model = make_model(config, prepared.features, self.task.outputs, init_key, where)
        else:
            dropout = takes(model, "key")
            model = placed(with_state(model), config.train.weights_dtype, where)
        self.steps = -(-len(prepared.train) // config.train.batch_size)
        self.schedule = make_schedule(config, self.steps)
        optimizer = make_optimizer(config, self.schedule)
        self._dtype = getattr(where.backend.xp, config.train.inputs_dtype)
        made = {"dropout": dropout, "dtype": self._dtype, "comm": comm}
        make = functools.partial(make_step, config, optimizer, self.task, **made)
        self.eager, self.step = make(), make(compiled=config.train.compile)
        self.at = State(model, (optimizer.init(trained_part(model)), dropout_key), best=copied(model))
        self.feed = self._fed(prepared.train)
        held = prepared.validation
        self.validation = self._fed(held) if held is not None else None
        self.watch = make_watch(self.step, config.train.compile)
        self._out_of_memory: tuple[type[BaseException], ...] = (MemoryError, *where.backend.out_of_memory)
        self._about = {"settings": dict(fixed), "data": prepared.checksum}
        self._first: tuple[Any, Any] | None = None  # batch of the epoch, where this process has made it
        self._saved = time.monotonic()  # when, and after how many steps in all
        self._saved_step = 0

    def go_on_in(self, folder: Path) -> None:
        """Take over the state of a run's newest checkpoint, if it has one; the first rank reads it."""
        found = False
        if self.comm.rank == 0:
            checkpoint = newest_checkpoint(folder / CHECKPOINTS)
            found = checkpoint is not None
            if checkpoint is not None:
                self.at.load(checkpoint, self.where, self._about)
        if self.comm.broadcast_object(found):
            self.at.share(self.comm)
        self._saved_step = self._taken

    @property
    def facts(self) -> dict[str, Any]:
        """What the run is of, for its files."""
        own = {"model": self.own, "shape": list(self.prepared.shape)} if self.own is not None else {}
        named = {key: list(x) if isinstance(x, tuple) else x for key, x in self.task.facts.items()}
        return {"features": self.prepared.features, **own, **named}

    def described(self) -> str:
        """One line on what is trained on what."""
        data = self.prepared
        weights = count_weights(trained_part(self.at.model))
        held = f", {len(data.validation)} validation" if data.validation is not None else ""
        ranks = f", {self.comm.size} ranks" if self.comm.size > 1 else ""
        on = f", from epoch {self.at.epoch}, batch {self.at.batch + 1} on" if self._taken else ""
        return (
            f"{len(data.train)} training{held}, {len(data.test)} test examples of {data.features} features "
            f"{self.task.aim}; {weights} weights on {self.where}{ranks}{on}"
        )

    def train(self, folder: Path, progress: Progress, output: Output) -> Result:
        """The epochs that are left, then the test; `folder` is only named."""
        at = self.at
        if self.own is not None and not self._taken:
            self._save(output)  # no file but this could make the weights that it begins with
        way_on = f"portagrad train --resume {folder}"
        if self.own is not None:
            way_on = f"train.resume({str(folder)!r}, model=model, data=data)"
        began = time.perf_counter() - at.seconds
        progress.start(self.config.train.epochs, self.steps)
        if self._taken:
            progress.advance(self._taken)
        with StopSignals() as stop:
            while at.epoch <= self.config.train.epochs and not self._stale():
                try:
                    self._epoch(output, progress, stop)
                except NonFiniteError as error:
                    output.failed(at, str(error))
                    raise
                at.seconds = time.perf_counter() - began
                if stop.found:
                    self._save(output)
                    progress.note(
                        f"stopped at epoch {at.epoch}, batch {at.batch} of {self.steps}, and saved; "
                        f"{way_on} goes on from there"
                    )
                    stop.leave()
                record = self._record(output)
                at.records.append(record)
                at.next_epoch()
                progress.epoch(record)
                if self._due(at_end=True):
                    self._save(output)
            self._save(output)
            return self._finish(folder, output)

    @property
    def _taken(self) -> int:
        """Steps that the run has taken."""
        return (self.at.epoch - 1) * self.steps + self.at.batch

    def _epoch(self, output: Output, progress: Progress, stop: StopSignals) -> None:
        """The batches of the epoch that are left, or those until a signal asks to stop."""
        key = random.fold_in(self.order_key, self.at.epoch)
        batches = self._batches(key, self.at.batch)
        self._first = None
        if self.at.batch == 0:
            self._first = next(batches)
            batches = itertools.chain([self._first], batches)
        while self.at.batch < self.steps and not stop.look(self.comm):
            before = self.at.seen
            losses = self._window(batches, key, output, stop)
            progress.seen(self.at.seen - before, losses[-1])
            progress.advance(len(losses))
            if self.at.batch < self.steps and self._due(at_end=False):
                self._save(output)

    def _window(
        self, batches: Iterator[tuple[Any, Any]], key: random.Key, output: Output, stop: StopSignals
    ) -> list[float]:
        """Steps up to the next look at their losses, which are returned."""
        at = self.at
        carried: Any = (at.model, at.optimizer)
        before = copied(carried) if self.config.train.compile else carried
        length = min(_WINDOW, self.config.train.checkpoint_steps or _WINDOW)
        results: list[tuple[Any, Any]] = []
        weights: list[Any] = []
        sizes: list[int] = []
        for inputs, labels in itertools.islice(batches, length):
            try:
                *carried, loss, weight, score = self.step(carried[0], carried[1], inputs, labels)
            except self._out_of_memory as error:
                raise too_large(self.where, labels.shape[0], self.config.train.slice_size, error) from error
            carried = settled(tuple(carried), self.where)
            results.append((loss, score))
            weights.append(weight)
            sizes.append(self._size(at.batch + len(sizes)))
            if stop.look(self.comm):
                break
        losses, scores = (read(list(column)) for column in zip(*results, strict=True))
        if not np.isfinite(losses).all() or not is_finite(carried[0]):
            at.model, at.optimizer = before
            fault = self._explained(before, key)
            self._save(output)
            raise NonFiniteError(fault)
        at.model, at.optimizer = carried
        every: list[float] = losses.tolist()
        output.steps(self._taken + 1, every)
        counted = sizes if weights[0] is None else read(weights).tolist()
        for told in zip(every, counted, map(float, scores.tolist()), sizes, strict=True):
            at.count(*told)
        return every

    def _fed(self, examples: Examples) -> Feed:
        return Feed(examples, self.where, (self.comm.rank, self.comm.size))

    def _size(self, batch: int) -> int:
        """How many examples a batch of an epoch has, on all ranks together."""
        size = self.config.train.batch_size
        return min(size, len(self.prepared.train) - batch * size)

    def _batches(self, key: random.Key, start: int) -> Iterator[tuple[Any, Any]]:
        return self.feed.batches(key, self.config.train.batch_size, start)

    def _explained(self, before: tuple[Any, Any], key: random.Key) -> str:
        """One line on the step that made a NaN and its op, found by repeating the steps since `before`."""
        batches = self._batches(key, self.at.batch)
        done, op = first_bad_step(self.eager, before, batches, self.eager.part)
        found = [op for op in self.comm.all_gather_object(op) if op]
        none = "a repeat of the steps was finite, so the device does not compute the same twice"
        return (
            f"the loss or a weight is no longer finite at step {self._taken + done + 1} (epoch "
            f"{self.at.epoch}): {[*found, none][0]}; try a lower optimizer.lr, or optimizer.clip_norm"
        )

    def _due(self, at_end: bool) -> bool:
        """Whether it is time for a checkpoint, between batches or at the end of an epoch."""
        every = self.config.train.checkpoint_steps
        if every is not None:
            return self._taken - self._saved_step >= every
        return at_end and time.monotonic() - self._saved >= _SECONDS

    def _save(self, output: Output) -> None:
        output.checkpoint(self.at, self.steps, self._about)
        self._saved, self._saved_step = time.monotonic(), self._taken

    def _record(self, output: Output) -> dict[str, Any]:
        """The line of an epoch; also keeps its weights if they are the best."""
        at = self.at
        # The epoch's first batch, so that a run that went on in the middle of an epoch tells the same.
        batch = self._first or next(self._batches(random.fold_in(self.order_key, at.epoch), 0))
        norms, gradients = self.watch(at.model, *batch)
        record: dict[str, Any] = {
            "epoch": at.epoch,
            "step": at.epoch * self.steps,
            "train_loss": at.mean_loss,
            f"train_{self.task.score_name}": at.score / at.seen,
            **self._validated(),
            "learning_rate": float(self.schedule(at.epoch * self.steps - 1)),
            "norms": read_norms(at.model, norms),
            "seconds": round(at.seconds, 3),
        }
        output.epoch(record, trained_part(at.model), gradients)
        monitor = self.config.train.monitor
        value = record.get(f"validation_{monitor}", record.get(f"train_{monitor}", math.nan))
        value = math.inf if math.isnan(value) else value if monitor in LOWER_IS_BETTER else -value
        if value < at.best_value - self.config.train.min_delta or not at.best_epoch:
            at.best_epoch, at.best_value, at.best = at.epoch, float(value), copied(at.model)
        return record

    def _stale(self) -> bool:
        """Whether too many epochs have passed without an improvement."""
        patience = self.config.train.patience
        return patience is not None and self.at.epoch - 1 - self.at.best_epoch >= patience

    def _validated(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        loss, predictions = evaluate(
            weights_as(self._dtype, self.at.model), self.validation, self.task, self.comm
        )
        measured = self.task.measured(self.validation.examples.targets, predictions)
        return {"validation_loss": loss, **{f"validation_{name}": x for name, x in measured.items()}}

    def _finish(self, folder: Path, output: Output) -> Result:
        """The test, and what only a whole run has."""
        data, at = self.prepared, self.at
        best = weights_as(self._dtype, at.best)
        model = weights_as(self._dtype, at.model)
        if self.config.train.restore_best and at.best_epoch:
            model = best
        loss, predictions = evaluate(model, self._fed(data.test), self.task, self.comm)
        tested = self.task.tested(data.test.targets, predictions)
        test = {"test_loss": loss, **{f"test_{name}": tested.measures[name] for name in self.task.told}}
        describe = functools.partial(trained_model, self.config, data, self.task, own=self.own)
        models = {"model": describe(model)}
        if self.validation is not None:
            models["best"] = describe(best)
        summary = {
            **test,
            **summarised(data, at, self.steps),
            "measures": dict(tested.measures),
            **self.facts,
            "seed": self.config.seed,
            "device": str(self.where),
            "ranks": self.comm.size,
            "versions": versions(self.where),
        }
        output.finished(at.records, test, models, tested, summary)
        return Result(folder, models["model"], tested, summary)
