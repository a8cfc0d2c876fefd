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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    pg.use(parser.parse_args().device)
    main()
