"""Weights as safetensors files: written whole, read back with every name, shape, dtype and sum checked."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import optree

from portagrad.backend import backend_of
from portagrad.data.files import hint, missing_file, shown
from portagrad.device import device_of, transfer
from portagrad.errors import CheckpointError
from portagrad.train.run_folder import replacing

_Tree = TypeVar("_Tree")
_NAMESPACE = "portagrad"


def named_leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a pytree by dotted path, in its order.

    Examples
    --------
    >>> list(named_leaves({"layers": [np.ones(1), np.ones(2)], "scale": np.ones(3)}))
    ['layers.0', 'layers.1', 'scale']
    """
    accessors, leaves, _ = optree.tree_flatten_with_accessor(tree, namespace=_NAMESPACE)
    return {_dotted(accessor): leaf for accessor, leaf in zip(accessors, leaves, strict=True)}


def count_weights(tree: Any) -> int:
    """How many numbers the arrays of a pytree hold.

    Examples
    --------
    >>> count_weights({"w": np.ones((2, 3)), "b": np.ones(3)})
    9
    """
    return sum(math.prod(leaf.shape) for leaf in named_leaves(tree).values())


def save_weights(path: str | Path, tree: Any, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write the arrays of a pytree, for example a model, to a safetensors file.

    The file appears whole or not at all, also when the machine stops in between. Its metadata holds a SHA-256
    sum of the arrays.

    Parameters
    ----------
    path : str or Path
    tree : pytree of arrays
        Of any backend; names are dotted paths such as ``layers.0.weight``.
    metadata : mapping of str to str, optional
        More text to store.

    Raises
    ------
    CheckpointError
        If the tree holds something that is no array, or the file cannot be written.
    """
    arrays = {name: _on_host(name, leaf) for name, leaf in named_leaves(tree).items()}
    body = encoded(arrays, {**(metadata or {}), "sha256": _digest(arrays)})
    path = Path(path)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(body)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None


def encoded(leaves: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """Arrays by name as the bytes of a safetensors file.

    Raises
    ------
    CheckpointError
        If one is no array.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(_on_host(name, leaf), order="C") for name, leaf in leaves.items()}
    body: bytes = save(arrays, metadata=dict(metadata or {}))
    # The library writes the metadata in an order of chance; the same arrays shall be the same bytes.
    size = int.from_bytes(body[:8], "little")
    header = json.dumps(json.loads(body[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body[8 + size :]


def structured(like: _Tree, leaves: list[Any]) -> _Tree:
    """Leaves, in the order of `named_leaves`, in the structure of another pytree."""
    structure = optree.tree_structure(like, namespace=_NAMESPACE)  # type: ignore[arg-type]
    tree: _Tree = optree.tree_unflatten(structure, leaves)  # type: ignore[assignment]
    return tree


def load_weights(path: str | Path, like: _Tree) -> _Tree:
    """Read a safetensors file into the structure of a pytree.

    Parameters
    ----------
    path : str or Path
    like : pytree of arrays
        Gives the structure, and for each array the name, shape, dtype and device that the file must match.

    Returns
    -------
    pytree
        As `like`, with the file's values.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or its arrays differ from those of `like` in name, shape or dtype.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/w.safetensors", {"w": np.asarray([1.0, 2.0])})
    ...     load_weights(f"{folder}/w.safetensors", {"w": np.zeros(2)})
    {'w': array([1., 2.])}
    """
    arrays, metadata = read_weights(path)
    wanted = named_leaves(like)
    for name in wanted:
        if name not in arrays:
            others = [other for other in arrays if other not in wanted]
            raise CheckpointError(f"{path}: no array {shown(name)}{hint(name, others)}")
    for name in arrays:
        if name not in wanted:
            raise CheckpointError(f"{path}: the array {shown(name)} belongs to no part of the model")
    loaded = []
    for name, leaf in wanted.items():
        host, array = _on_host(name, leaf), arrays[name]
        if array.shape != host.shape or array.dtype != host.dtype:
            raise CheckpointError(
                f"{path}: the array {shown(name)} is {array.dtype} {array.shape}, "
                f"the model's is {host.dtype} {host.shape}"
            )
        loaded.append(transfer(array, device_of(leaf)))
    checked_sum(path, arrays, metadata)
    return structured(like, loaded)


def read_weights(path: str | Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """The arrays and the metadata of a safetensors file, on the host.

    Raises
    ------
    CheckpointError
        If the file is missing or no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(missing_file(path))
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, OSError, TypeError, AttributeError, ValueError) as error:
        # Beside its own error the library lets NumPy's through, for number types that NumPy lacks.
        text = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: not a whole safetensors file ({text})") from None


def checked_sum(
    path: str | Path, arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]
) -> None:
    """Raise a CheckpointError unless the arrays are those whose sum is stored with them, if one is."""
    if metadata.get("sha256", _digest(arrays)) != _digest(arrays):
        raise CheckpointError(f"{path}: damaged; the arrays do not match the SHA-256 sum stored with them")


def _on_host(name: str, leaf: Any) -> np.ndarray[Any, Any]:
    backend = backend_of(leaf)
    if backend is None:
        raise CheckpointError(f"{name} is {type(leaf).__name__}, not an array; only arrays are weights")
    return backend.to_numpy(leaf)


def _dotted(accessor: Any) -> str:
    return ".".join(str(entry.entry) for entry in accessor)


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
