"""Ops on shapes, axes and indices that hypothesis draws."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import portagrad as pg
from portagrad.op import TABLE, Case
from portagrad.testing import check_grads
from portagrad.testing.draws import draw
from portagrad.testing.ops import check_values

EAGER = [d for d in ("cpu", "torch", "strict") if d in {"cpu", *(d.backend.name for d in pg.devices())}]
few = settings(max_examples=25, suppress_health_check=list(HealthCheck))
devices = st.sampled_from(EAGER)
SCANS = ("cumulative_sum", "cumulative_prod")
MATRICES = hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3)
VECTORS = hnp.mutually_broadcastable_shapes(signature="(k),(k)->()", max_dims=2, max_side=3, min_side=0)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)


def try_out(name, device, *shapes, **params):
    """The laws of an op, on arrays of these shapes."""
    call = draw(TABLE[name], Case(shapes, params), device)
    check_values(call)
    check_grads(call, call.xs, order=1)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "var", "std", "logsumexp"])
@few
@given(data=st.data())
def test_reductions_over_any_axes(name, data):
    least = 0 if name in ("sum", "prod") else 1  # the others have no value for nothing
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=least, max_side=3))
    axes = st.one_of(st.none(), hnp.valid_tuple_axes(len(shape)))
    if shape:
        axes |= st.integers(-len(shape), len(shape) - 1)
    axis, keepdims = data.draw(axes), data.draw(st.booleans())
    if name == "std":  # the root of zero has no derivative
        axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        assume(math.prod(shape[a] for a in axes) > 1)
    try_out(name, data.draw(devices), shape, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("name", [*SCANS, "softmax", "log_softmax", "diff", "flip"])
@few
@given(data=st.data())
def test_functions_along_any_axis(name, data):
    shape = data.draw(hnp.array_shapes(max_dims=3, min_side=0 if name in (*SCANS, "flip") else 1, max_side=3))
    params = {"axis": data.draw(st.integers(-len(shape), len(shape) - 1))}
    if name in SCANS:
        params["include_initial"] = data.draw(st.booleans())
    arrays = (shape, None, None) if name == "diff" else (shape,)
    try_out(name, data.draw(devices), *arrays, **params)


@few
@given(shapes=MATRICES, device=devices)
def test_matrix_products_of_any_stacks(shapes, device):
    try_out("matmul", device, *shapes.input_shapes)


@few
@given(shapes=VECTORS, device=devices)
def test_inner_products_of_any_stacks(shapes, device):
    try_out("vecdot", device, *shapes.input_shapes)


@few
@given(data=st.data())
def test_contractions_over_any_axes(data):
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=3))
    inner = data.draw(hnp.valid_tuple_axes(len(shape), min_size=0))
    free = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=2))
    other = [*((shape[a], k) for k, a in enumerate(inner)), *((n, None) for n in free)]
    order = data.draw(st.permutations(other))
    axes = tuple([[k for _, k in order].index(i) for i in range(len(inner))])
    try_out("tensordot", data.draw(devices), shape, tuple(n for n, _ in order), axes=(inner, axes))


@few
@given(data=st.data())
def test_moves_of_any_axes(data):
    shape, device = data.draw(hnp.array_shapes(max_dims=4, max_side=3, min_side=0)), data.draw(devices)
    order = data.draw(st.permutations(range(len(shape))))
    try_out("permute_dims", device, shape, axes=tuple(order))
    n = data.draw(st.integers(1, len(shape)))
    signs = data.draw(st.lists(st.sampled_from([0, len(shape)]), min_size=n, max_size=n))
    source = tuple(a - s for a, s in zip(order, signs, strict=False))
    target = tuple(data.draw(st.permutations(range(len(shape))))[:n])
    try_out("moveaxis", device, shape, source=source, destination=target)
    try_out("roll", device, shape, shift=tuple(signs), axis=target)
    try_out("roll", device, shape, shift=data.draw(st.integers(-5, 5)), axis=None)


@few
@given(shape=SHAPES, counts=st.lists(st.integers(0, 2), max_size=4), times=st.integers(0, 3), device=devices)
def test_copies_of_any_number(shape, counts, times, device):
    try_out("tile", device, shape, repetitions=tuple(counts))
    if shape:
        try_out("repeat", device, shape, repeats=times, axis=len(shape) - 1)
    try_out("repeat", device, shape or (1,), repeats=times, axis=None)


@few
@given(data=st.data())
def test_joins_and_cuts_along_any_axis(data):
    shape, device = data.draw(hnp.array_shapes(max_dims=3, max_side=3)), data.draw(devices)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    shapes = [tuple(n if i == axis % len(shape) else k for i, k in enumerate(shape)) for n in lengths]
    try_out("concat", device, *shapes, axis=axis)
    try_out("stack", device, *[shape] * len(lengths), axis=axis)
    try_out("unstack", device, shape, axis=axis)
    try_out("expand_dims", device, shape, axis=axis)


@few
@given(data=st.data())
def test_slices_integers_ellipsis_and_newaxis(data):
    """Reading is linear, assignment too; NumPy says what they should give."""
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    key = key if isinstance(key, tuple) else (key,)
    device = data.draw(devices)
    if ... not in key:
        key = (*key, ...)  # the standard wants every axis said
    x = np.random.default_rng(0).standard_normal(shape)
    picked = np.asarray(x[key])
    put, device = np.array(x), pg.device(device)
    put[key] = 2 * picked
    moved = pg.to_device(x, device)

    def read(x):
        return x[key]

    def assign(x, v):
        y = x * 1.0
        y[key] = v
        return y

    value = pg.to_device(2 * picked, device)
    np.testing.assert_array_equal(pg.to_device(pg.vjp(read, moved)[0], "cpu"), picked)
    np.testing.assert_array_equal(pg.to_device(pg.vjp(assign, moved, value)[0], "cpu"), put)
    check_grads(read, (moved,), order=1)
    check_grads(assign, (moved, value), order=1)


@few
@given(data=st.data())
def test_arrays_of_indices_accumulate_what_they_repeat(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=4))
    key = data.draw(hnp.integer_array_indices(shape))
    device = pg.device(data.draw(devices))
    moved = tuple(pg.to_device(k, device) for k in key)
    x = np.random.default_rng(0).standard_normal(shape)
    g = np.random.default_rng(1).standard_normal(x[key].shape)
    expected = np.zeros(shape)
    np.add.at(expected, key, g)
    y, pullback = pg.vjp(lambda x: x[moved], pg.to_device(x, device))
    np.testing.assert_array_equal(pg.to_device(y, "cpu"), x[key])
    found = pullback(pg.to_device(g, device))[0]
    np.testing.assert_allclose(pg.to_device(found, "cpu"), expected, rtol=1e-12, atol=1e-14)
    check_grads(lambda x: x[moved] ** 2, (pg.to_device(x, device),), order=2)
