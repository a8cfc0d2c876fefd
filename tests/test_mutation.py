"""The table of seeded faults that scripts/mutation tries fits the code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def script() -> types.ModuleType:
    """scripts/mutation, which is in no package."""
    loader = importlib.machinery.SourceFileLoader("mutation", str(ROOT / "scripts" / "mutation"))
    spec = importlib.util.spec_from_loader("mutation", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation"] = module
    loader.exec_module(module)
    return module


FAULTS = list(script().faults())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.breaks}")
def test_a_fault_is_in_its_file_exactly_once_and_breaks_something(fault: Any) -> None:
    assert fault.occurrences() == 1, fault.text
    assert fault.instead != fault.text
    assert fault.breaks
    assert bool(fault.op) != bool(fault.tests), "either an op's own tests, or others"


def test_there_are_enough_and_of_every_file_of_ops() -> None:
    assert len(FAULTS) >= 40
    assert len({(fault.file, fault.text, fault.instead) for fault in FAULTS}) == len(FAULTS)
    ops = {path.relative_to(ROOT).as_posix() for path in (ROOT / "portagrad" / "ops").glob("[!_]*.py")}
    assert ops <= {fault.file for fault in FAULTS}


def test_a_fault_is_put_in(tmp_path: Path) -> None:
    fault = script().Fault("a.py", "1 + 1", "1 - 1", "the sign")
    (tmp_path / "a.py").write_text("x = 1 + 1\n")
    assert fault.occurrences(tmp_path) == 1
    fault.apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 1 - 1\n"
