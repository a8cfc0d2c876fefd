"""Lines that call other people's functions as published: what differentiates, what leaves the standard."""

import re

import numpy as np

# `x`, `y`, `p` and the rest are what is differentiated; `j` and `labels` are constants.
ARRAYS = {
    "x": np.asarray([[0.55, -1.27, 1.93], [0.28, 2.86, -0.74]]),
    "y": np.asarray([[1.5, 0.6, -2.0], [0.5, 1.0, 2.2]]),
    "p": np.asarray([[0.31, 0.52, 0.77], [0.21, 0.92, 0.63]]),
    "q": np.asarray([[0.41, 0.35, 0.9], [0.65, 0.12, 0.44]]),
    "v": np.asarray([0.5, -1.0, 2.0]),
    "w": np.asarray([0.1, 0.7, 1.2, 3.0]),
    "u": 2 * np.sin(np.arange(1, 13.0) ** 2),
    "c": np.sin(np.arange(24.0)).reshape(2, 3, 4),
    "r": np.sin(np.arange(1, 13.0) ** 2).reshape(6, 2),
    "t": np.cos(np.arange(1, 7.0) ** 2),
    "m": np.asarray([[4.0, 1.0, 0.5], [1.5, 3.0, 1.0], [0.2, 1.0, 2.0]]),
    "s": np.asarray(2.5),
    "a": np.asarray([0.5]),
    "z": np.asarray([[0.5 + 1.5j, -1.25 + 0.6j, 2.0 - 2j], [0.25 + 0.5j, 3.0 + 1j, -0.75 + 2.2j]]),
    "n": np.asarray([[0.5, np.nan, 2.0], [0.25, 3.0, -0.75]]),
}
CONSTANTS = {"j": np.asarray([0, 1, 1, 0, 0, 1]), "labels": np.asarray([0, 1, 1])}

# A line is an expression; where that is not the function itself, its name comes before it.
SCIPY = """
special.logsumexp(x, axis=1)
special.softmax(x, axis=1)
special.log_softmax(x, axis=0)
special.xlogy(p, y * y)
special.xlog1py(x, p)
special.entr(p), special.rel_entr(p, q)
special.erf(x), special.erfc(x), special.erfinv(p)
special.expit(x), special.logit(p)
special.ndtr(x), special.log_ndtr(x), special.ndtri(p)
special.gammaln(p), special.betaln(p, q), special.polygamma(1, p)
special.i0(x), special.i1(x)
stats.zscore(x, axis=1), stats.gzscore(p, axis=1), stats.zmap(x, y, axis=1)
stats.gmean(p, axis=1), stats.hmean(p, axis=1), stats.pmean(p, 2.5, axis=1)
stats.skew(x, axis=1), stats.kurtosis(x, axis=1), stats.moment(x, order=3, axis=1)
stats.variation(p, axis=1), stats.sem(x, axis=1), stats.gstd(p, axis=1)
stats.iqr(x, axis=1), stats.median_abs_deviation(x, axis=1), stats.quantile(x, 0.3, axis=1)
stats.tmean(w, (0.05, 2.0)), stats.tvar(w, (0.05, 5.0)), stats.tstd(w), stats.tsem(w)
stats.tmin(w), stats.tmax(w)
stats.trim_mean(w, 0.25)
stats.describe(x, axis=1)[2:]
stats.kstat(w, 3), stats.kstatvar(w, 1), stats.lmoment(w)
stats.boxcox_llf(0.7, w), stats.yeojohnson_llf(0.7, w)
stats.circmean(w), stats.circvar(w), stats.circstd(w)
stats.directional_stats(x).mean_direction
stats.entropy(p, axis=1), stats.entropy(p, q, axis=1)
stats.differential_entropy(u)
stats.skewtest(u).statistic, stats.kurtosistest(u).statistic
stats.combine_pvalues(p[0, :], method="stouffer").pvalue
stats.false_discovery_control(p[0, :])
stats.mode(x).mode, stats.sigmaclip(w).clipped
integrate.trapezoid(x, axis=1), integrate.cumulative_trapezoid(x, axis=1, initial=0)
integrate.cumulative_simpson(w, dx=0.5)
integrate.romb(u[:5], dx=0.3)
integrate.tanhsinh(lambda t: t**2, s * 0, s).integral
integrate.cubature(lambda t: xp.exp(-t[:, 0] * s), a, a + 1).estimate
integrate.nsum(lambda t, k: 1 / t**k, s * 0 + 1, s * 0 + 9, args=(s,)).sum
optimize.rosen(x), optimize.rosen_der(w), optimize.rosen_hess(w), optimize.rosen_hess_prod(w, w * w)
optimize.elementwise.find_root(lambda t, c: t**2 - c, (s * 0, s), args=(s,)).x
optimize.elementwise.find_minimum(lambda t, c: (t - c) ** 2 + c, (s * 0, s * 0.5, s * 2), args=(s,)).f_x
differentiate.derivative(lambda t: t**3, s).df
differentiate.jacobian(lambda t: t**3, v).df
signal.fftconvolve(w, v), signal.oaconvolve(w, v), signal.correlate(w, v, method="fft")
signal.hilbert(w), signal.envelope(u)
signal.resample(w, 6)
signal.freqz_zpk(v, v * 0.1, s, worN=4)[1]
signal.freqz(w, v)[1][::64]
signal.freqs(w, v, worN=v)[1]
signal.lp2lp(w, v, 2.0), signal.lp2hp(w, v, 2.0), signal.lp2bp(w, v), signal.lp2bs(w, v)
signal.lp2lp_zpk(v, w, s, 2.0), signal.lp2hp_zpk(v, w, s, 2.0), signal.bilinear_zpk(-p[0, :], -w, s, 1.0)
signal.lp2bp_zpk(z[0, :], z[1, :], s, 2.0, 0.1), signal.lp2bs_zpk(z[0, :], z[1, :], s, 2.0, 0.1)
signal.zpk2tf(v, w, s), signal.sos2tf(x), signal.normalize(w, v)
signal.gauss_spline(w, 3)
signal.minimum_phase(w)
signal.vectorstrength(w, s)
fft.fft(x), fft.ifft(z), fft.rfft(x), fft.irfft(fft.rfft(w))
fft.fftn(x), fft.hfft(w), fft.ihfft(w), fft.fftshift(x)
fft.fht(w, 0.1, 0.5)
cluster.vq.whiten(x)
linalg.block_diag(x, y), linalg.fiedler(w)
linalg.orthogonal_procrustes(x, y)[1]
Rotation.from_quat(w).as_matrix()
Rotation.from_quat(w).as_rotvec()
Rotation.from_quat(w).as_euler("xyz")
Rotation.from_quat(w).as_mrp()
Rotation.from_rotvec(v).as_quat()
Rotation.from_rotvec(v).magnitude()
Rotation.from_rotvec(v).apply(x)
Rotation.from_rotvec(v).inv().as_matrix()
Rotation.__mul__: (Rotation.from_rotvec(v) * Rotation.from_rotvec(x)).as_matrix()
Rotation.__pow__: (Rotation.from_rotvec(v) ** 2.5).as_rotvec()
Rotation.from_rotvec(x).mean().as_matrix()
Rotation.from_euler("xyz", v).as_matrix()
Rotation.from_mrp(v * 0.1).as_matrix()
Rotation.from_matrix(m).as_matrix()
Rotation.from_davenport(xp.eye(3), "e", v).as_quat()
Rotation.align_vectors(x, y)[0].as_matrix()
Rotation.concatenate([Rotation.from_rotvec(v), Rotation.from_rotvec(v * 2)]).as_quat()
Slerp([0, 1], Rotation.from_rotvec(x))([0.3]).as_quat()
RigidTransform.from_translation(v).as_matrix()
RigidTransform.from_components(v, Rotation.from_rotvec(v)).apply(x)
RigidTransform.from_exp_coords(xp.reshape(x, (6,))).as_matrix()
RigidTransform.from_exp_coords(xp.reshape(x, (6,))).as_dual_quat()
"""
SKLEARN = """
metrics.mean_squared_error(x, y, multioutput="raw_values")
metrics.root_mean_squared_error(x, y, multioutput="raw_values")
metrics.mean_absolute_error(x, y, multioutput="raw_values")
metrics.mean_absolute_percentage_error(x, y, multioutput="raw_values")
metrics.mean_squared_log_error(p, q, multioutput="raw_values")
metrics.root_mean_squared_log_error(p, q, multioutput="raw_values")
metrics.median_absolute_error(x, y, multioutput="raw_values")
metrics.r2_score(x, y, multioutput="raw_values")
metrics.explained_variance_score(x, y, multioutput="raw_values")
metrics.mean_pinball_loss(x, y, alpha=0.3, multioutput="raw_values")
metrics.d2_pinball_score(r, r[::-1, :], multioutput="raw_values")
metrics.pairwise.cosine_similarity(x, y), metrics.pairwise.cosine_distances(x, y)
metrics.pairwise.paired_cosine_distances(x, y)
metrics.pairwise.euclidean_distances(x, y), metrics.pairwise.paired_euclidean_distances(x, y)
metrics.pairwise.manhattan_distances(x, y), metrics.pairwise.paired_manhattan_distances(x, y)
metrics.pairwise.linear_kernel(x, y), metrics.pairwise.polynomial_kernel(x, y)
metrics.pairwise.rbf_kernel(x, y), metrics.pairwise.sigmoid_kernel(x, y)
metrics.pairwise.laplacian_kernel(x, y), metrics.pairwise.additive_chi2_kernel(p, q)
metrics.pairwise.chi2_kernel(p, q)
metrics.pairwise.pairwise_distances(x, y, metric="cosine")
metrics.pairwise.pairwise_kernels(x, y, metric="rbf")
preprocessing.MinMaxScaler().fit_transform(r)
preprocessing.MaxAbsScaler().fit_transform(x)
preprocessing.StandardScaler().fit_transform(r)
preprocessing.Normalizer().fit_transform(x)
preprocessing.normalize(x, norm="l1")
preprocessing.minmax_scale(r), preprocessing.maxabs_scale(x)
preprocessing.KernelCenterer().fit_transform(m)
preprocessing.PolynomialFeatures(2).fit_transform(x)
preprocessing.FunctionTransformer(lambda t: t**2).fit_transform(x)
decomposition.PCA(n_components=1).fit_transform(r)
decomposition.PCA(svd_solver="covariance_eigh", n_components=1).fit(r).explained_variance_
linear_model.Ridge(solver="svd").fit(r, t).coef_
linear_model.Ridge(solver="svd").fit(r, t).predict(r)
linear_model.RidgeCV().fit(r, t).coef_
discriminant_analysis.LinearDiscriminantAnalysis().fit(r, j).transform(r)
naive_bayes.GaussianNB().fit(r, j).predict_joint_log_proba(r)
mixture.GaussianMixture(n_components=1, init_params="random", random_state=0).fit(r).means_
covariance.empirical_covariance(r)
kernel_approximation.Nystroem(n_components=2, random_state=0).fit_transform(r)
utils.extmath.softmax(x), utils.extmath.row_norms(x), utils.extmath.safe_sparse_dot(x, m)
utils.extmath.randomized_svd(m, 2, random_state=0)[1]
utils.extmath.svd_flip(m, m)[0]
utils.extmath.fast_logdet(m), utils.extmath.squared_norm(x)
utils.validation.check_array(x)
"""
EXTRA = """
xpx.cov(x), xpx.kron(x, m), xpx.sinc(x), xpx.angle(z)
xpx.deg2rad(x), xpx.rad2deg(x)
xpx.expand_dims(x, axis=(0, 2)), xpx.atleast_nd(v, ndim=3)
xpx.create_diagonal(v, offset=1), xpx.pad(x, 1, constant_values=2.0)
xpx.nan_to_num(n), xpx.nanmax(n), xpx.nanmin(n, axis=1), xpx.nansum(n, axis=1), xpx.nanmean(n)
xpx.apply_where(x > 0, (x, y), lambda a, b: xp.log(a) * b, lambda a, b: a * b)
xpx.apply_where(x > 0, x, lambda a: xp.sqrt(a), fill_value=0.0)
xpx.at(x)[0, :].set(v)
xpx.at(x)[x > 0].multiply(2.0)
xpx.at(x, 1).add(v)
xpx.at(x)[:, 0].divide(2.0)
xpx.at(x)[:, 0].power(2.0)
xpx.at(x)[:, 0].min(s * 0.1)
xpx.at(x)[:, 0].max(s * 0.1)
xpx.at(x)[:, 0].subtract(s)
xpx.partition(x, 1, axis=1)
xpx.argpartition: xp.take_along_axis(x, xpx.argpartition(x, 1, axis=1), axis=1)
xpx.isclose: xp.where(xpx.isclose(x, y), x, y)
xpx.isin: xp.where(xpx.isin(j, j), r[:, 0], 0.0)
xpx.one_hot: xp.astype(xpx.one_hot(j, 2), xp.float64).T @ r
xpx.setdiff1d(w, v), xpx.union1d(w, v)
xpx.nunique: xp.astype(xpx.nunique(x), xp.float64) * x
xpx.searchsorted: xp.take(w, xpx.searchsorted(w, v) % 4)
xpx.diag_indices: m[xpx.diag_indices(3, xp=xp)]
xpx.tril_indices, xpx.triu_indices: m[xpx.tril_indices(3, xp=xp)], m[xpx.triu_indices(3, xp=xp)]
xpx.unravel_index: x[xpx.unravel_index(j, (2, 3))]
xpx.lazy_apply(lambda t: t * 2, x)
"""
EINOPS = """
einops.array_api.rearrange(c, "a (b r) c -> a r (b c)", r=1)
einops.array_api.rearrange([x, y], "s a b -> a s b")
einops.array_api.reduce(c, "a b c -> a c", "mean")
einops.array_api.reduce(c, "a b c -> b", "max")
einops.array_api.reduce(c, "a b c -> a c", "min")
einops.array_api.reduce(c, "a b c -> b 1", "sum")
einops.array_api.reduce(c, "a b c -> a c", "prod")
einops.array_api.reduce(c, "a b (c r) -> a b c", "mean", r=2)
einops.array_api.repeat(x, "a b -> a (b r)", r=2)
einops.array_api.pack([x, y], "* b")[0]
einops.array_api.unpack(x, [(1,), (1,)], "* b")
"""
# In xarray's lines `ab` is ("a", "b"), the names of two axes, and `b` coordinates along the second.
XARRAY = """
xr.DataArray(x, dims=ab).sum("a")
xr.DataArray(x, dims=ab).mean("b")
xr.DataArray(x, dims=ab).var("b")
xr.DataArray(x, dims=ab).std("b", ddof=1)
xr.DataArray(x, dims=ab).max("b")
xr.DataArray(x, dims=ab).prod("b")
xr.DataArray(n, dims=ab).median("b")
xr.DataArray(n, dims=ab).quantile(0.3, "b")
xr.DataArray(n, dims=ab).mean("b")
xr.DataArray(n, dims=ab).sum("b", skipna=True)
xr.DataArray(x, dims=ab).cumsum("b")
xr.DataArray(x, dims=ab).cumprod("b")
xr.DataArray(x, dims=ab).diff("b")
xr.DataArray(x, dims=ab).clip(-1, 1)
xr.DataArray(x, dims=ab).shift(b=1)
xr.DataArray(x, dims=ab).roll(b=1)
xr.DataArray(x, dims=ab).pad(b=1)
xr.DataArray(x, dims=ab).pad(b=1, mode="reflect")
xr.DataArray(x, dims=ab).where(xr.DataArray(x, dims=ab) > 0, 0.0)
xr.DataArray(n, dims=ab).fillna(xr.DataArray(x, dims=ab))
xr.DataArray(x, dims=ab).transpose("b", "a")
xr.DataArray(x, dims=ab).stack(z=ab)
xr.DataArray(x, dims=ab).isel(b=[0, 2])
xr.DataArray(x, dims=ab, coords=b).sel(b=2.0)
xr.DataArray(x, dims=ab, coords=b).differentiate("b")
xr.DataArray(x, dims=ab, coords=b).integrate("b")
xr.DataArray(x, dims=ab, coords=b).cumulative_integrate("b")
xr.DataArray(x, dims=ab, coords=b).groupby("b").mean()
xr.DataArray(x, dims=ab).rolling(b=2).mean()
xr.DataArray(x, dims=ab).rolling(b=2).construct("w")
xr.DataArray(x, dims=ab).coarsen(a=2).mean()
xr.DataArray(x, dims=ab).weighted(xr.DataArray(v * v, dims="b")).mean("b")
xr.DataArray(x, dims=ab).dot(xr.DataArray(v, dims="b"))
xr.DataArray(x, dims=ab).broadcast_like(xr.DataArray(c, dims=("a", "b", "c")))
xr.DataArray.real: xr.DataArray(z, dims=ab).real
xr.DataArray.__mul__: xr.DataArray(x, dims=ab) * xr.DataArray(w, dims="c") + 1
xr.dot(xr.DataArray(x, dims=ab), xr.DataArray(m, dims=("b", "c")))
xr.where(xr.DataArray(x, dims=ab) > 0, xr.DataArray(y, dims=ab), 1.0)
xr.concat([xr.DataArray(x, dims=ab), xr.DataArray(y, dims=ab)], "a")
xr.cov(xr.DataArray(x, dims=ab), xr.DataArray(y, dims=ab), "b")
xr.corr(xr.DataArray(x, dims=ab), xr.DataArray(y, dims=ab), "b")
xr.cross(xr.DataArray(x, dims=ab), xr.DataArray(y, dims=ab), dim="b")
xr.polyval(xr.DataArray(x, dims=ab), xr.DataArray(v, dims="degree", coords={"degree": [0, 1, 2]}))
xr.apply_ufunc(lambda t: t**2, xr.DataArray(x, dims=ab))
xr.ufuncs.exp(xr.DataArray(x, dims=ab))
xr.Variable(ab, x).sum("a")
xr.Dataset({"k": (ab, x), "l": ("b", v)}).mean("b")["k"]
xr.Dataset({"k": (ab, x), "l": ("b", v)}).map(lambda t: t**2)["l"]
"""
LIBRARIES = {
    "SciPy": SCIPY,
    "scikit-learn": SKLEARN,
    "array-api-extra": EXTRA,
    "einops": EINOPS,
    "xarray": XARRAY,
}

# Why a function leaves the standard, the error that says so, a part of its message, and the functions.
OUTSIDE = (
    (
        "SciPy asks the namespace for a function that the standard does not have, `xp.special`, and where it "
        "is not there calls its own compiled one; in statistics that is for the p-value",
        "ConcretizationError",
        "np.asarray",
        """
special.psi(p)
special.gamma(p)
special.exp2(x)
special.gammaincc(p, q)
special.betainc(p, q, p)
stats.chisquare(p, axis=1).statistic
stats.bartlett(w, x[0, :], y[1, :]).statistic
stats.levene(w, x[0, :], y[1, :]).statistic
stats.f_oneway(x[0, :], y[0, :], x[1, :]).statistic
stats.jarque_bera(x, axis=1).statistic
stats.normaltest(u).statistic
stats.ttest_1samp(x, 0.1, axis=1).statistic
stats.ttest_ind(x, y, axis=1).statistic
stats.ttest_rel(x, y, axis=1).statistic
stats.pearsonr(x, y, axis=1).statistic
""",
    ),
    (
        "It begins with np.asarray, for compiled code or for NumPy's",
        "ConcretizationError",
        "np.asarray",
        """
stats.obrientransform(w, v)
stats.linregress(v, y[0, :]).slope
stats.wasserstein_distance(w, v)
stats.norm.logpdf(x)
stats.multivariate_normal.logpdf(v, mean=v)
stats.gaussian_kde(w)(v)
integrate.simpson(w, dx=0.5)
signal.convolve(w, v, method="direct")
signal.detrend(w)
signal.lfilter(v, w, u)
signal.savgol_filter(u, 3, 1)
fft.dct(w)
cluster.vq.vq(x, y)[1]
ndimage.gaussian_filter(x, 1.0)
ndimage.laplace(x)
linalg.expm(m)
linalg.solve(m, v)
linalg.norm(x)
spatial.distance.cdist(x, y)
spatial.distance.pdist(x)
interpolate.CubicSpline(w, w * w)(p)
interpolate.PPoly(m, w)(p)
interpolate.interp1d(w, w * w)(p)
preprocessing.scale(x)
preprocessing.PowerTransformer().fit_transform(x)
preprocessing.RobustScaler().fit_transform(r)
linear_model.LinearRegression().fit(r, t).coef_
covariance.EmpiricalCovariance().fit(r).covariance_
gaussian_process.kernels.RBF()(x)
metrics.pairwise.haversine_distances(r, r)
xpx.lazy_apply(lambda t: t * 2, x, as_numpy=True)
xr.DataArray(x, dims=ab, coords=b).interp(b=1.5)
xr.DataArray.values: xr.DataArray(x, dims=ab).values
xr.DataArray(x, dims=ab).to_pandas()
""",
    ),
    (
        "What it returns is a Python float, by float(...); with multioutput='raw_values' the regression "
        "metrics return an array",
        "ConcretizationError",
        "float: the value",
        """
metrics.mean_squared_error(x, y)
metrics.mean_absolute_error(x, y)
metrics.r2_score(x, y)
metrics.max_error(x[0, :], y[0, :])
metrics.mean_tweedie_deviance(p[0, :], q[0, :], power=1.5)
metrics.mean_gamma_deviance(p[0, :], q[0, :])
metrics.mean_poisson_deviance(p[0, :], q[0, :])
metrics.log_loss(labels, p[0, :])
metrics.brier_score_loss(labels, p[0, :])
""",
    ),
    (
        "Its solver's loss is a Python float for compiled code",
        "ConcretizationError",
        "float: the value",
        """
integrate.quad(lambda t: s * t**2, 0.0, 1.0)[0]
linear_model.LogisticRegression(solver="lbfgs").fit(r, j).coef_
""",
    ),
    (
        "It estimates rounding by int(...) of the greatest element",
        "ConcretizationError",
        "int: the value",
        """
signal.wiener(u)
""",
    ),
    (
        "It exchanges memory by DLPack",
        "ConcretizationError",
        "from_dlpack: the value",
        """
einops.array_api.asnumpy(x)
""",
    ),
    (
        "It reads NumPy's memory: strides, a view of other numbers, a flat iterator",
        "AttributeError",
        "'Tensor' object has no attribute",
        """
linalg.toeplitz(v, w)
interpolate.RBFInterpolator(r, t)(r + 0.1)
covariance.ledoit_wolf(r)[0]
""",
    ),
    (
        "It is compiled code that asks for a buffer",
        "TypeError",
        "a bytes-like object is required",
        """
neighbors.KNeighborsRegressor(1).fit(r, t).predict(r)
""",
    ),
    (
        "It passes out=None on to the namespace, as NumPy's functions have it and the standard's do not",
        "TypeError",
        "unexpected keyword argument 'out'",
        """
xr.DataArray(x, dims=ab).polyfit("b", 1)
""",
    ),
    (
        "It knows a list of libraries; the same functions for all others are in einops.array_api",
        "RuntimeError",
        "Tensor type unknown to einops",
        """
einops.rearrange(c, "a b c -> (a b) c")
einops.reduce(c, "a b c -> a c", "mean")
einops.repeat(x, "a b -> a b r", r=2)
einops.einsum(x, m, "a b, b c -> a c")
""",
    ),
)


ELSEWHERE = {
    "torch": {
        "integrate.nsum(lambda t, k: 1 / t**k, s * 0 + 1, s * 0 + 9, args=(s,)).sum": "calls x.sum(...)",
        "signal.zpk2tf(v, w, s), signal.sos2tf(x), signal.normalize(w, v)": "takes int(...) of an element",
        "signal.minimum_phase(w)": "reads x.real",
    },
    "strict": {
        "signal.zpk2tf(v, w, s), signal.sos2tf(x), signal.normalize(w, v)": "takes int(...) of an element",
        'metrics.median_absolute_error(x, y, multioutput="raw_values")': "goes by np.asarray",
    },
}
"""By library: lines that run on its arrays, by what these can beyond the standard, and not on tensors."""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def expression(line: str) -> str:
    """What is evaluated."""
    return re.sub(r"^[\w., ]+: ", "", line)


def names(line: str) -> list[str]:
    """The functions that a line tries: what stands before the colon, or the line without its arguments."""
    told = re.match(r"([\w., ]+): ", line)
    text = told[1] if told else line
    while (shorter := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", text)) != text:
        text = shorter
    return text.split(", ")
