"""Discrete Fourier transforms: linear, so the question is only what their transposes are.

A transform over the whole of an axis is a symmetric matrix, its own transpose. Cutting or padding the axis
to `n` elements first is transposed to padding or cutting it afterwards. Where half of a spectrum stands for
the other half as well, `hfft` of a spectrum with those frequencies halved is the transpose of `rfft`, and
`ihfft` with them doubled that of `irfft`; and the other way round.
"""

from typing import Any

from portagrad.op import case, linear


def fitted(x: Any, axis: int, n: int, xp: Any) -> Any:
    """`x` with `n` elements along an axis: cut, or padded with zeros."""
    shape = tuple(x.shape)
    axis %= len(shape)
    if shape[axis] > n:
        return x[(slice(None),) * axis + (slice(0, n), ...)]
    if shape[axis] == n:
        return x
    missing = (*shape[:axis], n - shape[axis], *shape[axis + 1 :])
    return xp.concat([x, xp.zeros(missing, dtype=x.dtype, device=xp.device_of(x))], axis=axis)


def weighted(x: Any, axis: int, n: int, weight: float, xp: Any) -> Any:
    """Half of a spectrum of `n` frequencies, those multiplied by `weight` that stand for two of them."""
    axis %= len(x.shape)
    half = x.shape[axis]
    k = xp.reshape(xp.arange(half, device=xp.device_of(x)), (-1, *[1] * (len(x.shape) - axis - 1)))
    return xp.where((k > 0) & (2 * k < n), x * weight, x)


def axes_of(ndim: int, s: Any, axes: Any) -> list[int]:
    """The axes of a transform over several, from the arguments that may leave them out."""
    if axes is None:
        return list(range(0 if s is None else ndim - len(s), ndim))
    return [axis % ndim for axis in axes]


def whole(g: Any, shape: Any, axis: int, transform: Any, norm: str, xp: Any) -> Any:
    """The transpose of a transform over the whole of an axis, by the transform itself."""
    return fitted(transform(g, axis=axis, norm=norm), axis, shape[axis], xp)


def several(g: Any, shape: Any, axes: list[int], transform: Any, norm: str, xp: Any) -> Any:
    """The same over several axes."""
    if axes:
        g = transform(g, axes=tuple(axes), norm=norm)
    for axis in axes:
        g = fitted(g, axis, shape[axis], xp)
    return g


def fft_transpose(g: Any, x_like: Any, axis: int, norm: str, xp: Any) -> Any:
    return whole(g, x_like.shape, axis, xp.fft.fft, norm, xp)


def ifft_transpose(g: Any, x_like: Any, axis: int, norm: str, xp: Any) -> Any:
    return whole(g, x_like.shape, axis, xp.fft.ifft, norm, xp)


def fftn_transpose(g: Any, x_like: Any, s: Any, axes: Any, norm: str, xp: Any) -> Any:
    return several(g, x_like.shape, axes_of(len(g.shape), s, axes), xp.fft.fftn, norm, xp)


def ifftn_transpose(g: Any, x_like: Any, s: Any, axes: Any, norm: str, xp: Any) -> Any:
    return several(g, x_like.shape, axes_of(len(g.shape), s, axes), xp.fft.ifftn, norm, xp)


def rfft_transpose(g: Any, x_like: Any, n: int | None, axis: int, norm: str, xp: Any) -> Any:
    length = x_like.shape[axis] if n is None else n
    back = xp.fft.hfft(weighted(g, axis, length, 0.5, xp), n=length, axis=axis, norm=norm)
    return fitted(back, axis, x_like.shape[axis], xp)


def ihfft_transpose(g: Any, x_like: Any, n: int | None, axis: int, norm: str, xp: Any) -> Any:
    length = x_like.shape[axis] if n is None else n
    back = xp.fft.irfft(weighted(g, axis, length, 0.5, xp), n=length, axis=axis, norm=norm)
    return fitted(back, axis, x_like.shape[axis], xp)


def irfft_transpose(g: Any, x_like: Any, axis: int, norm: str, xp: Any) -> Any:
    back = weighted(xp.fft.ihfft(g, axis=axis, norm=norm), axis, g.shape[axis], 2.0, xp)
    return fitted(back, axis, x_like.shape[axis], xp)


def hfft_transpose(g: Any, x_like: Any, axis: int, norm: str, xp: Any) -> Any:
    back = weighted(xp.fft.rfft(g, axis=axis, norm=norm), axis, g.shape[axis], 2.0, xp)
    return fitted(back, axis, x_like.shape[axis], xp)


def rfftn_transpose(g: Any, x_like: Any, s: Any, axes: Any, norm: str, xp: Any) -> Any:
    """The last axis was transformed first, so it goes back last."""
    *others, last = axes_of(len(g.shape), s, axes)
    g = several(g, x_like.shape, others, xp.fft.fftn, norm, xp)
    return rfft_transpose(g, x_like, None if s is None else s[-1], last, norm, xp)


def irfftn_transpose(g: Any, x_like: Any, s: Any, axes: Any, norm: str, xp: Any) -> Any:
    *others, last = axes_of(len(g.shape), s, axes)
    g = irfft_transpose(g, x_like, last, norm, xp)
    return several(g, x_like.shape, others, xp.fft.ifftn, norm, xp)


NORM = (
    'which direction is divided by the number of elements: ``"forward"``, ``"backward"`` '
    'or ``"ortho"``, both by its root'
)

fft = linear(
    "fft.fft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    fft_transpose,
    cases=(
        case((2, 3)),
        case((4, 2), n=3, axis=0, norm="ortho"),
        case((3,), n=5, norm="forward"),
    ),
    dtypes="complex",
    since="2022.12",
    batch="along",
    doc="Discrete Fourier transform.\n"
    "n: int; how many elements to cut or pad the axis to\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
ifft = linear(
    "fft.ifft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    ifft_transpose,
    cases=(
        case((2, 3)),
        case((4, 2), n=3, axis=0, norm="ortho"),
        case((3,), n=5, norm="forward"),
    ),
    dtypes="complex",
    since="2022.12",
    batch="along",
    doc="Inverse discrete Fourier transform.\n"
    "n: int; how many elements to cut or pad the axis to\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
fftn = linear(
    "fft.fftn",
    '(x, /, *, s=None, axes=None, norm="backward")',
    fftn_transpose,
    cases=(
        case((2, 3)),
        case((2, 3, 4), s=(3, 2), axes=(0, 2), norm="ortho"),
        case((2, 3), axes=(1,), norm="forward"),
    ),
    dtypes="complex",
    since="2022.12",
    batch="spectral",
    doc="Discrete Fourier transform over several axes.\n"
    "s: tuple of int; how many elements to cut or pad each axis to\n"
    "axes: tuple of int; the axes, by default the last `len(s)`, or all\n"
    f"norm: str; {NORM}",
)
ifftn = linear(
    "fft.ifftn",
    '(x, /, *, s=None, axes=None, norm="backward")',
    ifftn_transpose,
    cases=(
        case((2, 3)),
        case((2, 3, 4), s=(3, 2), axes=(0, 2), norm="ortho"),
        case((2, 3), axes=(1,), norm="forward"),
    ),
    dtypes="complex",
    since="2022.12",
    batch="spectral",
    doc="Inverse discrete Fourier transform over several axes.\n"
    "s: tuple of int; how many elements to cut or pad each axis to\n"
    "axes: tuple of int; the axes, by default the last `len(s)`, or all\n"
    f"norm: str; {NORM}",
)
rfft = linear(
    "fft.rfft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    rfft_transpose,
    cases=(
        case((2, 4)),
        case((3, 2), n=5, axis=0, norm="ortho"),
        case((5,), n=4, norm="forward"),
        case((5,)),
    ),
    dtypes="floating",
    since="2022.12",
    batch="along",
    doc="Discrete Fourier transform of real numbers: the half of the spectrum that is not negative.\n"
    "n: int; how many elements to cut or pad the axis to\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
irfft = linear(
    "fft.irfft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    irfft_transpose,
    cases=(
        case((2, 3)),
        case((3, 2), n=5, axis=0, norm="ortho"),
        case((4,), n=4, norm="forward"),
        case((2,), n=6),
    ),
    dtypes="complex",
    since="2022.12",
    batch="along",
    doc="Real numbers from half of their spectrum: the inverse of `rfft`.\n"
    "n: int; the result's length, by default the even one\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
rfftn = linear(
    "fft.rfftn",
    '(x, /, *, s=None, axes=None, norm="backward")',
    rfftn_transpose,
    cases=(
        case((2, 4)),
        case((3, 2, 4), s=(2, 5), axes=(2, 0), norm="ortho"),
        case((2, 3), axes=(0,), norm="forward"),
    ),
    dtypes="floating",
    since="2022.12",
    batch="spectral",
    doc="Discrete Fourier transform of real numbers over several axes, half of the last.\n"
    "s: tuple of int; how many elements to cut or pad each axis to\n"
    "axes: tuple of int; the axes, by default the last `len(s)`, or all\n"
    f"norm: str; {NORM}",
)
irfftn = linear(
    "fft.irfftn",
    '(x, /, *, s=None, axes=None, norm="backward")',
    irfftn_transpose,
    cases=(
        case((2, 3)),
        case((3, 2, 4), s=(2, 5), axes=(2, 0), norm="ortho"),
        case((3, 2), axes=(0,), norm="forward"),
    ),
    dtypes="complex",
    since="2022.12",
    batch="spectral",
    doc="Real numbers from half of their spectrum over several axes: the inverse of `rfftn`.\n"
    "s: tuple of int; how many elements to cut or pad each axis to, the last being the result's length\n"
    "axes: tuple of int; the axes, by default the last `len(s)`, or all\n"
    f"norm: str; {NORM}",
)
hfft = linear(
    "fft.hfft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    hfft_transpose,
    cases=(
        case((2, 3)),
        case((3, 2), n=5, axis=0, norm="ortho"),
        case((4,), n=4, norm="forward"),
        case((2,), n=6),
    ),
    dtypes="complex",
    since="2022.12",
    batch="along",
    doc="The real spectrum of a signal of which half is given, the rest being conjugate.\n"
    "n: int; the result's length, by default the even one\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
ihfft = linear(
    "fft.ihfft",
    '(x, /, *, n=None, axis=-1, norm="backward")',
    ihfft_transpose,
    cases=(
        case((2, 4)),
        case((3, 2), n=5, axis=0, norm="ortho"),
        case((5,), n=4, norm="forward"),
        case((5,)),
    ),
    dtypes="floating",
    since="2022.12",
    batch="along",
    doc="Half of the signal whose spectrum is real: the inverse of `hfft`.\n"
    "n: int; how many elements to cut or pad the axis to\n"
    "axis: int; the axis\n"
    f"norm: str; {NORM}",
)
fftshift = linear(
    "fft.fftshift",
    "(x, /, *, axes=None)",
    lambda g, axes, xp: xp.fft.ifftshift(g, axes=axes),
    cases=(case((2, 3)), case((5, 2), axes=0), case((2, 3, 4), axes=(1, -1))),
    since="2022.12",
    batch="spectral",
    doc="The zero frequency moved from the start of axes to their middle.\n"
    "axes: int or tuple of int; the axes, by default all",
)
ifftshift = linear(
    "fft.ifftshift",
    "(x, /, *, axes=None)",
    lambda g, axes, xp: xp.fft.fftshift(g, axes=axes),
    cases=(case((2, 3)), case((5, 2), axes=0), case((2, 3, 4), axes=(1, -1))),
    since="2022.12",
    batch="spectral",
    doc="The zero frequency moved from the middle of axes to their start.\n"
    "axes: int or tuple of int; the axes, by default all",
)
