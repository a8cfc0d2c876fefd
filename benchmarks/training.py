"""The training steps that are compared: an MLP classifier, its data, its optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import portagrad as pg
from portagrad import nn

RATE = 0.01
"""Of SGD."""
ADAMW = (1e-3, 0.9, 0.999, 1e-8, 1e-2)
"""Learning rate, b1, b2, eps and weight decay."""


@dataclass(frozen=True)
class Training:
    """Steps of full batches of random data through an MLP with ReLU and a softmax, in float32."""

    sizes: tuple[int, ...]
    batch: int
    optimizer: str  # "sgd" or "adamw"

    @property
    def title(self) -> str:
        hidden = self.sizes[1:-1]
        if len(hidden) > 4:
            return f"{len(hidden)} × {hidden[0]}, batch {self.batch}"
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch}"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """A batch of inputs and labels."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, self.sizes[0])).astype(np.float32)
        return x, rng.integers(0, self.sizes[-1], self.batch)

    def model(self) -> Any:
        """The network that everyone starts from, as portagrad's own."""
        return nn.MLP.init(pg.random.key(0), self.sizes, dtype=np.float32)

    def weights(self) -> tuple[list[Any], list[Any]]:
        """The weights of its layers, inputs in rows, and the biases; copies."""
        layers = self.model().layers
        return [np.array(layer.weight) for layer in layers], [np.array(layer.bias) for layer in layers]
