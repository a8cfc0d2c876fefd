"""The exceptions portagrad raises; all derive from `Error`."""

from __future__ import annotations


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
    """A NumPy function, or an argument of one, does not work on tensors; the message names the nearest."""


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


class CheckpointError(Error, ValueError):
    """A file of weights or a checkpoint is damaged or of another kind."""
