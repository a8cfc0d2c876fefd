"""Checkpoints: folders of safetensors and JSON that are whole or absent, each file under a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from portagrad.data.files import shown
from portagrad.device import Device, transfer
from portagrad.errors import CheckpointError
from portagrad.train.run_folder import json_line
from portagrad.train.weights import encoded, named_leaves, read_weights, structured
from portagrad.transforms.tree import Varying

FORMAT = 1
_ARRAYS, _FACTS, _MANIFEST = "arrays.safetensors", "facts.json", "manifest.json"
_NAME = re.compile(r"step-(\d{1,15})")
# A manifest or facts beyond this are no checkpoint's; they are not read into memory.
_MOST_TEXT = 1 << 26

_Tree = TypeVar("_Tree")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds, on the host.

    Attributes
    ----------
    path : Path
    arrays : dict of str to array
        By dotted path in the tree that was saved.
    numbers : dict of str to int
        The tree's counts and words of keys, likewise.
    facts : dict
        The rest, as JSON has it.
    """

    path: Path
    arrays: dict[str, np.ndarray[Any, Any]]
    numbers: dict[str, int]
    facts: dict[str, Any]

    def restore(self, like: _Tree, where: Device) -> _Tree:
        """The saved tree.

        Parameters
        ----------
        like : pytree
            Gives the structure, and of each array the shape and dtype that the checkpoint must match.
        where : Device
            Where the arrays go, of whatever library they came from.

        Raises
        ------
        CheckpointError
            If the tree is another.
        """
        wanted = named_leaves(like)
        if missing := [name for name in wanted if name not in self.arrays and name not in self.numbers]:
            raise CheckpointError(f"{self.path}: no part {shown(missing[0])}; it is of another model")
        if extra := [name for name in (*self.arrays, *self.numbers) if name not in wanted]:
            raise CheckpointError(f"{self.path}: the part {shown(extra[0])} belongs to another model")
        leaves = [self._leaf(name, leaf, where) for name, leaf in wanted.items()]
        return structured(like, leaves)

    def _leaf(self, name: str, like: Any, where: Device) -> Any:
        array = self.arrays.get(name)
        if isinstance(like, int):
            if array is None:
                return Varying(self.numbers[name])
            if array.ndim == 0 and array.dtype == np.int32:  # what a compiled step makes of a count or a word
                return Varying(int(array) & 0xFFFFFFFF)
        if array is None or _kind(array) != _kind(like):
            raise CheckpointError(
                f"{self.path}: the part {shown(name)} is {_kind(array)}, of this run {_kind(like)}"
            )
        return transfer(array, where)


def _kind(leaf: Any) -> str:
    """The dtype and the shape of a leaf of any library; torch's dtypes carry its name."""
    if leaf is None or isinstance(leaf, int):
        return "a number"
    return f"{str(leaf.dtype).rpartition('.')[2]} {tuple(leaf.shape)}"


def write_checkpoint(folder: Path, step: int, tree: Any, facts: Mapping[str, Any]) -> Path:
    """Write a checkpoint as ``FOLDER/step-N`` and then remove those before it.

    It is written under another name, each file is flushed to the disk, and the folder is renamed: whenever
    the machine stops, the newest folder of that name is whole.

    Parameters
    ----------
    folder : Path
    step : int
        Names the checkpoint; the highest is the newest.
    tree : pytree of arrays and counts
        Of any library.
    facts : mapping
        What JSON can hold.

    Raises
    ------
    CheckpointError
        If it cannot be written; the checkpoint before it stays.
    """
    final = folder / f"step-{step:09d}"
    if _is_whole(final):  # the same step of the same run has the same values
        return final
    leaves = named_leaves(tree)
    numbers = {name: int(leaf) for name, leaf in leaves.items() if isinstance(leaf, int)}
    arrays = {name: leaf for name, leaf in leaves.items() if name not in numbers}
    files = {
        _ARRAYS: encoded(arrays),
        _FACTS: json_line({"numbers": numbers, "facts": facts}).encode(),
    }
    manifest = {
        "format": FORMAT,
        "files": {name: {"bytes": len(body), "sha256": _sum(body)} for name, body in files.items()},
    }
    temporary = folder / f".{final.name}.part"
    if folder.is_symlink():
        raise CheckpointError(f"{folder}: is a link; checkpoints are written in the run's own folder alone")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary.mkdir()
        for name, body in {**files, _MANIFEST: json.dumps(manifest).encode()}.items():
            _write(temporary / name, body)
        _flush_folder(temporary)
        if final.exists():  # damaged, or it would have been kept
            shutil.rmtree(final)
        os.replace(temporary, final)
        _flush_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"{final}: cannot be written ({error.strerror or error})") from None
    for older in _found(folder):
        if older.name != final.name:
            shutil.rmtree(older, ignore_errors=True)
    return final


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a folder that is whole; None where there is none at all.

    Raises
    ------
    CheckpointError
        If all are damaged; the message says what is wrong with the newest.
    """
    fault: CheckpointError | None = None
    for path in _found(folder):
        try:
            return read_checkpoint(path)
        except CheckpointError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; every byte is checked against the manifest before anything is made of it.

    Raises
    ------
    CheckpointError
        If it is damaged, or of a format that is not known here.
    """
    manifest = _table(path / _MANIFEST, _read(path / _MANIFEST))
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: is of the format {shown(str(manifest.get('format')))}; this portagrad reads {FORMAT}"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != {_ARRAYS, _FACTS}:
        raise CheckpointError(f"{path}: its manifest names other files than {_ARRAYS} and {_FACTS}")
    for name, told in files.items():
        if not isinstance(told, dict) or told.get("sha256") != _sum_of_file(path / name):
            raise CheckpointError(f"{path}: damaged; {name} does not match the SHA-256 sum in {_MANIFEST}")
    arrays, _ = read_weights(path / _ARRAYS)
    body = _table(path / _FACTS, _read(path / _FACTS))
    numbers, facts = body.get("numbers"), body.get("facts")
    whole = isinstance(numbers, dict) and all(type(value) is int for value in numbers.values())
    if not whole or not isinstance(facts, dict):
        raise CheckpointError(f"{path}: {_FACTS} lacks its numbers or its facts")
    return Checkpoint(path, arrays, dict(numbers or {}), facts)


def _is_whole(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _found(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    try:
        entries = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    except OSError:
        return []
    return sorted(entries, key=lambda path: int(path.name[5:]), reverse=True)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".step-*.part"):
        shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_TEXT:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for this file")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def _table(path: Path, body: bytes) -> dict[str, Any]:
    try:
        table = json.loads(body.decode())
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: is no JSON table")
    return table


def _sum_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def _sum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
