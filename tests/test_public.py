"""The public names: all there, all documented, the functions of the standard with its signatures."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from typing import Any

import array_api_strict
import pytest

import portagrad as pg
from portagrad.op import TABLE

MODULES = ("nn", "optim", "random", "scipy", "data", "distributed", "train", "testing")
CONTRACT = {
    *("grad", "value_and_grad", "vjp", "jvp", "linearize", "jacrev", "jacfwd", "jacobian", "hessian", "hvp"),
    *("checkpoint", "custom_vjp", "custom_jvp", "stop_gradient", "tensor", "no_grad", "namespace"),
    *("device", "devices", "use", "configure", "to_device", "Error", "BackendUnavailableError"),
    *("DeviceMismatchError", "NonDifferentiableError", "ConcretizationError", "LeakedTraceError"),
    *("SavedValueMutatedError", "ConfigError", "CheckpointError"),
}
STANDARD = {name: op for name, op in TABLE.items() if op.since}


def public() -> dict[str, Any]:
    """Every public name with what it stands for, ``nn.Linear`` and its like included."""
    found = {name: getattr(pg, name) for name in pg.__all__}
    for module in MODULES:
        part = importlib.import_module(f"portagrad.{module}")
        found |= {f"{module}.{name}": getattr(part, name) for name in part.__all__}
    return found


def test_the_contract_is_kept() -> None:
    assert set(pg.__all__) >= CONTRACT


def test_all_is_what_can_be_reached() -> None:
    assert len(pg.__all__) == len(set(pg.__all__))
    assert set(pg.__all__) <= set(dir(pg))
    for name in pg.__all__:
        getattr(pg, name)
    # What else is in the module: its own modules, and what it is made of.
    made_of = {"annotations", "Any", "importlib", "TABLE", "CREATION", "FREQUENCIES", "EXTENSIONS"}
    made_of |= {"creation", "function"}
    submodules = {name for name, value in vars(pg).items() if isinstance(value, types.ModuleType)}
    rest = {name for name in vars(pg) if not name.startswith("_")} - submodules - made_of
    assert rest <= set(pg.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    for space in (pg, pg.linalg, pg.namespace("numpy")):
        with pytest.raises(AttributeError, match="sine"):
            space.sine  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_all_of_a_module_is_what_it_has(module: str) -> None:
    part = importlib.import_module(f"portagrad.{module}")
    assert list(part.__all__) == sorted(set(part.__all__), key=lambda n: (not n.isupper(), n[0].islower(), n))
    for name in part.__all__:
        getattr(part, name)


def test_everything_public_is_documented() -> None:
    """A summary, and a word on every argument."""
    wrong = []
    for name, value in public().items():
        if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)):
            wrong += [f"{name}: {fault}" for fault in faults(name, value)]
    assert not wrong, "\n".join(wrong)


def faults(name: str, value: Any) -> list[str]:
    """What is wrong with one docstring."""
    doc = inspect.getdoc(value) or ""
    summary, *_ = doc.split("\n\n")
    if not re.search(r"[.:!?](``)?$", summary.strip()) or len(summary) > 330:
        return [f"no summary: {summary!r}"]
    told = sections(doc).get("Parameters", "") + sections(doc).get("Attributes", "")
    named = {
        part.strip().lstrip("*")
        for line in told.splitlines()
        if line and not line.startswith(" ")
        for part in line.partition(" : ")[0].split(",")
    }
    named |= set(re.findall(r"`+(\w+)", doc))  # or spoken of in the text
    try:
        parameters = set(inspect.signature(value).parameters) - {"self"}
    except ValueError:
        return []
    if parameters == {"x"} or getattr(value, "_is_protocol", False):
        return []  # an array alone needs no words, and a protocol's arguments are its method's
    missing = parameters - named
    return [f"does not describe {', '.join(sorted(missing))}"] if missing else []


def sections(doc: str) -> dict[str, str]:
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", doc, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_op_says_what_it_is() -> None:
    for name, op in TABLE.items():
        assert op.doc.partition("\n")[0].endswith("."), name
        assert op.category, name
        doc = inspect.getdoc(pg.namespace("numpy").find(name)) if "." not in name else op.doc
        assert doc, name


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_a_signature_is_the_standards(name: str) -> None:
    """Names, kinds and defaults; array-api-strict has them from the standard's text."""
    space: Any = array_api_strict
    ours: Any = pg
    for part in name.split("."):
        space, ours = getattr(space, part), getattr(ours, part)
    theirs, own = inspect.signature(space), inspect.signature(ours)
    assert [shape(p) for p in own.parameters.values()] == [shape(p) for p in theirs.parameters.values()]


def shape(parameter: inspect.Parameter) -> tuple[str, Any, Any]:
    """Name, kind and default; a marker object stands for the standard's None."""
    default = parameter.default
    if default is not parameter.empty and not isinstance(default, int | float | str):
        default = None
    return parameter.name, parameter.kind, default
