"""Trained models as ONNX models that take data as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from portagrad.errors import CheckpointError
from portagrad.namespace import function
from portagrad.onnx.export import export
from portagrad.train.saved_model import TrainedModel

_argmax, _softmax = function("argmax"), function("softmax")


def export_trained(trained: TrainedModel, path: str | Path | None = None) -> Any:
    """Write an ONNX model that takes inputs in their own units, in batches of any size.

    It returns ``probabilities`` and ``class``, or the ``values`` of a regression. Its metadata has the task
    and the names of classes or targets and of features, as JSON.

    Parameters
    ----------
    trained : TrainedModel
        As `pg.train.load_model` reads it.
    path : str or Path, optional
        Where to write it, whole or not at all.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    Error
        If ONNX is not installed.
    """
    told, targets = trained.description, trained.targets
    model = trained.on("cpu").model
    scaling, taken = trained.inputs, told.dtype if trained.inputs is not None else "int32"

    def scaled(inputs: Any) -> Any:
        if scaling is None:
            return inputs
        mean, scale = (
            np.asarray(x, dtype=told.dtype).reshape(told.shape) for x in (scaling.mean, scaling.scale)
        )
        return (inputs - mean) / scale

    def predict(inputs: Any) -> Any:
        y = model(scaled(inputs))
        if targets is not None:
            return y * np.asarray(targets.scale, dtype=told.dtype) + np.asarray(
                targets.mean, dtype=told.dtype
            )
        return _softmax(y, axis=-1), _argmax(y, axis=-1)

    try:
        return export(
            predict,
            (np.zeros((2, *told.shape), dtype=taken),),
            path,
            dynamic={"inputs": ("batch", *[None] * len(told.shape))},
            outputs=["values"] if targets is not None else ["probabilities", "class"],
            metadata={
                "task": told.task,
                "classes": json.dumps(told.classes, ensure_ascii=False),
                "targets": json.dumps(told.targets, ensure_ascii=False),
                "features": json.dumps(getattr(told, "features", ()), ensure_ascii=False),
            },
        )
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None
