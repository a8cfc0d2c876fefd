"""One loss, its gradient on every usable device, and how far each is from NumPy's."""

import portagrad as pg
from portagrad import nn, random


def loss(model, x, labels):
    return nn.cross_entropy(model(x), labels)


def main():
    model = nn.MLP.init(random.key(0), [64, 32, 10], activation="gelu", device="cpu")
    x = random.normal(random.key(1), (128, 64), device="cpu")
    labels = random.randint(random.key(2), 128, maxval=10, dtype="int32", device="cpu")
    value, expected = pg.value_and_grad(loss)(model, x, labels)

    print(f"{'device':18}{'array':40}{'loss':>10}{'largest difference':>22}")
    for device in pg.devices():
        there = pg.to_device((model, x, labels), device)
        value, gradient = pg.value_and_grad(loss)(*there)
        array = gradient.layers[0].weight
        kind = f"{type(array).__module__}.{type(array).__name__}"
        difference = max(
            float(pg.max(pg.abs(pg.to_device(found, "cpu") - wanted)))
            for layer, reference in zip(gradient.layers, expected.layers, strict=True)
            for found, wanted in [(layer.weight, reference.weight), (layer.bias, reference.bias)]
        )
        print(f"{device!s:18}{kind:40}{float(value):10.6f}{difference:22.1e}")
        assert pg.device(array) == device
        assert difference < 1e-6


if __name__ == "__main__":
    main()
