"""(d) y = x^T w with the weight decay lambda * sum(w^2): w feeds two operations.

Figure 6.8d of "Deep Learning". What each of them sends back to w is added up: x from the prediction, and
2 lambda w from the decay.
"""

import argparse

import portagrad as pg


def predict(w, x):
    return x @ w


def decay(w, strength):
    return strength * pg.sum(w**2)


def cost(w, x, strength):
    return predict(w, x) + decay(w, strength)


def main():
    x = pg.asarray([1.0, -2.0, 0.5])
    w = pg.asarray([0.3, 0.1, -0.4])
    strength = 0.1

    from_prediction = pg.grad(predict)(w, x)
    from_decay = pg.grad(decay)(w, strength)
    dw = pg.grad(cost)(w, x, strength)
    print(f"from the prediction {pg.to_device(from_prediction, 'cpu')}")
    print(f"from the decay      {pg.to_device(from_decay, 'cpu')}")
    print(f"together      dJ/dw {pg.to_device(dw, 'cpu')}")

    assert pg.max(pg.abs(dw - (from_prediction + from_decay))) < 1e-6
    assert pg.max(pg.abs(dw - (x + 2 * strength * w))) < 1e-6


def draw(path, **options):
    """Figure 6.8d: the prediction and the weight decay, both of them results."""

    def both(x, w, λ):
        return predict(w, x), decay(w, λ)

    graph = pg.graph(both, pg.ones(3), pg.ones(3), pg.asarray(0.1))
    graph.draw(path, style="book", names={"a": "ŷ"}, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    parser.add_argument("--draw", metavar="FILE", help="write figure 6.8d as .svg, .png, .dot or .mmd")
    given = parser.parse_args()
    pg.use(given.device)
    main()
    if given.draw:
        draw(given.draw)
