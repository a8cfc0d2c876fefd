"""The step of training: whole, in slices, in mixed precision, on every backend."""

import json

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, optim, random
from portagrad.device import transfer
from portagrad.errors import ConfigError
from portagrad.train import load_config, load_model, start
from portagrad.train.feed import copied, on_host
from portagrad.train.step import Step, outputs_of, weights_as
from portagrad.train.task import Classification
from portagrad.transforms.tree import flatten, tree_map

TASK = Classification(("a", "b", "c"))


def batch(where, rows=20):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(0, 3, rows).astype(np.int32)
    return transfer(x, where), transfer(y, where)


def trained(where, *, compiled, dtype="float32", **options):
    """Weights, losses and scores of two steps."""
    model = nn.MLP.init(random.key(3), [5, 6, 3], dtype="float32", device=where)
    model = weights_as(getattr(where.backend.xp, dtype), model)
    optimizer = optim.adamw(0.01)
    step = Step(optimizer, TASK, compiled=compiled, **options)
    carried = (model, (optimizer.init(model), random.key(1)))
    told = []
    for _ in range(2):
        *carried, loss, weight, score = step(*carried, *batch(where))
        told.append((float(on_host(loss)), float(on_host(score))))
        assert weight is None  # every example counts the same
    return [on_host(leaf) for leaf in flatten(carried[0])[0]], told


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_in_slices_is_the_step(xp_device, compiled):
    """20 examples as 7, 7 and 6: the mean weighs each example alike."""
    if compiled != (xp_device.backend.name in ("jax", "cupy")) and xp_device.backend.name != "numpy":
        pytest.skip(
            "once on each library: JAX's compiled step, and the eager one of others, as compiled it is"
        )
    expected, losses = trained(xp_device, compiled=compiled)
    found, told = trained(xp_device, compiled=compiled, slice_size=7)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(told, losses, rtol=1e-5)


def test_a_slice_as_large_as_the_batch_is_no_slice():
    expected, losses = trained(pg.device("cpu"), compiled=False)
    found, told = trained(pg.device("cpu"), compiled=False, slice_size=20)
    assert told == losses and all(map(np.array_equal, expected, found))


def test_the_gradient_that_is_watched_is_the_batch_s():
    where = pg.device("cpu")
    x, y = batch(where)
    model = nn.MLP.init(random.key(3), [5, 6, 3], dtype="float64", device=where)
    x = x.astype(np.float64)
    expected = pg.grad(lambda m: nn.cross_entropy(m(x), y))(model)
    for size in (None, 7):
        found = Step(optim.sgd(1.0), TASK, dropout=0.5, slice_size=size).gradient(model, x, y)
        for one, other in zip(flatten(expected)[0], flatten(found)[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [None, 7])
def test_a_batch_whose_examples_weigh_nothing_changes_nothing(size):
    where = pg.device("cpu")
    x, _ = batch(where)
    task = Classification(("a", "b", "c"), weights=np.asarray([1, 0, 1], np.float32))
    model = nn.MLP.init(random.key(3), [5, 6, 3], device=where)
    optimizer = optim.sgd(0.1)
    step = Step(optimizer, task, slice_size=size)
    after, _, loss, _, _ = step(model, (optimizer.init(model), random.key(1)), x, np.ones(20, np.int32))
    assert loss == 0 and all(map(np.array_equal, flatten(model)[0], flatten(after)[0]))


def test_each_slice_draws_its_own_dropout():
    """With the same draw, two equal slices would have equal losses."""
    where = pg.device("cpu")
    x, y = batch(where, 8)
    x, y = np.concatenate([x, x]), np.concatenate([y, y])
    model = nn.MLP.init(random.key(3), [5, 64, 3], dropout=0.5, device=where)
    optimizer = optim.sgd(0.0)

    def loss(size, x, y):
        step = Step(optimizer, TASK, dropout=0.5, slice_size=size)
        return float(step(model, (optimizer.init(model), random.key(1)), x, y)[2])

    drawn = random.split(random.key(1))[1]
    parts = [float(nn.cross_entropy(model(x[:8], key=random.fold_in(drawn, i)), y[:8])) for i in range(2)]
    assert parts[0] != parts[1]
    assert loss(8, x, y) == pytest.approx(sum(parts) / 2, rel=1e-6)


def test_mixed_precision_computes_in_float32_and_keeps_weights_in_float64(xp_device):
    if "float64" not in xp_device.backend.xp.__array_namespace_info__().dtypes(kind="real floating"):
        with pytest.raises(ConfigError, match=r"^train.dtype: .* has no float64, only"):
            start(load_config("examples/digits.toml", ["train.dtype=mixed"], device=str(xp_device)))
        return
    model = nn.MLP.init(random.key(3), [5, 6, 3], dtype="float64", device=xp_device)
    x, _ = batch(xp_device)
    assert outputs_of(model, x).dtype == x.dtype
    weights, told = trained(xp_device, compiled=True, dtype="float64")
    assert all(weight.dtype == np.float64 for weight in weights)
    _, expected = trained(xp_device, compiled=True)
    np.testing.assert_allclose(told, expected, rtol=1e-5)


def test_small_updates_are_kept_in_mixed_precision_and_lost_without():
    """What it is for: 1 + 1e-9 is 1 in float32, however often it is added."""
    where = pg.device("cpu")
    x, y = batch(where)
    moved = {}
    for dtype in ("float32", "float64"):
        model = tree_map(np.ones_like, nn.MLP.init(random.key(3), [5, 3], dtype=dtype, device=where))
        before = copied(model)
        optimizer = optim.sgd(1e-9)
        step, carried = Step(optimizer, TASK), (model, (optimizer.init(model), random.key(1)))
        for _ in range(5):
            *carried, _, _, _ = step(*carried, x, y)
        moved[dtype] = np.abs(carried[0].layers[0].weight - before.layers[0].weight).max()
    assert moved["float32"] == 0 < moved["float64"] < 1e-8


def run_of(tmp_path, name, *settings):
    shared = ["train.epochs=2", "data.validation_fraction=0", "schedule.warmup_epochs=0", "model.dropout=0"]
    settings = [*shared, "train.figures=false", *settings]
    result = start(load_config("examples/digits.toml", settings, device="cpu", output=tmp_path / name))
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    return result, [line.get("train_loss", line.get("test_loss")) for line in map(json.loads, lines)]


def test_runs_in_slices_and_in_mixed_precision(tmp_path):
    """The whole run, its files included, is the plain one to rounding."""
    for setting, reference in (("train.slice_size=20", "float32"), ("train.dtype=mixed", "float64")):
        _, expected = run_of(tmp_path, reference, f"train.dtype={reference}")  # draws the same weights
        result, found = run_of(tmp_path, setting, setting)
        assert found == pytest.approx(expected, rel=1e-4)
        saved = load_model(result.folder, device="cpu")
        assert saved.description.dtype == "float32"
        assert saved.model.layers[0].weight.dtype == np.float32
