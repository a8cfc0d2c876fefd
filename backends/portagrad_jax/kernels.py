"""Calls where the library's namespace differs from the standard."""

from collections.abc import Callable, Mapping
from typing import Any

kernels: Mapping[str, Callable[..., Any]] = {}
