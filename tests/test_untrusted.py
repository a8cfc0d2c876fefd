"""Files from strangers: whatever they hold, they are refused in one line or read, and that is all."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from portagrad.data import read_npz
from portagrad.errors import CheckpointError, ConfigError, DataError
from portagrad.train import load_config, load_weights, resume, save_weights, start
from portagrad.train.checkpoint import read_checkpoint, write_checkpoint
from portagrad.train.description import Description
from portagrad.train.schema import Fault, build

ROOT = Path(__file__).resolve().parent.parent
# Of each of five kinds, so 10,000 in all.
MUTANTS = 2000
PICKLES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


@pytest.mark.slow
def test_ten_thousand_mutants_are_refused_or_read(tmp_path):
    """In a process with a limit of memory and of time, watched for code run and files written."""
    command = [sys.executable, str(ROOT / "tests" / "untrusted_files.py"), str(tmp_path), "0", str(MUTANTS)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    errors = {
        "Models": "CheckpointError",
        "Checkpoints": "CheckpointError",
        "Configurations": "ConfigError",
        "Archives": "DataError",
        "Idx": "DataError",
    }
    assert [report["kind"] for report in reports] == list(errors)
    for report in reports:
        assert report["faults"] == [], report
        outcomes = report["outcomes"]
        assert set(outcomes) == {"loaded", errors[report["kind"]]}, report
        # Mutants that are all refused by the first check would test only that one.
        assert sum(outcomes.values()) == MUTANTS and outcomes["loaded"] >= MUTANTS // 50, report


def test_nothing_is_unpickled_or_evaluated():
    """By the sources: no module that runs what it reads, no ``allow_pickle`` but False."""
    wrong, files = [], [*(ROOT / "portagrad").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                allowed = isinstance(node.value, ast.Constant) and node.value.value is False
                names = [] if allowed else ["pickle"]
            for name in names:
                if name.partition(".")[0] in PICKLES:
                    wrong.append(f"{path}:{getattr(node, 'lineno', '?')}")
    assert len(files) > 100 and not wrong, wrong


# --- what the mutants found, each by itself ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"[{'a.' * 100_000}a]\n", "a key of a thousand parts"),
        (f"x = {{{'a . ' * 2000}a = 1}}\n", "a key of a thousand parts"),
        (f"""x = {{{"'a'." * 2000}a = 1}}\n""", "a key of a thousand parts"),
        (f"seed = {'9' * 5000}\n", "not TOML: Exceeds the limit"),
        (f"seed = {'[' * 100_000}\n", "cannot be read"),
        (f'[data]\npath = "{"x" * 5000}"\n', "no such file"),
        ('[data]\npath = "a\\nb"\n', "no such file"),
        (f'output = "{"x" * 5000}"\n[data]\npath = "d.npz"\n', "cannot be a folder"),
        ('output = "a\\u0000b"\n[data]\npath = "d.npz"\n', "is no name of a folder"),
        ('"a\\nb" = 1\n', r"'a\nb': no such key"),
        (f"{'x' * 5000} = 1\n", "no such key"),
    ],
)
def test_a_hostile_configuration_is_one_line(tmp_path, text, expected):
    (tmp_path / "c.toml").write_text(text)
    np.savez(tmp_path / "d.npz", x=np.eye(2), y=np.arange(2))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.toml")
    message = str(caught.value)
    assert expected in message and "\n" not in message and len(message) < 1000


def test_a_configuration_has_an_end(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 1\n" + "#" * (1 << 20))
    with pytest.raises(ConfigError, match="bytes are too many for a configuration"):
        load_config(path)


def test_dots_within_a_text_are_no_key(tmp_path):
    name = ".".join("abc" * 40)  # 119 dots
    np.savez(tmp_path / "d.npz", x=np.eye(4), y=np.arange(4) % 2)
    (tmp_path / "c.toml").write_text(f'[data]\npath = "d.npz"\nnames = ["a{"." * 150}", "/{name}"]\n')
    assert load_config(tmp_path / "c.toml").data.names == ("a" + "." * 150, f"/{name}")


def test_half_a_character_is_no_text():
    with pytest.raises(Fault, match=r"^classes\[1\]: '\\ud800' holds half of a character$"):
        build(Description, {"sizes": [1, 2], "classes": ["a", "\ud800"]})


def test_an_npy_header_that_does_not_parse_is_a_data_error(tmp_path):
    import zipfile

    for head in (b"{'descr': '<f4', " + b"(" * 3000 + b"\n", b"{'descr': '<f4', 'shape': (\n", b"\x00\n"):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
            for name in ("x.npy", "y.npy"):
                archive.writestr(name, b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
        with pytest.raises(DataError, match="its NPY header is damaged"):
            read_npz(tmp_path / "d.npz")


def test_a_member_of_an_unknown_kind_is_a_data_error_also_when_names_are_looked_for(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.eye(2), y=np.arange(2))
    body = bytearray((tmp_path / "d.npz").read_bytes())
    entry = body.rindex(b"PK\x01\x02")
    body[entry + 6 : entry + 8] = (243).to_bytes(2, "little")  # "version needed to extract" of its entry
    (tmp_path / "d.npz").write_bytes(bytes(body))
    with pytest.raises(DataError, match=r"not an NPZ file, or damaged \(zip file version 24\.3\)"):
        read_npz(tmp_path / "d.npz")


# --- where a run may write ---


SMALL = """
[data]
path = "small.npz"
[model]
hidden = [3]
[train]
epochs = 1
compile = false
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "small.npz", x=rng.random((40, 3)), y=np.arange(40) % 2)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def test_checkpoints_are_not_written_through_a_link(folder):
    run, outside = folder / "run", folder / "outside"
    start(load_config(folder / "small.toml", device="cpu", output=run))
    (saved,) = (run / "checkpoints").iterdir()
    (run / "checkpoints").rename(outside)
    (run / "checkpoints").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(
        CheckpointError, match=r"checkpoints: is a link; checkpoints are written in the run's own"
    ):
        resume(run, ["train.epochs=2"])
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert saved.name in {path.name for path in outside.iterdir()}


def test_a_run_that_goes_on_writes_in_its_own_folder_alone(folder):
    """Whatever its configuration names as output, and though its files be links to others."""
    run, victim = folder / "run", folder / "victim"
    start(load_config(folder / "small.toml", device="cpu", output=run))
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(f'output = "{folder}/elsewhere/../evil"\n{config}')
    victim.write_text("mine")
    names = ("metrics.jsonl", "model.safetensors", "summary.json", "confusion.json", "curves.png")
    for name in names:
        (run / name).unlink()
        (run / name).symlink_to(victim)
    resume(run, ["train.epochs=2"])
    assert victim.read_text() == "mine"
    assert not any((run / name).is_symlink() for name in names)
    assert sorted(path.name for path in folder.iterdir()) == ["run", "small.npz", "small.toml", "victim"]


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 3},
        {"records": []},
        {"records": [5]},
        {"records": [{"epoch": 2}]},
        {"records": [{"epoch": 1, "train_loss": "x"}]},
        {"records": [{"epoch": 1, "norms": 5}]},
        {"records": [{"epoch": 1, "norms": {"weights": {"layers.0.weight": "x"}}}]},
        {"batch": 1},
        {"best_epoch": 7},
        {"seen": 10**30},
    ],
)
def test_facts_that_contradict_each_other_are_refused(folder, change):
    """Under a right checksum, which a stranger can make as well."""
    run = folder / "run"
    start(load_config(folder / "small.toml", device="cpu", output=run))
    (saved,) = (run / "checkpoints").iterdir()
    whole = read_checkpoint(saved)
    tree = {**whole.arrays, **whole.numbers}
    write_checkpoint(run / "checkpoints", 1000, tree, {**whole.facts, **change})
    with pytest.raises(
        CheckpointError, match=r"step-000001000: its (\w+ is not what a run writes|epoch, batch)"
    ):
        resume(run)


def test_a_name_in_a_file_of_weights_is_no_path(tmp_path):
    save_weights(tmp_path / "w", {"../../x": np.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert load_weights(tmp_path / "w", {"../../x": np.zeros(1)})["../../x"] == 1
