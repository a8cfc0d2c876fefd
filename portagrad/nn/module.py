"""Module: a frozen dataclass that is a pytree, and the fields of one that are static."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Self, dataclass_transform

import optree

from portagrad.op import define
from portagrad.transforms.tree import SPACE, fill, is_array

_WIDTH = 88  # a longer repr is broken over lines


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """A field that belongs to a module's structure and not to its arrays: a size, a rate, a function.

    Its value must be hashable, since compiled functions are kept by structure.

    Parameters
    ----------
    default
        The field's default; without one the field must be given.

    Examples
    --------
    >>> class Power(Module):
    ...     exponent: int = static(default=2)
    >>> Power(3)
    Power(exponent=3)
    """
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(static,))
class Module:
    """A part of a network: a frozen dataclass whose fields are the children of a pytree.

    A subclass annotates its fields and is made a dataclass and registered. Fields hold arrays, other modules,
    or pytrees of them; what is neither is declared `static`. So a module is differentiated, moved to a device
    and updated by an optimizer as any pytree is, and it never changes: `replace` makes another.

    Two modules are equal when they are the same object; arrays are never compared.

    Examples
    --------
    >>> class Scale(Module):
    ...     factor: Any
    ...     power: int = static(default=1)
    ...
    ...     def __call__(self, x):
    ...         return self.factor**self.power * x
    >>> scale = Scale(np.asarray([2.0, 3.0]))
    >>> scale
    Scale(factor=float64[2], power=1)
    >>> pg.grad(lambda scale: pg.sum(scale(np.asarray([1.0, 10.0]))))(scale).factor
    array([ 1., 10.])
    """

    __leaves__ = None  # what `transforms.tree.flatten` remembers; no annotation, so not a field

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        made: Any = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        for field in dataclasses.fields(made):
            default = getattr(made, field.name, dataclasses.MISSING)
            setattr(made, field.name, _Field(field.name, default))
        flatten, unflatten = _flattening(made)
        optree.register_pytree_node(
            made, flatten, unflatten, path_entry_type=optree.GetAttrEntry, namespace=SPACE
        )

    def __post_init__(self) -> None:
        """Refuse values that would fail later and elsewhere: in a gradient, or in a look-up by structure.

        Not run where a transform rebuilds a module with other leaves.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            where = f"{type(self).__name__}.{field.name}"
            if "static" in field.metadata:
                _check_static(where, value)
            elif isinstance(value, str | bytes | int) or (callable(value) and not isinstance(value, Module)):
                raise TypeError(
                    f"{where}: {_shown(value)} ({type(value).__name__}) is neither an array nor a module; "
                    f"declare the field static, `{field.name}: {type(value).__name__} = nn.static()`"
                )

    def replace(self, **changes: Any) -> Self:
        """The same module with other values in some fields.

        Parameters
        ----------
        **changes
            New values by the names of fields.

        Raises
        ------
        TypeError
            If there is no field of that name.

        Examples
        --------
        >>> pg.nn.Linear(np.ones((2, 3)), np.zeros(3)).replace(bias=None)
        Linear(weight=float64[2, 3], bias=None)
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        for name in changes:
            if name not in values:
                near = get_close_matches(name, values, 1)
                hint = f"; the nearest is {near[0]}" if near else ""
                raise TypeError(
                    f"{type(self).__name__}.replace: no field {name!r}{hint}; it has {', '.join(values)}"
                )
        made = object.__new__(type(self))
        for name, value in {**values, **changes}.items():
            object.__setattr__(made, name, value)
        made.__post_init__()
        return made

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: the fields, without what `flatten` remembers."""
        fill(self)
        return {name: value for name, value in self.__dict__.items() if name != "__leaves__"}

    def __repr__(self) -> str:
        fields = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        return _enclosed(
            f"{type(self).__name__}(", [f"{name}={_shown(getattr(self, name))}" for name in fields], ")"
        )


class _Field:
    """A field where it is no attribute of the object: of a class its default, and of a module that a
    transform has made, and nobody has looked into yet, what `fill` puts there."""

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default

    def __get__(self, module: Any, cls: type) -> Any:
        if module is not None:
            fill(module)
            if self.name in module.__dict__:
                return module.__dict__[self.name]
        if self.default is dataclasses.MISSING:
            whose = f"type object {cls.__name__!r}" if module is None else f"{cls.__name__!r} object"
            raise AttributeError(f"{whose} has no attribute {self.name!r}")
        return self.default


def _flattening(cls: type) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How a module is taken apart, and put together without its ``__init__``.

    Written as source: a training step does this a dozen times per layer.
    """
    fields = dataclasses.fields(cls)
    children = tuple(f.name for f in fields if "static" not in f.metadata)
    statics = tuple(f.name for f in fields if "static" in f.metadata)
    env = {"cls": cls, "children": children, "new": object.__new__, "put": object.__setattr__}
    flatten = define(
        f"def flatten(module):\n"
        f"    return ({''.join(f'module.{name}, ' for name in children)}), "
        f"({''.join(f'module.{name}, ' for name in statics)}), children",
        "flatten",
        env,
    )
    lines = [
        "def unflatten(static, values):",
        "module = new(cls)",
        *[f"put(module, {name!r}, values[{i}])" for i, name in enumerate(children)],
        *[f"put(module, {name!r}, static[{i}])" for i, name in enumerate(statics)],
        "return module",
    ]
    return flatten, define("\n    ".join(lines), "unflatten", env)


def _check_static(where: str, value: Any) -> None:
    if is_array(value):
        raise TypeError(f"{where}: an array cannot be static; declare the field without nn.static()")
    try:
        hash(value)
    except TypeError:
        hint = "; give it as a tuple" if isinstance(value, list) else ""
        raise TypeError(
            f"{where}: a static field must be hashable, not a {type(value).__name__}{hint}"
        ) from None


def _shown(value: Any) -> str:
    """A value in a module's repr: arrays as dtype and shape, functions by name."""
    if type(value) in (tuple, list):
        left, right = "()" if type(value) is tuple else "[]"
        parts = [_shown(part) for part in value]
        return _enclosed(left, parts, f",{right}" if len(parts) == 1 and left == "(" else right)
    if type(value) is dict:
        return _enclosed("{", [f"{key!r}: {_shown(part)}" for key, part in value.items()], "}")
    if is_array(value):
        return f"{str(value.dtype).rpartition('.')[2]}{list(value.shape)}"
    if callable(value) and not isinstance(value, Module):
        return str(getattr(value, "__name__", value))
    return repr(value)


def _enclosed(left: str, parts: Sequence[str], right: str) -> str:
    line = f"{left}{', '.join(parts)}{right}"
    if "\n" not in line and len(line) <= _WIDTH:
        return line
    lines = [f"  {text}" for part in parts for text in f"{part},".splitlines()]
    return "\n".join([left, *lines, right.lstrip(",")])
