"""The laws that every op obeys, each stated once over the table, the devices and the dtypes."""

import inspect
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from standard_names import DIFFERENTIABLE, OTHERS

import portagrad as pg
from portagrad.backend import get_backend
from portagrad.namespace import function
from portagrad.op import TABLE, Case
from portagrad.testing import Call, check_grads, draws
from portagrad.testing.draws import DTYPES, draw, invoke
from portagrad.testing.gradients import check_pullback
from portagrad.testing.ops import check_constant, check_precision, check_values
from portagrad.testing.trials import ELSEWHERE, LAWS, SLOW, held, trials

# Dask casts its empty model of an array where the array itself is never cast.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Casting complex values to real:numpy.exceptions.ComplexWarning"
)

OPS = [op for op in TABLE.values() if op.name not in ELSEWHERE]
# Ops without cases whose shapes may be any: what they do to one element, they do to all.
BY_ELEMENT = {"conj", "sign", "signbit"}
STATED = set()


def over_the_table(law):
    """Parametrize by op and dtype."""
    STATED.add(law)
    pairs = [pytest.param(op, dtype, id=f"{op.name}-{dtype}") for op, dtype in trials(law)]
    return pytest.mark.parametrize(("op", "dtype"), pairs)


def calls(op, device, dtype, slow=2, values_only=False):
    """The draws of an op; of a slow library the first few."""
    if op.ragged and not values_only and device.backend.name == "dask":
        pytest.skip("Dask does not know how long the result is, nor would a cotangent")
    limit = slow if device.backend.name in SLOW else None
    return islice(draws(op, device, dtype), limit)


@over_the_table("values")
def test_results_are_those_of_numpy_and_of_the_plain_forward(op, dtype, xp_device):
    for call in calls(op, xp_device, dtype, slow=1, values_only=True):
        check_values(call)


def numpys_own(op):
    """What NumPy's namespace has under the name of an op of the standard; None if it has nothing."""
    found = get_backend("numpy").xp
    for part in op.name.split("."):
        found = getattr(found, part, None)
    return found


@pytest.mark.parametrize("op", [op for op in OPS if op.since and numpys_own(op)], ids=lambda op: op.name)
def test_functions_of_the_standard_are_numpys_own(op):
    """Also those that run by kernels and portable forwards, which else are compared with each other only."""
    for dtype in DTYPES[op.dtypes][-2:]:
        for call in draws(op, dtype=dtype):
            args = call.prepared(call.args)
            with np.errstate(all="ignore"):
                own = call.told(invoke(op, args, call.params, numpys_own(op)))
                ours = call.told(invoke(op, args, call.params))
            for x, y in zip(parts(ours), parts(own), strict=True):
                assert (x.shape, x.dtype) == (y.shape, y.dtype)
                eps = np.finfo(x.dtype).eps if x.dtype.kind in "fc" else 0
                np.testing.assert_allclose(x, y, rtol=64 * eps, atol=64 * eps)


def parts(y):
    return list(y) if isinstance(y, tuple | list) else [y]


@over_the_table("forward")
def test_the_pushforward_is_what_finite_differences_say(op, dtype, xp_device):
    for call in calls(op, xp_device, dtype, slow=1):
        check_grads(call, call.xs, order=1, modes=("fwd",))


@over_the_table("reverse")
def test_the_pullback_is_the_transpose_of_the_pushforward(op, dtype, xp_device):
    """<g, J t> = <J^H g, t>, and every cotangent has the shape, dtype and device of its primal."""
    for call in calls(op, xp_device, dtype, slow=1):
        check_pullback(call, call.xs)


@pytest.mark.parametrize("op", [op for op in OPS if op.differentiable], ids=lambda op: op.name)
def test_linearize_is_the_pushforward_by_each_argument_alone(op):
    """Of the result's shape and dtype, also where what stands beside the argument is larger."""
    for call in islice(draws(op, dtype=DTYPES[op.dtypes][-1]), 3):
        for i, x in enumerate(call.xs):

            def f(x, call=call, i=i):
                return call(*call.xs[:i], x, *call.xs[i + 1 :])

            y, pushforward = pg.linearize(f, x)
            for a, b, c in zip(*map(parts, (pushforward(x), pg.jvp(f, (x,), (x,))[1], y)), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype) == (c.shape, c.dtype)
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@over_the_table("precision")
def test_single_precision_has_the_derivatives_of_double(op, dtype, xp_device):
    for call in calls(op, xp_device, dtype, slow=1):
        check_precision(call)


@over_the_table("second")
def test_second_derivatives_in_every_mix_of_modes(op, dtype, xp_device):
    """Forward and reverse, over each other and over themselves; slow libraries try each over reverse once."""
    if xp_device.backend.name not in SLOW:
        for call in draws(op, xp_device, dtype):
            check_grads(call, call.xs, order=2)
        return
    if dtype != DTYPES[op.dtypes][-1]:
        pytest.skip("once for each op: the rules are those that fast libraries try in each dtype")
    call = next(calls(op, xp_device, dtype))
    y, _ = pg.vjp(call, *call.xs)

    def pulled(*xs):
        return pg.vjp(call, *xs)[1](y)

    check_grads(pulled, call.xs, order=1)


ONE_DTYPE = {"index_add", "index_put", "put"}  # of their results: that of the array that is written to
MIXED = [
    pytest.param(op, first, second, id=f"{op.name}-{first}-{second}")
    for op in OPS
    for first, second in (("float32", "float64"), ("float64", "complex128"))
    if op.differentiable and op.name not in ONE_DTYPE and {first, second} <= {*DTYPES[op.dtypes]}
    if any(len(call.xs) > 1 for call in draws(op))
]


@pytest.mark.parametrize(("op", "first", "second"), MIXED)
def test_arguments_of_two_dtypes_get_cotangents_of_their_own(op, first, second, xp_device):
    pairs = zip(*(calls(op, xp_device, dtype, slow=1) for dtype in (first, second)), strict=True)
    for one, other in pairs:
        for args in (one.args[:1] + other.args[1:], other.args[:1] + one.args[1:]):
            mixed = Call(op, args, one.params)
            if len(mixed.xs) > 1:
                check_grads(mixed, mixed.xs, order=1)


@pytest.mark.parametrize("op", [op for op in OPS if not op.differentiable], ids=lambda op: op.name)
def test_results_without_a_derivative_are_constants(op, xp_device):
    for dtype in ("float64", "complex128"):
        if dtype in DTYPES[op.dtypes]:
            for call in calls(op, xp_device, dtype, slow=1):
                check_constant(call)


def eager_devices():
    """One of each library on which a new shape costs nothing."""
    first = {d.backend.name: str(d) for d in reversed(pg.devices())}
    return sorted(device for name, device in first.items() if name not in SLOW)


@pytest.mark.parametrize("op", [op for op in OPS if op.kind == "elementwise"], ids=lambda op: op.name)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_elementwise_ops_broadcast_shapes_of_any_kind(op, data):
    """Zero-dimensional and empty arrays and axes of length one, on a device that is drawn with them."""
    shapes = data.draw(
        hnp.mutually_broadcastable_shapes(num_shapes=len(op.arrays), min_side=0, max_dims=3, max_side=3)
    )
    device = data.draw(st.sampled_from(eager_devices()))
    case = Case(shapes.input_shapes, op.cases[0].params if op.params else {})
    call = draw(op, case, device, DTYPES[op.dtypes][-1], seed=data.draw(st.integers(0, 99)))
    assert tuple(call(*call.xs).shape) == shapes.result_shape
    check_values(call)
    check_grads(call, call.xs, order=1)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_op_is_untested(op):
    if op.kind in ("elementwise", "constant"):
        assert list(draws(op, dtype=DTYPES[op.dtypes][-1]))
    elif not op.cases:
        assert op.name in BY_ELEMENT
    if op.differentiable:
        assert any(call.xs for call in draws(op, dtype=DTYPES[op.dtypes][-1]))
        for i in range(1 if op.starred else len(op.arrays)):
            rule = op.pulls[i] if op.pulls else 0
            tried = [call for call in draws(op, dtype=DTYPES[op.dtypes][-1]) if i in call.active]
            assert rule is None or tried, f"no case differentiates argument {op.arrays[i]}"
    params = [name for name in op.params if name not in ("dtype", "copy")]
    for name in params:
        tried = {repr(case.params.get(name)) for case in op.cases}
        assert len(tried) > 1 or (tried and None not in tried), f"no case gives {name}"
    for name, parameter in inspect.signature(function(op.name)).parameters.items():
        if name in params and isinstance(parameter.default, bool):
            tried = {case.params.get(name, parameter.default) for case in op.cases}
            assert tried == {True, False}, f"no case has {name}={(tried ^ {True, False}).pop()}"


def test_what_the_page_of_capabilities_tells_is_tried():
    assert set(LAWS) == STATED
    assert set(ELSEWHERE) <= set(TABLE)
    for op in OPS:
        assert held(op) == tuple(LAWS if op.differentiable else ["values"]), op.name


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, *OTHERS])
def test_every_function_of_the_standard_is_there(name, xp_device):
    assert callable(getattr(pg.namespace(xp_device), name))
    assert callable(getattr(pg, name, None)) or name in (
        "can_cast",
        "finfo",
        "iinfo",
        "isdtype",
        "result_type",
    )


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_function_with_a_derivative_has_a_rule(name):
    assert TABLE[name].differentiable


def test_the_same_draws_everywhere_and_always(xp_device):
    for name in ("sin", "matmul", "where", "concat"):
        for here, there in zip(draws(name), draws(name, xp_device), strict=True):
            for a, b in zip(here.args, there.args, strict=True):
                if hasattr(a, "shape"):
                    np.testing.assert_array_equal(a, xp_device.backend.to_numpy(b))
