"""Readers of data files: what they return, and what each kind of damage is called."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import portagrad as pg
from portagrad.data import (
    Dataset,
    RegressionDataset,
    Standardization,
    batches,
    file_format,
    make_dataset,
    read,
    read_csv,
    read_idx,
    read_idx_array,
    read_npz,
    read_npz_arrays,
    read_regression,
    split,
)
from portagrad.errors import DataError

DIGITS = "examples/data/digits.npz"


def message(tmp_path, call, *args, **kwargs):
    """The text of the DataError of a call, its folder replaced: one line, whatever the fault."""
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{tmp_path}/", "")


def idx_bytes(array, code=0x08):
    """An IDX file of an array, by the format's own definition."""
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return (
        bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + big_endian.tobytes()
    )


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def npz_file(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return tmp_path / "set.npz"

    return write


# --- the shipped digits ---


def test_the_digits_are_the_test_part_of_the_uci_set():
    data = read(DIGITS)
    assert (len(data), data.inputs.shape, data.inputs.dtype) == (1797, (1797, 8, 8), np.uint8)
    assert (data.classes, data.features, data.names) == (10, 64, tuple("0123456789"))
    assert int(data.inputs.max()) == 16
    # "Number of examples per class" in the set's own description (optdigits.names).
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_digits_equal_the_copy_in_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn's copy")
    digits = datasets.load_digits()
    data = read(DIGITS)
    np.testing.assert_array_equal(data.inputs, digits.images)
    np.testing.assert_array_equal(data.labels, digits.target)


# --- the same table in every format ---


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("format", ["npz", "csv", "idx"])
def test_every_format_reads_the_same_table(tmp_path, format, packed):
    inputs = np.asarray([[1.0, 2.5], [3.0, -4.0], [0.0, 1e-3]], dtype=np.float64)
    labels = np.asarray([2, 0, 1], dtype=np.uint8)
    pack = gzip.compress if packed else bytes
    path = tmp_path / f"x.{format}{'.gz' if packed else ''}"
    second = None
    if format == "npz":
        stream = io.BytesIO()
        np.savez_compressed(stream, inputs=inputs, labels=labels)
        path.write_bytes(pack(stream.getvalue()))
    elif format == "csv":
        text = "".join(f"{a},{b},{label}\n" for (a, b), label in zip(inputs, labels, strict=True))
        path.write_bytes(pack(text.encode()))
    else:
        second = tmp_path / "y.idx"
        path.write_bytes(pack(idx_bytes(inputs, 0x0E)))
        second.write_bytes(pack(idx_bytes(labels)))
    assert file_format(path) == format
    data = read(path, labels=second)
    np.testing.assert_array_equal(data.inputs, inputs)
    assert data.labels.tolist() == [2, 0, 1]
    assert data.names == ("0", "1", "2")


def test_the_format_is_found_from_the_content_where_the_name_says_nothing(tmp_path):
    for name, content in [
        ("a", idx_bytes(np.zeros((2, 2), np.uint8))),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx_bytes(np.zeros((2, 2), np.uint8)))),
        ("b", b"1,2,0\n"),
    ]:
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "c.npz", x=np.zeros(2))
    (tmp_path / "c.npz").rename(tmp_path / "c")
    found = [file_format(tmp_path / name) for name in ("a", "train-images-idx3-ubyte.gz", "b", "c")]
    assert found == ["idx", "idx", "csv", "npz"]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("format", ["npz", "csv", "npy", "parquet"])
def test_every_format_reads_the_same_regression(tmp_path, format, outputs):
    inputs = np.asarray([[1.0, 2.5], [3.0, -4.0], [0.0, 1e-3]])
    targets = np.asarray([[0.5, 7], [-1.5, 8], [1e9, 9]])[:, :outputs]
    names = ["rent", "year"][:outputs]
    path, given = tmp_path / f"x.{format}", names
    if format == "npz":
        np.savez(path, x=inputs, rent=targets if outputs > 1 else targets[:, 0])
        given, names = "rent", ["rent"] if outputs == 1 else ["rent 0", "rent 1"]
    elif format == "npy":
        np.save(path, inputs)
        np.save(tmp_path / "y.npy", targets if outputs > 1 else targets[:, 0])
        given, names = tmp_path / "y.npy", ["target"] if outputs == 1 else ["target 0", "target 1"]
    else:
        columns = {"a": inputs[:, 0], **dict(zip(names, targets.T, strict=True)), "b": inputs[:, 1]}
        if format == "parquet":
            pq.write_table(pa.table(columns), path, row_group_size=2)
        else:
            rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
            path.write_text("\n".join([",".join(columns), *rows]))
    options = {"inputs": "x"} if format == "npz" else {}
    data = read_regression(path, targets=given, **options)
    np.testing.assert_array_equal(data.inputs, inputs)
    np.testing.assert_array_equal(data.targets, targets)
    assert (data.names, data.outputs, data.features) == (tuple(names), outputs, 2)
    named = read_regression(path, targets=given, names=["u", "v"][:outputs], **options)
    assert named.names == ("u", "v")[:outputs]


@pytest.mark.parametrize(
    ("text", "options", "targets", "inputs"),
    [
        ("a,y,b\n1,2,3\n4,5,6\n", {}, [[2], [5]], [[1, 3], [4, 6]]),  # the usual name
        ("a,kind,b\n1,2,3\n4,5,6\n", {}, [[3], [6]], [[1, 2], [4, 5]]),  # else the last
        ("1,2,3\n4,5,6\n", {"targets": [-1, 0]}, [[3, 1], [6, 4]], [[2], [5]]),  # in the order asked for
        ("a,b,c\n1,2,3\n4,5,6\n", {"targets": ["c", 0]}, [[3, 1], [6, 4]], [[2], [5]]),
        ("a;b\n1;2\n3;4.5\n", {"targets": "b"}, [[2], [4.5]], [[1], [3]]),
    ],
)
def test_csv_targets_are_found_by_name_number_and_habit(csv_file, text, options, targets, inputs):
    data = read_regression(csv_file(text), **options)
    assert data.targets.tolist() == targets and data.inputs.tolist() == inputs


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a,b,y\n1,2,0\n3,4,\n", {}, "table.csv, line 3, column 'y': the field is empty"),
        ("a,b,y\n1,2,0\n3,4,dear\n", {}, "table.csv, line 3, column 'y': 'dear' is not a number"),
        (
            "a,y,b\n1,2,0\n3,inf,4\n",
            {},
            "table.csv, line 3, column 'y': inf is not finite; every target must be",
        ),
        ("a,y,b\n1,2,nan\n", {}, "table.csv, line 2, column 'b': nan is not finite; every input must be"),
        ("a,b\n1,2\n", {"targets": "c"}, "table.csv: no column 'c' for the targets; there are 'a', 'b'"),
        ("a,b\n1,2\n", {"targets": ["a", 0]}, "table.csv: the targets are named twice: a, 0"),
        (
            "a,b\n1,2\n",
            {"targets": ["a", "b"]},
            "table.csv: the targets are all columns, which leaves no inputs: a, b",
        ),
        (
            "a,b\n1,2\n",
            {"names": ["u", "v"]},
            "table.csv: names for 2 targets, but there are 1",
        ),
    ],
)
def test_faults_of_the_targets_of_csv_files(tmp_path, csv_file, text, options, expected):
    assert message(tmp_path, read_regression, csv_file(text), **options) == expected


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (
            np.asarray([1.0, np.nan, 2.0]),
            'set.npz, array "y", row 1, column 0 is nan; every target must be finite',
        ),
        (
            np.asarray([[1, 2], [3, 4], [5, np.inf]]),
            'set.npz, array "y", row 2, column 1 is inf; every target must be finite',
        ),
        (
            np.asarray(["a", "b", "c"]),
            'set.npz, array "y": the targets of a regression are numbers, not text; classes are learned with '
            'data.task = "classification"',
        ),
        (
            np.asarray([1j, 2, 3]),
            'set.npz, array "y": the targets of a regression are numbers, not complex128; '
            'classes are learned with data.task = "classification"',
        ),
        (
            np.zeros((3, 1, 1)),
            'set.npz, array "y": targets must have the shape (examples,) or (examples, outputs), '
            "got (3, 1, 1)",
        ),
        (np.zeros(2), 'set.npz, array "y": 2 targets for 3 inputs; each input needs one'),
    ],
)
def test_faults_of_the_targets_of_npz_files(tmp_path, npz_file, targets, expected):
    assert message(tmp_path, read_regression, npz_file(x=np.ones((3, 2)), y=targets)) == expected


def test_what_is_no_regression_is_said_to_be_none(tmp_path, npz_file):
    (tmp_path / "a.idx").write_bytes(idx_bytes(np.zeros((2, 2), np.uint8)))
    assert message(tmp_path, read_regression, tmp_path / "a.idx", targets="b.idx") == (
        "a.idx: an IDX file is read for classes alone; the targets of a regression come from NPZ, CSV, "
        "NPY or Parquet files"
    )
    path = npz_file(u=np.ones((3, 2)), v=np.ones(3))
    assert message(tmp_path, read_regression, path) == (
        "set.npz: which arrays are the inputs and the targets? It holds u, v; name them with data.inputs and "
        "data.targets"
    )
    assert "one array, by its name, not 3" in message(tmp_path, read_regression, path, targets=3)
    pq.write_table(pa.table({"a": [1.0, 2.0], "y": [1.0, None]}), tmp_path / "t.parquet")
    assert message(tmp_path, read_regression, tmp_path / "t.parquet", targets="y") == (
        "t.parquet: row 1, column 'y' is null; no value may be missing"
    )
    assert "Name it with data.targets" in message(tmp_path, read_regression, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"float64 of shape \(2, 1\), .*; got float64 \(2,\)"):
        RegressionDataset(np.ones((2, 1)), np.ones(2), ("y",))


# --- any file ---


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "digits.npz").write_bytes(b"x")
    assert message(tmp_path, read, tmp_path / "digit.npz") == (
        "digit.npz: no such file; the nearest in that folder is digits.npz"
    )
    assert message(tmp_path, read, tmp_path / "qqq.csv") == "qqq.csv: no such file"
    assert message(tmp_path, read, tmp_path / "no" / "qqq.csv") == (
        "no/qqq.csv: no such file; there is no folder no"
    )
    (tmp_path / "folder").mkdir()
    assert message(tmp_path, read, tmp_path / "folder") == "folder is a folder, not a file"


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.idx"])
def test_an_empty_file_is_named_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert (
        message(tmp_path, read, tmp_path / name, labels=str(tmp_path / name)) == f"{name}: the file is empty"
    )


def test_damaged_gzip_is_named_as_such(tmp_path):
    packed = gzip.compress(b"1,2,0\n3,4,1\n" * 500)
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-20])
    assert message(tmp_path, read, tmp_path / "cut.csv.gz") == "cut.csv.gz: the gzip file is truncated"
    flipped = bytearray(packed)
    flipped[-6] ^= 0xFF  # the checksum
    (tmp_path / "sum.csv.gz").write_bytes(bytes(flipped))
    assert message(tmp_path, read, tmp_path / "sum.csv.gz").startswith(
        "sum.csv.gz: the gzip file is damaged (CRC check failed"
    )
    (tmp_path / "junk.csv.gz").write_bytes(b"\x1f\x8b" + b"\x07" * 40)
    assert message(tmp_path, read, tmp_path / "junk.csv.gz").startswith(
        "junk.csv.gz: the gzip file is damaged ("
    )


# --- CSV ---


def test_csv_labels_of_text_become_classes_in_sorted_order(csv_file):
    data = read_csv(csv_file("width,species\n1,setosa\n2,virginica\n3,setosa\n"))
    assert data.names == ("setosa", "virginica")
    assert data.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("text", "options", "labels"),
    [
        ("label,a,b\n1,5,6\n0,7,8\n", {}, [1, 0]),  # the usual name, wherever it is
        ("a,b,kind\n5,6,1\n7,8,0\n", {}, [1, 0]),  # else the last column
        ("a,b,kind\n5,6,1\n7,8,0\n", {"label": "kind"}, [1, 0]),
        ("1,5,6\n0,7,8\n", {"label": 0}, [1, 0]),
        ("5;6;1\n7;8;0\n", {"label": -1}, [1, 0]),  # the delimiter is found
        ("5\t6\t1\n7\t8\t0\n", {}, [1, 0]),
        ("5|6|1\n7|8|0\n", {"delimiter": "|"}, [1, 0]),
        ("0,1,2\n5,6,1\n7,8,0\n", {"header": True}, [1, 0]),
        ("\ufeff\n5,6,1.0\r\n\r\n7,8,0.0\r\n", {}, [1, 0]),  # a mark, blank lines, whole floats
        ('"5","6","1"\n" 7 ","8",0', {}, [1, 0]),  # quotes, no newline at the end
    ],
)
def test_csv_settings_and_what_is_found_without_them(csv_file, text, options, labels):
    data = read_csv(csv_file(text), **options)
    assert data.labels.tolist() == labels
    assert data.inputs.tolist() == [[5, 6], [7, 8]]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("1,2,0\n3,4,1\n5,6\n", {}, "table.csv, line 3: 2 values, but line 1 has 3"),
        ("\n1,2,0\n\n3,4,1,5\n", {}, "table.csv, line 4: 4 values, but line 2 has 3"),
        ("a,b,label\n1,2,0\n3,x7,1\n", {}, "table.csv, line 3, column 'b': 'x7' is not a number"),
        ("label,a,b\n0,1,2\n1,3,x7\n", {}, "table.csv, line 3, column 'b': 'x7' is not a number"),
        ("1,2,0\n3,x7,1\n", {}, "table.csv, line 2, column 1: 'x7' is not a number"),
        ("1,2,0\n3,,1\n", {}, "table.csv, line 2, column 1: the field is empty"),
        ("1,2,0\n3,nan,1\n", {}, "table.csv, line 2, column 1: nan is not finite; every input must be"),
        (
            "0,1,2\n1,-inf,2\n",
            {"label": 0},
            "table.csv, line 2, column 1: -inf is not finite; every input must be",
        ),
        ("1,2,0\n3,4,1.5\n", {}, "table.csv, line 2, column 2: the label 1.5 is not a whole number"),
        ("1,2,0\n3,4,one\n", {}, "table.csv, line 2, column 2: the label 'one' is not a whole number"),
        ("1,2,0\n3,4,nan\n", {}, "table.csv, line 2, column 2: the label nan is not a whole number"),
        ("1,2,0\n3,4,\n", {}, "table.csv, line 2, column 2: the label is empty"),
        (
            "1,2,0\n3,4,-1\n",
            {},
            "table.csv, line 2, column 2: the label -1 is out of range for 1 classes (0 to 0)",
        ),
        (
            "1,2,0\n3,4,3\n",
            {"classes": 3},
            "table.csv, line 2, column 2: the label 3 is out of range for 3 classes (0 to 2)",
        ),
        (
            "1,2,0\n3,4,70000\n",
            {},
            "table.csv, line 2, column 2: the label 70000 means more classes than the 2 examples; "
            "if that is so, set data.classes = 70001",
        ),
        (
            "a,b,kind\n1,2,cat\n3,4,dgo\n",
            {"classes": ["cat", "dog"]},
            "table.csv, line 3, column 'kind': 'dgo' is none of the 2 classes; the nearest is 'dog'",
        ),
        (
            "1,2,1\n3,4,1\n",
            {},
            "table.csv, column 2: every label is '1'; a classifier needs at least two classes",
        ),
        ("a,b,label\n", {}, "table.csv: no rows below the header"),
        ("\n \n\n", {}, "table.csv: no rows, only blank lines"),
        ("1\n2\n", {}, "table.csv, line 1: one column only; a row is its inputs and a label"),
        (
            "a,b,kind\n1,2,0\n",
            {"label": "knd"},
            "table.csv: no column 'knd' for the labels; the nearest is 'kind'",
        ),
        (
            "a,b,kind\n1,2,0\n",
            {"label": "zzz"},
            "table.csv: no column 'zzz' for the labels; there are 'a', 'b', 'kind'",
        ),
        ("1,2,0\n", {"label": 3}, "table.csv: no column 3 for the labels; there are 3, 0 to 2"),
        (
            "1,2,0\n",
            {"label": "kind"},
            "table.csv: no column 'kind' for the labels, as the file has no header; give the column's "
            "number, or set data.header = true",
        ),
        (b"1,2,0\n3,\xff,1\n", {}, "table.csv, line 2: not UTF-8 text (byte 0xff)"),
        ('1,2,0\n3,"4,1\n5,6,0\n', {}, "table.csv, line 2: unexpected end of data"),
    ],
)
def test_faults_of_csv_files(tmp_path, csv_file, text, options, expected):
    assert message(tmp_path, read_csv, csv_file(text), **options) == expected


def test_a_line_without_end_costs_bounded_memory(tmp_path, csv_file):
    """A gzip file of 200 kB that unpacks to one line of 200 MB."""
    path = csv_file(gzip.compress(b"7" * 200_000_000, compresslevel=1), "bomb.csv.gz")
    tracemalloc.start()
    try:
        text = message(tmp_path, read_csv, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == "bomb.csv.gz, line 1: longer than 16777216 bytes; this is no CSV file"
    assert peak < 80e6


# --- IDX ---


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 0x08), ("i1", 0x09), ("i2", 0x0B), ("i4", 0x0C), ("f4", 0x0D), ("f8", 0x0E)],
)
def test_idx_number_types(tmp_path, dtype, code):
    array = np.arange(12, dtype=dtype).reshape(2, 3, 2)
    (tmp_path / "a.idx").write_bytes(idx_bytes(array, code))
    back = read_idx_array(tmp_path / "a.idx")
    np.testing.assert_array_equal(back, array)
    assert back.dtype == np.dtype(dtype) and back.dtype.isnative


IMAGES = idx_bytes(np.zeros((4, 2, 2), np.uint8))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (IMAGES[:-1], "a.idx: truncated; the header says (4, 2, 2) uint8, 16 bytes, the file holds 15"),
        (IMAGES + b"\0", "a.idx: longer than the (4, 2, 2) uint8 its header says"),
        (IMAGES[:9], "a.idx: truncated in the IDX header"),
        (IMAGES[:3], "a.idx: not an IDX file (it starts with the bytes 00 00 08)"),
        (b"\x89PNG\r\n", "a.idx: not an IDX file (it starts with the bytes 89 50 4e 47)"),
        (b"\0\0\x07\x01" + IMAGES, "a.idx: not an IDX file (it starts with the bytes 00 00 07 01)"),
        (b"\0\0\x08\0", "a.idx: not an IDX file (it starts with the bytes 00 00 08 00)"),
        (
            b"\0\0\x08\xc8" + struct.pack(">200I", *([1] * 200)) + b"\0",
            "a.idx: the shape in the IDX header is impossible (200 axes)",
        ),
    ],
)
def test_faults_of_idx_files(tmp_path, content, expected):
    (tmp_path / "a.idx").write_bytes(content)
    assert message(tmp_path, read_idx_array, tmp_path / "a.idx") == expected


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_idx_header_that_lies_costs_bounded_memory(tmp_path, pack):
    """2**20 x 2**20 float64 are claimed: 8 TiB."""
    header = bytes([0, 0, 0x0E, 2]) + struct.pack(">2I", 1 << 20, 1 << 20)
    (tmp_path / "big.idx").write_bytes(pack(header + b"\0" * 1000))
    tracemalloc.start()
    try:
        text = message(tmp_path, read_idx_array, tmp_path / "big.idx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == (
        "big.idx: truncated; the header says (1048576, 1048576) float64, 8796093022208 bytes, "
        "the file holds 1000"
    )
    assert peak < 20e6


def test_idx_files_that_do_not_fit_each_other(tmp_path):
    (tmp_path / "x.idx").write_bytes(IMAGES)
    (tmp_path / "y.idx").write_bytes(idx_bytes(np.asarray([0, 1, 0], np.uint8)))
    assert message(tmp_path, read_idx, tmp_path / "x.idx", tmp_path / "y.idx") == (
        "y.idx: 3 labels for 4 inputs; each input needs one label"
    )
    assert message(tmp_path, read, tmp_path / "x.idx") == (
        "x.idx: the labels of an IDX file are a second file; give its path as labels"
    )
    assert message(tmp_path, read_idx, tmp_path / "y.idx", tmp_path / "y.idx") == (
        "y.idx: shape (3,) has no axis of features; expected (examples, ...)"
    )


# --- NPZ ---


def test_npz_finds_the_usual_names_and_takes_others(npz_file):
    x, y = np.zeros((2, 3), np.float32), np.asarray([0, 1])
    for names in [("x_train", "y_train"), ("X", "y"), ("images", "labels"), ("data", "target")]:
        assert read_npz(npz_file(**dict(zip(names, (x, y), strict=True)))).labels.tolist() == [0, 1]
    assert len(read_npz(npz_file(a=x, b=y, c=y), "a", "b")) == 2
    assert len(read_npz(npz_file(inputs=x, kind=y), labels="kind")) == 2


def test_npz_keeps_fortran_order_byte_order_and_text(npz_file):
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8")
    data = read_npz(npz_file(x=x, y=np.asarray([["cat"], ["ant"]])))
    np.testing.assert_array_equal(data.inputs, x)
    assert data.names == ("ant", "cat") and data.labels.tolist() == [1, 0]


OK = np.zeros((2, 3))
TWO = np.asarray([0, 1])


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"x": np.asarray([[{}], [{}]], dtype=object), "y": TWO},
            'set.npz, array "x": Python objects, which only pickle could read; store numbers instead',
        ),
        ({"x": OK.astype(complex), "y": TWO}, 'set.npz, array "x": complex128 is no type of real numbers'),
        (
            {"x": np.asarray([["a"], ["b"]]), "y": TWO},
            'set.npz, array "x": <U1 is no type of real numbers',
        ),
        ({"x": np.zeros((0, 3)), "y": TWO}, 'set.npz, array "x": shape (0, 3) is empty'),
        ({"x": np.zeros((2, 0)), "y": TWO}, 'set.npz, array "x": shape (2, 0) is empty'),
        (
            {"x": np.zeros(2), "y": TWO},
            'set.npz, array "x": shape (2,) has no axis of features; expected (examples, ...)',
        ),
        (
            {"x": np.asarray([[0, 1], [2, np.nan]]), "y": TWO},
            'set.npz, array "x": row 1, column 1 is nan; every input must be finite',
        ),
        (
            {"x": np.full((2, 2, 2), np.inf), "y": TWO},
            'set.npz, array "x": row 0, position (0, 0) is inf; every input must be finite',
        ),
        (
            {"x": OK, "y": np.asarray([0, 1, 1])},
            'set.npz, array "y": 3 labels for 2 inputs; each input needs one label',
        ),
        (
            {"x": OK, "y": np.eye(2)},
            'set.npz, array "y": labels must have the shape (examples,), got (2, 2); '
            "one-hot labels become classes by labels.argmax(axis=1)",
        ),
        (
            {"x": OK, "y": np.asarray([0.0, 0.5])},
            'set.npz, array "y", row 1: the label 0.5 is not a whole number',
        ),
        (
            {"x": OK, "y": np.asarray([0, -2])},
            'set.npz, array "y", row 1: the label -2 is out of range for 1 classes (0 to 0)',
        ),
        (
            {"x": OK, "y": np.asarray([0, 2**63], np.uint64)},
            'set.npz, array "y", row 1: the label 9223372036854775808 is not a whole number',
        ),
        (
            {"x": OK, "y": np.asarray([1, 1])},
            "set.npz, array \"y\": every label is '1'; a classifier needs at least two classes",
        ),
        (
            {"foo": OK, "bar": TWO},
            "set.npz: which arrays are the inputs and the labels? It holds foo, bar; "
            "name them with data.inputs and data.labels",
        ),
    ],
)
def test_faults_of_npz_files(tmp_path, npz_file, arrays, expected):
    assert message(tmp_path, read_npz, npz_file(**arrays)) == expected


def test_a_missing_array_names_the_nearest(tmp_path, npz_file):
    path = npz_file(images=OK, labels=TWO)
    assert message(tmp_path, read_npz, path, "image", "labels") == (
        'set.npz, array "image": no such array; the nearest is images (the file holds images, labels)'
    )
    assert message(tmp_path, read, path, labels=3) == (
        "set.npz: in an NPZ file the labels are an array's name, not 3"
    )


def npy_bytes(shape, content, descr="<f8"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def write_zip(path, method=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def test_an_npy_header_that_lies_costs_bounded_memory(tmp_path):
    write_zip(tmp_path / "a.npz", x=npy_bytes((1 << 20, 1 << 20), b"\0" * 1000))
    tracemalloc.start()
    try:
        text = message(tmp_path, read_npz_arrays, tmp_path / "a.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == (
        'a.npz, array "x": truncated; the header says (1048576, 1048576) float64, 8796093022208 bytes, '
        "the file holds 1000"
    )
    assert peak < 20e6


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (npy_bytes((2,), b"\0" * 24), "longer than the (2,) float64 its header says"),
        (npy_bytes((-1, 2), b"\0" * 16), "not a NumPy array (its NPY header is damaged)"),
        (npy_bytes("'ab'", b""), "not a NumPy array (its NPY header is damaged)"),
        (npy_bytes((2,), b"\0" * 16, descr="|Z9"), "not a NumPy array (its NPY header is damaged)"),
        (b"hello", "not a NumPy array (its NPY header is damaged)"),
        (b"", "not a NumPy array (its NPY header is damaged)"),
        (b"\x93NUMPY\x09\x00" + b" " * 60, "not a NumPy array (its NPY header is damaged)"),
    ],
)
def test_damaged_members_of_npz_files(tmp_path, member, expected):
    write_zip(tmp_path / "a.npz", x=member)
    assert message(tmp_path, read_npz_arrays, tmp_path / "a.npz") == f'a.npz, array "x": {expected}'


def test_damaged_npz_archives(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(3000.0), y=np.arange(3000))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:-30])
    assert message(tmp_path, read_npz, tmp_path / "a.npz") == (
        "a.npz: not an NPZ file, or damaged (File is not a zip file)"
    )
    flipped = bytearray(whole)
    flipped[600] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(bytes(flipped))
    text = message(tmp_path, read_npz_arrays, tmp_path / "a.npz")
    assert text.startswith("a.npz: not an NPZ file, or damaged (")


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_or_lost_bytes_are_a_data_error_or_the_same_data(tmp_path, seed):
    """Forty random damages of a real file: never another exception, never other numbers."""
    rng = np.random.default_rng(seed)
    with open(DIGITS, "rb") as file:
        content = bytearray(file.read())
    for place in rng.integers(0, len(content), 3):
        content[place] ^= int(rng.integers(1, 256))
    if seed % 4 == 0:
        del content[int(rng.integers(0, len(content))) :]
    path = tmp_path / "d.npz"
    path.write_bytes(bytes(content))
    try:
        damaged = read_npz(path, "images", "labels")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        whole = read_npz(DIGITS)
        np.testing.assert_array_equal(damaged.inputs, whole.inputs)
        np.testing.assert_array_equal(damaged.labels, whole.labels)


# --- data sets, splits, standardisation, batches ---


def test_a_dataset_checks_itself(tmp_path):
    with pytest.raises(
        DataError, match=r"^labels must be int64 of shape \(2,\), one per input; got int64 \(3,\)$"
    ):
        Dataset(OK, np.asarray([0, 1, 1]), ("a", "b"))
    with pytest.raises(
        DataError, match=r"^labels, row 1: the label 1 is out of range for 1 classes \(0 to 0\)$"
    ):
        Dataset(OK, TWO, ("a",))


def test_a_test_set_takes_the_classes_of_the_training_set(tmp_path):
    data = make_dataset(OK, np.asarray(["dog", "dog"]), what="labels", classes=("ant", "cat", "dog"))
    assert data.labels.tolist() == [2, 2] and data.names == ("ant", "cat", "dog")
    named = make_dataset(OK, TWO, what="labels", classes=("no", "yes"))
    assert named.labels.tolist() == [0, 1] and named.names == ("no", "yes")


def test_the_split_is_stratified_disjoint_and_fixed_by_its_key():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    labels = labels[np.random.default_rng(0).permutation(100)]
    train, validation, test = split(labels, [0.1, 0.2], pg.random.key(5))
    assert sorted([*train, *validation, *test]) == list(range(100))
    assert np.bincount(labels[train]).tolist() == [42, 21, 7]
    assert np.bincount(labels[validation]).tolist() == [6, 3, 1]
    assert np.bincount(labels[test]).tolist() == [12, 6, 2]
    again = split(labels, [0.1, 0.2], pg.random.key(5))
    assert all((a == b).all() for a, b in zip((train, validation, test), again, strict=True))
    assert set(split(labels, [0.1, 0.2], pg.random.key(6))[2]) != set(test)


def test_the_split_keeps_a_training_example_of_every_class():
    labels = np.asarray([0] * 20 + [1])
    train, test = split(labels, [0.5], pg.random.key(0))
    assert len(test) == 10 and 20 in train


@pytest.mark.parametrize(
    ("labels", "fractions", "expected"),
    [
        ([0, 1, 0, 1], [0.05], "a part of 0.05 of 4 examples is empty; raise the fraction"),
        (
            [0, 1, 2, 3],
            [0.5],
            "the split leaves classes without a training example: 2 examples are asked for and 0 can be "
            "spared; lower the fractions",
        ),
    ],
)
def test_splits_that_cannot_be(tmp_path, labels, fractions, expected):
    assert message(tmp_path, split, np.asarray(labels), fractions, pg.random.key(0)) == expected


def test_standardisation_is_fitted_on_what_it_is_given_only():
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 2.0, (500, 2, 2))
    inputs[:, 0, 0] = 0.1  # constant, and not exact in binary
    fitted = Standardization.fit(inputs)
    scaled = fitted(inputs)
    assert scaled.shape == (500, 4)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), [0, 1, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(Standardization.fit(inputs, "none")(inputs), inputs.reshape(500, 4))
    whole = Standardization.fit(inputs, "whole")(inputs)
    np.testing.assert_allclose([whole.mean(), whole.std()], [0, 1], atol=1e-12)
    np.testing.assert_allclose(whole, (inputs.reshape(500, 4) - inputs.mean()) / inputs.std())


def test_batches_visit_each_example_once_in_the_order_of_their_key():
    key = pg.random.key(3)
    rows = [np.asarray(batch) for batch in batches(key, 11, 4)]
    assert [len(batch) for batch in rows] == [4, 4, 3]
    assert sorted(np.concatenate(rows)) == list(range(11))
    assert np.concatenate(rows).tolist() == np.asarray(pg.random.permutation(key, 11)).tolist()
