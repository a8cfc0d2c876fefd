"""The figures of graphs."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import portagrad as pg

DOCS = Path(__file__).resolve().parent.parent


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
