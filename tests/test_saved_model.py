"""A trained model is one file, read on any backend, exported with its scaling."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

import portagrad as pg
from portagrad import nn
from portagrad.data import Standardization
from portagrad.train import Description, TrainedModel, load_model, save_model, save_weights
from portagrad.train.weights import read_weights

NAMES = ("ä", "b", "c")
SCALING = Standardization(np.asarray([1.0, -2.0]), np.asarray([2.0, 0.5]))


def trained(task="classification", activation="relu", dtype="float32"):
    model = nn.MLP.init(pg.random.key(0), [2, 5, 3], activation=activation, dropout=0.2, dtype=dtype)
    told = Description(
        task=task,
        sizes=(2, 5, 3),
        activation=activation,
        dropout=0.2,
        dtype=dtype,
        classes=NAMES if task == "classification" else (),
        features=("u", "v"),
    )
    targets = Standardization(np.arange(3.0), np.full(3, 10.0)) if task == "regression" else None
    return TrainedModel(told, model, SCALING, targets)


X = np.random.default_rng(0).normal(size=(7, 2))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_model_predicts_the_same_on_every_backend(tmp_path, xp_device, task):
    own = trained(task)
    save_model(tmp_path / "model.safetensors", own)
    there = load_model(tmp_path, device=xp_device)
    assert there.description == own.description
    found, expected = there.predict(X), own.predict(X)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
    y = own.model(((X - SCALING.mean) / SCALING.scale).astype(np.float32))
    if task == "regression":
        np.testing.assert_allclose(found.values, y * 10 + np.arange(3.0), rtol=1e-5)
    else:
        np.testing.assert_allclose(found.probabilities, nn.softmax(y), rtol=1e-5)
        np.testing.assert_array_equal(found.values, y.argmax(axis=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", sorted(nn.ACTIVATIONS))
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_its_export_takes_inputs_in_their_own_units(tmp_path, task, activation, dtype):
    own = trained(task, activation, dtype)
    pg.onnx.export_trained(own, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for rows in (X, X[:1]):
        first, *rest = session.run(None, {"inputs": rows.astype(dtype)})
        expected = own.predict(rows)
        if task == "regression":
            np.testing.assert_allclose(first, expected.values, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_allclose(first, expected.probabilities, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(rest[0], expected.values)
    properties = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(properties["features"]) == ["u", "v"] and properties["task"] == task
    assert json.loads(properties["classes"]) == list(own.description.classes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "format '2'; this portagrad reads 1"),
        ({"task": "clustering"}, "task: expected one of"),
        ({"sizes": [2]}, "sizes: expected two or more"),
        ({"sizes": [2, 5, 4]}, "classes: 3 names for 4 outputs"),
        (
            {"sizes": [2, 6, 3]},
            "'model.layers.0.weight' is float32 (2, 5), by the description float32 (2, 6)",
        ),
        ({"sizes": [2, 5, 5, 3]}, "(5, 3), by the description float32 (5, 5)"),
        ({"sizes": [2, -1, 3]}, "sizes[1]: must be at least 1"),
        ({"activation": "__import__"}, "activation: expected one of"),
        ({"dtype": "float64"}, "by the description float64"),
        ({"features": ["u"]}, "features: 1 names for 2 inputs"),
        ({"surprise": 1}, "surprise: no such key"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path, change, expected):
    path = tmp_path / "model.safetensors"
    save_model(path, trained())
    arrays, metadata = read_weights(path)
    table = {**json.loads(metadata["portagrad"]), **change}
    save_weights(path, arrays, metadata={"portagrad": json.dumps(table)})
    with pytest.raises(pg.CheckpointError) as raised:
        load_model(path)
    assert expected in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("inputs.scale", np.asarray([1.0, 0.0]), "inputs.scale has an element that is not above 0"),
        ("inputs.mean", np.asarray([1.0, np.nan]), "not finite"),
        ("model.layers.9.bias", np.zeros(1), "belongs to no part"),
        ("inputs.mean", None, "no array 'inputs.mean'"),
    ],
)
def test_arrays_that_cannot_be_are_refused(tmp_path, name, array, expected):
    path = tmp_path / "model.safetensors"
    save_model(path, trained())
    arrays, metadata = read_weights(path)
    arrays = {**arrays, name: array} if array is not None else {k: v for k, v in arrays.items() if k != name}
    save_weights(path, arrays, metadata={"portagrad": metadata["portagrad"]})
    with pytest.raises(pg.CheckpointError, match=expected):
        load_model(path)


def test_files_that_are_no_saved_model_are_said_to_be_none(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(pg.CheckpointError, match="no such file"):
        load_model(tmp_path)
    save_weights(path, {"w": np.ones(2)})
    with pytest.raises(pg.CheckpointError, match="holds weights alone"):
        load_model(path)
    for text in ("[", "[1]", "[" * 100_000):
        save_weights(path, {"w": np.ones(2)}, metadata={"portagrad": text})
        with pytest.raises(pg.CheckpointError, match="no JSON table"):
            load_model(path)
    save_model(path, trained())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(pg.CheckpointError, match="damaged"):
        load_model(path)


def test_an_export_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(pg.CheckpointError, match="cannot be written"):
        pg.onnx.export_trained(trained(), tmp_path / "missing" / "model.onnx")
    assert not [*tmp_path.iterdir()]


def test_inputs_that_do_not_fit_are_refused():
    own = trained()
    with pytest.raises(
        pg.DataError, match=r"takes 2 numbers per example, but the inputs have the shape \(4, 3\)"
    ):
        own.predict(np.ones((4, 3)))
    with pytest.raises(pg.DataError, match="inputs: row 5000, feature 1 is nan, not a finite"):
        own.predict(np.where(np.arange(12000).reshape(6000, 2) == 10001, np.nan, 1.0))
    assert own.predict(np.zeros((0, 2))).probabilities.shape == (0, 3)
