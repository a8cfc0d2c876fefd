"""Lines of NumPy code, one or more for every NumPy function that works on tensors."""

import numpy as np

# `x`, `y`, `p`, `c` and the rest are what is differentiated; `o`, `i`, `k`, `b` are constants.
ARRAYS = {
    "x": np.asarray([[0.55, -1.27, 1.93], [0.28, 2.86, -0.74]]),
    "y": np.asarray([[1.5, 0.6, -2.0], [0.5, 1.0, 2.2]]),
    "p": np.asarray([[0.31, 0.52, 0.77], [0.21, 0.92, 0.63]]),
    "v": np.asarray([0.5, -1.0, 2.0]),
    "w": np.asarray([0.1, 0.7, 1.2, 3.0]),
    "c": np.sin(np.arange(24.0)).reshape(2, 3, 4),
    "m": np.asarray([[4.0, 1.0, 0.5], [1.5, 3.0, 1.0], [0.2, 1.0, 2.0]]),
    "s": np.asarray(2.5),
    "z": np.asarray([[0.5 + 1.5j, -1.25 + 0.6j, 2.0 - 2j], [0.25 + 0.5j, 3.0 + 1j, -0.75 + 2.2j]]),
    "n": np.asarray([[0.5, np.nan, 2.0], [0.25, 3.0, -0.75]]),
}
CONSTANTS = {
    "o": np.ones((2, 3)),
    "i": np.asarray([[0, 2, 0], [1, 1, 2]]),
    "k": np.asarray([2, 0, 1, 0]),
    "b": np.asarray([[True, False, True], [False, True, True]]),
}

ELEMENTS = """
np.sin(x)
np.arcsin(p) + np.arccos(p) + np.arctan(x) + np.arctanh(p) + np.arcsinh(x) + np.arccosh(1 + p)
np.arctan2(x, y) + np.hypot(x, y) + np.logaddexp(x, y) + np.copysign(x, y)
np.add(x, 1) + np.subtract(2.0, x) * np.multiply(x, [1.0, 2.0, 3.0]) / np.true_divide(y, x)
np.power(p, y) + np.square(x) + np.reciprocal(x) + np.negative(x) + np.positive(x)
np.absolute(x) + np.fabs(x) + np.sign(x) + np.conjugate(x)
np.remainder(x, y) + np.mod(x, 0.7) + np.fmod(x, y) + np.floor_divide(x, y)
np.exp2(x) + np.cbrt(p) + np.float_power(p, y) + np.logaddexp2(x, y)
np.deg2rad(x) + np.radians(x) + np.rad2deg(x) + np.degrees(x)
np.maximum(x, y) + np.minimum(x, 0.0) + np.fmax(x, y) + np.fmin(n, y)
np.floor(x) + np.ceil(x) + np.trunc(x) + np.rint(x) + np.fix(x) + np.round(p, 1) + np.around(x)
np.heaviside(x, 0.5) + np.ldexp(x, 2) + np.nextafter(x, y)
np.divmod(x, y)
np.modf(x)
np.add(x, y, dtype=np.float64) + np.exp(x, dtype=float)
np.log(x, where=x > 0, out=np.zeros_like(x))
np.divide(y, x, out=np.ones_like(x), where=b)
np.sqrt(x, where=x > 0, out=np.zeros_like(x))
np.float64(2.0) * x - x / np.float32(4.0) + np.int64(3) ** p
np.subtract(o, x) + np.matmul(o, m), np.equal(o, x)
np.greater(x, y), np.isnan(n), np.logical_not(x > 0), np.signbit(x), np.isfinite(n)
np.real(z) + np.imag(z) + np.angle(z) + np.abs(z) + np.real(x) + np.imag(x)
np.angle(z, deg=True)
np.clip(x, -1, 1) + np.clip(x, a_min=None, a_max=0.6) + np.clip(x, min=-0.1) + np.clip(x, -p, p)
np.clip(x, 0, None, out=np.zeros_like(x))
np.nan_to_num(n) + np.nan_to_num(n, nan=3.0)
np.sinc(x) + np.sinc(0.001 * x)
np.where(x > 0, x, y) + np.where(b, x, 0.0) + np.where(i, x, y)
np.where(x > 1, 1.0, 0.0) * x
x[np.where(x > 0)]
np.select([x > 1, x > 0], [x**2, y], default=3.0)
np.piecewise(x, [x < 0, x > 1], [lambda t: t**2, 5.0, lambda t: 2 * t])
np.isclose(x, x + 1e-9), np.allclose(x, y), np.array_equal(x, x), np.array_equiv(x, v)
np.iscomplexobj(z), np.isrealobj(x), np.isreal(z), np.iscomplex(z), np.isposinf(x), np.isneginf(n)
np.real_if_close(x + 0j) + x
np.apply_along_axis(np.sum, 1, x) + np.apply_along_axis(lambda t: t * 2, 0, c)[0, 0, 0]
np.apply_along_axis(lambda t: t[:2] * t[0], 1, c)
np.apply_over_axes(np.sum, c, [0, 2])
np.astype(x > 0, np.float64) * x
"""
STATISTICS = """
np.sum(x)
np.sum(x, 0) + np.sum(x, axis=-2, keepdims=True, dtype=np.float64)
np.sum(x, axis=0, initial=2.0, where=b)
np.sum(x > 0), np.sum(x, axis=(0, 1))
np.prod(x, axis=1) + np.prod(x, axis=1, initial=3.0, where=b)
np.max(x) + np.amax(x, axis=0) + np.min(x, axis=1, keepdims=True) + np.amin(x, initial=-3.0, where=b)
np.all(x > 0), np.any(x, axis=0), np.all(x, axis=1, where=b), np.count_nonzero(x), np.argmax(x, axis=1)
np.mean(x) + np.mean(x, 0) + np.mean(x, axis=1, where=b, keepdims=True) + np.mean(x > 0.3)
np.var(x) + np.var(x, axis=0, ddof=1) + np.var(x, where=b, axis=1, keepdims=True) + np.var(z)
np.std(x, axis=1) + np.std(x, ddof=1) + np.std(z, correction=1) + np.std(x, mean=np.mean(x))
np.average(x, axis=0) + np.average(x, axis=1, weights=v, keepdims=True) + np.average(x, weights=p)
np.average(x, axis=1, weights=v, returned=True)
np.ptp(x, axis=1) + np.median(x) + np.median(x, axis=1) + np.median(x, axis=0, keepdims=True)[0, 0]
np.quantile(x, [0.1, 0.5], axis=1) + np.percentile(x, 30)
np.quantile(c, 0.3, axis=(0, 2), keepdims=True)[0, 0, 0]
np.quantile(x, 0.5) + np.nanmedian(n) + np.nanmedian(n, axis=0)[0] + np.nanmedian(n, axis=1, keepdims=True)
np.nanquantile(n, [0.1, 0.5], axis=1) + np.nanpercentile(n, 30) + np.quantile(n, 0.2, axis=1)
np.cov(x) + np.cov(v, x[1, :], bias=True) + np.cov(v) + np.cov(x.T, rowvar=False, ddof=0)
np.corrcoef(x) + np.corrcoef(v, y[0, :])
np.cumsum(x), np.cumsum(x, axis=1), np.cumprod(x, 0), np.cumulative_prod(v)
np.cumulative_sum(v, include_initial=True)
np.sort(x) + np.sort(x, axis=0) + np.partition(x, 1, axis=1)[0, 1]
np.sort(x, axis=None), np.argsort(x, axis=1), np.argmin(x), np.searchsorted(w, x), np.argsort(x, None)
np.nansum(n, axis=1) + np.nanprod(n) + np.nanmean(n, axis=1) + np.nanmax(n, axis=1) + np.nanmin(n)
np.nanvar(n, axis=1) + np.nanstd(n) + np.sum(np.nancumsum(n, axis=1)) + np.sum(np.nancumprod(n))
np.nanargmax(n, axis=1), np.nanargmin(n)
np.add.reduce(x) + np.add.reduce(x, axis=1)[0] + np.multiply.reduce(x, axis=0) + np.maximum.reduce(x, 0)
np.minimum.reduce(x, axis=(0, 1)) + np.logaddexp.reduce(x, axis=0) + np.add.reduce(x, axis=None)
np.add.accumulate(x) + np.multiply.accumulate(x, axis=1)
np.logical_and.reduce(x > 0), np.logical_or.reduce(x > 0, axis=1)
np.add.outer(v, w) + np.multiply.outer(v, w) * np.subtract.outer(v, [1.0, 2.0, 3.0, 4.0])
"""
SHAPES = """
np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)
np.reshape(x, 6) + np.reshape(x, (-1,)) + np.ravel(x) + np.ravel(np.copy(x))
np.transpose(x) + x.T + np.swapaxes(x, 0, 1) + np.permute_dims(x, (1, 0)) + np.matrix_transpose(x)
np.transpose(c, (2, 0, 1)) + np.rollaxis(c, 2) + np.moveaxis(c, -1, 0)
np.squeeze(x[None, ...]) + np.squeeze(x[:, None, :], axis=1) + np.expand_dims(x, 0)
np.broadcast_to(v, (2, 3)) + np.broadcast_arrays(v, x)[0]
np.meshgrid(v, w)[0] + np.meshgrid(v, w, indexing="ij")[1].T + np.meshgrid(v, w, sparse=True)[0]
np.ix_(v, w)
np.atleast_1d(s) + np.atleast_2d(v) + np.atleast_3d(x)[:, :, 0] + np.atleast_1d(v, s)[1]
np.concatenate([x, y]) + np.concat((x, [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
np.concatenate([x, v], axis=None)
np.stack([x, y], axis=1) + np.stack([v, v, v])[0, :]
np.stack([v[0], v[1] * v[2], 3.0])
np.vstack([v, v, x]), np.hstack([x, y]), np.hstack([v, w]), np.dstack([x, y]), np.dstack([v, v])
np.column_stack([v, x.T, v]), np.append(x, v), np.append(x, y, axis=0), np.block([[x, y], [y, x]])
np.block([v, w])
np.insert(x, 1, v, axis=0), np.insert(v, [0, 2], [5.0, 6.0])
np.insert(x, 1, 0.0, axis=1), np.delete(w, 1)
np.insert(w, 2, 9.0), np.delete(x, [0, 2], axis=1)
np.pad(x, 1), np.pad(x, ((1, 0), (0, 2)), constant_values=3.0), np.pad(w, (2, 1), mode="reflect")
np.pad(w, 2, "edge"), np.pad(w, 2, "symmetric"), np.pad(x, 1, "wrap")
np.repeat(x, 2), np.repeat(x, [1, 2], axis=0), np.tile(x, 2), np.tile(v, (2, 1))
np.array_split(w, 3)[0], np.split(x, 3, axis=1)[2]
np.split(w, [1, 3])[1], np.hsplit(x, 3)[0], np.vsplit(x, 2)[1]
np.dsplit(c, 2)[1], np.unstack(x, axis=1)[2], np.hsplit(w, 2)[1]
np.flip(x) + np.fliplr(x) + np.flipud(x) + np.roll(x, 1) + np.roll(x, 1, axis=1)
np.argpartition(x, 2, axis=1)[:, 0]
np.zeros_like(np.empty_like(x)) + x, np.zeros_like(np.empty(2, like=x)) + s
np.lib.stride_tricks.sliding_window_view(w, 3), np.lib.stride_tricks.sliding_window_view(c, (2, 3), (2, 1))
np.rot90(x) + np.rot90(x, -1), np.rot90(c, 1, axes=(1, 2)), np.rot90(x, 2)
np.take(w, k) + np.take(w, [0, 1, 2, 3]), np.take(x, i, axis=1), np.take(x, 1), np.take(x, -1, axis=0)
np.take_along_axis(x, i, axis=1)
np.compress([True, False, True], x, axis=1)[0, 0] + np.extract(b, x)[0]
np.unique_values(x > 0), np.unique_counts(x > 0)[1], np.unique_inverse(x > 0)[1], np.unique_all(x > 0)[0]
np.argwhere(x > 0), np.flatnonzero(x > 0), np.nonzero(x > 0)[1]
np.unique(x > 0, return_counts=True), np.isin(np.argmax(x, axis=1), [0, 2])
m[np.triu_indices_from(m)], m[np.tril_indices_from(m, -1)], m[np.diag_indices_from(m)]
np.tril(m) + np.triu(m, 1) + np.diag(v) + np.diag(m) + np.diagflat(v)
np.diag(v, 1), np.diag(m, -1), np.diag(v, -2), np.diagonal(c), np.diagonal(c, 1, 1, 2), np.diagflat(x, 1)
"""
PRODUCTS = """
np.dot(x, m) + np.dot(x, m) * np.dot(v, v) + np.dot(2.0, x)
np.dot(c, w), np.dot(m, c), np.inner(x, y), np.inner(v, v)
np.vdot(x, y), np.outer(v, w), np.vecdot(x, y, axis=0)
np.matmul(x, m) + x @ m
np.matvec(m, v) + np.vecmat(v, m)
np.vdot(z, 1j * z), np.vecmat(z[0, :], np.transpose(z)), np.cov(z)
np.tensordot(c, x, axes=([0, 1], [0, 1])) + np.tensordot(x, c, axes=2)
np.tensordot(x, m, axes=(1, 0)) + np.tensordot(x, m, 1)
np.kron(x, m), np.kron(v, x), np.cross(x, y), np.cross(x, v), np.cross(x.T, y.T, axis=0)
np.trace(c, 1, 1, 2) + np.trace(m) + np.linalg.trace(m), np.linalg.diagonal(m)
np.linalg.norm(x) + np.linalg.norm(v, 1) + np.linalg.norm(v, np.inf) + np.linalg.norm(x, axis=0)[1]
np.linalg.norm(x, "fro") + np.linalg.norm(x, "nuc")
np.linalg.norm(x, 2) + np.linalg.norm(x, 1) + np.linalg.norm(v, 3)
np.linalg.norm(c, axis=(0, 2), keepdims=True) + np.linalg.norm(x[0, :], keepdims=True)
np.linalg.cond(m) + np.linalg.cond(m, 1) + np.linalg.cond(m, -2) + np.linalg.cond(m, "fro")
np.linalg.inv(m) + np.linalg.solve(m, m.T) + np.linalg.matrix_power(m, 3) + np.linalg.det(m)
np.linalg.solve(m, v), np.linalg.slogdet(m), np.linalg.svd(x, compute_uv=False), np.linalg.svdvals(x)
np.linalg.eigvalsh(m + m.T), np.linalg.eigh(m + m.T)[0], np.linalg.cholesky(m @ m.T), np.linalg.qr(m)[1]
np.linalg.qr(m, mode="r"), np.linalg.pinv(x), np.linalg.matrix_rank(x), np.linalg.multi_dot([x, m, m, v])
np.linalg.pinv(x, rcond=1e-10), np.linalg.matrix_rank(m, tol=1.2)
np.linalg.svd(x, full_matrices=False)[1], np.linalg.matrix_norm(m) + np.linalg.vector_norm(x)
np.linalg.lstsq(x.T, v)[0], np.linalg.lstsq(x.T, m, rcond=None)[1]
np.linalg.tensorsolve(np.reshape(m, (3, 3)), v)
np.linalg.tensorinv(np.reshape(np.kron(m, m), (3, 3, 9)))
np.linalg.eig(m)[0], np.linalg.eigvals(m), np.linalg.eigvals(m - 3 * m.T)
np.linalg.matrix_transpose(m), np.linalg.tensordot(x, m, axes=1)
np.linalg.outer(v, w), np.linalg.cross(x, y), np.linalg.matmul(x, m), np.linalg.vecdot(x, y)
np.einsum("ij,jk->ik", x, m) + np.einsum("ij,jk", x, m)
np.einsum("ij->j", x) + np.einsum("ij,ij->", x, y) + np.einsum("ii->i", m) + np.einsum("ii", m)
np.einsum("ijk,ij,k->jk", c, x, w), np.einsum("ijk,ij,kl,l->j", c, x, np.outer(w, v), v, optimize=True)
np.einsum("...j,j->...", c, w), np.einsum("i...,i...", x, y), np.einsum(x, [0, 1], m, [1, 2], [0, 2])
np.einsum("i,j", v, w), np.einsum("ij,kj->ikj", x, y)
np.einsum("ji", x), np.einsum("iij->j", c[:, :2, :])
np.fft.fft(x) + np.fft.fft(x, norm="ortho") + np.fft.ifft(x, axis=0)
np.fft.fft(x, 4), np.fft.fftshift(x)
np.fft.rfft(w), np.fft.irfft(np.fft.rfft(w), n=5)
np.fft.fft2(x), np.fft.ifft2(x), np.fft.fftn(c, axes=(0, 1))
np.fft.ifftshift(x), np.fft.irfftn(np.fft.rfftn(x, s=(2, 4), axes=(0, 1)), axes=(0, 1)), np.fft.ifftn(x)
np.fft.irfft2(np.fft.rfft2(x)), np.fft.hfft(z[0, :]), np.fft.ihfft(w)
"""
CALCULUS = """
np.diff(x) + np.diff(x, axis=1), np.diff(w, 2)
np.diff(w, prepend=0.0, append=s), np.ediff1d(x, to_end=9.0)
np.trapezoid(w) + np.trapezoid(x, v, axis=1) + np.trapezoid(x, dx=0.5) + np.trapezoid(x, x=y, axis=-1)
np.gradient(w), np.gradient(w, 0.5), np.gradient(x)[1]
np.gradient(c, axis=2, edge_order=2), np.gradient(v, p[0, :], edge_order=2)
np.gradient(c, 1.0, 2.0, w)[2]
np.interp(x, w, w**2) + np.interp(x, [0.0, 1.0, 2.0, 3.0], w, left=7.0, right=s)
np.interp(x, [0.0, 1.0, 1.5, 1.9], w, period=2.0)
np.unwrap(4 * np.cumsum(w)), np.unwrap(5 * x, axis=1), np.unwrap(x, period=1.5)
np.convolve(w, v), np.convolve(v, w, "same"), np.convolve(w, v, "valid")
np.correlate(w, v), np.correlate(v, w, "full")
np.correlate(v, w, "same"), np.correlate(z[0, :], z[1, :], "full")
np.bincount(k, weights=w), np.bincount(np.argsort(w), minlength=5)
np.digitize(x, [0.0, 1.0, 2.0]), np.digitize(x, [2.0, 0.0])
np.polyval(w, x) + np.polyval([1.0, 2.0], x), np.polyval(w, 0.5)
np.polyadd(v, w), np.polysub(w, v), np.polymul(v, w)
np.polyder(w), np.polyint(w, 2, [1.0, 2.0]), np.polyder(w, 2)
np.vander(w, 3), np.vander(v, increasing=True), np.polyfit(w, w**3, 2)
np.polyfit(w, np.stack([w**2, w**3], 1), 1, w=w)
"""
CREATION = """
np.zeros_like(x) + x, np.ones_like(x, dtype=np.float32), np.full_like(x, 2.0), np.full_like(x, s)
np.zeros_like(x, shape=4), np.zeros(3, like=x)
np.ones((2, 2), like=x), np.full(2, 5.0, like=x), np.eye(3, like=x)
np.asanyarray(x, like=x), np.ascontiguousarray(x, like=x)
np.arange(4, like=x), np.array([v[0], v[1]], like=v), np.asarray(x, like=x)
np.identity(2, like=x), np.array(x, ndmin=3, like=x)
np.linspace(s, 4.0, 5), np.linspace(v, m, 3, endpoint=False)
np.linspace(v, 2 * v, 4, axis=1, retstep=True)
np.logspace(s, 1.0, 4, base=2.0), np.geomspace(s, 9.0, 4)
"""
LINES = "".join((ELEMENTS, STATISTICS, SHAPES, PRODUCTS, CALCULUS, CREATION)).split("\n")
CALLS = [line for line in LINES if line and ("matvec" not in line or hasattr(np, "matvec"))]  # NumPy 2.2
