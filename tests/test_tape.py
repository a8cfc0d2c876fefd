"""The tape style: tensors that require gradients, backward, .grad."""

import copy
import pickle
import threading

import numpy as np
import pytest

import portagrad as pg
from portagrad.testing.arrays import host

A = np.asarray
same = np.testing.assert_array_equal


@pytest.fixture
def leaf(xp_device):
    """A leaf of the tape on the device."""

    def make(values, dtype="float64"):
        return pg.tensor(pg.to_device(A(values, dtype=dtype), xp_device), requires_grad=True)

    return make


def test_backward_fills_grad_with_raw_arrays(leaf, xp_device):
    x, w = leaf([1.0, 2.0]), leaf([[1.0], [3.0]])
    loss = pg.sum((x @ w) ** 2)
    assert loss.requires_grad and x.grad is None
    loss.backward()
    same(host(x.grad), [14.0, 42.0])
    same(host(w.grad), [[14.0], [28.0]])
    assert isinstance(x.grad, xp_device.backend.array_types)
    assert pg.device(x.grad) == xp_device


def test_gradients_accumulate_over_backward_passes_and_can_be_zeroed(leaf):
    x = leaf([1.0, 2.0])
    for _ in range(2):
        pg.sum(x * x).backward()
    same(host(x.grad), [4.0, 8.0])
    x.grad = None
    pg.sum(x).backward()
    same(host(x.grad), [1.0, 1.0])
    x.grad = pg.zeros_like(x.grad)
    pg.sum(3 * x).backward()
    same(host(x.grad), [3.0, 3.0])


def test_a_leaf_of_many_uses_and_one_of_none(leaf):
    x, unused = leaf(2.0), leaf(1.0)
    y = x * x
    z = y * x + y
    z.backward()
    assert float(host(x.grad)) == 3 * 4 + 2 * 2
    assert unused.grad is None and y.grad is None


def test_gradients_of_two_leaves_share_no_memory():
    a = pg.tensor(np.ones(3), requires_grad=True)
    b = pg.tensor(np.ones(3), requires_grad=True)
    pg.sum(a + b).backward()
    a.grad *= 5.0
    same(b.grad, [1.0, 1.0, 1.0])
    c = pg.tensor(np.ones(3), requires_grad=True)
    seed = np.ones(3)
    (c * 1.0).backward(seed)
    (c + 0.0).backward(seed)
    c.grad[0] = 7.0
    same(seed, [1.0, 1.0, 1.0])


def test_a_second_backward_needs_the_graph_to_be_kept(leaf):
    x = leaf(3.0)
    y = x * x
    y.backward(keep_graph=True)
    y.backward()
    assert float(host(x.grad)) == 12.0
    with pytest.raises(pg.Error, match=r"graph behind this value was freed .* backward\(keep_graph=True\)"):
        y.backward()
    assert float(host(x.grad)) == 12.0


def test_backward_of_an_array_needs_a_cotangent(leaf):
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match=r"backward: the function returned shape \(2,\), not a scalar"):
        (x * x).backward()
    (x * x).backward(pg.stop_gradient(x * 0 + 10.0))
    same(host(x.grad), [20.0, 40.0])
    with pytest.raises(TypeError, match="cotangent has shape"):
        (x * x).backward(A(1.0))


def test_training_by_hand(leaf):
    w = leaf([0.0, 0.0])
    for _ in range(100):
        loss = pg.sum((w - pg.stop_gradient(w * 0 + 3.0)) ** 2)
        loss.backward()
        with pg.no_grad():
            w -= 0.1 * w.grad
        w.grad = None
    np.testing.assert_allclose(np.asarray(w.detach()), [3.0, 3.0], rtol=1e-6)
    assert w.requires_grad


def test_an_update_changes_no_array_of_the_callers():
    raw = np.zeros(2)
    w = pg.tensor(raw, requires_grad=True)
    with pg.no_grad():
        w += 1.0
        w[0] = 5.0
    same(raw, [0.0, 0.0])
    same(np.asarray(w.detach()), [5.0, 1.0])


def test_in_place_on_a_leaf_is_refused_while_it_records(leaf):
    w = leaf([1.0])
    for change in ("w += 1.0", "w[0] = 2.0"):
        with pytest.raises(pg.Error, match=r"would lose its \.grad; write y = x"):
            exec(change, {"w": w})
    same(np.asarray(w.detach()), [1.0])


def test_in_place_on_what_was_computed_from_a_leaf(leaf):
    x = leaf([1.0, 2.0])
    y = x * 2.0
    alias = y
    y[0] = 0.0
    y *= x
    assert alias is y
    pg.sum(y).backward()
    same(host(x.grad), [0.0, 8.0])


def test_no_grad_makes_constants(leaf):
    x = leaf([1.0])
    with pg.no_grad():
        y = x * 2.0
        assert not y.requires_grad
        z = pg.grad(lambda t: pg.sum(t * t))(x)  # a transform opened inside works as always
    assert not x.detach().requires_grad and x.requires_grad
    same(np.asarray(y), [2.0])
    same(np.asarray(z), [2.0])
    with pytest.raises(pg.Error, match="not on the tape"):
        y.backward()
    with pytest.raises(pg.Error, match=r"keep a \.grad"):
        y.grad = 1.0


def test_no_grad_ends_with_its_block_also_when_it_raises(leaf):
    x = leaf([1.0])
    with pytest.raises(ZeroDivisionError), pg.no_grad():
        _ = 1 / 0
    assert (x * 2.0).requires_grad


def test_transforms_inside_the_tape_and_around_it(leaf):
    x = leaf([1.0, 2.0])
    inner = pg.grad(lambda y: pg.sum(y**3))(x)  # a gradient of second order on the tape
    assert inner.requires_grad
    pg.sum(inner).backward()
    same(host(x.grad), [6.0, 12.0])

    def f(y):
        return pg.sum(y * x)

    x.grad = None
    gradient = pg.grad(f)(pg.stop_gradient(x) * 1.0)
    pg.sum(gradient * gradient).backward()
    same(host(x.grad), [2.0, 4.0])


def test_tensors_of_data():
    x = pg.tensor([[1.0, 2.0]], dtype=np.float32, requires_grad=True)
    assert (x.shape, x.dtype) == ((1, 2), np.float32)
    assert not pg.tensor([1, 2]).requires_grad
    same(np.asarray(pg.tensor([1, 2])), [1, 2])
    with pytest.raises(pg.NonDifferentiableError, match="tensor: the data is numpy int64"):
        pg.tensor([1, 2], requires_grad=True)
    with pytest.raises(pg.ConcretizationError, match=r"np\.asarray"):
        np.asarray(x)


def test_the_tape_of_another_thread(leaf):
    x = leaf([1.0, 2.0])
    y = x * x
    found = []

    def work():
        z = pg.sum(y * x)
        z.backward()
        found.append(host(x.grad))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    same(found[0], [3.0, 12.0])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_belongs_to_the_same_tape(copied):
    x = pg.tensor(A([1.0, 2.0]), requires_grad=True)
    y = copied(x)
    pg.sum(x * y * y).backward()
    same(x.grad, [3.0, 12.0] if copied is copy.copy else [1.0, 4.0])
    same(y.grad, [3.0, 12.0] if copied is copy.copy else [2.0, 8.0])
    constant = copied(pg.tensor(A([1.0, 2.0])))
    assert not constant.requires_grad and type(pg.grad(lambda x: pg.sum(x * constant))(x.value)) is np.ndarray
