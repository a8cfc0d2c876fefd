"""(f) The chain rule for vectors: the transposed Jacobian of g times the gradient, equations 6.45 and 6.46.

Of "Deep Learning": with y = g(x) and z = f(y), the gradient of z by x is (dy/dx)^T times the gradient by y.
Back-propagation computes that product and never makes the Jacobian.
"""

import argparse

import portagrad as pg


def g(x):
    """From three numbers, two."""
    return pg.stack([x[0] * x[1], pg.sin(x[2]) + x[0]])


def f(y):
    return y[0] ** 2 + 3 * y[1]


def main():
    x = pg.asarray([1.0, 2.0, 0.5])
    y = g(x)

    jacobian = pg.jacobian(g)(x)
    by_y = pg.grad(f)(y)
    by_x = pg.grad(lambda x: f(g(x)))(x)
    print(f"dy/dx, shape {tuple(jacobian.shape)} =\n{pg.to_device(jacobian, 'cpu')}")
    print(f"gradient by y = {pg.to_device(by_y, 'cpu')}")
    print(f"gradient by x = {pg.to_device(by_x, 'cpu')}")

    _, pullback = pg.vjp(g, x)
    assert pg.max(pg.abs(by_x - jacobian.T @ by_y)) < 1e-5
    assert pg.max(pg.abs(by_x - pullback(by_y)[0])) < 1e-5
    # z = (x0 x1)^2 + 3 sin(x2) + 3 x0, differentiated by hand
    by_hand = pg.stack([2 * x[0] * x[1] ** 2 + 3, 2 * x[0] ** 2 * x[1], 3 * pg.cos(x[2])])
    assert pg.max(pg.abs(by_x - by_hand)) < 1e-5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    pg.use(parser.parse_args().device)
    main()
