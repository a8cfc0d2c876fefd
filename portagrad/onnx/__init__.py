"""Functions as ONNX models: what portagrad records of a function, written in ONNX's ops."""

from portagrad.onnx.counterparts import COUNTERPARTS
from portagrad.onnx.export import export
from portagrad.onnx.trained import export_trained
from portagrad.onnx.writer import OPSET

__all__ = ["COUNTERPARTS", "OPSET", "export", "export_trained"]
