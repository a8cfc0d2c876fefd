"""Every example runs, as a script and on every device; each checks its own gradients against closed forms."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import portagrad as pg

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))


def name(path):
    return path.relative_to(ROOT / "examples").as_posix()


def load(path):
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_of_chapter_6_5_are_all_there():
    assert [path.stem[:2] for path in EXAMPLES if path.parent.name == "chapter_6_5"] == [
        f"{letter}_" for letter in "abcdefgh"
    ]


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.parent.name == "chapter_6_5"], ids=name)
def test_the_examples_of_chapter_6_5_hold_on_every_device(path, xp_device, capsys):
    """Their assertions are what is tested; they compare with what the book's formulas give."""
    example = load(path)
    assert inspect.getsource(example).count("    assert ") >= 1
    with pg.use(xp_device):
        example.main()
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_runs_as_a_script(path, tmp_path):
    """From any folder, and warnings are errors: what a reader copies must be clean."""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_explains_itself(path):
    """A first line of prose, and no private names."""
    source = path.read_text(encoding="utf-8")
    assert source.startswith('"""') and source.partition("\n")[0].rstrip('"').endswith((".", "?"))
    assert not re.search(r"\b(\w+\._|import _)[a-z]", source)


def test_an_example_takes_a_device():
    pytest.importorskip("array_api_strict")
    command = [sys.executable, str(ROOT / "examples/chapter_6_5/b_logistic.py"), "--device"]
    done = subprocess.run([*command, "strict:device1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dy/dw" in done.stdout
    done = subprocess.run([*command, "stricter"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "did you mean 'strict'" in done.stderr
