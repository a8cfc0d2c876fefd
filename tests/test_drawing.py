"""Graphs as text and as figures: what is shown is what is there, in every format, and can be read."""

import importlib.util
import itertools
import re
import runpy
import shutil
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import portagrad as pg
from portagrad import nn
from portagrad.compile import drawing, render
from portagrad.compile.figure import Figure, Node, figure
from portagrad.compile.layout import Layout, layout, placed

ROOT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"
STYLES = ("ops", "book")
graphviz = pytest.mark.skipif(
    shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None, reason="needs graphviz"
)


def predict(x, w, b):
    return pg.sigmoid(x @ w + b)


def logistic():
    return pg.graph(predict, np.ones(3), np.ones(3), np.asarray(0.5))


def several(x, unused):
    """An op with several results, of which one is not used; a constant, an input and a number returned."""
    u, s, _ = pg.linalg.svd(x, full_matrices=False)
    large = pg.asarray(np.ones((3, 3)))
    return {
        "u": u,
        "sum": pg.sum(s * np.asarray([1.0, 2.0])),
        "x": x,
        "again": u,
        "number": 3,
        "large": large,
    }


GRAPHS = {
    "logistic": logistic,
    "gradient": lambda: pg.graph(pg.grad(predict, argnums=(1, 2)), np.ones(3), np.ones(3), np.asarray(0.5)),
    "several": lambda: pg.graph(several, np.eye(2), np.ones(4)),
    "empty": lambda: pg.graph(lambda: 3),
    "no equations": lambda: pg.graph(lambda x: x, np.ones(2)),
    "square": lambda: pg.graph(lambda x: x * x, np.ones(2)),
}


def shown(text):
    """The labels of an SVG, ours or graphviz's, without what it says on demand."""
    root = ElementTree.fromstring(text)
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def from_dot(text):
    """Labels by node and the edges of a DOT file, with its own rules undone."""
    labels = {
        node: unescape(re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), label))
        for node, label in re.findall(r'^  (n\d+) \[label="((?:[^"\\]|\\.)*)"', text, re.MULTILINE)
    }
    beside = {node: unescape(label) for node, label in re.findall(r"(n\d+) -> t\d+ .*<i>(.*)</i>", text)}
    edges = re.findall(r"^  (n\d+) -> (n\d+);$", text, re.MULTILINE)
    return labels, beside, edges


def test_a_graph_prints_as_its_source_reads():
    line = predict.__code__.co_firstlineno + 1
    assert str(logistic()) == (
        "predict(x: float64[3], w: float64[3], b: float64[]):  # on cpu\n"
        f"    a: float64[] = matmul(x, w)  # test_drawing.py:{line}\n"
        f"    c: float64[] = add(a, b)     # test_drawing.py:{line}\n"
        f"    d: float64[] = sigmoid(c)    # test_drawing.py:{line}\n"
        "    return d"
    )


def test_inputs_are_called_what_the_function_calls_them():
    model = nn.Linear(np.ones((4, 3)), np.ones(3))

    def f(model, batch, *rest):
        return nn.mse(model(batch["x"]), rest[0]) * rest[1][0]

    g = pg.graph(f, model, {"x": np.ones((2, 4)), "n": 7}, np.ones((2, 3)), (np.asarray(2.0),))
    assert [g.names()[v] for v in g.inputs] == [
        *("model.weight", "model.bias", "batch['x']", "rest[0]", "rest[1][0]")
    ]
    assert str(g).startswith("f(\n    model.weight: float64[4,3],\n")
    h = pg.graph(lambda b, k1: b + k1 * np.ones(5), np.ones(5), np.ones(5))
    assert sorted(h.names().values()) == ["a", "b", "c", "k1", "k1"]
    assert str(pg.graph(np.sin, pg.ones(2))).startswith("sin(")


def test_what_is_computed_has_a_name_of_its_own():
    """Also beside arguments that have the names it would get."""
    g = pg.graph(lambda a, b, c: (a + b) * c - a, *[np.ones(2)] * 3)
    names = list(g.names().values())
    assert names == ["a", "b", "c", "d", "e", "f"]


def test_text_tells_parameters_constants_and_what_is_backward():
    text = str(pg.graph(pg.grad(lambda x: pg.sum(x**2 * np.asarray([1.0, 2.0]))), np.ones(2)))
    assert "k1: float64[2] = [1.0, 2.0]" in text
    assert re.search(r"sum\(b\) +# test_drawing.py:\d+$", text, re.MULTILINE)  # its parameters are defaults
    assert re.search(r"multiply\(.*\) +# test_drawing.py:\d+, backward$", text, re.MULTILINE)
    text = str(pg.graph(lambda x: pg.sum(x * np.ones(9), axis=0, keepdims=True), np.ones(9)))
    assert "k1: float64[9] = ...\n" in text and "sum(a, axis=0, keepdims=True)" in text


def test_constants_print_on_every_library(xp_device):
    x, k = pg.to_device((np.ones(2), np.asarray([1.0, -2.5])), xp_device)
    graph = pg.graph(lambda x: x + k, x)
    assert "k1: float64[2] = [1.0, -2.5]\n" in str(graph)
    assert "k1: float64[2] = [1.0, -2.5]" in shown(drawing.svg(graph, graphviz=False))


def test_a_dtype_that_numpy_lacks_does_not_stop_the_rest():
    torch = pytest.importorskip("torch")
    k = torch.asarray([2.0], dtype=torch.bfloat16)
    assert "k1: bfloat16[1] = ..." in str(pg.graph(lambda x: x * k, k))


def test_values_on_several_devices_say_where_they_are():
    pytest.importorskip("array_api_strict")
    text = str(pg.graph(lambda x: pg.to_device(x, "strict:device1"), np.ones(2)))
    assert "x: float64[2] on cpu" in text and "a: float64[2] on strict:device1 = to_device(x, " in text


def test_a_traced_constant_is_not_read():
    texts = []

    def f(y):
        texts.append(str(g := pg.graph(lambda x: x * y, 2.0 * np.ones(2))))
        drawing.svg(g, graphviz=False)
        return pg.sum(g(2.0 * np.ones(2)))

    np.testing.assert_array_equal(pg.grad(f)(np.ones(2)), [2.0, 2.0])
    assert "k1: float64[2] = ..." in texts[0]


def test_the_backward_pass_is_marked_to_every_order():
    first = pg.graph(pg.grad(lambda x: x**3), np.asarray(2.0))
    assert {eq.op.name for eq in first.equations if not eq.backward} == {"pow"}
    rule = pg.custom_vjp(lambda x: pg.sin(x))
    rule.defvjp(lambda x: (pg.sin(x), x), lambda x, g: (g * pg.cos(x) * 2,))
    own = pg.graph(pg.grad(rule), np.asarray(2.0))
    assert [eq.backward for eq in own.equations if eq.op.name in ("sin", "cos")] == [False, True]
    again = pg.graph(pg.grad(pg.grad(lambda x: x**3)), np.asarray(2.0))
    assert sum(eq.backward for eq in again.equations) > sum(eq.backward for eq in first.equations)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_format_shows_every_node_and_edge(name, style, tmp_path):
    graph = GRAPHS[name]()
    drawn = figure(graph, style)
    for suffix in {*drawing.WRITERS} - {".png"}:
        graph.draw(tmp_path / f"figure{suffix}", style=style, graphviz=False)
    labels, beside, edges = from_dot((tmp_path / "figure.dot").read_text("utf-8"))
    assert list(labels.values()) == ["\n".join(node.lines) for node in drawn.nodes]
    assert list(beside.values()) == [node.beside for node in drawn.nodes if node.beside]
    assert [(int(a[1:]), int(b[1:])) for a, b in edges] == drawn.edges
    svg = (tmp_path / "figure.svg").read_text("utf-8")
    assert shown(svg) == [
        line for node in drawn.nodes for line in (*node.lines, *filter(None, [node.beside]))
    ]
    assert svg.count("<polygon") == len(drawn.edges)
    mermaid = (tmp_path / "figure.mmd").read_text("utf-8")
    assert re.findall(r"^  n(\d+) --> n(\d+)$", mermaid, re.MULTILINE) == [
        (str(a), str(b)) for a, b in drawn.edges
    ]
    assert len(re.findall(r"^  n\d+\(?\[", mermaid, re.MULTILINE)) == len(drawn.nodes)
    assert (tmp_path / "figure.txt").read_text("utf-8") == f"{graph}\n"
    assert len(list(tmp_path.iterdir())) == len(drawing.WRITERS) - 1


@pytest.mark.parametrize("style", STYLES)
def test_a_png_shows_what_the_svg_shows(style, tmp_path):
    """Each node's colour at its place, two pixels for one."""
    image = pytest.importorskip("matplotlib.image")
    colors = pytest.importorskip("matplotlib.colors")
    graph = GRAPHS["several"]()
    graph.draw(tmp_path / "figure.png", style=style, graphviz=False)
    pixels = image.imread(tmp_path / "figure.png")
    drawn = figure(graph, style)
    plan = layout(drawn)
    assert abs(pixels.shape[0] - 2 * plan.height) <= 1 and abs(pixels.shape[1] - 2 * plan.width) <= 1
    for node, box in zip(drawn.nodes, plan.boxes, strict=True):
        inside = pixels[int(2 * (box.y - box.height / 2)) + 5, int(2 * box.x)]
        np.testing.assert_allclose(inside[:3], colors.to_rgb(render.colours(node)[0]), atol=0.01)


def test_results_stand_where_the_function_puts_them():
    drawn = figure(GRAPHS["several"]())
    results = {node.lines for node in drawn.nodes if node.kind == "result"}
    assert {lines[0] for lines in results} == {
        f"return['{key}']" for key in ("u", "sum", "x", "again", "number", "large")
    }
    assert ("return['number']", "3") in results and ("return['x']", "x") in results
    (unused,) = [i for i, node in enumerate(drawn.nodes) if node.lines[0].startswith("unused")]
    assert not any(unused in edge for edge in drawn.edges)
    constants = [node.lines[0] for node in drawn.nodes if node.kind == "constant"]
    assert constants == ["k1: float64[2] = [1.0, 2.0]", "k2: float64[3,3]"]


@pytest.mark.parametrize(
    ("function", "beside"),
    [
        (lambda x, y: x - y, "−"),
        (lambda x, y: 2 * x, "2 × ·"),
        (lambda x, y: x**3, "(·)³"),
        (lambda x, y: x**0.5, "· ^ 0.5"),
        (lambda x, y: -x, "−"),
        (lambda x, y: x @ y, "matmul"),
        (lambda x, y: x[0] @ y[0], "dot"),
        (lambda x, y: pg.sum(x, axis=0), "sum(axis=0)"),
        (lambda x, y: pg.maximum(x, 0.0), "max(·, 0.0)"),
        (lambda x, y: pg.where(x > 0, 1.0, y), "where(·, 1.0, ·)"),
    ],
)
def test_what_stands_beside_a_value_is_how_it_is_computed(function, beside):
    assert figure(pg.graph(function, np.ones((2, 2)), np.ones((2, 2))), "book").nodes[-1].beside == beside


NASTY = ('a"b\\n\\', "<b>&amp;</b> & <i>", "]:::op -->|x| n0 %% `#;`", "\x00\x1b\u2028 ŷ 中文", "$x_1$ \\N")


@pytest.mark.parametrize("style", STYLES)
def test_no_text_breaks_out_of_its_label(style, tmp_path):
    """Quotes, backslashes, tags, entities, control characters: shown as they are, or as a replacement."""
    graph = pg.graph(lambda x, w: x * w, np.ones(2), np.ones(2))
    for name in NASTY:
        readable = "".join(c if c.isprintable() else "�" for c in name)
        given = {"names": {"x": name, "a": name}, "style": style}
        labels, _, edges = from_dot(graph.dot(**given))
        assert labels["n0"].startswith(readable) and len(labels) == (3 if style == "book" else 4)
        assert len(edges) == len(figure(graph, **given).edges)
        assert any(text.startswith(readable) for text in shown(drawing.svg(graph, graphviz=False, **given)))
        mermaid = re.findall(r'^  n\d+\(?\["(.*)"\]\)?:::\w+$', graph.mermaid(**given), re.MULTILINE)
        assert len(mermaid) == len(labels)
        assert not re.search(r'["`;\\<>&|%{}]', re.sub(r"#\d+;|<br/>", "", "".join(mermaid)))
        told = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), mermaid[0])
        assert told.startswith(readable)
    graph.draw(tmp_path / "nasty.png", graphviz=False, **given)  # dollars are no mathematics


@graphviz
def test_graphviz_reads_what_is_written(tmp_path):
    """The same labels come out of it, in both formats that it lays out."""
    for style, name in itertools.product(STYLES, ("several", "gradient")):
        text = drawing.svg(GRAPHS[name](), graphviz=True, style=style)
        drawn = figure(GRAPHS[name](), style)
        assert sorted(shown(text)) == sorted(
            line for node in drawn.nodes for line in (*node.lines, *filter(None, [node.beside]))
        )
    graph = pg.graph(lambda x, w: x * w, np.ones(2), np.ones(2))
    for name in NASTY:
        readable = "".join(c if c.isprintable() else "�" for c in name)
        assert readable in shown(drawing.svg(graph, graphviz=True, style="book", names={"x": name}))
    graph.draw(tmp_path / "figure.png", graphviz=True)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_graphviz_is_asked_where_it_is_and_only_then(monkeypatch, tmp_path):
    asked = []

    class Package:
        @staticmethod
        def pipe(engine, kind, data, quiet):
            asked.append((engine, kind, data.decode()))
            return b"<svg/>"

    graph = logistic()
    monkeypatch.setitem(sys.modules, "graphviz", Package)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert graph._repr_svg_() == "<svg/>"
    assert asked.pop() == ("dot", "svg", graph.dot())
    graph.draw(tmp_path / "figure.svg", graphviz=False)
    assert not asked and ElementTree.parse(tmp_path / "figure.svg")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "predict" in graph._repr_svg_() and not asked
    with pytest.raises(pg.Error, match=r"graphviz=True.*pip install 'portagrad\[draw\]'.*program dot"):
        graph.draw(tmp_path / "figure.svg", graphviz=True)


def test_a_png_without_what_draws_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(pg.Error, match=r"portagrad\[draw\].*Matplotlib.*an SVG needs nothing"):
        logistic().draw(tmp_path / "figure.png", graphviz=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("figure.pdf", {}, r"cannot write 'figure.pdf'.* \.svg, \.png, \.dot, \.mmd, \.txt"),
        ("figure", {}, r"cannot write 'figure'"),
        ("figure.svg", {"style": "tree"}, "no style 'tree'; there are 'ops' and 'book'"),
        ("figure.svg", {"names": {"q": "y"}}, r"no value is called 'q'; print\(graph\) shows the names"),
        ("figure.svg", {"limit": 0}, "limit is 0"),
    ],
)
def test_a_figure_that_cannot_be_is_refused(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        logistic().draw(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [(render, "svg"), (drawing.os, "replace")], ids=["drawing", "writing"])
def test_a_drawing_that_fails_leaves_the_old_file(at, monkeypatch, tmp_path):
    def fail(*args):
        raise OSError("no room")

    (tmp_path / "figure.svg").write_text("old")
    monkeypatch.setattr(*at, fail)
    with pytest.raises(OSError, match="no room"):
        logistic().draw(tmp_path / "figure.svg", graphviz=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def long(x, count=400):
    for _ in range(count):
        x = pg.sin(x) * x
    return x


@pytest.mark.parametrize("style", STYLES)
def test_of_a_large_graph_the_beginning_is_drawn(style):
    graph = pg.graph(long, np.ones(2))
    drawn = figure(graph, style)
    (note,) = [i for i, node in enumerate(drawn.nodes) if node.kind == "note"]
    assert drawn.nodes[note].lines == ("… 600 more equations", "drawn are the first 200")
    assert [tail for tail, head in drawn.edges if head == note] == [note - 1]
    assert len(drawn.nodes) == 1 + 200 + 1 + (style == "ops")
    whole = figure(pg.graph(lambda x: long(x, 101), np.ones(2)), style, limit=None)
    assert sum(node.kind in ("op", "value", "result") for node in whole.nodes) >= 202
    assert not any(node.kind == "note" for node in whole.nodes)


@pytest.mark.parametrize("style", STYLES)
def test_of_many_inputs_and_results_the_first_are_drawn(style):
    graph = pg.graph(lambda *xs: [x + 1 for x in xs[::-1]], *[np.ones(1)] * 50)
    drawn = figure(graph, style, limit=20)
    notes = [node.lines[0] for node in drawn.nodes if node.kind == "note"]
    assert "… 30 more equations" in notes and ("… 30 more results" in notes) is (style == "ops")
    assert len(drawn.nodes) <= 20 + 20 + 20 + 3
    wide = figure(pg.graph(lambda *xs: pg.concat(xs), *[np.ones(1)] * 50), style, limit=20)
    assert [node.lines for node in wide.nodes if node.kind == "note"] == [("… 30 more sources",)]
    assert len(wide.edges) == 21 + (style == "ops")


@st.composite
def figures(draw):
    """Nodes of all kinds and sizes, and edges to later ones, some of them twice."""
    count = draw(st.integers(0, 14))
    kinds = st.sampled_from(["input", "op", "value", "result", "note"])
    drawn = Figure("f", upward=draw(st.booleans()))
    for i in range(count):
        lines = draw(st.lists(st.text("xW中", max_size=14), min_size=1, max_size=3))
        tails = draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else []
        drawn.add(Node(draw(kinds), tuple(lines), beside=draw(st.text("s", max_size=8))), tails)
    return drawn


@settings(max_examples=60)
@given(figures())
def test_a_layout_can_be_read(drawn):
    """No two nodes overlap, all lie inside, and an edge runs its way without crossing a node."""
    plan: Layout = layout(drawn)
    spans = []
    for box in plan.boxes:
        left, right = box.x - box.width / 2, box.x + box.width / 2 + box.beside
        top, bottom = box.y - box.height / 2, box.y + box.height / 2
        assert left >= 0 and right <= plan.width and top >= 0 and bottom <= plan.height
        spans.append((left, right, top, bottom))
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(spans, 2):
        assert b <= e or f <= a or d <= g or h <= c
    forward = -1 if drawn.upward else 1
    for (tail, head), route in zip(drawn.edges, plan.routes, strict=True):
        ys = [forward * y for _, y in route]
        assert ys == sorted(ys) and len(route) % 2 == 0
        assert abs(route[0][1] - plan.boxes[tail].y) <= plan.boxes[tail].height / 2 + 1e-6
        assert abs(route[-1][1] - plan.boxes[head].y) <= plan.boxes[head].height / 2 + 1e-6
        for (x, y), (u, v) in zip(route[::2], route[1::2], strict=True):  # along a rank: straight
            assert x == u
            for i, (left, right, top, bottom) in enumerate(spans):
                apart = x <= left or x >= right or max(y, v) <= top or min(y, v) >= bottom
                assert apart or i in (tail, head)
        for (_, y), (_, v) in zip(route[1:-1:2], route[2::2], strict=True):  # and beside no node elsewhere
            for _, _, top, bottom in spans:
                assert max(y, v) <= top + 1e-6 or min(y, v) >= bottom - 1e-6


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.5, 8), st.floats(0, 9)), min_size=1, max_size=7))
def test_positions_are_the_nearest_that_keep_apart(rows):
    """By Karush, Kuhn and Tucker: the gaps' multipliers are not negative, and zero on slack ones."""
    wanted, weights, gaps = zip(*rows, strict=True)
    at = placed(wanted, weights, gaps[1:])
    multiplier = 0.0
    for i, x in enumerate(at):
        multiplier += 2 * weights[i] * (wanted[i] - x)
        slack = at[i + 1] - x - gaps[i + 1] if i + 1 < len(at) else np.inf
        assert slack >= -1e-9 and multiplier >= -1e-6
        assert slack < 1e-9 or abs(multiplier) < 1e-6


def test_the_figures_in_the_documentation_are_current():
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    made = build.figures()
    kept = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "figures").glob("*.svg")}
    assert made == kept, "docs/figures is behind the code: run `python docs/build.py`"
    page = (ROOT / "docs" / "graphs.md").read_text("utf-8")
    assert set(re.findall(r"\(figures/(.*?)\)", page)) == set(kept)


BOOK = {
    "a_product": {("x", "z"), ("y", "z")},
    "b_logistic": {("x", "u⁽¹⁾"), ("w", "u⁽¹⁾"), ("u⁽¹⁾", "u⁽²⁾"), ("b", "u⁽²⁾"), ("u⁽²⁾", "ŷ")},
    "c_relu_layer": {("X", "u⁽¹⁾"), ("W", "u⁽¹⁾"), ("u⁽¹⁾", "u⁽²⁾"), ("b", "u⁽²⁾"), ("u⁽²⁾", "H")},
    "d_weight_decay": {
        *{("x", "ŷ"), ("w", "ŷ"), ("w", "u⁽¹⁾"), ("u⁽¹⁾", "u⁽²⁾"), ("λ", "u⁽³⁾"), ("u⁽²⁾", "u⁽³⁾")}
    },
    "e_chain_rule_scalars": {
        *{("w", "x"), ("x", "y"), ("y", "z"), ("y", "dz/dy"), ("x", "dy/dx"), ("w", "dx/dw")},
        *{("dz/dy", "dz/dx"), ("dy/dx", "dz/dx"), ("dz/dx", "dz/dw"), ("dx/dw", "dz/dw")},
    },
}
"""The edges of figures 6.8 (a) to (d) and 6.10 of "Deep Learning"."""


@pytest.mark.parametrize("name", BOOK)
def test_the_examples_draw_the_figures_of_the_book(name, tmp_path, monkeypatch, capsys):
    script = ROOT / "examples" / "chapter_6_5" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--draw", str(tmp_path / "figure.dot")])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        pg.configure(device=None)
    labels, _, edges = from_dot((tmp_path / "figure.dot").read_text("utf-8"))
    assert len(edges) == len(BOOK[name])
    assert {(labels[tail], labels[head]) for tail, head in edges} == BOOK[name]
