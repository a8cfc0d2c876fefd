"""Figures as SVG and PNG by the layout of our own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape
from typing import Any

from portagrad.compile.figure import Figure, Node
from portagrad.compile.layout import ARROW, FONT, LINE, Box, Point, layout
from portagrad.errors import Error

BACKWARD = ("#fdebd8", "#c26a1b")
COLOURS = {
    "input": ("#dceaf7", "#3b6ea5"),
    "constant": ("#f1f1f1", "#8a8a8a"),
    "op": ("#ffffff", "#444444"),
    "value": ("#ffffff", "#444444"),
    "result": ("#e2f3e4", "#3d8b4a"),
    "note": ("#fffbe0", "#b09b2c"),
}
"""The fill and the border of each kind of node."""
INK = "#222222"
EDGE = "#666666"
FONTS = "Helvetica, Arial, DejaVu Sans, sans-serif"


def colours(node: Node) -> tuple[str, str]:
    """A node's fill and border: those of its kind, and of a gradient's ops and values their own."""
    return BACKWARD if node.backward else COLOURS[node.kind]


def svg(figure: Figure) -> str:
    """The figure as SVG; a pointer on a node shows its equation and its line of code."""
    placed = layout(figure)
    size = f"{placed.width:.0f}", f"{placed.height:.0f}"
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {size[0]} {size[1]}" font-family="{FONTS}" font-size="{FONT:g}" text-anchor="middle">',
        f"<title>{_xml(figure.title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    rows += [_svg_edge(route, figure.upward) for route in placed.routes]
    rows += [_svg_node(node, box) for node, box in zip(figure.nodes, placed.boxes, strict=True)]
    return "\n".join([*rows, "</svg>", ""])


def _svg_edge(route: list[Point], upward: bool) -> str:
    line, arrow = _arrow(route, upward)
    path = f"M{_at(line[0])}L{_at(line[1])}"
    for control_a, control_b, b, end in _curves(line):
        path += f"C{_at(control_a)} {_at(control_b)} {_at(b)}L{_at(end)}"
    wings = " ".join(map(_at, arrow))
    return f'<path d="{path}" fill="none" stroke="{EDGE}"/><polygon points="{wings}" fill="{EDGE}"/>'


def _svg_node(node: Node, box: Box) -> str:
    fill, border = colours(node)
    dash = ' stroke-dasharray="4 3"' if node.kind == "note" else ""
    look = f'fill="{fill}" stroke="{border}"{dash}'
    if box.round:
        size = f'rx="{_n(box.width / 2)}" ry="{_n(box.height / 2)}"'
        shape = f'<ellipse cx="{_n(box.x)}" cy="{_n(box.y)}" {size} {look}/>'
    else:
        corner = f'x="{_n(box.x - box.width / 2)}" y="{_n(box.y - box.height / 2)}"'
        shape = f'<rect {corner} width="{_n(box.width)}" height="{_n(box.height)}" rx="4" {look}/>'
    texts = [
        f'<text x="{_n(box.x)}" y="{_n(y)}" fill="{INK}">{_xml(line)}</text>'
        for line, y in zip(node.lines, _baselines(node, box), strict=True)
    ]
    if node.beside:
        x = box.x + box.width / 2 + 4
        texts.append(
            f'<text x="{_n(x)}" y="{_n(box.y + 0.35 * FONT)}" text-anchor="start" font-style="italic" '
            f'fill="{INK}">{_xml(node.beside)}</text>'
        )
    tip = f"<title>{_xml(node.tip)}</title>" if node.tip else ""
    return f"<g>{tip}{shape}{''.join(texts)}</g>"


def png(figure: Figure) -> bytes:
    """The same drawn by Matplotlib, two pixels for one."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Page
        from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon
    except ImportError:
        raise Error(
            "draw: a PNG needs graphviz (pip install 'portagrad[draw]', and the program dot) or Matplotlib, "
            "and neither is installed; an SVG needs nothing"
        ) from None
    placed = layout(figure)
    page = Page(figsize=(placed.width / 72, placed.height / 72), dpi=144)
    axes = page.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, placed.width), ylim=(placed.height, 0))
    axes.axis("off")
    for route in placed.routes:
        line, arrow = _arrow(route, figure.upward)
        axes.add_patch(_drawn_path(line))
        axes.add_patch(Polygon(arrow, closed=True, color=EDGE, linewidth=0))
    write: Any = {"fontsize": 0.92 * FONT, "color": INK, "va": "baseline", "parse_math": False}
    for node, box in zip(figure.nodes, placed.boxes, strict=True):
        fill, border = colours(node)
        look: Any = {
            "facecolor": fill,
            "edgecolor": border,
            "linestyle": "--" if node.kind == "note" else "-",
        }
        corner = box.x - box.width / 2, box.y - box.height / 2
        axes.add_patch(
            Ellipse((box.x, box.y), box.width, box.height, **look)
            if box.round
            else FancyBboxPatch(corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=4", **look)
        )
        for text, y in zip(node.lines, _baselines(node, box), strict=True):
            axes.text(box.x, y, text, ha="center", **write)
        beside = box.x + box.width / 2 + 4, box.y + 0.35 * FONT
        axes.text(*beside, node.beside, ha="left", style="italic", **write)
    FigureCanvasAgg(page)
    out = io.BytesIO()
    page.savefig(out, format="png")
    return out.getvalue()


def _drawn_path(line: list[Point]) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points, codes = line[:2], [Path.MOVETO, Path.LINETO]
    for control_a, control_b, b, end in _curves(line):
        points += [control_a, control_b, b, end]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
    return PathPatch(Path(points, codes), fill=False, edgecolor=EDGE)


def _curves(line: list[Point]) -> Iterator[tuple[Point, Point, Point, Point]]:
    """The curves from rank to rank: two control points, the end, and where the straight line goes from it."""
    for (ax, ay), (bx, by), end in zip(line[1:-1:2], line[2::2], line[3::2], strict=True):
        middle = (ay + by) / 2
        yield (ax, middle), (bx, middle), (bx, by), end


def _arrow(route: list[Point], upward: bool) -> tuple[list[Point], list[Point]]:
    """The line up to the arrow, and the arrow's corners."""
    x, y = route[-1]
    foot = y + ARROW if upward else y - ARROW
    return [*route[:-1], (x, foot)], [(x - ARROW / 2, foot), (x, y), (x + ARROW / 2, foot)]


def _baselines(node: Node, box: Box) -> list[float]:
    """Where the lines of a label are written."""
    first = box.y - (len(node.lines) - 1) * LINE / 2 + 0.35 * FONT
    return [first + i * LINE for i in range(len(node.lines))]


def _at(point: Point) -> str:
    return f"{_n(point[0])},{_n(point[1])}"


def _n(x: float) -> str:
    """A number in tenths, as short as it can be."""
    return f"{round(x, 1) + 0.0:g}" if abs(x) < 1e5 else f"{x:.1f}"


def _xml(text: str) -> str:
    """Text for XML, which has no control characters."""
    return escape("".join(c if c.isprintable() else "�" for c in text))
