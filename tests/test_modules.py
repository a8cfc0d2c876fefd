"""Modules: pytrees that never change, drawn alike everywhere, and put in sequence."""

import copy
import dataclasses
import functools
import gc
import pickle
import weakref
from typing import Any, NamedTuple

import numpy as np
import optree
import pytest

import portagrad as pg
from portagrad import nn, random
from portagrad.transforms import tree
from portagrad.transforms.tree import flatten, unflatten

KEY = random.key(6)
SPACE = "portagrad"


class Scale(nn.Module):
    """A module of a user's own."""

    factor: Any
    power: int = nn.static(default=1)

    def __call__(self, x):
        return self.factor**self.power * x


def host(x):
    """Any array as NumPy's."""
    return pg.to_device(x, "numpy")


def test_a_module_is_a_pytree_whose_leaves_have_names():
    model = nn.MLP.init(KEY, [4, 3, 2])
    paths, leaves, structure = optree.tree_flatten_with_path(model, namespace=SPACE)
    assert [".".join(map(str, path)) for path in paths] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]
    back = optree.tree_unflatten(structure, leaves)
    assert type(back) is nn.MLP and back.layers[1].bias is model.layers[1].bias
    assert (back.activation, back.dropout) == (nn.relu, 0.0)


def test_static_fields_belong_to_the_structure():
    structure = [optree.tree_structure(Scale(np.ones(2), power), namespace=SPACE) for power in (1, 1, 2)]
    assert structure[0] == structure[1] != structure[2]
    assert hash(structure[0]) == hash(structure[1])
    assert optree.tree_leaves(Scale(None, 3), namespace=SPACE) == []


def test_a_missing_bias_is_no_leaf():
    layer = nn.Linear.init(KEY, 3, 2, bias=False)
    assert len(optree.tree_leaves(layer, namespace=SPACE)) == 1
    gradient = pg.grad(lambda m: pg.sum(m(np.ones(3, np.float32))))(layer)
    assert gradient.bias is None and gradient.weight.shape == (3, 2)


def test_rebuilding_runs_no_constructor():
    class Counted(nn.Module):
        x: Any

        def __post_init__(self):
            made.append(self)

    made = []
    doubled = optree.tree_map(lambda x: 2 * x, Counted(1.5), namespace=SPACE)
    assert doubled.x == 3.0 and len(made) == 1
    assert optree.tree_map(str, doubled, namespace=SPACE).x == "3.0"


class Pair(NamedTuple):
    """A node of a tree that is no module."""

    first: Any
    second: Any


class Nested(nn.Module):
    """Modules, tuples and static values in each other."""

    parts: Any
    scale: Any
    inner: Any = nn.static(default=None)


NESTED = (
    Nested(((np.ones(1), (np.ones(2), ())), np.ones(3)), Scale(np.ones(4), 2), inner=(1, "x")),
    Nested((), np.ones(1), inner=Scale(np.ones(2))),
    Nested((Pair(np.ones(1), np.ones(2)),), Scale(np.ones(3))),
    Nested([np.ones(1)], {"x": Scale(np.ones(2))}),
    Nested(None, Scale(np.ones(2))),
)


@pytest.mark.parametrize("module", NESTED)
def test_modules_are_put_together_as_optree_does(module):
    """Also those for which no code is written: with lists, missing parts, or nodes of other kinds."""
    leaves, structure = flatten(module)
    moved = [x + 1 for x in leaves]
    built, expected = unflatten(structure, moved, remember=True), structure.unflatten(moved)
    assert optree.tree_structure(built, namespace=SPACE) == structure
    for a, b in zip(*(optree.tree_leaves(m, namespace=SPACE) for m in (built, expected)), strict=True):
        assert a is b
    assert type(built.parts) is type(module.parts) and built.inner is module.inner
    assert list(map(id, flatten(built)[0])) == list(map(id, moved))


def test_a_gradient_is_put_together_when_a_field_is_asked_for():
    layer = nn.Linear(np.ones((3, 2)), np.zeros(2))
    f = lambda layer: pg.sum(layer(np.ones((1, 3))))  # noqa: E731
    assert vars(pg.grad(f)(layer)).keys() == {"__leaves__"}
    np.testing.assert_array_equal(pg.grad(f)(layer).bias, [1.0, 1.0])  # not the default, None
    assert repr(pg.grad(f)(layer)) == "Linear(weight=float64[3, 2], bias=float64[2])"
    g = pg.grad(f)(layer)
    assert g.weight is g.weight and vars(g).keys() == {"__leaves__", "weight", "bias"}
    assert g.weight is flatten(g)[0][0]
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        g.wieght  # noqa: B018
    with pytest.raises(dataclasses.FrozenInstanceError):
        pg.grad(f)(layer).weight = 1
    assert dataclasses.replace(pg.grad(f)(layer), bias=None).bias is None


class Applied(nn.Module):
    """A module with a function that may hold arrays."""

    weight: Any
    function: Any = nn.static()


def test_modules_that_are_other_ones_in_each_step_are_not_all_kept(monkeypatch):
    monkeypatch.setattr(tree, "_KEPT", 5)
    held = []
    for _ in range(24):
        shift = np.ones(2)
        held.append(weakref.ref(shift))
        module = Applied(np.ones(2), lambda x, shift=shift: pg.sum(x * x + shift))
        np.testing.assert_array_equal(pg.grad(lambda m: m.function(m.weight))(module).weight, [2.0, 2.0])
    del shift, module
    gc.collect()
    assert sum(each() is not None for each in held) <= 10  # in two tables


class Named(nn.Module):
    """What is no field here is one of the subclass."""

    weight: Any
    name = "named"

    @property
    def wrong(self):
        return self.name.uper()


class Peculiar(Named):
    """A module with attributes of a user's own of every kind."""

    name: str = nn.static(default="peculiar")
    version: int = dataclasses.field(default=1, init=False, metadata={"static": True})

    def __getattr__(self, name):
        return getattr(self.weight, name)

    @functools.cached_property
    def table(self):
        return {}


def test_a_gradient_has_the_fields_of_its_module_whatever_else_its_class_has():
    gradient = lambda: pg.grad(lambda m: pg.sum(m.weight))(Peculiar(np.ones(2), "own"))  # noqa: E731
    assert gradient().name == "own" and gradient().version == 1
    assert gradient().shape == (2,) and {"weight", "name"} <= set(dir(gradient()))
    g = gradient()
    assert g.table == {} and g.weight.shape == (2,)


def test_a_class_of_modules_has_its_defaults_as_any_dataclass():
    class Halved(Scale):
        half: Any = 0.5

    class Again(Halved):
        half: Any

    assert Scale.power == Again.power == 1
    assert Halved.half == Again.half == Again(np.ones(2)).half == 0.5
    assert not hasattr(Scale, "factor")


def test_an_error_in_a_property_is_the_one_that_is_raised():
    with pytest.raises(AttributeError, match="'str' object has no attribute 'uper'"):
        Named(np.ones(2)).wrong  # noqa: B018


def test_a_module_never_changes():
    scale = Scale(np.ones(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        scale.factor = np.zeros(2)
    other = scale.replace(power=2)
    assert (scale.power, other.power, other.factor is scale.factor) == (1, 2, True)
    with pytest.raises(
        TypeError, match=r"Scale\.replace: no field 'pwoer'; the nearest is power; it has factor"
    ):
        scale.replace(pwoer=2)
    with pytest.raises(ValueError, match="dropout rate"):
        nn.MLP.init(KEY, [2, 2]).replace(dropout=1.5)
    layers = nn.Sequential(nn.relu).replace(layers=(nn.tanh,)).layers
    assert [type(layer) for layer in layers] == [nn.Function]


def test_modules_are_equal_when_they_are_the_same_object():
    a, b = Scale(np.ones(2)), Scale(np.ones(2))
    assert a == a and a != b and len({a, b}) == 2


def test_a_module_can_be_copied_and_pickled():
    initial = nn.MLP.init(KEY, [3, 2], activation="tanh")
    model = pg.grad(lambda m: nn.mse(m(np.ones(3, np.float32)), np.ones(2, np.float32)))(initial)
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other is not model and other.activation is nn.tanh
        assert other.__dict__.keys() == initial.__dict__.keys()
        np.testing.assert_array_equal(other.layers[0].weight, model.layers[0].weight)


def test_a_subclass_of_a_module_inherits_its_fields():
    class Shifted(Scale):
        shift: Any = 0.0

        def __call__(self, x):
            return super().__call__(x) + self.shift

    module = Shifted(np.asarray([2.0]), 2, np.asarray([1.0]))
    np.testing.assert_array_equal(module(np.asarray([3.0])), [13.0])
    assert len(optree.tree_leaves(module, namespace=SPACE)) == 2


def test_a_repr_shows_shapes_and_not_numbers():
    assert repr(nn.Linear.init(KEY, 3, 2)) == "Linear(weight=float32[3, 2], bias=float32[2])"
    assert repr(Scale({"a": np.ones(2)}, 3)) == "Scale(factor={'a': float64[2]}, power=3)"
    assert repr(nn.MLP.init(KEY, [64, 32, 10], dropout=0.1)) == (
        "MLP(\n"
        "  layers=(\n"
        "    Linear(weight=float32[64, 32], bias=float32[32]),\n"
        "    Linear(weight=float32[32, 10], bias=float32[10]),\n"
        "  ),\n"
        "  activation=relu,\n"
        "  dropout=0.1,\n"
        ")"
    )


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (
            lambda: Scale("2"),
            r"Scale\.factor: '2' \(str\) is neither an array nor a module; declare the field",
        ),
        (lambda: Scale(nn.relu), r"Scale\.factor: relu \(function\) is neither .*nn\.static\(\)"),
        (lambda: Scale(3), r"Scale\.factor: 3 \(int\) is neither"),
        (
            lambda: Scale(1.0, [1]),
            r"Scale\.power: a static field must be hashable, not a list; give it as a tuple",
        ),
        (lambda: Scale(1.0, np.ones(2)), r"Scale\.power: an array cannot be static"),
    ],
)
def test_fields_hold_what_they_are_declared_for(make, error):
    with pytest.raises(TypeError, match=error):
        make()


def test_a_model_moves_between_devices(xp_device):
    model = pg.to_device(nn.MLP.init(KEY, [4, 3], device="cpu"), xp_device)
    assert pg.device(model.layers[0].weight) == xp_device
    np.testing.assert_array_equal(host(model).layers[0].weight, nn.MLP.init(KEY, [4, 3]).layers[0].weight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_bits_everywhere(xp_device, dtype):
    def models(where):
        return [
            nn.MLP.init(KEY, [5, 7, 3], dtype=dtype, device=where),
            nn.MLP.init(
                KEY, [5, 7, 3], activation="tanh", initializer=nn.orthogonal(), dtype=dtype, device=where
            ),
            nn.Linear.init(KEY, 5, 4, initializer=nn.lecun_normal(), dtype=dtype, device=where),
            nn.LayerNorm.init(3, dtype=dtype, device=where),
            nn.BatchNorm.init(3, dtype=dtype, device=where).initial_state(),
        ]

    here, there = (optree.tree_leaves(models(where), namespace=SPACE) for where in ("cpu", xp_device))
    for a, b in zip(here, there, strict=True):
        assert pg.device(b) == xp_device
        assert a.dtype == host(b).dtype == np.dtype(dtype)
        assert a.tobytes() == host(b).tobytes()


def test_layers_of_a_perceptron_are_drawn_apart_and_scaled_to_their_activation():
    model = nn.MLP.init(KEY, [300, 300, 300], activation="relu")
    first, last = (layer.weight for layer in model.layers)
    assert abs(np.corrcoef(first.ravel(), last.ravel())[0, 1]) < 0.02
    assert first.var() == pytest.approx(2 / 300, rel=0.03)  # he
    assert last.var() == pytest.approx(1 / 300, rel=0.03)  # glorot
    tanh = nn.MLP.init(KEY, [300, 300, 300], activation="tanh")
    assert tanh.layers[0].weight.var() == pytest.approx(1 / 300, rel=0.03)
    assert not any(layer.bias.any() for layer in model.layers)


def test_sequential_applies_layers_in_order_and_hands_out_keys():
    seen = []

    class Noting(nn.Module):
        def __call__(self, x, *, key=None):
            seen.append(key)
            return x

    inner = nn.Sequential(Noting(), nn.Dropout(0.5))
    model = nn.Sequential(lambda x: x + 1, np.sqrt, Noting(), Scale(np.asarray(2.0)), inner)
    np.testing.assert_array_equal(model(np.asarray([3.0, 8.0])), [4.0, 6.0])
    assert seen == [None, None]
    model(np.asarray([3.0, 8.0]), key=KEY)
    assert len({KEY, *seen}) == 4  # None, the key, and one for each layer
    assert len(optree.tree_leaves(model, namespace=SPACE)) == 1


def test_sequential_with_functions_is_the_perceptron():
    mlp = nn.MLP.init(KEY, [4, 5, 3], activation="elu")
    first, last = mlp.layers
    x = random.normal(random.key(1), (6, 4))
    np.testing.assert_array_equal(nn.Sequential(first, nn.elu, last)(x), mlp(x))
    assert repr(nn.Sequential(nn.elu, nn.Dropout(0.5))) == "Sequential(layers=(elu, Dropout(rate=0.5)))"
