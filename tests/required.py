"""What a machine may lack and CI may not: the test is skipped with the reason, or fails with it."""

import os
from typing import NoReturn

import pytest

from portagrad.testing.plugin import REQUIRE


def lacking(what: str, reason: str, *, whole_module: bool = False) -> NoReturn:
    """Skip for a reason, or fail where ``PORTAGRAD_REQUIRE`` names what is missing."""
    if what in os.environ.get(REQUIRE, "").split(","):
        pytest.fail(f"{REQUIRE} names {what}, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=whole_module)
