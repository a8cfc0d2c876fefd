"""pg.compile: a function traced once for each kind of arguments, and run as a plan from then on."""

from __future__ import annotations

import functools
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from portagrad.backend import BY_TYPE, Backend
from portagrad.compile.passes import improved
from portagrad.compile.replay import replay
from portagrad.device import device_of, transfer
from portagrad.tensor import CONSTANT, Tensor, hold, raw
from portagrad.trace import Traced
from portagrad.transforms.equations import Graph, Variable
from portagrad.transforms.gradient import array
from portagrad.transforms.graph import record
from portagrad.transforms.text import described
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
                return self.f(*args)  # part of what is differentiated, batched or compiled around it
            if traced:
                return self._on_constants(structures, leaves)
            program = self._find(args, structures, leaves)
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

    def _find(self, args: tuple[Any, ...], structures: list[Any], leaves: list[Any]) -> Program:
        """The program for these arguments, traced if there is none."""
        key = (tuple(structures), tuple(map(_signature, leaves)))
        with self.lock:
            program = self.programs.get(key)
            if program is None:
                program = self.programs[key] = self._trace(args, structures, leaves)
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
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {len(self.programs)} traces>"


class Program:
    """One trace of a compiled function, and the plan that runs it."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        structures: list[Any],
        leaves: list[Any],
        donated: list[bool],
    ) -> None:
        self.lock = threading.Lock()
        backend = _backend(leaves)
        self.backend = backend
        recorded = record(name, f, args, backend.inlines if backend else ())
        self.before = len(recorded.equations)
        self.graph = improved(recorded)
        self.structures = structures
        self.kinds = [(type(x), getattr(x, "shape", None), getattr(x, "dtype", x)) for x in leaves]
        self.devices = (
            None
            if backend is None or backend.one_device
            else [None if BY_TYPE[type(x)] is None else BY_TYPE[type(x)].device_of(x) for x in leaves]  # type: ignore[union-attr]
        )
        self.places = [i for i, x in enumerate(leaves) if is_array(x)]
        self.donated = tuple([k for k, i in enumerate(self.places) if donated[i]])
        self.all_arrays = len(self.places) == len(leaves)
        run = replay(self.graph)
        self.plan: Callable[..., list[Any]] = (
            backend.plan(self.graph, run, self.donated) if backend is not None and backend.plan else run
        )
        self.results = _Results(self.graph)

    def fits(self, structures: list[Any], leaves: list[Any]) -> bool:
        """Whether it was traced for arguments like these."""
        for mine, its in zip(self.structures, structures, strict=False):
            if mine is not its and mine != its:
                return False
        if len(structures) != len(self.structures) or len(leaves) != len(self.kinds):
            return False
        for x, (kind, shape, dtype) in zip(leaves, self.kinds, strict=True):
            if type(x) is not kind:
                return False
            if shape is None:
                if x != dtype:
                    return False
            elif x.shape != shape or (x.dtype is not dtype and x.dtype != dtype):
                return False
        if self.devices is not None:
            for x, device in zip(leaves, self.devices, strict=True):
                if device is not None and BY_TYPE[type(x)].device_of(x) != device:  # type: ignore[union-attr]
                    return False
        return True

    def __call__(self, leaves: list[Any]) -> Any:
        given = leaves
        if not self.all_arrays:
            given = [leaves[i] for i in self.places]
        if self.donated and len(set(map(id, given))) < len(given):
            self._refuse_twice(given)
        with self.lock:
            try:
                outs = self.plan(*given)
            except BaseException as error:
                self._explain(error)
                raise
        return self.results.tree(outs)

    def _explain(self, error: BaseException) -> None:
        """Say of an error in the middle of a run what has become of the donated arrays."""
        if self.donated:
            intact = getattr(self.plan, "intact", None)
            error.add_note(
                f"{self.graph.name}: the donated arrays are unchanged"
                if intact is not None and intact(error)
                else f"{self.graph.name}: the donated arrays may be overwritten in part: start from a copy "
                f"or a checkpoint"
            )

    def _refuse_twice(self, given: list[Any]) -> None:
        for k in self.donated:
            if sum(x is given[k] for x in given) > 1:
                raise ValueError(
                    f"{self.graph.name}: array {k} is donated and is an argument a second time; "
                    f"its memory cannot be both overwritten and read. Pass a copy"
                )

    def report(self) -> list[str]:
        """What was made of the trace."""
        g = self.graph
        given = ", ".join(map(described, g.inputs))
        lines = [f"  {given}: {self.before} ops, {len(g.equations)} after the passes"]
        told = getattr(self.plan, "report", None) or {"plan": "the library's ops, one after the other"}
        return [*lines, *[f"    {name}: {value}" for name, value in told.items()]]


class _Results:
    """Puts the outputs of a plan together as the function returns them."""

    def __init__(self, graph: Graph) -> None:
        self.structure = graph.results
        kinds = [isinstance(y, Variable) for y in graph.outputs]
        self.scalars = [i for i, y in enumerate(graph.outputs) if isinstance(y, Variable) and y.shape == ()]
        self.parts: list[tuple[Any, int]] | None = None
        if self.structure.type is tuple:  # the usual: each part remembered as a module's leaves are
            self.parts = [(part, part.num_leaves) for part in self.structure.children()]
        self.arrays = all(kinds)

    def tree(self, outs: list[Any]) -> Any:
        for i in self.scalars:
            outs[i] = array(outs[i])
        if self.parts is None:
            return unflatten(self.structure, outs, remember=True)
        made, start = [], 0
        for structure, count in self.parts:
            if count == 1 and structure.is_leaf():
                made.append(outs[start])
            else:
                made.append(unflatten(structure, outs[start : start + count], remember=True))
            start += count
        return tuple(made)


def _backend(leaves: list[Any]) -> Backend | None:
    """The library of the arguments, if it is one."""
    found = {BY_TYPE[type(x)] for x in leaves} - {None}
    return found.pop() if len(found) == 1 else None


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
    another transform a compiled function is the function itself.

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
