"""What follows from the code: tables of ops, of derivatives, of benchmarks; figures; the reference.

``python docs/build.py`` writes ops.md, capabilities.md, benchmarks.md, figures/ and the README's tables of
benchmarks, which are kept in the repository; MkDocs takes the reference, made of the docstrings, from here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import portagrad as pg
from portagrad.backend import get_backend, registered
from portagrad.errors import BackendUnavailableError
from portagrad.namespace import MAKERS
from portagrad.op import TABLE, Op
from portagrad.ops.data_type import DTYPE_FUNCTIONS
from portagrad.testing.trials import DEVICES, ELSEWHERE, GPU, LAWS, SLOW, held

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OPS = DOCS / "ops.md"
FIGURES = DOCS / "figures"
CAPABILITIES = DOCS / "capabilities.md"
BENCHMARKS = DOCS / "benchmarks.md"
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"

_OPS_HEAD = """\
# The table of ops

Every function that is declared as an op, made from the declarations by `python docs/build.py`. A backend
runs an op by its library's own function; where that is missing or not the standard's, by a kernel of its
adapter; and an op with a *portable* forward, which is array-API code, runs wherever there is nothing better.

- **kind**: how the op is differentiated. *elementwise*, *linear* and *bilinear* ops have one rule that serves
  both modes, *primitive* ones have two, *composite* ones none of their own, *constant* ones no derivative.
- **derivative**: the arguments it is taken with respect to; `0` where it is zero.
- **kernels**: the backends whose adapter has a kernel for it.
- **since**: the version of the standard that has the function.
"""
_COLUMNS = ("function", "kind", "derivative", "forward", "kernels", "since", "")

_CAPABILITIES_HEAD = """\
# What is differentiable, and tested where

Function by function and backend by backend, made by `python docs/build.py` from the declarations of the ops
and from what parametrizes their tests (`portagrad.testing.trials`): what stands here is tried, and what is
tried stands here.

- **derivative**: *yes* with respect to every array, or the arguments it is taken by; *zero* where it is 0
  wherever it exists; *no* where the results are integers or booleans, or there is nothing to differentiate.
- **orders**: a rule is itself made of these functions, so derivatives have derivatives of their own: *all*.
- **dtypes**: those that the function is meant for and tried with.
- **vmap**: *at once*, by a batching rule, or one call after the other in a *loop*; *parts* where it is made
  of other functions, by whose rules it goes; *no* where the shape of a result depends on its numbers.
- the backends, and under each the laws that hold there:
"""
_SIGNS = {"values": "V", "forward": "F", "reverse": "R", "precision": "P", "second": "2"}

_SECTIONS = {
    "Transforms": lambda name, value: _home(value).startswith(("portagrad.transforms", "portagrad.compile")),
    "Devices and settings": lambda name, value: _home(value) in ("portagrad.device", "portagrad.config"),
    "Tensors and namespaces": lambda name, value: _home(value) in ("portagrad.tensor", "portagrad.namespace"),
    "Backends": lambda name, value: _home(value) == "portagrad.backend",
    "Errors": lambda name, value: _home(value) == "portagrad.errors",
}
MODULES = ("nn", "optim", "random", "scipy", "data", "train", "testing")


def ops_page(before: str = "") -> str:
    """The table of ops as Markdown.

    What an adapter overrides is known where its library is installed; of the others `before`, the page as it
    was, is believed.
    """
    known = _kernels()
    lines = [_OPS_HEAD]
    for category, ops in groupby(sorted(TABLE.values(), key=_place), key=lambda op: op.category):
        title = category.replace("_", " ")
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        lines += [_row(op, known, before) for op in ops]
        lines.append("")
    return "\n".join(lines)


def capabilities_page() -> str:
    """What is differentiable and tested, as Markdown."""
    backends = [name.partition(":")[0] for name in DEVICES]
    lines = [_CAPABILITIES_HEAD]
    for name, law in LAWS.items():
        less = f"; on {' and '.join(SLOW)} less of it: {law.slow}" if law.slow else ""
        lines.append(f"    - **{_SIGNS[name]}**: {law.claim}, in {', '.join(law.dtypes)}{less}")
    unseen = ", ".join(f"`{name}`" for name, laws in ELSEWHERE.items() if not laws)
    lines += [
        "",
        f"Continuous integration has no GPU: of {', '.join(GPU)}, in brackets, the same tests run on a",
        "machine that has one, by `scripts/gpu-check`, and only there. Where nothing is said of any backend",
        f"({unseen}), compiled functions alone meet the op, and are tested for themselves.",
        "",
    ]
    columns = ("function", "derivative", "orders", "dtypes", "vmap", *backends, *GPU)
    for category, ops in groupby(sorted(TABLE.values(), key=_place), key=lambda op: op.category):
        title = category.replace("_", " ")
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for op in ops:
            signs = " ".join(_SIGNS[law] for law in held(op))
            told = [signs] * len(backends) + [signs and f"({signs})"] * len(GPU)
            cells = (f"`{op.name}`", _extent(op), _orders(op), _DTYPES[op.dtypes], _batching(op), *told)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Functions that are no ops", ""]
    lines += [f"- {what}: {', '.join(f'`{name}`' for name in names)}" for what, names in _others().items()]
    return "\n".join([*lines, ""])


_DTYPES = {
    "floating": "real",
    "complex": "complex",
    "inexact": "real, complex",
    "integer": "integer",
    "boolean": "boolean",
    "any": "any",
}


def _extent(op: Op) -> str:
    """With respect to what an op has a derivative."""
    told = _derivative(op)
    if told in ("", "0"):
        return "zero" if told else "no"
    return "yes" if len(told.split(", ")) == len(op.arrays) else told


def _orders(op: Op) -> str:
    return "all" if op.differentiable else ""


def _batching(op: Op) -> str:
    if op.ragged:
        return "no"
    return "parts" if op.kind == "composite" else "loop" if op.batch is None else "at once"


def _others() -> dict[str, list[str]]:
    """What is in the public namespaces and is no op."""
    network = [
        f"nn.{name}" for name in pg.nn.__all__ if name not in TABLE and _of_arrays(getattr(pg.nn, name))
    ]
    return {
        "make constants": sorted(MAKERS),
        "pass on what they are given, differentiably": ["asarray"],
        "tell of data types and shapes": sorted([*DTYPE_FUNCTIONS, "broadcast_shapes"]),
        "are written with the ops above, and differentiated through them": sorted(network),
    }


def _of_arrays(value: Any) -> bool:
    """Whether this is a function whose first argument is an array: those have no name to be called by."""
    if not inspect.isfunction(value):
        return False
    first = next(iter(inspect.signature(value).parameters.values()), None)
    return first is not None and first.kind is first.POSITIONAL_ONLY


def _place(op: Op) -> tuple[str, str]:
    return op.category, op.name


def _row(op: Op, known: dict[str, Iterable[str]], before: str) -> str:
    signature = f"`{op.name}{op.signature}`".replace("|", "\\|")
    had = re.search(rf"^\| `{re.escape(op.name)}\(.*$", before, re.MULTILINE)
    told = had[0].split(" | ")[4].split(", ") if had else []
    kernels = [
        name for name in sorted(registered()) if (op.name in known[name] if name in known else name in told)
    ]
    cells = (
        signature,
        op.kind,
        _derivative(op),
        "portable" if op.forward is not None else "",
        ", ".join(kernels),
        op.since,
        op.doc.partition("\n")[0],
    )
    return f"| {' | '.join(cells)} |"


def _derivative(op: Op) -> str:
    if op.kind == "constant":
        return ""
    if op.kind == "composite":
        return ", ".join(name.lstrip("*") for name in op.arrays)
    if op.kind == "elementwise" and not op.live:
        return "0"
    rules = zip(op.arrays, op.pulls, strict=True)
    return ", ".join(name.lstrip("*") for name, rule in rules if rule is not None and rule != 0)


def _kernels() -> dict[str, Iterable[str]]:
    """The kernels of every adapter whose library is installed."""
    found: dict[str, Iterable[str]] = {}
    for name in registered():
        try:
            found[name] = get_backend(name).kernels
        except BackendUnavailableError:
            continue
    return found


def figures() -> dict[str, str]:
    """The figures of chapter 6.5 that the examples draw, and two more, as SVG by file name.

    By the layout of our own: it is the same everywhere.
    """
    examples = {
        path.stem: runpy.run_path(str(path))
        for path in sorted((DOCS.parent / "examples" / "chapter_6_5").glob("*.py"))
    }
    predict = examples["b_logistic"]["predict"]
    inputs = pg.ones(3), pg.ones(3), pg.asarray(0.0)
    with tempfile.TemporaryDirectory() as folder:
        for name, example in examples.items():
            if "draw" in example:
                example["draw"](Path(folder, f"{name}.svg"), graphviz=False)
        pg.graph(predict, *inputs).draw(Path(folder, "ops.svg"), graphviz=False)
        gradient = pg.graph(pg.grad(predict, argnums=(1, 2)), *inputs)
        gradient.draw(Path(folder, "gradient.svg"), graphviz=False)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).iterdir())}


_BENCHMARKS_HEAD = """\
# Benchmarks

`python -m benchmarks` (after `pip install 'portagrad[bench]'`) runs portagrad beside code written by hand
and other libraries, in one process and one after the other in every round, each with the same number of
threads and configured as its users would have it. Before anything is timed their results are compared. A
number is the median over the rounds of the ratio to the baseline's time; less is better. A round times a
short step in five stretches and takes the best, because what else a machine does only adds. Of a CPU only
ratios are kept: seconds say nothing on another machine. This page is made from `benchmarks/results/` by
`python docs/build.py`.

- *NumPy by hand* is a training step with in-place operations and preallocated products, AdamW's moments
  included.
- *torch* is `torch.nn` with the fused optimizers; under *torch.compile* the network and its loss are
  compiled.
- *jax.jit* is one pure step, parameters and optimizer state donated.
- *autograd* and *MyGrad* use the optimizers of *NumPy by hand*; *tinygrad* its own, under `TinyJit`.
- Each library has the same number of threads, by the variables of its matrix products; XLA starts one
  thread for each core that the process may use, so the process is kept to so many.
- Peak memory is the resident memory of steps after the first two, in a process of their own, less the
  same of a tiny network, so that libraries and compilers cancel and every allocator counts. Compile time
  is what the first step takes more than a later one, in a fresh process without caches.
"""


def benchmarks_page() -> str:
    """What was measured, from the files of results: a CPU's first, then each card's."""
    report = _report()
    parts = [_BENCHMARKS_HEAD]
    for path in sorted(RESULTS.glob("*.json"), key=lambda path: (path.stem != "cpu", path.stem)):
        results = report.load(path)
        title = results.machine.get("card") or "CPU"
        picture = f"![Medians and quartiles of all contenders](../benchmarks/results/{path.stem}.png)"
        parts += [f"## {title}\n\n{report.page(results)}", picture + "\n"]
    return "\n".join(parts)


def with_benchmarks(readme: str) -> str:
    """The README with the tables of training steps between its marks."""
    report = _report()
    results = report.load(RESULTS / "cpu.json")
    shown = [group for group in report.groups(results) if group.endswith("step") and "memory" not in group]
    tables = "\n\n".join(f"{group}:\n\n{report.group_table(results, group)}" for group in shown)
    block = f"<!-- benchmarks -->\n{report.described(results.machine)}\n\n{tables}\n<!-- /benchmarks -->"
    return re.sub(r"<!-- benchmarks -->.*<!-- /benchmarks -->", lambda _: block, readme, flags=re.DOTALL)


def _report() -> Any:
    """benchmarks.report, which is no installed package."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("benchmarks.report")


def reference() -> dict[str, str]:
    """The pages of the reference, by path."""
    public = {name: getattr(pg, name) for name in pg.__all__}
    pages = {}
    for title, belongs in _SECTIONS.items():
        inside = {name: value for name, value in public.items() if belongs(name, value)}
        pages[title] = _page(title, "portagrad", inside)
    functions = {
        name: value
        for name, value in public.items()
        if name in TABLE or name in pg.CREATION or name == "broadcast_shapes"
    }
    pages["Functions"] = _page("Functions", "portagrad", functions)
    for name in MODULES:
        module = importlib.import_module(f"portagrad.{name}")
        inside = {part: getattr(module, part) for part in module.__all__}
        pages[f"portagrad.{name}"] = _page(
            f"portagrad.{name}", f"portagrad.{name}", inside, module.__doc__ or ""
        )
    return {f"reference/{title.lower().replace(' ', '-')}.md": text for title, text in pages.items()}


def _home(value: Any) -> str:
    return getattr(value, "__module__", "") if callable(value) else ""


def _page(title: str, module: str, names: dict[str, Any], intro: str = "") -> str:
    lines = [f"# {title}", "", inspect.cleandoc(intro), ""]
    for name in sorted(names, key=str.lower):
        value = names[name]
        if inspect.ismodule(value):
            lines += [f"## {name}", "", markdown(inspect.getdoc(value) or ""), ""]
            continue
        lines += [f"## {name}", ""]
        if callable(value):
            lines += ["```python", f"{module}.{name}{_signature(value)}", "```", ""]
            lines += [markdown(inspect.getdoc(value) or ""), ""]
            if isinstance(value, type):
                lines += _members(value)
        else:
            lines += [f"`{value!r}`", ""]
    return "\n".join(lines)


def _members(kind: type) -> list[str]:
    """The public methods and properties of a class that have docstrings."""
    lines = []
    for name, member in vars(kind).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not (inspect.isfunction(plain) or isinstance(plain, property)):
            continue
        call = _signature(plain) if inspect.isfunction(plain) else ""
        lines += [
            f"### {kind.__name__}.{name}",
            "",
            f"`{name}{call}`",
            "",
            markdown(inspect.getdoc(plain) or ""),
            "",
        ]
    return lines


def _signature(value: Callable[..., Any]) -> str:
    """The signature without annotations: the docstring says what the arguments are."""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return "(...)"
    empty = inspect.Signature.empty
    plain = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=empty))


def markdown(doc: str) -> str:
    """A numpydoc docstring as Markdown."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", doc, flags=re.MULTILINE)
    out = [parts[0].strip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        out += ["", f"**{title}**", ""]
        out.append(_entries(body) if title not in ("Examples", "Notes") else body.strip())
    return _fenced("\n".join(out))


def _entries(body: str) -> str:
    """Arguments and results as a list."""
    items = []
    for line in body.strip("\n").splitlines():
        if line.startswith(" "):
            items.append(line)
        elif line:
            name, colon, kind = line.partition(" : ")
            items.append(f"- `{name}`: {kind}" if colon else f"- {line}")
    return textwrap.dedent("\n".join(items))


def _fenced(text: str) -> str:
    """Blocks of ``>>>`` lines with what they print, put in fences."""
    block = re.compile(r"(?:^[ ]*>>> .*\n?(?:^(?!\s*$).*\n?)*)+", re.MULTILINE)
    return block.sub(lambda found: f"```pycon\n{textwrap.dedent(found[0]).rstrip()}\n```\n", text)


def on_files(files: Any, config: Any) -> Any:
    """MkDocs: add the pages of the reference, and the figures of the benchmarks."""
    from mkdocs.structure.files import File

    for path, text in reference().items():
        files.append(File.generated(config, path, content=text))
    for figure in RESULTS.glob("*.png"):
        files.append(File.generated(config, f"results/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs: figures that lie beside the results in the repository lie below the pages on the site."""
    return markdown.replace("](../benchmarks/results/", "](results/")


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    for name, text in figures().items():
        (FIGURES / name).write_text(text, encoding="utf-8")
    CAPABILITIES.write_text(capabilities_page(), encoding="utf-8")
    OPS.write_text(ops_page(OPS.read_text(encoding="utf-8") if OPS.exists() else ""), encoding="utf-8")
    BENCHMARKS.write_text(benchmarks_page(), encoding="utf-8")
    README.write_text(with_benchmarks(README.read_text(encoding="utf-8")), encoding="utf-8")
