"""(c) H = max(0, XW + b): a layer of rectified linear units, figure 6.8c of "Deep Learning".

A gradient needs a scalar, and H is a matrix; so G, the gradient with respect to H of whatever follows, goes
in, and comes out pulled back. With G' = G where XW + b > 0, else 0,

    dX = G' W^T,    dW = X^T G',    db = the sum of the rows of G'.
"""

import argparse

import portagrad as pg


def layer(X, W, b):
    return pg.maximum(X @ W + b, 0.0)


def main():
    X = pg.asarray([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]])
    W = pg.asarray([[0.5, -1.0, 0.25], [-0.5, 1.0, 2.0]])
    b = pg.asarray([0.1, 0.2, -0.3])
    G = pg.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])

    H, pullback = pg.vjp(layer, X, W, b)
    dX, dW, db = pullback(G)
    for name, value in {"H": H, "dX": dX, "dW": dW, "db": db}.items():
        print(f"{name} =\n{pg.to_device(value, 'cpu')}")

    passed = pg.where(X @ W + b > 0, G, 0.0)
    assert pg.max(pg.abs(dX - passed @ W.T)) < 1e-5
    assert pg.max(pg.abs(dW - X.T @ passed)) < 1e-5
    assert pg.max(pg.abs(db - pg.sum(passed, axis=0))) < 1e-5


def draw(path, **options):
    """Figure 6.8c."""
    graph = pg.graph(layer, pg.ones((3, 2)), pg.ones((2, 3)), pg.ones(3))
    graph.draw(path, style="book", names={"d": "H"}, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    parser.add_argument("--draw", metavar="FILE", help="write figure 6.8c as .svg, .png, .dot or .mmd")
    given = parser.parse_args()
    pg.use(given.device)
    main()
    if given.draw:
        draw(given.draw)
