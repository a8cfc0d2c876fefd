"""A run that is killed again and again, in a process of its own.

``killed_runs.py DEVICE FOLDER KILLS SEED SETTING...`` trains what ``FOLDER/small.toml`` describes.

A child is forked for each start, after the imports, so that a start costs little. It is killed from outside
after a random time, or kills itself at a random call of those that make a file or a name last, which are the
moments within a checkpoint. Prints what happened as JSON.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(sys.argv[2]) / "jax-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import portagrad  # noqa: F401
from portagrad.train import load_config, resume, start

LASTING = ("fsync", "replace", "mkdir", "rmdir", "unlink")


def run_in_child(folder, run, device, settings, suicide):
    """Train or go on, in a child; its exit status."""
    if suicide:
        left = [suicide]
        for name in LASTING:
            setattr(os, name, fatal(getattr(os, name), left))
    if (run / "config.toml").is_file():
        resume(run, ["train.checkpoint_steps=1"])
    else:
        config = load_config(folder / "small.toml", settings, device=device)
        shutil.rmtree(run, ignore_errors=True)  # killed before it had a configuration, it was no run yet
        start(dataclasses.replace(config, output=run))


def fatal(call, left):
    def counted(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    return counted


def child(*args):
    pid = os.fork()
    if not pid:
        try:
            run_in_child(*args)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def main():
    device, folder, kills, seed, *settings = sys.argv[1:]
    folder, kills, chance = Path(folder), int(kills), random.Random(int(seed))
    library = device.partition(":")[0]
    if library in ("torch", "jax", "dask"):
        __import__(library)  # before the fork, but not yet at work: its threads would not survive it
    whole = folder / "whole"
    began = time.monotonic()
    assert os.waitpid(child(folder, whole, device, settings, 0), 0)[1] == 0
    seconds = time.monotonic() - began
    run, killed, inside, ended = folder / "run", 0, 0, 0
    while killed < kills:
        suicide = chance.randrange(1, 30) if chance.random() < 0.5 else 0
        pid = child(folder, run, device, settings, suicide)
        if not suicide:
            time.sleep(chance.uniform(0, seconds / 2))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            inside += bool(suicide)
        else:
            assert os.WEXITSTATUS(status) == 0, "a start failed"
            ended += 1
    assert os.waitpid(child(folder, run, device, settings, 0), 0)[1] == 0
    print(json.dumps({"killed": killed, "inside": inside, "ended": ended, "seconds": seconds}))


if __name__ == "__main__":
    main()
