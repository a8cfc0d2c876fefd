"""Streams: their order, their parts, their memory, and files that change under them."""

import dataclasses
import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import portagrad as pg
from portagrad.data import (
    ArraySource,
    Moments,
    NpySource,
    ParquetSource,
    Part,
    Standardization,
    batches,
    blocks,
    class_weights,
    parquet_file,
    prefetched,
    read,
    read_npy,
    stream,
)
from portagrad.data import source as source_module
from portagrad.errors import DataError
from portagrad.train import Config, DataConfig, LoopConfig, resume, start
from portagrad.train.feed import Feed, on_host
from portagrad.train.prepare import prepare
from portagrad.train.weights import named_leaves

KEY = pg.random.key(3)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 rows of two float64 numbers."""
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 7 * 16)


def table(rows):
    """Inputs of two features that tell the row, and the row as target."""
    numbers = np.arange(rows)
    return np.stack([numbers, numbers * 10.0], axis=1), numbers


@pytest.fixture
def files(tmp_path):
    """The same table as two NPY files and as a Parquet file of row groups of 7."""

    def write(inputs, targets):
        np.save(tmp_path / "x.npy", inputs)
        np.save(tmp_path / "y.npy", targets)
        columns = {f"c{i}": inputs[:, i] for i in range(inputs.shape[1])}
        pq.write_table(pa.table({**columns, "y": targets}), tmp_path / "t.parquet", row_group_size=7)
        return NpySource(tmp_path / "x.npy", tmp_path / "y.npy"), ParquetSource(tmp_path / "t.parquet", ["y"])

    write.folder = tmp_path
    return write


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def listed(epoch):
    return [targets.tolist() for _, targets in epoch]


# --- order ---


@pytest.mark.usefixtures("small_blocks")
def test_every_source_streams_the_same_rows_in_the_same_order(files):
    inputs, targets = table(100)
    orders = []
    for source in (ArraySource(inputs, targets), *files(inputs, targets)):
        epoch = list(stream(source, KEY, 8, window_bytes=3 * 7 * 16))
        for rows, numbers in epoch:
            np.testing.assert_array_equal(rows, inputs[numbers])
        orders.append(listed(epoch))
    assert orders[0] == orders[1] == orders[2]
    assert [len(batch) for batch in orders[0]] == [8] * 12 + [4]
    flat = joined(orders[0])
    assert sorted(flat) == list(range(100))
    # A window of three blocks of 7: its rows are shuffled among blocks, and come from no other block.
    assert len({row // 7 for row in flat[:21]}) == 3
    assert len({row // 7 for row in flat[:7]}) > 1
    other = listed(stream(source, pg.random.fold_in(KEY, 2), 8, window_bytes=3 * 7 * 16))
    assert other != orders[0]


@pytest.fixture
def large_group(monkeypatch, tmp_path):
    """A table as one row group, which is too large to be read whole; blocks are of 7 rows."""
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 7 * 16)
    monkeypatch.setattr(parquet_file, "_WHOLE", 10 * 16)

    def write(inputs, **targets):
        columns = {f"c{i}": inputs[:, i] for i in range(inputs.shape[1])}
        pq.write_table(pa.table({**columns, **targets}), tmp_path / "large.parquet")
        return ParquetSource(tmp_path / "large.parquet", list(targets))

    return write


def test_a_large_row_group_is_streamed_as_any_blocks(large_group):
    inputs, targets = table(100)
    expected = list(stream(ArraySource(inputs, targets), KEY, 8, window_bytes=3 * 7 * 16))
    source = large_group(inputs, y=targets)
    for first in (0, 5):
        epoch = stream(source, KEY, 8, start=first, window_bytes=3 * 7 * 16)
        for ours, theirs in zip(epoch, expected[first:], strict=True):
            assert all(map(np.array_equal, ours, theirs))
    text = large_group(inputs, y=[f"class {n % 3}" for n in targets])
    assert [str(x) for x in text.block(14)[1]] == ["class 2", "class 0"]  # of rows 98 and 99
    both = large_group(inputs, y=targets, z=targets * 2.0)
    np.testing.assert_array_equal(both.block(2)[1], [[n, 2 * n] for n in range(14, 21)])
    # A group of 10 rows is read whole, one of 11 is not.
    assert [len(large_group(inputs[:n], y=targets[:n]).bounds) for n in (10, 11)] == [2, 3]


def test_what_is_wrong_with_a_large_row_group(large_group, tmp_path, monkeypatch):
    inputs, targets = table(40)
    inputs[23, 1] = np.nan
    with pytest.raises(DataError, match=r"large\.parquet: row 23, column 'c1' is nan"):
        list(blocks(large_group(inputs, y=targets)))
    missing = [None if n == 31 else n for n in targets.tolist()]
    with pytest.raises(DataError, match=r"large\.parquet: row 31, column 'y' is null"):
        list(blocks(large_group(table(40)[0], y=missing)))
    source = large_group(*table(40)[:1], y=targets)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(
        DataError, match=r"too large to be read at once, .*nowhere failed \(No such file.*TMPDIR"
    ):
        source.block(0)
    monkeypatch.delenv("TMPDIR")
    path = tmp_path / "large.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"large\.parquet: no Parquet file, or damaged"):
        source.block(0)


@pytest.mark.usefixtures("small_blocks")
def test_a_stream_is_the_same_on_every_device(files, xp_device):
    """Batches of both formats and all examples in their order, as they reach the device."""
    files(*table(60))
    for path, labels in (("x.npy", "y.npy"), ("t.parquet", "y")):
        labels = str(files.folder / labels) if path == "x.npy" else labels
        config = DataConfig(path=files.folder / path, labels=labels, classes=60, stream=True)
        train = prepare(config, KEY).train
        feed = Feed(train, xp_device)
        for ours, theirs in (
            (feed.batches(KEY, 16, 1), train.batches(KEY, 16, 1, (0, 1))),
            (feed.all(), train.rows(0, len(train))),
        ):
            for moved, host in zip(ours, theirs, strict=True):
                assert {pg.device(array) for array in moved} == {xp_device}
                assert all(
                    np.array_equal(on_host(one), other) for one, other in zip(moved, host, strict=True)
                )


@pytest.mark.usefixtures("small_blocks")
def test_a_stream_starts_at_any_batch_without_reading_what_came_before():
    source = ArraySource(*table(100))
    whole = listed(stream(source, KEY, 8, window_bytes=2 * 7 * 16))
    read_blocks = []
    block = source.block
    source.block = lambda number: read_blocks.append(number) or block(number)
    for first in range(len(whole) + 1):
        assert listed(stream(source, KEY, 8, start=first, window_bytes=2 * 7 * 16)) == whole[first:]
    read_blocks.clear()
    next(stream(source, KEY, 8, start=11, window_bytes=2 * 7 * 16))
    assert len(read_blocks) <= 4  # the two windows that the batch may lie in, of 15 blocks


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("ranks", [1, 2, 4, 11])
def test_a_global_batch_is_made_of_the_same_rows_on_any_number_of_ranks(ranks):
    source = ArraySource(*table(50))
    whole = listed(stream(source, KEY, 8, start=1, window_bytes=2 * 7 * 16))
    in_memory = [rows.tolist() for rows in batches(KEY, 50, 8, start=1)]
    for expected, epoch in (
        (whole, lambda shard: listed(stream(source, KEY, 8, start=1, shard=shard, window_bytes=2 * 7 * 16))),
        (in_memory, lambda shard: [r.tolist() for r in batches(KEY, 50, 8, start=1, shard=shard)]),
    ):
        parts = [epoch((rank, ranks)) for rank in range(ranks)]
        assert [joined(slices) for slices in zip(*parts, strict=True)] == expected
        sizes = [len(part[0]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    with pytest.raises(ValueError, match=r"0 <= rank < ranks"):
        next(batches(KEY, 50, 8, shard=(ranks, ranks)))


@pytest.mark.usefixtures("small_blocks")
def test_the_parts_of_a_source_are_a_split_of_it():
    source = ArraySource(*table(1000))
    ends = [(0, 0.7), (0.7, 0.75), (0.75, 1)]
    parts = [Part(source, KEY, *both) for both in ends]
    rows = [np.concatenate([targets for _, targets in blocks(part)]) for part in parts]
    assert sorted(np.concatenate(rows).tolist()) == list(range(1000))
    for (low, high), part, own in zip(ends, parts, rows, strict=True):
        assert part.bounds[-1] == len(own)
        assert abs(len(own) - 1000 * (high - low)) <= 2
        assert sorted(joined(listed(stream(part, KEY, 8)))) == own.tolist()
    with pytest.raises(DataError, match="is empty"):
        Part(source, KEY, 0.5, 0.50001)


# --- fitting and weights ---


def test_moments_merged_block_by_block_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    x = rng.normal(1e6, [1.0, 1e-2, 30.0], (5000, 3))
    moments = Moments()
    for low, high in ((0, 1), (1, 2000), (2000, 2007), (2007, 5000)):
        moments.add(x[low:high])
    for by, axis in (("features", 0), ("whole", None)):
        fitted = moments.standardization(by)
        np.testing.assert_allclose(fitted.mean, np.broadcast_to(x.mean(axis=axis), 3), rtol=1e-13)
        np.testing.assert_allclose(fitted.scale, np.broadcast_to(x.std(axis=axis), 3), rtol=1e-9)
    fitted = Standardization.fit(x)
    np.testing.assert_allclose(fitted.undo(fitted(x)), x, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64", "int32"])
@pytest.mark.parametrize("mean", [0.0, 100.0, 1e6, 1e34])
def test_standardised_inputs_are_those_of_float64_to_the_last_bits_of_their_dtype(dtype, mean):
    """A mean far above the deviation, and one beyond what is computed in float32 alone."""
    rng = np.random.default_rng(0)
    with np.errstate(invalid="ignore", over="ignore"):
        x = np.clip(rng.normal(mean, 0.5 + mean / 50, (300, 7)), 0, np.iinfo(np.uint8).max)
        x = (rng.normal(mean, 0.5 + mean / 1e5, (300, 7)) if dtype.startswith("float") else x).astype(dtype)
    fitted = Standardization.fit(x)
    exact = (x.astype(np.float64) - fitted.mean) / fitted.scale
    rows = rng.permutation(300)[:50]
    for ready, expected in ((fitted(x, "float32"), exact), (fitted(x, "float32", rows), exact[rows])):
        assert ready.dtype == np.float32
        np.testing.assert_allclose(ready, expected, rtol=5e-7, atol=1e-9)
    np.testing.assert_array_equal(fitted(x, "float64", rows), exact[rows])


def test_balanced_class_weights_are_scikit_learns():
    compute = pytest.importorskip("sklearn.utils.class_weight", reason="compares with scikit-learn")
    labels = np.repeat([0, 1, 2], [7, 2, 1])
    expected = compute.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("balanced", np.bincount(labels), "abc"), expected)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("balance", "'balance'"),
        ({"yess": 2.0}, "the nearest is 'yes'"),
        ([1.0], "1 weights for 2 classes"),
        ([1.0, -1.0], "not negative"),
        ([0.0, 0.0], "one at least above 0"),
        ("balanced", "'yes' has no training example"),
    ],
)
def test_wrong_class_weights_say_what_is_wrong(asked, text):
    with pytest.raises(DataError, match=text):
        class_weights(asked, np.asarray([3, 0]), ["no", "yes"])


# --- missing values, and files that change ---


@pytest.mark.usefixtures("small_blocks")
def test_a_value_that_is_not_finite_is_found_with_row_and_column(files):
    inputs, targets = table(40)
    inputs[23, 1] = np.nan
    npy, parquet = files(inputs, targets)
    for source, column in ((npy, "1"), (parquet, "'c1'")):
        for part in (source, Part(source, KEY, 0, 0.999999)):
            with pytest.raises(DataError, match=rf"row 23, column {column} is nan"):
                list(blocks(part))


def test_a_null_of_a_parquet_file_is_found_with_row_and_column(tmp_path):
    for name in ("a", "y"):
        columns = {"a": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1]}
        columns[name][2] = None
        pq.write_table(pa.table(columns), tmp_path / "n.parquet", row_group_size=2)
        with pytest.raises(DataError, match=f"row 2, column '{name}' is null"):
            list(blocks(ParquetSource(tmp_path / "n.parquet", ["y"])))


@pytest.mark.usefixtures("small_blocks")
def test_a_file_that_shrinks_or_vanishes_is_a_data_error(files, tmp_path):
    npy, parquet = files(*table(200))
    for source, path in ((npy, tmp_path / "x.npy"), (parquet, tmp_path / "t.parquet")):
        epoch = stream(source, KEY, 8, window_bytes=7 * 16)
        next(epoch)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 4])
        with pytest.raises(DataError, match=path.name):
            list(epoch)
        path.unlink()
        with pytest.raises(DataError, match=f"{path.name}: no such file"):
            source.block(0)


def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((3, 2)))
    np.save(tmp_path / "y.npy", np.zeros(3))
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b"(3, 2), }         ", b"(3, 99999999999), }"[:18]))
    assert path.read_bytes() != honest
    for call in (lambda: read_npy(path), lambda: NpySource(path, tmp_path / "y.npy")):
        with pytest.raises(DataError, match=r"truncated|damaged"):
            call()
    np.save(path, np.asarray([{}, {}]), allow_pickle=True)
    with pytest.raises(DataError, match="only pickle could read"):
        read_npy(path)
    np.save(path, np.asfortranarray(np.zeros((3, 2))))
    with pytest.raises(DataError, match="Fortran order"):
        NpySource(path, tmp_path / "y.npy")


@pytest.mark.parametrize("seed", range(3))
def test_a_mutated_parquet_file_is_read_or_a_data_error(files, tmp_path, seed):
    files(*table(30))
    path, rng = tmp_path / "t.parquet", np.random.default_rng(seed)
    honest = path.read_bytes()
    refused = 0
    for _ in range(100):
        content = bytearray(honest)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            list(blocks(ParquetSource(path, ["y"])))
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


# --- prefetching ---


def test_prefetching_keeps_the_order_and_passes_errors_on():
    def items():
        yield from range(5)
        raise DataError("gone")

    seen = []
    with pytest.raises(DataError, match="gone"):
        for item in prefetched(items()):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert list(prefetched(range(100), depth=1)) == list(range(100))


def test_the_thread_makes_no_more_than_its_depth_ahead_and_ends_when_the_consumer_stops():
    made, closed = [], threading.Event()

    def items():
        try:
            for n in range(1000):
                made.append(n)
                yield n
        finally:
            closed.set()

    before = threading.active_count()
    ahead = prefetched(items(), depth=3)
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(made) <= 1 + 3 + 1  # taken, queued, in hand
    ahead.close()
    assert closed.is_set()
    assert threading.active_count() == before


# --- training ---


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_streamed_data_are_those_read_whole(files, tmp_path, format):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(5, 3, (400, 2)), rng.integers(0, 3, 400)
    files(inputs, targets)
    path, labels = (
        (tmp_path / "x.npy", str(tmp_path / "y.npy")) if format == "npy" else (tmp_path / "t.parquet", "y")
    )
    whole = read(path, labels=labels)
    np.testing.assert_array_equal(whole.inputs, inputs)
    assert whole.labels.tolist() == targets.tolist()
    prepared = prepare(DataConfig(path=path, labels=labels, stream=True), KEY, "float64")
    parts = [prepared.train, prepared.validation, prepared.test]
    assert [len(part) for part in parts] == pytest.approx([280, 40, 80], abs=3)
    restored = [
        (prepared.standardization.undo(rows), labels.tolist())
        for part in parts
        for rows, labels in part.rows(0, len(part))
    ]
    rows = np.concatenate([rows for rows, _ in restored])
    order = np.lexsort(rows.T)
    np.testing.assert_allclose(rows[order], inputs[np.lexsort(inputs.T)])
    assert np.asarray(joined(labels for _, labels in restored))[order].tolist() == (
        targets[np.lexsort(inputs.T)].tolist()
    )
    # Fitted on the training examples alone.
    train = np.concatenate([rows for rows, _ in prepared.train.rows(0, len(prepared.train))])
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train.std(axis=0), 1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_the_targets_of_a_regression_are_streamed_as_they_are_read_whole(files, tmp_path, format):
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(5, 3, (210, 2)), rng.normal(1e6, [5.0], (210,))
    files(inputs, targets)
    named = (
        (tmp_path / "x.npy", str(tmp_path / "y.npy")) if format == "npy" else (tmp_path / "t.parquet", "y")
    )
    config = DataConfig(path=named[0], task="regression", targets=named[1], stream=True)
    streamed = prepare(config, KEY, "float64")
    whole = prepare(dataclasses.replace(config, stream=False), KEY, "float64")
    for prepared in (streamed, whole):
        parts = [
            list(part.rows(0, len(part))) for part in (prepared.train, prepared.validation, prepared.test)
        ]
        rows = prepared.standardization.undo(np.concatenate([x for part in parts for x, _ in part]))
        found = prepared.targets.undo(np.concatenate([y for part in parts for _, y in part]))
        assert found.shape == (210, 1)
        np.testing.assert_allclose(rows[np.argsort(rows[:, 0])], inputs[np.argsort(inputs[:, 0])])
        np.testing.assert_allclose(found[np.argsort(rows[:, 0]), 0], targets[np.argsort(inputs[:, 0])])
        own = np.concatenate([y for _, y in parts[0]])  # fitted on the training examples alone
        np.testing.assert_allclose([own.mean(), own.std()], [0, 1], atol=1e-9)
        np.testing.assert_array_equal(prepared.train.targets, own)
        assert abs(np.concatenate([y for _, y in parts[2]]).mean()) > 1e-3
        assert prepared.names == (("target",) if format == "npy" else ("y",))
    targets[100] += 1
    files(inputs, targets)  # which a run that goes on must notice
    assert prepare(config, KEY, "float64").train.checksum() != streamed.train.checksum()


@pytest.mark.usefixtures("small_blocks")
def test_a_target_of_a_stream_that_is_not_finite_is_found_with_row_and_column(files, tmp_path):
    inputs, targets = table(40)
    targets = targets.astype(np.float64)
    npy = DataConfig(path=tmp_path / "x.npy", task="regression", targets=str(tmp_path / "y.npy"), stream=True)
    parquet = DataConfig(path=tmp_path / "t.parquet", task="regression", targets="y", stream=True)
    for bad, said in ((np.nan, "nan"), (np.inf, "inf")):
        targets[23] = bad
        files(inputs, targets)
        for config, text in ((npy, "y.npy: row 23, column 0"), (parquet, "t.parquet: row 23, column 'y'")):
            with pytest.raises(DataError, match=f"{text} is {said}; every target must be finite"):
                prepare(config, KEY)
    # Of the test's own file too, and before anything is trained.
    (tmp_path / "good").mkdir()
    np.save(tmp_path / "good" / "y.npy", np.arange(40.0))
    own = dataclasses.replace(
        npy,
        targets=str(tmp_path / "good" / "y.npy"),
        test_path=tmp_path / "x.npy",
        test_targets=str(tmp_path / "y.npy"),
    )
    with pytest.raises(DataError, match=r"y\.npy: row 23, column 0 is inf"):
        prepare(own, KEY)
    np.save(tmp_path / "y.npy", np.ones(40))
    with pytest.raises(
        DataError, match=r"'target' is 1 in every training example; there is nothing to learn"
    ):
        prepare(npy, KEY)


def test_balanced_weights_of_a_stream_count_its_training_rows(files, tmp_path):
    inputs, _ = table(60)
    labels = np.repeat([0, 1], [45, 15])
    files(inputs, labels)
    config = DataConfig(
        path=tmp_path / "x.npy", labels=str(tmp_path / "y.npy"), stream=True, class_weights="balanced"
    )
    prepared = prepare(config, KEY)
    counts = np.bincount(prepared.train.targets)
    np.testing.assert_allclose(prepared.class_weights, counts.sum() / (2 * counts))
    fixed = prepare(dataclasses.replace(config, class_weights=(1.0, 3.0)), KEY)
    assert fixed.class_weights.tolist() == [1, 3]
    assert prepare(dataclasses.replace(config, class_weights="none"), KEY).class_weights is None


def test_a_run_on_a_stream_learns_and_goes_on_as_if_it_had_never_stopped(tmp_path):
    digits = read("examples/data/digits.npz")
    np.save(tmp_path / "x.npy", digits.inputs)
    np.save(tmp_path / "y.npy", digits.labels)
    data = DataConfig(path=tmp_path / "x.npy", labels=str(tmp_path / "y.npy"), stream=True)
    config = Config(data=data, train=LoopConfig(epochs=5), device="numpy")
    whole = start(dataclasses.replace(config, output=tmp_path / "whole"))
    assert whole.test_accuracy > 0.85
    first = dataclasses.replace(config, train=LoopConfig(epochs=2), output=tmp_path / "parts")
    parts = resume(start(first).folder, ["train.epochs=5"])
    for name, weights in named_leaves(whole.model).items():
        np.testing.assert_array_equal(weights, named_leaves(parts.model)[name])


_LIMITED = """
import re, sys
from pathlib import Path

import portagrad as pg
from portagrad.train import DataConfig
from portagrad.train.feed import Feed
from portagrad.train.prepare import prepare

def peak():
    # VmHWM, not ru_maxrss, which a process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

folder, format = Path(sys.argv[1]), sys.argv[2]
before = None
for size in ("small", "large"):
    files = {"path": folder / f"{size}.parquet", "labels": "y"}
    if format == "npy":
        files = {"path": folder / f"{size}.npy", "labels": str(folder / f"{size}-y.npy")}
    prepared = prepare(DataConfig(**files, stream=True, window_mb=8), pg.random.key(0))
    feed, rows = Feed(prepared.train, pg.device("numpy")), 0
    for inputs, labels in feed.batches(pg.random.key(1), 256):
        rows += len(labels)
    assert rows == len(prepared.train)
    before, growth = peak(), peak() - (before or peak())
print(round(growth, 1))
"""


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_memory_stays_flat_on_a_file_of_several_times_what_it_may_take(tmp_path, format):
    """A run over 200 MB peaks less than 60 MB above what one over 1 MB takes; windows are of 8 MB.

    All of the Parquet file is one row group, in which pyarrow needs some bytes of every column.
    """
    for size, rows in (("small", 1000), ("large", 200_000)):
        labels = np.arange(rows, dtype=np.int8) % 2
        if format == "npy":
            # Files with holes: blocks of zeros take neither time nor disk.
            inputs = np.lib.format.open_memmap(tmp_path / f"{size}.npy", "w+", np.float32, (rows, 250))
            inputs[:: rows // 10, 0] = 1
            np.save(tmp_path / f"{size}-y.npy", labels)
            del inputs
        else:
            column = np.zeros(rows, np.float32)
            column[:: rows // 10] = 1
            columns = {f"c{i}": column for i in range(250)}
            pq.write_table(pa.table({**columns, "y": labels}), tmp_path / f"{size}.parquet")
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path), format], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert 0 < float(run.stdout) < 60, f"grew by {run.stdout.strip()} MB"
    print(f"grew by {run.stdout.strip()} MB")
