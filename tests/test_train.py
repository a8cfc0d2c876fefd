"""Training: the same run on every device, the files it leaves, and what stops it."""

import dataclasses
import importlib.util
import inspect
import json
import re
import typing

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, optim, random
from portagrad.distributed import Communicator
from portagrad.errors import BackendUnavailableError, ConfigError, DataError, NonFiniteError
from portagrad.train import (
    Config,
    DataConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    PlainProgress,
    Progress,
    ScheduleConfig,
    load_config,
    load_model,
    start,
)
from portagrad.train import feed as feed_module
from portagrad.train import run as run_module
from portagrad.train.checkpoint import newest_checkpoint
from portagrad.train.config import OPTIONS
from portagrad.train.examples import InMemory
from portagrad.train.feed import Feed, evaluate
from portagrad.train.model import make_schedule
from portagrad.train.nonfinite import first_nonfinite
from portagrad.train.prepare import prepare
from portagrad.train.step import Step
from portagrad.train.task import Classification

DIGITS = "examples/digits.toml"
TASK = Classification(tuple("0123456789"))
FILES = [
    *("best.safetensors", "checkpoints", "config.toml", "confusion.json", "confusion.png", "curves.png"),
    *("environment.json", "metrics.jsonl", "model.safetensors", "report.html", "summary.json"),
]


@pytest.fixture
def small(tmp_path):
    """A configuration of a run that takes a moment: 240 digits, 16 hidden units, 3 epochs of 3 or 4 steps."""
    digits = np.load("examples/data/digits.npz")
    np.savez(tmp_path / "small.npz", images=digits["images"][:240], labels=digits["labels"][:240])
    return Config(
        data=DataConfig(path=tmp_path / "small.npz", standardize="whole"),
        model=ModelConfig(hidden=(16,), dropout=0.1),
        train=LoopConfig(epochs=3, batch_size=48, dtype="float64", figures=False),
        optimizer=OptimizerConfig(lr=0.01),
        device="cpu",
        output=tmp_path / "run",
    )


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- whole runs ---


def test_the_digits_are_learned_and_the_run_leaves_its_files(tmp_path):
    """The main job: at least 97.5 % of the digits that were held out."""
    result = start(load_config(DIGITS, device="cpu", output=tmp_path / "run"))
    assert result.test_accuracy >= 0.975
    assert result.summary["seconds"] < 60
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(FILES)
    *epochs, test = lines(result.folder)
    assert [line["epoch"] for line in epochs] == list(range(1, 51))
    assert test == {"test_loss": result.test_loss, "test_accuracy": result.test_accuracy}
    assert epochs[-1]["train_loss"] < 0.1 < epochs[0]["train_loss"]
    assert result.confusion.sum() == result.summary["examples"]["test"] == 359
    assert np.trace(result.confusion) == round(result.test_accuracy * 359)
    written = json.loads((result.folder / "confusion.json").read_text())
    assert written["counts"] == result.confusion.tolist() and written["names"] == list("0123456789")
    assert json.loads((result.folder / "summary.json").read_text()) == result.summary
    restored = load_model(result.folder, device="cpu").model
    test_set = prepare(load_config(DIGITS).data, random.split(random.key(0), 4)[0]).test
    loss, _ = evaluate(restored, Feed(test_set, pg.device("cpu")), TASK, Communicator())
    assert loss == result.test_loss


def test_a_run_is_the_same_on_every_device(small, xp_device, tmp_path):
    expected = start(small)
    where = dataclasses.replace(small, device=str(xp_device), output=tmp_path / "other")
    if xp_device.backend.name == "jax" and not _jax_has_float64():
        where = dataclasses.replace(where, train=dataclasses.replace(where.train, dtype="float32"))
    found = start(where)
    assert found.summary["device"] == str(xp_device)
    assert pg.device(found.model.layers[0].weight) == xp_device
    tolerance = 1e-9 if where.train.dtype == "float64" else 1e-4
    for ours, theirs in zip(lines(expected.folder), lines(found.folder), strict=True):
        losses = {name: value for name, value in ours.items() if name.endswith("loss")}
        assert {name: theirs[name] for name in losses} == pytest.approx(losses, rel=tolerance)
    assert found.confusion.tolist() == expected.confusion.tolist()


def _jax_has_float64():
    import jax

    return bool(jax.config.jax_enable_x64)


def test_the_saved_configuration_repeats_the_run_bit_by_bit(small, tmp_path, monkeypatch):
    first = start(small)
    monkeypatch.chdir(tmp_path)  # its paths hold from anywhere
    second = start(load_config(first.folder / "config.toml", output=tmp_path / "again"))
    for mine, other in zip(lines(first.folder), lines(second.folder), strict=True):
        mine.pop("seconds", None), other.pop("seconds", None)
        assert mine == other
    assert (first.folder / "model.safetensors").read_bytes() == (
        second.folder / "model.safetensors"
    ).read_bytes()
    assert start(dataclasses.replace(small, seed=1, output=tmp_path / "c")).test_loss != first.test_loss


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("adam", {"lr": 0.01, "b1": 0.8, "b2": 0.99, "eps": 1e-7}),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1, "clip_norm": 1.0}),
        ("sgd", {"lr": 0.1, "momentum": 0.9, "clip_norm": 5.0, "clip_value": 0.1}),
        ("rmsprop", {"lr": 0.005, "decay": 0.95, "momentum": 0.5}),
        ("adagrad", {"lr": 0.05, "eps": 1e-9}),
        ("lion", {"lr": 0.01, "weight_decay": 0.01}),
    ],
)
def test_every_optimizer_learns(small, name, options):
    optimizer = OptimizerConfig(name=name, **options)
    config = dataclasses.replace(
        small, optimizer=optimizer, train=dataclasses.replace(small.train, epochs=12)
    )
    found = start(config).summary
    assert found["train_accuracy"] > 0.8 and found["test_accuracy"] > 0.6


@pytest.mark.parametrize("activation", typing.get_args(typing.get_type_hints(ModelConfig)["activation"]))
def test_every_activation_trains(small, activation):
    """A name that the configuration takes is a name that `nn` knows."""
    assert activation in nn.ACTIVATIONS
    model = ModelConfig(hidden=(16,), activation=activation)
    epochs = lines(start(dataclasses.replace(small, model=model)).folder)
    assert epochs[2]["train_loss"] < epochs[0]["train_loss"]


def test_the_options_of_the_configuration_are_those_of_the_optimizers():
    names = typing.get_args(typing.get_type_hints(OptimizerConfig)["name"])
    assert list(OPTIONS) == list(names)
    for name in names:
        taken = [
            parameter for parameter in inspect.signature(getattr(optim, name)).parameters if parameter != "lr"
        ]
        assert [option for option in taken if option != "initial"] == list(OPTIONS[name])


def test_one_step_without_hidden_layers_is_softmax_regression_by_hand():
    """W - lr X^T (softmax(XW + b) - onehot(y)) / n: Bishop (2006), "Pattern Recognition", eq. 4.109."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)), rng.integers(0, 3, 20).astype(np.int32)
    model = nn.MLP.init(random.key(0), [5, 3], dtype="float64", device="cpu")
    w, b = model.layers[0].weight, model.layers[0].bias
    optimizer = optim.sgd(0.5)
    step = Step(optimizer, Classification(("a", "b", "c")))
    after, _, loss, weight, correct = step(model, (optimizer.init(model), random.key(1)), x, y)
    logits = x @ w + b
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slope = (p - np.eye(3)[y]) / 20
    np.testing.assert_allclose(after.layers[0].weight, w - 0.5 * x.T @ slope, rtol=1e-12)
    np.testing.assert_allclose(after.layers[0].bias, b - 0.5 * slope.sum(axis=0), atol=1e-15)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(20), y]).mean(), rtol=1e-12)
    assert weight is None and int(correct) == (logits.argmax(axis=1) == y).sum()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleConfig(), [1, 1, 1, 1, 1]),
        (ScheduleConfig(warmup_epochs=1), [0.01, 1, 1, 1, 1]),
        (ScheduleConfig(name="step", every_epochs=2, factor=0.1), [1, 1, 0.1, 0.1, 0.01]),
        (ScheduleConfig(name="cosine", final=0.5), [1, 0.9268, 0.75, 0.5732, 0.5]),
        (ScheduleConfig(name="cosine", warmup_epochs=2), [0.01, 0.505, 1, 0.5, 0]),
    ],
)
def test_schedules_are_given_in_epochs(schedule, expected):
    config = Config(
        data=DataConfig(path="x"),
        schedule=schedule,
        optimizer=OptimizerConfig(lr=1),
        train=LoopConfig(epochs=4, figures=False),
    )
    rates = make_schedule(config, steps=10)
    found = [rates(10 * epoch) for epoch in range(5)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_one_cycle_peaks_at_the_learning_rate():
    config = Config(
        data=DataConfig(path="x"),
        schedule=ScheduleConfig(name="one_cycle"),
        optimizer=OptimizerConfig(lr=0.5),
        train=LoopConfig(epochs=4, figures=False),
    )
    rates = [make_schedule(config, steps=25)(count) for count in range(100)]
    assert max(rates) == pytest.approx(0.5, rel=1e-3) and 0 < np.argmax(rates) < 50
    assert rates[-1] < 1e-4 < rates[0] < 0.03


# --- what a run is told of and shows ---


def test_progress_is_told_of_everything(small, capsys):
    seen = []

    class Recording(Progress):
        def start(self, epochs, steps):
            seen.append(("start", epochs, steps))

        def advance(self, steps):
            seen.append(("advance", steps))

        def seen(self, examples, loss):
            seen.append(("seen", examples, loss > 0))

        def epoch(self, record):
            seen.append(("epoch", record["epoch"]))

        def note(self, text):
            seen.append(("note", text))

    start(small, progress=Recording())
    note = "168 training, 24 validation, 48 test examples of 64 features in 10 classes; 1210 weights on cpu"
    assert seen == [
        ("note", note),
        ("start", 3, 4),
        *[event for epoch in (1, 2, 3) for event in (("seen", 168, True), ("advance", 4), ("epoch", epoch))],
    ]
    assert capsys.readouterr() == ("", "")


def test_plain_progress_is_one_line_per_epoch(small, capsys):
    start(small, progress=PlainProgress())
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    number, share = r"\d\.\d{4}", r"\d+\.\d\d%"
    line = rf"epoch 2/3  loss {number}  accuracy {share}  validation loss {number}  accuracy {share}"
    assert re.fullmatch(line, out[2])


def test_without_a_validation_part_there_are_no_validation_numbers(small):
    data = dataclasses.replace(small.data, validation_fraction=0.0)
    result = start(dataclasses.replace(small, data=data))
    assert result.summary["examples"] == {"train": 192, "validation": 0, "test": 48}
    assert not any("validation_loss" in line for line in lines(result.folder))


# --- what stops a run ---


def test_a_nan_stops_the_run_and_names_the_op_and_the_step(small):
    sgd = OptimizerConfig(name="sgd", lr=1e200)
    with pytest.raises(NonFiniteError) as caught:
        start(dataclasses.replace(small, optimizer=sgd))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("the loss or a weight is no longer finite at step 2 (epoch 1): linear made ")
    assert "x: numpy float64 (48, 16) on cpu, values from 0 to " in text
    assert text.endswith("; try a lower optimizer.lr, or optimizer.clip_norm")
    assert lines(small.output) == [{"epoch": 1, "error": text}]
    assert sorted(path.name for path in small.output.iterdir()) == [
        *("checkpoints", "config.toml", "environment.json", "metrics.jsonl")
    ]
    assert newest_checkpoint(small.output / "checkpoints").facts["batch"] == 0  # from before the fault


def test_a_nan_in_a_later_window_keeps_the_epochs_before_it(small, monkeypatch):
    """The learning rate explodes at step 10: the second window of the third epoch, two steps each."""
    monkeypatch.setattr(run_module, "_WINDOW", 2)
    monkeypatch.setattr(
        run_module, "make_schedule", lambda config, steps: lambda count: 0.01 + 1e300 * (count >= 10)
    )
    with pytest.raises(NonFiniteError, match=r"no longer finite at step 1[12] \(epoch 3\): \w+ made "):
        start(dataclasses.replace(small, train=dataclasses.replace(small.train, figures=True)))
    *epochs, last = lines(small.output)
    assert [line["epoch"] for line in epochs] == [1, 2] and last["epoch"] == 3
    assert sorted(path.name for path in small.output.iterdir()) == [
        *("checkpoints", "config.toml", "curves.png", "environment.json", "metrics.jsonl", "report.html")
    ]


def test_the_backward_pass_is_blamed_for_its_own_nans():
    x = np.asarray([4.0, 0.0])
    found = first_nonfinite(pg.grad(lambda x: pg.sum(pg.sqrt(x))), (x,))
    assert found == (
        "divide made 1 of 2 values NaN or infinite; x2: numpy float64 (2,) on cpu, values from 0 to 2; "
        "in the backward pass"
    )
    assert first_nonfinite(pg.sqrt, (x,)) is None


def test_faults_come_before_anything_is_written(small, monkeypatch, tmp_path):
    wrong = [
        (dataclasses.replace(small, device="nowhere"), ConfigError, "no device is called 'nowhere'"),
        (
            dataclasses.replace(small, data=DataConfig(path=tmp_path / "no.npz")),
            ConfigError,
            r"^data\.path: .*no\.npz: no such file",
        ),
        (
            dataclasses.replace(small, data=dataclasses.replace(small.data, classes=5)),
            DataError,
            r'array "labels", row 5: the label 5 is out of range for 5 classes \(0 to 4\)',
        ),
    ]
    for config, error, text in wrong:
        with pytest.raises(error, match=text):
            start(config)
    if importlib.util.find_spec("cupy") is None:
        with pytest.raises(BackendUnavailableError, match="CuPy is not installed"):
            start(dataclasses.replace(small, device="cuda"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        start(small)
    assert str(caught.value) == (
        "training needs jinja2 and matplotlib and safetensors, not installed here: "
        "pip install 'portagrad[train]'"
    )
    assert not (tmp_path / "run").exists()


def test_a_dtype_that_the_device_lacks_is_a_configuration_error(small, monkeypatch):
    monkeypatch.setattr(
        pg.device("cpu").backend.xp.__array_namespace_info__().__class__,
        "dtypes",
        lambda self, **options: {"float32": np.float32},
    )
    with pytest.raises(ConfigError, match=r"^train\.dtype: cpu has no float64, only float32$"):
        start(small)


# --- data of a run ---


def test_the_standardisation_does_not_see_the_test_examples(small):
    data = dataclasses.replace(small.data, standardize="features")
    prepared = prepare(data, random.key(0), "float64")
    train = prepared.train.inputs
    lit = train.std(axis=0) > 0
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train[:, lit].std(axis=0), 1, rtol=1e-12)
    assert abs(prepared.test.inputs[:, lit].mean(axis=0)).max() > 1e-3


def test_a_test_file_of_its_own_keeps_the_classes_of_the_training_file(tmp_path):
    (tmp_path / "train.csv").write_text("".join(f"{i},{i % 5},{'abc'[i % 3]}\n" for i in range(30)))
    (tmp_path / "test.csv").write_text("1,2,c\n3,4,c\n")
    config = DataConfig(path=tmp_path / "train.csv", test_path=tmp_path / "test.csv", validation_fraction=0.0)
    prepared = prepare(config, random.key(0))
    assert (len(prepared.train), prepared.validation, len(prepared.test)) == (30, None, 2)
    assert prepared.names == ("a", "b", "c") and prepared.test.targets.tolist() == [2, 2]
    (tmp_path / "test.csv").write_text("1,c\n3,c\n")
    with pytest.raises(DataError, match=r"test\.csv: 1 features per example, but .*train\.csv has 2$"):
        prepare(config, random.key(0))
    (tmp_path / "test.csv").write_text("1,2,d\n")
    with pytest.raises(DataError, match=r"test\.csv, line 1, column 2: 'd' is none of the 3 classes$"):
        prepare(config, random.key(0))


def test_a_test_set_may_be_other_arrays_of_the_same_file(tmp_path):
    """The layout of the mnist.npz that Keras ships."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.random((20, 2, 2)), "y_train": np.arange(20) % 2}
    np.savez(tmp_path / "m.npz", **arrays, x_test=rng.random((6, 2, 2)), y_test=np.arange(6) % 2)
    config = DataConfig(path=tmp_path / "m.npz", test_inputs="x_test", test_labels="y_test")
    prepared = prepare(config, random.key(0))
    assert (len(prepared.train), len(prepared.validation), len(prepared.test)) == (18, 2, 6)


def test_inputs_beyond_the_training_dtype_are_a_data_error(tmp_path):
    np.savez(
        tmp_path / "big.npz",
        x=np.full((20, 2), 1e300) * [[1, 2]] * np.arange(20)[:, None],
        y=np.arange(20) % 2,
    )
    config = DataConfig(path=tmp_path / "big.npz", standardize="none")
    with pytest.raises(
        DataError, match=r"big\.npz: row \d+, feature \d is [\d.e+]+, beyond the range of float32$"
    ):
        prepare(config, random.key(0))


def test_examples_that_do_not_fit_the_device_are_moved_batch_by_batch(monkeypatch):
    rng = np.random.default_rng(0)
    examples = InMemory(rng.random((10, 3)), np.arange(10, dtype=np.int32) % 2)
    here = pg.device("cpu")
    roomy = Feed(examples, here)
    transfer = feed_module.transfer

    def cramped(x, where):
        if len(x) == 10:
            raise pg.OutOfMemoryError("no room")
        return transfer(x, where)

    monkeypatch.setattr(feed_module, "transfer", cramped)
    tight = Feed(examples, here)
    assert roomy.resident and not tight.resident
    for (x, y), (u, v) in zip(roomy.batches(random.key(0), 4), tight.batches(random.key(0), 4), strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)
