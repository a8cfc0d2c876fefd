"""(e) The chain rule for scalars: dz/dx = dz/dy dy/dx, equation 6.44 of "Deep Learning".

And figure 6.9, w -> x -> y -> z by the same f three times: dz/dw = f'(y) f'(x) f'(w), equation 6.52. Its
derivative is a graph as well, figure 6.10: the symbol-to-symbol approach.
"""

import argparse
import math

import portagrad as pg


def g(x):
    return x**2


def f(y):
    return pg.sin(y)


def chain(w):
    return f(f(f(w)))


def main():
    x = 1.5
    y = g(x)
    whole = pg.grad(lambda x: f(g(x)))(x)
    product = pg.grad(f)(y) * pg.grad(g)(x)
    print(f"z = sin(x^2) at {x}:    dz/dx = {float(whole):.6f} = dz/dy dy/dx = {float(product):.6f}")
    assert abs(float(whole) - float(product)) < 1e-6
    assert abs(float(whole) - 2 * x * math.cos(x**2)) < 1e-6

    w = 0.5
    x, y = math.sin(w), math.sin(math.sin(w))
    slope = pg.grad(f)
    whole = pg.grad(chain)(w)
    product = slope(y) * slope(x) * slope(w)
    print(f"z = f(f(f(w))) at {w}:  dz/dw = {float(whole):.6f} = f'(y) f'(x) f'(w) = {float(product):.6f}")
    assert abs(float(whole) - float(product)) < 1e-6
    assert abs(float(whole) - math.cos(y) * math.cos(x) * math.cos(w)) < 1e-6


def draw(path, **options):
    """Figure 6.10, z and its derivative in one graph, without the multiplication by dz/dz = 1."""
    graph = pg.graph(pg.value_and_grad(chain), pg.asarray(0.5)).improved()
    names = {
        "a": "x",
        "b": "y",
        "c": "z",
        "d": "dz/dy",
        "e": "dy/dx",
        "f": "dz/dx",
        "g": "dx/dw",
        "h": "dz/dw",
    }
    graph.draw(path, style="book", names=names, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default=pg.current_device(), help='such as "torch:cpu" or "cuda"')
    parser.add_argument("--draw", metavar="FILE", help="write figure 6.10 as .svg, .png, .dot or .mmd")
    given = parser.parse_args()
    pg.use(given.device)
    main()
    if given.draw:
        draw(given.draw)
