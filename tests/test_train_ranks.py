"""`portagrad train` on the ranks of an MPI job: the same run, whatever their number and however they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi_job import ROOT, ranks_of

import portagrad as pg
from portagrad.train import load_config, load_model, resume, start
from portagrad.train.checkpoint import newest_checkpoint
from portagrad.train.launch import _own_device

SECONDS = 90
"""A job that takes longer hangs."""
# 202 examples to train on: the last batch has 2, so that on four ranks two have none; others have 25.
SMALL = """
[data]
path = "small.npz"
validation_fraction = 0.1
test_fraction = 0.1
[model]
hidden = [12]
[optimizer]
lr = 0.01
clip_norm = 1.0
[train]
epochs = 3
batch_size = 25
figures = false
compile = false
"""
COMMAND = "from portagrad.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    digits = np.load(ROOT / "examples/data/digits.npz")
    np.savez(tmp_path / "small.npz", images=digits["images"][:252], labels=digits["labels"][:252])
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def started(size: int, *command: str, script: str = COMMAND, folder: Path) -> subprocess.Popen[str]:
    """Ranks that run a command of portagrad's."""
    return subprocess.Popen(**ranks_of(size, "-c", script, *command), cwd=folder)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err


def trained(size: int, folder: Path, name: str, *settings: str) -> Path:
    given = [word for setting in settings for word in ("--set", setting)]
    status, out, err = ended(
        started(size, "train", "small.toml", "--device", "cpu", "--output", name, *given, folder=folder)
    )
    assert status == 0, out + err
    assert out.count("test accuracy") == 1  # one rank tells
    return folder / name


def alone(folder: Path, name: str, *settings: str) -> Path:
    result = start(load_config(folder / "small.toml", settings, device="cpu", output=folder / name))
    return result.folder


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def curve(run: Path) -> list[dict[str, Any]]:
    """All that `metrics.jsonl` says but how long it took, and norms."""
    return [{key: line[key] for key in line if key not in ("seconds", "norms")} for line in lines(run)]


def norms(run: Path) -> dict[str, dict[str, float]]:
    """Those of the first epoch."""
    found: dict[str, dict[str, float]] = lines(run)[0]["norms"]
    return found


def close(found: Path, expected: Path) -> bool:
    ours, theirs = curve(found), curve(expected)
    return len(ours) == len(theirs) and all(
        one == pytest.approx(other, rel=1e-5) for one, other in zip(ours, theirs, strict=True)
    )


def weights(run: Path) -> list[np.ndarray[Any, Any]]:
    layers = load_model(run, device="cpu").model.layers
    return [array for layer in layers if hasattr(layer, "weight") for array in (layer.weight, layer.bias)]


def equal(one: Path, other: Path) -> bool:
    return all(map(np.array_equal, weights(one), weights(other))) and curve(one) == curve(other)


@pytest.mark.parametrize(
    ("size", "how"),
    [
        (4, ()),
        (2, ("train.compile=true", "train.slice_size=6")),
        (2, ("data.class_weights=balanced", "train.label_smoothing=0.1", 'train.metrics=["f1_macro"]')),
    ],
)
def test_the_loss_curve_is_the_same_on_any_number_of_ranks(
    folder: Path, size: int, how: tuple[str, ...]
) -> None:
    expected = alone(folder, "one", *how)
    found = trained(size, folder, "ranks", *how)
    assert close(found, expected)
    assert json.loads((found / "summary.json").read_text())["ranks"] == size
    for kind, of_layers in norms(expected).items():
        assert norms(found)[kind] == pytest.approx(of_layers, rel=1e-4)


OWN = """
import dataclasses
import sys
import numpy as np
from pathlib import Path
from portagrad import nn, random
from portagrad.distributed import world
from portagrad.train import Config, LoopConfig, OptimizerConfig, fit

digits = np.load("small.npz")
model = nn.MLP.init(random.key(world().rank), [64, 12, 10], device="cpu")
loop = LoopConfig(epochs=2, batch_size=20, compile=False, figures=False)
output = Path(f"on-{world().size}")
fit(model, (digits["images"].reshape(-1, 64), digits["labels"]), Config(train=loop, output=output))

class Normed(nn.Module):
    inner: nn.Linear
    norm: nn.BatchNorm

    def initial_state(self):
        return self.norm.initial_state()

    def __call__(self, x, state, *, train=True):
        return self.norm(self.inner(x), state, train=train)

# Two slices are normalised as the rows of two ranks are.
inner = nn.Linear.init(random.key(world().rank), 64, 10, device="cpu")
loop = dataclasses.replace(loop, slice_size=10 if world().size == 1 else None)
images = digits["images"].reshape(-1, 64)
parts = {name: (images[rows], digits["labels"][rows]) for name, rows in {
    "train": slice(160), "validation": slice(160, 200), "test": slice(200, 252)
}.items()}
sgd = OptimizerConfig(name="sgd", lr=0.1)
config = Config(train=loop, optimizer=sgd, output=Path(f"norm-{world().size}"))
fit(Normed(inner, nn.BatchNorm.init(10, device="cpu")), parts, config)
# A rank loads the library of its own device alone; in one process the tests have loaded all.
assert world().size == 1 or "torch" not in sys.modules
"""


def test_a_model_of_ones_own_begins_on_all_ranks_with_the_first_ones_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    exec(OWN, {})
    status, out, err = ended(started(2, script=OWN, folder=folder))
    assert status == 0, out + err
    assert close(folder / "on-2", folder / "on-1")
    states = [newest_checkpoint(folder / name / "checkpoints") for name in ("norm-1", "norm-2")]
    assert close(folder / "norm-2", folder / "norm-1")
    for name in ("model.state.mean", "model.state.variance"):
        one, other = (state.arrays[name] for state in states if state is not None)
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_streams_and_other_libraries_train_on_ranks(folder: Path) -> None:
    digits = np.load(folder / "small.npz")
    np.save(folder / "x.npy", digits["images"].reshape(252, -1).astype(np.float32))
    np.save(folder / "y.npy", digits["labels"])
    (folder / "small.toml").write_text(SMALL.replace("small.npz", "x.npy"))
    settings = (f"data.labels={folder / 'y.npy'}", "data.stream=true", "train.epochs=2")
    expected = alone(folder, "one", *settings)
    assert close(trained(2, folder, "two", *settings), expected)
    status, out, err = ended(
        started(
            2,
            *("train", "small.toml", "--device", "torch", "--output", "torch"),
            *(word for setting in settings for word in ("--set", setting)),
            folder=folder,
        )
    )
    assert status == 0, out + err
    for ours, theirs in zip(curve(folder / "torch"), curve(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_run_goes_on_with_another_number_of_ranks(folder: Path) -> None:
    expected = alone(folder, "whole")
    begun = trained(2, folder, "two", "train.epochs=2")
    resume(begun, ["train.epochs=3"])
    assert close(begun, expected)
    begun = alone(folder, "one", "train.epochs=1")
    status, out, err = ended(started(3, "train", "--resume", "one", "--set", "train.epochs=3", folder=folder))
    assert status == 0, out + err
    assert close(begun, expected)


def test_ranks_of_a_machine_take_its_devices_in_turn() -> None:
    pytest.importorskip("array_api_strict")
    found = [_own_device(pg.device("strict:device1"), local_rank) for local_rank in range(3)]
    assert [str(where) for where in found] == ["strict:device1", "strict:device2", "strict:device1"]
    assert _own_device(pg.device("cpu"), 1) == pg.device("cpu")


def processes(folder: Path, name: str) -> list[int]:
    """The ranks that train into this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if COMMAND.encode() in words and name.encode() in words and b"-n" not in words:
                found.append(int(path.parent.name))
    return sorted(found)


def midway(size: int, folder: Path, name: str) -> subprocess.Popen[str]:
    """A long run, once it has written a checkpoint."""
    long = ("train.epochs=100000", "train.checkpoint_steps=5", "model.dropout=0.2")
    given = [word for setting in long for word in ("--set", setting)]
    job = started(size, "train", "small.toml", "--device", "cpu", "--output", name, *given, folder=folder)
    until = time.monotonic() + SECONDS
    while not list((folder / name / "checkpoints").glob("step-*")):
        assert job.poll() is None and time.monotonic() < until, job.communicate()
        time.sleep(0.05)
    return job


def test_a_signal_to_one_rank_stops_all_after_the_same_batch_and_the_run_goes_on_bit_for_bit(
    folder: Path,
) -> None:
    job = midway(2, folder, "stopped")
    os.kill(processes(folder, "stopped")[1], signal.SIGTERM)
    status, out, err = ended(job)
    assert status == 143, out + err
    assert out.count("and saved; portagrad train --resume") == 1
    (saved,) = (folder / "stopped" / "checkpoints").glob("step-*")
    facts = json.loads((saved / "facts.json").read_text())["facts"]
    epochs = f"train.epochs={facts['epoch'] + 1}"
    again = ("train", "--resume", "stopped", "--set", epochs, "--set", "train.checkpoint_steps=1000")
    assert ended(started(2, *again, folder=folder))[0] == 0
    whole = trained(2, folder, "whole", epochs, "model.dropout=0.2", "train.checkpoint_steps=1000")
    assert equal(folder / "stopped", whole)


def test_ctrl_c_at_the_launcher_saves_and_stops(folder: Path) -> None:
    job = midway(2, folder, "stopped")
    job.send_signal(signal.SIGINT)
    status, out, err = ended(job)
    assert status == 130, out + err
    assert out.count("and saved; portagrad train --resume") == 1
    assert err.count("portagrad: interrupted") == 1
    assert not processes(folder, "stopped")


def test_a_rank_that_is_killed_ends_the_job_and_leaves_a_checkpoint(folder: Path) -> None:
    job = midway(2, folder, "killed")
    began = time.monotonic()
    os.kill(processes(folder, "killed")[1], signal.SIGKILL)
    status, _, _ = ended(job)
    assert status != 0
    assert time.monotonic() - began < 20
    assert not processes(folder, "killed")
    last = len(curve(folder / "killed"))
    resume(folder / "killed", [f"train.epochs={last + 2}"])
    assert len(curve(folder / "killed")) == last + 3  # and the test


FAILS_ON_RANK_1 = """
import sys
from portagrad.distributed import world
from portagrad.errors import DataError
from portagrad.train.examples import InMemory
from portagrad.train.feed import Feed

if world().rank == 1:
    whole = Feed.batches
    def batches(self, key, size, start=0):
        for number, batch in enumerate(whole(self, key, size, start)):
            if number == 7:
                raise DataError("part-1.npy: cannot be read any more")
            yield batch
    Feed.batches = batches
from portagrad.cli import main
main()
"""


def test_an_error_of_one_rank_is_told_by_all_and_the_job_ends(folder: Path) -> None:
    settings = ("--set", "train.checkpoint_steps=2")
    command = ("train", "small.toml", "--device", "cpu", "--output", "run", *settings)
    status, _, err = ended(started(3, *command, script=FAILS_ON_RANK_1, folder=folder))
    assert status != 0
    assert "portagrad, rank 1 of 3: part-1.npy: cannot be read any more" in err
    assert err.count("another rank cannot do it") == 1
    assert "rank 1: fails with DataError: part-1.npy: cannot be read any more" in err
    assert "Traceback" not in err
    resume(folder / "run", ["train.epochs=1"])


def test_what_is_wrong_for_all_ranks_is_said_once(folder: Path) -> None:
    status, _, err = ended(started(2, "train", "small.toml", "--set", "train.dtype=int8", folder=folder))
    assert status == 2
    assert err.count("train.dtype") == 1
    status, _, err = ended(started(2, "lr-find", "small.toml", folder=folder))
    assert status == 2 and err.count("start it without mpiexec") == 1


def test_a_loss_that_is_no_number_stops_all_ranks_and_names_the_op_once(folder: Path) -> None:
    settings = ("--set", "optimizer.lr=1e30", "--set", "optimizer.name=sgd")
    command = ("train", "small.toml", "--device", "cpu", "--output", "run", *settings)
    status, _, err = ended(started(2, *command, folder=folder))
    assert status == 1
    assert err.count("no longer finite at step") == 1
    assert "a repeat of the steps was finite" not in err
    assert list((folder / "run" / "checkpoints").glob("step-*"))
