"""Bad input, over the table: every op refuses it on every library, and says which op it was."""

import numpy as np
import pytest
from test_signatures import told

import portagrad as pg
from portagrad.backend import BY_TYPE
from portagrad.op import TABLE
from portagrad.testing.draws import DTYPES, cases_of, draw, invoke

# Their arguments are no mere arrays of numbers; one is for compiled graphs only.
ELSEWHERE = ("astype", "cross_entropy_and_slope", "one_hot", "threefry", "to_device")
OPS = [op for op in TABLE.values() if op.name not in ELSEWHERE]
REFUSALS = (TypeError, ValueError, IndexError, RuntimeError, ArithmeticError, pg.Error)


def over(ops):
    return pytest.mark.parametrize("op", ops, ids=lambda op: op.name)


def refused(op, args, params=None):
    """The exception, which names the op."""
    with pytest.raises(REFUSALS) as caught, np.errstate(all="ignore"):
        made = invoke(op, args, params or {})
        for part in made if isinstance(made, tuple | list) else [made]:  # Dask refuses when it computes
            if BY_TYPE[type(part)] is not None and BY_TYPE[type(part)].lazy:
                np.asarray(part)
    assert op.name.rpartition(".")[2] in told(caught.value), told(caught.value)
    return caught.value


def first_call(op, device):
    """Good arguments, to be spoilt."""
    dtype = "float64" if op.dtypes in ("floating", "inexact", "any") else DTYPES[op.dtypes][-1]
    return draw(op, cases_of(op)[0], device, dtype)


def arrays_of(call):
    return [i for i, x in enumerate(call.args) if BY_TYPE[type(x)] is not None]


def replaced(args, i, value):
    return (*args[:i], value, *args[i + 1 :])


@over(OPS)
def test_no_array_at_all(op, xp_device):
    """A list, text, an object: of one argument after the other."""
    call = first_call(op, xp_device)
    for i in arrays_of(call):
        for wrong in ([1.0, 2.0], "text", object()):
            error = refused(op, replaced(call.args, i, wrong), call.params)
            assert isinstance(error, TypeError)
            assert type(wrong).__name__ in str(error)


def test_a_list_is_not_cast(xp_device):
    with pytest.raises(TypeError, match=r"astype.*list"):
        pg.astype([1.0], xp_device.backend.xp.float32)


@over([op for op in OPS if len(op.arrays) > 1 or op.starred])
def test_arrays_of_two_libraries(op, xp_device):
    """Never a silent transfer, also where one library would take the other's array."""
    call = first_call(op, xp_device)
    other = "strict" if xp_device.backend.name == "numpy" else "numpy"
    arrays = arrays_of(call)
    if len(arrays) < 2 and op.starred:
        call = type(call)(op, call.args * 2, call.params)
        arrays = arrays_of(call)
    for i in arrays if len(arrays) > 1 else ():
        moved = pg.to_device(call.args[i], other)
        assert isinstance(refused(op, replaced(call.args, i, moved), call.params), pg.DeviceMismatchError)


AXES = [
    op for op in OPS if {"axis", "axes"} & {*op.params} and op.name not in ("expand_dims", "linalg.tensordot")
]


@over(AXES)
def test_an_axis_that_is_not_there(op, xp_device):
    call = first_call(op, xp_device)
    name = "axis" if "axis" in op.params else "axes"
    for axis in (7, -8):
        given = axis if name == "axis" else (axis,)
        if op.name in ("tensordot",):
            given = ((axis,), (0,))
        refused(op, call.args, {**call.params, name: given})


def joint(op):
    """Whether an op's arguments must broadcast."""
    return op.kind == "elementwise" and len(op.arrays) > 1


@over([op for op in OPS if joint(op)])
def test_shapes_that_do_not_broadcast(op, xp_device):
    arrays = [*first_call(op, xp_device).args]
    shapes = [(2, 3), (4,), (5, 1, 2)]
    dtype = DTYPES[op.dtypes][-1] if op.dtypes in ("integer", "boolean") else "float64"
    spoilt = [
        pg.to_device(np.ones(shape, dtype=dtype), xp_device) if BY_TYPE[type(x)] is not None else x
        for shape, x in zip(shapes, arrays, strict=False)
    ]
    refused(op, spoilt)


@over([op for op in OPS if op.category == "linalg" and op.name not in ("linalg.outer", "linalg.vector_norm")])
def test_a_number_is_no_matrix(op, xp_device):
    if (xp_device.backend.name, op.name) == ("jax", "linalg.matrix_rank"):
        return  # JAX, like NumPy's own function, gives a number a rank
    call = first_call(op, xp_device)
    x = pg.to_device(np.asarray(2.0), xp_device)
    refused(op, (x,) * len(arrays_of(call)), call.params)


@over([op for op in OPS if op.category == "elementwise"])
def test_text_in_arrays(op):
    """NumPy's arrays may hold anything; no derivative is made of that."""
    words = tuple(np.asarray(["a", "b"]) for _ in op.arrays)
    try:
        found = invoke(op, words, {})
    except REFUSALS as error:
        assert op.name in told(error)
    else:
        assert found.dtype.kind in "bU"  # comparisons and the like, which NumPy has for text
    with pytest.raises(pg.NonDifferentiableError):
        pg.grad(lambda x: pg.sum(x))(words[0])
