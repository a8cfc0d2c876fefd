"""NumPy's own functions on tensors: the values and derivatives of NumPy code that is left as it is."""

import re
from pathlib import Path

import numpy as np
import numpy.polynomial as polynomial
import optree
import pytest
from numpy_calls import ARRAYS, CALLS, CONSTANTS

import portagrad as pg
from portagrad.protocols import ON_THE_HOST
from portagrad.protocols.counterpart import COUNTERPARTS, Counterpart
from portagrad.testing import check_grads
from portagrad.testing.arrays import host

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning"),
]
IN_PLACE = {"copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"}
x, v = ARRAYS["x"], ARRAYS["v"]


def named(line, arrays):
    """The arrays that a line of code reads."""
    text = re.sub(r'"[^"]*"', "", line)
    return {name: a for name, a in arrays.items() if re.search(rf"\b{name}\b(?!\s*=[^=])", text)}


def function(line, **constants):
    """A line of code as a function of the arrays that it reads."""
    code, names = compile(line, line, "eval"), named(line, ARRAYS)

    def f(*arrays):
        results = eval(code, {"np": np, **constants, **dict(zip(names, arrays, strict=True))})
        return tuple(results) if isinstance(results, list) else results

    return f


def on(device, arrays):
    return {name: pg.to_device(a, device) for name, a in arrays.items()}


def traced_results(f, arrays):
    """What a function returns for tensors that are being differentiated."""
    seen = []

    def loss(*tensors):
        seen.append(f(*tensors))
        return pg.sum(pg.abs(tensors[0]))

    pg.grad(loss, tuple(range(len(arrays))))(*arrays)
    return seen[0]


def compare(found, expected, exactly=True):
    """Results of the same structure, shapes and values; of the same dtypes too where `exactly`."""
    leaves, wanted = optree.tree_leaves(found), optree.tree_leaves(expected)
    for a, b in zip(leaves, wanted, strict=True):
        is_array = isinstance(b, np.ndarray | np.generic)
        assert isinstance(a, pg.Tensor) or not is_array or not exactly
        a = host(a) if isinstance(a, pg.Tensor) else a
        np.testing.assert_allclose(a, b, rtol=1e-12 if exactly else 1e-9, atol=1e-12)
        if is_array and exactly:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize("line", CALLS)
def test_a_tensor_gives_what_an_array_gives(line):
    """With the dtype and shape that NumPy has, and NumPy's own finite differences."""
    f, arrays = function(line, **CONSTANTS), [*named(line, ARRAYS).values()]
    host_indices = "indices_from" in line  # positions, which stay NumPy's
    compare(traced_results(f, arrays), f(*arrays), exactly=not host_indices)

    def smooth(*arrays):
        results = [y for y in optree.tree_leaves(f(*arrays)) if hasattr(y, "dtype")]
        floating = [y for y in results if str(y.dtype).startswith(("float", "complex"))]
        return [pg.where(y == y, y, 0.0) for y in floating]

    if smooth(*arrays):
        check_grads(smooth, tuple(arrays), order=1)


# JAX compiles for every shape, Dask builds a graph: of each part of NumPy a line or two.
FEW = [line for i, line in enumerate(CALLS) if i % 28 == 3]
STRICT = [line for line in CALLS if "indices_from" not in line]


@pytest.mark.parametrize("device", ["torch", "strict:device1", "jax"])
def test_so_it_does_on_other_libraries(device):
    pytest.importorskip({"strict:device1": "array_api_strict"}.get(device, device))
    for line in {"torch": CALLS, "jax": FEW}.get(device, STRICT):
        arrays = named(line, ARRAYS)
        f = function(line, **on(device, named(line, CONSTANTS)))
        found = traced_results(f, [*on(device, arrays).values()])
        compare(found, function(line, **CONSTANTS)(*arrays.values()), exactly=False)


def test_every_function_is_tried(monkeypatch):
    seen = set()
    call = Counterpart.__call__

    def noted(self, like, args, kwargs):
        seen.add(self.name)
        return call(self, like, args, kwargs)

    monkeypatch.setattr(Counterpart, "__call__", noted)
    for line in CALLS:
        traced_results(function(line, **CONSTANTS), [*named(line, ARRAYS).values()])
    untried = {c.name.removeprefix("np.") for c in COUNTERPARTS.values()} - {
        n.removeprefix("np.") for n in seen
    }
    assert untried == {*IN_PLACE, "result_type"}


def test_the_guide_lists_them():
    text = (Path(__file__).parent.parent / "docs" / "numpy.md").read_text(encoding="utf-8")
    listed = [f"np.{prefix}" for prefix in ("", "", "linalg.", "fft.", "lib.stride_tricks.")]
    blocks = re.findall(r"^```\n(.*?)```", text.partition("## The functions")[2], re.MULTILINE | re.DOTALL)
    found = {prefix + name for prefix, block in zip(listed, blocks, strict=True) for name in block.split()}
    assert {c.name for c in COUNTERPARTS.values()} - {"np.logaddexp.reduce"} == found


def functions_of_arrays():
    for place in (np, np.linalg, np.fft):
        for name in sorted(vars(place)):
            if type(getattr(place, name)).__name__ == "_ArrayFunctionDispatcher":
                yield getattr(place, name)


def test_what_has_no_counterpart_says_what_is_nearest():
    t = pg.namespace("cpu").ones(3)
    refused = {*functions_of_arrays()} - {*COUNTERPARTS} - {*ON_THE_HOST}
    for f in refused:
        with pytest.raises(pg.NoCounterpartError, match=rf"^np\..*{f.__name__} .* the nearest is \S+"):
            t.__array_function__(f, (pg.Tensor,), (t,), {})
    assert 20 < len(refused) < 70
    ufuncs = [f for f in vars(np).values() if isinstance(f, np.ufunc)]
    for f in (np.gcd, np.spacing, np.frexp, np.isnat):
        assert f in ufuncs
        with pytest.raises(pg.NoCounterpartError, match=rf"^np.{f.__name__} .* the nearest is"):
            f(*[t] * f.nin)


MESSAGES = {
    "np.histogram has no counterpart on tensors; the nearest is np.digitize with np.bincount. Where no "
    "gradient is wanted, call it on np.asarray(pg.stop_gradient(x))": lambda t: np.histogram(t),
    "np.unique: axis=0 has no counterpart on tensors; these have: ar, ": lambda t: np.unique(t, axis=0),
    "np.reshape: order='F' has no counterpart on": lambda t: np.reshape(t, (3, 2), order="F"),
    "np.add.reduceat has no counterpart on tensors; the": lambda t: np.add.reduceat(t, [0]),
    "np.maximum.accumulate has no counterpart": lambda t: np.maximum.accumulate(t),
    "np.multiply.at has no counterpart on tensors": lambda t: np.multiply.at(t, 0, 2),
    "np.add: the argument signature= has no": lambda t: np.add(t, t, signature="dd->d"),
    "np.log: where= without out= leaves elements undefined": lambda t: np.log(t, where=t > 0),
    "np.equal: dtype= has no counterpart on tensors": lambda t: np.equal(t, t, dtype=object),
    "np.sum: numpy has no data type object": lambda t: np.sum(t, dtype=object),
    "np.quantile: tensors have only method='linear'": lambda t: np.quantile(t, 0.5, method="lower"),
    "np.pad: mode='mean' has no counterpart": lambda t: np.pad(t, 1, mode="mean"),
    "np.linalg.eigh: UPLO='U' has no counterpart": lambda t: np.linalg.eigh(t @ t.T, UPLO="U"),
    "'Tensor' object has no attribute 'strides'": lambda t: t.strides,
}


@pytest.mark.parametrize("message", MESSAGES)
def test_arguments_without_a_counterpart_are_named(message):
    with pytest.raises((pg.NoCounterpartError, AttributeError), match="^" + re.escape(message)):
        pg.grad(lambda t: pg.sum(MESSAGES[message](t)))(x)


# Into arrays


def test_out_assigns_to_a_tensor_and_refuses_a_raw_array():
    def f(t):
        out = np.zeros_like(t)
        same = out
        assert np.multiply(t, t, out=out) is out is same
        np.sum(t, axis=0, out=(total := np.zeros_like(t[0])))
        return pg.sum(out) + pg.sum(total * total)

    np.testing.assert_allclose(pg.grad(f)(x), 2 * x + 2 * np.sum(x, axis=0))
    for call in (
        lambda t: np.multiply(t, t, out=np.zeros((2, 3))),
        lambda t: np.sum(t, axis=0, out=np.zeros(3)),
        lambda t: np.zeros((2, 3)).__iadd__(t),
        lambda t: np.copyto(np.zeros((2, 3)), t),
        lambda t: np.add.at(np.zeros(3), [0, 1], t[0, :2]),
    ):
        with pytest.raises(pg.ConcretizationError):
            pg.grad(lambda t, call=call: pg.sum(call(t)))(x)
    constant, raw = pg.namespace("cpu").ones(3), np.zeros(3)
    raw += constant
    assert np.add(constant, 1.0, out=raw) is raw
    np.testing.assert_array_equal(raw, 2.0)


def test_where_keeps_what_is_not_computed_and_its_derivative():
    def f(t):
        return np.sum(np.sqrt(t, out=np.zeros_like(t), where=t > 0))

    np.testing.assert_allclose(pg.grad(f)(x), np.where(x > 0, 0.5 / np.sqrt(np.abs(x)), 0.0))
    np.testing.assert_array_equal(pg.grad(f)(np.zeros(2)), 0.0)


ASSIGNMENTS = {
    "add.at": lambda a, t: np.add.at(a, ([0, 0, 1], [1, 1, 2]), t[0, :]),
    "subtract.at": lambda a, t: np.subtract.at(a, 1, t[0, :]),
    "copyto": lambda a, t: np.copyto(a, t[0, :] ** 2, where=[True, False, True]),
    "fill_diagonal": lambda a, t: np.fill_diagonal(a, t[0, :2]),
    "place": lambda a, t: np.place(a, np.asarray([[True, True, False], [True, False, False]]), t[0, :2]),
    "put": lambda a, t: np.put(a, [1, 5, 2], t[1, :]),
    "put_along_axis": lambda a, t: np.put_along_axis(a, np.asarray([[1], [2]]), t[:, :1], axis=1),
    "putmask": lambda a, t: np.putmask(a, a > 0, t[:, :2]),
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_functions_that_write_give_the_tensor_a_new_value(name):
    def f(t):
        a = np.cos(t)
        view = a
        ASSIGNMENTS[name](a, t)
        assert view is a
        return np.sin(a)

    compare(traced_results(f, [x]), f(x))
    check_grads(f, (x,), order=1)


# NumPy code


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def gaussian_process(x):
    """The marginal likelihood of a Gaussian process with a squared exponential kernel."""
    points = np.linspace(0, 1, 5)
    k = x[0] ** 2 * np.exp(-0.5 * np.subtract.outer(points, points) ** 2 / x[1] ** 2) + x[2] ** 2 * np.eye(5)
    low = np.linalg.cholesky(k)
    a = np.linalg.solve(low, np.sin(6 * points))
    return -0.5 * a @ a - np.log(np.diag(low)).sum() - 2.5 * np.log(2 * np.pi)


def runge_kutta(x):
    """The oscillator of van der Pol, eight steps."""
    state, h = np.stack([x[0], x[1]]), np.float64(0.1)

    def slope(s):
        return np.stack([s[1], x[2] * (1 - s[0] ** 2) * s[1] - s[0]])

    for _ in range(8):
        k1 = slope(state)
        k2 = slope(state + 0.5 * h * k1)
        k3 = slope(state + 0.5 * h * k2)
        k4 = slope(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def log_softmax_loss(x):
    logits = np.outer(x, [1.0, -1.0, 0.5])
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(log_p)), [0, 2, 1]].mean()


def heat_equation(x):
    u = np.zeros_like(x, shape=(6,))
    u[1:4] = x
    for _ in range(4):
        u[1:-1] += 0.2 * np.diff(u, 2)
    return np.trapezoid(u**2, dx=0.2)


def principal_axis(x):
    points = np.vstack([x, x[::-1] ** 2, np.cos(x)])
    centred = points - points.mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False)[0] / np.linalg.norm(centred)


def polynomials(x):
    c = [1.0, -2.0, 0.5]
    families = (polynomial.chebyshev.chebval, polynomial.legendre.legval, polynomial.hermite.hermval)
    return sum(family(x, c) for family in families) + np.polyval(c, x) + polynomial.polynomial.polyval(x, c)


def black_scholes(x):
    spot, volatility, time = x.astype(float).ravel()
    d = (np.log(np.abs(spot) / 1.1) + (0.01 + 0.5 * volatility**2) * time) / (volatility * np.sqrt(time))
    return 1 / (1 + np.exp(-1.6 * d)) * spot


NUMPY_CODE = (
    rosenbrock,
    gaussian_process,
    runge_kutta,
    log_softmax_loss,
    heat_equation,
    principal_axis,
    polynomials,
    black_scholes,
)


@pytest.mark.parametrize("f", NUMPY_CODE, ids=lambda f: f.__name__)
def test_numpy_code_differentiates_without_an_edit(f):
    at = np.asarray([1.3, 0.4, 0.7])
    compare(traced_results(f, [at]), f(at))
    check_grads(f, (at,), order=2)


@pytest.mark.parametrize("f", [rosenbrock, runge_kutta, polynomials], ids=lambda f: f.__name__)
@pytest.mark.parametrize("device", ["torch", "jax"])
def test_on_other_libraries_too(f, device):
    pytest.importorskip(device)
    at = np.asarray([1.3, 0.4, 0.7])
    expected = pg.jacrev(f)(at)
    np.testing.assert_allclose(host(pg.jacrev(f)(pg.to_device(at, device))), expected)


def test_numpy_functions_take_batches():
    f = lambda t: np.linalg.norm(t) + np.sum(np.sort(t)[:1]) + np.add(np.ones(3), t)  # noqa: E731
    found = pg.vmap(f)(x)
    np.testing.assert_allclose(found, np.stack([f(row) for row in x]))
    per_row = pg.vmap(pg.grad(lambda t: np.mean(t**2)))(x)
    np.testing.assert_allclose(per_row, 2 * x / 3)


# Operators, scalars and methods


@pytest.mark.parametrize("device", ["cpu", "torch", "jax", "strict"])
def test_scalars_of_numpy_stand_beside_any_array(device):
    """As NumPy's own beside NumPy's arrays, elsewhere as Python's."""
    pytest.importorskip({"cpu": "numpy", "strict": "array_api_strict"}.get(device, device))

    def f(t):
        y = np.float64(2.0) * t + t * np.sqrt(2.0) - np.int64(3) / t
        return pg.sum(y ** np.int64(2) * (t > np.float32(0.0)))

    if device == "strict":
        pytest.skip("booleans are no numbers there")
    expected = pg.grad(f)(v)
    np.testing.assert_allclose(host(pg.grad(f)(pg.to_device(v, device))), expected)


def test_a_raw_array_in_front_of_a_tensor():
    ops = (lambda a, t: a + t, lambda a, t: a @ t, lambda a, t: a**t, lambda a, t: (a > t) * t)
    a = np.asarray([[1.5, 2.0, 0.5]] * 3)
    for op in ops:
        compare(traced_results(lambda t, op=op: op(a, t), [v]), op(a, v))
        check_grads(lambda t, op=op: op(a, t), (v,), order=1)
    with pytest.raises(TypeError, match=r"^np\.add: an argument is a str"):
        pg.grad(lambda t: pg.sum(np.add(t, "a")))(v)


METHODS = """
x.sum() + x.mean(axis=0) + x.std(0, ddof=1) + x.var() + x.max(1).min() + x.prod(axis=0)
x.reshape(3, 2) + x.reshape((3, 2)) + x.reshape(-1, 2) + x.T + x.transpose()
x.transpose(1, 0) + x.swapaxes(0, 1) + x.transpose((1, 0))
x.ravel() + x.flatten() + x.copy().reshape(6) + x.astype(np.float64, copy=False).ravel()
x.dot(v) + x.clip(-1, 1).sum(axis=1) + x.cumsum(axis=1)[:, 0] + x.take([0, 1])
x.argmax(), x.any(), x.all(axis=0), (x > 0).sum(), x.nonzero()[0], x.argsort(axis=1)
z.real + z.imag + z.conj() * x.real, x.round(1).sum() + x.repeat(2), x.squeeze().diagonal()
""".strip().splitlines()


@pytest.mark.parametrize("line", METHODS)
def test_a_tensor_has_the_methods_of_the_arrays_underneath(line):
    f, arrays = function(line), [*named(line, ARRAYS).values()]
    compare(traced_results(f, arrays), f(*arrays))
    pytest.importorskip("torch")
    with pytest.raises(AttributeError, match=r"on torch; use np\."):
        traced_results(f, [*on("torch", named(line, ARRAYS)).values()])


def test_hasattr_says_of_a_tensor_what_holds_of_its_array():
    names = (
        "sum",
        "mean",
        "ravel",
        "flatten",
        "strides",
        "toarray",
        "numpy",
        "cpu",
        "chunks",
        "__jax_array__",
    )
    for device in ("cpu", "jax", "dask", "strict"):
        pytest.importorskip({"cpu": "numpy", "strict": "array_api_strict"}.get(device, device))
        raw = pg.to_device(v, device)
        t = pg.namespace(device).asarray(raw)
        for name in names[:4]:
            assert hasattr(t, name) == hasattr(raw, name)
        assert not any(hasattr(t, name) for name in names[4:])
    assert pg.namespace("cpu").asarray(v).tolist() == v.tolist()
    with pytest.raises(pg.ConcretizationError):
        pg.grad(lambda t: pg.sum(t) * t[0].item())(v)


def test_constants_are_printed_and_saved(tmp_path):
    t = pg.namespace("cpu").asarray(v)
    assert np.array_repr(t) == repr(v)
    np.save(tmp_path / "v.npy", t)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), v)
    with pytest.raises(pg.ConcretizationError):
        pg.grad(lambda t: np.save(tmp_path / "v.npy", t) or pg.sum(t))(v)
    assert np.result_type(t, np.float32, 1.0) == np.float64


def test_arrays_of_another_library_are_refused():
    pytest.importorskip("torch")
    other = pg.to_device(v, "torch")
    for call in (
        lambda t: np.concatenate([t, other]),
        lambda t: np.dot(other, t),
        lambda t: np.where(t > 0, t, other),
    ):
        with pytest.raises(pg.DeviceMismatchError, match="torch"):
            pg.grad(lambda t, call=call: pg.sum(call(t)))(v)

    class Strange:
        def __array_function__(self, func, types, args, kwargs):
            return NotImplemented

    with pytest.raises(TypeError, match="no implementation found"):
        np.concatenate([pg.namespace("cpu").ones(2), Strange()])


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_beyond_the_standard_a_namespace_has_what_tensors_answer_for(device):
    """NumPy's counterpart where the library has a function of that name, and nothing where there is none."""
    pytest.importorskip({"cpu": "numpy"}.get(device, device))
    xp = pg.namespace(device)
    assert xp.median is np.median and xp.linalg.norm is np.linalg.norm
    found = pg.grad(lambda t: xp.sum(xp.median(t, axis=1)))(pg.to_device(x, device))
    np.testing.assert_array_equal(host(found), np.argsort(np.argsort(x)) == 1)
    absent = {"cpu": ("frombuffer", "array"), "torch": ("put_along_axis", "lerp", "cdist")}[device]
    for name in absent:
        with pytest.raises(AttributeError, match=f"tensors have no '{name}', which|has no attribute"):
            getattr(xp, name)
    assert not hasattr(xp.special, "bessel_j0")  # torch has it, and it takes no tensor
    assert isinstance(xp.linalg.__name__, str) and not hasattr(xp.linalg, "no_such_function")
