"""What went wrong, with what, and the way out: the text of every error."""

import importlib.util
import threading

import numpy as np
import pytest

import portagrad as pg
from portagrad.backend import get_backend
from portagrad.op import TABLE, elementwise, linear
from portagrad.testing.arrays import host

A = np.asarray
x = A([1.0, 2.0])


def message(kind, call):
    """The text of the error that a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


BUILTINS = {
    "BackendUnavailableError": ImportError,
    "CheckpointError": ValueError,
    "ConcretizationError": TypeError,
    "ConfigError": ValueError,
    "DataError": ValueError,
    "DeviceMismatchError": TypeError,
    "LeakedTraceError": RuntimeError,
    "NoCounterpartError": TypeError,
    "NonDifferentiableError": TypeError,
    "ConvergenceError": ArithmeticError,
    "NonFiniteError": ArithmeticError,
    "DistributedError": RuntimeError,
    "OutOfMemoryError": MemoryError,
    "SavedValueMutatedError": RuntimeError,
}


def test_every_error_is_pgs_and_pythons():
    errors = {name for name in pg.__all__ if name.endswith("Error")}
    assert errors == {*BUILTINS, "Error"}
    for name, builtin in BUILTINS.items():
        assert issubclass(getattr(pg, name), pg.Error)
        assert issubclass(getattr(pg, name), builtin)


# Devices


def test_a_device_mismatch_between_libraries():
    torch = pytest.importorskip("torch")
    y = torch.asarray([1.0, 2.0])
    expected = (
        "multiply: arguments live on different devices\n"
        "  x1: numpy float64 (2,) on cpu\n"
        "  x2: torch torch.float32 (2,) on torch:cpu\n"
        'move one of them, for example pg.to_device(x2, "cpu")'
    )
    assert message(pg.DeviceMismatchError, lambda: pg.multiply(x, y)) == expected
    assert message(pg.DeviceMismatchError, lambda: pg.grad(lambda x: pg.sum(x * y))(x)) == expected
    moved = pg.to_device(y, "cpu")
    np.testing.assert_array_equal(pg.multiply(x, moved), [1.0, 4.0])


def test_a_device_mismatch_within_a_library():
    pytest.importorskip("array_api_strict")
    here, there = pg.to_device(x, "strict"), pg.to_device(x, "strict:device2")
    text = message(pg.DeviceMismatchError, lambda: pg.concat([here, there]))
    assert text == (
        "concat: arguments live on different devices\n"
        "  arrays[0]: strict array_api_strict.float64 (2,) on strict:CPU_DEVICE\n"
        "  arrays[1]: strict array_api_strict.float64 (2,) on strict:device2\n"
        'move one of them, for example pg.to_device(arrays[1], "strict:CPU_DEVICE")'
    )
    moved = pg.to_device(there, "strict:CPU_DEVICE")
    np.testing.assert_array_equal(host(pg.concat([here, moved])), [1, 2, 1, 2])


@pytest.mark.parametrize("second", ["jax", "dask", "torch", "strict"])
def test_libraries_that_would_mix_silently_do_not(second):
    pytest.importorskip({"strict": "array_api_strict"}.get(second, second))
    y = pg.to_device(x, second)
    for f in (lambda x: pg.sum(x * y), lambda x: pg.sum(pg.where(x > 0, y, x)), lambda x: pg.matmul(x, y)):
        for differentiate in (pg.grad(f), lambda x, f=f: pg.jvp(f, (x,), (x,)), pg.hessian(f)):
            assert "on different devices" in message(pg.DeviceMismatchError, lambda d=differentiate: d(x))


def test_tangents_and_cotangents_of_another_library():
    pytest.importorskip("array_api_strict")
    y = pg.to_device(x, "strict")
    text = message(pg.DeviceMismatchError, lambda: pg.jvp(pg.sin, (x,), (y,)))
    assert "jvp" in text and "strict:CPU_DEVICE" in text and "cpu" in text
    _, pullback = pg.vjp(pg.sin, x)
    assert "pullback" in message(pg.DeviceMismatchError, lambda: pullback(y))


def test_devices_that_are_not_there():
    text = message(pg.ConfigError, lambda: pg.device("nunpy"))
    assert text.startswith("no device is called 'nunpy'; did you mean 'numpy'? names are") or "numpy" in text
    text = message(pg.ConfigError, lambda: pg.device("numpy:3"))
    assert "'numpy:3'" in text
    assert "neither a device's name, a device, nor an array" in message(TypeError, lambda: pg.device(3))
    if importlib.util.find_spec("cupy") is None:
        text = message(pg.BackendUnavailableError, lambda: pg.device("cuda"))
        assert text.startswith("CuPy is not installed: pip install 'portagrad[cuda12]'")
        text = message(pg.BackendUnavailableError, lambda: pg.ones(2, device="cupy:cuda:0"))
        assert text.startswith("CuPy is not installed: pip install 'portagrad[cuda12]'")


def test_a_namespace_makes_arrays_on_its_own_library_only():
    pytest.importorskip("array_api_strict")
    text = message(pg.BackendUnavailableError, lambda: pg.namespace("cpu").ones(2, device="strict"))
    assert text == "strict:CPU_DEVICE is no device of numpy; use pg.namespace('strict'), or pg.to_device"


# Derivatives


def test_what_has_no_derivative():
    refused = pg.NonDifferentiableError
    text = message(refused, lambda: pg.grad(lambda a, b: a)(A([1, 2]), x))
    assert text == (
        "grad: argument 0 is numpy int64 (2,) on cpu, and integers have no derivative; "
        "cast it first, for example x.astype(float), or leave it out of argnums"
    )
    text = message(refused, lambda: pg.grad(lambda x: x)(3))
    assert text == "grad: argument 0 is the integer 3; pass a float, 3.0"
    assert "argument 1, leaf 1, is numpy bool" in message(
        refused, lambda: pg.grad(lambda a, b: pg.sum(a), (0, 1))(x, [x, A([True])])
    )
    assert message(TypeError, lambda: pg.grad(lambda s: s)("text")) == (
        "grad: argument 0 is a str, not an array; leave it out of argnums"
    )


def test_losses_that_are_no_real_numbers():
    def loss(result):
        return lambda: pg.grad(lambda x: result(x))(x)

    assert message(TypeError, loss(lambda x: x * 2)) == (
        "grad: the function returned shape (2,), not a scalar; "
        "reduce it, for example with pg.sum, or use pg.jacobian"
    )
    assert message(TypeError, loss(lambda x: (pg.sum(x), 1))).startswith(
        "grad: the function returned a tuple, not an array of shape (); return the loss itself, and other"
    )
    assert "returned a NoneType" in message(TypeError, loss(lambda x: None))
    assert message(pg.NonDifferentiableError, loss(pg.argmax)) == (
        "grad: the loss is numpy int64 () on cpu, not real floating; it does not depend smoothly on anything"
    )
    assert message(pg.NonDifferentiableError, loss(lambda x: pg.sum(x * 1j))) == (
        "grad: the loss is numpy complex128 () on cpu, not real floating; take its real part or modulus"
    )


def test_an_op_without_a_derivative_is_never_passed_silently(forgotten):
    linear("chosen", "(x, z, /)", lambda g: g, None, forward=lambda x, z, *, xp: x * z, doc="A product.")
    from portagrad.namespace import function

    f = function("chosen")
    np.testing.assert_array_equal(pg.grad(lambda a: pg.sum(f(a, x)))(x), [1.0, 1.0])
    expected = (
        "chosen: has no derivative with respect to argument 2 (numpy float64 (2,) on cpu); "
        "pass pg.stop_gradient(x) if none is wanted"
    )
    refused = pg.NonDifferentiableError
    assert message(refused, lambda: pg.grad(lambda a: pg.sum(f(x, a)))(x)) == expected
    assert message(refused, lambda: pg.jvp(lambda a: f(x, a), (x,), (x,))) == expected
    np.testing.assert_array_equal(pg.grad(lambda a: pg.sum(f(a, pg.stop_gradient(a))))(x), [1.0, 1.0])


@pytest.fixture
def forgotten():
    """The ops declared in a test are forgotten after it."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def test_declarations_that_make_no_sense(forgotten):
    text = message(TypeError, lambda: elementwise("sinus", lambda z, xp: xp.cos(z)))
    assert text == "sinus: a rule reads z, which the op does not have; it may read g, t, x, x_like, xp, y"
    assert message(TypeError, lambda: elementwise("sin", 1)) == "the op 'sin' is declared twice"
    text = message(TypeError, lambda: linear("chosen", "(x, y, /)", lambda g: g, None))
    assert text == "chosen: y is the name of an argument and of a result"


def test_arguments_of_the_wrong_kind():
    assert message(TypeError, lambda: pg.sin("a")) == (
        "sin: no argument is an array (got str); make one first, for example np.asarray(x) or "
        "pg.asarray(x, device=...)"
    )
    assert message(TypeError, lambda: pg.add(x, [1, 2])) == (
        "add: x2 is a list, neither an array nor a Python scalar; make it an array first, "
        "for example np.asarray(x2)"
    )
    assert "unsupported operand" in message(TypeError, lambda: pg.grad(lambda x: x + "a")(x))
    assert message(ValueError, lambda: pg.grad(lambda x: x.T)(x)) == (
        "x.T is for matrices, not for shape (2,); use x.mT or permute_dims"
    )
    assert message(AttributeError, lambda: pg.sinn) == "portagrad has no attribute 'sinn'"
    assert "zero-dimensional" in message(TypeError, lambda: pg.grad(len)(1.0))


def test_mistakes_in_calling_a_transform():
    def product(a, b):
        return pg.sum(a * b)

    assert message(TypeError, lambda: pg.grad(product, 2)(x, x)) == (
        "grad: argnums has 2, but the call has 2 positional arguments"
    )
    assert "argnums has 0, but the call has 0" in message(TypeError, lambda: pg.grad(lambda: x)())
    assert "jacrev: argnums has 1" in message(TypeError, lambda: pg.jacrev(pg.sin, 1)(x))
    assert "jvp: the tangents have structure" in message(TypeError, lambda: pg.jvp(pg.sin, (x,), ([x],)))
    text = message(TypeError, lambda: pg.jvp(pg.sin, (x,), (A(1.0),)))
    assert text == (
        "jvp: leaf 0 is numpy float64 (2,) on cpu, its tangent numpy float64 () on cpu; shapes must be equal"
    )
    _, pullback = pg.vjp(lambda x: (x, x), x)
    assert "pullback: the cotangent has structure" in message(TypeError, lambda: pullback(x))
    assert message(TypeError, lambda: pullback((x, A(1.0)))) == (
        "pullback: a cotangent has shape (), its value (2,)"
    )
    _, push = pg.linearize(pg.sin, x)
    assert "pushforward: the tangents have structure" in message(TypeError, lambda: push(x, x))
    assert "returned shape (2,), not a scalar" in message(TypeError, lambda: pg.hvp(pg.sin, (x,), (x,)))


# What a library itself raises


def notes(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return caught.value.__notes__


def test_an_exception_of_the_librarys_says_in_which_op():
    a = np.ones((2, 3))
    plain = ["in matmul(float64 (2, 3), float64 (2, 3))"]
    assert notes(ValueError, lambda: pg.matmul(a, a)) == plain
    assert notes(ValueError, lambda: pg.grad(lambda x: pg.sum(x @ a))(a)) == plain
    assert notes(ValueError, lambda: pg.hessian(lambda x: pg.sum(x @ a))(a)) == plain
    assert notes(ValueError, lambda: pg.jvp(lambda x: x @ a, (a,), (a,))) == plain
    wrong = notes(np.exceptions.AxisError, lambda: pg.sum(a, axis=(0, 7)))
    assert wrong == ["in sum(float64 (2, 3), axis=(0, 7), dtype=None, keepdims=False)"]
    assert notes(ValueError, lambda: pg.concat([a, a[:, :2]])) == [
        "in concat(float64 (2, 3), float64 (2, 2), axis=0)"
    ]
    key = notes(IndexError, lambda: pg.namespace("cpu").asarray(a)[np.asarray([5]), 0])
    assert key == ["in getitem(float64 (2, 3), key=(int64 (1,), 0))"]
    assert notes(ValueError, lambda: pg.zeros(-1)) == ["in zeros(-1)"]
    assert notes(ValueError, lambda: pg.namespace("cpu").asarray("a", dtype=np.float64))[0].startswith(
        "in asarray('a', dtype="
    )


def test_an_op_made_of_others_is_named_after_the_inner_ones():
    a = np.ones((2, 3))
    found = notes(ValueError, lambda: pg.grad(lambda x: pg.sum(pg.std(x, axis=5)))(a))
    assert [note.partition("(")[0] for note in found] == ["in mean", "in var", "in std"]
    text = message(ValueError, lambda: pg.grad(lambda x: pg.linalg.matrix_norm(x, ord="nu"))(a))
    assert text.startswith("linalg.matrix_norm: ord is 'nu'")


def test_an_exception_in_the_backward_pass_names_the_derivative():
    singular = np.zeros((2, 2))
    found = notes(np.linalg.LinAlgError, lambda: pg.grad(lambda a: pg.linalg.slogdet(a)[1])(singular))
    assert found[-1].startswith("in the derivative of linalg.slogdet(float64 ()")


def test_a_tangent_that_is_not_there_is_missed_only_where_it_is_asked_for():
    """As in reverse mode: the value is there, and so are derivatives that do not need it."""
    a = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    one_way = pg.custom_vjp(lambda a: 2 * a)
    one_way.defvjp(lambda a: (2 * a, None), lambda _, g: (2 * g,))

    def f(a):
        b = one_way(a)
        return pg.sum(a * a) + 0 * pg.stop_gradient(pg.sum(b)), pg.sum(b)

    y, dy = pg.jvp(lambda a: f(a)[0], (a,), (a,))
    assert (y, dy) == (91.0, 182.0)
    for derivative in (lambda: pg.jvp(f, (a,), (a,)), lambda: pg.jacfwd(lambda a: f(a)[1] * 2.0 + 1.0)(a)):
        assert "no rule for forward mode" in message(pg.NonDifferentiableError, derivative)


def test_what_does_not_fit_in_place():
    xp = pg.namespace("cpu")
    i = xp.asarray([1, 2])
    for wrong in (1.5, xp.ones(2), 1j, xp.asarray([1, 2], dtype=xp.complex64)):
        before = i
        with pytest.raises(TypeError, match=r"in-place result is .*, which int64 does not hold"):
            i += wrong
        assert i is before
        np.testing.assert_array_equal(host(i), [1, 2])
    x32 = xp.ones(2, dtype=xp.float32)
    x32 += xp.ones(2)
    assert x32.dtype == xp.float32
    with pytest.raises(ValueError, match=r"in-place result has shape \(3, 2\), the tensor \(2,\)"):
        x32 += xp.ones((3, 2))


# Values


def test_a_conversion_says_what_it_was_and_how_else():
    text = message(pg.ConcretizationError, lambda: pg.grad(lambda x: float(pg.sum(x)))(x))
    assert text == (
        "float: the value numpy float64 () on cpu is being differentiated, and a Python number or NumPy "
        "array would lose its gradient; take pg.stop_gradient(x) first where that is meant, or return the "
        "value from the function (has_aux=True)"
    )
    assert message(pg.ConcretizationError, lambda: pg.grad(np.asarray)(x)).startswith(
        "np.asarray or np.array (np.stack puts tensors together): the value"
    )
    reshape = pg.grad(lambda x: pg.sum(pg.namespace("cpu").linspace(0, x, 3)))
    assert message(pg.ConcretizationError, lambda: reshape(1.0)).startswith("linspace: the value")


def test_a_leaked_tensor_says_where_it_belonged():
    kept = []
    pg.grad(lambda x: kept.append(x) or pg.sum(x))(x)
    assert message(pg.LeakedTraceError, lambda: pg.sin(kept[0])) == (
        "sin: an argument belongs to a ReverseTrace that has ended; it was kept from inside a differentiated "
        "function, in a global or an attribute. Return it from the function instead (has_aux=True), or keep "
        "pg.stop_gradient(x)"
    )
    pg.jvp(lambda x: kept.append(x) or x, (x,), (x,))
    assert "belongs to a ForwardTrace" in message(pg.LeakedTraceError, lambda: kept[1] * 2.0)
    escaped = []

    def work():
        try:
            pg.grad(lambda y: pg.sum(y * kept[0]))(x)
        except pg.LeakedTraceError as error:
            escaped.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(escaped) == 1


def test_a_saved_value_that_was_changed_is_found_in_debug_mode():
    def f(x, raw):
        y = pg.exp(x) * raw
        raw += 1.0
        return pg.sum(y)

    pg.configure(debug=True)
    try:
        text = message(pg.SavedValueMutatedError, lambda: pg.grad(lambda x: f(x, np.ones(2)))(x))
        np.testing.assert_allclose(pg.grad(lambda x: pg.sum(pg.exp(x) * np.ones(2)))(x), np.exp(x))
    finally:
        pg.configure(debug=None)
    assert text == (
        "multiply: an array that its backward pass needs was changed in place after the op read it\n"
        "  numpy float64 (2,) on cpu\n"
        "change a copy instead, or make the change before the function is called"
    )


def test_exhausted_memory_names_the_op(anew, monkeypatch):
    torch = pytest.importorskip("torch")
    backend = get_backend("torch")

    def exhausted(x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    anew(TABLE["sin"])
    monkeypatch.setitem(backend.kernels, "sin", exhausted)
    y = pg.to_device(x, "torch")
    for call in (lambda: pg.sin(y), lambda: pg.grad(lambda y: pg.sum(pg.sin(y)))(y)):
        assert message(pg.OutOfMemoryError, call) == (
            "sin: out of memory on torch:cpu\n"
            "  x: torch torch.float64 (2,) on torch:cpu\n"
            "CUDA out of memory. Tried to allocate 2.00 GiB.\n"
            "use a smaller batch, or pg.checkpoint to keep fewer intermediate values"
        )


def test_memory_exhausted_in_the_backward_pass_names_the_op(anew):
    torch = pytest.importorskip("torch")

    def exhausted(x, xp):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    anew(TABLE["sin"], pulls=(exhausted,))
    y = pg.to_device(x, "torch")
    text = message(pg.OutOfMemoryError, lambda: pg.grad(lambda y: pg.sum(pg.sin(y)))(y))
    assert text.startswith("sin, its derivative: out of memory on torch:cpu\n")


def test_an_exception_inside_a_function_leaves_nothing_behind():
    def fails(x):
        pg.sin(x)
        raise KeyError("mine")

    modes = (lambda x: pg.jvp(fails, (x,), (x,)), lambda x: pg.vjp(fails, x))
    for call in (pg.grad(fails), pg.jacfwd(fails), *modes):
        with pytest.raises(KeyError, match="mine"):
            call(x)
    np.testing.assert_array_equal(pg.grad(lambda x: pg.sum(x * x))(x), 2 * x)
