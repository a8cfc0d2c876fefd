"""CuPy's place taken by NumPy, and CUDA's by the host's C++ compiler: a plan for CuPy runs without a GPU.

Kernels are the generated source itself, compiled with ``cuda_on_host.h``. A stream that captures records what
is launched on it, and a graph runs it again.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from pytest import MonkeyPatch

from portagrad.backend import get_backend
from portagrad.compile.passes import improved
from portagrad.compile.replay import replay
from portagrad.transforms.equations import Graph
from portagrad.transforms.graph import record

HERE = Path(__file__).parent
COMPILER = None if sys.platform == "win32" else shutil.which("g++") or shutil.which("clang++")
NO_COMPILER = "there is no g++ or clang++ to run generated CUDA C++ on the host"
PARTS = (
    *("expressions", "indices", "grouping", "accesses", "writer", "blas", "kernel"),
    *("planner", "capture", "plan"),
)


class Module:
    """RawModule: all kernels of a source, compiled when the first is asked for."""

    def __init__(self, code: str, options: Any = ()) -> None:
        self.code = code

    def get_function(self, name: str) -> Any:
        library = machine_code(self.code)

        def launch(grid: Any, block: Any, args: Any) -> None:
            pointers = (ctypes.c_void_p * len(args))(*[a.ctypes.data for a in args])
            issue(lambda: getattr(library, f"host_{name}")(grid[0], block[0], pointers))

        return launch


@functools.lru_cache(maxsize=16)
def machine_code(source: str) -> ctypes.CDLL:
    """A source compiled for the host; beside each kernel a function that runs all its blocks and threads."""
    assert COMPILER is not None
    entries = []
    for name, given in re.findall(r"__global__ void __launch_bounds__\(PG_THREADS\) (\w+)\((.*)\) {", source):
        types_ = [p.rpartition(" ")[0].replace("__restrict__", "") for p in given.split(", ") if p]
        args = ", ".join(f"({t})arguments[{i}]" for i, t in enumerate(types_))
        entries.append(
            f"static void** arguments_{name};\n"
            f"static void body_{name}() {{ void** arguments = arguments_{name}; {name}({args}); }}\n"
            f'extern "C" void host_{name}(int blocks, int block, void** given) '
            f"{{ arguments_{name} = given; host::run(blocks, block, body_{name}); }}\n"
        )
    folder = Path(tempfile.mkdtemp(prefix="portagrad-cuda-"))
    path = folder / "kernels.cpp"
    path.write_text(f'#include "cuda_on_host.h"\n{source}\n{"".join(entries)}', encoding="utf-8")
    made = folder / "kernels.so"
    flags = ["-std=c++17", "-O0", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-fwrapv", f"-I{HERE}"]
    done = subprocess.run(
        [COMPILER, *flags, path, "-o", made, "-lm"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr[:3000]}\n{source}"
    library = ctypes.CDLL(str(made))
    shutil.rmtree(folder)
    return library


class Stream:
    """Work on it is done at once, or while it captures recorded."""

    current: Any = None

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = id(self)
        self.recording: list[Any] | None = None
        self.waited: list[Any] = []

    def __enter__(self) -> Stream:
        self.before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *error: Any) -> None:
        Stream.current = self.before

    def begin_capture(self) -> None:
        self.recording = []

    def end_capture(self) -> Any:
        recorded, self.recording = self.recording, None
        assert recorded is not None
        return types.SimpleNamespace(launch=lambda: [work() for work in recorded])

    def synchronize(self) -> None:
        assert self.recording is None

    def record(self) -> Any:
        return ("event of", self)

    def wait_event(self, event: Any) -> None:
        self.waited.append(event)


def issue(work: Any) -> None:
    """Do something on the current stream."""
    recording = Stream.current.recording
    if recording is None:
        work()
    else:
        recording.append(work)


class Array(np.ndarray):
    """NumPy's array with CuPy's way of telling an address."""

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self.ctypes.data)


def _as_array(x: Any, order: str) -> Any:
    """Of what a call of the library returns: such a call is not recorded here, and so is refused."""
    if Stream.current.recording is not None:
        raise RuntimeError("operation not permitted when stream is capturing")
    return np.asarray(x, order=order).view(Array)


def stand_in() -> Any:
    """The module `cupy`: what the plan uses of it."""
    module: Any = types.ModuleType("cupy")
    module.RawModule = Module
    module.lib = np.lib
    module.may_share_memory = np.may_share_memory
    module.empty = lambda shape, dtype: np.full(shape, 0xAA if dtype == np.uint8 else 7, dtype).view(Array)
    module.zeros = lambda shape, dtype: np.zeros(shape, dtype).view(Array)
    module.empty_like = lambda x: np.full_like(x, 7).view(Array)
    module.array = lambda x, order: np.array(x, order=order).view(Array)
    module.asarray = _as_array
    module.copyto = lambda a, b: issue(lambda: np.copyto(a, b))
    module.matmul = lambda a, b, out: issue(lambda: np.matmul(a, b, out=out))
    module.cuda = types.SimpleNamespace(
        Stream=Stream,
        MemoryPool=lambda: types.SimpleNamespace(malloc=None),
        using_allocator=lambda allocator: nullcontext(),
        get_current_stream=lambda: Stream.current,
        Device=_Device,
        runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 12090, getDevice=lambda: 0),
    )
    return module


class _Device:
    id = 0
    compute_capability = "90"
    cublas_handle = 1

    def __init__(self, id: int = 0) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> None: ...


@functools.cache
def adapter() -> Any:
    """The modules of the adapter that make plans, imported on the stand-in, by their names.

    A block has 64 threads, so that small arrays take several blocks, and a block is two warps.
    """
    package: Any = types.ModuleType("portagrad_cupy")  # without its __init__, which looks for a driver
    package.__path__ = [str(HERE.parent / "backends" / "portagrad_cupy")]
    names = [f"portagrad_cupy.{part}" for part in PARTS]
    with MonkeyPatch.context() as patch:  # what is made of stand-ins is not for other tests
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        patch.setitem(sys.modules, "cupy", stand_in())
        patch.setitem(sys.modules, "portagrad_cupy", package)
        found = {part: importlib.import_module(name) for part, name in zip(PARTS, names, strict=True)}
        for name in names:
            del sys.modules[name]
    for part in ("writer", "planner", "plan"):
        found[part].THREADS = 64
    Stream.current = Stream()
    return types.SimpleNamespace(**found)


def planned(f: Any, *args: Any, donate: tuple[int, ...] = ()) -> tuple[Graph, Any]:
    """The improved graph of a function, and its plan; `donate` counts arrays."""
    plan = adapter().plan
    graph = improved(record("f", f, args, plan.INLINES))
    return graph, plan.plan(graph, replay(graph), donate)


def arrays(*args: Any) -> list[Any]:
    """Copies of arrays, as the plan takes them."""
    return [np.array(a, order="C").view(Array) for a in args]


@contextmanager
def compiling() -> Iterator[None]:
    """Within it `pg.compile` makes CuPy's plans of functions of NumPy's arrays."""
    backend, plan = get_backend("numpy"), adapter().plan
    before = {"plan": backend.plan, "inlines": backend.inlines}

    def planned_(graph: Any, run: Any, donated: Any) -> Any:
        made = plan.plan(graph, run, donated)
        called = lambda *inputs: made(*[np.asarray(x).view(Array) for x in inputs])  # noqa: E731
        return _Forwarding(called, made)

    for name, value in {"plan": planned_, "inlines": plan.INLINES}.items():
        object.__setattr__(backend, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(backend, name, value)


class _Forwarding:
    """A plan called otherwise."""

    def __init__(self, called: Any, plan: Any) -> None:
        self.called, self.plan = called, plan

    def __call__(self, *inputs: Any) -> Any:
        return self.called(*inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)
