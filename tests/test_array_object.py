"""The array object does what the bare one does: operators, indexing, assignment, attributes, conversions."""

import inspect
import itertools
import operator
import zlib

import numpy as np
import pytest
from drawn_calls import ANY, Draw, calls
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from standard_calls import on
from test_signatures import MISUSED, check_same, held, outcome, told

import portagrad as pg
from portagrad.backend import BY_TYPE, get_backend
from portagrad.tensor import Tensor, raw
from portagrad.testing import TracedNamespace
from portagrad.testing.arrays import host

BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
    "and_": "bitwise_and",
    "or_": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
MIRRORED = {
    "less": "greater",
    "greater": "less",
    "less_equal": "greater_equal",
    "greater_equal": "less_equal",
}
UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}
LIBRARIES = ("numpy", "torch", "strict")
EXAMPLES = {"numpy": 25, "torch": 5, "strict": 5}


def spaces(library):
    """Namespaces of tensors, of NumPy's also in open traces."""
    plain = pytest.importorskip(f"portagrad_{library}").xp
    traced = [TracedNamespace(library, mode) for mode in ("reverse", "forward")] if library == "numpy" else []
    return get_backend(library), [plain, *traced]


def tried(library, name, strategy, test, more=1):
    """Run a test on drawn values, the same ones every time."""

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=more * EXAMPLES[library],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        database=None,
    )
    @given(strategy)
    def run(drawn):
        test(drawn)

    run()


def compare(name, bare, ours):
    """The same result, or an exception of the library's kind that names the op."""
    expected, refused = outcome(bare, False)
    found, error = outcome(ours, False)
    if refused is None:
        if error is None:
            check_same(expected, found)
        elif "in-place result" not in str(error):  # a tensor keeps its shape and dtype, whatever torch does
            raise error
    else:
        assert isinstance(error, (*MISUSED, type(refused))), (
            f"{refused!r} was expected, not {error!r}, {found!r}"
        )
        names = (name, MIRRORED.get(name, name), "unsupported operand", "in-place result")
        assert any(one in told(error) for one in names)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stem", [*BINARY, *COMPARISONS, *UNARY])
def test_operators(library, stem):
    """Between arrays, and with a Python scalar on either side, which takes the reflected method."""
    backend, tensors = spaces(library)
    name = {**BINARY, **COMPARISONS, **UNARY}[stem]
    apply = getattr(operator, stem)

    def test(call):
        args = on(backend, backend.devices()[0], call.args)
        for space in tensors:
            compare(name, lambda: apply(*args), lambda space=space: apply(*held(space, args)))

    tried(library, stem, calls(name), test)


@pytest.mark.parametrize("library", ["numpy", "torch"])  # strict refuses in place what NumPy casts
@pytest.mark.parametrize("stem", BINARY)
def test_reflected_and_in_place_operators(library, stem):
    """In place the tensor stays the same object, of its shape and dtype; what does not fit is refused."""
    backend, tensors = spaces(library)
    name, stem = BINARY[stem], stem.rstrip("_")
    apply = getattr(operator, f"i{stem}")

    def test(call):
        x, y = on(backend, backend.devices()[0], call.args)
        if BY_TYPE[type(x)] is None:
            x, y = y, x
        for space in tensors:
            a, b = held(space, (x, y))
            compare(name, lambda: backend_reflected(x, y), lambda a=a, b=b: getattr(a, f"__r{stem}__")(b))
            copy = backend.xp.asarray(x, copy=True)
            compare(name, lambda copy=copy: apply(copy, y), lambda a=a, b=b: same_object(a, apply(a, b)))

    def backend_reflected(x, y):
        return getattr(operator, stem + "_" * (stem in ("and", "or")))(y, x)

    def same_object(before, after):
        assert after is before
        return after

    tried(library, stem, calls(name), test)


# Indexing


def key_and_shape(d: Draw):
    """An index, good or bad, for an array of a shape."""
    shape = d.of((3, 4), (4,), (2, 3, 2), (), (0, 3))
    form = d.of("basic", "basic", "arrays", "mixed", "mask", "mask of rows", "many")
    if form == "basic":
        parts = [part(d, n) for n in shape]
        if parts and d.of(True, False):
            parts[d.draw(st.integers(0, len(parts) - 1))] = ...
        if d.of(True, False):
            parts.insert(d.draw(st.integers(0, len(parts))), None)
        key = tuple(parts)
        return shape, key[0] if len(key) == 1 and d.of(True, False) else key
    if form in ("mask", "mask of rows"):
        return shape, d.numbers("bool", shape if form == "mask" else shape[:1])
    if form == "arrays":
        return shape, tuple(integers(d, n, (2,)) for n in shape) or (...,)
    if form == "mixed":
        parts = [d.of(integers(d, n, d.of((2,), (3, 1))), part(d, n)) for n in shape]
        return shape, tuple(parts)
    return shape, (*(part(d, n) for n in shape), d.of(0, slice(None)))  # one too many


def integers(d, n, shape):
    return d.numbers(d.of("int64", "int32"), shape, -n, n - 1 + d.rarely()) if n else np.zeros((0,), "int64")


def part(d, n):
    """An integer or a slice."""
    if d.of(False, True):
        return d.draw(st.integers(-n, n - 1)) if n and not d.rarely() else n
    ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    return slice(d.draw(ends), d.draw(ends), d.of(None, 1, 2, -1, -2))


KEYS = st.composite(lambda draw: key_and_shape(Draw(draw)))()


def test_indexing_is_numpys():
    _, tensors = spaces("numpy")

    def test(drawn):
        shape, key = drawn
        x = np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)
        for space in tensors:
            compare("getitem", lambda: x[key], lambda space=space: space.asarray(x)[held(space, key)])

    tried("numpy", "indexing", KEYS, test, more=8)


def test_assignment_is_numpys_and_functional():
    """The other arrays, views of the old value among them, stay as they were."""
    _, tensors = spaces("numpy")

    def test(drawn):
        shape, key = drawn
        x = np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)
        before = x.copy()
        picked, refused = outcome(lambda: np.shape(x[key]), False)
        shapes = [(), *([] if refused else [picked, picked[1:], (*picked, 2)])]
        for value in (2, *(np.cos(np.arange(float(np.prod(s)))).reshape(s) for s in shapes)):
            copy = x.copy()
            for space in tensors:
                tensor = space.asarray(x)
                same = tensor[...]

                def assign(a, i, v):
                    a[i] = v
                    return a

                compare(
                    "index_put",
                    lambda copy=copy, value=value: assign(copy, key, value),
                    lambda tensor=tensor, space=space, value=value: assign(
                        tensor, held(space, key), held(space, value)
                    ),
                )
                np.testing.assert_array_equal(x, before)
                np.testing.assert_array_equal(host(same), before)

    tried("numpy", "assignment", KEYS, test, more=4)


# Attributes and conversions

ARRAYS = st.composite(lambda draw: Draw(draw).array(ANY))()


@pytest.mark.parametrize("library", LIBRARIES)
def test_attributes_and_conversions(library):
    backend, tensors = spaces(library)

    def test(drawn):
        x = on(backend, backend.devices()[0], drawn)
        for space in tensors:
            t = space.asarray(x)
            assert (t.dtype, t.ndim, t.shape, t.size) == (x.dtype, drawn.ndim, drawn.shape, drawn.size)
            assert t.device == backend.device_of(x) and type(t.shape) is type(x.shape)
            assert t.__array_namespace__(api_version="2025.12") is pg.namespace(library)
            check_same(x, t.to_device(t.device))
            if drawn.ndim == 2:
                check_same(x.T, t.T)
            else:
                assert isinstance(outcome(lambda t=t: t.T, False)[1], ValueError)
            compare("matrix_transpose", lambda: backend.xp.matrix_transpose(x), lambda t=t: t.mT)
            for convert in (float, int, complex, bool, operator.index):
                expected, refused = outcome(lambda convert=convert: convert(x), False)
                found, error = outcome(lambda convert=convert, t=t: convert(t), False)
                assert type(found) is type(expected)
                assert found == expected or expected != expected
                assert (error is None) == (refused is None)
                assert error is None or isinstance(error, MISUSED)
            back = np.from_dlpack(t) if drawn.dtype.kind in "iuf" and library == "numpy" else host(t)
            np.testing.assert_array_equal(back, drawn)
            assert t.__dlpack_device__() == raw(t).__dlpack_device__()
            if drawn.ndim:
                assert [p.shape for p in t] == [drawn.shape[1:]] * len(drawn)

    tried(library, "attributes", ARRAYS, test, more=2)


def test_methods_have_the_standards_signatures():
    strict = pytest.importorskip("array_api_strict")
    theirs = type(strict.asarray(1.0))
    for name, method in inspect.getmembers(theirs, inspect.isfunction):
        if name.startswith("__") and name not in ("__init__", "__new__", "__repr__", "__str__", "__buffer__"):
            ours = inspect.signature(getattr(Tensor, name)).parameters.values()
            expected = inspect.signature(method).parameters.values()
            kinds = [(p.kind, p.default is p.empty) for p in ours if p.name != "self"]
            assert kinds == [(p.kind, p.default is p.empty) for p in expected if p.name != "self"], name


def test_a_namespace_of_another_version_is_refused():
    with pytest.raises(ValueError, match=r"'2099.12'.*2025.12"):
        pg.namespace("numpy").ones(1).__array_namespace__(api_version="2099.12")


@pytest.mark.parametrize("library", [*LIBRARIES, "jax", "dask"])
def test_inspection_and_constants(library):
    ours = pytest.importorskip(f"portagrad_{library}").xp
    bare = get_backend(library).xp
    info, theirs = ours.__array_namespace_info__(), bare.__array_namespace_info__()
    assert info.capabilities() == theirs.capabilities()
    assert info.default_device() == theirs.default_device()
    assert info.devices() == theirs.devices()
    assert info.default_dtypes() == theirs.default_dtypes()
    kinds = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating")
    for kind, device in itertools.product(
        (None, "numeric", *kinds, ("bool", "integral")), (None, *info.devices())
    ):
        found = info.dtypes(device=device, kind=kind)
        assert found == theirs.dtypes(device=device, kind=kind)
        assert found and all(getattr(ours, name) == dtype for name, dtype in found.items())
    for name in ("e", "inf", "pi", "newaxis"):
        assert getattr(ours, name) == getattr(bare, name) == getattr(np, name)
        assert type(getattr(ours, name)) in (float, type(None))
    assert ours.nan != ours.nan
