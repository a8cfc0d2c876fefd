"""Other people's functions differentiate as they were published: SciPy, scikit-learn, xarray and others."""

import builtins
import importlib
import re
from pathlib import Path

import array_api_compat
import numpy as np
import optree
import pytest
from foreign_calls import ARRAYS, CONSTANTS, ELSEWHERE, LIBRARIES, OUTSIDE, expression, lines, names

import portagrad as pg
from portagrad.backend import KIND, get_backend
from portagrad.tensor import raw
from portagrad.testing.arrays import host

pytestmark = pytest.mark.filterwarnings("ignore")
LINES = [line for text in LIBRARIES.values() for line in lines(text)]
MODULES = {
    "scipy": "cluster.vq cluster.hierarchy differentiate fft integrate interpolate linalg ndimage optimize "
    "optimize.elementwise signal spatial.distance spatial.transform special stats",
    "sklearn": "covariance decomposition discriminant_analysis gaussian_process kernel_approximation "
    "linear_model metrics metrics.pairwise mixture naive_bayes neighbors preprocessing utils utils.extmath",
}


NAMES = {}  # what the lines call


@pytest.fixture(scope="module", autouse=True)
def names_in_lines():
    """What the lines call, with scikit-learn's dispatch switched on; SciPy's is by tests/conftest.py.

    Imported when the first test runs: it takes seconds, which a run of other tests need not wait.
    """
    found = {"np": np, "ab": ("a", "b"), "b": {"b": [1.0, 2.0, 4.0]}}
    for package, inside in MODULES.items():
        for each in inside.split():
            importlib.import_module(f"{package}.{each}")
            top = each.partition(".")[0]
            found[top] = importlib.import_module(f"{package}.{top}")
    transform = found["spatial"].transform
    found |= {name: getattr(transform, name) for name in ("Rotation", "RigidTransform", "Slerp")}
    importlib.import_module("einops.array_api")
    for name, module in {"einops": "einops", "xpx": "array_api_extra", "xr": "xarray"}.items():
        found[name] = importlib.import_module(module)
    NAMES.update(found)
    with importlib.import_module("sklearn").config_context(array_api_dispatch=True):
        yield


def named(line):
    """The arrays that a line reads."""
    text = re.sub(r'"[^"]*"', "", expression(line))
    return {name: x for name, x in ARRAYS.items() if re.search(rf"(?<!\.)\b{name}\b(?!\s*=[^=])", text)}


def function(line, xp, constants):
    """A line as a function of the arrays that it reads; its results as a list of floating arrays."""
    code, arguments = compile(expression(line), line, "eval"), named(line)

    def f(*arrays):
        found = eval(code, {**NAMES, **constants, "xp": xp, **dict(zip(arguments, arrays, strict=True))})
        parts = [part for part in map(data, optree.tree_leaves(found)) if hasattr(part, "dtype")]
        parts = [part for part in parts if KIND[part.dtype]]
        assert parts, f"{line}: no floating result"
        return parts

    return f


def data(part):
    """The array in one of xarray's."""
    return part.data if type(part).__module__.startswith("xarray.") else part


def on_arrays(line):
    """As a function of NumPy's arrays, as anyone calls it; of copies, for some work in place."""
    f = function(line, array_api_compat.array_namespace(np.ones(1)), CONSTANTS)
    return lambda *arrays: f(*[x.copy() for x in arrays])


def on_tensors(line, device="cpu"):
    xp = pg.namespace(device)
    return function(line, xp, {name: xp.asarray(pg.to_device(x, device)) for name, x in CONSTANTS.items()})


def weighed(parts):
    """A number that depends on every element of some arrays, NaN left out."""
    total = 0.0
    for k, part in enumerate(parts):
        shape = tuple(part.shape)
        weights = np.cos(np.arange(int(np.prod(shape))) + k).reshape(shape)
        part = pg.where(part == part, part, 0.0)
        if KIND[part.dtype] > 1:
            part = pg.real(part) + 0.7 * pg.imag(part)
        weights = pg.to_device(weights, pg.device(raw(part)))
        total = total + pg.sum(part * pg.astype(weights, part.dtype))
    return total


def directions(arrays):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(x.shape) + (1j if np.iscomplexobj(x) else 0) for x in arrays]


def gradients(f, arrays):
    """Of all elements of the results together, with respect to all arguments."""
    return pg.grad(lambda *x: weighed(f(*x)), tuple(range(len(arrays))))(*arrays)


@pytest.mark.parametrize("line", LINES)
def test_the_derivatives_are_those_of_finite_differences(line):
    """Both modes, against differences of the function on NumPy's arrays, whose value it has."""
    arrays = [*named(line).values()]
    plain, f, seen, ts, eps = on_arrays(line), on_tensors(line), [], directions(arrays), 1e-6

    def kept(*tensors):
        seen.append(f(*tensors))
        return seen[-1]

    found = gradients(kept, [x.copy() for x in arrays])
    along = sum(np.sum(np.conj(g) * t).real for g, t in zip(found, ts, strict=True))
    for y, expected in zip(seen[0], plain(*arrays), strict=True):
        assert isinstance(y, pg.Tensor) and y.dtype == expected.dtype
        np.testing.assert_allclose(host(y), expected, rtol=1e-9, atol=1e-11)
    ahead, back = (
        float(weighed(plain(*[x + e * t for x, t in zip(arrays, ts, strict=True)]))) for e in (eps, -eps)
    )
    slope = (ahead - back) / (2 * eps)
    assert abs(slope) > 1e-6
    np.testing.assert_allclose(along, slope, rtol=1e-5, atol=1e-7)
    _, pushed = pg.jvp(lambda *x: weighed(f(*x)), tuple(x.copy() for x in arrays), tuple(ts))
    np.testing.assert_allclose(pushed, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("device", ["torch", "strict"])
def test_a_function_that_runs_on_another_library_differentiates_there(device):
    """What fails on the library's own arrays, or goes by way of NumPy's, is not ours to differentiate."""
    pytest.importorskip({"strict": "array_api_strict"}.get(device, device))
    backend, differentiated, failed = get_backend(device), [], []
    for line in LINES:
        arrays = [*named(line).values()]
        there = [pg.to_device(x, device) for x in arrays]
        constants = {name: pg.to_device(x, device) for name, x in CONSTANTS.items()}
        try:
            results = function(line, backend.xp, constants)(*[pg.to_device(x, device) for x in arrays])
        except Exception:
            continue
        if not all(isinstance(part, backend.array_types) for part in results):
            continue
        if line in ELSEWHERE[device]:
            with pytest.raises((pg.ConcretizationError, AttributeError)):
                gradients(on_tensors(line, device), there)
            failed.append(line)
            continue
        found = gradients(on_tensors(line, device), there)
        for a, b in zip(found, gradients(on_tensors(line), arrays), strict=True):
            assert isinstance(a, backend.array_types)
            np.testing.assert_allclose(host(a), b, rtol=1e-5, atol=1e-7, err_msg=line)
        differentiated.append(line)
    assert failed == [*ELSEWHERE[device]]
    assert len(differentiated) > 140


OUTSIDE_LINES = [(line, *group[1:3]) for group in OUTSIDE for line in lines(group[3])]


@pytest.mark.parametrize(
    ("line", "error", "message"), OUTSIDE_LINES, ids=[line for line, *_ in OUTSIDE_LINES]
)
def test_what_leaves_the_standard_says_so(line, error, message):
    """It works on NumPy's arrays, asks of a tensor what is not in the standard, and no gradient is lost."""
    arrays = named(line)
    eval(expression(line), {**NAMES, **CONSTANTS, **{name: x.copy() for name, x in arrays.items()}})
    expected = getattr(pg, error, None) or getattr(builtins, error)
    with pytest.raises(expected, match=re.escape(message)):
        gradients(on_tensors(line), [*arrays.values()])


@pytest.mark.parametrize("device", ["cpu", "torch", "strict:device1"])
def test_what_libraries_ask_of_an_array(device):
    """By array-api-compat, of which SciPy, scikit-learn and array-api-extra each have a copy."""
    pytest.importorskip({"cpu": "numpy", "torch": "torch"}.get(device, "array_api_strict"))
    from scipy._lib import array_api_compat as scipys
    from sklearn.externals import array_api_compat as sklearns

    native = pg.to_device(np.ones((2, 3)), device)

    def asked(x):
        for compat in (array_api_compat, scipys, sklearns):
            xp = compat.array_namespace(x, 2.0, None)
            assert xp is pg.namespace(device) is x.__array_namespace__()
            assert compat.is_array_api_obj(x) and compat.size(x) == 6
            assert compat.device(x) == pg.device(native).native
            assert compat.to_device(x, compat.device(x)).shape == (2, 3)
            for kind in ("numpy", "torch", "cupy", "jax", "dask"):
                assert not getattr(compat, f"is_{kind}_array")(x)
                assert not getattr(compat, f"is_{kind}_namespace")(xp)
            assert compat.is_writeable_array(x) and not compat.is_lazy_array(x)
            with pytest.raises(TypeError, match="Multiple namespaces"):
                compat.array_namespace(x, native)
        return pg.sum(x)

    pg.grad(asked)(native)


def test_the_guide_names_them_all():
    """Each library's functions in docs/foreign.md, and why the others are not differentiated."""
    text = (Path(__file__).parent.parent / "docs" / "foreign.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^### (\S+)\n.*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for library, table in LIBRARIES.items():
        listed = {name for line in lines(table) for name in names(line)}
        assert {*blocks[library].split()} == listed, library
    words = " ".join(text.split())
    for why, *_, table in OUTSIDE:
        assert " ".join(why.split()) in words
        for name in (name for line in lines(table) for name in names(line)):
            assert f"`{name}`" in text, name
    count = sum(len({name for line in lines(table) for name in names(line)}) for table in LIBRARIES.values())
    assert f"{count} functions" in words
