"""The configuration of a run: what is read, what overrides what, and what each fault is called."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portagrad as pg
from portagrad.errors import ConfigError
from portagrad.train import fit, start
from portagrad.train.config import Config, DataConfig, LoopConfig, ModelConfig, OptimizerConfig
from portagrad.train.config_file import checked, dump_config, load_config
from portagrad.train.loop import sweep
from portagrad.train.schema import keys

FULL = """
seed = 7
device = "torch:cpu"
output = "out"

[data]
path = "digits.npz"
format = "npz"
inputs = "images"
labels = "labels"
classes = 10
names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "\\"j\\u007f"]
test_fraction = 0.25
validation_fraction = 0
standardize = "none"

[model]
hidden = [32, 16]
activation = "gelu"
dropout = 0.5

[optimizer]
name = "sgd"
lr = 1
momentum = 0.9
nesterov = true
weight_decay = 1e-4
clip_norm = 5

[schedule]
name = "step"
warmup_epochs = 0.5
every_epochs = 3
factor = 0.1

[train]
epochs = 4
batch_size = 8
dtype = "float64"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "digits.npz").write_bytes(b"a file")
    (tmp_path / "run.toml").write_text('[data]\npath = "digits.npz"\n')
    (tmp_path / "full.toml").write_text(FULL)
    return tmp_path


def fault(folder, *overrides, text=None, **options):
    """The one line of a ConfigError, its folder replaced."""
    if text is not None:
        (folder / "run.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "run.toml", overrides, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_file_that_names_the_data_has_defaults_for_the_rest(folder):
    config = load_config(folder / "run.toml")
    assert config == Config(data=DataConfig(path=folder / "digits.npz"))
    assert (config.device, config.output, config.seed) == (None, None, 0)
    assert config.optimizer == OptimizerConfig(name="adamw", lr=1e-3)
    assert config.train == LoopConfig(epochs=50, batch_size=64)
    assert (config.train.inputs_dtype, config.train.weights_dtype) == ("float32", "float32")


def test_every_key_is_read(folder):
    config = load_config(folder / "full.toml")
    assert config.data.path == folder / "digits.npz" and config.output == folder / "out"
    assert config.model.hidden == (32, 16)
    assert config.optimizer.lr == 1.0 and type(config.optimizer.lr) is float
    assert config.schedule.factor == 0.1
    assert config.data.names is not None and config.data.names[-1] == '"j\x7f'


def test_what_is_written_reads_back_the_same(folder):
    for name in ("run.toml", "full.toml"):
        config = load_config(folder / name)
        (folder / "again.toml").write_text(dump_config(config))
        assert load_config(folder / "again.toml") == config


def test_paths_are_relative_to_the_file_and_on_the_command_line_to_the_working_folder(folder, monkeypatch):
    other = folder / "other"
    other.mkdir()
    (other / "mine.npz").write_bytes(b"another file")
    monkeypatch.chdir(other)
    assert load_config(Path("../run.toml")).data.path.resolve() == folder / "digits.npz"
    assert load_config(Path("../run.toml"), ["data.path=mine.npz"]).data.path == Path("mine.npz")
    assert load_config(Path("../full.toml"), output="here").output == Path("here")
    idx = f'[data]\npath = "digits.npz"\nlabels = "{"run.toml"}"\n'
    (folder / "idx.toml").write_text(idx)
    assert Path(str(load_config(Path("../idx.toml")).data.labels)).resolve() == folder / "run.toml"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("optimizer.lr=0.01", "optimizer.lr", 0.01),
        ("optimizer.lr=.5", "optimizer.lr", 0.5),
        ("optimizer.lr = 2", "optimizer.lr", 2.0),
        ("optimizer.name=sgd", "optimizer.name", "sgd"),
        ('optimizer.name="sgd"', "optimizer.name", "sgd"),
        ("model.hidden=[5, 6]", "model.hidden", (5, 6)),
        ("model.hidden=[]", "model.hidden", ()),
        ("data.standardize=whole", "data.standardize", "whole"),
        ("data.header=false", "data.header", False),
        ("data.labels=-1", "data.labels", -1),
        ("data.labels=kind", "data.labels", "kind"),
        ("data.delimiter=;", "data.delimiter", ";"),
        ("data.class_weights=[1, 2.5]", "data.class_weights", (1.0, 2.5)),
        ('train={metrics=["roc_auc"],monitor="roc_auc"}', "train.monitor", "roc_auc"),
        ("train={epochs=3}", "train.epochs", 3),
        ("device=torch:cpu", "device", "torch:cpu"),
        ("seed=3", "seed", 3),
    ],
)
def test_overrides_are_toml_values_or_plain_words(folder, override, key, value):
    found = load_config(folder / "run.toml", [override])
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


def test_targets_are_a_column_several_or_a_file_beside_the_configuration(folder):
    regression = "data.task=regression"
    for text, value in (("price", "price"), ("2", 2), ('["a", 3]', ("a", 3))):
        settings = [regression, f"data.targets={text}", 'data.names=["one"]']
        config = load_config(folder / "run.toml", settings)
        assert config.data.targets == value
        (folder / "again.toml").write_text(dump_config(config))
        assert load_config(folder / "again.toml") == config
    (folder / "r.toml").write_text('[data]\npath = "digits.npz"\ntask = "regression"\ntargets = "run.toml"')
    assert load_config(folder / "r.toml").data.targets == str(folder / "run.toml")


def test_the_last_override_and_the_flags_win(folder):
    config = load_config(folder / "full.toml", ["seed=1", "seed=2", "device=jax"], device="strict")
    assert config.seed == 2 and config.device == "strict"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "run.toml: data.path: missing; there is no default"),
        ("[dat]\n", "run.toml: dat: no such key; the nearest is data"),
        ("lr = 1\n", "run.toml: lr: no such key; the nearest is optimizer.lr"),
        (
            "zzz = 1\n",
            "run.toml: zzz: no such key; the file takes data, model, optimizer, schedule, train, seed, "
            "device, output",
        ),
        (
            'optimizer = "sgd"\ndata.path = "digits.npz"\n',
            'run.toml: optimizer: expected a table, [optimizer], got the string "sgd"',
        ),
        ("seed = 1.5\n[data]\npath = 'digits.npz'\n", "run.toml: seed: expected a whole number, got 1.5"),
        ("a = \n", "run.toml: not TOML: Invalid value (at line 1, column 5)"),
        ("[data]\npath = 3\n", "run.toml: data.path: expected a path, got 3"),
        (
            "[data]\npath = 'digit.npz'\n",
            "run.toml: data.path: digit.npz: no such file; the nearest in that folder is digits.npz",
        ),
    ],
)
def test_faults_of_the_file(folder, text, expected):
    assert fault(folder, text=text) == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lrr=1", "no such key; the nearest is optimizer.lr"),
        ("optimizer.epochs=1", "no such key; the nearest is train.epochs"),
        (
            "optimizer.zzz=1",
            "no such key; [optimizer] takes name, lr, momentum, nesterov, decay, b1, b2, eps, weight_decay, "
            "clip_norm, clip_value",
        ),
        ("optimizer.lr=fast", 'expected a number, got the string "fast"'),
        ("optimizer.lr=true", "expected a number, got true"),
        ("optimizer.lr=-0.1", "must be above 0, got -0.1"),
        ("optimizer.lr=inf", "must be finite, got inf"),
        ("optimizer.momentum=1", "must be at least 0 and below 1, got 1.0"),
        (
            "optimizer.name=adm",
            'expected one of "sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"; got the string "adm"; '
            'the nearest is "adam"',
        ),
        (
            "model.activation=rleu",
            'expected one of "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "softplus", "tanh"; '
            'got the string "rleu"; the nearest is "relu"',
        ),
        ("train.dtype=int8", 'expected one of "float32", "float64", "mixed"; got the string "int8"'),
        ("train.epochs=0", "must be at least 1, got 0"),
        ("train.epochs=2.0", "expected a whole number, got 2.0"),
        ("train.batch_size=9223372036854775808", "beyond the numbers of 64 bits"),
        ("seed=-1", "must be at least 0, got -1"),
        ("model.hidden=64", "expected a list, got 64"),
        ("data.header=1", "expected true or false, got 1"),
        ("data.labels=1.5", "expected a string or a whole number, got 1.5"),
        ("data.classes=1", "must be at least 2 and at most 1e+06, got 1"),
        ("data.delimiter=ab", "expected one character, got 'ab'"),
        ('data.names=["a", "a"]', "expected two or more different names"),
        ("data.test_fraction=1", "must be above 0 and below 1, got 1.0"),
        (
            "data.validation_fraction=0.9",
            "with data.test_fraction it leaves nothing to train on (0.9 + 0.2)",
        ),
        ("data.test_path=nothing.npz", "nothing.npz: no such file"),
        (
            "data.task=regresion",
            'expected one of "classification", "regression"; got the string "regresion"; the nearest is '
            '"regression"',
        ),
        (
            "data.targets=price",
            'goes with data.task = "regression", which is "classification"; data.labels names the classes',
        ),
        ("data.targets=1.5", "expected a string or a whole number or a list, got 1.5"),
        ("data.class_weights=1", 'expected "none" or "balanced" or a list, got 1'),
        (
            "data.class_weights=balance",
            'expected one of "none", "balanced"; got the string "balance"; the nearest is "balanced"',
        ),
        (
            "model.loss=huber",
            '"huber" is no loss of a classification (data.task), which takes "cross_entropy"',
        ),
        ("model.huber_delta=2", 'goes with model.loss = "huber" alone'),
        ("train.label_smoothing=1", "must be at least 0 and below 1, got 1.0"),
        (
            "train.monitor=acuracy",
            'expected one of "loss", "accuracy"; got the string "acuracy"; the nearest is "accuracy"',
        ),
        ("train.monitor=f1_macro", '"f1_macro" is not measured; name it in train.metrics too'),
        ('train.metrics=["roc_auc", "roc_auc"]', "names a measure twice"),
        (
            "optimizer.momentum=0.9",
            "adamw takes no momentum; it takes lr, b1, b2, eps, weight_decay, clip_norm, clip_value",
        ),
        ("schedule.factor=0.5", "constant takes no factor; it takes warmup_epochs"),
        ("schedule.warmup_epochs=50", "must be below train.epochs, 50"),
        ("train=3", "expected a table, [train], got 3"),
        ("train=1979-05-27", "expected a table, [train], got 1979-05-27"),
    ],
)
def test_faults_of_overrides_name_the_override(folder, override, expected):
    assert fault(folder, override) == f"--set {override}: {expected}"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.hidden=[3, 0]"], "--set model.hidden=[3, 0]: model.hidden[1]: must be at least 1, got 0"),
        (
            ["train={epochz=3}"],
            "--set train={epochz=3}: train.epochz: no such key; the nearest is train.epochs",
        ),
        (["bogus"], "--set 'bogus': expected key=value, such as optimizer.lr=0.01"),
        (["a b=1"], "--set 'a b=1': expected key=value, such as optimizer.lr=0.01"),
        (["data.path.x=1"], "--set data.path.x=1: data.path.x: path is not a table"),
        (
            ["schedule.name=one_cycle", "schedule.warmup_epochs=2"],
            "--set schedule.warmup_epochs=2: one_cycle takes no warmup_epochs; it has a warm-up of its own",
        ),
        (
            ["optimizer.name=sgd", "optimizer.nesterov=true"],
            "--set optimizer.nesterov=true: needs optimizer.momentum above 0",
        ),
        *(
            (
                ["data.task=regression", f"{key}={value}"],
                f'--set {key}={value}: goes with data.task = "classification", which is "regression"; '
                f"{instead}",
            )
            for key, value, instead in (
                ("data.labels", "kind", "data.targets names what a regression predicts"),
                ("data.test_labels", 3, "data.test_targets names what a regression predicts"),
                ("data.classes", 3, "a regression has an output per target, by data.targets"),
                ("data.class_weights", "balanced", "in a regression every example weighs the same"),
                ("train.label_smoothing", 0.1, 'a regression has model.loss = "huber" against outliers'),
            )
        ),
        (
            ["data.task=regression", "model.loss=cross_entropy"],
            '--set model.loss=cross_entropy: "cross_entropy" is no loss of a regression (data.task), which '
            'takes "mse", "huber", "mae"',
        ),
        (
            ["data.task=regression", 'train.metrics=["mse", "roc_auc"]'],
            '--set train.metrics=["mse", "roc_auc"]: train.metrics[1]: expected one of "mse", "rmse", "mae"; '
            'got the string "roc_auc"',
        ),
        (
            ["data.task=regression", 'data.names=["a", "a"]'],
            '--set data.names=["a", "a"]: expected one or more different names',
        ),
        (
            ["data.task=regression", "train.monitor=accuracy"],
            '--set train.monitor=accuracy: expected one of "loss", "r2"; got the string "accuracy"',
        ),
        (
            ['train.metrics=["f1_macro"]', "data.validation_fraction=0"],
            '--set train.metrics=["f1_macro"]: is of the validation set, and data.validation_fraction is 0',
        ),
        (
            ['data.names=["a", "b"]', "data.classes=3"],
            "--set data.classes=3: is 3, but data.names has 2 names",
        ),
    ],
)
def test_faults_of_settings_that_do_not_go_together(folder, overrides, expected):
    assert fault(folder, *overrides) == expected


def test_a_missing_file_names_the_nearest(folder):
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "runn.toml")
    assert str(caught.value).endswith("runn.toml: no such file; the nearest in that folder is run.toml")


def test_binary_files_are_no_toml(folder):
    (folder / "run.toml").write_bytes(b"\xff\xfe")
    assert fault(folder) == "run.toml: not UTF-8 text (byte 0)"
    (folder / "run.toml").write_text("a = " + "[" * 100_000)
    assert fault(folder).startswith("run.toml: ")


def test_the_folder_of_the_run_must_be_fresh(folder):
    assert fault(folder, output=str(folder)) == (
        f"--output: the folder {folder} is not empty; name a fresh one, or leave output out for a "
        "numbered folder under runs"
    )
    assert fault(folder, output=str(folder / "run.toml")) == "--output: run.toml is a file, not a folder"


def test_every_default_is_itself_allowed(folder):
    """What `dump_config` writes of an untouched configuration passes the checks, key by key."""
    config = load_config(folder / "run.toml")
    for section in dataclasses.fields(config):
        value = getattr(config, section.name)
        if dataclasses.is_dataclass(value):
            for entry in dataclasses.fields(value):
                inner = getattr(value, entry.name)
                if isinstance(inner, int | float | str):
                    text = str(inner).lower() if isinstance(inner, bool) else str(inner)
                    assert load_config(folder / "run.toml", [f"{section.name}.{entry.name}={text}"]) == config


def test_the_shipped_configuration_uses_known_keys_only():
    config = load_config("examples/digits.toml")
    written = [line.split(" = ")[0] for line in dump_config(config).splitlines() if " = " in line]
    assert {key.rpartition(".")[2] for key in keys(Config)} >= set(written)


def test_reading_a_configuration_needs_no_optional_library(folder):
    """The checks run where the extra `train` is not installed."""
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'matplotlib', 'safetensors'): sys.modules[name] = None\n"
        "from portagrad.train.config_file import load_config\n"
        f"print(load_config({str(folder / 'run.toml')!r}).train.epochs)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.stdout, done.stderr) == ("50\n", "")


# --- made in Python ---


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"train": LoopConfig(epochs=0)}, "train.epochs: must be at least 1, got 0"),
        ({"train": LoopConfig(epochs="3")}, 'train.epochs: expected a whole number, got the string "3"'),
        ({"train": LoopConfig(epochs=True)}, "train.epochs: expected a whole number, got true"),
        ({"train": LoopConfig(compile="no")}, 'train.compile: expected true or false, got the string "no"'),
        ({"train": 5}, "train: expected a table, [train], got 5"),
        ({"train": ModelConfig()}, "train.hidden: no such key; the nearest is model.hidden"),
        ({"optimizer": OptimizerConfig(lr=-0.1)}, "optimizer.lr: must be above 0, got -0.1"),
        ({"optimizer": OptimizerConfig(lr=float("nan"))}, "optimizer.lr: must be finite, got nan"),
        ({"model": ModelConfig(hidden=16)}, "model.hidden: expected a list, got 16"),
        ({"model": ModelConfig(hidden=(8, 0))}, "model.hidden[1]: must be at least 1, got 0"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"device": 3}, "device: expected a string, got 3"),
    ],
)
def test_a_configuration_made_in_python_is_checked_as_a_file_is(folder, monkeypatch, sections, text):
    monkeypatch.chdir(folder)
    (folder / "data.csv").write_text("1,0\n2,1\n")
    before = sorted(folder.iterdir())
    own = pg.nn.Linear(np.zeros((1, 2)), np.zeros(2)), (np.zeros((4, 1)), np.arange(4) % 2)
    whole = Config(**{"data": DataConfig(path=folder / "data.csv"), **sections})
    for run in (lambda: start(whole), lambda: sweep(whole), lambda: fit(*own, Config(**sections))):
        with pytest.raises(ConfigError) as caught:
            run()
        assert str(caught.value) == text
    assert sorted(folder.iterdir()) == before


def test_values_in_a_configuration_made_in_python_may_be_numpys_or_lists(folder):
    made = Config(
        data=DataConfig(path=str(folder / "digits.npz"), class_weights=[np.float32(0.5), 1]),
        model=ModelConfig(hidden=[np.int64(8)]),
        optimizer=OptimizerConfig(lr=np.logspace(-2, -1, 2)[0]),
        train=LoopConfig(epochs=np.int32(3)),
        device=pg.device("cpu"),
    )
    found = checked(made)
    assert found == Config(
        data=DataConfig(path=folder / "digits.npz", class_weights=(0.5, 1.0)),
        model=ModelConfig(hidden=(8,)),
        optimizer=OptimizerConfig(lr=0.01),
        train=LoopConfig(epochs=3),
        device="cpu",
    )
    assert checked(found) == found and type(found.optimizer.lr) is float
    with pytest.raises(TypeError, match=r"config is str; give a train\.Config, such as load_config reads"):
        start("run.toml")
