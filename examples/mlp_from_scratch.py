"""A perceptron from scratch, trained on handwritten digits: its parameters are a list, its layers one line.

No class anywhere: a model is a function of a pytree, and gradients and optimizers take any pytree.
"""

import argparse
import math
from pathlib import Path

import numpy as np

import portagrad as pg
from portagrad import optim, random

DIGITS = Path(__file__).parent / "data" / "digits.npz"
SIZES = 64, 128, 10
EPOCHS, BATCH = 20, 64
TEST = 360


def initial(key):
    """Of each layer the weights, with He's variance of 2 / inputs, and the bias."""
    keys = random.split(key, len(SIZES) - 1)
    return [
        (random.normal(key, (n, m), std=math.sqrt(2 / n)), random.normal(key, m, std=0.0))
        for key, n, m in zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    ]


def predict(params, x):
    *hidden, (w, b) = params
    for v, c in hidden:
        x = pg.relu(x @ v + c)
    return x @ w + b


def loss(params, x, labels):
    return pg.cross_entropy(predict(params, x), labels)


def accuracy(params, x, labels):
    right = pg.argmax(predict(params, x), axis=-1) == labels
    return float(pg.mean(pg.astype(right, x.dtype)))


def main():
    digits = np.load(DIGITS)
    x = digits["images"].reshape(-1, 64).astype(np.float32) / 16
    labels = digits["labels"].astype(np.int32)
    order = random.permutation(random.key(0), len(x), device="cpu")
    testing, training = order[:TEST], order[TEST:]
    here = pg.current_device()
    test = pg.to_device((x[testing], labels[testing]), here)

    params = initial(random.key(1))
    steps = EPOCHS * math.ceil(len(training) / BATCH)
    optimizer = optim.adamw(optim.schedules.cosine(5e-3, steps), weight_decay=1e-2)
    state = optimizer.init(params)
    step = pg.value_and_grad(loss)
    for epoch in range(1, EPOCHS + 1):
        shuffle = random.permutation(random.key(1000 + epoch), len(training), device="cpu")
        for start in range(0, len(training), BATCH):
            rows = training[shuffle[start : start + BATCH]]
            batch = pg.to_device((x[rows], labels[rows]), here)
            value, grads = step(params, *batch)
            updates, state = optimizer.update(grads, state, params)
            params = optim.apply_updates(params, updates)
        if epoch % 5 == 0:
            print(f"epoch {epoch:2}  loss {float(value):.4f}  test accuracy {accuracy(params, *test):.1%}")
    assert accuracy(params, *test) > 0.95


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    pg.use(parser.parse_args().device)
    main()
