"""(h) The gradient with respect to some inputs, while others are constants.

The set T of algorithm 6.5 of "Deep Learning", the variables to differentiate by, is `argnums`; nothing is
computed for the others. Here J is the mean squared error of XW + b, and E = 2 (XW + b - Y) / n its gradient
by the predictions:

    dJ/dW = X^T E,    dJ/db = the sum of the rows of E.
"""

import argparse

import portagrad as pg
from portagrad import nn


def cost(X, W, b, Y):
    return nn.mse(X @ W + b, Y)


def cost_with_fixed_bias(X, W, b, Y):
    return cost(X, W, pg.stop_gradient(b), Y)


def main():
    X = pg.asarray([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]])
    Y = pg.asarray([[1.0], [0.0], [2.0]])
    W = pg.asarray([[0.5], [-0.5]])
    b = pg.asarray([0.1])

    dW, db = pg.grad(cost, argnums=(1, 2))(X, W, b, Y)
    alone = pg.grad(cost, argnums=1)(X, W, b, Y)
    frozen = pg.grad(cost_with_fixed_bias, argnums=2)(X, W, b, Y)
    print(f"dJ/dW =\n{pg.to_device(dW, 'cpu')}")
    print(f"dJ/db = {pg.to_device(db, 'cpu')}, and with b declared a constant {pg.to_device(frozen, 'cpu')}")

    E = 2 * (X @ W + b - Y) / 3
    assert pg.max(pg.abs(dW - X.T @ E)) < 1e-6
    assert pg.max(pg.abs(db - pg.sum(E, axis=0))) < 1e-6
    assert pg.all(alone == dW)
    assert pg.all(frozen == 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    pg.use(parser.parse_args().device)
    main()
