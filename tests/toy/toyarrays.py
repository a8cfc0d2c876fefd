"""A stranger's array library: NumPy underneath, and no relation of NumPy's to anyone who looks."""

import math
from types import SimpleNamespace

import array_api_compat.numpy as _np


class ToyboxFull(Exception):
    """The library's own way to say that memory is exhausted."""


class ToyArray:
    """An array that holds a NumPy array and shows nothing of it but the standard's attributes."""

    __array_ufunc__ = None

    def __init__(self, held):
        self.held = _np.asarray(held)
        if self.held.size > 1000:
            raise ToyboxFull("no toy has more than 1000 parts")

    shape = property(lambda self: self.held.shape)
    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: math.prod(self.held.shape))
    device = property(lambda self: "toybox")

    def __array_namespace__(self, api_version=None):
        return namespace

    def __getitem__(self, key):
        return ToyArray(self.held[_held(key)])

    def __setitem__(self, key, value):
        self.held[_held(key)] = _held(value)

    def __bool__(self):
        return bool(self.held)

    def __float__(self):
        return float(self.held)


def _operator(name):
    def operate(self, *others):
        found = getattr(self.held, name)(*map(_held, others))
        return found if found is NotImplemented else ToyArray(found)

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(ToyArray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ToyArray, f"__r{_name}__", _operator(f"__r{_name}__"))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ToyArray, f"__{_name}__", _operator(f"__{_name}__"))


def _held(value):
    if isinstance(value, tuple | list):
        return type(value)(map(_held, value))
    return value.held if isinstance(value, ToyArray) else value


def _wrapped(function):
    def call(*args, **kwargs):
        kwargs.pop("device", None)
        found = function(*map(_held, args), **{name: _held(value) for name, value in kwargs.items()})
        if isinstance(found, tuple | list):
            return tuple(map(ToyArray, found))
        return ToyArray(found) if isinstance(found, _np.ndarray | _np.generic) else found

    return call


_QUESTIONS = ("isdtype", "result_type", "can_cast", "finfo", "iinfo", "bool", "broadcast_shapes")
namespace = SimpleNamespace(
    **{
        name: _wrapped(found) if callable(found) and not isinstance(found, type) else found
        for name, found in vars(_np).items()
        if not name.startswith("_") and name not in _QUESTIONS
    },
    **{name: getattr(_np, name) for name in _QUESTIONS if hasattr(_np, name)},
)
namespace.result_type = lambda *args: _np.result_type(*map(_held, args))
