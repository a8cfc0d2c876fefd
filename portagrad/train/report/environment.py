"""Where a run runs: versions, machine, device and the commit of the code beside it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from portagrad.device import Device
from portagrad.train.run_folder import json_line, write_text

_PACKAGES = ("numpy", "scipy", "numba", "safetensors", "matplotlib")


def environment(where: Device, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What ``environment.json`` holds, written before the first step so that a run that fails has it too.

    Parameters
    ----------
    where : Device
        The run's.
    facts : mapping
        What else is to be known of the run: its task, its number of features, the names of its outputs.
    """
    import portagrad

    versions = {"python": platform.python_version(), "portagrad": portagrad.__version__}
    versions[where.backend.name] = where.backend.version
    for package in _PACKAGES:
        try:
            versions.setdefault(package, version(package))
        except PackageNotFoundError:
            continue
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(where),
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "versions": versions,
        "commit": _commit(),
        **facts,
    }


def write_environment(folder: Path, where: Device, facts: Mapping[str, Any]) -> None:
    """Write ``environment.json``."""
    write_text(folder / "environment.json", json_line(environment(where, facts), indent=2) + "\n")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the working folder's repository, with a plus where files differ from it."""
    told = _git("rev-parse", "HEAD")
    if not told:
        return None
    return told + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
