"""Arrays whose memory a compiled function has taken: to use one is an error."""

from __future__ import annotations

import functools
from typing import Any

import numpy

MESSAGE = "this array was donated to a compiled function, which has overwritten it; use what that returned"


@functools.cache
def given_away(dtype: Any) -> Any:
    """The dtype that a donated array is left with: no ufunc takes it, and its name says why."""
    return numpy.dtype([(MESSAGE, dtype)])
