"""Tests of gradients, for users' functions on users' machines and for the ops of the table."""

from portagrad.testing.agreement import assert_same_grads
from portagrad.testing.checkup import CheckRow, check_devices
from portagrad.testing.draws import Call, draws
from portagrad.testing.gradients import check_grads
from portagrad.testing.ops import check_op
from portagrad.testing.traced import TracedNamespace

__all__ = [
    "Call",
    "CheckRow",
    "TracedNamespace",
    "assert_same_grads",
    "check_devices",
    "check_grads",
    "check_op",
    "draws",
]
