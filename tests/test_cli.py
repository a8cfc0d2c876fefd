"""The command line: what it prints, and the code it exits with."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import portagrad as pg
from portagrad import cli
from portagrad.testing.checkup import CheckRow

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from portagrad.cli import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a small data set and its configuration."""
    digits = np.load(ROOT / "examples/data/digits.npz")
    np.savez(tmp_path / "small.npz", images=digits["images"][:240], labels=digits["labels"][:240])
    (tmp_path / "small.toml").write_text(
        '[data]\npath = "small.npz"\nstandardize = "whole"\n'
        "[model]\nhidden = [16]\n[optimizer]\nlr = 0.01\n[train]\nepochs = 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORTAGRAD_DEVICE", raising=False)
    return tmp_path


def run(*args):
    """The command in this process: its exit code, standard output and standard error."""
    result = CliRunner().invoke(cli.make_app(), args)
    return result.exit_code, result.stdout, result.stderr


def run_apart(*args, **options):
    """The command in a process of its own."""
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=ENVIRONMENT, **options)
    return done.returncode, done.stdout, done.stderr


# --- train ---


def test_train_prints_an_epoch_a_line_and_the_test_accuracy(folder):
    code, out, err = run("train", "small.toml")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "168 training, 24 validation, 48 test examples of 64 features in 10 classes; 1210 weights on cpu"
    )
    assert [line.split("  ")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert re.fullmatch(r"test accuracy \d+\.\d\d% \(\d+ of 48\), loss \d\.\d{4}", lines[3])
    assert lines[4] == (
        "runs/small-1: best.safetensors, checkpoints, config.toml, confusion.json, confusion.png, "
        "curves.png, environment.json, metrics.jsonl, model.safetensors, report.html, summary.json"
    )
    assert run("train", "small.toml")[1].splitlines()[4].startswith("runs/small-2: ")


def test_train_takes_settings_the_device_and_the_folder(folder):
    args = ["--set", "train.epochs=1", "--set", "optimizer.name=sgd", "--output", "here"]
    code, out, _ = run("train", "small.toml", "--device", "strict:device1", *args)
    assert code == 0
    assert "1210 weights on strict:device1" in out and "epoch 1/1" in out
    text = (folder / "here" / "config.toml").read_text()
    assert 'name = "sgd"' in text and 'device = "strict:device1"' in text


def test_the_device_may_come_from_the_environment(folder, monkeypatch):
    monkeypatch.setenv("PORTAGRAD_DEVICE", "strict:device2")
    assert "1210 weights on strict:device2" in run("train", "small.toml", "--set", "train.epochs=1")[1]
    code, out, _ = run("train", "small.toml", "--set", "train.epochs=1", "--device", "cpu")
    assert code == 0 and "1210 weights on cpu" in out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["smal.toml"], "smal.toml: no such file; the nearest in that folder is small.toml"),
        (
            ["small.toml", "--set", "optimizer.lrr=1"],
            "--set optimizer.lrr=1: no such key; the nearest is optimizer.lr",
        ),
        (
            ["small.toml", "--set", "train.epochs=many"],
            '--set train.epochs=many: expected a whole number, got the string "many"',
        ),
        (
            ["small.toml", "--set", "data.path=smal.npz"],
            "--set data.path=smal.npz: smal.npz: no such file; the nearest in that folder is small.npz",
        ),
        (
            ["small.toml", "--set", "data.classes=7"],
            'small.npz, array "labels", row 7: the label 7 is out of range for 7 classes (0 to 6)',
        ),
        (
            ["small.toml", "--output", "."],
            "--output: the folder . is not empty; name a fresh one, or leave output out for a numbered "
            "folder under runs",
        ),
        (
            ["small.toml", "--set", "data.path=small.toml"],
            "small.toml, line 1: one column only; a row is its inputs and a label",
        ),
    ],
)
def test_wrong_input_is_one_line_and_code_2(folder, args, expected):
    assert run("train", *args) == (2, "", f"portagrad: {expected}\n")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,2,0\n3,4\n", "bad.csv, line 2: 2 values, but line 1 has 3"),
        ("1,2,0\n3,nan,1\n", "bad.csv, line 2, column 1: nan is not finite; every input must be"),
        ("1,2,0\n3,4,-1\n", "bad.csv, line 2, column 2: the label -1 is out of range for 1 classes (0 to 0)"),
    ],
)
def test_a_bad_table_is_one_line_and_code_2(folder, content, expected):
    (folder / "bad.csv").write_text(content)
    (folder / "bad.toml").write_text('[data]\npath = "bad.csv"\n')
    assert run("train", "bad.toml") == (2, "", f"portagrad: {expected}\n")


def test_an_unknown_device_is_one_line_and_code_2(folder):
    code, out, err = run("train", "small.toml", "--device", "cpuu")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"portagrad: no device is called 'cpuu'; did you mean 'cpu'\?; names are .*\n", err)


def test_a_nan_is_one_line_and_code_1(folder):
    code, _, err = run_apart(
        "train", "small.toml", "--set", "optimizer.name=sgd", "--set", "optimizer.lr=1e38"
    )
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(
        "portagrad: the loss or a weight is no longer finite at step 2 (epoch 1): linear made "
    )
    assert sorted(os.listdir("runs/small-1")) == [
        *("checkpoints", "config.toml", "environment.json", "metrics.jsonl", "report.html")
    ]


def test_a_folder_that_cannot_be_made_is_one_line(folder):
    (folder / "runs").write_text("in the way")
    assert run("train", "small.toml") == (
        2,
        "",
        "portagrad: output: the folder runs cannot be made (Not a directory)\n",
    )


def test_debug_shows_the_traceback(folder):
    code, _, err = run_apart("train", "smal.toml", "--debug")
    assert code == 1 and err.startswith("Traceback") and "ConfigError: smal.toml: no such file" in err


def test_ctrl_c_exits_with_130_and_keeps_what_is_written(folder):
    process = subprocess.Popen(
        [*COMMAND, "train", "small.toml", "--set", "train.epochs=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    for line in process.stdout:
        if line.startswith("epoch      3/"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "portagrad: interrupted\n")
    assert len((folder / "runs/small-1/metrics.jsonl").read_text().splitlines()) >= 3


def test_a_terminal_gets_a_bar(folder):
    pty = pytest.importorskip("pty", reason="a pseudo-terminal is POSIX's")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", "small.toml"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    last = [line for line in re.split(r"[\r\n]+", text) if line.startswith("epoch 2/2")][-1]
    assert "━" in last
    assert re.search(
        r"loss \d\.\d{4}  accuracy \d+\.\d\d%  validation loss \d\.\d{4}  accuracy \d+\.\d\d%", last
    )


# --- devices, check, version ---


def test_devices_tells_every_backend_and_where_the_setting_came_from(folder, monkeypatch):
    code, out, err = run("devices")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert re.fullmatch(rf"numpy \* +{re.escape(np.__version__)} +cpu +yes", rows["numpy"])
    assert re.search(r"strict:device1, strict:device2 +yes$", rows["strict"])
    if "cuda" not in " ".join(map(str, pg.devices())):
        assert "no: " in rows["cupy"] and "pip install 'portagrad[cuda12]'" in rows["cupy"]
    assert out.splitlines()[-1] == "device = cpu (the default)"
    monkeypatch.setenv("PORTAGRAD_DEVICE", "strict")
    assert run("devices")[1].splitlines()[-2:] == [
        "device = strict (the variable PORTAGRAD_DEVICE)",
        "  overrides device = cpu (the default)",
    ]


def test_check_prints_a_row_for_each_device_and_function(folder):
    code, out, err = run("check", "--devices", "cpu,strict:device1")
    assert (code, err) == (0, "")
    assert re.search(r"^cpu +network +ok +0\.0e\+00$", out, re.MULTILINE)
    assert re.search(r"^strict:device1 +products, second order +ok ", out, re.MULTILINE)
    count = out.count(" ok ")
    assert out.splitlines()[-1] == f"{count} of {count} checks passed"


def test_a_failed_check_is_code_1(folder, monkeypatch):
    rows = [
        CheckRow("cpu", "network", "ok", 0.0, ""),
        CheckRow("cpu", "products", "failed", float("nan"), "ValueError: no"),
    ]
    monkeypatch.setattr("portagrad.testing.check_devices", lambda devices: rows)
    code, out, _ = run("check")
    assert code == 1
    assert re.search(r"^cpu +products +failed +- +ValueError: no$", out, re.MULTILINE)
    assert out.splitlines()[-1] == "1 of 2 checks passed"


def test_check_of_an_unknown_device_is_code_2(folder):
    code, out, err = run("check", "--devices", "nowhere")
    assert (code, out) == (2, "") and err.startswith("portagrad: no device is called 'nowhere'")


def test_version():
    assert run("--version") == (0, f"portagrad {pg.__version__}\n", "")


def test_help_names_the_commands():
    code, out, _ = run("--help")
    assert code == 0 and all(command in out for command in ("train", "devices", "check"))


def test_a_misspelt_option_is_code_2(folder):
    code, _, err = run("train", "small.toml", "--devise", "cpu")
    assert code == 2 and "--devise" in err and "Traceback" not in err


@pytest.mark.parametrize("name", cli.EXTRA)
def test_without_the_extra_one_line_says_what_to_install(folder, name):
    """The library is made unfindable, in a process of its own."""
    block = (
        "import importlib.util as u; find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {name!r} else find(name, *rest)\n"
        "from portagrad.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", block, "devices"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"portagrad: the command line needs {name}, not installed here: pip install 'portagrad[train]'\n"
    )


def test_the_command_starts_without_loading_an_array_library_but_numpy(folder):
    code = (
        "import sys; from portagrad.cli import make_app; make_app(); import portagrad.train\n"
        "heavy = ('torch', 'jax', 'dask', 'cupy', 'array_api_strict', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.stdout, done.stderr) == ("[]\n", "")
