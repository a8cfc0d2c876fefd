"""What the documentation says is so: its examples run, its links lead somewhere, its tables are current."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from standard_names import DIFFERENTIABLE, OTHERS

import portagrad as pg
from portagrad.backend import get_backend, registered
from portagrad.errors import BackendUnavailableError
from portagrad.op import TABLE
from portagrad.testing.trials import DEVICES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
BLOCK = re.compile(
    r"""^(?:[ ]*<!--[ ]needs:[ ](?P<needs>[\w, ]+)[ ]-->\n)?
    (?P<indent>[ ]*)```(?P<kind>python|pycon)\n(?P<text>.*?)^[ ]*```""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
"""A block of Python on a page; a comment before it may name libraries without which it is left out."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own for what is run, beside the examples it may name; no setting and no op left."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    ops = set(TABLE)
    yield
    pg.configure(device=None, debug=None)
    for declared in set(TABLE) - ops:
        del TABLE[declared]


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))], ids=name)
def test_the_examples_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order and in one namespace, as a reader would type them."""
    text = page.read_text(encoding="utf-8")
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for block in BLOCK.finditer(text):
        needs = filter(None, (block["needs"] or "").split(", "))
        if not all(map(importlib.util.find_spec, needs)):
            continue
        line = text[: block.start("text")].count("\n")
        source = re.sub(rf"^{block['indent']}", "", block["text"], flags=re.MULTILINE)
        if block["kind"] == "python":
            exec(compile("\n" * line + source, name(page), "exec", dont_inherit=True), module.__dict__)
        else:
            test = doctest.DocTestParser().get_doctest(source, module.__dict__, name(page), str(page), line)
            runner.run(test, clear_globs=False)
            module.__dict__.update(test.globs)
    assert runner.summarize(verbose=False).failed == 0


def modules() -> list[str]:
    """Every module of the package, and of the adapters whose library is here."""
    found = [info.name for info in pkgutil.walk_packages(pg.__path__, "portagrad.")]
    for backend in sorted(registered()):
        try:
            get_backend(backend)
        except BackendUnavailableError:
            continue
        package = registered()[backend].module
        inside = importlib.import_module(package).__path__
        found += [package, *(f"{package}.{info.name}" for info in pkgutil.iter_modules(inside))]
    return ["portagrad", *found]


def test_the_examples_of_the_docstrings_run() -> None:
    finder, failed, tried = doctest.DocTestFinder(exclude_empty=True), [], 0
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for each in modules():
        module = importlib.import_module(each)
        for test in finder.find(module, each, extraglobs={"pg": pg, "np": np}):
            if test.examples:
                result = runner.run(test)
                tried += result.attempted
                failed += [test.name] if result.failed else []
    assert not failed, ", ".join(failed)
    assert tried > 100  # else the search, not the code, is at fault


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^[ ]*```.*?^[ ]*```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target} is not there"
        if anchor:
            assert anchor in anchors(there.read_text("utf-8")), f"{name(page)}: {target} has no such heading"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r": ([\w/\-.]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    made = set(build().reference())
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(listed) == made | written


def build() -> types.ModuleType:
    """docs/build.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_build"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_ops_is_current() -> None:
    page = (ROOT / "docs" / "ops.md").read_text("utf-8")
    assert build().ops_page(page) == page, "docs/ops.md is behind the code: run `python docs/build.py`"


def test_the_page_of_capabilities_is_current_and_whole() -> None:
    page = (ROOT / "docs" / "capabilities.md").read_text("utf-8")
    assert build().capabilities_page() == page, (
        "docs/capabilities.md is behind the code: run `python docs/build.py`"
    )
    missing = [each for each in (*TABLE, *DIFFERENTIABLE, *OTHERS) if f"`{each}`" not in page]
    assert not missing, missing


def test_ci_requires_every_backend_that_the_page_of_capabilities_says_is_tried() -> None:
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    (required,) = re.findall(r"^needed=([\w,]+)", text, re.MULTILINE)
    assert "PORTAGRAD_REQUIRE=$needed" in text
    backends = [device.partition(":")[0] for device in DEVICES]
    assert required.split(",") == [*backends, "nvrtc", "distributed", "mpi"]


def test_the_reference_has_every_public_name() -> None:
    pages = build().reference()
    titles = {
        inside: {
            title
            for path, text in pages.items()
            if path.startswith("reference/portagrad.") is inside
            for title in re.findall(r"^## (.+)$", text, re.MULTILINE)
        }
        for inside in (False, True)
    }
    assert set(pg.__all__) - set(pg.EXTENSIONS) - set(pg._MODULES) <= titles[False]
    assert {*pg.nn.__all__, *pg.optim.__all__, *pg.random.__all__, *pg.testing.__all__} <= titles[True]


def test_the_changelog_is_kept() -> None:
    """Keep a Changelog 1.1: an unreleased section, dated versions, the known kinds of change."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert all(date for _, date in versions[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds and kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_documents_name_no_command_that_is_not_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count("<!-- test command -->") == 1
    for script in re.findall(r"`(scripts/[\w-]+|\.ci/[\w-]+)", readme):
        assert (ROOT / script).is_file(), script
