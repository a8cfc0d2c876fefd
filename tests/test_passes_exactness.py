"""Passes, each alone: what it takes away, what it must leave, and that no result changes by a bit."""

from dataclasses import replace

import numpy as np
import optree
import pytest

import portagrad as pg
from portagrad import nn
from portagrad.compile import passes
from portagrad.transforms.equations import Constant

X = np.asarray([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 5e-324])
Z = np.asarray([complex(a, b) for a in (0.0, -0.0, 1.0, np.inf, np.nan) for b in (0.0, -0.0, -1.0, np.inf)])
M = np.arange(6.0).reshape(2, 3)
LABELS = np.asarray([0, 1])

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def ops(graph):
    return [eq.op.name for eq in graph.equations]


def leaves(tree):
    return [np.asarray(leaf) for leaf in optree.tree_leaves(tree)]


def same_bits(one, other):
    """Equal, NaN to NaN, and with the same signs of zeros, in real and in imaginary parts."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    for a, b in ((one.real, other.real), (one.imag, other.imag)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0]))


def after(apply_pass, f, *args):
    """The ops that a pass leaves of a function, which must compute what they all did."""
    graph = pg.graph(f, *args)
    less = apply_pass(graph)
    for one, other in zip(leaves(graph(*args)), leaves(less(*args)), strict=True):
        same_bits(one, other)
    if len(less.equations) == len(graph.equations):
        assert all(a is b for a, b in zip(ops(graph), ops(less), strict=True))
    return ops(less)


# ------------------------------------------------------------------------------------------- dead code


def test_what_no_result_needs_goes():
    def f(x):
        pg.sin(pg.cos(x))
        return x * 2

    assert after(passes.dead_code, f, X) == ["multiply"]
    assert after(passes.dead_code, lambda x: 3, X) == []


def test_an_op_of_which_one_result_is_needed_stays():
    assert after(passes.dead_code, lambda x: pg.linalg.svd(x, full_matrices=False)[1], M) == ["linalg.svd"]


def test_a_backward_pass_that_drops_the_value_drops_what_only_it_needs():
    assert after(passes.dead_code, pg.grad(lambda x: pg.sum(pg.exp(x) + pg.sin(x) * 3)), M).count("sin") == 0


# ------------------------------------------------------------------------------- common subexpressions


def test_the_same_op_on_the_same_values_runs_once():
    def f(x, y):
        return pg.sin(x * y) + pg.cos(x * y), pg.sum(x, axis=0) - pg.sum(x, axis=0)

    assert after(passes.common_subexpressions, f, X, X) == [
        *("multiply", "sin", "cos", "add", "sum", "subtract")
    ]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 1 / (x * 0.0) + 2 / (x * -0.0),
        lambda x: (x * 2) * (x * 2.0) * (x * True),
        lambda x: (x * complex(0.0, 0.0)) / (x * complex(0.0, -0.0)),
        lambda x: pg.clip(x, 0.0, None) - pg.clip(x, -0.0, None),
        lambda x: pg.sum(x, axis=0) + pg.sum(x, axis=0, keepdims=True),
        lambda x: pg.astype(pg.astype(x, np.float32), np.float64) + pg.astype(x, np.float64),
        lambda x: (x * np.asarray(2.0)) + (x * np.asarray(2.0)),  # two arrays, each of which may change
        lambda x: (x - 1) + (1 - x),
    ],
)
def test_what_is_equal_only_almost_stays_apart(f):
    assert len(after(passes.common_subexpressions, f, X)) == len(pg.graph(f, X).equations)


def test_not_a_number_is_itself():
    f = lambda x: pg.clip(x, float("nan"), 1.0) + pg.clip(x, float("nan"), 1.0)  # noqa: E731
    assert after(passes.common_subexpressions, f, X) == ["clip", "add"]


def test_what_a_checkpoint_computes_again_is_computed_again():
    f = pg.checkpoint(lambda x: pg.sin(pg.exp(x)))
    gradient = pg.grad(lambda x: pg.sum(f(x)))
    assert after(passes.common_subexpressions, gradient, M).count("exp") == 2


# ------------------------------------------------------------------------------------ constant folding


def folded(f, x, k):
    """The graph of ``f(x, k)`` with `k` a constant, after folding; it must compute what `f` does."""
    whole = pg.graph(f, x, k)
    constant = Constant(k, whole.inputs[1].device)
    stands = {whole.inputs[1]: constant}
    equations = [replace(eq, args=tuple([stands.get(a, a) for a in eq.args])) for eq in whole.equations]
    graph = replace(whole, inputs=whole.inputs[:1]).with_equations(equations)
    less = passes.fold_constants(graph)
    for one, other in zip(less.run([x]), leaves(f(x, k)), strict=True):
        same_bits(np.asarray(one), other)
    return less


def test_what_depends_on_constants_alone_is_computed_now():
    k = np.asarray([1.0, -0.0, np.nan])
    less = folded(lambda x, k: x * pg.sum(pg.sin(k * 0) * k, axis=0), M, k)
    assert ops(less) == ["multiply"]
    (constant,) = less.constants()
    assert constant.shape == () and np.isnan(constant.value)
    assert ops(folded(lambda x, k: (x * 0) * k, M, k)) == ["multiply", "multiply"]  # x may be NaN


def test_ops_with_several_results_are_folded():
    def f(x, k):
        u, s, v = pg.linalg.svd(k * 2)
        return x * s, u @ v

    less = folded(f, np.ones(2), np.eye(2))
    assert ops(less) == ["multiply"] and len(less.constants()) == 2


def test_a_constant_that_would_be_large_is_not_kept():
    wide = np.ones(passes.FOLDED_SIZE)
    assert ops(folded(lambda x, k: pg.sum(k * 2) * x, X, wide)) == ["multiply"]
    wider = np.ones(passes.FOLDED_SIZE + 1)
    assert ops(folded(lambda x, k: pg.sum(k * 2) * x, X, wider)) == ["multiply", "sum", "multiply"]
    assert ops(folded(lambda x, k: pg.sum(k) * x, X, wider)) == ["multiply"]


# -------------------------------------------------------------------------------------------- algebra


@pytest.mark.parametrize(
    "f",
    [
        *(lambda x: x * 1, lambda x: 1 * x, lambda x: x * 1.0, lambda x: x * np.asarray(1.0)),
        *(lambda x: x / 1, lambda x: x**1, lambda x: x - 0, lambda x: x - 0.0, lambda x: +x),
        *(lambda x: pg.negative(-x), lambda x: pg.conj(pg.conj(x)), lambda x: pg.astype(x, np.float64)),
        *(lambda x: pg.reshape(x, (8,)), lambda x: pg.broadcast_to(x, (8,))),
    ],
)
def test_what_changes_nothing_goes(f):
    """Between other ops, so that it is not a result; on zeros of both signs, infinities and NaN."""
    left = after(lambda g: passes.dead_code(passes.simplify(g)), lambda x: pg.exp(f(x * 3)), X)
    assert left == ["multiply", "exp"]


@pytest.mark.parametrize(
    "f",
    [
        *(lambda x: x + 0, lambda x: 0 + x, lambda x: x + np.asarray(0.0)),  # 0 for -0
        *(lambda x: x - -0.0, lambda x: x - np.asarray(-0.0), lambda x: 0 - x),
        *(lambda x: x * 0, lambda x: x - x, lambda x: x / x, lambda x: x**0),  # NaN, infinities
        *(lambda x: x * -1, lambda x: 1 / x, lambda x: 1**x, lambda x: x * 2 / 2),
        *(lambda x: x * np.ones(8), lambda x: x * np.ones((1, 1)), lambda x: x * np.ones(1)),
        *(lambda x: x * np.asarray(1 + 0j), lambda x: x * (1 + 0j)),  # another dtype
        *(lambda x: pg.astype(pg.astype(x, np.float32), np.float64), lambda x: pg.sqrt(x * x)),
        *(lambda x: pg.logical_not(pg.logical_not(x)), lambda x: pg.exp(pg.log(x))),
        *(lambda x: pg.reshape(x, (2, 4)), lambda x: pg.expand_dims(x, axis=0)),
    ],
)
def test_what_only_seems_to_change_nothing_stays(f):
    after(passes.simplify, f, X)
    assert len(after(passes.simplify, lambda x: pg.conj(f(x)), X)) == len(pg.graph(f, X).equations) + 1


@pytest.mark.parametrize("f", [lambda z: z * 1, lambda z: 1.0 * z, lambda z: z / 1, lambda z: z**1])
def test_a_complex_number_is_multiplied_by_the_zero_too(f):
    assert len(after(passes.simplify, lambda z: pg.sin(f(z)), Z)) == 2


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_a_promotion_is_not_lost(dtype):
    x = np.asarray([0, 1, 1]).astype(dtype)
    one = {"float32": np.asarray(1.0), "int32": np.asarray(1.0), "uint8": np.asarray(1), "bool": 1}[dtype]
    assert after(passes.simplify, lambda x: pg.sum(x * one), x) == ["multiply", "sum"]
    if dtype != "bool":
        assert after(passes.simplify, lambda x: pg.sum(x * 1), x) == ["sum"]


def test_transposes_cancel_and_join():
    A = np.arange(24.0).reshape(2, 3, 4)
    simplify = lambda graph: passes.dead_code(passes.simplify(graph))  # noqa: E731
    assert after(simplify, lambda x: x.mT.mT @ x.mT, A) == ["matrix_transpose", "matmul"]
    there, back = (1, 2, 0), (2, 0, 1)
    twice = lambda x: pg.permute_dims(pg.permute_dims(x, there), back)  # noqa: E731
    assert after(simplify, lambda x: pg.exp(twice(x)), A) == ["exp"]
    joined = lambda x: pg.permute_dims(pg.permute_dims(x, (-1, 0, 1)), (0, 2, -2))  # noqa: E731
    assert after(simplify, joined, A) == ["permute_dims"]


def test_reshapes_join_unless_one_must_not_copy():
    simplify = lambda graph: passes.dead_code(passes.simplify(graph))  # noqa: E731
    joined = lambda x: pg.reshape(pg.reshape(x, (3, 2)), (-1,))  # noqa: E731
    assert after(simplify, joined, M) == ["reshape"]
    transposed = lambda x: pg.reshape(pg.reshape(pg.permute_dims(x, (1, 0)), (6,)), (2, 3), copy=False)  # noqa: E731
    assert after(simplify, transposed, M) == ["permute_dims", "reshape", "reshape"]


# ------------------------------------------------------------------------------------------ byproducts


def test_a_loss_and_its_slope_are_one_kernel():
    both = pg.value_and_grad(lambda x: nn.cross_entropy(x, LABELS))
    assert after(passes.with_byproducts, both, np.eye(2)) == ["cross_entropy_and_slope", "multiply"]
    alone = pg.graph(lambda x: nn.cross_entropy(x, LABELS), np.eye(2))
    assert ops(passes.with_byproducts(alone)) == ["cross_entropy"]


def test_a_loss_that_is_computed_twice_keeps_both_values():
    """By a checkpoint, whose second time is not the first's; and before the pass that would join them."""
    f = lambda x: nn.cross_entropy(x, LABELS)  # noqa: E731
    again = pg.value_and_grad(pg.checkpoint(f))
    left = after(passes.with_byproducts, again, np.eye(2))
    assert sorted(left)[0] == "cross_entropy" and len(left) >= 3
    twice = lambda x: (f(x), f(x), pg.grad(f)(x))  # noqa: E731
    assert after(passes.with_byproducts, twice, np.eye(2)).count("cross_entropy_and_slope") == 1


# ------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 1,
        lambda x: (x + 1, x + 1),
        lambda x: (x + 1, (x + 1) * 1, +(x + 1)),
        lambda x: (x, x * 1),
        lambda x: pg.broadcast_to(pg.positive(x), (3,)),
        lambda x: (pg.linalg.svd(pg.expand_dims(x, axis=0)), pg.linalg.svd(pg.expand_dims(x, axis=0))),
    ],
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_results_that_were_arrays_of_their_own_remain_so(f, library):
    """Writing into one changes no other, no argument, and nothing that the next call gives."""
    if library == "torch":
        pytest.importorskip("torch")
    x = pg.to_device(np.ones(3), library)

    def shared(run):
        arrays = leaves((x, run(x), run(x)))
        return {
            (i, j) for j in range(len(arrays)) for i in range(j) if np.shares_memory(arrays[i], arrays[j])
        }

    assert shared(pg.graph(f, x).improved()) <= shared(f)
    if library == "torch":  # NumPy's plan is its adapter's
        assert shared(pg.compile(f)) <= shared(f)


def test_all_passes_come_to_an_end_and_keep_the_inputs():
    def f(x, unused):
        return x * 1 * 1 - 0, +x, pg.sum(np.asarray([1.0, 2.0]) * 1) * x, 3

    graph = pg.graph(f, M, M)
    less = graph.improved()
    assert less.inputs == graph.inputs and len(less.outputs) == 4
    assert ops(less) == ["multiply", "astype", "astype"]
    assert ops(less.improved()) == ops(less)
    assert {eq.line for eq in less.equations} == {eq.line for eq in graph.equations}


def test_constants_of_an_outer_trace_are_left_to_it():
    def f(y):
        g = pg.graph(lambda x: (x * y) * 1, np.asarray(2.0)).improved()
        assert isinstance(g.constants()[0], Constant) and ops(g) == ["multiply"]
        return g(np.asarray(2.0))

    assert pg.grad(f)(np.asarray(1.0)) == 2.0
