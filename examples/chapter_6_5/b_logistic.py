"""(b) y = sigmoid(x^T w + b): logistic regression, figure 6.8b of "Deep Learning".

With u = x^T w + b the derivative of the sigmoid is y (1 - y), so by the chain rule

    dy/dw = y (1 - y) x,    dy/dx = y (1 - y) w,    dy/db = y (1 - y).
"""

import argparse

import portagrad as pg


def predict(x, w, b):
    return pg.sigmoid(x @ w + b)


def main():
    x = pg.asarray([1.0, -2.0, 0.5])
    w = pg.asarray([0.3, 0.1, -0.4])
    b = pg.asarray(0.2)

    y, (dx, dw, db) = pg.value_and_grad(predict, argnums=(0, 1, 2))(x, w, b)
    for name, value in {"y": y, "dy/dx": dx, "dy/dw": dw, "dy/db": db}.items():
        print(f"{name:5} = {pg.to_device(value, 'cpu')}")

    slope = y * (1 - y)
    assert pg.max(pg.abs(dx - slope * w)) < 1e-6
    assert pg.max(pg.abs(dw - slope * x)) < 1e-6
    assert pg.abs(db - slope) < 1e-6


def draw(path, **options):
    """Figure 6.8b, with names for what the formula leaves without."""
    graph = pg.graph(predict, pg.ones(3), pg.ones(3), pg.asarray(0.0))
    graph.draw(path, style="book", names={"d": "ŷ"}, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    parser.add_argument("--draw", metavar="FILE", help="write figure 6.8b as .svg, .png, .dot or .mmd")
    given = parser.parse_args()
    pg.use(given.device)
    main()
    if given.draw:
        draw(given.draw)
