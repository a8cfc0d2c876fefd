"""`train.fit` of models and data beyond arrays of numbers: states, integers, and data larger than memory."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import own_runs
import pytest

import portagrad as pg
from portagrad import nn, random
from portagrad.data import ArraySource, NpySource
from portagrad.data.rows import rows_of_map
from portagrad.errors import CheckpointError, ConfigError, DataError
from portagrad.onnx import export_trained
from portagrad.train import Config, DataConfig, LoopConfig, Result, fit, load_model, resume
from portagrad.train.feed import on_host
from portagrad.train.own_data import own_prepared
from portagrad.train.weights import named_leaves, read_weights

Array = np.ndarray[Any, Any]
DIGITS = np.load(Path(__file__).resolve().parent.parent / "examples/data/digits.npz")
IMAGES, LABELS = DIGITS["images"][:300].reshape(-1, 64), DIGITS["labels"][:300].astype(np.int64)
KEEP = DataConfig(standardize="none")


configured = functools.partial(own_runs.configured, epochs=3, batch_size=36)


def curve(run: Path) -> list[dict[str, Any]]:
    return own_runs.recorded(run, "norms")


# --- models with a state ---


class Normed(nn.Module):
    """A hidden layer whose features are normalised over the batch."""

    inner: nn.Linear
    norm: nn.BatchNorm
    out: nn.Linear

    @classmethod
    def init(cls, seed: int = 0, **where: Any) -> Normed:
        first, second = random.split(random.key(seed))
        where = {"dtype": "float32", "device": "cpu", **where}
        inner = nn.Linear.init(first, 64, 12, **where)
        return cls(inner, nn.BatchNorm.init(12, **where), nn.Linear.init(second, 12, 10, **where))

    def initial_state(self) -> Any:
        return self.norm.initial_state()

    def __call__(
        self, x: Any, state: Any, *, train: bool = True, key: random.Key | None = None
    ) -> tuple[Any, Any]:
        x, state = self.norm(self.inner(x), state, train=train)
        x = nn.relu(x)
        return self.out(nn.dropout(x, 0.1, key=key) if key is not None else x), state


def by_hand(config: Config, epochs: int) -> tuple[Any, Any]:
    """The run's steps with nothing of its loop: the weights and the state in the end."""
    prepared = own_prepared((IMAGES, LABELS), config.data, random.split(random.key(0), 4)[0], "float32")
    _, _, order, dropout = random.split(random.key(0), 4)
    model, opt = Normed.init(), pg.optim.adamw(0.02)
    state, own = model.initial_state(), opt.init(model)
    for epoch in range(1, epochs + 1):
        for x, y in prepared.train.batches(random.fold_in(order, epoch), 36, 0, (0, 1)):
            dropout, mine = random.split(dropout)

            def loss(model: Any, state: Any = state, x: Any = x, y: Any = y, key: Any = mine) -> Any:
                outputs, after = model(x, state, train=True, key=key)
                return nn.cross_entropy(outputs, y), after

            (_, state), grads = pg.value_and_grad(loss, has_aux=True)(model)
            updates, own = opt.update(grads, own, model)
            model = pg.optim.apply_updates(model, updates)
    return model, state


def test_a_model_with_a_state_is_trained_as_by_hand_and_predicts_by_it(tmp_path: Path) -> None:
    config = configured(tmp_path)
    result = fit(Normed.init(), (IMAGES, LABELS), config)
    weights, state = by_hand(config, 3)
    for ours, theirs in ((result.model.network, weights), (result.model.state, state)):
        for name, leaf in named_leaves(ours).items():
            np.testing.assert_allclose(leaf, named_leaves(theirs)[name], rtol=2e-5, atol=1e-6)
    scaled = result.trained.inputs(IMAGES, "float32")  # type: ignore[misc]
    expected = nn.softmax(weights(scaled, state, train=False)[0])
    found = result.predict(IMAGES)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-3, atol=1e-5)
    assert result.summary["weights"] == sum(leaf.size for leaf in named_leaves(weights).values())
    # An example is predicted by itself as among others, which no mean over a batch would do.
    np.testing.assert_allclose(result.predict(IMAGES[:1]).probabilities, found.probabilities[:1], atol=1e-6)

    saved = read_weights(result.folder / "model.safetensors")[0]
    assert {"model.network.norm.weight", "model.state.mean", "model.state.variance"} <= saved.keys()
    again = load_model(result.folder, like=Normed.init(7), device="cpu")
    np.testing.assert_array_equal(again.predict(IMAGES).probabilities, found.probabilities)
    with pytest.raises(CheckpointError, match=r"no array 'model\.weight'"):
        load_model(result.folder, like=nn.Linear.init(random.key(0), 64, 10))
    onnx = pytest.importorskip("onnxruntime")
    session = onnx.InferenceSession(export_trained(again).SerializeToString())
    told = session.run(["probabilities"], {"inputs": IMAGES[:7].astype(np.float32)})[0]
    np.testing.assert_allclose(told, found.probabilities[:7], atol=1e-5)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_run_with_a_state_goes_on_bit_for_bit(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    compiled = {"compile": library == "torch", "checkpoint_steps": 2}
    model = Normed.init(device=library)
    whole = fit(model, (IMAGES, LABELS), configured(tmp_path, "whole", train=compiled))
    first = fit(model, (IMAGES, LABELS), configured(tmp_path, "first", train={**compiled, "epochs": 1}))
    longer = resume(first.folder, ["train.epochs=3"], model=Normed.init(9), data=(IMAGES, LABELS))
    assert curve(longer.folder) == curve(whole.folder)
    for name in ("model.safetensors", "best.safetensors"):
        assert (longer.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_in_slices_and_mixed_precision_the_state_is_the_mean_of_the_slices(tmp_path: Path) -> None:
    config = {"epochs": 1, "batch_size": 1000}
    runs = {
        name: fit(Normed.init(), (IMAGES, LABELS), configured(tmp_path, name, train={**config, **more}))
        for name, more in {"whole": {}, "sliced": {"slice_size": 60}, "mixed": {"dtype": "mixed"}}.items()
    }
    means = {name: on_host(run.model.state.mean) for name, run in runs.items()}
    np.testing.assert_allclose(means["sliced"], means["whole"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(means["mixed"], means["whole"], rtol=1e-4, atol=1e-6)
    saved = read_weights(next((tmp_path / "mixed" / "checkpoints").glob("*/arrays.safetensors")))[0]
    assert saved["model.state.mean"].dtype == np.float64 and means["mixed"].dtype == np.float32


class Untold(Normed):
    def initial_state(self) -> Any:
        return {"mean": self.norm.weight}


def test_what_a_state_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ones = Config(train=LoopConfig(batch_size=209))  # of 210
    small = r"trained on its smallest batch \(train\.batch_size is 209\) with 1 example, .* no variance"
    for model, config, text in (
        (Normed.init(), ones, small),
        (Untold.init(), Config(), r"^fit: Untold, called with 2 examples, .* failed: AttributeError"),
    ):
        with pytest.raises(ConfigError, match=text):
            fit(model, (IMAGES, LABELS), config)
    assert not list(tmp_path.iterdir())


# --- integers ---


class Bag(nn.Module):
    """Classes by the mean of the vectors of words."""

    table: Any
    out: nn.Linear

    @classmethod
    def init(cls, words: int = 50, **where: Any) -> Bag:
        first, second = random.split(random.key(1))
        where = {"dtype": "float32", "device": "cpu", **where}
        table = nn.initializers.normal(0.3)(first, (words, 6), **where)
        return cls(table, nn.Linear.init(second, 6, 2, **where))

    def __call__(self, x: Any) -> Any:
        words = pg.take(self.table, pg.reshape(x, (-1,)), axis=0)
        return self.out(pg.mean(pg.reshape(words, (*x.shape, -1)), axis=1))


def sentences() -> tuple[Array, Array]:
    """Seven words each of 50, of which the first 25 make one class likely."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    words = rng.integers(0, 25, (300, 7)) + 25 * (rng.random((300, 7)) < 0.2 + 0.6 * labels[:, None])
    return words, labels


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_integers_reach_the_model_as_they_are(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    words, labels = sentences()
    model = Bag.init(device=library)
    loop = {"epochs": 12, "compile": library == "torch", "figures": library == "numpy"}
    result = fit(model, (words, labels), configured(tmp_path, data=KEEP, train=loop))
    assert result.test_accuracy > 0.85
    saved = read_weights(result.folder / "model.safetensors")[0]
    assert saved.keys() == {"model.table", "model.out.weight", "model.out.bias"}
    again = load_model(result.folder, like=Bag.init(), device="cpu")
    found = again.predict(words[:9].astype(np.uint8)).probabilities
    np.testing.assert_allclose(found, result.predict(words[:9]).probabilities, rtol=1e-5)
    with pytest.raises(DataError, match=r"^inputs: float64, where the model takes integers, as they are$"):
        again.predict(words / 2)
    with pytest.raises(DataError, match=r"^inputs: row 1, column 2 is 4294967296, beyond 32 bits$"):
        again.predict(np.where(np.arange(14).reshape(2, 7) == 9, 1 << 32, 0))
    if library == "numpy":
        assert "not drawn" not in (result.folder / "report.html").read_text()
        onnx = pytest.importorskip("onnxruntime")
        session = onnx.InferenceSession(export_trained(again).SerializeToString())
        told = session.run(["probabilities"], {"inputs": words[:9].astype(np.int32)})[0]
        np.testing.assert_allclose(told, found, atol=1e-5)


def test_integers_in_mixed_precision_and_in_slices(tmp_path: Path) -> None:
    expected = fit(Bag.init(), sentences(), configured(tmp_path, "plain", data=KEEP))
    for name, how in (("mixed", {"dtype": "mixed"}), ("sliced", {"slice_size": 10})):
        found = fit(Bag.init(), sentences(), configured(tmp_path, name, data=KEEP, train=how))
        assert found.model.table.dtype == np.float32
        assert found.test_loss == pytest.approx(expected.test_loss, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "data", "text"),
    [
        (40, KEEP, r"Bag, called with integers from 0 to 49, 2 examples, .* failed: IndexError.*as they are"),
        (50, DataConfig(), r"failed: .*; its integers were standardised: data\.standardize = \"none\" gives"),
    ],
)
def test_integers_beyond_a_table_are_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: int, data: DataConfig, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=text):
        fit(Bag.init(words), sentences(), Config(data=data))
    assert not list(tmp_path.iterdir())


# --- data larger than memory ---


class Flat(nn.Module):
    inner: nn.Linear

    def __call__(self, x: Any) -> Any:
        return self.inner(pg.reshape(x, (x.shape[0], -1)))


def mapped(folder: Path, inputs: Array = IMAGES, mode: Any = "r") -> Any:
    np.save(folder / "x.npy", inputs.reshape(-1, 8, 8))
    np.save(folder / "y.npy", LABELS)
    return np.load(folder / "x.npy", mmap_mode=mode), np.load(folder / "y.npy", mmap_mode=mode)


def flat(name: str, data: Any, folder: Path, **keys: Any) -> Result:
    model = Flat(nn.Linear.init(random.key(0), 64, 10, device="cpu"))
    config = DataConfig(**{"window_mb": 1, **keys})
    return fit(model, data, configured(folder, name, data=config, train={"epochs": 5}))


def test_a_source_and_memory_maps_are_the_same_stream(tmp_path: Path) -> None:
    x, y = mapped(tmp_path)
    results = [
        flat("source", NpySource(tmp_path / "x.npy", tmp_path / "y.npy"), tmp_path),
        flat("maps", (x, y), tmp_path, stream=True),
        flat("arrays", (np.array(x), np.array(y)), tmp_path, stream=True),
        flat("text", (x, np.asarray([f"digit {k}" for k in y])), tmp_path, stream=True),
    ]
    assert results[0].summary["shape"] == [8, 8] and results[0].test_accuracy > 0.8
    assert results[3].summary["classes"][3] == "digit 3"
    for other in results[1:]:
        assert curve(other.folder) == curve(results[0].folder)
    found = results[0].predict(IMAGES.reshape(-1, 8, 8)).values
    assert (found == LABELS).mean() > 0.85
    whole = flat("whole", (x, y), tmp_path)  # below 256 MB
    assert curve(whole.folder) != curve(results[0].folder)
    parts = {"train": (x[:200], y[:200]), "validation": (x[200:250], y[200:250]), "test": (x[250:], y[250:])}
    sizes = flat("parts", parts, tmp_path, stream=True).summary["examples"]
    assert sizes == {"train": 200, "validation": 50, "test": 50}


def test_a_stream_goes_on_and_notices_other_data(tmp_path: Path) -> None:
    data = mapped(tmp_path, mode="r+")
    first = flat("run", data, tmp_path, stream=True)
    model = Flat(nn.Linear.init(random.key(0), 64, 10, device="cpu"))
    longer = resume(first.folder, ["train.epochs=6"], model=model, data=data)
    assert len(curve(longer.folder)) == 7
    data[0][299, 7, 7] += 1  # through the map, and so in the file
    with pytest.raises(CheckpointError, match="other data or another model"):
        resume(first.folder, ["train.epochs=7"], model=model, data=data)


def test_the_rows_of_a_memory_map_are_read_from_its_file(tmp_path: Path) -> None:
    x, _ = mapped(tmp_path)
    for view in (x, x[17:], x[3:200], x[5:6], x.reshape(-1, 2, 32)[9:]):
        rows = rows_of_map(view)
        assert rows is not None and len(rows) == len(view)
        np.testing.assert_array_equal(rows.read(0, len(view)), view)
    raw = np.memmap(tmp_path / "x.npy", np.uint8, "r", offset=4097, shape=(3000,))
    np.testing.assert_array_equal(rows_of_map(raw[11:]).read(0, 99), raw[11:110])  # type: ignore[union-attr]
    own = np.load(tmp_path / "x.npy", mmap_mode="c")
    own[0] = 7
    assert all(rows_of_map(array) is None for array in (own, x[:, 1:], x[::2], x + 1, np.array(x)))
    assert ArraySource(own, LABELS).block(0)[0][0, 0] == 7


def test_what_is_wrong_with_a_stream_comes_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    wrong = IMAGES.reshape(-1, 8, 8).astype(np.float32)
    wrong[123, 2, 5] = np.nan
    x, y = mapped(tmp_path, wrong)
    monkeypatch.chdir(tmp_path / "empty")
    source, model = ArraySource(IMAGES, LABELS), Flat(nn.Linear.init(random.key(0), 64, 10, device="cpu"))
    for data, keys, error, text in (
        ((x, y), {"stream": True}, DataError, r"^inputs, row 123, column 21 is nan; every input must be"),
        ((x, y[:-1]), {"stream": True}, DataError, r"300 inputs, but 299 targets"),
        ((IMAGES, y - 1), {"stream": True}, DataError, r"the label -1 is out of range"),
        (source, {"stream": False}, ConfigError, r"^data\.stream: is false, but the data are a ArraySource"),
        ({"train": source, "test": (x, y)}, {}, DataError, r"^test inputs: examples have the shape \(8, 8\)"),
    ):
        with pytest.raises(error, match=text):
            fit(model, data, Config(data=DataConfig(**keys)))
    assert not list((tmp_path / "empty").iterdir())


_LIMITED = """
import re, sys
from pathlib import Path
import numpy as np
import portagrad as pg
from portagrad import nn, random
from portagrad.train import Config, DataConfig, LoopConfig, fit

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

folder, before = Path(sys.argv[1]), None
for name in "ab":
    x, y = np.load(folder / f"x{name}.npy", mmap_mode="r"), np.load(folder / f"y{name}.npy")
    config = Config(
        data=DataConfig(window_mb=8, stream=True if name == "a" else None, validation_fraction=0.0),
        train=LoopConfig(epochs=1, batch_size=256, compile=False, figures=False),
        output=folder / name,
    )
    fit(nn.Linear.init(random.key(0), 250, 2, device="cpu"), (x, y), config)
    before, growth = peak(), peak() - (before or peak())
print(round(growth, 1))
"""


def test_memory_stays_flat_for_a_memory_map_of_several_times_what_it_may_take(tmp_path: Path) -> None:
    """A map of 300 MB, which is streamed by itself, beside one of 1 MB; both windows are of 8 MB."""
    for name, rows in (("a", 1000), ("b", 300_000)):
        inputs = np.lib.format.open_memmap(tmp_path / f"x{name}.npy", "w+", np.float32, (rows, 250))
        inputs[:: rows // 10, 0] = 1  # the rest are holes, which take neither time nor disk
        np.save(tmp_path / f"y{name}.npy", np.arange(rows, dtype=np.int8) % 2)
        del inputs
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    growth = float(run.stdout.split()[-1])
    assert 0 < growth < 60, f"grew by {growth} MB"
