"""Namespaces in which every array lives in an open trace: conformance suites then exercise the dispatch.

``ARRAY_API_TESTS_MODULE="exec('from portagrad.testing.traced import numpy_reverse as xp')"`` runs
array-api-tests on one; likewise ``numpy_forward``, and the other backends' names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from portagrad.backend import KIND, get_backend
from portagrad.kernel import namespace
from portagrad.namespace import MAKERS, Namespace, namespace_on
from portagrad.tensor import CONSTANT, Tensor
from portagrad.transforms.forward import ForwardTrace
from portagrad.transforms.record import ReverseTrace
from portagrad.transforms.reverse import leaf


class _OpenReverse(ReverseTrace):
    """A reverse trace that is never closed, whose values may be looked at: a suite compares them."""

    __slots__ = ()
    plain = True


class _OpenForward(ForwardTrace):
    """The same for forward mode."""

    __slots__ = ()
    plain = True


class TracedNamespace:
    """A namespace of tensors whose creation functions return values of an open trace.

    Parameters
    ----------
    backend : str
        The library's name.
    mode : str
        ``"reverse"`` or ``"forward"``.

    Examples
    --------
    >>> xp = TracedNamespace("numpy", "reverse")
    >>> x = xp.ones(3)
    >>> x.requires_grad, float(xp.sum(x))
    (True, 3.0)
    """

    def __init__(self, backend: str, mode: str) -> None:
        traces: dict[str, Callable[[], Any]] = {"reverse": _OpenReverse, "forward": _OpenForward}
        if mode not in traces:
            raise ValueError(f"TracedNamespace: mode is {mode!r}; it must be 'reverse' or 'forward'")
        self._trace = traces[mode]()
        self._plain: Namespace = namespace_on(get_backend(backend))
        self.__name__ = f"portagrad.testing.traced.{backend}_{mode}"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        if name not in MAKERS and name not in ("asarray", "from_dlpack"):
            return found

        @functools.wraps(found)
        def make(*args: Any, **kwargs: Any) -> Any:
            return self._traced(found(*args, **kwargs))

        return make

    def __dir__(self) -> list[str]:
        return dir(self._plain)

    def _traced(self, y: Any) -> Any:
        """A constant as a value of the trace, if it has a derivative."""
        if isinstance(y, tuple | list):
            return type(y)(map(self._traced, y))
        if not isinstance(y, Tensor) or y.trace is not CONSTANT or not KIND[y.dtype]:
            return y
        x = y.value
        reverse = isinstance(self._trace, ReverseTrace)
        return Tensor(self._trace, x, leaf(x) if reverse else namespace(x).zeros_like(x))


@functools.cache
def _named(backend: str, mode: str) -> TracedNamespace:
    return TracedNamespace(backend, mode)


def __getattr__(name: str) -> Any:
    """``numpy_reverse``, ``numpy_forward``, ``torch_reverse``, ..."""
    backend, _, mode = name.rpartition("_")
    if not backend or backend.startswith("_") or mode not in ("reverse", "forward"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _named(backend, mode)
