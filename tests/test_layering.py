"""The house's order: who may import whom, how long a file may be, and who may name an array library."""

from __future__ import annotations

import ast
import functools
import graphlib
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYERS = (
    *("errors", "backend", "config", "device"),
    *("op", "docstring", "ops", "kernel", "trace", "indexed", "recipe", "tensor", "namespace"),
    "protocols",
    *("transforms", "compile", "random", "testing", "scipy", "nn", "optim", "data", "distributed"),
    *("train", "onnx", "cli"),
)
"""The layout: each imports only what comes before it; docs/design.md says why."""

ENGINE = LAYERS[: LAYERS.index("random")]
"""What the public names are made of; the layers after it may import ``portagrad`` itself."""

LATE = {
    (
        "portagrad/transforms/equations.py",
        "portagrad.compile.drawing",
    ): "drawings lie above the graphs that they show",
    ("portagrad/transforms/equations.py", "portagrad.compile.passes"): "and passes above what they improve",
    ("portagrad/tensor.py", "portagrad.namespace"): "a tensor's namespace is made of functions on tensors",
    ("portagrad/tensor.py", "portagrad.protocols"): "so are NumPy's functions",
    ("portagrad/tensor.py", "portagrad.protocols.methods"): "and the methods of NumPy's arrays",
    (
        "portagrad/namespace.py",
        "portagrad.protocols",
    ): "and NumPy's functions beyond the standard",
}
"""Imports against the order, each inside the function that needs it."""

LIBRARIES = ("cupy", "torch", "jax", "jaxlib", "dask", "array_api_strict")
OPTIONAL = (
    "typer",
    "rich",
    "matplotlib",
    "safetensors",
    "scipy",
    "graphviz",
    "onnx",
    "jinja2",
    "tensorboard",
    "mpi4py",
)
MAY = ("compile", "scipy", "data", "train", "onnx", "cli")
MAY_IMPORT = {"mpi4py": ("distributed",)}
"""Which layers import optional packages, inside functions; and those that one layer alone knows."""
ADAPTER_MAY = (
    *("portagrad.backend", "portagrad.errors"),
    *(f"portagrad.compile.{part}" for part in ("buffers", "grouping", "ordering", "views")),
)
ADAPTER_LATE = {"portagrad_numpy": {"numba", "scipy"}, "portagrad_dask": {"scipy"}}
"""Optional companions of a library, imported inside the functions that use them."""
LATE_FILES = {"portagrad_numpy.native": {"numba", "llvmlite"}}
"""Files that need a companion from their first line on, imported inside functions themselves."""

CORE = (
    *("op.py", "trace.py", "tensor.py"),
    *("transforms/record.py", "transforms/reverse.py", "transforms/forward.py"),
)
CORE_LINES = 900  # of code: what an explanation adds is not counted
FILE_LINES = 400

ENGINE_FILES = sorted((ROOT / "portagrad").rglob("*.py"))
ADAPTER_FILES = sorted((ROOT / "backends").rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "backends" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path: Path) -> list[tuple[str, bool, int]]:
    """Every module that a file imports: its name, whether inside a function, and the line."""
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from portagrad import nn` imports a module, `from portagrad.op import Op` a name of one.
            modules = [n if is_module(n) else str(node.module) for n in names]
            found.extend((n, inside, node.lineno) for n in dict.fromkeys(modules))
        for child in ast.iter_child_nodes(node):
            visit(child, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def is_module(dotted: str) -> bool:
    place = ROOT.joinpath(*dotted.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def layer(dotted: str) -> str:
    """The layer of a module of the package, empty for the package itself."""
    return dotted.partition(".")[2].partition(".")[0]


def test_a_file_imports_only_what_comes_before_it() -> None:
    wrong = []
    for path in ENGINE_FILES:
        its = layer(module(path))
        assert its in (*LAYERS, ""), f"{name(path)} has no place in the layout"
        for imported, inside, line in imports(path):
            excepted = inside and (name(path), imported) in LATE
            if imported.partition(".")[0] != "portagrad" or not its or excepted:
                continue
            if imported == "portagrad":  # what the engine makes, for those who stand on it
                wrong += [f"{name(path)}:{line}: imports portagrad"] if its in ENGINE else []
            elif LAYERS.index(layer(imported)) > LAYERS.index(its):
                wrong.append(f"{name(path)}:{line}: imports {imported}, which comes after it")
    assert not wrong, "\n".join(wrong)


def test_the_layout_is_the_one_that_is_written_down() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    layout = text.partition("```\nportagrad/\n")[2].partition("backends/")[0]
    written = re.findall(r"\b([a-z]+)(?:\.py|/)(?=\s)", layout)
    assert written == [layer for layer in LAYERS if is_module(f"portagrad.{layer}")]


def test_every_exception_to_the_order_is_in_use() -> None:
    used = {(name(path), late) for path in ENGINE_FILES for late, inside, _ in imports(path) if inside}
    assert set(LATE) <= used


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {}
    for path in ENGINE_FILES:
        its = module(path)
        needs = {imported for imported, inside, _ in imports(path) if not inside and is_module(imported)}
        # A package imports its members, and a member runs after its package has begun: neither is a circle.
        graph[its] = {needed for needed in needs if needed != its and not its.startswith(f"{needed}.")}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError where there is one


def test_the_package_imports_no_array_library_but_numpy() -> None:
    wrong = [
        f"{name(path)}:{line}: imports {imported}"
        for path in ENGINE_FILES
        for imported, _, line in imports(path)
        if imported.partition(".")[0] in LIBRARIES or imported.startswith("array_api_compat.")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_names_no_array_library() -> None:
    """No comparison with a library's name and no call with one: the Backend record is asked."""
    wrong = []
    for path in ENGINE_FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Compare():
                    parts = [node.left, *node.comparators]
                case ast.Call():
                    parts = list(node.args)
                case ast.Subscript():
                    parts = [node.slice]
                case ast.MatchValue():
                    parts = [node.value]
                case _:
                    parts = []
            for part in [p for found in parts for p in getattr(found, "elts", [found])]:
                text = part.value if isinstance(part, ast.Constant) else None
                if isinstance(text, str) and text.partition(".")[0] in LIBRARIES:
                    wrong.append(
                        f"{name(path)}:{part.lineno}: names {text!r}; ask the Backend record instead"
                    )
            called = getattr(node, "id", getattr(node, "attr", ""))
            if re.fullmatch(rf"is_({'|'.join(LIBRARIES)}|numpy)_\w+", called):
                wrong.append(f"{name(path)}:{getattr(node, 'lineno', 0)}: {called} asks which library it is")
    assert not wrong, "\n".join(wrong)


def test_optional_packages_are_imported_where_they_are_used() -> None:
    wrong = [
        f"{name(path)}:{line}: imports {imported}"
        for path in ENGINE_FILES
        for imported, inside, line in imports(path)
        if imported.partition(".")[0] in OPTIONAL
        and not (inside and layer(module(path)) in MAY_IMPORT.get(imported.partition(".")[0], MAY))
    ]
    assert not wrong, "\n".join(wrong)


def test_an_adapter_knows_only_the_backend_record_and_its_own_library() -> None:
    wrong = []
    for path in ADAPTER_FILES:
        package = path.relative_to(ROOT / "backends").parts[0]
        library = {"portagrad_strict": "array_api_strict"}.get(package, package.removeprefix("portagrad_"))
        its = {package, library, f"{library}x", "numpy"}
        others = {*LIBRARIES} - {library}
        for imported, inside, line in imports(path):
            root, *rest = imported.split(".")
            late = root in LATE_FILES.get(module(path), ()) or (
                inside and root in ADAPTER_LATE.get(package, ())
            )
            allowed = late or imported in ADAPTER_MAY or root in its or root in sys.stdlib_module_names
            if imported in LATE_FILES and not inside:
                wrong.append(f"{name(path)}:{line}: imports {imported} outside a function")
            if not allowed and (root != "array_api_compat" or others & set(rest)):
                wrong.append(f"{name(path)}:{line}: imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_a_file_opens_with_what_lives_there_and_stays_short() -> None:
    wrong = []
    for path in [*ENGINE_FILES, *ADAPTER_FILES]:
        text = path.read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(text)) or ""
        if not doc.partition("\n")[0].endswith((".", "?")):
            wrong.append(f"{name(path)}: opens with {doc.partition(chr(10))[0]!r}, not with a sentence")
        if len(text.splitlines()) > FILE_LINES:
            wrong.append(f"{name(path)}: {len(text.splitlines())} lines, two families in one room")
        if path.stem in ("utils", "util", "helpers", "common", "manager", "base", "misc"):
            wrong.append(f"{name(path)}: a name that says nothing")
    assert not wrong, "\n".join(wrong)


def lines_of_code(path: Path) -> int:
    """Lines with code on them: not blank, no comment, no docstring."""
    text = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - prose)


def test_the_core_stays_small() -> None:
    lines = {file: lines_of_code(ROOT / "portagrad" / file) for file in CORE}
    assert sum(lines.values()) <= CORE_LINES, lines


def test_importing_portagrad_loads_no_array_library_but_numpy() -> None:
    """Nor anything heavy: the training parts load on first use."""
    heavy = (*LIBRARIES, *OPTIONAL, "pytest", "hypothesis")
    parts = tuple(
        f"portagrad.{part}" for part in ("nn", "optim", "scipy", "data", "distributed", "train", "testing")
    )
    code = (
        "import sys, portagrad as pg\n"
        "pg.grad(lambda x: pg.sum(pg.sin(x) @ x))(pg.ones((3,)))\n"
        f"print([m for m in sys.modules if m in {heavy!r} or m.startswith({parts!r})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_an_example_uses_the_public_names_only() -> None:
    public = {
        "portagrad",
        *(
            f"portagrad.{part}"
            for part in ("nn", "optim", "random", "scipy", "data", "distributed", "train", "testing")
        ),
    }
    wrong = [
        f"{name(path)}:{line}: imports {imported}"
        for path in (ROOT / "examples").rglob("*.py")
        for imported, _, line in imports(path)
        if imported.startswith("portagrad") and imported not in public
    ]
    assert not wrong, "\n".join(wrong)
