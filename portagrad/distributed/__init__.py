"""Training on many processes: what it costs and where it stops to pay."""

from portagrad.distributed.scaling import (
    StepTime,
    all_reduce_bytes,
    all_reduce_time,
    noise_scale,
    relative_steps,
    step_time,
)

__all__ = [
    "StepTime",
    "all_reduce_bytes",
    "all_reduce_time",
    "noise_scale",
    "relative_steps",
    "step_time",
]
