"""Every function of the standard has a working forward on every backend, and assignment is functional."""

import importlib
import inspect
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from standard_calls import CALLS, on

import portagrad as pg
from portagrad.backend import backend_of, basic_index, get_backend
from portagrad.device import device, device_of, transfer
from portagrad.errors import BackendUnavailableError

NAMES = ("numpy", "cupy", "torch", "jax", "dask", "strict")
NUMPY = get_backend("numpy")


@pytest.fixture(params=NAMES)
def backend(request):
    """Each backend whose library is installed, JAX with its 64-bit types."""
    try:
        found = get_backend(request.param)
        found.devices()
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    if request.param != "jax":
        yield found
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield found
    jax.config.update("jax_enable_x64", before)


def forward(backend, name):
    """What the engine runs: the adapter's kernel, else the namespace's function."""
    found = backend.kernels.get(name, backend.xp)
    if found is backend.xp:
        for part in name.split("."):
            found = getattr(found, part)
    return found


def seen(backend, result):
    """A result as plain values: NumPy arrays, lists, numbers, dtype names."""
    if isinstance(result, tuple | list):
        return [seen(backend, part) for part in result]
    if isinstance(result, backend.array_types):
        return backend.to_numpy(result)
    if hasattr(result, "bits"):
        fields = ("bits", "min", "max", "eps", "smallest_normal")
        return [float(getattr(result, field)) for field in fields if hasattr(result, field)]
    return result if isinstance(result, bool | int) else np.dtype(str(result).rpartition(".")[2]).name


def rebuilt(name, result):
    """What a factorisation stands for: its factors are fixed up to signs or phases only."""
    match name:
        case "linalg.eigh" | "linalg.eig":
            values, vectors = result
            return [np.sort(values), (vectors * values[..., None, :]) @ np.linalg.inv(vectors)]
        case "linalg.eigvals":
            return np.sort(result)
        case "linalg.qr":
            return result[0] @ result[1]
        case "linalg.svd":
            left, values, right = result
            k = values.shape[-1]
            return [values, (left[..., :k] * values[..., None, :]) @ right[..., :k, :]]
    return result


def agree(expected, found):
    if isinstance(expected, list):
        assert len(expected) == len(found)
        for one, other in zip(expected, found, strict=True):
            agree(one, other)
    elif isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype
        tolerance = 1e-5 if np.result_type(expected, np.float32) in (np.float32, np.complex64) else 1e-10
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, strict=True)
    else:
        assert found == expected


@pytest.mark.parametrize("name", CALLS)
def test_every_function_of_the_standard_agrees_with_numpy(backend, name):
    place = backend.devices()[-1]
    for call in CALLS[name]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            plain = forward(NUMPY, name)(*on(NUMPY, "cpu", call.args), **on(NUMPY, "cpu", call.kwargs))
            result = forward(backend, name)(*on(backend, place, call.args), **on(backend, place, call.kwargs))
            expected, found = seen(NUMPY, plain), seen(backend, result)
        if name.startswith("empty"):
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        else:
            agree(rebuilt(name, expected), rebuilt(name, found))


def test_kernels_take_what_the_standard_passes_by_name(backend):
    strict = pytest.importorskip("array_api_strict")
    for name, kernel in backend.kernels.items():
        standard = strict
        for part in name.split("."):
            standard = getattr(standard, part, None)
        if inspect.isfunction(standard) and inspect.isfunction(kernel):
            named = [
                p.name for p in inspect.signature(standard).parameters.values() if p.kind == p.KEYWORD_ONLY
            ]
            assert set(named) <= set(inspect.signature(kernel).parameters), name


def test_an_adapter_shows_its_namespace_of_tensors(backend):
    module = importlib.import_module(f"portagrad_{backend.name}")
    assert module.xp is pg.namespace(backend.name)
    assert module.xp.__name__ == f"portagrad_{backend.name}.xp"
    assert isinstance(module.xp.ones(3), pg.Tensor)
    with pytest.raises(AttributeError, match="has no attribute 'xq'"):
        module.xq  # noqa: B018


SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
BASIC = SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape, allow_newaxis=True)))
ARRAYS = (
    hnp.array_shapes(max_dims=3, max_side=4)
    .flatmap(lambda shape: st.tuples(st.just(shape), hnp.integer_array_indices(shape)))
    .map(lambda drawn: (drawn[0], drawn[1]))
)


def read(backend, x, key):
    kernel = backend.kernels.get("getitem")
    return kernel(x, key=key) if kernel else x[key]


def check_index(backend, shape, key):
    """Reading, adding and putting at `key` do what NumPy does, and leave their argument alone."""
    place = backend.devices()[-1]
    host = np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)
    picked = host[key]
    value = np.cos(np.arange(picked.size, dtype=float)).reshape(picked.shape)
    x, v, k = (on(backend, place, part) for part in (host, value, key))
    added, put = host.copy(), host.copy()
    np.add.at(added, key, value)
    put[key] = value
    agree(picked, backend.to_numpy(read(backend, x, k)))
    agree(added, backend.to_numpy(backend.kernels["index_add"](x, v, key=k)))
    positions = np.arange(host.size).reshape(shape)[key]
    if np.unique(positions).size == positions.size:  # else any of the values may win
        agree(put, backend.to_numpy(backend.kernels["index_put"](x, v, key=k)))
    agree(host, backend.to_numpy(x))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BASIC)
def test_slices_integers_ellipsis_and_newaxis(backend, drawn):
    shape, key = drawn
    key = key if isinstance(key, tuple) else (key,)
    check_index(backend, shape, key if ... in key else (*key, ...))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ARRAYS)
def test_integer_arrays(backend, drawn):
    check_index(backend, *drawn)


@pytest.mark.parametrize(
    "key",
    [
        (np.asarray([0, 2]), slice(None, None, -1)),
        (slice(None, None, -2), np.asarray([2, 0, 0])),
        (1, np.asarray([0, 0, 1])),
        np.asarray([[True, False, True], [False, True, False], [True, True, False]]),
    ],
    ids=["array-slice", "slice-array", "integer-array", "mask"],
)
def test_mixed_indices(backend, key):
    if backend.name == "strict" and isinstance(key, tuple) and any(isinstance(part, slice) for part in key):
        pytest.skip("the standard has integer arrays beside integers only, and array-api-strict no more")
    check_index(backend, (3, 3), key)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64", "int32"])
def test_repeated_indices_accumulate_in_every_dtype(backend, dtype):
    place = backend.devices()[-1]
    x = backend.from_numpy(np.asarray([1, 2, 3]).astype(dtype), place)
    value = backend.from_numpy(np.asarray([10, -20, 30]).astype(dtype), place)
    key = backend.from_numpy(np.asarray([0, 2, 0]), place)
    agree(
        np.asarray([41, 2, -17]).astype(dtype),
        seen(backend, backend.kernels["index_add"](x, value, key=(key,))),
    )


def test_a_python_number_may_be_put_and_added(backend):
    x = backend.from_numpy(np.zeros((2, 2)), backend.devices()[-1])
    put = backend.kernels["index_put"](x, 1.5, key=(0, ...))
    agree(
        np.asarray([[1.5, 1.5], [0.0, 2.0]]),
        seen(backend, backend.kernels["index_add"](put, 2.0, key=(1, 1))),
    )


@pytest.mark.parametrize(
    ("key", "basic"),
    [(1, True), (np.int64(1), True), ((slice(2), None, ...), True), (False, False), (np.asarray([1]), False)],
)
def test_basic_index(key, basic):
    assert basic_index(key) is basic


def test_dask_computes_nothing_until_asked():
    dask = pytest.importorskip("dask")
    backend = get_backend("dask")

    def refuse(*args, **kwargs):
        raise AssertionError("an array was computed")

    calls = [(name, call) for name in CALLS for call in CALLS[name]]
    # Repetitions decide the result's shape; so do the numbers of which the different ones are asked for.
    shape_in_data = {"repeat", "unique_all", "unique_counts", "unique_inverse", "unique_values"}
    with dask.config.set(scheduler=refuse), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, call in calls:
            args, kwargs = on(backend, "cpu", call.args), on(backend, "cpu", call.kwargs)
            if name not in shape_in_data or isinstance(call.args[-1], int):
                forward(backend, name)(*args, **kwargs)
        x = on(backend, "cpu", np.ones((4, 3)))
        for key in (1, slice(None, None, -2), (np.asarray([0, 0]), np.asarray([1, 1]))):
            backend.kernels["index_add"](x, read(backend, x, key), key=key)
            backend.kernels["index_put"](x, 0.0, key=key)


def test_dask_arrays_in_many_chunks():
    pytest.importorskip("dask")
    import dask.array

    backend = get_backend("dask")

    def chunked(value):
        if isinstance(value, np.ndarray):
            return dask.array.from_array(value, chunks=2)
        if isinstance(value, tuple | list):
            return type(value)(map(chunked, value))
        return on(backend, "cpu", value)

    for name in CALLS:
        for call in CALLS[name]:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                kwargs = {key: chunked(value) for key, value in call.kwargs.items()}
                found = seen(backend, forward(backend, name)(*map(chunked, call.args), **kwargs))
                plain = forward(NUMPY, name)(*on(NUMPY, "cpu", call.args), **on(NUMPY, "cpu", call.kwargs))
            if not name.startswith("empty"):
                agree(rebuilt(name, seen(NUMPY, plain)), rebuilt(name, found))


def test_jax_tracers_are_arrays_without_a_device_yet():
    jax = pytest.importorskip("jax")
    backend = get_backend("jax")
    key = jax.numpy.asarray([0, 0])

    @jax.jit
    def traced(x):
        assert backend_of(x) is backend
        assert str(device_of(x)) == "jax:traced"
        assert device(str(device_of(x))) == device_of(x)
        return backend.kernels["index_add"](transfer(x, device("jax")), x[key], key=(key,))

    np.testing.assert_array_equal(traced(jax.numpy.asarray([1.0, 2.0])), [3.0, 2.0])


def test_cupy_kernels_do_what_numpy_does(monkeypatch):
    """CuPy's kernels on NumPy in CuPy's place: their ways around CUDA's atomics, without a GPU."""
    import scipy.special

    package = types.ModuleType("portagrad_cupy")  # without its __init__, which looks for a driver
    package.__path__ = [str(Path(__file__).parents[1] / "backends" / "portagrad_cupy")]
    scipy_in_place = types.SimpleNamespace(special=scipy.special)
    stand_ins = {"cupy": np, "cupyx": types.ModuleType("cupyx"), "cupyx.scipy": scipy_in_place}
    for name, module in {**stand_ins, "portagrad_cupy": package}.items():
        monkeypatch.setitem(sys.modules, name, module)
    parts = ("portagrad_cupy.kernels", "portagrad_cupy.special")
    before = {name: sys.modules.pop(name, None) for name in parts}
    module = importlib.import_module("portagrad_cupy.kernels")
    for name in parts:  # what was made of stand-ins is not for other tests
        del sys.modules[name]
    sys.modules.update({name: found for name, found in before.items() if found})
    for dtype in ("float32", "complex64", "int64", "int8", "uint64"):
        x, key = np.asarray([1, 2, 3]).astype(dtype), np.asarray([2, 0, 2])
        expected = x.copy()
        np.add.at(expected, key, x)
        agree(expected, module.index_add(x, x, key=key))
        agree(np.asarray([2, 4, 3]).astype(dtype), module.index_add(x, x[:2], key=slice(2)))
        agree(np.asarray([1, 2, 1]).astype(dtype), module.index_put(x, 1, key=-1))
        agree(np.repeat(x, key), module.repeat(x, key))
        agree(np.repeat(x, 2), module.repeat(x, 2))
        agree(np.asarray([1, 2, 3]).astype(dtype), x)


@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_jax_jit_of_a_gradient(backend):
    import jax

    constant = jax.numpy.arange(3.0)

    def loss(x):
        return pg.sum(constant * pg.sin(x) * x[::-1])

    x = jax.numpy.asarray([0.5, -1.0, 2.0])
    np.testing.assert_allclose(jax.jit(pg.grad(loss))(x), pg.grad(loss)(x))
    np.testing.assert_allclose(jax.jit(pg.grad(loss))(x), jax.grad(loss)(x))
    np.testing.assert_allclose(jax.jit(pg.hessian(loss))(x), jax.hessian(loss)(x), atol=1e-12)
