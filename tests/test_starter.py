"""The starter configuration says every key, and is a configuration."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

import portagrad as pg
from portagrad.train import Config, DataConfig, load_config
from portagrad.train.schema import keys
from portagrad.train.starter import described, starter, write_starter

DIGITS = Path(__file__).parent.parent / "examples" / "data" / "digits.npz"


def test_the_starter_is_the_configuration_of_defaults(tmp_path):
    path = tmp_path / "run.toml"
    write_starter(path, DIGITS)
    config = load_config(path)
    expected = Config(data=DataConfig(path=config.data.path))
    assert config == expected
    assert config.data.path.resolve() == DIGITS.resolve()
    assert "# 1797 examples of 64 features in 10 classes: 0, 1, 2" in path.read_text("utf-8")


def test_the_starter_has_every_key_with_a_word():
    text = starter()
    lines, section = text.splitlines(), ""
    found = []
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]") + "."
        key = line.removeprefix("# ").partition(" =")
        if key[1] and key[0].isidentifier():
            found.append(section + key[0])
    assert found == [key for key in keys(Config) if "." not in key] + [k for k in keys(Config) if "." in k]
    texts = " ".join(text.replace("# ", "").split())
    for section in (Config, *(type(part) for part in vars(Config(data=DataConfig(path=Path()))).values())):
        if dataclasses.is_dataclass(section):
            told = described(section)
            assert [*told] == [field.name for field in dataclasses.fields(section)]
            assert all(word in texts for word in told.values() if word != "The sections.")
    assert text.count("As for the function of that name") == 1
    assert tomllib.loads(text)["optimizer"]["lr"] == 1e-3


def test_a_starter_overwrites_nothing_unless_told(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(pg.ConfigError, match="exists already"):
        write_starter(path)
    assert path.read_text("utf-8") == "mine"
    write_starter(path, force=True)
    assert "[data]" in path.read_text("utf-8")
    with pytest.raises(pg.DataError, match="no such file"):
        write_starter(tmp_path / "other.toml", tmp_path / "none.npz")
    with pytest.raises(pg.ConfigError, match="cannot be written"):
        write_starter(tmp_path / "missing" / "run.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["run.toml"]


def test_a_file_that_needs_a_key_is_noted(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    write_starter(tmp_path / "run.toml", tmp_path / "x.csv")
    assert "# As it stands: " in (tmp_path / "run.toml").read_text("utf-8")
