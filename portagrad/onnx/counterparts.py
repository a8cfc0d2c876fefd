"""The whole table: what each file of lowerings adds to it."""

from portagrad.onnx import elementwise, movement, products, reductions  # each registers its own
from portagrad.onnx.lowering import LOWERINGS as COUNTERPARTS

__all__ = ["COUNTERPARTS", "elementwise", "movement", "products", "reductions"]
