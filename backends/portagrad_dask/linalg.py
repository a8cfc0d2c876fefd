"""Linear algebra and Fourier transforms by NumPy, block by block: a matrix is one, a stack may be many."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import array_api_compat.dask.array.fft
import array_api_compat.numpy.linalg
import dask.array
import numpy

da: Any = dask.array
linalg: Any = array_api_compat.numpy.linalg
fft: Any = array_api_compat.dask.array.fft


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors of a Hermitian matrix."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """Orthonormal and triangular factor."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors."""

    U: Any
    S: Any
    Vh: Any


def blockwise(function: Callable[..., Any], signature: str, *arrays: Any, **sizes: int) -> Any:
    """Apply a NumPy function that works on stacks; dimensions in `signature` are whole in each block."""
    cores = [part.strip("()").split(",") for part in signature.partition("->")[0].split("),(")]
    # An identity tells the results' dtypes without touching the data.
    samples = [
        numpy.eye(3, dtype=a.dtype) if len(core) == 2 else numpy.ones(3 if core[0] else (), dtype=a.dtype)
        for a, core in zip(arrays, cores, strict=True)
    ]
    results = function(*samples)
    several = isinstance(results, tuple)
    return da.apply_gufunc(
        function,
        signature,
        *arrays,
        output_dtypes=tuple(r.dtype for r in results) if several else results.dtype,
        output_sizes=sizes,
        allow_rechunk=True,
    )


def cholesky(x: Any, *, upper: bool = False) -> Any:
    return blockwise(lambda a: linalg.cholesky(a, upper=upper), "(i,j)->(i,j)", x)


def cross(x1: Any, x2: Any, *, axis: int = -1) -> Any:
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: axis {axis} must have length 3, not {x1.shape[axis]} and {x2.shape[axis]}")
    rows = [da.moveaxis(x, axis, -1) for x in (x1, x2)]
    return da.moveaxis(blockwise(linalg.cross, "(i),(i)->(i)", *rows), -1, axis)


def det(x: Any) -> Any:
    return blockwise(linalg.det, "(i,j)->()", x)


def eig(x: Any) -> EigResult:
    return EigResult(*blockwise(lambda a: tuple(_complex(linalg.eig(a))), "(i,j)->(i),(i,j)", x))


def eigvals(x: Any) -> Any:
    return blockwise(lambda a: _complex([linalg.eigvals(a)])[0], "(i,j)->(i)", x)


def _complex(arrays: Any) -> list[Any]:
    """NumPy's eigenvalues are real where none of a block's is complex; Dask must know the dtype before."""
    return [a.astype(numpy.result_type(a.dtype, numpy.complex64)) for a in arrays]


def eigh(x: Any) -> EighResult:
    return EighResult(*blockwise(lambda a: tuple(linalg.eigh(a)), "(i,j)->(i),(i,j)", x))


def eigvalsh(x: Any) -> Any:
    return blockwise(linalg.eigvalsh, "(i,j)->(i)", x)


def inv(x: Any) -> Any:
    return blockwise(linalg.inv, "(i,j)->(i,j)", x)


def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    y = blockwise(lambda a: linalg.matrix_norm(a, ord=ord), "(i,j)->()", x)
    return y[..., None, None] if keepdims else y


def matrix_power(x: Any, n: int) -> Any:
    return blockwise(lambda a: linalg.matrix_power(a, n), "(i,j)->(i,j)", x)


def matrix_rank(x: Any, *, rtol: Any = None) -> Any:
    if isinstance(rtol, da.Array):
        return blockwise(lambda a, r: linalg.matrix_rank(a, rtol=r), "(i,j),()->()", x, rtol)
    return blockwise(lambda a: numpy.asarray(linalg.matrix_rank(a, rtol=rtol)), "(i,j)->()", x)


def pinv(x: Any, *, rtol: Any = None) -> Any:
    if isinstance(rtol, da.Array):
        return blockwise(lambda a, r: linalg.pinv(a, rtol=r), "(i,j),()->(j,i)", x, rtol)
    return blockwise(lambda a: linalg.pinv(a, rtol=rtol), "(i,j)->(j,i)", x)


def qr(x: Any, *, mode: str = "reduced") -> QRResult:
    m, n = x.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    return QRResult(*blockwise(lambda a: tuple(linalg.qr(a, mode=mode)), "(i,j)->(i,k),(k,j)", x, k=k))


def slogdet(x: Any) -> SlogdetResult:
    return SlogdetResult(*blockwise(lambda a: tuple(linalg.slogdet(a)), "(i,j)->(),()", x))


def solve(x1: Any, x2: Any) -> Any:
    signature = "(i,j),(j)->(i)" if x2.ndim == 1 else "(i,j),(j,k)->(i,k)"
    return blockwise(linalg.solve, signature, x1, x2)


def svd(x: Any, *, full_matrices: bool = True) -> SVDResult:
    m, n = x.shape[-2:]
    k = min(m, n)
    left, right = (m, n) if full_matrices else (k, k)
    parts = blockwise(
        lambda a: tuple(linalg.svd(a, full_matrices=full_matrices)),
        "(i,j)->(i,p),(k),(q,j)",
        x,
        p=left,
        k=k,
        q=right,
    )
    return SVDResult(*parts)


def svdvals(x: Any) -> Any:
    return blockwise(linalg.svdvals, "(i,j)->(k)", x, k=min(x.shape[-2:]))


def _on_whole_axes(name: str) -> Callable[..., Any]:
    """Dask transforms along axes that are one chunk only: make them so first."""
    transform = getattr(fft, name)

    def one(x: Any, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
        return transform(x.rechunk({axis % x.ndim: -1}), n=n, axis=axis, norm=norm)

    def several(x: Any, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Any:
        last = range(x.ndim) if s is None else range(-len(s), 0)
        whole = x.rechunk({axis % x.ndim: -1 for axis in (last if axes is None else axes)})
        return transform(whole, s=s, axes=axes, norm=norm)

    return several if name.endswith("n") else one


kernels: Mapping[str, Callable[..., Any]] = {
    **{
        f"linalg.{function.__name__}": function
        for function in (
            *(
                cholesky,
                cross,
                det,
                eig,
                eigh,
                eigvals,
                eigvalsh,
                inv,
                matrix_norm,
                matrix_power,
                matrix_rank,
            ),
            *(pinv, qr, slogdet, solve, svd, svdvals),
        )
    },
    **{
        f"fft.{name}": _on_whole_axes(name)
        for name in (
            *("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"),
            *("fftn", "ifftn", "rfftn", "irfftn"),
        )
    },
}
