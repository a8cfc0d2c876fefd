"""The commands around a run: init, lr-find, predict and export."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from portagrad import cli
from portagrad.train import load_config, load_model

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from portagrad.cli import main; main()"]


def run(*args, **options):
    result = CliRunner().invoke(cli.make_app(), [str(arg) for arg in args], **options)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run, and its data as NPZ, CSV with and without names, and NPY."""
    folder = tmp_path_factory.mktemp("tools")
    digits = np.load(ROOT / "examples/data/digits.npz")
    images, labels = digits["images"][:240].reshape(240, -1), digits["labels"][:240]
    np.savez(folder / "small.npz", images=images, labels=labels)
    np.save(folder / "images.npy", images)
    np.savetxt(folder / "bare.csv", images, delimiter=",", fmt="%g")
    table = np.column_stack([labels, images])
    header = ",".join(["digit", *(f"p{i}" for i in range(64))])
    np.savetxt(folder / "named.csv", table, delimiter=",", fmt="%g", header=header, comments="")
    (folder / "small.toml").write_text(
        '[data]\npath = "small.npz"\n[model]\nhidden = [16]\n[optimizer]\nlr = 0.01\n'
        "[train]\nepochs = 4\nfigures = false\n"
    )
    code, _, err = run("train", folder / "small.toml", "--output", folder / "run", "--no-compile")
    assert code == 0, err
    return folder


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_form_of_data_gives_the_same_predictions(trained):
    expected = load_model(trained / "run").predict(np.load(trained / "images.npy"))
    for name, more in (
        *(("images.npy", []), ("small.npz", []), ("small.npz", ["--labels", "labels"]), ("bare.csv", [])),
        *(("named.csv", ["--labels", "digit"]), ("named.csv", ["--labels", "0"])),
    ):
        code, out, err = run("predict", trained / "run", trained / name, *more)
        assert code == 0, err
        found = rows(out)
        assert [int(row["row"]) for row in found] == list(range(240))
        assert [int(row["class"]) for row in found] == expected.values.tolist()
        if more:
            right = int((expected.values == np.load(trained / "small.npz")["labels"]).sum())
            assert err == f"accuracy {right / 240:.2%} ({right} of 240)\n"


def test_probabilities_have_a_column_per_class_and_a_file_is_written_whole(trained, tmp_path):
    out = tmp_path / "out.csv"
    code, text, _ = run(
        "predict",
        trained / "run/best.safetensors",
        trained / "images.npy",
        "--probabilities",
        "--output",
        out,
    )
    assert (code, text) == (0, "")
    table = rows(out.read_text())
    shares = np.asarray([[float(row[str(k)]) for k in range(10)] for row in table])
    expected = load_model(trained / "run/best.safetensors").predict(np.load(trained / "images.npy"))
    assert np.array_equal(shares, expected.probabilities)
    code, _, err = run("predict", trained / "run", trained / "images.npy", "--output", tmp_path / "no/x.csv")
    assert code == 2 and "no folder" in err and list(tmp_path.iterdir()) == [out]


def test_standard_input_is_read_as_it_comes_and_a_reader_may_leave(trained):
    text = (trained / "bare.csv").read_text()
    code, out, _ = run("predict", trained / "run", "-", input=text)
    assert code == 0 and len(rows(out)) == 240
    process = subprocess.Popen(
        [*COMMAND, "predict", trained / "run", "-"], stdin=subprocess.PIPE, stdout=-1, stderr=-1, text=True
    )
    process.stdout.close()
    with pytest.raises(BrokenPipeError):
        for _ in range(2000):
            process.stdin.write(text)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n", "standard input: 3 numbers a row, but the model takes 64; name the columns of answers"),
        ("", "standard input: no rows"),
        (
            ",".join(["1"] * 64) + "\n" + ",".join(["1"] * 63 + [""]) + "\n",
            "line 2, column 63: the field is empty",
        ),
        (
            ",".join(["1"] * 64) + "\n" + ",".join(["x"] + ["1"] * 63) + "\n",
            "line 2, column 0: 'x' is not a number",
        ),
        (",".join(["1"] * 64) + "\n" + ",".join(["nan"] + ["1"] * 63) + "\n", "line 2, column 0: nan is not"),
        (",".join(["1"] * 64) + "\n1,2\n", "line 2: 2 values, but line 1 has 64"),
    ],
)
def test_wrong_rows_are_one_line_with_line_and_column(trained, text, message):
    code, _, err = run("predict", trained / "run", "-", input=text)
    assert code == 2 and message in err and err.count("\n") == 1


def test_wrong_names_are_one_line_with_the_nearest(trained):
    for args, message in (
        (["named.csv", "--labels", "digits"], "the nearest is 'digit'"),
        (["small.npz", "--labels", "label"], "the nearest is 'labels'"),
        (["images.npy", "--labels", "x"], "only CSV and NPZ files hold labels"),
        (["none.csv"], "none.csv"),
    ):
        code, _, err = run("predict", trained / "run", trained / args[0], *args[1:])
        assert code == 2 and message in err and err.count("\n") == 1
    code, _, err = run("predict", trained / "small.npz", trained / "images.npy")
    assert code == 2 and "not a whole safetensors file" in err


def test_export_agrees_with_onnxruntime(trained, tmp_path):
    code, out, err = run("export", trained / "run", "-o", tmp_path / "m.onnx")
    assert (code, err) == (0, "") and out == f"{tmp_path / 'm.onnx'}\n"
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    images = np.load(trained / "images.npy")
    kind = np.float32 if "float" in session.get_inputs()[0].type else np.float64
    results = session.run(None, {session.get_inputs()[0].name: images.astype(kind)})
    expected = load_model(trained / "run").predict(images).probabilities
    (shares,) = [array for array in results if array.shape == expected.shape]
    assert np.abs(shares - expected).max() < 1e-5


def test_init_writes_what_train_runs_and_never_overwrites(trained, tmp_path):
    path = tmp_path / "run.toml"
    assert run("init", path, "--data", trained / "small.npz")[0] == 0
    assert load_config(path).data.path.resolve() == (trained / "small.npz").resolve()
    before = path.read_bytes()
    code, _, err = run("init", path)
    assert code == 2 and "--force" in err and path.read_bytes() == before
    assert run("init", path, "--force")[0] == 0 and path.read_bytes() != before


def test_lr_find_suggests_a_rate_and_writes_its_sweep(trained, tmp_path):
    sweep = tmp_path / "sweep.json"
    code, out, err = run("lr-find", trained / "small.toml", "--steps", 40, "--output", sweep)
    assert code == 0, err
    table = json.loads(sweep.read_text())
    rate = float(out.removeprefix("optimizer.lr = "))
    assert rate == pytest.approx(table["suggestion"], rel=0.05) and 1e-5 < rate < 1
    assert len(table["rates"]) == len(table["losses"]) <= 40
    code, _, err = run("lr-find", trained / "small.toml", "--low", 1, "--high", 0.5)
    assert code == 2 and "--low" in err
    assert not os.path.exists("runs")
