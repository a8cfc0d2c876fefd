"""Triangles; the rest of the standard's creation functions make constants."""

from portagrad.op import case, linear

CREATION = {
    "arange": (
        "(start, /, stop=None, step=1, *, dtype=None, device=None)",
        "Numbers from `start` up to `stop`, that one excluded.\n"
        "start: number; the first, or without `stop` the end, the first being 0\n"
        "stop: number\n"
        "step: number; between neighbours",
    ),
    "empty": ("(shape, *, dtype=None, device=None)", "An array whose values are still to come."),
    "empty_like": ("(x, /, *, dtype=None, device=None)", "An array like another, its values still to come."),
    "eye": (
        "(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)",
        "A matrix with ones on a diagonal, zeros elsewhere.\n"
        "n_rows: int\n"
        "n_cols: int; by default `n_rows`\n"
        "k: int; the diagonal: 0 the main one, positive above it",
    ),
    "from_dlpack": (
        "(x, /, *, device=None, copy=None)",
        "An array of another library, by the DLPack protocol.\n"
        "x: object; with ``__dlpack__`` and ``__dlpack_device__``",
    ),
    "full": (
        "(shape, fill_value, *, dtype=None, device=None)",
        "An array of one value.\nfill_value: number",
    ),
    "full_like": (
        "(x, /, fill_value, *, dtype=None, device=None)",
        "An array of one value, like another.\nfill_value: number",
    ),
    "linspace": (
        "(start, stop, /, num, *, dtype=None, device=None, endpoint=True)",
        "So many numbers at even distances.\n"
        "start: number; the first\n"
        "stop: number; the last, if that is included\n"
        "num: int; how many\n"
        "endpoint: bool; whether `stop` is included",
    ),
    "ones": ("(shape, *, dtype=None, device=None)", "An array of ones."),
    "ones_like": ("(x, /, *, dtype=None, device=None)", "An array of ones, like another."),
    "zeros": ("(shape, *, dtype=None, device=None)", "An array of zeros."),
    "zeros_like": ("(x, /, *, dtype=None, device=None)", "An array of zeros, like another."),
}
"""Functions that make arrays of numbers, with signature and docstring: their results are constants."""

FREQUENCIES = {
    "fft.fftfreq": (
        "(n, /, *, d=1.0, dtype=None, device=None)",
        "The frequencies of a discrete Fourier transform, from 0 up and then the negative ones.\n"
        "n: int; length of the transform\n"
        "d: float; distance between samples",
    ),
    "fft.rfftfreq": (
        "(n, /, *, d=1.0, dtype=None, device=None)",
        "The frequencies of a discrete Fourier transform of real numbers, from 0 up.\n"
        "n: int; length of the transform\n"
        "d: float; distance between samples",
    ),
}

tril = linear(
    "tril",
    "(x, /, *, k=0)",
    lambda g, k, xp: xp.tril(g, k=k),
    cases=(case((3, 3)), case((2, 3, 4), k=1)),
    batch="trailing",
    doc="The lower triangle of matrices, zeros above it.\n"
    "k: int; the last diagonal kept: 0 the main one, positive above it",
)
triu = linear(
    "triu",
    "(x, /, *, k=0)",
    lambda g, k, xp: xp.triu(g, k=k),
    cases=(case((3, 3)), case((2, 3, 4), k=-1)),
    batch="trailing",
    doc="The upper triangle of matrices, zeros below it.\n"
    "k: int; the first diagonal kept: 0 the main one, positive above it",
)
