"""The reference, made of the docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import portagrad as pg
from portagrad.op import TABLE

_SECTIONS = {
    "Transforms": lambda name, value: _home(value).startswith(("portagrad.transforms", "portagrad.compile")),
    "Devices and settings": lambda name, value: _home(value) in ("portagrad.device", "portagrad.config"),
    "Tensors and namespaces": lambda name, value: _home(value) in ("portagrad.tensor", "portagrad.namespace"),
    "Backends": lambda name, value: _home(value) == "portagrad.backend",
    "Errors": lambda name, value: _home(value) == "portagrad.errors",
}


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
    for name in pg._MODULES:
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
