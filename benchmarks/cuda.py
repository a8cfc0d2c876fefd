"""A compiled SGD step of an MLP classifier on a CUDA device, against the same step by hand in CuPy.

By hand means static memory, products by cuBLAS and kernels written for the purpose, captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

import portagrad as pg
from benchmarks.mlp import RATE, data
from portagrad import nn, optim
from portagrad_cupy.blas import Blas, Matrix, Product, empty_workspace

CALLS = 100
"""Steps between two synchronisations."""

bias_relu = cupy.ElementwiseKernel(
    "T b, bool last", "T h", "h += b; if (!last) h = h > 0 ? h : (T)0", "bias_relu"
)
gate = cupy.ElementwiseKernel("T h", "T d", "d = h > 0 ? d : (T)0", "gate")
descend = cupy.ElementwiseKernel("T g, T rate", "T p", "p -= rate * g", "descend")
SOFTMAX = r"""
extern "C" __global__ void softmax(
    const float* x, const long long* labels, float* d, float* lost, int n, int c) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float top = x[i * c], total = 0;
  for (int j = 1; j < c; ++j) top = fmaxf(top, x[i * c + j]);
  for (int j = 0; j < c; ++j) total += expf(x[i * c + j] - top);
  lost[i] = logf(total) - (x[i * c + labels[i]] - top);
  for (int j = 0; j < c; ++j)
    d[i * c + j] = (expf(x[i * c + j] - top) / total - (j == labels[i])) / n;
}
"""


def product(x: Any, y: Any) -> Product:
    """Of matrices that are in rows in memory, or transposed."""
    (m, k), n = x.shape, y.shape[1]
    a, b = (Matrix(0, not v.flags.c_contiguous, max(v.strides) // v.itemsize, 0) for v in (x, y))
    return Product(1, m, n, k, a, b)


def by_hand(sizes: tuple[int, ...], batch: int) -> Callable[[], Any]:
    model = nn.MLP.init(pg.random.key(0), sizes, dtype="float32", device="cuda")
    ws = [cupy.array(layer.weight) for layer in model.layers]
    bs = [cupy.array(layer.bias) for layer in model.layers]
    hs = [*map(cupy.asarray, data(sizes, batch)[:1]), *[cupy.empty((batch, n), "float32") for n in sizes[1:]]]
    labels = cupy.asarray(data(sizes, batch)[1])
    ds = [cupy.empty_like(h) for h in hs]
    gws, gbs = [cupy.empty_like(w) for w in ws], [cupy.empty_like(b) for b in bs]
    lost, loss = cupy.empty(batch, "float32"), cupy.empty((), "float32")
    softmax = cupy.RawKernel(SOFTMAX, "softmax")
    blas, workspace, last = Blas(), empty_workspace(), len(ws) - 1

    def multiply(x: Any, y: Any, out: Any) -> None:
        blas.multiply(product(x, y), out.dtype, x.data.ptr, y.data.ptr, out.data.ptr)

    def step() -> None:
        with blas.on(cupy.cuda.get_current_stream().ptr, workspace):
            for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
                multiply(hs[i], w, hs[i + 1])
                bias_relu(b, i == last, hs[i + 1])
            args = (hs[-1], labels, ds[-1], lost, np.int32(batch), np.int32(sizes[-1]))
            softmax((-(-batch // 128),), (128,), args)
            cupy.mean(lost, out=loss)
            for i in range(last, -1, -1):
                multiply(hs[i].T, ds[i + 1], gws[i])
                cupy.sum(ds[i + 1], axis=0, out=gbs[i])
                if i:
                    multiply(ds[i + 1], ws[i].T, ds[i])
                    gate(hs[i], ds[i])
            for p, g in zip([*ws, *bs], [*gws, *gbs], strict=True):
                descend(g, np.float32(RATE), p)

    kept = [p.copy() for p in (*ws, *bs)]
    step()  # compiles what is captured afterwards
    for p, before in zip((*ws, *bs), kept, strict=True):
        p[...] = before
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        step()
        graph = stream.end_capture()

    def one(pool: Any = pool) -> Any:  # what the graph uses lives as long as this
        graph.launch()
        return loss

    return one


def portagrad(sizes: tuple[int, ...], batch: int) -> Callable[[], Any]:
    """The public API, compiled, model and state donated."""
    optimizer = optim.sgd(RATE)
    loss_and_grad = pg.value_and_grad(lambda model, x, labels: nn.cross_entropy(model(x), labels))

    def step(model: Any, state: Any, x: Any, labels: Any) -> Any:
        loss, grads = loss_and_grad(model, x, labels)
        updates, state = optimizer.update(grads, state, model)
        return optim.apply_updates(model, updates), state, loss

    compiled = pg.compile(step, donate=(0, 1))
    model = nn.MLP.init(pg.random.key(0), sizes, dtype="float32", device="cuda")
    x, labels = map(cupy.asarray, data(sizes, batch))
    kept = {"state": (model, optimizer.init(model))}

    def one() -> Any:
        *state, loss = compiled(*kept["state"], x, labels)
        kept["state"] = tuple(state)
        return loss

    return one


def several(one: Callable[[], Any]) -> Callable[[], None]:
    """As many steps as are timed together, to their end on the device."""

    def run() -> None:
        for _ in range(CALLS):
            one()
        cupy.cuda.Device().synchronize()

    return run


CONTENDERS = {"by hand": by_hand, "portagrad": portagrad}
