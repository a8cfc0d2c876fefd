"""A run that is stopped, killed or has no room left goes on, and ends as if nothing had happened."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import portagrad as pg
from portagrad.errors import CheckpointError, ConfigError, DataError, OutOfMemoryError
from portagrad.train import Progress, load_config, load_model, resume, start
from portagrad.train import checkpoint as checkpoint_module
from portagrad.train import run as run_module
from portagrad.train.checkpoint import newest_checkpoint, read_checkpoint
from portagrad.train.report import flat

SMALL = """
[data]
path = "small.npz"
validation_fraction = 0.2
[model]
hidden = [4]
dropout = 0.2
[optimizer]
lr = 0.01
[train]
epochs = 4
batch_size = 16
checkpoint_steps = 1
compile = false
figures = false
"""
# How often a run is killed; CONTRIBUTING.md says how to ask for more.
KILLS = int(os.environ.get("PORTAGRAD_KILLS", "0"))


@pytest.fixture
def folder(tmp_path):
    digits = np.load("examples/data/digits.npz")
    np.savez(tmp_path / "small.npz", images=digits["images"][:80], labels=digits["labels"][:80])
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def configured(folder, *settings, device="cpu", name="run"):
    return load_config(folder / "small.toml", settings, device=device, output=folder / name)


def lines(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


class StopsAfter(Progress):
    """Sends this process a signal after so many steps."""

    def __init__(self, steps, number):
        self.steps, self.number = steps, number

    def advance(self, steps):
        self.steps -= steps
        if self.steps <= 0 and self.number:
            os.kill(os.getpid(), self.number)
            self.number = 0


def stopped(config, steps, number=signal.SIGINT):
    """A run that a signal stops; what it raised."""
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        start(config, progress=StopsAfter(steps, number))
    return caught.value


# --- SIGKILL ---


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_a_killed_run_ends_with_the_same_bytes(folder, xp_device, compile):
    """Killed at random moments, half of them within a checkpoint, and resumed each time."""
    library = xp_device.backend.name
    if compile and library in ("torch", "dask", "strict"):
        pytest.skip(f"a compiled step of {library} is the eager one")
    if not compile and library == "jax":
        pytest.skip("each start takes seconds: JAX compiled, others eager; it goes on eagerly below")
    kills = KILLS or (20 if library == "numpy" and not compile else 3)
    if library in ("dask", "jax") or (compile and library == "numpy"):
        kills = KILLS or 2  # each start takes seconds
    done = subprocess.run(
        [
            *(sys.executable, "tests/killed_runs.py", str(xp_device), folder, str(kills), "1"),
            f"train.compile={str(compile).lower()}",
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == kills and (told["inside"] > 0 or kills < 6)
    for name in ("model.safetensors", "best.safetensors", "confusion.json"):
        assert (folder / "run" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert lines(folder / "run") == lines(folder / "whole")
    assert not list((folder / "run" / "checkpoints").glob(".*"))


# --- Ctrl-C and SIGTERM ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_batch_and_saves(folder, number):
    before = signal.getsignal(signal.SIGINT)
    whole = start(configured(folder, name="whole"))
    error = stopped(configured(folder), 5, number)
    if number == signal.SIGTERM:
        assert isinstance(error, SystemExit) and error.code == 143
    checkpoint = newest_checkpoint(folder / "run" / "checkpoints")
    assert (checkpoint.facts["epoch"], checkpoint.facts["batch"]) == (2, 2)
    found = resume(folder / "run")
    assert lines(found.folder) == lines(whole.folder)
    assert (found.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_exits_with_130_and_143_and_says_how_to_go_on(folder):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        name = f"run-{code}"
        command = [sys.executable, "-c", "from portagrad.cli import main; main()", "train"]
        process = subprocess.Popen(
            [*command, folder / "small.toml", "--output", folder / name, "--set", "train.epochs=100000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while not (folder / name / "checkpoints").is_dir():
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == code, err
        assert f"portagrad train --resume {folder / name}" in out
        assert "Traceback" not in err
        facts = newest_checkpoint(folder / name / "checkpoints").facts
        assert facts["epoch"] > 1 or facts["batch"] > 0


def test_a_run_in_a_thread_leaves_signals_alone(folder):
    before = signal.getsignal(signal.SIGINT)
    results = []
    thread = threading.Thread(target=lambda: results.append(start(configured(folder))))
    thread.start()
    thread.join()
    assert len(results) == 1 and signal.getsignal(signal.SIGINT) is before


# --- going on ---


def test_a_run_moves_between_libraries(folder, xp_device):
    if xp_device.backend.name == "numpy":
        pytest.skip("it begins on NumPy")
    whole = start(configured(folder, name="whole"))
    stopped(configured(folder), 5)
    found = resume(folder / "run", device=str(xp_device))
    assert found.summary["device"] == str(xp_device)
    for ours, theirs in zip(lines(whole.folder), lines(found.folder), strict=True):
        assert dict(flat(theirs)) == pytest.approx(dict(flat(ours)), rel=1e-4)


def test_a_run_goes_on_for_more_epochs_and_only_with_its_own_settings(folder):
    start(configured(folder, "train.epochs=2"))
    assert resume(folder / "run", ["train.epochs=3"]).summary["epochs"] == 3
    assert load_config(folder / "run" / "config.toml").train.epochs == 3
    assert resume(folder / "run").summary["epochs"] == 3  # ended already: written again
    for setting in ("optimizer.lr=1", "train.batch_size=8", "seed=3", "model.hidden=[5]"):
        with pytest.raises(ConfigError, match=f"^{setting.partition('=')[0]}: cannot change"):
            resume(folder / "run", [setting])
    with pytest.raises(ConfigError, match="no folder of a run"):
        resume(folder)


def test_other_data_are_refused_and_missing_data_named(folder):
    start(configured(folder, "train.epochs=2"))
    digits = np.load("examples/data/digits.npz")
    np.savez(folder / "small.npz", images=digits["images"][1:81], labels=digits["labels"][1:81])
    with pytest.raises(CheckpointError, match="was made with other data"):
        resume(folder / "run", ["train.epochs=3"])
    (folder / "small.npz").unlink()
    with pytest.raises((ConfigError, DataError), match=r"small\.npz"):
        resume(folder / "run", ["train.epochs=3"])
    assert newest_checkpoint(folder / "run" / "checkpoints").facts["epoch"] == 3


# --- early stopping ---


def test_a_run_without_improvement_ends_early_and_may_keep_its_best(folder):
    settings = ("train.epochs=30", "train.patience=2", "train.restore_best=true", "train.min_delta=0.5")
    result = start(configured(folder, *settings))
    best = result.summary["best_epoch"]
    assert result.summary["epochs"] == best + 2 < 30
    for name in ("model.safetensors", "best.safetensors"):
        weights = load_model(result.folder / name, device="cpu").model.layers[0].weight
        assert np.array_equal(weights, result.model.layers[0].weight)
    assert resume(result.folder).summary["epochs"] == best + 2
    by_accuracy = start(configured(folder, "train.patience=3", "train.monitor=accuracy", name="other"))
    records = lines(by_accuracy.folder)[:-1]
    values = [record["validation_accuracy"] for record in records]
    assert by_accuracy.summary["best_epoch"] == values.index(max(values)) + 1


# --- what goes wrong ---


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(folder, monkeypatch):
    written = checkpoint_module._write

    def full(path, body):
        if "step-000000004" in str(path) and path.name == "facts.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written(path, body)

    monkeypatch.setattr(checkpoint_module, "_write", full)
    with pytest.raises(CheckpointError, match=r"step-000000004: cannot be written \(No space left"):
        start(configured(folder))
    assert [path.name for path in (folder / "run" / "checkpoints").iterdir()] == ["step-000000003"]
    monkeypatch.undo()
    whole = start(configured(folder, name="whole"))
    assert lines(resume(folder / "run").folder) == lines(whole.folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_the_system_s_own_full_disk_is_one_line(tmp_path):
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    (tmp_path / "arrays").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint_module.write_checkpoint(tmp_path / "arrays" / "x", 1, {"w": np.ones(2)}, {})


def test_a_damaged_checkpoint_is_told_from_a_whole_one(folder):
    start(configured(folder))
    (saved,) = (folder / "run" / "checkpoints").iterdir()
    kept = folder / "kept"
    shutil.copytree(saved, kept)

    def spoiled(name, change):
        shutil.rmtree(saved)
        shutil.copytree(kept, saved)
        path = saved / name
        body = change(path.read_bytes())
        path.unlink() if body is None else path.write_bytes(body)
        with pytest.raises(CheckpointError) as caught:
            resume(folder / "run")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "damaged" in spoiled("arrays.safetensors", lambda body: body[:-1])
    assert "damaged" in spoiled("arrays.safetensors", lambda body: body[:-1] + bytes([body[-1] ^ 1]))
    assert "damaged" in spoiled("facts.json", lambda body: body.replace(b'"epoch": 5', b'"epoch": 1'))
    assert "cannot be read" in spoiled("facts.json", lambda body: None)
    assert "cannot be read" in spoiled("manifest.json", lambda body: None)
    assert "no JSON table" in spoiled("manifest.json", lambda body: body[: len(body) // 2])
    older = spoiled("manifest.json", lambda body: body.replace(b'"format": 1', b'"format": 0'))
    assert "is of the format '0'; this portagrad reads 1" in older
    escape = spoiled("manifest.json", lambda body: body.replace(b"facts.json", b"../../x"))
    assert "names other files" in escape


def test_a_reader_falls_back_to_the_checkpoint_before(tmp_path):
    first = checkpoint_module.write_checkpoint(tmp_path, 1, {"w": np.ones(2)}, {"n": 1})
    kept = tmp_path.parent / "first"
    shutil.copytree(first, kept)
    second = checkpoint_module.write_checkpoint(tmp_path, 2, {"w": np.zeros(2)}, {"n": 2})
    assert not first.exists()
    shutil.copytree(kept, first)
    (second / "facts.json").write_text("{}")
    assert newest_checkpoint(tmp_path).facts == {"n": 1}
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_folder_that_cannot_be_written_is_one_line(folder):
    blocked = folder / "run"
    blocked.mkdir()
    (blocked / "checkpoints").write_text("")  # a file where the folder should be; root may write anywhere
    (blocked / "config.toml").write_text((folder / "small.toml").read_text())
    shutil.copy(folder / "small.npz", blocked)
    with pytest.raises(CheckpointError, match="checkpoints"):
        resume(blocked)


def test_no_memory_left_names_the_batch_and_a_smaller_one(folder, monkeypatch):
    def full(*args):
        raise MemoryError("unable to allocate 3.1 GiB")

    monkeypatch.setattr(run_module, "make_step", lambda *args, **options: full)
    expected = r"16 examples of a batch of 16 at once; try train.slice_size = 8, .*3.1 GiB"
    with pytest.raises(OutOfMemoryError, match=expected):
        start(configured(folder))


def test_a_checkpoint_s_parts_must_be_those_of_the_configuration(tmp_path):
    tree = {"w": np.ones(2, dtype=np.float32), "n": 3}
    path = checkpoint_module.write_checkpoint(tmp_path, 1, tree, {})
    saved = read_checkpoint(path)
    where = pg.device("cpu")
    back = saved.restore(tree, where)
    assert np.array_equal(back["w"], tree["w"]) and back["n"] == 3
    with pytest.raises(CheckpointError, match="no part 'x'"):
        saved.restore({**tree, "x": np.ones(1)}, where)
    with pytest.raises(CheckpointError, match="the part 'n' belongs to another"):
        saved.restore({"w": tree["w"]}, where)
    with pytest.raises(CheckpointError, match=r"'w' is float32 \(2,\), of this run float32 \(3,\)"):
        saved.restore({**tree, "w": np.ones(3, dtype=np.float32)}, where)
    with pytest.raises(CheckpointError, match=r"'w' is float32 .*, of this run a number"):
        saved.restore({**tree, "w": 1}, where)
