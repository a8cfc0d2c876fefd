"""What follows from the code: tables of ops, of derivatives, of benchmarks; figures; the reference.

``python docs/build.py`` writes ops.md, capabilities.md, benchmarks.md, figures/ and the README's tables of
benchmarks, which are kept in the repository; MkDocs takes the reference, made of the docstrings, from here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
if str(DOCS) not in sys.path:  # a hook of MkDocs is a file, in no package
    sys.path.insert(0, str(DOCS))

from made.benchmarks import RESULTS, benchmarks_page, with_benchmarks  # noqa: E402
from made.capabilities import capabilities_page  # noqa: E402
from made.drawings import figures  # noqa: E402
from made.reference import reference  # noqa: E402
from made.table import ops_page  # noqa: E402


def on_files(files: Any, config: Any) -> Any:
    """MkDocs: add the pages of the reference, and the figures of the benchmarks."""
    from mkdocs.structure.files import File

    for path, text in reference().items():
        files.append(File.generated(config, path, content=text))
    for figure in RESULTS.rglob("*.png"):
        path = f"results/{figure.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, path, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs: figures that lie beside the results in the repository lie below the pages on the site."""
    return markdown.replace("](../benchmarks/results/", "](results/")


def write() -> None:
    """Write the pages that are kept in the repository."""
    (DOCS / "figures").mkdir(exist_ok=True)
    for name, text in figures().items():
        (DOCS / "figures" / name).write_text(text, encoding="utf-8")
    ops, readme = DOCS / "ops.md", DOCS.parent / "README.md"
    pages = {
        ops: ops_page(ops.read_text(encoding="utf-8") if ops.exists() else ""),
        DOCS / "capabilities.md": capabilities_page(),
        DOCS / "benchmarks.md": benchmarks_page(),
        readme: with_benchmarks(readme.read_text(encoding="utf-8")),
    }
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
