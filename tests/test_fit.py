"""Training a model of one's own on arrays: the same run as one that a configuration describes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import optree
import own_runs
import pytest

import portagrad as pg
from portagrad import nn, random
from portagrad.data import Dataset, RegressionDataset
from portagrad.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from portagrad.onnx import export_trained
from portagrad.train import (
    Config,
    DataConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    OwnDescription,
    Progress,
    Result,
    fit,
    load_config,
    load_model,
    resume,
    start,
)
from portagrad.train.checkpoint import newest_checkpoint
from portagrad.train.report import read_run
from portagrad.train.report.drawings import drawings
from portagrad.train.weights import named_leaves, read_weights

Array = np.ndarray[Any, Any]
DIGITS = np.load(Path(__file__).resolve().parent.parent / "examples/data/digits.npz")
IMAGES, LABELS = DIGITS["images"][:300].reshape(-1, 8, 8), DIGITS["labels"][:300].astype(np.int64)
# How dark the upper half of an image is, and how much darker than the lower, in units of their own.
UPPER, LOWER = IMAGES[:, :4].mean(axis=(1, 2)), IMAGES[:, 4:].mean(axis=(1, 2))
DARKNESS = np.stack([500 + UPPER, UPPER - LOWER], axis=1)


class Residual(nn.Module):
    """Takes images by their rows; drops out in training."""

    norm: nn.LayerNorm
    inner: nn.Linear
    out: nn.Linear
    rate: float = nn.static(default=0.1)

    @classmethod
    def init(cls, outputs: int = 10, *, seed: int = 0, **where: Any) -> Residual:
        first, second = random.split(random.key(seed))
        where = {"dtype": "float32", "device": "cpu", **where}
        inner = nn.Linear.init(first, 8, 8, **where)
        return cls(nn.LayerNorm.init(8, **where), inner, nn.Linear.init(second, 64, outputs, **where))

    def __call__(self, x: Any, *, key: random.Key | None = None) -> Any:
        x = x + nn.tanh(self.inner(self.norm(x)))
        if key is not None:
            x = nn.dropout(x, self.rate, key=key)
        return self.out(pg.reshape(x, (x.shape[0], -1)))


class Plain(nn.Module):
    """A linear map, without a key."""

    weight: Any

    def __call__(self, x: Any) -> Any:
        return pg.reshape(x, (x.shape[0], -1)) @ self.weight


class Dropping(Plain):
    """A linear map of what is left of the inputs."""

    def __call__(self, x: Any, *, key: random.Key | None = None) -> Any:
        return super().__call__(x if key is None else nn.dropout(x, 0.2, key=key))


configured = functools.partial(own_runs.configured, epochs=8, batch_size=32)


def lines(run: Path) -> list[dict[str, Any]]:
    return own_runs.recorded(run)


def weights(run: Path) -> dict[str, Array]:
    return read_weights(run / "model.safetensors")[0]


class StopsAfter(Progress):
    """Interrupts this process after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def advance(self, steps: int) -> None:
        self.steps -= steps
        if self.steps <= 0:
            os.kill(os.getpid(), signal.SIGINT)


# --- whole runs ---


def test_a_model_of_ones_own_learns_and_leaves_what_any_run_does(tmp_path: Path) -> None:
    model = Residual.init()
    before = {name: leaf.copy() for name, leaf in named_leaves(model).items()}
    eager = fit(model, (IMAGES, LABELS), configured(tmp_path, "eager", train={"figures": True}))
    assert eager.test_accuracy > 0.85
    assert isinstance(eager.model, Residual) and eager.model is not model
    for name, leaf in named_leaves(model).items():
        np.testing.assert_array_equal(leaf, before[name])
    expected = {
        "checkpoints",
        "config.toml",
        "environment.json",
        "summary.json",
        "report.html",
        "drawings.json",
    }
    assert expected <= {path.name for path in eager.folder.iterdir()}
    assert eager.summary["model"] == "Residual" and eager.summary["shape"] == [8, 8]
    text = (eager.folder / "config.toml").read_text()
    assert text.startswith("# train.fit was given the model, Residual, and the data.\n")
    assert "hidden" not in text and "path" not in text

    forward, step = drawings(read_run(eager.folder))
    assert not forward.note and not step.note and "tanh" in forward.svg and "backward" in step.description
    assert (eager.folder / "report.html").read_text().count("data:image/svg+xml") == 2

    own = load_model(eager.folder, like=Residual.init(seed=5), device="cpu")
    assert isinstance(own.description, OwnDescription)
    assert (own.description.model, own.description.shape) == ("Residual", (8, 8))
    found = eager.predict(IMAGES[:50])
    np.testing.assert_array_equal(own.predict(IMAGES[:50]).probabilities, found.probabilities)
    assert (found.values == LABELS[:50]).mean() > 0.9


def test_a_compiled_run_is_the_eager_one(tmp_path: Path) -> None:
    """With the same inputs dropped, by the keys of its steps."""
    model = Dropping(np.zeros((64, 10), np.float32))
    eager, compiled = (
        fit(
            model,
            (IMAGES, LABELS),
            configured(tmp_path, str(compile), train={"compile": compile, "epochs": 3}),
        )
        for compile in (False, True)
    )
    for one, other in zip(lines(eager.folder), lines(compiled.folder), strict=True):
        assert one.pop("norms", {}).keys() == other.pop("norms", {}).keys()
        assert one == pytest.approx(other, rel=1e-5)


class Branches(Plain):
    def __call__(self, x: Any) -> Any:
        return super().__call__(x) if bool(pg.sum(x) > -1e9) else x


def test_what_stands_where_a_model_cannot_be_drawn(tmp_path: Path) -> None:
    """It asks for a value, which a graph has not; or the drawings are damaged; or there are none."""
    model = Branches(np.zeros((64, 10), np.float32))
    config = configured(tmp_path, train={"epochs": 1, "figures": True})
    run = fit(model, (IMAGES, LABELS), config).folder
    (drawing,) = drawings(read_run(run))
    assert drawing.note.startswith("not drawn: ConcretizationError: ") and not drawing.svg
    assert "not drawn: ConcretizationError" in (run / "report.html").read_text()
    (run / "drawings.json").write_text('{"drawings": [{"title": 1}]}')
    record = read_run(run)
    assert record.faults == ("drawings.json is damaged: a drawing is not made of texts",)
    assert [drawing.note for drawing in drawings(record)] == [
        "not drawn: the run left no drawing of its model, Branches"
    ]


@pytest.mark.parametrize("form", ["arrays", "dataset"])
def test_a_regression_predicts_in_the_targets_own_units(tmp_path: Path, form: str) -> None:
    names = ("dark", "darker")
    data = (IMAGES, DARKNESS) if form == "arrays" else RegressionDataset(IMAGES, DARKNESS, names)
    config = configured(
        tmp_path,
        data=DataConfig(task="regression", names=names if form == "arrays" else None),
        model=ModelConfig(loss="huber"),
        train={"epochs": 15},
    )
    result = fit(Residual.init(2), data, config)
    assert result.test_r2 > 0.8 and result.summary["targets"] == list(names)
    found = result.predict(IMAGES).values
    assert found.shape == DARKNESS.shape and np.abs(found - DARKNESS).mean() < 0.5
    again = load_model(result.folder, like=Residual.init(2), device="cpu")
    np.testing.assert_array_equal(again.predict(IMAGES).values, found)


@pytest.mark.parametrize("device", ["torch", "strict:device1"])
def test_a_run_is_on_the_device_and_in_the_dtype_of_its_model(tmp_path: Path, device: str) -> None:
    """The same run as on NumPy, of arrays of the library."""
    pytest.importorskip("torch" if device == "torch" else "array_api_strict")
    where = pg.device(device)
    model, loop = Residual.init(), {"epochs": 2}
    expected = fit(model, (IMAGES, LABELS), configured(tmp_path, "numpy", train=loop))
    config = configured(tmp_path, "other", train=loop)
    found = fit(pg.to_device(model, where), pg.to_device((IMAGES, LABELS), where), config)
    assert found.summary["device"] == str(where)
    assert all(pg.device(leaf) == where for leaf in named_leaves(found.model).values())
    for ours, theirs in zip(lines(expected.folder), lines(found.folder), strict=True):
        losses = {name: value for name, value in ours.items() if name.endswith("loss")}
        assert {name: theirs[name] for name in losses} == pytest.approx(losses, rel=1e-3)


def test_a_float64_model_stays_one_and_mixed_precision_keeps_its_weights(tmp_path: Path) -> None:
    model = Residual.init(dtype="float64")
    one_epoch = {"epochs": 1}
    double = fit(model, (IMAGES, LABELS), configured(tmp_path, "double", train=one_epoch))
    assert double.model.out.weight.dtype == np.float64
    assert 'dtype = "float64"' in (double.folder / "config.toml").read_text()
    single = fit(
        model, (IMAGES, LABELS), configured(tmp_path, "single", train={**one_epoch, "dtype": "float32"})
    )
    assert single.model.out.weight.dtype == np.float32
    mixed = fit(model, (IMAGES, LABELS), configured(tmp_path, "mixed", train={**one_epoch, "dtype": "mixed"}))
    kept = newest_checkpoint(mixed.folder / "checkpoints")
    assert kept is not None and kept.arrays["model.out.weight"].dtype == np.float64
    assert mixed.model.out.weight.dtype == np.float32


def test_the_run_is_that_of_start_bit_for_bit(tmp_path: Path) -> None:
    """The MLP that a configuration makes, with its keys and its split."""
    np.savez(tmp_path / "digits.npz", images=IMAGES.reshape(-1, 64), labels=LABELS)
    model = ModelConfig(hidden=(12,), dropout=0.2)
    config = configured(
        tmp_path, "start", train={"epochs": 3, "metrics": ("f1_macro",), "slice_size": 20}, seed=3
    )
    data = DataConfig(path=tmp_path / "digits.npz", class_weights="balanced")
    expected = start(dataclasses.replace(config, data=data, model=model, device="cpu"))
    _, key, _, _ = random.split(random.key(3), 4)
    mlp = nn.MLP.init(key, [64, 12, 10], dropout=0.2, dtype="float32", device="cpu")
    config = dataclasses.replace(config, data=DataConfig(class_weights="balanced"), output=tmp_path / "fit")
    found = fit(mlp, (IMAGES.reshape(-1, 64), LABELS), config)
    assert lines(found.folder) == lines(expected.folder)
    ours, theirs = weights(found.folder), weights(expected.folder)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_a_pytree_that_is_no_module_is_a_model_too(tmp_path: Path) -> None:
    @optree.dataclasses.dataclass(namespace="portagrad")
    class Bare:
        layers: dict[str, Any]

        def __call__(self, x: Any) -> Any:
            return pg.reshape(x, (x.shape[0], -1)) @ self.layers["out"]

    result = fit(Bare({"out": np.zeros((64, 10), np.float32)}), (IMAGES, LABELS), configured(tmp_path))
    assert result.test_accuracy > 0.8
    assert {"model.layers.out", "inputs.mean", "inputs.scale"} == weights(result.folder).keys()


def test_parts_that_are_given_are_the_runs(tmp_path: Path) -> None:
    """Text labels, whose classes are those of training; the standardisation sees training alone."""
    names = np.asarray([f"digit {label}" for label in LABELS])
    data = {"train": (IMAGES[:200], names[:200]), "test": (IMAGES[200:] + 1e6, names[200:])}
    result = fit(Residual.init(), data, configured(tmp_path, "test", train={"epochs": 1}))
    assert result.summary["examples"] == {"train": 180, "validation": 20, "test": 100}
    assert result.summary["classes"] == [f"digit {k}" for k in range(10)]
    assert weights(result.folder)["inputs.mean"].max() < 16
    data["validation"] = (IMAGES[200:230], names[200:230])
    result = fit(Residual.init(), data, configured(tmp_path, "all", train={"epochs": 1}))
    assert result.summary["examples"] == {"train": 200, "validation": 30, "test": 100}


def test_a_data_set_says_what_is_learned_where_no_configuration_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.import_module("portagrad.train.fit"),
        "Config",
        lambda **given: configured(tmp_path, **given),
    )
    result = fit(Residual.init(1), RegressionDataset(IMAGES, DARKNESS[:, :1], ("dark",)))
    assert result.summary["targets"] == ["dark"]


# --- going on ---


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that is stopped in its second epoch."""
    with pytest.raises(KeyboardInterrupt):
        config = configured(tmp_path, train={"epochs": 3, "checkpoint_steps": 1})
        fit(Residual.init(), (IMAGES, LABELS), config, progress=StopsAfter(9))
    return tmp_path / "run"


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, stopped: Path) -> None:
    """Whatever the weights of the model are that it goes on with."""
    whole = fit(Residual.init(), (IMAGES, LABELS), configured(tmp_path, "whole", train={"epochs": 3}))
    found = resume(stopped, model=Residual.init(seed=7, dtype="float64"), data=(IMAGES, LABELS))
    assert lines(found.folder) == lines(whole.folder)
    for name in ("model.safetensors", "best.safetensors"):
        assert (found.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    longer = resume(found.folder, ["train.epochs=4"], model=Residual.init(), data=(IMAGES, LABELS))
    assert longer.summary["epochs"] == 4


@pytest.mark.parametrize(
    ("given", "settings", "error", "text"),
    [
        ({}, [], ConfigError, r"run of train\.fit.*data=data\); not given: model and data$"),
        ({"model": Residual.init()}, [], ConfigError, r"; not given: data$"),
        (
            {"model": Residual.init(9), "data": (IMAGES, LABELS % 9)},
            [],
            CheckpointError,
            "other data or another model",
        ),
        (
            {"model": Plain(np.zeros((64, 10), np.float32)), "data": (IMAGES, LABELS)},
            [],
            CheckpointError,
            "no part 'best.weight'|no part 'model.weight'",
        ),
        (
            {"model": Residual.init(), "data": (IMAGES + 0.5 * np.eye(8), LABELS[::-1])},
            [],
            CheckpointError,
            "other data",
        ),
        (
            {"model": Residual.init(), "data": (IMAGES, LABELS)},
            ["optimizer.lr=1"],
            ConfigError,
            r"optimizer\.lr: cannot change",
        ),
        (
            {"model": Residual.init(), "data": (IMAGES, LABELS)},
            ["model.hidden=[3]"],
            ConfigError,
            r"model\.hidden: says nothing in train\.fit",
        ),
    ],
)
def test_what_a_run_does_not_go_on_with(
    stopped: Path, given: dict[str, Any], settings: list[str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        resume(stopped, settings, **given)


def test_a_run_of_a_configuration_takes_no_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=IMAGES.reshape(-1, 64), labels=LABELS)
    data = DataConfig(path=tmp_path / "digits.npz")
    first = start(configured(tmp_path, data=data, device="cpu", train={"epochs": 1}))
    with pytest.raises(ConfigError, match=r"run of train\.start.*leave out model$"):
        resume(first.folder, model=Residual.init())


def test_the_weights_that_a_run_begins_with_are_saved_first(tmp_path: Path) -> None:
    """As the loss is not finite after a step, the run stops, at the weights that it was given."""
    config = configured(tmp_path, optimizer=OptimizerConfig(name="sgd", lr=1e38))
    model = Residual.init()
    with pytest.raises(NonFiniteError, match=r"at step \d \(epoch 1\): \w+ made"):
        fit(model, (IMAGES, LABELS), config)
    kept = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert kept is not None and (kept.facts["epoch"], kept.facts["batch"]) == (1, 0)
    np.testing.assert_array_equal(kept.arrays["model.out.weight"], model.out.weight)


def test_an_own_model_is_read_with_one_like_it_alone(tmp_path: Path) -> None:
    result = fit(Residual.init(), (IMAGES, LABELS), configured(tmp_path, train={"epochs": 1}))
    told = r"weights of a model of one's own, 'Residual'.*train\.load_model\(path, like=model\)$"
    with pytest.raises(CheckpointError, match=told):
        load_model(result.folder)
    with pytest.raises(
        CheckpointError, match=r"'model\.out\.weight' is float32 \(64, 10\), by `like` float32 \(64, 3\)"
    ):
        load_model(result.folder, like=Residual.init(3))
    with pytest.raises(CheckpointError, match=r"no array 'model\.weight'"):
        load_model(result.folder, like=Plain(np.zeros((64, 10))))
    with pytest.raises(DataError, match=r"takes examples of the shape \(8, 8\)"):
        result.predict(IMAGES[:, :4])
    onnx = pytest.importorskip("onnxruntime")
    session = onnx.InferenceSession(export_trained(result.trained).SerializeToString())
    found = session.run(["probabilities"], {"inputs": IMAGES[:7].astype(np.float32)})[0]
    np.testing.assert_allclose(found, result.predict(IMAGES[:7]).probabilities, atol=1e-5)


def test_the_commands_say_how_such_a_run_is_used(tmp_path: Path, stopped: Path) -> None:
    from typer.testing import CliRunner

    from portagrad import cli

    result = fit(Residual.init(), (IMAGES, LABELS), configured(tmp_path, "other", train={"epochs": 1}))
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    for command, text in (
        (["predict", str(result.folder), str(tmp_path / "x.csv")], "train.load_model(path, like=model)"),
        (["export", str(result.folder)], "train.load_model(path, like=model)"),
        (["train", "--resume", str(stopped)], "train.resume(folder, model=model, data=data)"),
    ):
        done = CliRunner().invoke(cli.make_app(), command)
        assert done.exit_code == 2 and text in " ".join(done.output.split()), done.output


# --- what is wrong ---


class Stateful(nn.Module):
    weight: Any

    def __call__(self, x: Any, state: Any) -> Any:
        return x @ self.weight, state


class Weightless(nn.Module):
    def __call__(self, x: Any) -> Any:
        return x


def with_nan(array: Array, *place: int) -> Array:
    wrong = array.astype(np.float64)
    wrong[place] = np.nan
    return wrong


NUMBERS = Config(data=DataConfig(task="regression"))


@pytest.mark.parametrize(
    ("model", "data", "config", "error", "text"),
    [
        (Residual, None, None, TypeError, r"the model is the class Residual; give one of its objects"),
        ({"w": np.zeros(3)}, None, None, TypeError, r"the model is dict, which is not called with inputs"),
        (lambda x: x, None, None, TypeError, r"the model is function, which is no pytree .* an nn\.Module"),
        (
            Stateful(np.zeros(2)),
            None,
            None,
            TypeError,
            r"Stateful takes a state; give it an initial_state\(\)",
        ),
        (Weightless(), None, None, TypeError, r"Weightless has no weights"),
        (
            Plain(np.zeros((64, 10), np.int64)),
            None,
            None,
            TypeError,
            r"weight of Plain is int64; weights are",
        ),
        (Plain(0.5), None, None, TypeError, r"weight of Plain is float, not an array"),
        (
            Plain({"a": np.zeros(2), "b": np.zeros(2, np.float32)}),
            None,
            None,
            ConfigError,
            r"^train\.dtype: not set, and the weight weight\.a has float64, but weight\.b has float32",
        ),
        (
            Residual.init(7),
            None,
            None,
            ConfigError,
            r"Residual, called with 2 examples, an array of the shape \(2, 8, 8\), gives shape \(2, 7\), not "
            r"\(2, 10\): a number for each of the 10 classes \(0, 1, 2, 3, 4, \.\.\.\)",
        ),
        (
            Residual.init(3),
            (IMAGES, DARKNESS),
            NUMBERS,
            ConfigError,
            r"not \(2, 2\).*2 targets \(target 0, ta",
        ),
        (Plain(np.zeros((9, 10))), None, None, ConfigError, r"shape \(2, 8, 8\), failed: \w+: .*64"),
        (None, 3, None, TypeError, r"the data are int; give \(inputs, targets\), a Dataset"),
        (None, (IMAGES,), None, TypeError, r"the data are tuple of 1; give"),
        (None, (IMAGES.tolist(), LABELS), None, TypeError, r"the inputs are list, not an array"),
        (None, (IMAGES, LABELS[:-1]), None, DataError, r"300 inputs, but 299 targets"),
        (None, (IMAGES[:0], LABELS[:0]), None, DataError, r"inputs: shape \(0, 8, 8\) is empty"),
        (None, (IMAGES[:, 0, 0], LABELS), None, DataError, r"inputs: shape \(300,\) has no axis of features"),
        (
            None,
            (with_nan(IMAGES, 5, 1, 2), LABELS),
            None,
            DataError,
            r"^inputs: row 5, position \(1, 2\) is nan; every input must be finite$",
        ),
        (None, (IMAGES, with_nan(LABELS, 7)), None, DataError, r"^labels, row 7 is nan"),
        (
            None,
            (IMAGES, with_nan(DARKNESS, 7, 1)),
            NUMBERS,
            DataError,
            r"^targets, row 7, column 1 is nan; every target must be finite$",
        ),
        (
            None,
            (IMAGES, LABELS + 0.5),
            None,
            DataError,
            r'labels, row 0: the label 0\.5 is not a whole number; .*data\.task = "regression"$',
        ),
        (None, (IMAGES, LABELS - 1), None, DataError, r"labels, row 0: the label -1 is out of range"),
        (None, (IMAGES, np.eye(10)[LABELS]), None, DataError, r"one-hot labels become classes"),
        (None, {"test": (IMAGES, LABELS)}, None, DataError, r'data: has no "train", only test'),
        (None, {"train": (IMAGES, LABELS), "valid": 1}, None, DataError, r"'valid' is no part;"),
        (
            None,
            {"train": (IMAGES, LABELS), "test": (IMAGES[:, :7], LABELS)},
            None,
            DataError,
            r"^test inputs: examples have the shape \(7, 8\), in training \(8, 8\)$",
        ),
        (
            None,
            {"train": (IMAGES, LABELS), "validation": (IMAGES, LABELS + 5)},
            None,
            DataError,
            r"^validation labels, row \d+: the label \d+ is out of range for 10 classes",
        ),
        (
            None,
            {
                "train": Dataset(IMAGES, LABELS, tuple("0123456789")),
                "test": Dataset(IMAGES, LABELS, tuple("abcdefghij")),
            },
            None,
            DataError,
            r"^test data: are of \(a, b, c, d, e, \.\.\.\), in training of \(0, 1, 2",
        ),
        (
            None,
            RegressionDataset(IMAGES, DARKNESS, ("a", "b")),
            Config(),
            ConfigError,
            r'data\.task: is "classification", but the data are a RegressionDataset',
        ),
        (
            None,
            Dataset(IMAGES, LABELS, tuple("0123456789")),
            Config(data=DataConfig(classes=9)),
            ConfigError,
            r"^data\.classes: is 9, but the data are of 10 classes$",
        ),
        (None, None, {"epochs": 3}, TypeError, r"config is dict; give a train\.Config"),
        (None, None, Config(model=ModelConfig(hidden=(3,))), ConfigError, r"^model\.hidden: says nothing in"),
        (
            None,
            None,
            Config(data=DataConfig(path=Path("x.npz"))),
            ConfigError,
            r"^data\.path: says nothing in",
        ),
        (None, None, Config(train=LoopConfig(epochs=0)), ConfigError, r"^train\.epochs: must be at least 1"),
        (None, None, Config(train=LoopConfig(dtype="int8")), ConfigError, r"^train\.dtype: expected one of"),
        (None, None, Config(model=ModelConfig(loss="mse")), ConfigError, r"^model\.loss: "),
    ],
)
def test_faults_come_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Any,
    data: Any,
    config: Any,
    error: type[Exception],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Residual.init() if model is None else model
    data = (IMAGES, LABELS) if data is None else data
    with pytest.raises(error) as caught:
        fit(model, data, config)
    assert re.search(text, str(caught.value)), str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_on_the_command_line_names_its_data(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("seed = 1\n")
    with pytest.raises(ConfigError, match=r"run\.toml: data\.path: missing; there is no default$"):
        load_config(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match=r"^data\.path: missing; there is no default$"):
        start(Config())


def test_a_result_says_what_it_holds(tmp_path: Path) -> None:
    result = fit(Residual.init(), (IMAGES, LABELS), configured(tmp_path, train={"epochs": 1}))
    assert isinstance(result, Result) and result.confusion is not None
    assert result.confusion.sum() == result.summary["examples"]["test"]
    assert "model.safetensors" in str(result)
