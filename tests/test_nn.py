"""Layers and losses: against finite differences, against torch's, and the same everywhere."""

import math

import numpy as np
import optree
import pytest

import portagrad as pg
from portagrad import nn, random

KEY = random.key(6)
SPACE = "portagrad"
LABELS = np.asarray([0, 2, 1, 2, 0])


def host(x):
    """Any array as NumPy's."""
    return pg.to_device(x, "numpy")


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def numeric_gradient(loss, model):
    """Central differences of a loss of a float64 model, leaf by leaf."""
    leaves, structure = optree.tree_flatten(model, namespace=SPACE)
    slopes = []
    for k, leaf in enumerate(leaves):
        slope = np.empty(leaf.shape)
        for i in np.ndindex(leaf.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = leaf.copy()
                moved[i] += step
                other = optree.tree_unflatten(structure, [*leaves[:k], moved, *leaves[k + 1 :]])
                ends.append(float(loss(other)))
            slope[i] = (ends[0] - ends[1]) / 2e-6
        slopes.append(slope)
    return slopes


# Gradients


def models():
    """Models of every kind in float64, each with a loss of it, of five inputs and of targets like them."""
    for name in nn.ACTIVATIONS:
        mlp = nn.MLP.init(KEY, [4, 3, 3], activation=name, dtype="float64")
        yield pytest.param(mlp, lambda m, x, y, labels: nn.cross_entropy(m(x), labels), id=name)
    mlp = nn.MLP.init(KEY, [4, 3, 3], dropout=0.4, dtype="float64")
    yield pytest.param(mlp, lambda m, x, y, labels: nn.cross_entropy(m(x, key=KEY), labels), id="dropout")
    layer = nn.Linear.init(KEY, 4, 4, dtype="float64")
    normal = nn.Sequential(layer, nn.gelu, nn.LayerNorm.init(4, dtype="float64"))
    yield pytest.param(normal, lambda m, x, y, labels: nn.mse(m(x), y), id="layer_norm")
    norm = nn.BatchNorm.init(4, dtype="float64")
    both = (layer, norm)
    yield pytest.param(
        both, lambda m, x, y, labels: nn.mse(m[1](m[0](x), m[1].initial_state())[0], y), id="batch_norm"
    )
    yield pytest.param(
        layer, lambda m, x, y, labels: nn.binary_cross_entropy(m(x), nn.sigmoid(y)), id="binary"
    )

    def weighted(m, x, y, labels):
        return nn.cross_entropy(m(x), labels, weights=y[0, :3] * y[0, :3], label_smoothing=0.1)

    yield pytest.param(nn.Linear.init(KEY, 4, 3, dtype="float64"), weighted, id="weighted")
    yield pytest.param(
        layer, lambda m, x, y, labels: nn.huber(m(x), y, delta=0.7) + nn.mae(m(x), y), id="huber and mae"
    )


@pytest.mark.parametrize(("model", "loss"), list(models()))
def test_gradients_are_those_of_finite_differences(xp_device, model, loss):
    x, y = draw((5, 4)), draw((5, 4), seed=1)
    expected = numeric_gradient(lambda m: loss(m, x, y, LABELS), model)
    data = pg.to_device((x, y, LABELS), xp_device)
    found = optree.tree_leaves(pg.grad(loss)(pg.to_device(model, xp_device), *data), namespace=SPACE)
    assert len(found) == len(expected)
    for g, slope in zip(found, expected, strict=True):
        assert pg.device(g) == xp_device
        np.testing.assert_allclose(host(g), slope, rtol=1e-6, atol=1e-8)


def test_modules_differentiate_to_second_order():
    model = nn.MLP.init(KEY, [4, 3, 2], activation="tanh", dtype="float64")
    x, labels = draw((5, 4)), LABELS % 2
    tangent = optree.tree_map(lambda leaf: draw(leaf.shape, seed=3), model, namespace=SPACE)

    def slope(m):
        return pg.grad(lambda m: nn.cross_entropy(m(x), labels))(m)

    found = pg.hvp(lambda m: nn.cross_entropy(m(x), labels), (model,), (tangent,))
    ends = [
        slope(optree.tree_map(lambda w, t, h=h: w + h * t, model, tangent, namespace=SPACE))
        for h in (1e-6, -1e-6)
    ]
    expected = optree.tree_map(lambda a, b: (a - b) / 2e-6, *ends, namespace=SPACE)
    found = optree.tree_leaves(found, namespace=SPACE)
    for a, b in zip(found, optree.tree_leaves(expected, namespace=SPACE), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def noisy_loss(model, x, labels):
    """Of a pair of a batch norm and a perceptron with dropout; beside it the new state."""
    norm, mlp = model
    y, state = norm(x, norm.initial_state())
    return nn.cross_entropy(mlp(y, key=KEY), labels), state


def test_a_training_step_on_dask_computes_nothing():
    dask = pytest.importorskip("dask")
    model = (nn.BatchNorm.init(4, device="dask"), nn.MLP.init(KEY, [4, 5, 3], dropout=0.5, device="dask"))
    data = pg.to_device((draw((5, 4)).astype(np.float32), LABELS), "dask")

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        (loss, state), _ = pg.value_and_grad(noisy_loss, has_aux=True)(model, *data)
    assert math.isfinite(float(loss)) and np.isfinite(host(state.variance)).all()


def test_a_training_step_can_be_jitted_by_jax():
    jax = pytest.importorskip("jax")
    model = (nn.BatchNorm.init(4, device="jax"), nn.MLP.init(KEY, [4, 5, 3], dropout=0.5, device="jax"))
    data = pg.to_device((draw((5, 4)).astype(np.float32), LABELS.astype(np.int32)), "jax")
    leaves, structure = optree.tree_flatten(model, namespace=SPACE)

    def step(leaves, *data):
        model = optree.tree_unflatten(structure, leaves)
        out = pg.value_and_grad(noisy_loss, has_aux=True)(model, *data)
        return optree.tree_leaves(out, namespace=SPACE)

    for jitted, plain in zip(jax.jit(step)(leaves, *data), step(leaves, *data), strict=True):
        np.testing.assert_allclose(host(jitted), host(plain), rtol=1e-4, atol=1e-5)


# Against torch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def like_torch(torch, ours, theirs, x, *, run=lambda layer, x: layer(x)):
    """One layer of ours and of torch's give the same result and the same gradients, weights transposed."""
    theirs = theirs.double()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(ours.weight).T))
        theirs.bias.copy_(torch.tensor(ours.bias))
    weigh = draw(theirs(torch.tensor(x)).shape, seed=9)
    theirs.zero_grad()
    tx = torch.tensor(x, requires_grad=True)
    ty = theirs(tx)
    (ty * torch.tensor(weigh)).sum().backward()
    y, pullback = pg.vjp(run, ours, x)
    gradient, gx = pullback(weigh)
    np.testing.assert_allclose(y, ty.detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gx, tx.grad, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient.weight.T, theirs.weight.grad, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient.bias, theirs.bias.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 5, 4), (0, 4)])
def test_linear_is_torchs(torch, shape):
    ours = nn.Linear(draw((4, 3), seed=1), draw((3,), seed=2))
    like_torch(torch, ours, torch.nn.Linear(4, 3), draw(shape))


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)])
def test_layer_norm_is_torchs(torch, shape):
    ours = nn.LayerNorm(draw((4,), seed=1), draw((4,), seed=2), eps=1e-3)
    like_torch(torch, ours, torch.nn.LayerNorm(4, eps=1e-3), draw(shape))


def test_batch_norm_is_torchs_in_training_and_in_inference(torch):
    ours = nn.BatchNorm(draw((4,), seed=1), draw((4,), seed=2), momentum=0.3, eps=1e-3)
    theirs = torch.nn.BatchNorm1d(4, momentum=0.3, eps=1e-3).double()
    state = ours.initial_state()
    like_torch(torch, ours, theirs, draw((6, 4)), run=lambda norm, x: norm(x, state)[0])
    theirs.reset_running_stats()
    for seed in range(3):
        x = 2 * draw((6, 4), seed) + seed
        _, state = ours(x, state)
        theirs(torch.tensor(x))
    np.testing.assert_allclose(state.mean, theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(state.variance, theirs.running_var, rtol=1e-12)
    theirs.eval()
    like_torch(torch, ours, theirs, draw((1, 4)), run=lambda norm, x: norm(x, state, train=False)[0])
    assert ours(draw((1, 4)), state, train=False)[1] is state


def test_batch_norm_takes_more_axes_and_hands_its_state_through_a_gradient(xp_device):
    norm = nn.BatchNorm.init(3, dtype="float64", device=xp_device)
    x = pg.to_device(draw((2, 4, 3)), xp_device)
    state = norm.initial_state()

    def loss(norm, x, state):
        y, state = norm(x, state)
        return pg.sum(y * y * y), state

    (_, after), gradient = pg.value_and_grad(loss, argnums=(0, 1), has_aux=True)(norm, x, state)
    assert type(after) is nn.BatchNormState and not isinstance(after.mean, pg.Tensor)
    np.testing.assert_allclose(host(after.mean), 0.1 * host(x).mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(
        host(after.variance), 0.9 + 0.1 * host(x).reshape(8, 3).var(axis=0, ddof=1), rtol=1e-12
    )
    assert {pg.device(g) for g in optree.tree_leaves((after, gradient), namespace=SPACE)} == {xp_device}


TORCH_NAMES = {"log_softmax": {"dim": -1}, "softmax": {"dim": -1}}


@pytest.mark.parametrize("name", [*nn.ACTIVATIONS, "softmax", "log_softmax"])
def test_activations_are_torchs(torch, name):
    x = np.concatenate([draw((3, 5)), 100 * draw((1, 5))])
    weigh = draw(x.shape, seed=1)
    tx = torch.tensor(x, requires_grad=True)
    ty = getattr(torch.nn.functional, name)(tx, **TORCH_NAMES.get(name, {}))
    (ty * torch.tensor(weigh)).sum().backward()
    y, pullback = pg.vjp(getattr(nn, name), x)
    np.testing.assert_allclose(y, ty.detach(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(pullback(weigh)[0], tx.grad, rtol=1e-10, atol=1e-12)


def test_parameters_of_activations_are_torchs(torch):
    x = draw((7,))
    F = torch.nn.functional
    tx = torch.tensor(x)
    np.testing.assert_allclose(nn.leaky_relu(x, 0.3), F.leaky_relu(tx, 0.3), rtol=1e-14)
    np.testing.assert_allclose(nn.elu(x, alpha=0.5), F.elu(tx, 0.5), rtol=1e-14)
    np.testing.assert_allclose(nn.gelu(x, approximate=True), F.gelu(tx, approximate="tanh"), rtol=1e-14)
    np.testing.assert_allclose(nn.softmax(x, axis=0), F.softmax(tx, 0), rtol=1e-14)
    np.testing.assert_allclose(nn.logsumexp(x), torch.logsumexp(tx, 0), rtol=1e-14)


def test_losses_are_torchs(torch):
    logits, targets = 30 * draw((5, 3)), nn.sigmoid(draw((5, 3), seed=1))
    F = torch.nn.functional
    t = torch.tensor
    pairs = [
        (nn.cross_entropy(logits, LABELS), F.cross_entropy(t(logits), t(LABELS))),
        (nn.binary_cross_entropy(logits, targets), F.binary_cross_entropy_with_logits(t(logits), t(targets))),
        (nn.mse(logits, targets), F.mse_loss(t(logits), t(targets))),
    ]
    for ours, theirs in pairs:
        assert ours.shape == () and float(ours) == pytest.approx(float(theirs), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, [2.0, 0.0, 0.5]], ids=["even", "weighted"])
def test_weights_and_smoothing_are_torchs_and_add_up_over_slices(torch, weights, smoothing):
    """Also under compile and vmap, and where a class that is not the label has no probability at all."""
    logits = 30 * draw((5, 3))
    own = None if weights is None else np.asarray(weights)

    def ours(logits, labels=LABELS):
        return nn.cross_entropy(logits, labels, weights=own, label_smoothing=smoothing)

    tx = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        tx,
        torch.tensor(LABELS),
        weight=None if own is None else torch.tensor(own),
        label_smoothing=smoothing,
    )
    theirs.backward()
    expected = float(theirs.detach())
    y, slope = pg.value_and_grad(ours)(logits)
    assert float(y) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(slope, tx.grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(pg.compile(pg.grad(ours))(logits), slope, rtol=1e-9, atol=1e-12)
    stacked = pg.vmap(ours)(np.stack([logits, logits + 1]), np.stack([LABELS, LABELS]))
    np.testing.assert_allclose(stacked, [expected] * 2, rtol=1e-12)
    parts = [
        nn.cross_entropy_sum(logits[part], LABELS[part], weights=own, label_smoothing=smoothing)
        for part in (slice(0, 2), slice(2, 2), slice(2, 5))
    ]
    total, weight = (float(sum(column)) for column in zip(*parts, strict=True))
    assert total / weight == pytest.approx(expected, rel=1e-12)
    if smoothing == 0:
        logits[0, 1] = -np.inf
        assert np.isfinite(ours(logits)) and np.isfinite(pg.grad(ours)(logits)).all()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 5)])
def test_cross_entropy_of_logits_in_any_order_is_the_same(shape):
    logits, labels = draw(shape), np.arange(math.prod(shape[:-1])).reshape(shape[:-1]) % shape[-1]
    step = pg.value_and_grad(nn.cross_entropy)
    for found, expected in zip(step(np.asfortranarray(logits), labels), step(logits, labels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_losses_of_regressions_are_torchs_to_second_order(torch, delta):
    a, b = 2 * draw((6, 2)), np.zeros((6, 2))
    a[0] = 0, delta  # where the pieces of the functions meet
    F, t = torch.nn.functional, torch.tensor
    for ours, theirs in (
        (lambda a: nn.huber(a, b, delta=delta), lambda a: F.huber_loss(a, t(b), delta=delta)),
        (lambda a: nn.mae(a, b), lambda a: F.l1_loss(a, t(b))),
    ):
        ta = t(a, requires_grad=True)
        loss = theirs(ta)
        loss.backward()
        y, slope = pg.value_and_grad(ours)(a)
        assert float(y) == pytest.approx(float(loss.detach()), rel=1e-12)
        np.testing.assert_allclose(slope, ta.grad, rtol=1e-12)
    bend = np.diagonal(pg.hessian(lambda a: nn.huber(a, b[1, :1], delta=delta))(np.zeros(1)))
    np.testing.assert_array_equal(bend, [1.0])


def test_a_label_that_is_no_class_is_never_taken_for_one():
    for options in ({"weights": np.ones(3)}, {"label_smoothing": 0.1}):
        for label in (-1, 3):
            with np.errstate(invalid="ignore"):
                assert np.isnan(nn.cross_entropy(draw((2, 3)), np.asarray([0, label]), **options))


def test_mse_of_complex_predictions_is_real_and_descends():
    a, b = draw((4,)) + 1j * draw((4,), seed=1), draw((4,), seed=2) + 0j
    assert float(nn.mse(a, b)) == pytest.approx(np.mean(np.abs(a - b) ** 2))
    np.testing.assert_allclose(pg.grad(nn.mse)(a, b), (a - b) / 2, rtol=1e-12)


# Dropout


def test_dropout_keeps_the_expected_value_and_drops_what_it_says():
    y = nn.dropout(np.ones((300, 300)), 0.3, key=KEY)
    assert set(np.unique(y)) == {0.0, 1 / (1 - 0.3)}
    assert np.mean(y == 0) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / y.size))
    assert y.mean() == pytest.approx(1.0, abs=0.01)


def test_dropout_has_the_same_mask_everywhere_and_backwards(xp_device):
    x = draw((6, 5)).astype(np.float32)
    weigh = pg.to_device(np.ones((6, 5), np.float32), xp_device)
    y, pullback = pg.vjp(lambda x: nn.Dropout(0.5)(x, key=KEY), pg.to_device(x, xp_device))
    (g,) = pullback(weigh)
    assert pg.device(y) == pg.device(g) == xp_device
    kept = np.asarray(random.bernoulli(KEY, 0.5, (6, 5), device="cpu"))
    np.testing.assert_array_equal(host(y), np.where(kept, 2 * x, 0))
    np.testing.assert_array_equal(host(g), np.where(kept, np.float32(2), 0))
    assert host(g).dtype == np.float32


def test_dropout_without_a_key_is_the_identity():
    x = draw((3,))
    assert nn.dropout(x, 0.5) is x and nn.Dropout(0.5)(x) is x and nn.dropout(x, 0.0, key=KEY) is x


def test_layers_of_one_model_drop_differently():
    model = nn.MLP.init(KEY, [50, 50, 50, 50], activation=lambda x: x, dropout=0.5)
    eye = nn.Linear(np.eye(50), np.zeros(50))
    model = model.replace(layers=(eye, eye, eye))
    ones = np.ones((200, 50))
    assert np.mean(model(ones, key=KEY) != 0) == pytest.approx(0.25, abs=0.02)
    assert (model(ones) == ones).all()
    assert (model(ones, key=KEY) == model(ones, key=KEY)).all()
    assert (model(ones, key=KEY) != model(ones, key=random.key(7))).any()


# Bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear.init(KEY, 0, 2), ValueError, r"Linear\.init: sizes must be 1 or more, not 0"),
        (lambda: nn.Linear.init(KEY, 2.5, 2), TypeError, r"Linear\.init: sizes must be integers, not 2\.5"),
        (lambda: nn.MLP.init(KEY, [3]), ValueError, r"two or more, .* as in \[64, 32, 10\]; not \[3\]"),
        (lambda: nn.MLP.init(KEY, 3), ValueError, r"two or more, .*; not 3"),
        (lambda: nn.MLP.init(KEY, [3, -1]), ValueError, r"MLP\.init: sizes must be 1 or more, not -1"),
        (lambda: nn.MLP.init(7, [3, 1]), TypeError, r"key.*pg\.random\.key\(seed\)"),
        (lambda: nn.MLP.init(KEY, [3, 1], activation="ReLu6"), ValueError, r"'ReLu6'; did you mean 'relu'\?"),
        (
            lambda: nn.MLP.init(KEY, [3, 1], activation="xyz"),
            ValueError,
            r"'xyz'; there are relu, leaky_relu",
        ),
        (lambda: nn.MLP.init(KEY, [3, 1], activation=3), TypeError, r"a name or a function, not int"),
        (
            lambda: nn.MLP.init(KEY, [3, 1], dropout=1),
            ValueError,
            r"rate must be a number in \[0, 1\), not 1",
        ),
        (lambda: nn.Dropout(-0.1), ValueError, r"Dropout: the dropout rate .* not -0\.1"),
        (lambda: nn.dropout(np.ones(2), "half"), ValueError, r"not 'half'"),
        (lambda: nn.LayerNorm.init(0), ValueError, r"LayerNorm\.init: sizes must be 1 or more"),
        (
            lambda: nn.Sequential([nn.relu]),
            TypeError,
            r"layer 0 is \[.*\(list\), .*Sequential\(first, second",
        ),
        (
            lambda: nn.Sequential(nn.BatchNorm.init(3)),
            TypeError,
            r"layer 0, BatchNorm, takes and returns a state",
        ),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), np.ones((4, 3))),
            ValueError,
            r"\(4,\), not \(4, 3\); .*argmax",
        ),
        (lambda: nn.cross_entropy(np.ones((4, 3)), np.ones((4, 1), int)), ValueError, r"not \(4, 1\)"),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), np.ones(4)),
            TypeError,
            r"must be integers, .* not float64",
        ),
        (lambda: nn.cross_entropy(np.ones((4, 3)), [0, 1, 2, 0]), TypeError, r"labels is a list, neither"),
        (lambda: nn.cross_entropy(np.ones(()), np.ones((), int)), ValueError, r"need a last axis"),
        (
            lambda: nn.mse(np.ones((4, 1)), np.ones(4)),
            ValueError,
            r"\(4, 1\), targets \(4,\); they must agree",
        ),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), np.ones(4, int), weights=np.ones(4)),
            ValueError,
            r"3 classes need weights of shape \(3,\), not \(4,\)",
        ),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), [0, 1, 2, 0], label_smoothing=0.1),
            TypeError,
            r"labels is a list, neither",
        ),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), np.ones((4, 3), int), label_smoothing=0.1),
            ValueError,
            r"\(4,\), not \(4, 3\); .*argmax",
        ),
        (
            lambda: nn.cross_entropy(np.ones((4, 3)), np.ones(4, int), label_smoothing=1.5),
            ValueError,
            r"from 0 to 1, not 1\.5",
        ),
        (lambda: nn.huber(np.ones(3), np.ones((3, 1))), ValueError, r"huber: predictions have shape \(3,\)"),
        (lambda: nn.huber(np.ones(3), np.ones(3), delta=0), ValueError, r"delta must be above 0, not 0"),
        (lambda: nn.mae(np.ones(3), np.ones(1)), ValueError, r"mae: predictions have shape"),
        (lambda: nn.binary_cross_entropy(np.ones(3), np.ones(4)), ValueError, r"logits have shape \(3,\)"),
    ],
)
def test_errors_say_what_was_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_inputs_of_the_wrong_size_name_the_layer(xp_device):
    layer = nn.Linear.init(KEY, 4, 3, device=xp_device)
    x = pg.to_device(np.ones((2, 5), np.float32), xp_device)
    with pytest.raises(
        ValueError, match=r"Linear\(4, 3\): takes arrays of shape \(\.\.\., 4\), not \(2, 5\)"
    ):
        layer(x)
    with pytest.raises(ValueError, match=r"Linear\(4, 3\)"):
        pg.grad(lambda layer: pg.sum(layer(x)))(layer)


def test_an_input_on_another_device_stays_a_mismatch():
    pytest.importorskip("array_api_strict")
    layer = nn.Linear.init(KEY, 4, 3, device="strict:device1")
    with pytest.raises(pg.DeviceMismatchError, match=r"linear: arguments live on different devices"):
        layer(np.ones((2, 4), np.float32))
    norm = nn.BatchNorm.init(4, device="strict:device1")
    with pytest.raises(pg.DeviceMismatchError):
        norm(np.ones((2, 4), np.float32), norm.initial_state())


def test_batch_norm_needs_two_samples_to_train_on():
    norm = nn.BatchNorm.init(2)
    for shape in ((1, 2), (2,), (0, 2)):
        with pytest.raises(ValueError, match=r"no variance .*two samples or more, or pass train=False"):
            norm(np.ones(shape, np.float32), norm.initial_state())


def test_every_public_name_is_there_once_and_documented():
    assert len(set(nn.__all__)) == len(nn.__all__)
    for name in set(nn.__all__) - {"ACTIVATIONS"}:
        assert getattr(nn, name).__doc__
