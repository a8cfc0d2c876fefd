"""The range test finds where the loss falls, and leaves the weights alone."""

import json

import numpy as np
import pytest

import portagrad as pg
from portagrad import nn, optim
from portagrad.train import RangeTest, find_lr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int32)
BATCHES = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 64, 16)]


def loss(model, x, y):
    return nn.cross_entropy(model(x), y)


def test_training_at_the_suggestion_goes_down_and_at_the_top_does_not(xp_device):
    model = nn.MLP.init(pg.random.key(0), [5, 16, 2], device=xp_device)
    before = [
        pg.to_device(x, "cpu").copy() for x in pg.transforms.tree.flatten(model)[0] if hasattr(x, "shape")
    ]
    there = [tuple(pg.to_device(x, xp_device) for x in batch) for batch in BATCHES]
    steps = 6 if xp_device.backend.name in ("dask", "jax") else 80
    found = find_lr(loss, model, there, optimizer=optim.sgd, low=1e-5, high=1e3, steps=steps)
    after = [pg.to_device(x, "cpu") for x in pg.transforms.tree.flatten(model)[0] if hasattr(x, "shape")]
    assert all((a == b).all() for a, b in zip(after, before, strict=True))
    np.testing.assert_allclose(found.rates, 1e-5 * 1e8 ** (np.arange(len(found.rates)) / (steps - 1)))
    if steps == 80:
        assert 1e-3 < found.suggestion < 10

        def trained(rate):
            own, state = model, optim.sgd(rate).init(model)
            for _ in range(10):
                for batch in there:
                    updates, state = optim.sgd(rate).update(pg.grad(loss)(own, *batch), state, own)
                    own = optim.apply_updates(own, updates)
            return float(loss(own, *(pg.to_device(x, xp_device) for x in (X, Y))))

        assert trained(found.suggestion) < float(loss(model, *(pg.to_device(x, xp_device) for x in (X, Y))))


def test_the_sweep_ends_where_the_loss_diverges():
    def steep(w):
        return pg.sum(w * w)

    found = find_lr(steep, np.ones(2), [()], optimizer=optim.sgd, low=1e-4, high=1e6, steps=60)
    assert 3 <= len(found.losses) < 60 and np.isfinite(found.losses).all()
    assert json.loads(found.json())["suggestion"] == found.suggestion
    # Smoothing by hand: an exponential mean over its weights.
    weights = 0.9 ** np.arange(len(found.losses))[::-1]
    np.testing.assert_allclose(found.smoothed[-1], (weights * found.losses).sum() / weights.sum())


@pytest.mark.parametrize(
    "options", [{"low": 1.0, "high": 0.5}, {"low": 0.0}, {"steps": 2}, {"smoothing": 1.0}], ids=str
)
def test_what_is_no_sweep_is_refused(options):
    with pytest.raises(ValueError, match="find_lr: expected"):
        find_lr(lambda w: w, np.ones(()), [()], **options)
    with pytest.raises(ValueError, match="no batch"):
        find_lr(lambda w: w, np.ones(()), [])


def test_the_noise_of_the_first_batches_is_no_fall():
    """Of two batches, one of twice the loss; the rates that change something come late."""

    def loss(w, scale):
        return scale * pg.mean(w * w)

    noisy = [(np.asarray(scale),) for scale in (2.0, 1.0)]
    found = find_lr(loss, np.ones(4), noisy, optimizer=optim.sgd, low=1e-7, high=10.0, steps=100)
    assert 1e-2 < found.suggestion < 5


@pytest.mark.parametrize("suggested", [True, False])
def test_a_sweep_is_drawn_with_its_suggestion_marked(tmp_path, suggested):
    losses = np.linspace(2.0, 1.0, 30) if suggested else np.ones(30)
    found = RangeTest(10.0 ** np.linspace(-7, 1, 30), losses, losses, 1e-3 if suggested else None)
    found.draw(tmp_path / "sweep.svg")
    text = (tmp_path / "sweep.svg").read_text()
    assert text.lstrip().startswith("<?xml") and ("suggested, 0.001: the steepest fall" in text) == suggested
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.svg"]


def test_a_loss_that_never_falls_has_no_suggestion():
    found = find_lr(lambda w: w * 0 + 1.0, np.ones(()), [()], optimizer=optim.sgd, steps=5)
    assert found.suggestion is None
