"""The functions of the array API standard (2025.12) in its main namespace."""

# Those with a derivative, which may be zero (floor) or exist for some arguments only (copysign).
DIFFERENTIABLE = """
    abs acos acosh add asin asinh astype atan atan2 atanh broadcast_arrays broadcast_to ceil clip
    concat conj copysign cos cosh cumulative_prod cumulative_sum diff divide exp expand_dims expm1
    flip floor floor_divide hypot imag log log10 log1p log2 logaddexp matmul matrix_transpose max
    maximum mean meshgrid min minimum moveaxis multiply negative nextafter permute_dims positive pow
    prod real reciprocal remainder repeat reshape roll round sign sin sinh sort sqrt square squeeze stack
    std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc unstack var vecdot where
""".split()  # noqa: SIM905 - a list of a hundred lines otherwise

# Those that return integers, booleans, dtypes or constants; asarray passes on what it is given.
OTHERS = """
    all any arange argmax argmin argsort asarray bitwise_and bitwise_invert bitwise_left_shift bitwise_or
    bitwise_right_shift bitwise_xor broadcast_shapes can_cast count_nonzero empty empty_like equal
    eye finfo from_dlpack full full_like greater greater_equal iinfo isdtype isfinite isin isinf isnan
    less less_equal linspace logical_and logical_not logical_or logical_xor nonzero not_equal ones ones_like
    result_type searchsorted signbit unique_all unique_counts unique_inverse unique_values zeros zeros_like
""".split()  # noqa: SIM905

# Those of the extensions, by their qualified names.
EXTENSIONS = """
    linalg.cholesky linalg.cross linalg.det linalg.diagonal linalg.eig linalg.eigh linalg.eigvals
    linalg.eigvalsh linalg.inv linalg.matmul linalg.matrix_norm linalg.matrix_power linalg.matrix_rank
    linalg.matrix_transpose linalg.outer linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd
    linalg.svdvals linalg.tensordot linalg.trace linalg.vecdot linalg.vector_norm fft.fft fft.fftfreq fft.fftn
    fft.fftshift fft.hfft fft.ifft fft.ifftn fft.ifftshift fft.ihfft fft.irfft fft.irfftn fft.rfft
    fft.rfftfreq fft.rfftn
""".split()  # noqa: SIM905
