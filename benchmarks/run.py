"""All cases of a run, one after the other, and the files that are written after each."""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measure, report
from benchmarks.case import Case, Result, Results
from benchmarks.machine import describe


def run_all(
    modules: Sequence[str],
    *,
    device: str,
    threads: int,
    rounds: int,
    quick: bool,
    only: str,
    until: float,
    folder: Path,
    name: str,
) -> int:
    """Returns the exit status: 1 if portagrad itself failed somewhere, else 0."""
    machine = describe(threads, device)
    results = Results(machine)
    name = name or slug(machine.get("card") or device)
    folder.mkdir(parents=True, exist_ok=True)
    cases = [case for module in modules for case in cases_of(module, device, quick)]
    for case in cases:
        if only.lower() not in f"{case.group} {case.title}".lower():
            continue
        if time.perf_counter() > until:
            results.results.append(not_run(case, "the time was up"))
            continue
        say(f"{case.group}: {case.title}")
        result = measure.run(case, rounds, say)
        if device == "cpu" and not case.bytes:
            result.unit = 0.0
        results.results.append(result)
        for each in filter(None, (report.verdict(result, bar) for bar in result.bars)):
            mark = "" if each.met else "  MISSED"
            say(f"    {each.bar.ours} over {each.over}: {each.ratio:.2f}, bar {each.bar.at_most}{mark}")
        report.save(results, folder / f"{name}.json")  # what is there survives an end by force
    write(results, folder, name)
    broken = [
        f"{result.group}, {result.title}: {who}: {why}"
        for result in results.results
        for who, why in result.absent.items()
        if who in ("portagrad", "portagrad compiled") and why != "the time was up"
    ]
    for line in broken:
        say(f"FAILED {line}")
    return bool(broken)


def write(results: Results, folder: Path, name: str) -> None:
    """The three files of a run."""
    from benchmarks.plot import draw

    report.save(results, folder / f"{name}.json")
    results = report.load(folder / f"{name}.json")  # as rounded there
    (folder / f"{name}.md").write_text(report.page(results), encoding="utf-8")
    draw(results, folder / f"{name}.png")
    say(report.page(results))
    say(f"written: {folder / name}.json, .md, .png")


def cases_of(module: str, device: str, quick: bool) -> list[Case]:
    return list(importlib.import_module(f"benchmarks.{module}").cases(device, quick))


def not_run(case: Case, why: str) -> Result:
    return Result(
        case.group, case.title, case.baseline, {}, dict.fromkeys(case.contenders, why), list(case.bars)
    )


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def say(line: str) -> None:
    print(line, flush=True, file=sys.stdout)
