"""The tensor namespace is the standard's, also of values that live in an open trace."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import portagrad as pg
import portagrad_numpy
from portagrad.testing import TracedNamespace

SPACES = {
    "plain": portagrad_numpy.xp,
    "reverse": TracedNamespace("numpy", "reverse"),
    "forward": TracedNamespace("numpy", "forward"),
}


@pytest.fixture(params=list(SPACES))
def xp(request: Any) -> Any:
    return SPACES[request.param]


def test_a_copy_has_the_dtype_of_any_array(xp: Any) -> None:
    for dtype in ("bool", "int8", "uint64", "float32", "complex128"):
        x = xp.ones((2,), dtype=getattr(xp, dtype))
        y = xp.asarray(x, copy=True)
        assert y.dtype == x.dtype and bool(xp.all(y == x))


def test_masks_are_assigned_to_and_combined_in_place(xp: Any) -> None:
    x = xp.asarray([True, False, True])
    x[0] = False
    x &= xp.asarray([True, True, False])
    x |= True
    x ^= xp.asarray([True, False, False])
    assert [bool(b) for b in x] == [False, True, True]


def test_meshgrid_and_unstack_give_tuples_also_of_nothing(xp: Any) -> None:
    assert type(xp.meshgrid(xp.asarray([1.0, 2.0]))) is tuple
    assert xp.unstack(xp.ones((0, 3))) == ()


def test_vecdot_keeps_small_integers_and_wants_axes_of_one_length(xp: Any) -> None:
    x = xp.ones((2, 3), dtype=xp.uint8)
    assert xp.vecdot(x, x).dtype == xp.uint8
    for a, b in (((2, 3), (2, 1)), ((2, 3), ())):
        with pytest.raises(ValueError, match=r"vecdot.*as long"):
            xp.vecdot(xp.ones(a), xp.ones(b))


def test_an_exported_array_takes_what_the_standard_says() -> None:
    parameters = inspect.signature(pg.Tensor.__dlpack__).parameters
    assert list(parameters) == ["self", "stream", "max_version", "dl_device", "copy"]
    assert (np.from_dlpack(portagrad_numpy.xp.ones(3)) == 1).all()


def test_parameters_may_be_arrays(xp: Any) -> None:
    assert xp.repeat(xp.asarray([1.0, 2.0]), xp.asarray([2, 1])).shape == (3,)
    a = portagrad_numpy.xp.asarray(1e-5)
    assert xp.linalg.pinv(xp.ones((2, 3)), rtol=a).shape == (3, 2)
    assert int(xp.linalg.matrix_rank(xp.ones((2, 3)), rtol=a)) == 1


def test_torch_takes_arrays_as_parameters_too() -> None:
    torch = pytest.importorskip("portagrad_torch", reason="torch is not installed")
    x = torch.xp.asarray([1.0, 2.0])
    assert torch.xp.repeat(x, torch.xp.asarray([2, 1])).shape == (3,)


def test_traced_namespaces_trace_and_still_convert() -> None:
    for mode in ("reverse", "forward"):
        x = SPACES[mode].ones(3)
        assert x.requires_grad and float(SPACES[mode].sum(x)) == 3.0
        assert not SPACES[mode].ones(3, dtype=SPACES[mode].int32).requires_grad
    with pytest.raises(ValueError, match="'reverse' or 'forward'"):
        TracedNamespace("numpy", "sideways")
