"""What a run learns: regressions, weighted and smoothed classes, and what is measured of them."""

import dataclasses
import json
import re
from pathlib import Path

import cuda_on_host
import numpy as np
import pytest
from sklearn import metrics as theirs
from sklearn.linear_model import LinearRegression

import portagrad as pg
from portagrad import nn, optim, random
from portagrad.data import Standardization
from portagrad.errors import ConfigError, DataError
from portagrad.train import (
    Config,
    DataConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    PlainProgress,
    load_config,
    load_model,
    resume,
    start,
)
from portagrad.train.feed import on_host
from portagrad.train.prepare import prepare
from portagrad.train.step import Step
from portagrad.train.task import Classification, Regression

NAMES = ("rent", "warmth")


@pytest.fixture
def table(tmp_path):
    """240 examples of 4 features and two targets in units far apart, linear but for noise."""
    rng = np.random.default_rng(0)
    x = rng.normal([3, 0, -2, 50], [1, 5, 0.1, 20], (240, 4))
    slopes = np.asarray([[1e3, 0.01], [-200, 0], [0, 0.3], [10, -1e-3]])
    y = x @ slopes + [5e4, -1] + rng.normal(size=(240, 2)) * [100, 0.01]
    np.savez(tmp_path / "table.npz", x=x, y=y, kind=(y[:, 0] > np.quantile(y[:, 0], 0.9)).astype(int))
    return Config(
        data=DataConfig(path=tmp_path / "table.npz", task="regression", names=NAMES),
        model=ModelConfig(hidden=(8,), activation="tanh"),
        train=LoopConfig(epochs=4, batch_size=32, compile=False, figures=False),
        optimizer=OptimizerConfig(lr=0.02),
        device="cpu",
        output=tmp_path / "run",
    )


def changed(config, **sections):
    """The configuration with some keys of some sections replaced."""
    values = {
        name: dataclasses.replace(getattr(config, name), **keys) if isinstance(keys, dict) else keys
        for name, keys in sections.items()
    }
    return dataclasses.replace(config, **values)


def classes(config, **keys):
    """The same inputs with two classes, the second rare."""
    data = {"task": "classification", "labels": "kind", "inputs": "x", "names": None, **keys}
    return changed(config, data=data)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def parts(config):
    """Inputs and targets of the training and the test part, in their own units."""
    prepared = prepare(config.data, random.split(random.key(config.seed), 4)[0], "float64")
    return [
        (prepared.standardization.undo(part.inputs), prepared.targets.undo(part.targets))
        for part in (prepared.train, prepared.test)
    ]


# --- regression ---


def test_a_regression_without_hidden_layers_is_least_squares(table):
    config = changed(
        table,
        data={"validation_fraction": 0.0},
        model={"hidden": ()},
        optimizer={"name": "sgd", "lr": 0.3},
        train={"epochs": 300, "batch_size": 1000, "dtype": "float64"},
    )
    result = start(config)
    (x, y), (x_test, y_test) = parts(config)
    expected = LinearRegression().fit(x, y).predict(x_test)
    found = load_model(result.folder).predict(x_test).values
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    summary = result.summary
    measures = {
        "mse": theirs.mean_squared_error(y_test, found),
        "mae": theirs.mean_absolute_error(y_test, found),
        "r2": theirs.r2_score(y_test, found),
    }
    assert {name: summary["measures"][name] for name in measures} == pytest.approx(measures, rel=1e-9)
    assert {name: summary[f"test_{name}"] for name in measures} == pytest.approx(measures, rel=1e-9)
    assert result.test_r2 == summary["test_r2"] > 0.95 and result.confusion is None
    # The score that is summed batch by batch is R2 of the training examples.
    fitted = theirs.r2_score(y, LinearRegression().fit(x, y).predict(x))
    assert summary["train_r2"] == pytest.approx(fitted, rel=1e-9)
    assert str(result).startswith(f"test r2 {measures['r2']:.4g}, mse {measures['mse']:.4g}, mae ")


@pytest.mark.parametrize("loss", ["mse", "huber", "mae"])
def test_every_loss_of_a_regression_learns_and_leaves_its_files(table, loss):
    result = start(changed(table, model={"loss": loss}, train={"epochs": 8, "figures": loss == "huber"}))
    *epochs, test = lines(result.folder)
    assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"] and result.test_r2 > 0.6
    assert list(test) == ["test_loss", "test_r2", "test_mse", "test_mae"]
    names = {path.name for path in result.folder.iterdir()}
    assert names >= {"predictions.json", "best.safetensors"} and "confusion.json" not in names
    assert {"predictions.png", "curves.png", "report.html"} <= names or loss != "huber"
    told = json.loads((result.folder / "predictions.json").read_text())
    _, (x, y) = parts(table)
    np.testing.assert_allclose(told["targets"], y, rtol=1e-6)
    trained = load_model(result.folder, device="cpu")
    np.testing.assert_allclose(told["values"], trained.predict(x).values, rtol=1e-3)
    assert (told["names"], told["examples"]) == (list(NAMES), 48)
    assert trained.description.targets == NAMES and trained.description.task == "regression"
    (train, y_train), _ = parts(table)
    np.testing.assert_allclose(trained.targets.mean, y_train.mean(axis=0))
    np.testing.assert_allclose(trained.inputs.mean, train.mean(axis=0), atol=1e-12)


def test_outliers_pull_less_on_huber_than_on_squares(table):
    """A twentieth of the targets is off by a hundred deviations; the slopes of the others are learned."""
    path = table.data.path
    held = dict(np.load(path))
    held["y"][::20, 1] += 40.0
    np.savez(path, **held)
    errors = {}
    for loss in ("mse", "huber"):
        delta = {"huber_delta": 0.05} if loss == "huber" else {}
        config = changed(
            table,
            data={"names": ("warmth",), "targets": "warmth", "inputs": "x"},
            model={"loss": loss, "hidden": (), **delta},
            train={"epochs": 60},
            output=path.parent / loss,
        )
        np.savez(path, **held, warmth=held["y"][:, 1])
        trained = load_model(start(config).folder, device="cpu")
        clean = np.arange(240) % 20 != 0
        found = trained.predict(held["x"]).values[clean, 0]
        errors[loss] = np.median(np.abs(found - held["y"][clean, 1]))
    assert errors["huber"] < 0.2 * errors["mse"]


def test_a_regression_is_the_same_on_every_device_compiled_and_not(table, xp_device):
    expected = start(changed(table, train={"epochs": 2}))
    there = changed(
        table,
        train={"epochs": 2, "compile": True},
        device=str(xp_device),
        output=table.output.parent / "there",
    )
    found = start(there)
    for ours, theirs_ in zip(lines(expected.folder), lines(found.folder), strict=True):
        keys = [key for key in ours if key.endswith(("loss", "r2", "mse", "mae"))]
        assert {key: theirs_[key] for key in keys} == pytest.approx(
            {key: ours[key] for key in keys}, rel=1e-3
        )


def test_a_regression_that_is_stopped_goes_on_bit_for_bit(table, monkeypatch):
    whole = start(changed(table, train={"checkpoint_steps": 1}, output=table.output.parent / "whole"))

    class Stops(PlainProgress):
        steps = 0

        def advance(self, steps):
            self.steps += steps
            if self.steps == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(changed(table, train={"checkpoint_steps": 1}), progress=Stops())
    found = resume(table.output)
    for name in ("model.safetensors", "best.safetensors", "predictions.json"):
        assert (found.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    timeless = [[{**line, "seconds": 0} for line in lines(run.folder)] for run in (found, whole)]
    assert timeless[0] == timeless[1]


def test_a_test_file_needs_the_targets_of_the_training_file(table, tmp_path):
    held = np.load(table.data.path)
    np.savez(tmp_path / "test.npz", x=held["x"][:20], y=held["y"][:20, 0])
    data = dataclasses.replace(table.data, test_path=tmp_path / "test.npz", names=None)
    with pytest.raises(DataError, match=r"test\.npz: 1 targets per example, but .*table\.npz has 2"):
        prepare(data, random.key(0))
    np.savez(tmp_path / "test.npz", x=held["x"][:20], y=held["y"][:20] * [1, np.nan])
    with pytest.raises(
        DataError, match=r'test\.npz, array "y", row 0, column 1 is nan; every target must be'
    ):
        prepare(data, random.key(0))
    np.savez(tmp_path / "test.npz", x=held["x"][:20], y=held["y"][:20])
    np.savez(tmp_path / "huge.npz", x=held["x"], y=held["y"] * [1, 1e200])
    with pytest.raises(DataError, match=r"'warmth' is too large for its deviation to be a number"):
        prepare(dataclasses.replace(table.data, path=tmp_path / "huge.npz"), random.key(0))
    prepared = prepare(data, random.key(0), "float64")
    np.testing.assert_allclose(prepared.targets.undo(prepared.test.targets), held["y"][:20])
    assert (len(prepared.train), len(prepared.test)) == (216, 20)


def test_the_example_explains_what_is_no_noise(tmp_path):
    """Friedman's benchmark: a straight line reaches R2 = 0.72, the noise leaves 0.96 (examples/data)."""
    text = (Path("examples/data/README.md")).read_text().partition("## friedman.csv")[2]
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(source.replace("friedman.csv", f"{tmp_path}/again.csv"), {})
    assert (tmp_path / "again.csv").read_bytes() == Path("examples/data/friedman.csv").read_bytes()
    settings = ["train.compile=false", "train.figures=false"]
    config = load_config("examples/friedman.toml", settings, device="cpu", output=tmp_path / "run")
    assert 0.9 < start(config).test_r2 < 0.97


# --- classes that weigh, labels that are smoothed ---


def drawn(where, rows=10):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 4))
    data = (x, rng.integers(0, 3, rows).astype(np.int32), rng.normal(size=(rows, 2)))
    return [pg.to_device(array, where) for array in data]


def test_tasks_are_the_same_on_every_device_and_in_slices(xp_device):
    """Loss, weight, score and a step of each, against NumPy's; slices weigh by their classes."""
    scaling = Standardization(np.zeros(2), np.ones(2))
    found = {}
    for where, size in ((pg.device("cpu"), None), (xp_device, 5)):
        x, labels, targets = drawn(where)
        weights = pg.to_device(np.asarray([2.0, 0.0, 0.5]), where)
        weighted = Classification(("a", "b", "c"), weights, 0.1)
        for name, task, y in (
            ("weighted", weighted, labels),
            ("regression", Regression(("u", "v"), scaling, "huber", 0.5), targets),
        ):
            model = nn.MLP.init(random.key(3), [4, task.outputs], dtype="float64", device=where)
            optimizer = optim.sgd(0.5)
            step = Step(optimizer, task, slice_size=size)
            after, _, loss, weight, score = step(model, (optimizer.init(model), random.key(1)), x, y)
            told = [loss, 10 if weight is None else weight, score, after.layers[0].weight]
            values = [on_host(value) if not isinstance(value, int) else value for value in told]
            for one, other in zip(values, found.setdefault(name, values), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(cuda_on_host.COMPILER is None, reason=cuda_on_host.NO_COMPILER)
@pytest.mark.parametrize("task", ["weighted", "regression"])
def test_the_steps_of_tasks_are_kernels_of_cupys_plan(task):
    """Without a card: the kernels that CuPy would run, on the host; all but the argmax of the hits."""
    x, labels, targets = (array.astype(np.float32) for array in drawn(pg.device("cpu")))
    if task == "weighted":
        made = Classification(("a", "b", "c"), np.asarray([2, 0, 0.5], np.float32), 0.1)
        y = labels.astype(np.int32)
    else:
        made, y = Regression(("u", "v"), Standardization(np.zeros(2), np.ones(2)), "huber", 0.5), targets
    model, optimizer = nn.MLP.init(random.key(3), [4, 5, made.outputs], device="cpu"), optim.adamw(0.05)
    theirs = (model, (optimizer.init(model), random.key(1)))
    with cuda_on_host.compiling():
        step = Step(optimizer, made, compiled=True)
        ours = pg.compile(lambda tree: tree)(theirs)
        for _ in range(3):
            *ours, loss, _, score = step(*ours, x, y)
            *theirs, expected, _, hits = Step(optimizer, made)(*theirs, x, y)
            assert (float(loss), float(score)) == pytest.approx((float(expected), float(hits)), rel=1e-4)
        told = step._whole.report()
    assert ("1 calls of CuPy" in told and "calls: argmax" in told) or "0 calls of CuPy" in told


def test_a_batch_whose_classes_weigh_nothing_teaches_nothing():
    x, y = np.ones((3, 2)), np.zeros(3, np.int32)
    for smoothing in (0.0, 0.1):
        task = Classification(("a", "b"), np.asarray([0.0, 1.0]), smoothing)
        loss = pg.value_and_grad(lambda w, task=task: task.loss(x @ w, y), has_aux=True)
        (loss, weight), slope = loss(np.eye(2))
        assert np.isfinite(loss) and np.isfinite(slope).all() and weight == 0
        assert smoothing or (loss == 0 and not slope.any())


@pytest.mark.parametrize("settings", [{}, {"slice_size": 10, "checkpoint_steps": 2}])
def test_losses_are_means_by_the_weights_of_classes(table, settings):
    """Of training, though batches differ in weight, of validation and of the test; no weight moves."""
    config = classes(table, class_weights=(1.0, 9.0))
    config = changed(
        config,
        optimizer={"name": "sgd", "lr": 1e-30},
        train={"epochs": 1, "label_smoothing": 0.1, "dtype": "float64", **settings},
    )
    result = start(config)
    prepared = prepare(config.data, random.split(random.key(config.seed), 4)[0], "float64")
    told = {**lines(result.folder)[0], **result.summary}
    for name in ("train", "validation", "test"):
        part = getattr(prepared, name)
        weights = np.asarray([1.0, 9.0])
        expected = nn.cross_entropy(
            result.model(part.inputs), part.targets, weights=weights, label_smoothing=0.1
        )
        assert told[f"{name}_loss"] == pytest.approx(float(expected), rel=1e-9)


def test_balanced_classes_are_found_though_one_is_rare(table):
    """A tenth of the examples, hidden by noise: the plain run misses most of them, the balanced one few."""
    path = table.data.path
    held = dict(np.load(path))
    held["x"] = held["x"] + np.random.default_rng(1).normal(size=(240, 4)) * [1.5, 8, 0.1, 40]
    np.savez(path, **held)
    recall = {}
    for weights in ("none", "balanced", (1.0, 9.0)):
        config = changed(
            classes(table, class_weights=weights),
            model={"hidden": ()},
            train={"epochs": 30},
            output=path.parent / str(weights),
        )
        recall[weights] = start(config).summary["measures"]["recall"][1]
    assert recall["none"] < 0.5 < min(recall["balanced"], recall[1.0, 9.0])


def test_smoothed_labels_keep_probabilities_from_the_ends(table):
    highest = {}
    for smoothing in (0.0, 0.2):
        config = changed(
            classes(table),
            train={"epochs": 30, "label_smoothing": smoothing},
            output=table.output.parent / str(smoothing),
        )
        trained = load_model(start(config).folder, device="cpu")
        highest[smoothing] = trained.predict(np.load(table.data.path)["x"]).probabilities.max()
    assert highest[0.2] < 0.97 < 0.999 < highest[0.0]


# --- measures by epoch ---


def test_measures_of_every_epoch_are_those_of_the_validation_set_and_may_be_monitored(table, capsys):
    asked = ("roc_auc", "f1_macro", "log_loss")
    config = changed(
        classes(table, validation_fraction=0.3),
        train={"epochs": 6, "metrics": asked, "monitor": "f1_macro", "restore_best": True},
    )
    result = start(config, progress=PlainProgress())
    *epochs, test = lines(result.folder)
    best = int(np.argmax([line["validation_f1_macro"] for line in epochs]))
    assert result.summary["best_epoch"] == best + 1
    prepared = prepare(config.data, random.split(random.key(config.seed), 4)[0])
    labels = prepared.validation.targets
    x = prepared.standardization.undo(prepared.validation.inputs)
    shares = load_model(result.folder, device="cpu").predict(x).probabilities
    expected = {
        "roc_auc": theirs.roc_auc_score(labels, shares[:, 1]),
        "f1_macro": theirs.f1_score(labels, shares.argmax(axis=1), average="macro"),
        "log_loss": theirs.log_loss(labels, shares / shares.sum(axis=1, keepdims=True)),
        "accuracy": theirs.accuracy_score(labels, shares.argmax(axis=1)),
    }
    found = {name: epochs[best][f"validation_{name}"] for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)
    assert set(test) == {"test_loss", "test_accuracy", *(f"test_{name}" for name in asked)}
    assert f"f1_macro {found['f1_macro']:.4f}" in capsys.readouterr().out


def test_a_monitored_error_gets_smaller(table):
    config = changed(table, train={"epochs": 6, "metrics": ("rmse",), "monitor": "rmse"})
    result = start(config)
    values = [line["validation_rmse"] for line in lines(result.folder)[:-1]]
    assert result.summary["best_epoch"] == int(np.argmin(values)) + 1
    by_score = start(changed(table, train={"monitor": "r2"}, output=table.output.parent / "r2"))
    scores = [line["validation_r2"] for line in lines(by_score.folder)[:-1]]
    assert by_score.summary["best_epoch"] == int(np.argmax(scores)) + 1


def test_a_measure_that_is_not_defined_ends_no_run(table, capsys):
    """ROC-AUC of a validation set without the rare class."""
    path = table.data.path
    held = dict(np.load(path))
    held["kind"] = (np.arange(240) == 7).astype(int)
    np.savez(path, **held)
    config = changed(classes(table), train={"metrics": ("roc_auc",), "monitor": "roc_auc", "epochs": 2})
    result = start(config, progress=PlainProgress())
    assert [line["validation_roc_auc"] for line in lines(result.folder)[:-1]] == [None, None]
    assert "roc_auc –" in capsys.readouterr().out
    assert resume(result.folder, ["train.epochs=3"]).summary["epochs"] == 3


def test_a_configuration_made_in_python_is_checked_too(table):
    for wrong, text in (
        (changed(table, train={"metrics": ("f1_macro",)}), r"^train\.metrics\[0\]: expected one of \"mse\""),
        (changed(table, data={"labels": "y"}), r"^data\.labels: goes with data\.task = \"classification\""),
        (changed(table, train={"monitor": "accuracy"}), r"^train\.monitor: expected one of \"loss\", \"r2\""),
    ):
        with pytest.raises(ConfigError, match=text):
            start(wrong)


def test_top_5_needs_more_than_five_classes(table):
    with pytest.raises(ConfigError, match="top_5 is measured of more than 5 classes, not 2"):
        start(changed(classes(table), train={"metrics": ("top_5",)}))
    assert not table.output.exists()
