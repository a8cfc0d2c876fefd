"""What is exported to ONNX computes what portagrad computes, by onnxruntime."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import portagrad as pg
from portagrad import nn
from portagrad.op import TABLE
from portagrad.testing.draws import DTYPES, draws, invoke
from portagrad.testing.trials import ELSEWHERE

WITHOUT = {
    *("fft.fftshift", "fft.ifftshift", "fft.ihfft", "fft.rfft", "fft.rfftn"),
    *("index_add", "index_put", "indexed", "put", "scatter", "untake", "untake_along_axis"),
    *(f"linalg.{name}" for name in ("adjugate", "cholesky", "eig", "eigh", "eigvals", "eigvalsh", "inv")),
    *(f"linalg.{name}" for name in ("matrix_rank", "pinv", "qr", "slogdet", "solve", "svd", "svdvals")),
    "linalg.solve_triangular",
    *("cumulative_prod", "nextafter", "searchsorted"),
}
"""Ops that ONNX has no counterpart of."""
RAGGED = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"}
PARTLY = {"linalg.matrix_norm": ("nuc", 2, -2), "linalg.matrix_power": (-1, -2)}
"""Parameters with which an op needs one of those."""
SINGLE = {
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "sinh", "tan"),
    *("linalg.det", "special.digamma", "special.polygamma"),
}
"""Ops whose ONNX counterparts onnxruntime computes in single precision only."""
REAL = [
    (op, dtype)
    for op in TABLE.values()
    if op.name not in ELSEWHERE
    for dtype in DTYPES[op.dtypes]
    if not dtype.startswith("complex")
]


def run(model, *arrays):
    """The results of a model by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, fed(model, arrays))


def fed(model, arrays):
    return {given.name: np.asarray(x) for given, x in zip(model.graph.input, arrays, strict=True)}


def agree(want, got):
    want = list(want) if isinstance(want, tuple | list) else [want]
    for x, y in zip(want, got, strict=True):
        x = np.asarray(x)
        assert (x.shape, x.dtype) == (np.shape(y), np.asarray(y).dtype)
        np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("op", "dtype"), REAL, ids=lambda x: getattr(x, "name", x))
def test_an_op_is_exported_with_its_numbers_or_refused_by_name(op, dtype):
    for call in draws(op, dtype=dtype):
        places = [i for i, x in enumerate(call.args) if hasattr(x, "shape")]
        xs = tuple(call.args[i] for i in places)

        def f(*xs, call=call, places=places):
            args = list(call.args)
            for i, x in zip(places, xs, strict=True):
                args[i] = x
            return invoke(call.op, call.prepared(args), call.params)

        if op.name in RAGGED:
            with pytest.raises(pg.ConcretizationError, match="shape of its result"):
                pg.onnx.export(f, xs)
            continue
        if op.name in WITHOUT or any(x in PARTLY.get(op.name, ()) for x in call.params.values()):
            with pytest.raises(pg.NoCounterpartError, match="ONNX"):
                pg.onnx.export(f, xs)
            continue
        model = pg.onnx.export(f, xs)
        assert model.opset_import[0].version == pg.onnx.OPSET
        with np.errstate(all="ignore"):
            want = f(*xs)
        if op.name in SINGLE and dtype == "float64":
            with np.errstate(all="ignore"):
                agree(want, ReferenceEvaluator(model).run(None, fed(model, xs)))
        else:
            agree(want, run(model, *xs))


def perceptron(activation, rate, dtype):
    keys = pg.random.split(pg.random.key(1), 2)
    return nn.Sequential(
        nn.Linear.init(keys[0], 5, 8, dtype=dtype),
        nn.LayerNorm.init(8, dtype=dtype),
        nn.ACTIVATIONS[activation],
        nn.Dropout(rate),
        nn.Linear.init(keys[1], 8, 3, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", sorted(nn.ACTIVATIONS))
def test_networks_of_every_activation_take_batches_of_any_size(activation, dtype):
    model = perceptron(activation, 0.3, dtype)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(dtype)
    written = pg.onnx.export(model, (x,), dynamic={"x": ("batch", None)})
    for n in (1, 4, 9):
        batch = np.resize(x, (n, 5))
        agree(model(batch), run(written, batch))
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert written.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_batch_norm_exports_in_inference_and_in_training():
    norm = nn.BatchNorm.init(5)
    state = norm.initial_state()
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    _, state = norm(x, state)
    written = pg.onnx.export(lambda x: norm(x, state, train=False)[0], (x,), dynamic={"x": ("batch", None)})
    agree(norm(x[:3], state, train=False)[0], run(written, x[:3]))
    with pytest.raises(pg.ConcretizationError, match="depends on the size of a dynamic axis"):
        pg.onnx.export(lambda x: norm(x, state), (x,), dynamic={"x": ("batch", None)})


@pytest.mark.parametrize(
    "f",
    [
        lambda x: pg.reshape(x, (x.shape[0] * x.shape[1],)),
        lambda x: pg.reshape(x, (x.shape[1], x.shape[0])),
        lambda x: pg.broadcast_to(pg.sum(x, axis=0), (2 * x.shape[0] + 1, 4)),
        lambda x: x[: x.shape[0] - 1, ::-1] + x[1:],
        lambda x: x + pg.namespace("numpy").ones(x.shape, dtype=x.dtype),
        lambda x: pg.sort(x, axis=0),
        lambda x: pg.softmax(x @ pg.matrix_transpose(x)),
        lambda x: {"mean": pg.mean(x), "all": (x, x)},
        pg.grad(lambda x: pg.sum(pg.tanh(x) ** 2)),
        pg.vmap(lambda row: pg.sum(row) * row),
    ],
    ids=itertools.count(),
)
def test_sizes_that_follow_from_a_dynamic_axis_are_computed_in_the_model(f):
    x = np.random.default_rng(0).normal(size=(3, 4))
    written = pg.onnx.export(f, (x,), dynamic={next(iter(named(f, x))): ("n", None)})
    for n in (2, 3, 6):
        rows = np.resize(x, (n, 4)) * np.arange(1, n + 1)[:, None]
        leaves = pg.transforms.tree.flatten(f(rows))[0]
        agree(leaves, run(written, rows))


def named(f, x):
    graph = pg.graph(f, x)
    return [graph.names()[v] for v in graph.inputs]


def test_two_dynamic_axes_and_their_product():
    def f(x, w):
        return pg.reshape(x @ w, (x.shape[0] * w.shape[1],))

    x, w = np.ones((2, 3)), np.arange(12.0).reshape(3, 4)
    written = pg.onnx.export(f, (x, w), dynamic={"x": ("n", None), "w": (None, "m")})
    agree(f(np.ones((5, 3)), w[:, :2]), run(written, np.ones((5, 3)), np.ascontiguousarray(w[:, :2])))


def test_a_model_of_another_library_is_exported_from_where_it_is(xp_device):
    model = nn.MLP.init(pg.random.key(0), [4, 3], device=xp_device)
    x = np.ones((2, 4), np.float32)
    written = pg.onnx.export(model, (pg.to_device(x, xp_device),))
    agree(pg.to_device(model(pg.to_device(x, xp_device)), "cpu"), run(written, x))


def test_the_file_has_names_metadata_and_origins(tmp_path):
    model = nn.MLP.init(pg.random.key(0), [4, 3])
    path = tmp_path / "model.onnx"
    pg.onnx.export(
        model,
        (np.ones((2, 4), np.float32),),
        path,
        outputs=["logits"],
        metadata={"classes": '["a", "b", "c"]'},
    )
    read = onnx.load(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert [x.name for x in read.graph.input] == ["x"]
    assert [y.name for y in read.graph.output] == ["logits"]
    assert {p.key: p.value for p in read.metadata_props} == {"classes": '["a", "b", "c"]'}
    assert read.producer_name == "portagrad"


def test_what_cannot_be_exported_is_said_with_its_line():
    x = np.eye(3)
    with pytest.raises(pg.NoCounterpartError, match=r"linalg\.inv has no counterpart.*test_onnx\.py:\d+"):
        pg.onnx.export(lambda x: pg.linalg.inv(x + x), (x,))
    with pytest.raises(pg.NoCounterpartError, match="complex128"):
        pg.onnx.export(lambda x: pg.abs(pg.fft.fft(x)), (x + 0j,))
    with pytest.raises(pg.ConcretizationError, match="other ops"):
        pg.onnx.export(lambda x: sum(x[i] for i in range(x.shape[0])), (x,), dynamic={"x": ("n", None)})
    with pytest.raises(pg.ConcretizationError, match="an array that the function made"):
        pg.onnx.export(
            lambda x: x * pg.namespace("numpy").arange(x.shape[0])[:, None], (x,), dynamic={"x": ("n", None)}
        )
    with pytest.raises(pg.NoCounterpartError, match="roll along an axis whose length is dynamic"):
        pg.onnx.export(lambda x: pg.roll(x, 1, axis=0), (x,), dynamic={"x": ("n", None)})
    with pytest.raises(ValueError, match="dynamic names 'z'; the inputs are x"):
        pg.onnx.export(lambda x: x, (x,), dynamic={"z": ("n",)})
    with pytest.raises(ValueError, match="has 1 names, but x has the shape"):
        pg.onnx.export(lambda x: x, (x,), dynamic={"x": ("n",)})
    with pytest.raises(ValueError, match="2 names for 1 results"):
        pg.onnx.export(lambda x: x, (x,), outputs=["a", "b"])
