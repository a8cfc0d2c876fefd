"""Every function of the standard does on tensors what the bare library's does on arrays, good input or bad.

What array-api-tests looks at, held here without it: values, dtypes, shapes, containers, signatures and
errors, on drawn calls; also in open traces.
"""

import functools
import inspect
import warnings
import zlib

import numpy as np
import pytest
from drawn_calls import CALLS, calls
from hypothesis import HealthCheck, Phase, given, seed, settings
from standard_calls import on
from standard_names import DIFFERENTIABLE, EXTENSIONS, OTHERS

import portagrad as pg
from portagrad.backend import BY_TYPE, get_backend
from portagrad.errors import BackendUnavailableError
from portagrad.op import TABLE
from portagrad.tensor import Tensor, raw
from portagrad.testing import TracedNamespace
from portagrad.testing.arrays import difference, host

NAMES = [*DIFFERENTIABLE, *OTHERS, *EXTENSIONS]
# JAX compiles for each draw and Dask builds graphs, and what is the engine's own does not depend on them.
EXAMPLES = {"numpy": 20, "torch": 6, "strict": 6, "jax": 1, "dask": 1}
# Where the bare function is not the standard's and ours is.
DEPARTURES = {("numpy", "linalg.eig"), ("numpy", "linalg.eigvals")}
UNSIGNED_TRACE = ("torch", "linalg.trace")  # torch's is signed
MISUSED = (TypeError, ValueError, IndexError, RuntimeError, OverflowError, ZeroDivisionError)


def get(space, name):
    return functools.reduce(getattr, name.split("."), space)


def bare(backend, name):
    """The library's own function; our kernel where that departs from the standard."""
    departs = backend.name != "numpy" or (backend.name, name) in DEPARTURES
    own = backend.kernels.get(name) if departs else None
    if (backend.name, name) == UNSIGNED_TRACE:
        total, diagonal = backend.kernels["sum"], backend.xp.linalg.diagonal
        return lambda x, *, offset=0, dtype=None: total(diagonal(x, offset=offset), axis=-1, dtype=dtype)
    return own or get(backend.xp, name)


def outcome(call, lazy):
    """What a call returns, or the exception it raises; of a lazy library also in computing the values."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            made = call()
            for part in made if isinstance(made, tuple | list) else [made]:
                if lazy and BY_TYPE[type(raw(part))] is not None:
                    host(part)
            return made, None
        except Exception as error:
            return None, error


def held(space, value):
    """An argument for the namespace of tensors."""
    if isinstance(value, tuple | list):
        return type(value)(held(space, part) for part in value)
    return space.asarray(value) if BY_TYPE[type(value)] is not None else value


def check_same(expected, found, values=True):
    """The same containers, dtypes, shapes, libraries and values; arrays as tensors."""
    if isinstance(expected, tuple | list):
        assert isinstance(found, tuple) and len(found) == len(expected)
        assert getattr(expected, "_fields", None) in (None, getattr(found, "_fields", None))
        for one, other in zip(expected, found, strict=True):
            check_same(one, other, values)
    elif BY_TYPE[type(expected)] is not None:
        assert isinstance(found, Tensor)
        assert BY_TYPE[type(raw(found))] is BY_TYPE[type(expected)]
        assert found.dtype == expected.dtype
        here, there = host(expected), host(found)
        assert here.shape == there.shape
        if values:
            tolerance = {"float32": 1e-5, "complex64": 1e-5, "float64": 1e-11, "complex128": 1e-11}
            kind = "int64" if here.dtype == bool else here.dtype
            wrong = difference(
                there.astype(kind), here.astype(kind), tolerance.get(here.dtype.name, 0.0), 0.0
            )
            assert not wrong, wrong
    elif hasattr(expected, "bits"):
        for field in ("bits", "eps", "max", "min", "smallest_normal", "dtype"):
            one, other = getattr(expected, field, None), getattr(found, field, None)
            assert one == other and type(one) is type(other), field
    else:
        assert type(found) is type(expected) and found == expected


def told(error):
    """What a traceback shows of an exception."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def check_refused(name, expected, error):
    """The library's own exception; from a composite, which calls other functions, one that says misuse."""
    assert error is not None, f"{type(expected).__name__} was expected: {expected}"
    assert name.rpartition(".")[2] in told(error)
    composite = name in TABLE and TABLE[name].kind == "composite"
    allowed = MISUSED if composite else tuple(kind for kind in MISUSED if isinstance(expected, kind))
    assert isinstance(error, (*allowed, type(expected), pg.Error)), repr(error)


def check(backend, space, name, call):
    """One call on the library's arrays and on tensors."""
    args, kwargs = (on(backend, backend.devices()[0], given) for given in (call.args, call.kwargs))
    expected, refused = outcome(lambda: bare(backend, name)(*args, **kwargs), backend.lazy)
    args, kwargs = held(space, args), {key: held(space, value) for key, value in kwargs.items()}
    found, error = outcome(lambda: get(space, name)(*args, **kwargs), backend.lazy)
    if refused is not None:
        if not backend.lazy:  # Dask lacks functions that we have
            check_refused(name, refused, error)
    elif error is not None:
        if not isinstance(error, NotImplementedError):  # torch has no arithmetic of large unsigned integers
            raise error
    else:
        check_same(expected, found, values=not name.startswith("empty"))


def try_drawn(library, name, *spaces):
    """Drawn calls of a function, each on all of `spaces`."""
    try:
        backend = get_backend(library)
        backend.devices()
    except BackendUnavailableError as error:
        pytest.skip(str(error))

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=EXAMPLES[library],
        phases=(Phase.generate, Phase.shrink) if EXAMPLES[library] > 1 else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        database=None,
    )
    @given(calls(name))
    def run(call):
        for space in spaces:
            check(backend, space, name, call)

    run()


@pytest.mark.parametrize("name", NAMES)
def test_on_numpy_also_in_open_traces(name):
    open_traces = [TracedNamespace("numpy", mode) for mode in ("reverse", "forward")]
    try_drawn("numpy", name, pg.namespace("numpy"), *open_traces)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", ["torch", "strict"])
def test_on_torch_and_strict_also_in_an_open_trace(library, name):
    backend = pytest.importorskip(f"portagrad_{library}")
    try_drawn(library, name, backend.xp, TracedNamespace(library, "forward"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", ["jax", "dask"])
def test_on_jax_and_dask(library, name):
    try_drawn(library, name, pytest.importorskip(f"portagrad_{library}").xp)


def test_no_function_is_left_out():
    assert set(CALLS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_the_standards(name):
    """Those of array-api-strict, which is written after the standard: names, kinds and defaults."""
    strict = pytest.importorskip("array_api_strict")
    theirs = inspect.signature(get(strict, name)).parameters.values()
    expected = [(p.name, p.kind, None if "Undef" in type(p.default).__name__ else p.default) for p in theirs]
    for space in (pg.namespace("numpy"), TracedNamespace("numpy", "reverse")):
        ours = inspect.signature(get(space, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in ours] == expected
