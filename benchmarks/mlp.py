"""Training steps of MLPs: five sizes, SGD and AdamW."""

from __future__ import annotations

from functools import partial

from benchmarks import by_hand, steps
from benchmarks.case import Bar, Case, Make
from benchmarks.training import Training

SIZES = (
    ((64, 32, 10), 32),
    ((64, 128, 64, 10), 64),
    ((784, 512, 256, 10), 128),
    ((1024, 2048, 2048, 10), 512),
    ((256, *(256,) * 19, 10), 256),
)
OVER_HAND = {"sgd": (0.85, 0.85, 0.95, 1.0, 0.95), "adamw": (0.6, 0.6, 0.75, 0.9, 0.9)}
OVER_PEERS = (0.8, 1.0, 1.0, 1.0, 1.0)
EAGER_OVER_HAND = {SIZES[0]: 1.8, SIZES[2]: 1.1}
ON_CUDA_OVER_TORCH = (0.4, 0.4, 0.4, 0.9, 0.9)

NUMPY, CUPY = "NumPy by hand", "CuPy by hand, in a CUDA graph"
TORCH_COMPILE = {"cpu": "torch.compile", "cuda": "torch.compile, reduce-overhead"}


def cases(device: str, quick: bool = False) -> list[Case]:
    """Of both optimizers; the smaller two on portagrad's other backends too."""
    return [_case(i, optimizer, device) for optimizer in ("sgd", "adamw") for i in range(len(SIZES))]


def _case(i: int, optimizer: str, device: str) -> Case:
    training = Training(*SIZES[i], optimizer)
    deep = len(training.sizes) > 10
    hand = NUMPY if device == "cpu" else CUPY
    return Case(
        group="SGD step" if optimizer == "sgd" else "AdamW step",
        title=training.title,
        contenders=contenders(training, device, others=i < 2),
        baseline=hand,
        bars=_bars(i, optimizer) if device == "cpu" else _bars_on_cuda(i),
        # Steps of a deep network double what rounding does in each layer, so only the first ones agree.
        compared=2 if deep else 5,
        rtol=2e-3,
    )


def contenders(training: Training, device: str, others: bool = True) -> dict[str, Make]:
    """Everyone who takes this step, in the order of the table."""
    ours = partial(partial, steps.portagrad, training, device)
    torch_compile = partial(
        steps.torch, training, device, "default" if device == "cpu" else "reduce-overhead"
    )
    found: dict[str, Make] = {
        "portagrad": ours(),
        "portagrad compiled": ours(compiled=True),
    }
    if others:
        for library in ("torch", "jax"):
            found[f"portagrad on {library}"] = ours(library=library)
            found[f"portagrad compiled on {library}"] = ours(library=library, compiled=True)
    elif device == "cpu":  # the larger ones have products that MKL takes
        found["portagrad compiled, NumPy's BLAS"] = ours(compiled=True, with_mkl=False)
    if device == "cpu":
        found[NUMPY] = partial(by_hand.numpy_step, training)
    else:
        found[CUPY] = partial(by_hand.cupy_step, training, device)
    return {
        **found,
        "torch": partial(steps.torch, training, device),
        TORCH_COMPILE[device]: torch_compile,
        "jax.jit": partial(steps.jax, training, device),
        "autograd": partial(steps.autograd, training, device),
        "MyGrad": partial(steps.mygrad, training, device),
        "tinygrad": partial(steps.tinygrad, training, device),
    }


def _bars(i: int, optimizer: str) -> list[Bar]:
    bars = [
        Bar("portagrad compiled", (NUMPY,), OVER_HAND[optimizer][i]),
        Bar("portagrad compiled", ("torch", TORCH_COMPILE["cpu"], "jax.jit"), OVER_PEERS[i]),
    ]
    if optimizer == "sgd" and SIZES[i] in EAGER_OVER_HAND:
        bars.append(Bar("portagrad", (NUMPY,), EAGER_OVER_HAND[SIZES[i]]))
    return bars


def _bars_on_cuda(i: int) -> list[Bar]:
    return [
        Bar("portagrad compiled", ("torch",), ON_CUDA_OVER_TORCH[i]),
        Bar("portagrad compiled", (TORCH_COMPILE["cuda"], "jax.jit"), 1.1),
        Bar("portagrad compiled", (CUPY,), 1.1),
    ]
