"""The exceptions portagrad raises; all derive from `Error`."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any


class Error(Exception):
    """Base of every exception that portagrad itself raises."""


class BackendUnavailableError(Error, ImportError):
    """An array library or its driver is missing; the message says what to install."""


class DeviceMismatchError(Error, TypeError):
    """Arguments of one op live on different devices or belong to different libraries."""


class NonDifferentiableError(Error, TypeError):
    """A derivative was asked for where there is none: integer inputs, or an op without a rule."""


class ConcretizationError(Error, TypeError):
    """A traced value was used where a Python number or a NumPy array is needed."""


class NoCounterpartError(Error, TypeError):
    """A NumPy function does not work on tensors, or an op cannot be written in ONNX; the text says more."""


class LeakedTraceError(Error, RuntimeError):
    """A tensor outlived the transform that made it."""


class SavedValueMutatedError(Error, RuntimeError):
    """An array that the backward pass needs was changed in place after the forward pass read it."""


class OutOfMemoryError(Error, MemoryError):
    """A device ran out of memory; the message names the op."""


class NonFiniteError(Error, ArithmeticError):
    """A checked function made a NaN or an infinity; the message names the op."""


class ConvergenceError(Error, ArithmeticError):
    """A solver has not converged; the message says how far it came and what to try."""


class ConfigError(Error, ValueError):
    """A setting or a configuration file is wrong; one line says where and how."""


class DataError(Error, ValueError):
    """A data file is wrong; one line says where and how."""


class DistributedError(Error, RuntimeError):
    """The processes of a job do not do the same, or MPI is missing or failed; the text says which rank."""


class CheckpointError(Error, ValueError):
    """A file of weights or a checkpoint is damaged or of another kind."""


def note_call(error: BaseException, name: str, args: Iterable[Any], params: Mapping[str, Any]) -> None:
    """Note on another's exception which op it comes from, and what that was given.

    Type and message stay the library's own. Portagrad's messages begin with the op's name already, and where
    an op runs another one each has its note, the inner one first.
    """
    if isinstance(error, Error) or str(error).startswith(f"{name}: "):
        return
    given = [*map(brief, args), *[f"{key}={brief(value)}" for key, value in params.items()]]
    note = f"in {name}({', '.join(given)})"
    if note not in getattr(error, "__notes__", ()):  # one level of tracing further in
        error.add_note(note)


def brief(value: Any) -> str:
    """An argument as messages show it: dtype and shape of an array, other values shortened."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(brief, value))})"
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if isinstance(value, type) or dtype is None or not isinstance(shape, tuple):
        return reprlib.repr(value)
    return f"{str(dtype).rpartition('.')[2]} {tuple(shape)}"
