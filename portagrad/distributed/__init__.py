"""Training on many processes: reductions over ranks, what they cost, and where more ranks stop to pay."""

from portagrad.distributed.communicator import Communicator
from portagrad.distributed.launch import world
from portagrad.distributed.reduction import Handle
from portagrad.distributed.scaling import (
    StepTime,
    all_reduce_bytes,
    all_reduce_time,
    noise_scale,
    relative_steps,
    step_time,
)

__all__ = [
    "Communicator",
    "Handle",
    "StepTime",
    "all_reduce_bytes",
    "all_reduce_time",
    "noise_scale",
    "relative_steps",
    "step_time",
    "world",
]
