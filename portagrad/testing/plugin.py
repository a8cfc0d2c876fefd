"""The pytest plugin: a fixture over devices, loaded wherever portagrad is installed."""

from __future__ import annotations

import os
from typing import Any

import pytest

OPTION = "--portagrad-devices"
REQUIRE = "PORTAGRAD_REQUIRE"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--portagrad-devices``."""
    parser.getgroup("portagrad").addoption(
        OPTION,
        metavar="DEVICE[,DEVICE...]",
        default="",
        help="devices for the fixture xp_device, such as cpu,cuda:0,torch; by default every usable one. "
        f"Tests on one that is not usable are skipped, or fail where {REQUIRE} in the environment names it.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `xp_device` on each device."""
    if "xp_device" in metafunc.fixturenames:
        metafunc.parametrize("xp_device", _names(metafunc.config), indirect=True, scope="session")


@pytest.fixture(scope="session")
def xp_device(request: Any) -> Any:
    """Each device in turn: a `portagrad.Device`.

    The devices are those of ``--portagrad-devices``, by default every usable one. On one that is not usable
    the test is skipped with the reason; it fails where the environment variable ``PORTAGRAD_REQUIRE`` (names
    separated by commas) names the device or its backend.

    Examples
    --------
    A test of your own function on every array library that is installed::

        def test_my_loss(xp_device):
            x = pg.to_device(np.linspace(0.0, 1.0, 5), xp_device)
            check_grads(my_loss, (x,))
    """
    from portagrad.device import device
    from portagrad.errors import BackendUnavailableError

    try:
        found = device(request.param)
        found.backend.devices()
    except BackendUnavailableError as error:
        required = [name.strip() for name in os.environ.get(REQUIRE, "").split(",")]
        if request.param in required or request.param.partition(":")[0] in required:
            pytest.fail(f"{REQUIRE} names {request.param}, which is not usable: {error}")
        pytest.skip(str(error))
    return found


def _names(config: pytest.Config) -> list[str]:
    chosen = str(config.getoption(OPTION))
    if chosen:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    from portagrad.device import devices  # loads every array library: only for tests that ask for devices

    return list(map(str, devices()))
