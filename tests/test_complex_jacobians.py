"""Jacobians with complex values: both modes agree, and mean what the docstring says."""

import numpy as np
import pytest

import portagrad as pg

Z = np.asarray([1 + 1j, 2 - 1j])
X = np.asarray([1.0, 2.0])
C = 1 + 2j

FUNCTIONS = {
    "complex to complex": (lambda z: z * z * C, Z, np.diag(2 * Z * C)),
    "real to complex": (lambda x: x * x * C, X, np.diag(2 * X * C)),
    "complex to real": (lambda z: pg.real(z * pg.conj(z)), Z, np.diag(2 * Z)),
    "real to real": (lambda x: x * x, X, np.diag(2 * X)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("transform", [pg.jacrev, pg.jacfwd, pg.jacobian])
def test_a_jacobian_is_the_complex_derivative_or_the_gradient_by_both_parts(transform, name):
    f, at, expected = FUNCTIONS[name]
    found = transform(f)(at)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_one_matrix_is_the_hessian_by_a_complex_argument():
    with pytest.raises(pg.NonDifferentiableError, match=r"hessian: argument 0 holds numpy complex128 \(2,\)"):
        pg.hessian(lambda z: pg.sum(pg.real(z * pg.conj(z))))(Z)
