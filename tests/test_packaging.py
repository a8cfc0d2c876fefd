"""What is installed: the wheel holds all it should, and works in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import portagrad as pg
import portagrad_numpy

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = ("numpy", "cupy", "torch", "jax", "dask", "strict")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command[:3]}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def info(wheel: Path) -> str:
    """The folder of the wheel's metadata."""
    return f"portagrad-{pg.__version__}.dist-info"


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with nothing but the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-deps", "--no-index", "--disable-pip-version-check", wheel),
        cwd=folder,
    )
    (site,) = folder.glob("lib/python*/site-packages")
    # A folder on the path by a .pth file comes last, and .pth files in it (an editable install) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_the_wheel_holds_the_package_and_the_adapters_and_nothing_else(wheel: Path, info: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"portagrad", info, *(f"portagrad_{name}" for name in ADAPTERS)}
    assert "portagrad/py.typed" in names
    source = {
        path.relative_to(root).as_posix()
        for root in (ROOT, ROOT / "backends")
        for path in root.glob("portagrad*/**/*.py")
    }
    assert source <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "benchmarks"))]


def test_the_metadata_says_what_it_takes_to_install(wheel: Path, info: str) -> None:
    archive = zipfile.ZipFile(wheel)
    told = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert told["Requires-Python"] == ">=3.11"
    assert told["License-Expression"] == "BSD-3-Clause"
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    extras = {"train", "cuda12", "cuda13", "torch", "jax", "dask", "test", "dev", "all"}
    assert extras <= set(told.get_all("Provides-Extra", []))
    core = [need for need in told.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert sorted(need.partition(">")[0] for need in core) == ["array-api-compat", "numpy", "optree"]


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    (found,) = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        *("tests/test_packaging.py", "examples/digits.toml", "examples/data/digits.npz", "docs/index.md"),
        *("scripts/gpu-check", ".ci/run", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"),
    ):
        assert needed in names, needed


def test_the_wheel_works_on_its_own(fresh: Path, tmp_path: Path) -> None:
    code = """
import importlib.metadata, pathlib, sys
import numpy as np
import portagrad as pg
from portagrad.backend import registered

home = pathlib.Path(sys.prefix)
assert home in pathlib.Path(pg.__file__).parents, pg.__file__
assert importlib.metadata.version("portagrad") == pg.__version__
assert np.allclose(pg.grad(lambda x: pg.sum(pg.sin(x) * x))(np.ones(2)), np.sin(1) + np.cos(1))
import portagrad_numpy
assert home in pathlib.Path(portagrad_numpy.__file__).parents
print(*sorted(registered()))
"""
    assert run(fresh, "-I", "-c", code, cwd=tmp_path).split() == sorted(ADAPTERS)


def test_the_wheel_installs_the_command(fresh: Path, tmp_path: Path) -> None:
    command = fresh.parent / "portagrad"
    assert run(command, "--version", cwd=tmp_path).split() == ["portagrad", pg.__version__]
    table = run(command, "devices", cwd=tmp_path)
    assert all(name in table for name in ADAPTERS)


def test_an_editable_install_finds_the_adapters_in_the_checkout() -> None:
    """Where this suite itself runs from one: ``pip install -e .`` puts both source roots on the path."""
    inside = [ROOT in Path(module.__file__ or "").parents for module in (pg, portagrad_numpy)]
    assert inside[0] == inside[1], "the package and its adapter come from two installs"


def test_the_gpu_check_says_where_there_is_no_gpu(tmp_path: Path) -> None:
    """With the driver's devices hidden, wherever this runs."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "gpu-check"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout.startswith("gpu-check: no CUDA device here, so nothing was checked: ")
    assert done.stdout.count("\n") == 1 and not done.stderr
    assert not list(tmp_path.iterdir())
