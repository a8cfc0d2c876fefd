"""What a run writes: weights, its folder, curves and the confusion matrix."""

import os
import stat

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, random
from portagrad.errors import CheckpointError, ConfigError
from portagrad.train import load_weights, save_weights
from portagrad.train.metrics import confusion_matrix
from portagrad.train.reports import draw_confusion, write_confusion, write_curves
from portagrad.train.run_folder import fresh_folder, json_line, replacing, write_text


def png_size(path):
    """Width and height of a PNG file, from its first chunk."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and content[-8:-4] == b"IEND"
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


# --- weights ---


@pytest.fixture
def saved(tmp_path):
    model = nn.MLP.init(random.key(0), [4, 3, 2], device="cpu")
    path = tmp_path / "w.safetensors"
    save_weights(path, model)
    return path, model


def test_weights_come_back_on_any_device(saved, xp_device):
    path, model = saved
    there = pg.to_device(model, xp_device)
    back = load_weights(path, there)
    assert pg.device(back.layers[0].weight) == xp_device
    for ours, theirs in zip(model.layers, back.layers, strict=True):
        np.testing.assert_array_equal(pg.to_device(theirs.weight, "cpu"), ours.weight)
        np.testing.assert_array_equal(pg.to_device(theirs.bias, "cpu"), ours.bias)


def test_weights_are_readable_by_the_format_s_own_library(saved):
    from safetensors.numpy import load_file

    path, model = saved
    arrays = load_file(path)
    assert sorted(arrays) == ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]
    np.testing.assert_array_equal(arrays["layers.1.weight"], model.layers[1].weight)


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ([4, 3, 3, 2], {}, "no array 'layers.2.weight'"),
        ([4, 2], {}, "the array 'layers.1.bias' belongs to no part of the model"),
        ([4, 5, 2], {}, "the array 'layers.0.weight' is float32 (4, 3), the model's is float32 (4, 5)"),
        (
            [4, 3, 2],
            {"dtype": "float64"},
            "the array 'layers.0.weight' is float32 (4, 3), the model's is float64 (4, 3)",
        ),
        ([4, 3, 2], {"bias": False}, "the array 'layers.0.bias' belongs to no part of the model"),
    ],
)
def test_weights_of_another_model_are_refused(saved, sizes, options, expected):
    path, _ = saved
    other = nn.MLP.init(random.key(0), sizes, device="cpu", **options)
    with pytest.raises(CheckpointError) as caught:
        load_weights(path, other)
    assert str(caught.value) == f"{path}: {expected}"


def test_damaged_weights_are_refused(saved):
    """Every byte of the file matters: each of 200 flips and cuts is either noticed or changes no array."""
    path, model = saved
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for trial in range(200):
        content = bytearray(whole)
        if trial % 4 == 0:
            del content[int(rng.integers(0, len(content))) :]
        else:
            content[int(rng.integers(0, len(content)))] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(content))
        try:
            back = load_weights(path, model)
        except CheckpointError as error:
            noticed += 1
            assert "\n" not in str(error)
        else:
            for ours, theirs in zip(model.layers, back.layers, strict=True):
                np.testing.assert_array_equal(ours.weight, theirs.weight)
                np.testing.assert_array_equal(ours.bias, theirs.bias)
    assert noticed > 150


def test_a_missing_file_of_weights_names_the_nearest(saved):
    path, model = saved
    with pytest.raises(
        CheckpointError, match=r"x\.safetensors: no such file; the nearest in that folder is w\.safetensors$"
    ):
        load_weights(path.with_name("x.safetensors"), model)


def test_what_is_no_array_is_no_weight(tmp_path):
    with pytest.raises(CheckpointError, match=r"^b is str, not an array; only arrays are weights$"):
        save_weights(tmp_path / "w", {"a": np.ones(1), "b": "text"})
    assert list(tmp_path.iterdir()) == []


# --- the run's folder and its files ---


def test_folders_are_numbered_and_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(fresh_folder("digits")) for _ in range(3)] == [
        "runs/digits-1",
        "runs/digits-2",
        "runs/digits-3",
    ]
    assert str(fresh_folder("other")) == "runs/other-1"
    empty = tmp_path / "a" / "b"
    assert fresh_folder("x", empty) == empty == fresh_folder("x", empty)
    (empty / "file").touch()
    with pytest.raises(ConfigError, match=r"^output: the folder .*b is not empty; name a fresh one$"):
        fresh_folder("x", empty)
    with pytest.raises(
        ConfigError, match=r"^output: the folder .*file.c cannot be made \(Not a directory\)$"
    ):
        fresh_folder("x", empty / "file" / "c")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_numbers_that_json_lacks_become_null():
    assert (
        json_line({"a": float("nan"), "b": [float("inf"), 1.5], "c": "é"})
        == '{"a": null, "b": [null, 1.5], "c": "é"}'
    )


# --- reports ---


def test_the_confusion_matrix_counts_by_true_class_and_prediction():
    labels, predictions = np.asarray([0, 0, 1, 2, 2, 2]), np.asarray([0, 1, 1, 2, 0, 2])
    assert confusion_matrix(labels, predictions, 4).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 2, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize("classes", [2, 20, 21, 150])
def test_the_confusion_plot_of_any_number_of_classes(tmp_path, classes):
    names = [f"class {i}: a rather long name" for i in range(classes)]
    write_confusion(tmp_path, np.eye(classes, dtype=np.int64) * 3, names)
    draw_confusion(tmp_path, np.eye(classes, dtype=np.int64) * 3, names)
    width, height = png_size(tmp_path / "confusion.png")
    assert 400 < width < 2400 and 400 < height < 2400


@pytest.mark.parametrize("values", [[1.0], [1.0, None], [0.0, 1.0], [1e-9, 1e9], [2.0, 1.5, 1.1]])
def test_the_curves_of_any_values(tmp_path, values):
    epochs = [
        {
            "epoch": i + 1,
            "train_loss": value,
            "train_accuracy": 0.5,
            "validation_loss": 1.0,
            "validation_accuracy": 0.4,
        }
        for i, value in enumerate(values)
    ]
    write_curves(tmp_path, epochs, {"test_loss": 1.0, "test_accuracy": 0.5})
    assert min(png_size(tmp_path / "curves.png")) > 400
