"""(g) The chain rule for tensors of any rank, equation 6.47 of "Deep Learning".

With Y = g(X) and z = f(Y), the gradient of z by X is the sum over j of (the gradient of Y_j by X) dz/dY_j,
where j runs over all indices of Y, whatever their number. Here X has three axes, Y has two.
"""

import argparse

import portagrad as pg


def g(X):
    return pg.sum(pg.exp(X), axis=1)


def f(Y):
    return pg.sum(Y**2) / 2


def main():
    X = pg.reshape(pg.linspace(-1.0, 1.0, 24), (2, 3, 4))
    Y = g(X)

    by_Y = pg.grad(f)(Y)
    by_X = pg.grad(lambda X: f(g(X)))(X)
    jacobian = pg.jacobian(g)(X)
    print(f"X {tuple(X.shape)} -> Y {tuple(Y.shape)}, dY/dX {tuple(jacobian.shape)}")
    print(f"gradient by X =\n{pg.to_device(by_X, 'cpu')}")

    assert pg.max(pg.abs(by_X - pg.tensordot(by_Y, jacobian, axes=2))) < 1e-4
    # by hand: dz/dY = Y, and each X_ikj enters Y_ij by its exponential
    assert pg.max(pg.abs(by_X - pg.expand_dims(Y, axis=1) * pg.exp(X))) < 1e-4


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    pg.use(parser.parse_args().device)
    main()
