"""Feeds mutated files to every reader, in a process whose memory, time and deeds are watched.

``python untrusted_files.py FOLDER FIRST COUNT`` prints a JSON line per kind of file;
`test_untrusted.py` runs it.
"""

from __future__ import annotations

import faulthandler
import hashlib
import io
import json
import os
import pickle
import random
import resource
import struct
import sys
import time
import unicodedata  # noqa: F401  Python's parser, and so NumPy's, imports it for a named character
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

import portagrad as pg
from portagrad import nn
from portagrad.data import Standardization, read
from portagrad.errors import CheckpointError, ConfigError, DataError
from portagrad.train import load_config
from portagrad.train.checkpoint import read_checkpoint
from portagrad.train.description import Description
from portagrad.train.saved_model import TrainedModel, load_model, save_model
from portagrad.train.state import State

# What one file may take beyond what the process has: some hundred times the largest file made here.
MEMORY = 256 << 20
SECONDS = 20
REFUSED = (CheckpointError, ConfigError, DataError)

# What no reader of data has a reason to do (Python's audit events; docs.python.org, "Audit events table").
FORBIDDEN = (
    *("exec", "pickle.find_class", "marshal.loads", "import", "ctypes.dlopen", "code.__new__"),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect"),
    *("os.remove", "os.rename", "os.mkdir", "os.symlink", "os.link", "shutil.rmtree", "urllib.Request"),
)
NUMBERS = (
    "NaN",
    "-Infinity",
    "1e999",
    "-1",
    "0",
    "1.5",
    "true",
    "9" * 30,
    "9" * 5000,
    "18446744073709551615",
)
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "\ud800",
    "..",
)
VALUES += (
    "/etc/passwd",
    "../../x",
    "x" * 5000,
    "\n",
    [],
    {},
    [[]],
    [None] * 9,
    {"": 0},
    [1, "a"],
    list(range(300)),
)


class Watch:
    """Notes what a reader does that it has no business doing."""

    def __init__(self) -> None:
        self.on, self.seen = False, []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if not self.on:
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in FORBIDDEN or writes:
            self.seen.append(f"{event} {args!r:.80}")


# --- mutations ---


def mutated_bytes(rng, body, other):
    """Flips, cuts, splices, and fields of a length or a size set to numbers that hurt."""
    body = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(body) + 1) if rng.random() < 0.5 else rng.randrange(min(len(body), 128) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(body):
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del body[at:]
        elif kind == 2:
            del body[at : at + rng.choice((1, 4, 8, 40))]
        elif kind == 3:
            start = rng.randrange(len(other))
            body[at:at] = other[start : start + rng.choice((1, 8, 64, 1000))]
        elif kind == 4:
            code = rng.choice("bhiq")
            size = struct.calcsize(code)
            value = rng.choice((0, 1, -1, (1 << 8 * size - 1) - 1, -(1 << 8 * size - 1)))
            body[at : at + size] = struct.pack(rng.choice("<>") + code, value)
        else:
            body[at : at + 8] = rng.randbytes(8)
    return bytes(body)


def mutated_text(rng, text, names="{}"):
    """Text of JSON or TOML with a number, a key, a quote or a bracket where none should be."""
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(6)
    if kind == 0:  # one of the numbers
        spots = [i for i, c in enumerate(text) if c.isdigit()] or [at]
        spot = rng.choice(spots)
        return text[:spot] + rng.choice(NUMBERS) + text[spot + 1 :]
    if kind == 1:
        depth = rng.choice((3, 500, 100_000))
        return text[:at] + rng.choice(("[", "{", '{"a":', "[[", "a.")) * depth + text[at:]
    if kind == 2:  # a line or a part twice: duplicate keys and tables
        start, end = sorted((rng.randrange(len(text)), rng.randrange(len(text))))
        lines = text.splitlines(keepends=True)
        part = rng.choice(lines) if len(lines) > 1 else text[start:end]
        return text[:at] + part + text[at:]
    if kind == 3:
        return text[:at] + rng.choice(
            ('"', "'''", "\\ud800", "\\u0000", "\0", "\r", "é", "\ufeff", "=", ",", "}")
        )
    if kind == 4:
        spots = [i for i, c in enumerate(text) if c == '"'] or [at]
        spot = rng.choice(spots)
        value = rng.choice(
            ("x" * 300, "x" * 5000, "\\u0000", "..", "../" * 40, "/etc/passwd", "\\n", "a/" * 3000)
        )
        return text[: spot + 1] + value + text[spot + 1 :]
    return mutated_bytes(rng, text.encode(), text.encode()).decode("latin-1")


def mutated_tree(rng, tree):
    """A JSON value with some part of it replaced, removed or renamed."""
    paths = []

    def walk(node, path):
        paths.append(path)
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            walk(inner, (*path, key))

    walk(tree, ())
    path = rng.choice(paths)
    if not path:
        return rng.choice(VALUES)
    tree = json.loads(json.dumps(tree))
    node = tree
    for key in path[:-1]:
        node = node[key]
    kind = rng.randrange(4)
    if kind == 0:
        del node[path[-1]]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(("", "x", "../x", "\0", "a.b"))] = node.pop(path[-1])
    else:
        node[path[-1]] = rng.choice(VALUES)
    return tree


def mutated_json(rng, tree):
    """A JSON text that comes of a table: half the time it is still JSON."""
    if rng.random() < 0.5:
        return json.dumps(mutated_tree(rng, tree)).encode()
    return mutated_text(rng, json.dumps(tree)).encode(errors="replace")


# --- kinds of files: each writes a mutant where its reader looks, and reads it ---


class Models:
    """``model.safetensors``: as bytes, in its header, and in its description under a right checksum."""

    def __init__(self, folder):
        self.path = folder / "model.safetensors"
        model = nn.MLP.init(pg.random.key(0), [3, 4, 2], device="cpu")
        told = Description(sizes=(3, 4, 2), classes=("a", "b"), features=("x", "y", "z"))
        save_model(self.path, TrainedModel(told, model, Standardization(np.zeros(3), np.ones(3))))
        self.body = self.path.read_bytes()
        size = int.from_bytes(self.body[:8], "little")
        self.header, self.data = json.loads(self.body[8 : 8 + size]), self.body[8 + size :]

    def mutant(self, rng):
        kind = rng.randrange(3)
        if kind == 0:
            body = mutated_bytes(rng, self.body, self.body)
        else:
            header = json.loads(json.dumps(self.header))
            if kind == 1:
                told = mutated_json(rng, json.loads(header["__metadata__"]["portagrad"]))
                header["__metadata__"]["portagrad"] = told.decode(errors="replace")
                text = json.dumps(header).encode()
            else:
                text = mutated_json(rng, header)
            body = len(text).to_bytes(8, "little") + text + self.data
        self.path.write_bytes(body)

    def read(self):
        trained = load_model(self.path)
        trained.predict(np.zeros((2, trained.description.sizes[0])))
        "".join((*trained.description.classes, *trained.description.features)).encode()


class Checkpoints:
    """A checkpoint's files; those under a checksum are mutated beneath it too."""

    def __init__(self, folder):
        model = nn.MLP.init(pg.random.key(0), [3, 4, 2], device="cpu")
        state = State(model, (pg.optim.adam(0.1).init(model), pg.random.key(1)), best=model)
        norms = {"weights": {"layers.0.weight": 1.5}, "gradients": {"layers.0.weight": 0.5}}
        state.records = [{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.25, "norms": norms}]
        state.epoch, state.best_epoch, state.best_value = 2, 1, 0.5
        self.about = {"settings": {"seed": 0, "hidden": [4]}, "data": "80 0badcafe"}
        self.path = state.save(folder / "checkpoints", 5, self.about)
        self.files = {path.name: path.read_bytes() for path in self.path.iterdir()}
        self.state, self.where = state, pg.device("cpu")

    def mutant(self, rng):
        files = dict(self.files)
        name = rng.choice(sorted(files))
        if name.endswith(".json") and rng.random() < 0.8:
            files[name] = mutated_json(rng, json.loads(files[name]))
        else:
            files[name] = mutated_bytes(rng, files[name], rng.choice(list(files.values())))
        if name != "manifest.json" and rng.random() < 0.9:
            manifest = json.loads(files["manifest.json"])
            told = {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            manifest["files"][name] = told
            files["manifest.json"] = json.dumps(manifest).encode()
        for file, body in files.items():
            (self.path / file).write_bytes(body)

    def read(self):
        self.state.load(read_checkpoint(self.path), self.where, self.about)
        # What a run does with its records next; the state is then that of a run.
        for record in self.state.records:
            {**record}["epoch"], record.get("train_loss")


class Configurations:
    """A TOML file of a run."""

    def __init__(self, folder):
        self.path = folder / "config.toml"
        np.savez(folder / "small.npz", x=np.eye(4), y=np.arange(4) % 2)
        self.text = Path(__file__).with_name("untrusted.toml").read_text(encoding="utf-8")
        self.path.write_text(self.text)

    def mutant(self, rng):
        text = self.text
        for _ in range(rng.choice((1, 1, 3))):
            text = mutated_text(rng, text or self.text)
        self.path.write_text(text, encoding="utf-8", errors="replace")

    def read(self):
        load_config(self.path)


class Archives:
    """An NPZ file: as bytes, and in a member under a right CRC."""

    def __init__(self, folder):
        self.path = folder / "data.npz"
        arrays = {"x": np.eye(6, dtype=np.float32), "y": np.arange(6) % 2}
        np.savez(self.path, **arrays)
        self.body = self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}

    def mutant(self, rng):
        if rng.random() < 0.5:
            self.path.write_bytes(mutated_bytes(rng, self.body, self.body))
            return
        members = dict(self.members)
        name = rng.choice(sorted(members))
        if rng.random() < 0.5:
            members[name] = mutated_bytes(rng, members[name], members[name])
        else:  # another header, its length right
            descr = rng.choice(
                ("<f4", "|O", "<U9", "|V0", "<f9", ">i8", "<M8[s]", "<c8", [("a", "<f4")], "|S0")
            )
            shape = rng.choice(
                ("(6,)", "(2**40,)", "(0, 2**62)", "(-1,)", "(6, 6)", "()", "(99999999999, 9)", "6")
            )
            order = rng.choice(("True", "False", "1"))
            head = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}"
            head = (
                rng.choice((head, head + "(" * 3000, head.replace("shape", "__import__('os')"))).encode()
                + b"\n"
            )
            members[name] = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(144)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for member, body in members.items():
                archive.writestr(member, body)
        self.path.write_bytes(packed.getvalue())

    def read(self):
        read(self.path)


class Idx:
    """A pair of IDX files."""

    def __init__(self, folder):
        self.path, self.labels = folder / "images.idx", folder / "labels.idx"
        self.images = bytes([0, 0, 8, 3]) + struct.pack(">3I", 6, 2, 2) + bytes(range(24))
        self.body = bytes([0, 0, 8, 1]) + struct.pack(">I", 6) + bytes([0, 1] * 3)
        self.path.write_bytes(self.images)
        self.labels.write_bytes(self.body)

    def mutant(self, rng):
        chosen = rng.random() < 0.7
        self.path.write_bytes(mutated_bytes(rng, self.images, self.body) if chosen else self.images)
        self.labels.write_bytes(self.body if chosen else mutated_bytes(rng, self.body, self.images))

    def read(self):
        read(self.path, format="idx", labels=self.labels)


KINDS = (Models, Checkpoints, Configurations, Archives, Idx)


def feed(kind, folder, first, count, watch):
    """Mutants number `first` and on, to one kind of reader: what became of them, and every fault."""
    place = folder / kind.__name__
    place.mkdir()
    files = kind(place)
    files.read()  # a whole file is read, and what is imported late is imported
    outcomes, faults, slowest = Counter(), [], 0.0
    for number in range(first, first + count):
        files.mutant(random.Random(f"{kind.__name__} {number}"))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        began = time.perf_counter()
        watch.on = True
        try:
            files.read()
            outcome = "loaded"
        except REFUSED as error:
            outcome = type(error).__name__
            if "\n" in str(error) or len(str(error)) > 2000:
                faults.append(
                    f"{number}: a message of {len(str(error))} characters, not one line: {error!s:.200}"
                )
        except BaseException as error:
            outcome = "fault"
            faults.append(f"{number}: {type(error).__name__}: {error!s:.120}")
        watch.on = False
        slowest = max(slowest, time.perf_counter() - began)
        outcomes[outcome] += 1
        if watch.seen:
            faults.append(f"{number}: {'; '.join(watch.seen)}")
            watch.seen.clear()
    faulthandler.cancel_dump_traceback_later()
    return {"kind": kind.__name__, "outcomes": outcomes, "slowest": round(slowest, 3), "faults": faults}


def prove(watch):
    """The watch sees a pickle run and a file written, and the limit of memory holds."""
    watch.on = True
    pickle.loads(pickle.dumps(os.getcwd))
    with open(os.devnull, "w"):
        pass
    watch.on = False
    assert [entry.partition(" ")[0] for entry in watch.seen] == ["pickle.find_class", "open"], watch.seen
    watch.seen.clear()
    try:
        np.ones(2 * MEMORY, dtype=np.int8)
    except MemoryError:
        return
    raise AssertionError("the limit of memory does not hold")


def main():
    """Feed each kind with as many mutants."""
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    watch = Watch()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    prove(watch)
    for kind in KINDS:
        print(json.dumps(feed(kind, folder, first, count, watch)), flush=True)


if __name__ == "__main__":
    main()
