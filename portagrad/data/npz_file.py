"""NPZ files: zip archives of NumPy arrays, read without pickle."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from portagrad.data.dataset import Array, Dataset, check_inputs, make_dataset
from portagrad.data.files import nearest, open_data
from portagrad.data.npy_file import read_array
from portagrad.data.regression import RegressionDataset, make_regression
from portagrad.errors import DataError

# Names under which data sets usually store their two arrays, tried in this order when none is given.
USUAL_NAMES = (
    ("inputs", "labels"),
    ("images", "labels"),
    ("data", "labels"),
    ("data", "target"),
    ("x", "y"),
    ("X", "y"),
    ("x_train", "y_train"),
    ("X_train", "y_train"),
)
USUAL_TARGETS = (("inputs", "targets"), ("data", "target"), *(p for p in USUAL_NAMES if p[1].startswith("y")))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; what zipfile finds wrong with it, now or when a member is read, becomes a DataError."""
    with open_data(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            # zipfile raises RuntimeError for an encrypted member, NotImplementedError for an unknown method.
            raise DataError(f"{path}: not an NPZ file, or damaged ({error})") from None


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> Array:
    """One array, its size bounded by what the archive holds; NumPy's own reader allocates what is claimed."""
    where = f'{path}, array "{name}"'
    if name not in _names(archive):
        names = _names(archive)
        close = nearest(name, names)
        hint = f"; the nearest is {close}" if close else ""
        raise DataError(f"{where}: no such array{hint} (the file holds {', '.join(names) or 'none'})")
    member = name + ".npy" if name + ".npy" in archive.namelist() else name
    with archive.open(member) as file:
        return read_array(file, where)


def read_npz_arrays(path: str | Path, names: list[str] | None = None) -> dict[str, Array]:
    """Read arrays of an NPZ file by name.

    Parameters
    ----------
    path : str or Path
    names : list of str, optional
        Which arrays; all by default.

    Raises
    ------
    DataError
        If the file or an array is missing or damaged, or holds Python objects: nothing is unpickled. Memory
        is bounded by what the file holds, whatever a header claims.
    """
    path = Path(path)
    with _opened(path) as archive:
        wanted = _names(archive) if names is None else names
        return {name: _read_member(path, archive, name) for name in wanted}


def read_npz(
    path: str | Path,
    inputs: str | None = None,
    labels: str | None = None,
    *,
    classes: int | Sequence[str] | None = None,
) -> Dataset:
    """Read a data set of an NPZ file.

    Parameters
    ----------
    path : str or Path
    inputs, labels : str, optional
        Names of the two arrays. By default the usual pairs are looked for: ``inputs`` and ``labels``,
        ``images`` and ``labels``, ``data`` and ``target``, ``x`` and ``y``, ``x_train`` and ``y_train``.
    classes : int or sequence of str, optional
        Number of classes, or their names; by default, the highest label plus one or the texts found.

    Raises
    ------
    DataError
        If the file is wrong or an array of it does not fit the other.

    Examples
    --------
    >>> data = read_npz("examples/data/digits.npz")
    >>> len(data), data.inputs.shape, data.classes
    (1797, (1797, 8, 8), 10)
    """
    path = Path(path)
    first, second, label = _pair(path, inputs, labels, "labels", USUAL_NAMES)
    return make_dataset(first, second, what=f'{path}, array "{label}"', classes=classes)


def read_npz_targets(
    path: str | Path,
    inputs: str | None = None,
    targets: str | None = None,
    *,
    names: Sequence[str] | None = None,
) -> RegressionDataset:
    """Read the data set of a regression of an NPZ file.

    Parameters
    ----------
    path : str or Path
    inputs, targets : str, optional
        Names of the two arrays; the targets' has the shape (examples,) or (examples, outputs). By default
        ``inputs`` and ``targets``, ``data`` and ``target``, ``x`` and ``y``, ``x_train`` and ``y_train``.
    names : sequence of str, optional
        Of the outputs; by default the array's.

    Raises
    ------
    DataError
        If the file is wrong or an array of it does not fit the other.
    """
    path = Path(path)
    first, second, target = _pair(path, inputs, targets, "targets", USUAL_TARGETS)
    count = second.shape[1] if second.ndim == 2 else 1
    own = names or ([target] if count == 1 else [f"{target} {k}" for k in range(count)])
    return make_regression(first, second, what=f'{path}, array "{target}"', names=own)


def _pair(
    path: Path, inputs: str | None, targets: str | None, what: str, usual: Sequence[tuple[str, str]]
) -> tuple[Array, Array, str]:
    """The two arrays, the inputs checked, and the name of the second."""
    if inputs is None or targets is None:
        inputs, targets = _find_names(path, inputs, targets, what, usual)
    arrays = read_npz_arrays(path, [inputs, targets])
    check_inputs(arrays[inputs], f'{path}, array "{inputs}"')
    return arrays[inputs], arrays[targets], targets


def _find_names(
    path: Path, inputs: str | None, targets: str | None, what: str, usual: Sequence[tuple[str, str]]
) -> tuple[str, str]:
    with _opened(path) as archive:
        held = _names(archive)
    for usual_inputs, usual_targets in usual:
        pair = (inputs or usual_inputs, targets or usual_targets)
        if pair[0] in held and pair[1] in held:
            return pair
    raise DataError(
        f"{path}: which arrays are the inputs and the {what}? It holds {', '.join(held) or 'none'}; "
        f"name them with data.inputs and data.{what}"
    )
