"""Machine code of generated functions, kept on disk: the next process need not compile them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

MOST = 1_000
"""How many sources are kept; of more the older half goes."""


def compiled(
    source: str,
    name: str,
    numbers: Mapping[str, Any],
    names: Mapping[str, Any],
    signature: Any,
    make: Any = None,
    **options: Any,
) -> Any:
    """The function `name` of a source as machine code, by ``numba.njit(signature, **options)``.

    `make` is another of numba's decorators.

    numba keeps machine code for a file, and looks at nothing else. So the source becomes a file that is named
    by all that the code depends on: the text, the `numbers` that it reads from outside, the signature, the
    options, and the versions. `names` are other things that it reads, such as modules.
    """
    import numba

    make = make or numba.njit
    read = [f"# {k} = {value!r}, {value.dtype} {value.tobytes().hex()}" for k, value in numbers.items()]
    versions = f"# numba {numba.__version__}, numpy {numpy.__version__}, {sys.version!r}"
    text = "\n".join([versions, f"# {make.__name__} {signature}, {options}", *read, source, ""])
    path = _file(text)
    scope = {"__name__": __name__, **names, **numbers}
    exec(compile(text, str(path or "<loop>"), "exec"), scope)
    if path is not None:
        with contextlib.suppress(Exception):  # no folder after all, or something else lies in it
            return make(signature, cache=True, **options)(scope[name])
    return make(signature, **options)(scope[name])


def _file(text: str) -> Path | None:
    """A file of this text; None where none can be written."""
    place = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(place) / "portagrad" / "loops"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _forget(folder)
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
                file.write(text)
            os.replace(file.name, path)  # another process may have done so meanwhile
    except OSError:
        return None
    return path


def _forget(folder: Path) -> None:
    """Of too many sources the older half, and their machine code."""
    sources = [path for path in folder.iterdir() if path.suffix == ".py"]
    if len(sources) < MOST:
        return
    sources.sort(key=lambda path: path.stat().st_mtime)
    for path in sources[: len(sources) // 2]:
        for each in (path, *folder.glob(f"__pycache__/{path.stem}*")):
            with contextlib.suppress(OSError):
                each.unlink()


@functools.cache
def keeps() -> bool:
    """Whether numba can keep machine code for the files of this package: where it cannot, it refuses to."""
    import numba

    try:
        numba.njit(cache=True)(_file)
    except RuntimeError:
        return False
    return True
