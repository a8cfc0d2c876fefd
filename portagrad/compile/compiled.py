"""pg.compile: a function traced once for each kind of arguments, and run as a plan from then on."""

from __future__ import annotations

import functools
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE
from portagrad.compile.program import Program, backend_among
from portagrad.compile.pullback import Differentiated, differentiating
from portagrad.device import device_of, transfer
from portagrad.tensor import CONSTANT, Tensor, hold, raw
from portagrad.trace import Traced
from portagrad.transforms.equations import Graph
from portagrad.transforms.tree import Varying, flatten, is_array, unflatten

KEPT = 64
"""How many traces a compiled function keeps; the one that was used longest ago goes first."""
THRASHING = 8
"""How many traces of one function are many: from then on it says what changes."""


class Compiled:
    """What `pg.compile` returns: call it as the function it was made of."""

    def __init__(self, f: Callable[..., Any], donate: Sequence[int]) -> None:
        functools.update_wrapper(self, f)
        self.__name__ = getattr(f, "__name__", type(f).__name__)
        self.f = f
        self.donate = frozenset(donate)
        self.programs: OrderedDict[Any, Program] = OrderedDict()
        self.differentiated: OrderedDict[Any, Differentiated] = OrderedDict()
        self.last: Program | None = None
        self.named: Compiled | None = None
        self.lock = threading.RLock()
        self.traces = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            return self._with_keywords(args, kwargs)
        leaves: list[Any] = []
        structures: list[Any] = []
        for arg in args:
            if BY_TYPE[type(arg)] is not None:
                leaves.append(arg)
                structures.append(None)
            else:
                its, structure = flatten(arg)
                leaves += its
                structures.append(structure)
        program = self.last
        if program is None or not program.fits(structures, leaves):
            if any(type(x) is Varying for x in leaves):
                beside = next((x for x in leaves if is_array(x)), None)
                leaves = [_lifted(x, beside) for x in leaves]
                return self(*_rebuilt(structures, leaves))
            traced = [x for x in leaves if isinstance(x, Traced)]
            if any(x.trace is not CONSTANT for x in traced):
                return self._inside(args, structures, leaves)
            if traced:
                return self._on_constants(structures, leaves)
            program = self._find(args, structures, leaves)
            if program.closed:
                return self.f(*args)
        return program(leaves)

    def _with_keywords(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keyword arguments are one more pytree."""
        if self.named is None:
            donate = [i + 1 if i >= 0 else i for i in self.donate]
            self.named = Compiled(functools.wraps(self.f)(lambda kw, *args: self.f(*args, **kw)), donate)
        return self.named(kwargs, *args)

    def _on_constants(self, structures: list[Any], leaves: list[Any]) -> Any:
        """Tensors that nothing differentiates: run on what they hold, and held again."""
        args = _rebuilt(structures, [x.value if isinstance(x, Tensor) else x for x in leaves])
        outs, structure = flatten(self(*args))
        return unflatten(structure, [hold(x) if is_array(x) else x for x in outs])

    def _inside(self, args: tuple[Any, ...], structures: list[Any], leaves: list[Any]) -> Any:
        """Part of what is differentiated, batched or compiled around it.

        To reverse mode alone it is two compiled passes; for any other transform the function itself.
        """
        trace = differentiating(leaves)
        backend = backend_among([raw(x) for x in leaves])
        if trace is None or backend is None:
            return self.f(*args)
        arrays = [x for x in leaves if is_array(x)]
        active = tuple([i for i, x in enumerate(arrays) if isinstance(x, Traced) and x.trace is trace])
        key = (tuple(structures), tuple([_signature(raw(x)) for x in leaves]), active)
        with self.lock:
            both = self.differentiated.get(key)
            if both is None:
                both = Differentiated(self.__name__, self.f, args, active, backend)
                if both.closed:
                    return self.f(*args)
                self.differentiated[key] = both
                if len(self.differentiated) > KEPT:
                    self.differentiated.popitem(last=False)
            self.differentiated.move_to_end(key)
        return both(args)

    def _find(self, args: tuple[Any, ...], structures: list[Any], leaves: list[Any]) -> Program:
        """The program for these arguments, traced if there is none."""
        key = (tuple(structures), tuple(map(_signature, leaves)))
        with self.lock:
            program = self.programs.get(key)
            if program is None:
                program = self._trace(args, structures, leaves)
                if program.closed:
                    return program
                self.programs[key] = program
                self.traces += 1
                if self.traces >= THRASHING:
                    self._complain(key)
                if len(self.programs) > KEPT:
                    self.programs.popitem(last=False)
            self.programs.move_to_end(key)
            self.last = program
        return program

    def _trace(self, args: tuple[Any, ...], structures: list[Any], leaves: list[Any]) -> Program:
        for i in self.donate:
            if not -len(args) <= i < len(args):
                raise TypeError(f"compile: donate has {i}, but the call has {len(args)} positional arguments")
        donated: list[bool] = []
        for i, structure in enumerate(structures):
            count = 1 if structure is None else structure.num_leaves
            donated += [i in self.donate or i - len(args) in self.donate] * count
        return Program(self.__name__, self.f, args, structures, leaves, donated)

    def _complain(self, key: Any) -> None:
        """Say what it is that is another in each call."""
        others = [k for k in self.programs if k is not key]
        nearest = max(others, key=lambda k: _likeness(k, key), default=None)
        if nearest is None:
            return
        changed = [
            f"leaf {i}: {_told(a)}, was {_told(b)}"
            for i, (a, b) in enumerate(zip(key[1], nearest[1], strict=False))
            if a != b
        ] or ["the structure of the arguments"]
        warnings.warn(
            f"{self.__name__}: compiled {self.traces} times; what changed last is {'; '.join(changed[:3])}. "
            f"Pass a number that changes as an array, such as np.asarray(x), and pad batches to one shape",
            RuntimeWarning,
            stacklevel=4,
        )

    def graph(self, *args: Any) -> Graph:
        """The improved graph that runs for these arguments."""
        structures = [None if BY_TYPE[type(a)] is not None else flatten(a)[1] for a in args]
        leaves = [x for a in args for x in flatten(a)[0]]
        return self._find(args, structures, leaves).graph

    def report(self) -> str:
        """What became of the function: for each trace its ops before and after, and what the backend did."""
        lines = [f"{self.__name__}: {len(self.programs)} traces kept of {self.traces}"]
        for program in self.programs.values():
            lines += program.report()
        for both in self.differentiated.values():
            lines.append(f"  under reverse mode: {both.report()}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {len(self.programs)} traces>"


def _lifted(x: Any, beside: Any) -> Any:
    """An input's array; of a number that changes from call to call a word of 32 bits beside another input."""
    if type(x) is not Varying:
        return x
    word = np.asarray(int(x) & 0xFFFFFFFF, dtype=np.uint32).view(np.int32)
    return word if beside is None else transfer(word, device_of(raw(beside)))


def _signature(x: Any) -> Any:
    """What of a leaf a trace depends on."""
    backend = BY_TYPE[type(x)]
    if backend is None:
        try:
            hash(x)
        except TypeError:
            raise TypeError(
                f"compile: an argument holds a {type(x).__name__}, which is neither an array nor hashable, "
                f"so that a trace cannot be kept for it; make it an array, or close over it"
            ) from None
        return (type(x), x)
    return (backend.name, tuple(x.shape), str(x.dtype), str(device_of(x)))


def _told(signature: Any) -> str:
    return " ".join(map(str, signature)) if isinstance(signature, tuple) else str(signature)


def _likeness(a: Any, b: Any) -> int:
    same = [x == y for x, y in zip(a[1], b[1], strict=False)]
    return sum(map(bool, [*same, a[0] == b[0]]))


def _rebuilt(structures: list[Any], leaves: list[Any]) -> list[Any]:
    """The arguments, from their leaves."""
    args, start = [], 0
    for structure in structures:
        count = 1 if structure is None else structure.num_leaves
        part = leaves[start : start + count]
        args.append(part[0] if structure is None else unflatten(structure, part))
        start += count
    return args


def compile(f: Callable[..., Any], donate: int | Sequence[int] = ()) -> Compiled:
    """`f`, traced once for each kind of arguments and run as a plan of the backend's from then on.

    A trace is good for one structure of the arguments, the shapes, dtypes and devices of their arrays, and
    the values of what is no array. Gradients inside `f` are part of it: compile a whole training step. Under
    reverse mode a compiled function is two compiled passes, under any other transform the function itself.

    Parameters
    ----------
    f : callable
        Maps pytrees to a pytree. Pure: what it does besides is done while it is traced only.
    donate : int or sequence of int
        Positional arguments whose arrays the result may overwrite, as a training step does with the
        parameters. They must not be used afterwards.

    Returns
    -------
    Compiled
        A callable; ``.report()`` tells what became of it, ``.graph(*args)`` gives what runs.

    Raises
    ------
    ConcretizationError
        When called, if `f` branches on a value of an array, or makes a Python number or NumPy array of one.

    Examples
    --------
    >>> step = compile(lambda w, x: w - 0.1 * pg.grad(lambda w: pg.sum((x @ w) ** 2))(w))
    >>> step(np.ones(2), np.eye(2))
    array([0.8, 0.8])
    """
    if isinstance(f, Compiled):
        return Compiled(f.f, (donate,) if isinstance(donate, int) else donate)
    if not callable(f):
        raise TypeError(f"compile: needs a function, not a {type(f).__name__}")
    return Compiled(f, (donate,) if isinstance(donate, int) else donate)
