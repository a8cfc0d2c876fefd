"""The commands around a run: init, lr-find, predict and export."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from portagrad import cli, random
from portagrad.errors import DataError
from portagrad.train import DataConfig, load_config, load_model
from portagrad.train.prepare import prepare

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
        (["images.npy", "--labels", "x"], "only CSV, NPZ and Parquet files hold labels"),
        (["none.csv"], "none.csv"),
    ):
        code, _, err = run("predict", trained / "run", trained / args[0], *args[1:])
        assert code == 2 and message in err and err.count("\n") == 1
    code, _, err = run("predict", trained / "small.npz", trained / "images.npy")
    assert code == 2 and "not a whole safetensors file" in err


def test_columns_are_found_by_the_names_that_the_model_was_trained_on(fitted, tmp_path):
    lines = [line.split(",") for line in (fitted / "table.csv").read_text().splitlines()]
    swapped = "\n".join(",".join(row[i] for i in (4, 2, 0, 3, 1)) for row in lines)
    by_name = ["--labels", "rent", "--labels", "warmth"]
    expected = run("predict", fitted / "run", fitted / "table.csv", *by_name)
    assert run("predict", fitted / "run", "-", *by_name, input=swapped) == expected
    code, out, err = run("predict", fitted / "run", "-", *by_name, input=swapped.replace(",b,", ",bb,", 1))
    assert (code, out) == (
        2,
        "",
    ) and "no column 'b', which the model was trained on; the nearest" in err
    columns = dict(zip(lines[0], zip(*(map(float, row) for row in lines[1:]), strict=True), strict=True))
    order = ["warmth", "c", "b", "a", "rent"]
    pq.write_table(
        pa.table({name: columns[name] for name in order}), tmp_path / "t.parquet", row_group_size=40
    )
    assert run("predict", fitted / "run", tmp_path / "t.parquet", *by_name) == expected
    pq.write_table(pa.table({name: columns[name] for name in "abc"}), tmp_path / "t.parquet")
    code, out, err = run("predict", fitted / "run", tmp_path / "t.parquet")
    assert (code, err) == (0, "") and out == expected[1]
    pq.write_table(pa.table({name: columns[name] for name in "ab"}), tmp_path / "t.parquet")
    code, out, err = run("predict", fitted / "run", tmp_path / "t.parquet")
    assert (code, out) == (2, "") and "t.parquet: column 'c': no such column" in err
    # Names of a file of the test's own are compared too, and its columns put in order.
    (tmp_path / "x.csv").write_text("a,b,kind\n" + "".join(f"{i},{-i},{i % 2}\n" for i in range(20)))
    (tmp_path / "t.csv").write_text("b,kind,a\n-1,1,1\n-2,0,2\n")
    config = DataConfig(
        path=tmp_path / "x.csv", labels="kind", test_path=tmp_path / "t.csv", standardize="none"
    )
    test = prepare(config, random.key(0)).test
    assert test.inputs.tolist() == [[1, -1], [2, -2]] and test.targets.tolist() == [1, 0]
    (tmp_path / "t.csv").write_text("c,kind,a\n-1,1,1\n-2,0,2\n")
    with pytest.raises(
        DataError, match=r"t\.csv: the column 'b' is not in both, the training and the test file"
    ):
        prepare(config, random.key(0))


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


# --- a regression ---


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with the run of a regression of two targets, and its data as CSV, gzipped CSV, NPZ and NPY."""
    folder = tmp_path_factory.mktemp("regression")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 3))
    y = np.stack([100 * x[:, 0] + 5e3, x[:, 1] * x[:, 2]], axis=1)
    np.savez(folder / "table.npz", x=x, y=y)
    np.save(folder / "x.npy", x)
    table = np.column_stack([x[:, :1], y[:, :1], x[:, 1:], y[:, 1:]])
    np.savetxt(folder / "table.csv", table, "%.17g", ",", header="a,rent,b,c,warmth", comments="")
    (folder / "packed.csv.gz").write_bytes(gzip.compress((folder / "table.csv").read_bytes()))
    code, out, err = run("init", folder / "run.toml", "--data", folder / "table.csv", "--task", "regression")
    assert code == 0, err
    settings = [
        'data.targets=["rent", "warmth"]',
        "train.epochs=4",
        "train.figures=false",
        "optimizer.lr=0.01",
    ]
    sets = [word for setting in settings for word in ("--set", setting)]
    code, out, err = run("train", folder / "run.toml", *sets, "--output", folder / "run", "--no-compile")
    assert code == 0, err
    assert "105 training, 15 validation, 30 test examples of 3 features to predict rent, warmth" in out
    return folder


def test_predictions_of_a_regression_are_in_its_targets_units_and_compared_with_them(fitted):
    x, y = np.load(fitted / "table.npz").values()
    expected = load_model(fitted / "run").predict(x).values
    errors = expected - y
    r2 = 1 - (errors**2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    line = f"r2 {r2.mean():.4g}, mse {(errors**2).mean():.4g}, mae {np.abs(errors).mean():.4g} (of 150)\n"
    by_name = ["--labels", "rent", "--labels", "warmth"]
    for name, more, told in (
        ("x.npy", [], ""),
        ("table.npz", ["--labels", "y"], line),
        ("table.csv", by_name, line),
        ("packed.csv.gz", ["--labels", "1", "--labels", "-1"], line),
    ):
        code, out, err = run("predict", fitted / "run", fitted / name, *more)
        assert (code, err) == (0, told)
        found = np.asarray([[float(row["rent"]), float(row["warmth"])] for row in rows(out)])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    code, out, err = run("predict", fitted / "run", "-", *by_name, input=(fitted / "table.csv").read_text())
    assert (code, err) == (0, line)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["table.csv"], "table.csv: 5 numbers a row, but the model takes 3; name the columns of answers"),
        (["table.csv", "--labels", "rent"], "1 columns of answers; the model has 2 outputs"),
        (["table.csv", "--labels", "rent", "--labels", "warmt"], "the nearest is 'warmth'"),
        (["table.npz", "--labels", "x"], 'array "x": 3 answers per row; the model has 2 outputs'),
        (["table.npz", "--labels", "x", "--labels", "y"], "the labels are one array, not x, y"),
        (["x.npy", "--probabilities"], "--probabilities: the model is a regression, which has none"),
    ],
)
def test_what_does_not_fit_a_regression_is_one_line(fitted, more, message):
    code, _, err = run("predict", fitted / "run", fitted / more[0], *more[1:])
    assert code == 2 and message in err and err.count("\n") == 1


def test_the_export_of_a_regression_agrees_with_onnxruntime(fitted, tmp_path):
    code, _, err = run("export", fitted / "run", "-o", tmp_path / "m.onnx")
    assert (code, err) == (0, "")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    x = np.load(fitted / "x.npy")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    np.testing.assert_allclose(found, load_model(fitted / "run").predict(x).values, rtol=1e-5, atol=1e-5)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["targets"]) == ["rent", "warmth"] and properties["task"] == "regression"


def test_a_regression_is_shown_and_compared(fitted):
    summary = json.loads((fitted / "run" / "summary.json").read_text())
    code, out, _ = run("show", fitted / "run")
    assert (
        code == 0
        and f"{summary['test_r2']:.4g}" in out
        and f"mae {summary['test_mae']:.4g}" in " ".join(out.split())
    )
    code, out, _ = run("compare", fitted / "run", fitted / "run")
    assert code == 0 and "test mse" in out and "validation r2" in out


def test_init_knows_the_tasks(fitted, tmp_path):
    text = (fitted / "run.toml").read_text()
    assert 'task = "regression"' in text and "# 150 examples of 4 features; targets: warmth from " in text
    code, _, err = run("init", tmp_path / "run.toml", "--task", "regresion")
    assert code == 2 and 'the nearest is "regression"' in err and not list(tmp_path.iterdir())


def test_init_writes_what_train_runs_and_never_overwrites(trained, tmp_path):
    path = tmp_path / "run.toml"
    assert run("init", path, "--data", trained / "small.npz")[0] == 0
    assert load_config(path).data.path.resolve() == (trained / "small.npz").resolve()
    before = path.read_bytes()
    code, _, err = run("init", path)
    assert code == 2 and "--force" in err and path.read_bytes() == before
    assert run("init", path, "--force")[0] == 0 and path.read_bytes() != before


def test_lr_find_suggests_a_rate_and_writes_its_sweep(trained, tmp_path):
    sweep, plots = tmp_path / "sweep.json", [tmp_path / "sweep.png", tmp_path / "sweep.svg"]
    asked = ["--steps", 40, "--output", sweep, "--plot", plots[0]]
    code, out, err = run("lr-find", trained / "small.toml", *asked)
    assert code == 0, err
    assert plots[0].read_bytes().startswith(b"\x89PNG")
    table = json.loads(sweep.read_text())
    rate = float(out.removeprefix("optimizer.lr = "))
    assert rate == pytest.approx(table["suggestion"], rel=0.05) and 1e-5 < rate < 1
    assert len(table["rates"]) == len(table["losses"]) <= 40
    code, _, err = run("lr-find", trained / "small.toml", "--low", 1, "--high", 0.5)
    assert code == 2 and "--low" in err
    code, _, err = run("lr-find", trained / "small.toml", "--plot", tmp_path / "sweep.pdf")
    assert code == 2 and "sweep.pdf ends neither in .png nor in .svg" in err
    assert not os.path.exists("runs")
