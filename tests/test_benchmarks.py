"""The benchmarks measure what they say: the same work, compared before it is timed, and reported whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import black_scholes, by_hand, libraries, measure, mlp, report, run, steps, timing  # noqa: E402
from benchmarks.case import Bar, Case, NotHere, Result, Results, Running  # noqa: E402
from benchmarks.training import Training  # noqa: E402

TINY = {name: Training((6, 5, 4, 3), 8, name) for name in ("sgd", "adamw")}
RESULTS = Results(
    {
        "processor": "P",
        "cores": 2,
        "threads": 2,
        "system": "S",
        "blas": "B",
        "versions": {"numpy": "2"},
        "commit": "c",
    },
    [
        Result(
            "g",
            "one",
            "base",
            {"ours": [0.5, 0.6, 0.4], "base": [1.0, 1.0, 1.0], "slow": [2.0, 2.0, 2.0]},
            {},
            [Bar("ours", ("base",), 0.45), Bar("ours", ("slow", "gone"), 0.3), Bar("gone", ("base",), 1.0)],
        ),
        Result("g", "two", "base", {"base": [1.0]}, {"ours": "broke"}, []),
    ],
)


class CuPyOnNumPy:
    """What the hand-written CuPy step uses of CuPy, done by NumPy at once; a graph replays nothing itself."""

    class cuda:
        class Stream:
            def __init__(self, non_blocking: bool) -> None:
                assert non_blocking

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: Any) -> None:
                pass

            def synchronize(self) -> None:
                pass

    asnumpy = staticmethod(np.array)

    def fuse(self) -> Any:
        return lambda f: f

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE", 1e-4)
    monkeypatch.setattr(timing, "PAUSE", 0.0)


def losses(running: Running, count: int = 4) -> list[float]:
    return [float(running.read(running.step())) for _ in range(count)]


@pytest.mark.parametrize("optimizer", TINY)
def test_every_training_step_takes_the_same_steps(optimizer: str) -> None:
    training = TINY[optimizer]
    expected = losses(by_hand.numpy_step(training))
    assert expected[-1] < expected[0]
    np.testing.assert_allclose(losses(steps.portagrad(training, "cpu")), expected, rtol=1e-5)
    for library in ("torch", "autograd"):
        if importlib.util.find_spec(library):
            np.testing.assert_allclose(losses(getattr(steps, library)(training, "cpu")), expected, rtol=1e-5)


@pytest.mark.parametrize("optimizer", TINY)
def test_the_step_for_cupy_takes_them_too(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NumPy in CuPy's place; capturing must leave the weights and AdamW's state as they were."""
    monkeypatch.setattr(libraries, "cupy", lambda device: CuPyOnNumPy())

    def captured(step: Any, stream: Any) -> Any:
        loss = np.zeros((), np.float32)
        return lambda: np.copyto(loss, step()), loss

    monkeypatch.setattr(by_hand, "captured", captured)
    training = TINY[optimizer]
    found = losses(by_hand.cupy_step(training, "cuda"))
    np.testing.assert_allclose(found, losses(by_hand.numpy_step(training)), rtol=1e-5)


def test_the_greeks_by_hand_are_the_gradient() -> None:
    ours, right = black_scholes.portagrad(50, "cpu"), black_scholes.numpy_by_hand(50)
    np.testing.assert_allclose(ours.read(ours.step()), right.read(right.step()), rtol=2e-3, atol=1e-3)


def test_a_contender_that_is_wrong_or_missing_is_told_with_its_reason() -> None:
    def giving(value: float) -> Any:
        return lambda: Running(lambda: value, libraries.nothing, np.asarray)

    def missing() -> Running:
        raise NotHere("there is none")

    def without() -> Running:
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    contenders = {"base": giving(1.0), "same": giving(1.0001), "wrong": giving(1.1)}
    case = Case("g", "t", {**contenders, "missing": missing, "without": without}, "base")
    result = measure.run(case, 3, lambda line: None)
    assert list(result.costs) == ["base", "same"]
    assert [len(costs) for costs in result.costs.values()] == [3, 3]
    assert result.absent["missing"] == "there is none"
    assert result.absent["without"] == "nowhere is not installed"
    assert "computes something else" in result.absent["wrong"]


def test_results_are_kept_and_told(tmp_path: Path) -> None:
    run.write(RESULTS, tmp_path, "here")
    assert report.load(tmp_path / "here.json") == RESULTS
    first, second = report.verdicts(RESULTS)  # and none for one that was not measured
    assert (first.ratio, first.met, first.over) == (0.5, False, "base")
    assert (second.ratio, second.met, second.over) == (0.25, True, "slow")
    text = (tmp_path / "here.md").read_text("utf-8")
    assert "| ours | 0.50 | not run |" in text and "Not run: ours (two): broke." in text
    assert (tmp_path / "here.png").read_bytes().startswith(b"\x89PNG")


def test_every_case_of_the_requirement_has_its_bars() -> None:
    for device in ("cpu", "cuda"):
        cases = [
            case
            for name in ("mlp", "chain", "black_scholes", "hvp", "cholesky", "memory", "compile_time")
            for case in run.cases_of(name, device, False)
        ]
        assert len({(case.group, case.title) for case in cases}) == len(cases) == 21
        for case in cases:
            assert case.baseline in case.contenders
            for bar in case.bars:
                assert {bar.ours, *bar.over} <= set(case.contenders), (case.title, bar)
    assert len(mlp.SIZES[4][0]) == 21  # nineteen hidden layers
    assert black_scholes.OPTIONS == 10_000_000


def test_without_a_cuda_device_the_cuda_contenders_say_so() -> None:
    if importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is one")
        with pytest.raises(NotHere, match="torch finds no CUDA device"):
            steps.torch(TINY["sgd"], "cuda")
    with pytest.raises((NotHere, ModuleNotFoundError)):
        by_hand.cupy_step(TINY["sgd"], "cuda")


def test_the_command_refuses_a_case_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "no case nonsense; there are mlp" in done.stderr


def test_the_kept_results_are_those_on_the_page_and_in_the_readme() -> None:
    spec = importlib.util.spec_from_file_location("docs_build_benchmarks", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    page, readme = ((ROOT / name).read_text("utf-8") for name in ("docs/benchmarks.md", "README.md"))
    assert build.benchmarks_page() == page, "docs/benchmarks.md is behind: run `python docs/build.py`"
    assert build.with_benchmarks(readme) == readme, "README.md is behind: run `python docs/build.py`"
    assert report.page(report.load(ROOT / "benchmarks/results/cpu.json")) == (
        ROOT / "benchmarks/results/cpu.md"
    ).read_text("utf-8")
