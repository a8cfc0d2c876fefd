"""(a) z = xy: the smallest graph, figure 6.8a of Goodfellow, Bengio and Courville, "Deep Learning" (2016)."""

import argparse

import portagrad as pg


def multiply(x, y):
    return x * y


def main():
    x, y = 2.0, 3.0
    dx, dy = pg.grad(multiply, argnums=(0, 1))(x, y)
    print(f"z = xy at x = {x}, y = {y}:  dz/dx = {float(dx)},  dz/dy = {float(dy)}")
    assert (dx, dy) == (y, x)


def draw(path, **options):
    """Figure 6.8a."""
    graph = pg.graph(multiply, pg.asarray(2.0), pg.asarray(3.0))
    graph.draw(path, style="book", names={"a": "z"}, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    parser.add_argument("--draw", metavar="FILE", help="write figure 6.8a as .svg, .png, .dot or .mmd")
    given = parser.parse_args()
    pg.use(given.device)
    main()
    if given.draw:
        draw(given.draw)
