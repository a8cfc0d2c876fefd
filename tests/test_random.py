"""Random numbers: known answers, the same bits everywhere, and the distributions they claim."""

import contextlib
import hashlib
import itertools
import json
import math
import pickle
from collections import Counter

import array_api_strict
import numpy as np
import optree
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from portagrad import random
from portagrad.backend import get_backend
from portagrad.device import device_of, devices, use
from portagrad.ops.random import signed
from portagrad.random.quantile import _TERMS, _half_octaves, _table, cumulative, quantile
from portagrad.random.threefry import multiply_high, threefry

MASK = 0xFFFFFFFF
KEY = random.key(2011)
N = 200_000

# From kat_vectors of Random123: counter, key, block.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]

DRAWS = {
    "bits": lambda **at: random.bits(KEY, (3, 5), **at),
    "uniform": lambda **at: random.uniform(KEY, (41, 25), minval=-0.3, maxval=1.7, **at),
    "uniform float64": lambda **at: random.uniform(KEY, 999, dtype="float64", maxval=math.pi, **at),
    "normal": lambda **at: random.normal(KEY, (7, 1, 143), **at),
    "normal float64": lambda **at: random.normal(KEY, 1001, dtype="float64", mean=0.1, std=3.3, **at),
    "truncated_normal": lambda **at: random.truncated_normal(KEY, 1001, **at),
    "truncated_normal float64": lambda **at: random.truncated_normal(
        KEY, 1001, dtype="float64", lower=4, upper=math.inf, **at
    ),
    "bernoulli": lambda **at: random.bernoulli(KEY, 0.3, (20, 30), **at),
    "randint": lambda **at: random.randint(KEY, 1001, minval=-7, maxval=10**9, **at),
    "randint int8": lambda **at: random.randint(KEY, 1001, minval=-128, maxval=128, dtype="int8", **at),
    "permutation": lambda **at: random.permutation(KEY, 1001, **at),
}

PINNED = {
    "bits": "5be55041ff2b0570",
    "uniform": "c3eb54bd7f25a07b",
    "uniform float64": "67a795d8c2a6c8b0",
    "normal": "5aefe42885ca3b32",
    "normal float64": "0d0b304479dd95cf",
    "truncated_normal": "7c1b6719ab6384b1",
    "truncated_normal float64": "9ff4b8e60330ef31",
    "bernoulli": "50fe7c2711f91265",
    "randint": "1a9b64ea8ca3c09d",
    "randint int8": "6260b334b082de61",
    "permutation": "47eb6484bf18de4d",
}


def host(x):
    return device_of(x).backend.to_numpy(x)


@contextlib.contextmanager
def x64(device, on=True):
    """JAX has 64-bit dtypes only where they are switched on."""
    if device.backend.name != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", on)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.fixture(params=devices(), ids=str)
def device(request):
    return request.param


# -- the generator and its keys


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_known_answers(counter, key, block):
    assert threefry(random.Key(*key), *counter, lambda x: x & MASK) == block
    x0, x1 = (np.asarray([word], dtype=np.uint32).view(np.int32) for word in counter)
    words = threefry(random.Key(*key), x0, x1)
    assert [int(w.view(np.uint32)[0]) for w in words] == list(block)


def test_a_draw_is_the_stream_of_blocks():
    stream = [word for i in range(4) for word in threefry(KEY, i, 0, lambda x: x & MASK)]
    assert random.bits(KEY, 7).tolist() == stream[:7]


def test_the_streams_stay_what_they_are():
    """What a seed draws is part of the interface: a change would change every user's run."""
    found = {
        name: hashlib.sha256(draw(device="cpu").astype("<f8").tobytes()).hexdigest()[:16]
        for name, draw in DRAWS.items()
    }
    assert found == PINNED


def test_split_and_fold_in_give_distinct_keys_apart_from_the_draws():
    found = [*random.split(KEY, 1000), *(random.fold_in(KEY, i) for i in range(1000))]
    words = random.bits(KEY, 2000).tolist()
    found += [random.Key(*pair) for pair in zip(words[::2], words[1::2], strict=True)]
    assert len({*found, KEY}) == 3001


def test_a_shorter_split_begins_a_longer_one():
    assert random.split(KEY) == random.split(KEY, 5)[:2]
    assert random.split(KEY, 0) == ()


def test_seeds_use_all_64_bits():
    assert random.key(2**64 - 1) == (MASK, MASK)
    assert random.key(np.int32(5)) == (0, 5)
    assert len({random.key(s) for s in (0, 1, 2**32, 2**32 + 1)}) == 4


def test_a_key_is_a_small_host_value():
    assert hash(KEY) == hash(random.key(2011))
    assert pickle.loads(pickle.dumps(KEY)) == KEY
    assert random.Key(*json.loads(json.dumps(KEY))) == KEY
    leaves, tree = optree.tree_flatten({"key": KEY})
    assert leaves == [0, 2011]
    assert optree.tree_unflatten(tree, leaves)["key"] == KEY


# -- the law: the same bits on every backend and device


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_bits_on_every_device(name, device):
    with x64(device):
        drawn = DRAWS[name](device=device)
        expected = DRAWS[name]()
        assert device_of(drawn) == device
        assert drawn.shape == expected.shape
        np.testing.assert_array_equal(host(drawn), expected)
        if "float" in name or name in ("bits", "uniform", "normal", "bernoulli", "randint int8"):
            assert host(drawn).dtype == expected.dtype


def test_draws_go_to_the_device_in_force():
    with use("strict:device1"):
        assert device_of(random.normal(KEY, 3)).name == "strict:device1"
        assert device_of(random.normal(KEY, 3, device="cpu")).name == "cpu"
        assert device_of(random.permutation(KEY, 3)).name == "strict:device1"


@pytest.mark.parametrize("name", ["bits", "uniform", "normal", "bernoulli"])
def test_a_shorter_draw_begins_a_longer_one(name):
    draw = {
        "bits": random.bits,
        "uniform": random.uniform,
        "normal": random.normal,
        "bernoulli": lambda key, n: random.bernoulli(key, 0.5, n),
    }[name]
    for n in range(6):
        np.testing.assert_array_equal(draw(KEY, n), draw(KEY, 9)[:n])
    np.testing.assert_array_equal(draw(KEY, (2, 3)), draw(KEY, 6).reshape(2, 3))


def test_shapes(device):
    for shape, expected in [((), ()), (0, (0,)), ([2, 0], (2, 0)), (np.int64(3), (3,)), ((1, 1), (1, 1))]:
        for draw in (random.bits, random.uniform, random.normal, random.truncated_normal):
            assert tuple(draw(KEY, shape, device=device).shape) == expected
        assert tuple(random.bernoulli(KEY, 0.5, shape, device=device).shape) == expected
        assert tuple(random.randint(KEY, shape, maxval=3, device=device).shape) == expected


def test_dtypes_of_any_library_name_the_draw():
    for dtype in ("float64", np.float64, float, np.dtype("float64"), array_api_strict.float64):
        assert random.uniform(KEY, 2, dtype=dtype).dtype == np.float64
    assert random.uniform(KEY, 2).dtype == random.normal(KEY, 2).dtype == np.float32


def test_dask_draws_when_asked():
    pytest.importorskip("dask")
    from dask.callbacks import Callback

    runs = []
    with Callback(start=lambda dsk: runs.append(dsk)):
        lazy = [random.normal(KEY, 10, device="dask"), random.bernoulli(KEY, 0.5, 10, device="dask")]
        assert not runs
        lazy[0].compute()
        assert len(runs) == 1


def test_jax_draws_the_same_words_under_jit():
    jax = pytest.importorskip("jax")
    words, mask = jax.jit(
        lambda: (random.bits(KEY, 100, device="jax"), random.bernoulli(KEY, 0.3, 100, device="jax"))
    )()
    np.testing.assert_array_equal(words, random.bits(KEY, 100))
    np.testing.assert_array_equal(mask, random.bernoulli(KEY, 0.3, 100))


# -- distributions


def test_the_draws_of_one_key_agree():
    """Normal numbers are the quantiles of the uniform ones, and events those that lie below p."""
    u = random.uniform(KEY, 1000, dtype="float64")
    z = random.normal(KEY, 1000, dtype="float64")
    np.testing.assert_allclose(special.ndtr(z), u, rtol=1e-12)
    for p in (0.1, 0.75):
        np.testing.assert_array_equal(random.bernoulli(KEY, p, 1000), random.uniform(KEY, 1000) < p)


def test_words_are_uniform_in_every_byte_and_bit():
    words = random.bits(KEY, N)
    counts = np.bincount(words.view(np.uint8), minlength=256)
    assert stats.chisquare(counts).pvalue > 0.01
    ones = np.asarray([((words >> np.uint32(b)) & 1).sum() for b in range(32)])
    assert np.all(np.abs(ones - N / 2) < 4 * math.sqrt(N) / 2)
    # Successive pairs fill the square evenly.
    x, y = (words[::2] >> 28).astype(int), (words[1::2] >> 28).astype(int)
    assert stats.chisquare(np.bincount(16 * x + y, minlength=256)).pvalue > 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform(dtype):
    u = random.uniform(KEY, N, dtype=dtype)
    assert u.min() >= 0 and u.max() < 1
    assert stats.kstest(u.astype(float), "uniform").pvalue > 0.01
    assert abs(u.astype(float).mean() - 0.5) < 4 / math.sqrt(12 * N)
    steps = u.astype(float) * 2.0 ** (24 if dtype == "float32" else 53)
    assert np.all(steps == np.round(steps))
    assert np.any(steps % 2 == 1)
    scaled = random.uniform(KEY, N, dtype=dtype, minval=-3, maxval=5)
    np.testing.assert_array_equal(scaled, u * 8 - 3)


def test_uniform_reads_the_words_as_documented():
    words = random.bits(KEY, 10).astype(np.uint64)
    np.testing.assert_array_equal(random.uniform(KEY, 10), (words >> np.uint64(8)) * 2.0**-24)
    long = (words[::2] << np.uint64(21)) | (words[1::2] >> np.uint64(11))
    np.testing.assert_array_equal(random.uniform(KEY, 5, dtype="float64"), long * 2.0**-53)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype):
    z = random.normal(KEY, N, dtype=dtype).astype(float)
    assert stats.kstest(z, "norm").pvalue > 0.01
    for k, moment in enumerate([0, 1, 0, 3], start=1):
        spread = math.sqrt(stats.norm.moment(2 * k) - moment**2)
        assert abs((z**k).mean() - moment) < 4 * spread / math.sqrt(N)
    for bound in (2, 3, 4):
        expected = N * 2 * stats.norm.sf(bound)
        assert abs((np.abs(z) > bound).sum() - expected) < 4 * math.sqrt(expected)
    moved = random.normal(KEY, N, dtype=dtype, mean=-2, std=0.5)
    np.testing.assert_array_equal(moved, (z * 0.5).astype(dtype) - np.asarray(2, dtype))


@pytest.mark.parametrize(("width", "dtype"), [(32, np.float32), (64, np.float64)])
def test_quantile_is_the_normal_quantile(width, dtype):
    """At both ends of every segment, in the tails and about the median."""
    first = [j << (width - 9 - 2 * g) for g in range(width // 2 - 5) for j in range(64, 257)]
    m = [n for j in first for n in (j - 1, j, j + 1) if n < 1 << (width - 1)] + list(range(1, 1000))
    m = np.asarray(m, dtype=np.int64)
    lower = m.astype(f"int{width}")
    xp = get_backend("numpy").xp
    z = quantile(xp, lower, width, dtype, lambda a: a)
    true = special.ndtri((m | 1).astype(float) * 2.0**-width)
    # special.ndtri itself has an error of some 1e-15.
    near = {"rtol": 1.5e-7, "atol": 1.5e-7} if width == 32 else {"rtol": 3e-15, "atol": 1e-15}
    np.testing.assert_allclose(z, true, **near)
    np.testing.assert_array_equal(quantile(xp, ~lower, width, dtype, lambda a: a), -z)
    assert np.all(np.isfinite(z)) and z.min() > (-6.3 if width == 32 else -9.2)


@pytest.mark.parametrize("width", [32, 64])
def test_the_series_of_the_quantile_end_in_the_median(width):
    """Integrated from the tail, the quantile arrives at 0 for p = 1/2, the end of the last half octave."""
    last = _half_octaves(width)[-1]
    assert len(last) == _TERMS
    assert abs(sum(a * (1 / 7) ** k for k, a in enumerate(last))) < 1e-16
    assert all(c.shape == (width // 2 * 192,) for c in _table(width))


@pytest.mark.parametrize("width", [32, 64])
def test_cumulative(width):
    for x in (-9, -5.5, -2, -0.1, 0, 0.3, 1, 2, 7, 9):
        found = cumulative(x, width) * 2.0**-width
        assert found == pytest.approx(special.ndtr(x), rel=1e-13, abs=2.0**-width)
    assert cumulative(0, width) == 1 << (width - 1)
    assert (cumulative(-math.inf, width), cumulative(math.inf, width)) == (0, 1 << width)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("lower", "upper"),
    [(-2, 2), (-0.1, 0.2), (1, 3), (-math.inf, 0.7), (2.5, math.inf), (-math.inf, math.inf)],
)
def test_truncated_normal(dtype, lower, upper):
    z = random.truncated_normal(KEY, N, lower=lower, upper=upper, dtype=dtype)
    assert z.dtype == dtype
    assert z.min() >= np.asarray(lower, dtype) and z.max() <= np.asarray(upper, dtype)
    assert stats.kstest(z.astype(float), stats.truncnorm(lower, upper).cdf).pvalue > 0.01


@pytest.mark.parametrize("p", [0.0, 1e-3, 0.3, 0.5, 0.9, 1.0, 0, 1, 1e-12])
def test_bernoulli(p, device):
    drawn = host(random.bernoulli(KEY, p, 20_000, device=device))
    assert drawn.dtype == bool
    assert abs(drawn.mean() - p) <= 4 * math.sqrt(p * (1 - p) / drawn.size)


@pytest.mark.parametrize("span", [1, 2, 3, 10, 256, 1000])
def test_randint(span):
    drawn = random.randint(KEY, N, minval=-5, maxval=span - 5)
    counts = np.bincount(drawn + 5, minlength=span)
    assert drawn.min() == -5 and len(counts) == span
    assert span == 1 or stats.chisquare(counts).pvalue > 0.01


def test_randint_scales_64_bits():
    """Floor of span * (x0, x1) / 2**64, for spans up to 2**32 and every dtype that holds the values."""
    words = random.bits(KEY, 2000).tolist()
    wide = [(x0 << 32) | x1 for x0, x1 in zip(words[::2], words[1::2], strict=True)]
    for low, high, dtype in [
        (0, 2**32, "int64"),
        (0, 2**32, "uint32"),
        (-(2**31), 2**31, "int32"),
        (2**63 - 2**32, 2**63, "int64"),
        (-(2**63), -(2**63) + 12345, "int64"),
        (2**64 - 1000, 2**64, "uint64"),
        (-3, 3 * 10**9, "int64"),
        (0, 256, "uint8"),
    ]:
        drawn = random.randint(KEY, 1000, minval=low, maxval=high, dtype=dtype)
        assert drawn.dtype == dtype
        assert drawn.tolist() == [low + (w * (high - low) >> 64) for w in wide]


@given(st.integers(0, MASK), st.integers(0, 1 << 32))
def test_multiply_high(x, n):
    high = multiply_high(np.asarray([signed(x, 32)], dtype=np.int32), n, 32)
    assert int(high[0]) == signed(x * n >> 32, 32)
    wide = (x * 0x9E3779B97F4A7C15 + n) % 2**64
    high = multiply_high(np.asarray([signed(wide, 64)], dtype=np.int64), n << 32, 64)
    assert int(high[0]) == signed(wide * (n << 32) >> 64, 64)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 2**12, 2**12 + 1])
def test_permutation_holds_every_index_once(n):
    order = random.permutation(KEY, n)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_permutations_are_equally_likely():
    counts = Counter(tuple(random.permutation(k, 4).tolist()) for k in random.split(KEY, 4800))
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_streams_of_related_keys_are_independent():
    """Children, neighbours among seeds, folds, and the parent."""
    first, second = random.split(KEY)
    related = [KEY, first, second, random.fold_in(KEY, 0), random.fold_in(KEY, 1), random.key(2012)]
    draws = np.asarray([random.uniform(k, N) for k in related], dtype=float)
    off = np.corrcoef(draws)[np.triu_indices(len(related), 1)]
    assert np.all(np.abs(off) < 4 / math.sqrt(N))
    for x, y in itertools.pairwise(draws):
        cells = np.bincount((16 * np.floor(16 * x) + np.floor(16 * y)).astype(int), minlength=256)
        assert stats.chisquare(cells).pvalue > 0.001
    # The first numbers of many keys are as good as one stream.
    heads = [random.uniform(k).item() for k in random.split(KEY, 2000)]
    assert stats.kstest(heads, "uniform").pvalue > 0.01


# -- bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random.key(-1), ValueError, "the seed must lie between 0 and 2**64 - 1, not -1"),
        (lambda: random.key(2**64), ValueError, "key: the seed must lie between"),
        (lambda: random.key(1.5), TypeError, "key: seed must be an integer, not float"),
        (lambda: random.uniform(0, 3), TypeError, "make one with pg.random.key(seed)"),
        (lambda: random.split((0, 1)), TypeError, "split: the first argument must be a key, not tuple"),
        (lambda: random.split(KEY, -1), ValueError, "num must lie between 0 and 2**32 - 1, not -1"),
        (lambda: random.fold_in(KEY, -1), ValueError, "data must lie between"),
        (lambda: random.fold_in(KEY, 0.5), TypeError, "fold_in: data must be an integer"),
        (lambda: random.bits(KEY, (2, -1)), ValueError, "sizes must not be negative, as in shape (2, -1)"),
        (lambda: random.bits(KEY, 2.5), TypeError, "bits: shape must be an integer, not float"),
        (lambda: random.bits(KEY, 2**33), ValueError, "more than one key can draw; split the key"),
        (lambda: random.normal(KEY, 2, dtype="float16"), TypeError, "not float16; cast the result"),
        (lambda: random.uniform(KEY, 2, dtype="int32"), TypeError, "draws float32 or float64, not int32"),
        (lambda: random.uniform(KEY, minval=1, maxval=0), ValueError, "finite bounds in order"),
        (lambda: random.uniform(KEY, maxval=math.inf), ValueError, "finite bounds in order"),
        (lambda: random.uniform(KEY, minval=math.nan), ValueError, "finite bounds in order"),
        (lambda: random.normal(KEY, std=-1), ValueError, "std >= 0, not mean=0.0, std=-1"),
        (lambda: random.normal(KEY, mean=math.nan), ValueError, "a finite mean"),
        (lambda: random.truncated_normal(KEY, lower=2, upper=1), ValueError, "lower < upper"),
        (lambda: random.truncated_normal(KEY, lower=7, upper=8), ValueError, 'or dtype="float64"'),
        (lambda: random.bernoulli(KEY, 1.5), ValueError, "p must lie between 0 and 1, not 1.5"),
        (lambda: random.bernoulli(KEY, math.nan), ValueError, "p must lie between 0 and 1, not nan"),
        (lambda: random.bernoulli(KEY, np.ones(3)), TypeError, "pg.random.uniform(key, p.shape) < p"),
        (lambda: random.randint(KEY, maxval=0), ValueError, "minval < maxval"),
        (lambda: random.randint(KEY, maxval=2**32 + 1), ValueError, "at most 2**32 apart"),
        (lambda: random.randint(KEY, maxval=129, dtype="int8"), ValueError, "within int8"),
        (lambda: random.randint(KEY, maxval=2.0), TypeError, "randint: maxval must be an integer"),
        (lambda: random.randint(KEY, maxval=2, dtype="float32"), TypeError, "draws integers, not float32"),
        (lambda: random.permutation(KEY, -1), ValueError, "permutation: sizes must not be negative"),
        (lambda: random.permutation(KEY, (3,)), TypeError, "permutation: n must be an integer"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_a_dtype_the_device_lacks():
    pytest.importorskip("jax")
    jax = device_of(random.bits(KEY, device="jax"))
    with (
        x64(jax, on=False),
        pytest.raises(TypeError, match=rf"uniform: {jax} has no float64; it has .*float32"),
    ):
        random.uniform(KEY, 3, dtype="float64", device="jax")
