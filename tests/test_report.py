"""What people see of a run: its folder read back, the page in a real browser, terminal, TensorBoard."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from required import lacking
from rich.console import Console
from typer.testing import CliRunner

from portagrad.cli import make_app
from portagrad.cli.terminal import print_comparison, print_run
from portagrad.errors import ConfigError
from portagrad.train import (
    BarProgress,
    Config,
    DataConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    load_model,
    start,
)
from portagrad.train import output as output_module
from portagrad.train.report import find_runs, read_run, report_html, write_report
from portagrad.train.report.chart import Line, axis, histogram_chart, line_chart
from portagrad.train.report.comparison import compare, comparison_csv, write_comparison
from portagrad.train.report.drawings import drawings

HOSTILE = '<script>document.title="taken"</script>'
SECTIONS = ("curves", "confusion", "classes", "norms", "graph", "configuration", "environment")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs: two of digits, one with TensorBoard, a failed one, two regressions, 100 classes."""
    folder = tmp_path_factory.mktemp("runs")
    digits = np.load("examples/data/digits.npz")
    np.savez(folder / "digits.npz", images=digits["images"][:300], labels=digits["labels"][:300])
    for name, rate, board in (("digits-1", 0.01, True), ("digits-2", 0.001, False)):
        start(
            Config(
                data=DataConfig(path=folder / "digits.npz"),
                model=ModelConfig(hidden=(16, 16), dropout=0.1),
                optimizer=OptimizerConfig(lr=rate),
                train=LoopConfig(epochs=6, batch_size=50, tensorboard=board, compile=board),
                device="cpu",
                output=folder / name,
            )
        )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3))
    np.savez(folder / "rents.npz", x=x, y=np.stack([x[:, 0] * 50 + 700, x[:, 1] ** 2], axis=1))
    start(
        Config(
            data=DataConfig(path=folder / "rents.npz", task="regression", names=("rent", HOSTILE)),
            model=ModelConfig(hidden=(16,), loss="huber"),
            optimizer=OptimizerConfig(lr=0.02),
            train=LoopConfig(epochs=4, batch_size=50, compile=False, metrics=("mae",), tensorboard=True),
            device="cpu",
            output=folder / "rents",
        )
    )
    synthetic(folder / "many", names=[HOSTILE, *(f"class {i}" for i in range(99))])
    synthetic(folder / "middle", names=[f"a long name of class {i}" for i in range(20)])
    regression = synthetic(folder / "regression", score="r2")
    targets = rng.standard_normal(300)
    values = targets + 0.1 * rng.standard_normal(300)
    predictions = {"names": [HOSTILE], "examples": 900, "targets": targets[:, None].tolist()}
    write(regression / "predictions.json", {**predictions, "values": values[:, None].tolist()})
    failed = synthetic(folder / "failed", summary=False, model_name=HOSTILE)
    with (failed / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 9, "error": f"not finite at step 7: {HOSTILE}"}) + "\n{half a li")
    return folder


def synthetic(folder, names=None, score="accuracy", summary=True, model_name="relu"):
    """A run's folder as the loop would leave it, without a loop."""
    folder.mkdir()
    (folder / "config.toml").write_text(
        f"[model]\nactivation = {json.dumps(model_name)}\n[train]\nepochs = 8\n"
    )
    records = [
        {
            "epoch": n,
            **{f"{split}_loss": 2.0**-n + lift for split, lift in (("train", 0.0), ("validation", 0.02))},
            f"train_{score}": 1 - 2.0**-n,
            "learning_rate": 0.1 / n,
            "norms": {
                kind: {f"layers.{i}.weight": 2.0 ** (i - n) for i in range(11)}
                for kind in ("weights", "gradients")
            },
            "seconds": float(n),
        }
        for n in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if names:
        counts = np.eye(len(names), dtype=int) * 40
        counts[0, 1], counts[3, 2] = 9, 5
        write(folder / "confusion.json", {"names": names, "counts": counts.tolist()})
    if summary:
        write(folder / "summary.json", {f"test_{score}": 0.97, "test_loss": 0.01, "seconds": 8.5})
    return folder


def write(path, value):
    path.write_text(json.dumps(value))


# --- the folder ---


def test_runs_are_found_by_folder_and_pattern_and_said_what_they_are(runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    everything = find_runs([runs.name])
    assert [path.name for path in everything] == [
        *("digits-1", "digits-2", "failed", "many", "middle", "regression", "rents"),
    ]
    assert find_runs([f"{runs.name}/digits-*", everything[0]]) == everything[:2]
    states = {path.name: read_run(path).status for path in everything}
    assert states == {**dict.fromkeys(states, "finished"), "failed": "failed"}
    with pytest.raises(ConfigError, match=r"no-such: no such"):
        find_runs(["no-such"])
    with pytest.raises(ConfigError, match=r"tensorboard: no run"):
        find_runs([runs / "digits-1" / "tensorboard"])


def test_a_run_s_best_epoch_is_the_one_that_it_kept(runs):
    run = read_run(runs / "digits-1")
    assert run.best()["epoch"] == run.summary["best_epoch"]
    failed = read_run(runs / "failed")  # which has no summary
    assert failed.best()["validation_loss"] == min(failed.series("validation_loss"))


def test_a_damaged_run_is_read_as_far_as_it_goes(runs, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(runs / "digits-2", damaged)
    (damaged / "summary.json").write_text("[1]")
    (damaged / "confusion.json").write_text('{"names": ["a"], "counts": [[1, 2]]}')
    (damaged / "config.toml").unlink()
    with (damaged / "metrics.jsonl").open("a") as file:
        file.write(f'[]\n{{"epoch": 7, "train_loss": 1{"0" * 400}}}\n{{"epo')
    run = read_run(damaged)
    assert run.status == "unfinished" and len(run.epochs) == 7 and run.series("train_loss")[-1] is None
    assert run.faults == (
        "config.toml is missing",
        "metrics.jsonl: line 8 is damaged and left out",
        "metrics.jsonl: line 10 is damaged and left out",
        "summary.json is damaged: not a JSON object",
        "confusion.json is damaged: "
        "the counts are not a square of whole numbers, a row and a column per name",
    )
    assert all(fault in report_html(run) for fault in run.faults)


def test_no_content_of_a_folder_s_files_breaks_its_report(runs, tmp_path):
    """300 mutated folders: each gives a page or a ConfigError."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "run"
    shutil.copytree(runs / "regression", folder)
    names = ["config.toml", "metrics.jsonl", "summary.json", "predictions.json"]
    whole = {name: (folder / name).read_bytes() for name in names}
    values = [b"null", b"-1", b"[]", b"{}", b'""', b"1e999", b"NaN", b"9" * 30, b"true", b"[[1]]"]
    faulty = 0
    for trial in range(300):
        name = names[trial % 4]
        content = whole[name]
        places = [match.span() for match in re.finditer(rb"-?\d+\.?\d*|\"[^\"]*\"", content[:4000])]
        start, end = places[rng.integers(len(places))]
        content = content[:start] + values[rng.integers(len(values))] + content[end:]
        if trial % 3 == 0:
            content = content[: rng.integers(len(content))]
        (folder / name).write_bytes(content)
        run = read_run(folder)
        faulty += bool(run.faults)
        if trial % 6 == 0:
            assert "</html>" in report_html(run)
        (folder / name).write_bytes(whole[name])
    assert faulty > 100


# --- charts ---


def test_axes_hold_their_values_and_their_ticks_are_round():
    for values, options in (
        ([0.0, 1.0], {"percent": True}),
        ([0.001, 3.0], {"may_log": True}),
        ([0.2, 3.0], {"may_log": True}),
        ([5.0, 5.0], {}),
        ([1, 50], {"whole": True}),
        ([-1e-9, 1e9], {}),
    ):
        made = axis(values, **options)
        assert all(0 <= made.at(value) <= 1 for value in (*values, *made.ticks)), values
        assert 1 <= len(made.ticks) <= 8 and made.at(min(values)) < made.at(max(values)) + 1e-9
    assert axis([0.001, 3.0], may_log=True).ticks == (0.001, 0.01, 0.1, 1.0)


def test_a_curve_breaks_where_a_value_is_missing():
    chart = line_chart("Loss", [1, 2, 3, 4], [Line("a", [1.0, None, 3.0, 2.0])])
    assert chart.paths[0].d.count("M") == 2 and chart.paths[0].d.count("h0") == 1
    (dot,) = chart.paths[1:]  # what stands alone is seen
    assert dot.form == "dots" and chart.paths[0].d.startswith(dot.d)
    assert [point["title"] for point in json.loads(chart.points)] == [f"epoch {n}" for n in (1, 2, 3, 4)]
    assert line_chart("Loss", [1, 2], [Line("a", [None, None])]) is None


def test_a_histogram_counts_everything_and_is_bounded_whatever_the_outliers():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=500), np.append(rng.normal(size=500), 1e12), np.zeros(7), np.ones(1)):
        chart = histogram_chart("r", values, x_label="x", y_label="examples", description="")
        points = json.loads(chart.points)
        assert sum(int(point["rows"][0][2]) for point in points) == len(values)
        assert 1 <= len(points) <= 60 and all(0 <= point["x"] <= 1 for point in points)
        assert chart.paths[0].d.count("Z") == sum(point["rows"][0][2] != "0" for point in points)


# --- the page in a browser ---


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, headless; required where PORTAGRAD_REQUIRE names ``browser``."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if program is None or sync_playwright is None:
        reason = "no chromium" if program is None else "playwright is not installed"
        lacking("browser", f"a browser is not usable: {reason}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Open a file in a page of some width; the page must be silent, ask for nothing and fit."""
    contexts = []

    def open_(path, width, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        told = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: told.append(request.url))
        page.goto(path.as_uri())
        assert [line for line in told if not line.startswith("data:")] == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """[...document.querySelectorAll('section, .tiles > div, .chart, h1, .x-axis span, .y-axis span')]
            .filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
            .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_section_of_a_report_is_visible_and_the_page_fits(opened, runs, width):
    page = opened(runs / "digits-1" / "report.html", width)
    for section in SECTIONS:
        assert page.locator(f"#{section}").is_visible(), section
        assert page.locator(f"nav a[href='#{section}']").is_visible()
        assert page.locator(f"#{section} h2").bounding_box()["height"] > 15
    assert page.locator("#curves .plot svg").count() == 3 and page.locator("#norms .plot svg").count() == 2
    assert page.locator("#graph img").evaluate_all(
        "all => all.map(e => e.naturalWidth > 300 && e.alt.length > 20)"
    ) == [
        True,
        True,
    ]
    counts = read_run(runs / "digits-1").confusion.counts
    cells = page.locator(".matrix tbody td:not(.recall)").all_inner_texts()
    assert [int(cell or 0) for cell in cells] == counts.ravel().tolist()
    assert page.locator("#classes tbody tr").count() == 10
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll('td, th, span, p, dt')]
        .map(e => parseFloat(getComputedStyle(e).fontSize)))"""
    )
    assert smallest >= 12


def test_the_pointer_and_the_arrow_keys_read_a_curve(opened, runs):
    page = opened(runs / "digits-1" / "report.html", 1280)
    losses = read_run(runs / "digits-1").series("train_loss")
    plot, tip = page.locator("#curves .plot").first, page.locator("#curves .tip").first
    assert not tip.is_visible()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 40)
    assert tip.is_visible() and "epoch 6" in tip.inner_text() and f"{losses[-1]:.4g}" in tip.inner_text()
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    plot.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "epoch 2" in tip.inner_text() and f"{losses[1]:.4g}" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("#curves summary").click()
    assert page.locator("#curves details tbody tr").count() == 6


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["failed", "regression", "many", "middle"])
def test_other_runs_are_shown_escaped_and_whole(opened, runs, name, width):
    page = opened(write_report(read_run(runs / name)), width)
    assert page.title() == f"{name} · run"  # which the hostile names would change
    shown = page.locator("body").inner_text()
    if name == "failed":
        assert f"not finite at step 7: {HOSTILE}" in shown and "line 10 is damaged" in shown
        assert "activation" in shown and HOSTILE in page.locator("#configuration").inner_text()
    elif name == "regression":
        assert page.locator("#fit .plot svg .dots").count() == 1 and page.locator("#fit").is_visible()
        assert page.locator("#fit .plot svg .bars").bounding_box()["height"] > 100
        assert f"{HOSTILE}: residuals" in shown
    else:
        assert page.locator("#classes tbody tr").count() == {"many": 100, "middle": 20}[name]
        assert "Most often confused" in shown
        # A narrow page scrolls a table, and breaks no word letter by letter.
        widths = page.locator("#classes th.text").evaluate_all("all => all.map(e => e.offsetWidth)")
        assert min(widths) > 70
    if name == "many":
        assert page.locator(".heat rect").count() == 102
        assert HOSTILE in page.locator("#confusion").inner_text()
        assert page.locator(".heat svg").bounding_box()["width"] >= 300


@pytest.mark.parametrize("width", [1280, 390])
def test_a_regression_is_shown_by_its_fit_instead_of_a_confusion(opened, runs, width):
    """Each output has its predictions against its targets, and its residuals, which the pointer reads."""
    run = read_run(runs / "rents")
    page = opened(runs / "rents" / "report.html", width)
    shown = page.locator("body").inner_text()
    assert not page.locator("#confusion, #classes").count() and page.title() == "rents · run"
    assert page.locator("nav a[href='#fit']").is_visible()
    titles = page.locator("#fit figcaption").all_inner_texts()
    pairs = (
        f"{name}: {what}" for name in ("rent", HOSTILE) for what in ("predicted against true", "residuals")
    )
    assert titles == list(pairs)
    assert page.locator("#fit .dots").count() == page.locator("#fit .bars").count() == 2
    for box in page.locator("#fit .plot").all():
        assert box.bounding_box()["width"] > 250 and box.bounding_box()["height"] >= 200
    tiles = dict(zip(*(page.locator(f".tiles {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))
    for name in ("r2", "loss", "mse", "mae"):
        assert tiles[f"test {name}"] == f"{run.test[name]:.4g}"
    assert "R2" in shown and "MAE of validation" in shown and "huber" in shown
    assert page.locator("#graph img").count() == 2
    # Sixty test examples are in the bars.
    plot = page.locator("#fit .plot[data-points]").first
    points = json.loads(plot.get_attribute("data-points"))
    assert sum(int(point["rows"][0][2]) for point in points) == len(run.predictions.targets) == 60
    plot.focus()
    page.keyboard.press("Home")
    assert "examples" in page.locator("#fit .tip").nth(1).inner_text()


def test_dark_is_dark_and_print_is_light(opened, runs):
    path = runs / "digits-1" / "report.html"

    def brightness(page, what="body"):
        colour = page.evaluate(f"getComputedStyle(document.querySelector('{what}')).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light, dark = opened(path, 390), opened(path, 390, "dark")
    assert brightness(light) > 230 and brightness(dark) < 40
    assert brightness(light, "section") > 230 and brightness(dark, "section") < 50
    dark.emulate_media(media="print")
    assert brightness(dark) > 230


def test_a_comparison_is_a_page(opened, runs, tmp_path):
    compared = compare([read_run(path) for path in find_runs([runs])])
    write_comparison(compared, tmp_path / "all.html")
    for width in (1280, 390):
        page = opened(tmp_path / "all.html", width)
        assert page.locator("#results tbody tr").count() == 7 and page.locator("#curves .plot").count() >= 3
    assert HOSTILE in page.locator(".alert").inner_text()


# --- the terminal ---


def printed(function, value, width=100):
    text = io.StringIO()
    function(value, Console(file=text, width=width, force_terminal=False))
    return text.getvalue()


def test_a_run_is_shown_on_a_terminal(runs):
    run = read_run(runs / "digits-1")
    shown = printed(print_run, run)
    assert shown.startswith("digits-1 finished\n")
    for expected in ("training loss", f"{run.test['accuracy']:.2%}", "optimizer.lr", "6 epochs in"):
        assert expected in shown
    assert re.search(r"training loss .*█.*▁", shown)
    fitted = read_run(runs / "rents")
    table = " ".join(printed(print_run, fitted).split())
    assert f"mse {fitted.test['mse']:.4g}" in table and "validation mae" in table
    failed = printed(print_run, read_run(runs / "failed"))
    assert "failed\n" in failed and f"! not finite at step 7: {HOSTILE}" in failed


def test_runs_are_compared_by_what_differs(runs):
    two = compare([read_run(runs / name) for name in ("digits-1", "digits-2")])
    assert two.settings == ("optimizer.lr", "train.compile", "train.tensorboard")
    shown = printed(print_comparison, two)
    assert re.search(r"optimizer\.lr +0\.01 +0\.001\n", shown) and "data.path" not in shown
    losses = [run.test["loss"] for run in two.runs]
    marked = [two.header.index("test loss") in best for best in two.best]
    assert marked == [loss == min(losses) for loss in losses]
    whole = compare([read_run(path) for path in find_runs([runs])])
    lines = comparison_csv(whole).splitlines()
    assert len(lines) == 8 and lines[0].startswith("run,status,epochs,duration,test ")
    assert [line for line in lines if "damaged" in line] == [
        line for line in lines if line.startswith("failed")
    ]


def test_the_commands_show_and_compare(runs, tmp_path):
    def run(*words):
        result = CliRunner().invoke(make_app(), [str(word) for word in words])
        return result.exit_code, result.stdout, result.stderr

    code, out, err = run("show", runs / "digits-2")
    assert (code, err) == (0, "") and "digits-2 finished" in out and "training loss" in out
    page = runs / "digits-2" / "report.html"
    page.unlink()
    assert run("show", runs / "digits-2", "--html") == (0, f"{page}\n", "") and page.is_file()
    code, out, _ = run("compare", runs / "digits-*")
    assert code == 0 and "optimizer.lr" in out and "failed" not in out
    assert run("compare", runs, "--output", tmp_path / "all.csv")[0] == 0
    assert (tmp_path / "all.csv").read_text().count("\n") == 8
    (tmp_path / "empty").mkdir()
    code, out, err = run("show", tmp_path / "empty")
    assert (code, out, err) == (2, "", f"portagrad: {tmp_path / 'empty'}: no run; no config.toml\n")


def test_the_bar_says_rate_and_loss():
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with BarProgress(console) as bar:
        bar.start(epochs=2, steps=10)
        for loss in (0.25, 0.125):
            bar.seen(320, loss)
            bar.advance(5)
        bar.epoch({"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"epoch 1/2|epoch 2/2", shown) and re.search(r"[\d.]+[kM]? examples/s", shown)
    assert "loss 0.1250" in shown and "accuracy 90.00%" in shown


# --- what the loop leaves ---


def test_norms_are_those_of_the_weights_and_of_the_gradient(runs):
    run = read_run(runs / "digits-1")
    weights = run.norms("weights")
    assert list(weights) == [f"layers.{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    model = load_model(run.folder / "model.safetensors").model
    for i, layer in enumerate(model.layers):
        assert weights[f"layers.{i}.weight"][-1] == pytest.approx(np.linalg.norm(layer.weight), rel=1e-5)
    assert all(value > 0 for values in run.norms("gradients").values() for value in values)
    assert [drawing.note for drawing in drawings(run)] == ["", ""]


def test_a_run_that_is_stopped_leaves_its_report(runs, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(output_module, "save_model", stop)
    config = Config(
        data=DataConfig(path=runs / "digits.npz"),
        train=LoopConfig(epochs=1, batch_size=100, compile=False),
        device="cpu",
        output=tmp_path / "run",
    )
    with pytest.raises(KeyboardInterrupt):
        start(config)
    text = (tmp_path / "run" / "report.html").read_text()
    assert read_run(tmp_path / "run").status == "unfinished" and "Stopped before its end" in text


def test_tensorboard_reads_back_what_the_run_wrote(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run = read_run(runs / "digits-1")
    read = EventAccumulator(str(runs / "digits-1" / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    tags = read.Tags()["tensors"]

    def scalars(tag):
        return [(event.step, float(make_ndarray(event.tensor_proto))) for event in read.Tensors(tag)]

    for split in ("train", "validation"):
        expected = list(enumerate(run.series(f"{split}_loss"), 1))
        np.testing.assert_allclose(scalars(f"loss/{split}"), expected, rtol=1e-6)
    assert [step for step, _ in scalars("step/loss")] == list(range(1, run.epochs[-1]["step"] + 1))
    assert scalars("accuracy/test")[0][1] == pytest.approx(run.test["accuracy"])
    for kind in ("weights", "gradients"):
        histogram = make_ndarray(read.Tensors(f"{kind}/layers.0.weight")[-1].tensor_proto)
        assert histogram[:, 2].sum() == 64 * 16
    (text,) = make_ndarray(read.Tensors("configuration")[0].tensor_proto).ravel()
    assert "    lr = 0.01" in text.decode().splitlines()
    fitted = EventAccumulator(str(runs / "rents" / "tensorboard")).Reload().Tags()["tensors"]
    assert {"r2/train", "r2/validation", "mae/validation", "mse/test", "mae/test"} <= set(fitted)
    assert "_hparams_/session_start_info" in read.summary_metadata or any("hparams" in tag for tag in tags)
    assert not (runs / "digits-2" / "tensorboard").exists()
