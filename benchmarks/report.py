"""What is written: the results as JSON, and tables of ratios made from them as Markdown."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.case import Bar, Result, Results
from benchmarks.timing import quartiles, ratios


def save(results: Results, path: Path) -> None:
    """Write a file that `load` reads: costs with four digits, which is more than repeats."""
    kept = dataclasses.asdict(results)
    for result in kept["results"]:
        for name, costs in result["costs"].items():
            result["costs"][name] = [float(f"{x:.4g}") for x in costs]
    lines = ",\n".join(json.dumps(result, ensure_ascii=False) for result in kept["results"])
    machine = json.dumps(kept["machine"], ensure_ascii=False, indent=1)
    path.write_text(f'{{"machine": {machine},\n"results": [\n{lines}\n]}}\n', encoding="utf-8")


def load(path: Path) -> Results:
    """The results of a run, from its JSON file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    results = [
        Result(**{**each, "bars": [Bar(b["ours"], tuple(b["over"]), b["at_most"]) for b in each["bars"]]})
        for each in found["results"]
    ]
    return Results(found["machine"], results)


@dataclass(frozen=True)
class Verdict:
    """A bar, and what was measured: the median ratio and its quartiles, over the fastest of the others."""

    result: Result
    bar: Bar
    over: str
    low: float
    ratio: float
    high: float

    @property
    def met(self) -> bool:
        return self.ratio <= self.bar.at_most


def verdict(result: Result, bar: Bar) -> Verdict | None:
    """What became of a bar; None where one side was not measured."""
    others = [name for name in bar.over if name in result.costs]
    if bar.ours not in result.costs or not others:
        return None
    fastest = min(others, key=lambda name: statistics.median(result.costs[name]))
    low, middle, high = quartiles(ratios(result.costs[bar.ours], result.costs[fastest]))
    return Verdict(result, bar, fastest, low, middle, high)


def verdicts(results: Results) -> list[Verdict]:
    found = [verdict(result, bar) for result in results.results for bar in result.bars]
    return [each for each in found if each is not None]


def page(results: Results) -> str:
    """Everything as Markdown: the machine, the bars, and a table for each group."""
    parts = [described(results.machine), bars_table(results)]
    for group in groups(results):
        parts += [f"### {group}", group_table(results, group)]
    return "\n\n".join(parts) + "\n"


def groups(results: Results) -> list[str]:
    return list(dict.fromkeys(result.group for result in results.results))


def described(machine: dict[str, Any]) -> str:
    """A paragraph about the machine."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    where = f"{machine['card']}; " if machine.get("card") else ""
    return (
        f"Measured on {where}{machine['processor']}, {machine['cores']} cores, {threads} "
        f"for every library, {machine['system']}; NumPy with {machine['blas']}; {libraries}; at commit "
        f"{machine['commit']}."
    )


def bars_table(results: Results) -> str:
    """Each bar, the median ratio, its quartiles, and whether it is met."""
    rows = [
        (
            f"{each.result.group}, {each.result.title}",
            each.bar.ours,
            each.over,
            f"{each.ratio:.2f}",
            f"{each.low:.2f} to {each.high:.2f}",
            f"{each.bar.at_most:.2f}",
            "yes" if each.met else "**no**",
        )
        for each in verdicts(results)
    ]
    return table(("case", "", "over", "ratio", "quartiles", "bar", "met"), rows)


def group_table(results: Results, group: str) -> str:
    """Medians over the baseline, contenders in rows and cases in columns; why some are missing below."""
    cases = [result for result in results.results if result.group == group]
    names = list(dict.fromkeys(name for case in cases for name in (*case.costs, *case.absent)))
    rows, notes = [], []
    for name in names:
        cells = [name]
        for case in cases:
            if name in case.costs:
                value = statistics.median(case.costs[name])
                cells.append(f"{value:.2f}" if value < 10 else f"{value:.0f}")
            elif name in case.absent:
                notes.append((name, case.absent[name], case.title))
                cells.append("not run")
            else:
                cells.append("")
        rows.append(cells)
    head = [f"over {cases[0].baseline}", *[case.title for case in cases]]
    text = table(head, rows)
    if any(case.unit for case in cases):
        text += "\n\n1 is " + ", ".join(f"{_quantity(case.unit)} ({case.title})" for case in cases) + "."
    for (name, why), those in groupby(notes, key=lambda note: note[:2]):
        text += f"\n\nNot run: {name} ({', '.join(title for *_, title in those)}): {why}."
    return text


def _quantity(unit: float) -> str:
    if unit > 1000:
        return f"{unit / 2**20:.0f} MiB"
    return f"{unit * 1e6:.0f} µs" if unit < 1e-3 else f"{unit * 1e3:.1f} ms"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
