"""Grouping, its order, the memory of values and donation: passes that no library has to be asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile_ops import programs
from test_compile_ops import run as run_program

import portagrad as pg
from portagrad.compile.buffers import Storage, allocated, donation, packed
from portagrad.compile.grouping import GROUP, Rules, group_of, grouped, inside
from portagrad.compile.ordering import launches, ordered
from portagrad.compile.passes import improved
from portagrad.compile.views import Layouts
from portagrad.transforms.equations import Constant, Variable

REDUCED = ("sum", "mean", "max")


def space(eq: Any) -> Any:
    """Elementwise ops run over their result; reductions over one axis of two by rows or by columns."""
    if eq.op.batch == "pointwise" and eq.op.name != "concat":
        return "flat", tuple(eq.outs[0].shape), 0
    shape, axis = tuple(eq.args[0].shape), eq.params.get("axis")
    if eq.op.name not in REDUCED or len(shape) != 2 or axis not in (0, 1):
        return None
    return ("rows" if axis else "columns"), shape, 1


def together(a: Any, b: Any) -> Any:
    if a[1] != b[1] or ("flat" not in (a[0], b[0]) and a != b):
        return None
    return b if a[0] == "flat" else a


RULES = Rules(
    space=space,
    together=together,
    reduces=lambda eq: eq.op.name in REDUCED,
    equations=50,
    reads=20,
)


def whole(graph: Any, rules: Rules = RULES, at_once: bool = False) -> tuple[Any, Layouts]:
    layouts = Layouts(graph)
    return ordered(grouped(graph, layouts, rules), layouts, at_once), layouts


def groups(f: Callable[..., Any], *args: Any, rules: Rules = RULES, at_once: bool = False) -> list[str]:
    """A function's calls, and the ops of its groups joined by ``+``; the numbers are the same."""
    graph = pg.graph(f, *args)
    better, layouts = whole(graph, rules, at_once)
    leaves = [a for a in args if isinstance(a, np.ndarray)]
    for mine, its in zip(better.run(leaves), graph.run(leaves), strict=True):
        np.testing.assert_array_equal(mine, its)
    return ["+".join(each.op.name for each in inside(eq)) for eq in layouts.computed(better)]


X = np.random.default_rng(0).uniform(0.5, 1.5, (3, 3))


# ---------------------------------------------------------------------------------------------- views


def test_a_view_lies_in_its_roots_memory_with_offset_and_strides() -> None:
    def f(x: Any) -> Any:
        part = x[1:, :]
        return (
            part,
            x.mT,
            pg.broadcast_to(x[0, :], (4, 3)),
            x[..., ::-1],
            pg.reshape(x.mT, (9,)),
            x[None, ...],
        )

    graph = pg.graph(f, X)
    layouts, (root,) = Layouts(graph), graph.inputs
    part, turned, spread, flipped, copied, same = graph.outputs
    assert [layouts.steps(v) for v in (part, turned, spread, flipped, same)] == [
        *((3, (3, 1)), (0, (1, 3)), (0, (0, 1)), (2, (3, -1)), (0, (0, 3, 1))),
    ]
    assert layouts.root[copied] is copied and layouts.root[flipped] is root
    assert layouts.over(turned, (2, 3, 3)) == (0, (0, 1, 3))
    assert layouts.walks(same, (1, 3, 3), (1, 3, 3)) and layouts.walks(root, (3, 3), (3, 3))
    assert not layouts.walks(part, (2, 3), (2, 3)) and not layouts.walks(turned, (3, 3), (3, 3))
    assert [layouts.in_order(v) for v in (part, turned, spread)] == [True, False, False]


# ------------------------------------------------------------------------------------------- grouping


def test_elementwise_ops_that_read_each_other_are_one_group() -> None:
    assert groups(lambda x: pg.exp(pg.sin(x) * 2) - x, X) == ["sin+multiply+exp+subtract"]


def test_ops_that_read_the_same_are_one_group_and_others_are_not() -> None:
    assert groups(lambda x, y: (pg.sin(x), pg.cos(x), pg.exp(y)), X, X) == ["sin+cos", "exp"]
    assert groups(lambda x: (pg.sin(x), pg.cos(x[:2, :])), X) == ["sin", "cos"], "of another shape"


def test_a_group_does_not_span_a_call_that_waits_for_it() -> None:
    assert groups(lambda x: pg.sin(x) @ x + pg.sin(x) * 2, X) == ["sin+sin+multiply", "matmul", "add"]
    assert groups(lambda x: pg.exp(pg.cos(x)[::-1, :]) * 2, X) == ["cos", "exp+multiply"], "other elements"


def test_two_groups_become_one_where_an_op_reads_both() -> None:
    assert groups(lambda x, y: pg.sin(x) * pg.cos(y), X, X) == ["sin+cos+multiply"]


def test_a_row_is_summed_and_used_in_one_group_and_a_column_is_not() -> None:
    def softmax(x: Any, axis: int) -> Any:
        return pg.exp(x) / pg.sum(pg.exp(x), axis=axis, keepdims=True)

    assert groups(lambda x: softmax(x, 1), X) == ["exp+exp+sum+divide"]
    assert groups(lambda x: softmax(x, 0), X) == ["exp+exp+sum", "divide"]
    assert groups(lambda x: softmax(x, 0), X[:1, :]) == ["exp+exp+sum", "divide"]


def test_limits_divide_a_group() -> None:
    def chain(x: Any) -> Any:
        for _ in range(10):
            x = pg.sin(x)
        return x

    some = Rules(space=space, together=together, reduces=RULES.reduces, equations=4, reads=20)
    assert [g.count("+") + 1 for g in groups(chain, X, rules=some)] == [4, 4, 2]
    few = Rules(space=space, together=together, reduces=RULES.reduces, equations=50, reads=2)
    assert len(groups(lambda a, b, c: a * b * c, X, X, X, rules=few)) == 2


def test_views_of_what_a_group_makes_are_its_own() -> None:
    """``x - sum(x)[:, None]``: the view is in the group's body, and before it where others read it."""
    f = lambda x: pg.exp(x)[...] * pg.sin(x[:, ::-1])  # noqa: E731
    graph, layouts = whole(pg.graph(f, X))
    (eq,) = layouts.computed(graph)
    assert eq.op is GROUP and [e.op.name for e in group_of(eq).body.equations].count("getitem") == 1  # type: ignore[union-attr]
    assert [e.op.name for e in graph.equations] == ["getitem", "group"]


def test_what_only_the_group_reads_is_no_result_of_its() -> None:
    graph, layouts = whole(pg.graph(lambda x: (pg.exp(pg.sin(x)), pg.cos(x) @ x), X))
    (eq,) = (eq for eq in layouts.computed(graph) if eq.op is GROUP)
    assert len(eq.outs) == 2 and len(group_of(eq).eqs) == 3  # type: ignore[union-attr]
    assert str(group_of(eq)).startswith("flat [3, 3]: sin, exp, cos at test_passes_groups.py:")


def test_a_gather_finds_what_its_own_group_does_not_make() -> None:
    rules = Rules(
        space=lambda eq: ("flat", tuple(eq.outs[0].shape), 0) if eq.op.name != "matmul" else None,
        together=together,
        reduces=lambda eq: False,
        gathers=lambda eq: eq.op.name == "concat",
        equations=50,
        reads=20,
    )
    assert groups(lambda x: pg.concat([pg.sin(x), x]) * 2, X, rules=rules) == ["sin", "concat+multiply"]


# ---------------------------------------------------------------------------------------------- order


def test_calls_come_first_and_what_nothing_waits_for_last_or_at_once() -> None:
    def step(w: Any, v: Any, x: Any) -> Any:
        h = pg.tanh(x @ w)
        return w - 0.1 * (x.T @ x), v - 0.1 * (h @ v), pg.sum(h)

    calls, update = ["matmul", "matmul"], "multiply+subtract"
    assert groups(step, X, X, X) == [*calls, "tanh", "matmul", "sum", update, update]
    assert groups(step, X, X, X, at_once=True) == [*calls, "tanh", update, "matmul", "sum", update]


def test_neighbouring_groups_are_launched_together_apart_from_those_that_wait() -> None:
    f = lambda x: (pg.exp(pg.sum(pg.sin(x), axis=0)), pg.cos(x[:2, :]), x @ x)  # noqa: E731
    graph, layouts = whole(pg.graph(f, X))
    counts = lambda apart: [len(step) for step in launches(graph, layouts, apart)]  # noqa: E731
    assert counts(False) == [1, 3] and counts(True) == [1, 2, 1]
    for step in launches(graph, layouts, True):
        made = {out for eq in step for out in eq.outs}
        assert not any(layouts.reads(eq) & made for eq in step)


# --------------------------------------------------------------------------------------------- memory


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 6000)), max_size=30))
@settings(max_examples=40)
def test_no_two_places_share_bytes_while_both_are_needed(drawn: Any) -> None:
    lives = [(first, first + length, size) for first, length, size in drawn]
    places = packed(lives, 256)
    for i, ((first, last, size), (begin, end)) in enumerate(zip(lives, places, strict=True)):
        assert size <= end - begin < size + 512 and begin % 256 == 0
        for (f, t, _), (b, e) in zip(lives[:i], places[:i], strict=True):
            assert last < f or t < first or end <= b or e <= begin


def test_places_are_packed() -> None:
    """As many bytes as are needed at one time, where a place that is freed is not the one that is wanted."""
    assert packed([(0, 1, 100), (1, 2, 300), (2, 3, 200), (3, 4, 300)], 1) == [
        *((300, 400), (0, 300), (300, 500), (0, 300)),
    ]
    assert packed([(0, 1, 300), (1, 2, 200), (2, 3, 250), (2, 2, 100)], 1) == [
        *((0, 300), (300, 500), (0, 250), (500, 600)),
    ], "of the 50 bytes that are left between two the last can make no use"


def storage(fresh: bool = False) -> Storage:
    return Storage(
        writes=lambda eq: eq.op.name not in ("indexed", "argsort"),
        over=lambda eq, out: group_of(eq) is not None and group_of(eq).kind == "flat",  # type: ignore[union-attr]
        fresh_results=fresh,
        alignment=64,
    )


def interpreted(graph: Any, layouts: Layouts, steps: Any, buffers: Any, inputs: Sequence[Any]) -> list[Any]:
    """A plan run as written: each value lies where the pass has put it, in one block of memory."""
    memory = np.full(buffers.size, 0xAB, np.uint8)
    roots: dict[Any, Any] = dict(zip(graph.inputs, inputs, strict=True))

    def read(v: Any) -> Any:
        if isinstance(v, Constant):
            return v.value
        if not isinstance(v, Variable):
            return v
        offset, strides = layouts.steps(v)
        flat = roots[layouts.root[v]].reshape(-1)[offset:]
        return np.lib.stride_tricks.as_strided(flat, v.shape, [s * v.dtype.itemsize for s in strides])

    def write(out: Any, value: Any) -> None:
        over, place = buffers.over.get(out), buffers.places.get(out)
        if over is not None and over in graph.inputs:
            roots[out] = roots[over]
        elif place is not None:
            size = math.prod(out.shape) * out.dtype.itemsize
            assert size <= place[1] - place[0]
            roots[out] = memory[place[0] : place[0] + size].view(out.dtype).reshape(out.shape)
        else:
            roots[out] = np.empty(out.shape, out.dtype)
        roots[out][...] = value

    for step, dead, used in zip(steps, buffers.dead, buffers.used, strict=True):
        for eq in step:  # a group element by element, so that it may write over what it reads
            made = (eq.op.forward if eq.op is GROUP else eq.kernel())(
                *map(read, eq.args), **eq.params, **({"xp": np} if eq.op is GROUP else {})
            )
            made = [np.array(y) for y in (made if eq.op.several else (made,))]
            for out, y in zip(eq.outs, made, strict=True):
                write(out, y)
        memory[used:] = 0xCD  # a step may write what it likes there
        for root in dead:
            if root in buffers.places:
                roots.pop(root)  # to read it would be a KeyError
    for y, k in buffers.target.items():
        if buffers.over.get(y) is not graph.inputs[k]:
            inputs[k][...] = roots[y]
    return [np.array(inputs[buffers.target[y]] if y in buffers.target else read(y)) for y in graph.outputs]


def planned(f: Any, *args: Any, donate: Sequence[int] = (), fresh: bool = False) -> tuple[Any, ...]:
    graph, layouts = whole(improved(pg.graph(f, *args)), at_once=fresh)
    steps = launches(graph, layouts, apart=True)
    return graph, layouts, steps, allocated(graph, layouts, steps, donate, storage(fresh))


def test_a_value_takes_the_place_of_one_that_is_dead() -> None:
    def chain(x: Any) -> Any:
        for _ in range(12):
            x = x @ x
        return x

    buffers = planned(chain, 0.1 * X)[-1]
    assert (buffers.size, buffers.asked) == (2 * 128, 12 * 72) and not buffers.over


def test_a_flat_group_writes_over_what_it_reads_last() -> None:
    def chain(x: Any) -> Any:
        for _ in range(12):
            x = pg.sin(x @ x)
        return x

    buffers = planned(chain, X, fresh=True)[-1]
    assert buffers.size == 2 * 128 and len(buffers.over) == 11, "the last lies in new memory"
    assert not planned(lambda x: pg.sin((x @ x).T) * 1, X)[-1].over, "of which it reads other elements"
    again = lambda x: (lambda y: y @ pg.sin(y))(x @ x)  # noqa: E731
    assert not planned(again, X)[-1].over, "which is read again afterwards"


def test_a_result_takes_the_first_donated_input_like_it() -> None:
    graph = pg.graph(lambda a, b, c: (a + b, b * 2, a, c), X, X, X[0])
    a, b, _ = graph.inputs
    found = donation(graph, Layouts(graph), (0, 1, 2))
    assert found == {graph.outputs[0]: 1}, "a is itself a result, and b is taken; no result is like c"
    assert donation(graph, Layouts(graph), ()) == {}
    assert b is graph.inputs[1] and a is graph.outputs[2]


@pytest.mark.parametrize(
    ("f", "there"),
    [
        (lambda w, x: w - 0.1 * x, True),
        (lambda w, x: w - 0.1 * (w @ x), True),
        (lambda w, x: w.T - 0.1 * x, False),  # reads other elements than it writes
        (lambda w, x: pg.sin(x) @ w, False),  # so does a product
        (lambda w, x: w[0, :] + x, False),
        (lambda w, x: (w - x, pg.sin(w[::-1, :])), False),  # beside it another group reads the input
    ],
)
def test_a_result_is_computed_in_donated_memory_where_nothing_else_reads_there(f: Any, there: bool) -> None:
    graph, _, _, buffers = planned(f, X, X, donate=(0,))
    assert buffers.target[graph.outputs[0]] == 0
    assert (buffers.over.get(graph.outputs[0]) is graph.inputs[0]) is there


@given(programs(), st.sampled_from([(), (0,), (0, 1, 2)]), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_program_runs_in_the_memory_that_the_passes_give_it(program: Any, donate: Any, fresh: bool) -> None:
    def f(*inputs: Any) -> Any:
        grads = pg.grad(lambda *xs: sum(pg.sum(y**2) for y in run_program(program, *xs)), argnums=(0, 1, 2))(
            *inputs
        )
        updates = [x - 0.1 * g for x, g in zip(inputs, grads, strict=True)]
        return (*run_program(program, *inputs), *updates)

    x = list(np.random.default_rng(0).uniform(-1, 1, (3, 3, 3)))
    graph, layouts, steps, buffers = planned(f, *x, donate=donate, fresh=fresh)
    expected = improved(pg.graph(f, *x)).run([a.copy() for a in x])
    for mine, its in zip(graph.run([a.copy() for a in x]), expected, strict=True):
        np.testing.assert_array_equal(mine, its)
    given = [a.copy() for a in x]
    for mine, its in zip(interpreted(graph, layouts, steps, buffers, given), expected, strict=True):
        np.testing.assert_array_equal(mine, its)
    for k in {*range(3)} - {*buffers.target.values()}:
        np.testing.assert_array_equal(given[k], x[k])


def test_equal_programs_are_grouped_alike() -> None:
    f = lambda x, y: pg.sin(x @ y) * x * y + pg.cos(y)  # noqa: E731
    told = {str([list(map(str, map(group_of, step))) for step in planned(f, X, X)[2]]) for _ in range(5)}
    assert len(told) == 1
