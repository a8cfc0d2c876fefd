"""Optimizers: against torch's own step by step, on every device and dtype, and what their errors teach."""

import dataclasses
import math
from contextlib import contextmanager

import numpy as np
import optree
import pytest

import portagrad as pg
from portagrad import nn, optim
from portagrad.backend import BY_TYPE, get_backend
from portagrad.device import device_of, devices
from portagrad.optim import leaves as leafwise
from portagrad.optim import schedules

STEPS = 50
KEYS = pg.random.split(pg.random.key(3), 20)


def problem(dtype="float64"):
    """Parameters, and gradients that depend on them: a badly scaled quadratic with a wobble."""
    params = {
        "w": pg.random.normal(KEYS[0], (4, 3), dtype=dtype),
        "b": [pg.random.normal(KEYS[1], 3, dtype=dtype), np.asarray(0.7, dtype=dtype)],
    }
    slopes = optree.tree_map(lambda p: pg.random.uniform(KEYS[2], p.shape, dtype=dtype, maxval=9.0), params)
    return params, lambda ps: optree.tree_map(lambda p, s: s * p + np.sin(7 * p), ps, slopes)


def run(opt, params, grad, steps=STEPS):
    state = opt.init(params)
    for _ in range(steps):
        updates, state = opt.update(grad(params), state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def run_torch(make, params, grad, schedule=None, clip=None):
    torch = pytest.importorskip("torch")
    flat, tree = optree.tree_flatten(params)
    ps = [torch.nn.Parameter(torch.tensor(p)) for p in flat]
    opt = make(torch.optim, ps)
    scheduler = schedule and schedule(torch.optim.lr_scheduler, opt)
    for _ in range(STEPS):
        now = optree.tree_unflatten(tree, [p.detach().numpy() for p in ps])
        for p, g in zip(ps, optree.tree_leaves(grad(now)), strict=True):
            p.grad = torch.tensor(g)
        if clip:
            torch.nn.utils.clip_grad_norm_(ps, clip)
        opt.step()
        if scheduler:
            scheduler.step()
    return [p.detach().numpy() for p in ps]


AGAINST_TORCH = {
    "sgd": (optim.sgd(0.01), lambda t, ps: t.SGD(ps, 0.01)),
    "sgd decay": (optim.sgd(0.01, weight_decay=0.1), lambda t, ps: t.SGD(ps, 0.01, weight_decay=0.1)),
    "momentum": (optim.sgd(0.01, momentum=0.9), lambda t, ps: t.SGD(ps, 0.01, momentum=0.9)),
    "nesterov": (
        optim.sgd(0.01, momentum=0.8, nesterov=True, weight_decay=0.05),
        lambda t, ps: t.SGD(ps, 0.01, momentum=0.8, nesterov=True, weight_decay=0.05),
    ),
    "adam": (optim.adam(0.02), lambda t, ps: t.Adam(ps, 0.02)),
    "adam decay": (
        optim.adam(0.02, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.1),
        lambda t, ps: t.Adam(ps, 0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
    "adamw": (optim.adamw(0.02), lambda t, ps: t.AdamW(ps, 0.02)),
    "adamw decay": (
        optim.adamw(0.02, b1=0.8, b2=0.95, weight_decay=0.3),
        lambda t, ps: t.AdamW(ps, 0.02, betas=(0.8, 0.95), weight_decay=0.3),
    ),
    "rmsprop": (optim.rmsprop(0.01, decay=0.99), lambda t, ps: t.RMSprop(ps, 0.01)),
    "rmsprop momentum": (
        optim.rmsprop(0.01, decay=0.9, eps=1e-4, momentum=0.7, weight_decay=0.1),
        lambda t, ps: t.RMSprop(ps, 0.01, alpha=0.9, eps=1e-4, momentum=0.7, weight_decay=0.1),
    ),
    "adagrad": (optim.adagrad(0.1), lambda t, ps: t.Adagrad(ps, 0.1)),
    "adagrad initial": (
        optim.adagrad(0.1, eps=1e-3, initial=0.2, weight_decay=0.1),
        lambda t, ps: t.Adagrad(ps, 0.1, eps=1e-3, initial_accumulator_value=0.2, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", AGAINST_TORCH)
def test_steps_are_those_of_torch(name):
    opt, theirs = AGAINST_TORCH[name]
    params, grad = problem()
    found, _ = run(opt, params, grad)
    for ours, its in zip(optree.tree_leaves(found), run_torch(theirs, params, grad), strict=True):
        np.testing.assert_allclose(ours, its, rtol=1e-10, atol=1e-12)


SCHEDULES = {
    "constant": (schedules.constant(0.05), None),
    "step": (schedules.step(0.05, every=7, factor=0.5), lambda s, o: s.StepLR(o, 7, gamma=0.5)),
    "cosine": (
        schedules.cosine(0.05, steps=STEPS, final=0.001),
        lambda s, o: s.CosineAnnealingLR(o, STEPS, eta_min=0.001),
    ),
    "one_cycle": (
        schedules.one_cycle(0.05, steps=STEPS),
        lambda s, o: s.OneCycleLR(o, 0.05, total_steps=STEPS, cycle_momentum=False),
    ),
    "warmup": (
        schedules.warmup(0.05, steps=10, start=0.005),
        lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=10),
    ),
    "warmup, then cosine": (
        schedules.warmup(schedules.cosine(0.05, steps=40), steps=10, start=0.005),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, start_factor=0.1, total_iters=10), s.CosineAnnealingLR(o, 40)], [10]
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:.*epoch parameter:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_schedules_are_those_of_torch(kind, name):
    schedule, theirs = SCHEDULES[name]
    params, grad = problem()
    found, state = run(
        optim.sgd(schedule, momentum=0.5) if kind == "sgd" else optim.adamw(schedule), params, grad
    )
    assert state.count == STEPS
    its = run_torch(
        lambda t, ps: t.SGD(ps, 0.05, momentum=0.5) if kind == "sgd" else t.AdamW(ps, 0.05),
        params,
        grad,
        theirs,
    )
    for ours, theirs in zip(optree.tree_leaves(found), its, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_clipping_is_that_of_torch():
    """Up to the 1e-6 that torch adds to the norm."""
    params, grad = problem()
    grads = grad(params)
    assert optim.global_norm(grads) > 10
    opt = optim.chain(optim.clip_by_global_norm(5.0), optim.sgd(1e-3, momentum=0.9))
    found, _ = run(opt, params, grad)
    its = run_torch(lambda t, ps: t.SGD(ps, 1e-3, momentum=0.9), params, grad, clip=5.0)
    for ours, theirs in zip(optree.tree_leaves(found), its, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_global_norm_and_its_clipping():
    grads = {"w": np.asarray([[3.0, 0.0]], dtype=np.float32), "b": (np.asarray(4.0), None)}
    assert optim.global_norm(grads) == 5
    assert optim.global_norm({"w": np.asarray([3j, 4.0])}) == 5
    assert optim.global_norm({}) == 0.0
    clip = optim.clip_by_global_norm(2.5)
    clipped, state = clip.update(grads, clip.init(grads))
    assert state == ()
    assert optim.global_norm(clipped) == pytest.approx(2.5)
    assert (clipped["w"].dtype, clipped["b"][0].dtype, clipped["b"][1]) == (np.float32, np.float64, None)
    for small in (grads, optree.tree_map(lambda g: g / 10, grads), optree.tree_map(np.zeros_like, grads)):
        kept = optim.clip_by_global_norm(5.0).update(small, ())[0]
        np.testing.assert_array_equal(kept["w"], small["w"])
    assert np.isnan(clip.update({"w": np.asarray([np.nan, 1.0])}, ())[0]["w"]).all()
    assert clip.update({}, ()) == ({}, ())


def test_lion_is_the_paper_s():
    params, grad = problem()
    p = [np.array(a) for a in optree.tree_leaves(params)]
    m = [np.zeros_like(a) for a in p]
    lr, b1, b2, decay = 0.01, 0.8, 0.97, 0.1
    for _ in range(STEPS):
        g = optree.tree_leaves(grad(optree.tree_unflatten(optree.tree_structure(params), p)))
        for i in range(len(p)):
            c = b1 * m[i] + (1 - b1) * g[i]
            p[i] = p[i] - lr * (np.sign(c) + decay * p[i])
            m[i] = b2 * m[i] + (1 - b2) * g[i]
    found, _ = run(optim.lion(lr, b1=b1, b2=b2, weight_decay=decay), params, grad)
    for ours, its in zip(optree.tree_leaves(found), p, strict=True):
        np.testing.assert_allclose(ours, its, rtol=1e-12, atol=1e-14)


def test_a_chain_of_parts_is_the_whole():
    params, grad = problem()
    whole, _ = run(optim.sgd(schedules.step(0.05, every=5), weight_decay=0.1), params, grad)
    parts = optim.chain(
        optim.add_decayed_weights(0.1),
        optim.scale_by_schedule(schedules.step(0.1, every=5)),
        optim.scale(-0.5),
    )
    found, state = run(parts, params, grad)
    for a, b in zip(optree.tree_leaves(whole), optree.tree_leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert [len(part) for part in state] == [0, 1, 0]
    assert optim.chain().update(params, ()) == (params, ())


ALL = {
    "sgd": optim.sgd(0.1),
    "sgd whole": optim.sgd(schedules.cosine(0.1, steps=9), momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": optim.adam(0.1, weight_decay=0.01),
    "adamw": optim.adamw(schedules.one_cycle(0.1, steps=9)),
    "rmsprop": optim.rmsprop(0.1, momentum=0.5, weight_decay=0.1),
    "adagrad": optim.adagrad(0.1, initial=0.1, weight_decay=0.1),
    "lion": optim.lion(schedules.warmup(0.1, steps=3), weight_decay=0.1),
    "chain": optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.add_decayed_weights(0.1),
        optim.scale_by_schedule(schedules.step(0.1, every=2)),
        optim.scale(-1.0),
    ),
}


@pytest.fixture(params=devices(), ids=str)
def device(request):
    return request.param


@pytest.mark.parametrize("name", ALL)
def test_every_device_takes_the_same_steps(name, device):
    """In float32, with states of the parameters' dtype on their device."""
    params, grad = problem("float32")
    host, _ = run(ALL[name], params, grad, 5)
    there = pg.to_device(params, device)

    def grad_there(ps):
        return pg.to_device(grad(pg.to_device(ps, "cpu")), device)

    found, state = run(ALL[name], there, grad_there, 5)
    for p, q in zip(optree.tree_leaves(found), optree.tree_leaves(host), strict=True):
        assert device_of(p) == device
        assert tuple(p.shape) == q.shape and p.dtype == device.backend.xp.float32
        np.testing.assert_allclose(device.backend.to_numpy(p), q, rtol=2e-5, atol=2e-6)
    for leaf in optree.tree_leaves(state):
        if not isinstance(leaf, int):
            assert device_of(leaf) == device and leaf.dtype == device.backend.xp.float32


@pytest.mark.parametrize("name", ALL)
def test_a_counted_array_serves_as_the_count(name, device):
    """As a compiled step passes it: the same numbers, and no promotion."""
    params, grad = problem("float32")
    opt = ALL[name]
    xp = device.backend.xp
    there = pg.to_device(params, device)
    grads = pg.to_device(grad(params), device)
    state = opt.init(there)
    for _ in range(2):
        _, state = opt.update(grads, state, there)

    def as_array(leaf):
        return xp.asarray(leaf, dtype=xp.int32, device=device.native) if isinstance(leaf, int) else leaf

    expected, after = opt.update(grads, state, there)
    found, counted = opt.update(grads, optree.tree_map(as_array, state), there)
    to_numpy = device.backend.to_numpy
    for a, b in zip(optree.tree_leaves(found), optree.tree_leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-5)
    for a, b in zip(optree.tree_leaves(counted), optree.tree_leaves(after), strict=True):
        assert not isinstance(b, int) or int(a) == b


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_differentiable(name):
    """An optimizer is array-API code: the derivative of a step with respect to the gradients."""
    params, grad = problem()
    opt = ALL[name]
    state = opt.update(grad(params), opt.init(params), params)[1]

    def after(g):
        g = {"w": g, "b": [np.ones(3), np.asarray(2.0)]}
        moved = optim.apply_updates(params, opt.update(g, state, params)[0])
        return pg.sum(moved["w"] * moved["w"])

    g = grad(params)["w"]
    direction = pg.random.normal(KEYS[9], g.shape, dtype="float64")
    slope = np.sum(pg.grad(after)(g) * direction)
    h = 1e-6
    assert slope == pytest.approx((after(g + h * direction) - after(g - h * direction)) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_changed_in_place(name):
    params, grad = problem()
    opt = ALL[name]
    grads = grad(params)
    state = opt.update(grads, opt.init(params), params)[1]
    given = (params, grads, state)
    before = optree.tree_map(np.array, given)
    first = opt.update(grads, state, params)
    optim.apply_updates(params, first[0])
    again = opt.update(grads, state, params)
    for a, b in zip(optree.tree_leaves(given), optree.tree_leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(optree.tree_leaves(first), optree.tree_leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ALL)
def test_donated_updates_become_the_parameters(name, device):
    """The same steps: no optimizer hands out its state, the parameters or another update's memory."""
    opt = ALL[name]
    start = pg.to_device({"w": np.asarray([[0.5, -1.0]]), "b": np.asarray(2.0), "none": None}, device)

    def trained(donate):
        params, state, taken = start, opt.init(start), []
        for step in range(4):
            grads = pg.to_device(
                {"w": np.asarray([[0.1, -0.2]]) * step, "b": np.asarray(0.5), "none": None}, device
            )
            updates, state = opt.update(grads, state, params)
            params = optim.apply_updates(params, updates, donate=donate)
            taken.append(params["w"] is updates["w"])
        return optree.tree_leaves(pg.to_device((params, state), "cpu")), taken

    ours, taken = trained(donate=True)
    its, apart = trained(donate=False)
    for a, b in zip(ours, its, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any(apart) and all(taken) == (device.backend.name in ("numpy", "torch", "strict"))
    np.testing.assert_array_equal(pg.to_device(start["w"], "cpu"), [[0.5, -1.0]])


def test_an_update_that_does_not_fit_or_cannot_be_written_to_is_added_elsewhere():
    p = np.ones((2, 3), np.float32)
    wide, row = np.full((2, 3), 0.5), np.full(3, 0.5, np.float32)
    assert optim.apply_updates(p, wide, donate=True).dtype == np.float64 and np.all(wide == 0.5)
    assert optim.apply_updates(p, row, donate=True).shape == (2, 3) and np.all(row == 0.5)
    view = np.broadcast_to(row, (2, 3))
    np.testing.assert_array_equal(optim.apply_updates(p, view, donate=True), np.full((2, 3), 1.5))
    assert np.all(row == 0.5)
    moved = pg.grad(lambda u: pg.sum(optim.apply_updates(p, u, donate=True) ** 2))(wide)
    np.testing.assert_array_equal(moved, np.full((2, 3), 3.0))


@pytest.mark.parametrize("name", ALL)
def test_none_among_parameters_and_gradients(name):
    """A parameter that is None, such as a missing bias, stays; one whose gradient is None keeps its value."""
    opt = ALL[name]
    params = {"w": np.ones(2), "frozen": np.ones(3), "bias": None}
    grads = {"w": np.ones(2), "frozen": None, "bias": None}
    state = opt.init(params)
    for _ in range(3):
        updates, state = opt.update(grads, state, params)
        new = optim.apply_updates(params, updates)
        assert updates["frozen"] is None and new["bias"] is None
        assert new["frozen"] is params["frozen"]
    assert np.all(new["w"] < 1)


@pytest.mark.parametrize("name", ALL)
def test_empty_trees_and_empty_arrays(name):
    opt = ALL[name]
    for params in ({}, [], {"w": np.zeros((0, 3))}):
        updates, _ = opt.update(params, opt.init(params), params)
        assert optree.tree_structure(optim.apply_updates(params, updates)) == optree.tree_structure(params)


@pytest.mark.parametrize("name", ["sgd", "sgd whole", "adam", "adamw", "rmsprop", "adagrad", "chain"])
def test_complex_parameters_descend(name):
    opt = ALL[name]
    target = np.asarray([1 + 2j, -3j])
    loss = lambda p: float(np.sum(np.abs(p - target) ** 2))  # noqa: E731
    params = np.zeros(2, dtype=np.complex64)
    state = opt.init(params)
    start = loss(params)
    for _ in range(5):
        updates, state = opt.update((2 * (params - target)).astype(np.complex64), state, params)
        params = optim.apply_updates(params, updates)
        assert params.dtype == np.complex64
    assert loss(params) < 0.9 * start
    assert all(
        leaf.dtype in (np.complex64, np.float32)
        for leaf in optree.tree_leaves(state)
        if not isinstance(leaf, int)
    )


def test_modules_train():
    model = nn.MLP.init(pg.random.key(0), (2, 16, 2))
    x = pg.random.normal(KEYS[4], (64, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    loss = pg.value_and_grad(lambda model: nn.cross_entropy(model(x), labels))
    opt = optim.adamw(0.02)
    state = opt.init(model)
    first, _ = loss(model)
    for _ in range(100):
        _, grads = loss(model)
        updates, state = opt.update(grads, state, model)
        model = optim.apply_updates(model, updates)
    assert loss(model)[0] < 0.3 * first
    assert type(updates) is nn.MLP


def test_the_state_of_plain_sgd_is_empty():
    params, grad = problem()
    opt = optim.sgd(0.1)
    assert opt.init(params) == ()
    assert opt.update(grad(params), ())[1] == ()
    assert optim.sgd(0.1, momentum=0.5).init(params).velocity[1].shape == params["b"][1].shape


def test_dtypes_stay_whatever_numbers_are_given():
    """NumPy's own scalars must not promote float32 parameters."""
    params = {"w": np.ones(3, dtype=np.float32)}
    for lr in (
        np.float64(0.1),
        np.float32(0.1),
        1,
        lambda count: np.float64(0.1),
        lambda count: np.asarray(0.1),
    ):
        for opt in (optim.sgd(lr), optim.adamw(lr), optim.lion(lr)):
            updates, state = opt.update(params, opt.init(params), params)
            assert updates["w"].dtype == np.float32
            assert all(
                leaf.dtype == np.float32 for leaf in optree.tree_leaves(state) if not isinstance(leaf, int)
            )


def test_the_device_is_made_current_where_it_is_ambient(monkeypatch):
    """A library like CuPy computes on the current device: every kernel must run under its array's."""
    entered = []

    @contextmanager
    def guard(device):
        entered.append(device)
        yield

    ambient = dataclasses.replace(get_backend("numpy"), guard=guard, device_of=lambda x: f"device{x.ndim}")
    monkeypatch.setitem(BY_TYPE, np.ndarray, ambient)
    monkeypatch.setattr(leafwise, "_GUARDED", leafwise._Guarded())
    params = {"w": np.ones((2, 2)), "b": np.ones(2), "none": None}
    for name, opt in ALL.items():
        if name == "chain":  # whose norm spans all leaves, which must then live on one device
            continue
        entered.clear()
        state = opt.init(params)
        assert name == "sgd" or entered[:2] == ["device1", "device2"]
        entered.clear()
        updates, _ = opt.update(params, state, params)
        assert entered == ["device1", "device2"]
        np.testing.assert_array_equal(optim.apply_updates(params, updates)["w"], 1 + updates["w"])
        assert entered == ["device1", "device2"] * 2


# -- schedules by themselves


@pytest.mark.parametrize(
    "schedule",
    [
        *[schedule for schedule, _ in SCHEDULES.values()],
        schedules.one_cycle(1.0, steps=1),
        schedules.one_cycle(1.0, steps=5, rise=0.0),
        schedules.one_cycle(1.0, steps=5, rise=1.0),
        schedules.one_cycle(1.0, steps=2, rise=0.5),
    ],
)
def test_schedules_of_numbers_and_of_arrays(schedule, device):
    xp = device.backend.xp
    for count in range(60):
        value = schedule(count)
        assert type(value) is float and 0 <= value <= 1
        array = schedule(xp.asarray(count, dtype=xp.int32, device=device.native))
        if not isinstance(array, float):
            assert array.shape == () and device_of(array) == device
        assert float(array) == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_a_schedule_sees_whole_counts():
    seen = []
    opt = optim.scale_by_schedule(schedules.warmup(lambda count: seen.append(count) or 1.0, steps=2))
    state = opt.init(())
    for _ in range(5):
        _, state = opt.update(np.ones(1), state)
    assert seen == [0, 0, 0, 1, 2]
    assert all(type(count) is int for count in seen)


def test_one_cycle_is_torch_s_whatever_the_rise():
    torch = pytest.importorskip("torch")
    for rise in (0.25, 0.5, 0.9):
        opt = torch.optim.SGD([torch.zeros(1)], 1.0)
        its = torch.optim.lr_scheduler.OneCycleLR(
            opt,
            2.0,
            total_steps=20,
            pct_start=rise,
            div_factor=10,
            final_div_factor=100,
            cycle_momentum=False,
        )
        schedule = schedules.one_cycle(2.0, steps=20, rise=rise, initial_factor=10, final_factor=100)
        for count in range(20):
            assert schedule(count) == pytest.approx(its.get_last_lr()[0], rel=1e-12)
            opt.step()
            if count < 19:
                its.step()
        assert schedule(1000) == schedule(19)


# -- what errors teach

W = {"w": np.ones(2)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.sgd(-0.1), ValueError, "sgd: lr must not be negative, got -0.1"),
        (lambda: optim.sgd("0.1"), TypeError, "sgd: lr must be a number, not str"),
        (lambda: optim.adam(math.nan), ValueError, "adam: lr must not be negative, got nan"),
        (lambda: optim.sgd(0.1, momentum=1.0), ValueError, "sgd: momentum must lie in [0, 1), got 1.0"),
        (lambda: optim.sgd(0.1, nesterov=True), ValueError, "sgd: nesterov needs a momentum above 0"),
        (lambda: optim.sgd(0.1, weight_decay=-1), ValueError, "sgd: weight_decay must not be negative"),
        (lambda: optim.adam(0.1, b1=1.0), ValueError, "adam: b1 must lie in [0, 1), got 1.0"),
        (lambda: optim.adamw(0.1, b2=-0.1), ValueError, "adamw: b2 must lie in [0, 1), got -0.1"),
        (lambda: optim.adamw(0.1, eps=-1), ValueError, "adamw: eps must not be negative"),
        (lambda: optim.lion(0.1, b2=2), ValueError, "lion: b2 must lie in [0, 1), got 2"),
        (lambda: optim.rmsprop(0.1, decay=1), ValueError, "rmsprop: decay must lie in [0, 1), got 1"),
        (lambda: optim.adagrad(0.1, initial=-1), ValueError, "adagrad: initial must not be negative"),
        (lambda: optim.clip_by_global_norm(0), ValueError, "max_norm must be above 0 and finite, got 0"),
        (lambda: optim.scale(math.inf), ValueError, "scale: factor must be a finite number, got inf"),
        (lambda: optim.scale_by_schedule(0.1), TypeError, "for a fixed factor use scale(factor)"),
        (lambda: optim.chain(0.1), TypeError, "chain: 0.1 is no optimizer, such as optim.sgd(0.1)"),
        (lambda: optim.chain(optim.sgd(0.1)).update(W, ()), ValueError, "the state has 0 parts, for 1 optim"),
        (lambda: schedules.step(0.1, every=0), ValueError, "step: every must be a positive integer, got 0"),
        (lambda: schedules.cosine(0.1, steps=1.5), ValueError, "steps must be a positive integer, got 1.5"),
        (
            lambda: schedules.one_cycle(0.1, steps=3, rise=2),
            ValueError,
            "rise must lie between 0 and 1, not 2",
        ),
        (lambda: schedules.one_cycle(1, 3, final_factor=0), ValueError, "one_cycle: needs factors above 0"),
        (lambda: schedules.warmup(-1.0, steps=3), ValueError, "warmup: after must not be negative"),
        (
            lambda: optim.adamw(0.1).update(W, optim.adamw(0.1).init(W)),
            TypeError,
            "adamw: needs the parameters as well: opt.update(grads, state, params)",
        ),
        (lambda: optim.adam(0.1).init({"w": 1.0}), TypeError, "adam: a parameter is a float, not an array"),
        (
            lambda: optim.adam(0.1).update(W, optim.adam(0.1).init([np.ones(2)] * 3)),
            ValueError,
            "adam: the gradients have 1 leaves, the state was made for 3; make one with opt.init(params)",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("other", [{"v": np.ones(2)}, [np.ones(2)], {"w": [np.ones(2)]}, np.ones(2)])
def test_trees_that_do_not_match(other):
    with pytest.raises(
        ValueError, match="adamw: params and grads are pytrees of different structure"
    ) as caught:
        optim.adamw(0.1).update(W, optim.adamw(0.1).init(W), other)
    assert "pass that one as params" in str(caught.value)
    with pytest.raises(
        ValueError, match="apply_updates: updates and params are pytrees of different structure"
    ):
        optim.apply_updates(W, other)


def test_clip_bounds_each_element(xp_device):
    grads = {
        "w": pg.asarray([[3.0, -0.5], [-2.0, 0.0]], device=xp_device),
        "b": pg.asarray(9.0, device=xp_device),
    }
    clipped, state = optim.clip(1.0).update(grads, optim.clip(1.0).init(grads))
    np.testing.assert_array_equal(pg.to_device(clipped["w"], "cpu"), [[1.0, -0.5], [-1.0, 0.0]])
    assert float(pg.to_device(clipped["b"], "cpu")) == 1.0 and state == ()
    with pytest.raises(ValueError, match="max_value must be above 0"):
        optim.clip(0.0)
