import hashlib
import math
import platform
import subprocess
import sys
from decimal import Context, Inexact, localcontext

import naive
import numba
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg import kernels, noise
from daskimg.errors import OptionError
from daskimg.noise import gaussian_noise, quantile_table

# The first example compiles, which takes longer than any deadline.
unhurried = settings(deadline=None, max_examples=25)

both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "kernel"])

WORD = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1])
SEED = st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**32 - 1, 2**32, 2**63, 2**64 - 1])

# From the authors' Random123 1.14.0, tests/kat_vectors; the last one is the digits of pi.
FULL = 2**32 - 1
KNOWN_ANSWERS = [
    pytest.param((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8", id="zeros"),
    pytest.param((FULL,) * 4, (FULL,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd", id="ones"),
    pytest.param(
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
        id="pi",
    ),
]


def noise_of(shape, **where):
    out = np.empty(shape, np.uint8)
    gaussian_noise(out, **{"seed": 1, "row": 0, "compiled": False} | where)
    return out


def below(value, mean, std):
    """The normal distribution's probability of less than a value."""
    return 0.5 * math.erfc((mean - value) / (std * math.sqrt(2)))


def probabilities(mean=127.0, std=100.0):
    """Of each level: of the real numbers that are rounded and clipped to it."""
    edges = [0.0, *(below(level - 0.5, mean, std) for level in range(1, 256)), 1.0]
    return np.diff(edges)


# Words


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_kernel_agrees_with_the_authors_of_philox(counter, key, expected):
    got = kernels.philox4x32(*(np.uint64(word) for word in (*counter, *key)))

    assert expected == " ".join(f"{int(word):08x}" for word in got)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_numpy_agrees_with_the_authors_of_philox(counter, key, expected):
    many = [np.full(3, word, np.uint64) for word in counter]

    got = noise.philox4x32(many, (np.uint64(key[0]), np.uint64(key[1])))

    assert [expected] * 3 == [
        " ".join(f"{int(word):08x}" for word in words) for words in zip(*got, strict=True)
    ]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_oracle_agrees_with_the_authors_of_philox(counter, key, expected):
    got = naive.philox4x32(counter, key)

    assert expected == " ".join(f"{word:08x}" for word in got)


# Values


@both_ways
@unhurried
@given(size=st.integers(0, 40), seed=SEED, row=WORD, part=WORD, stream=WORD)
def test_every_value_is_the_oracles(compiled, size, seed, row, part, stream):
    where = {"seed": seed, "row": row, "part": part, "stream": stream}

    got = noise_of(size, **where, compiled=compiled)

    assert got.tolist() == [naive.noise_value(position, **where) for position in range(size)]


@both_ways
@pytest.mark.parametrize("size", [2047, 2048, 2049, 4103, 32_767, 32_768, 32_777])
def test_values_at_the_ends_of_passes_are_the_oracles(compiled, size):
    where = {"seed": 2**63 + 5, "row": 7, "part": 1, "stream": 3}

    got = noise_of(size, **where, compiled=compiled)

    ends = {0, 2047, 2048, 2055, 4095, 4096, 32_767, 32_768, size - 9, size - 2, size - 1}
    for position in ends & set(range(size)):
        assert got[position] == naive.noise_value(position, **where), position


@unhurried
@given(size=st.integers(0, 5000), seed=SEED, row=WORD, std=st.floats(0.1, 1000))
def test_the_kernel_and_numpy_give_the_same_bits(size, seed, row, std):
    numpy, kernel = (
        noise_of(size, seed=seed, row=row, std=std, compiled=way) for way in (False, True)
    )

    npt.assert_array_equal(numpy, kernel)


@both_ways
@unhurried
@given(height=st.integers(0, 30), width=st.integers(0, 30), channels=st.integers(1, 4))
def test_a_value_depends_on_its_position_and_not_on_the_shape(compiled, height, width, channels):
    shape = height, width, channels
    longest = noise_of(30 * 30 * 4, row=9, compiled=compiled)

    got = noise_of(shape, row=9, compiled=compiled)

    npt.assert_array_equal(got.ravel(), longest[: got.size])


@both_ways
def test_a_slot_of_a_batch_is_filled_and_its_neighbours_are_left(compiled):
    batch = np.full((3, 5, 7, 3), 9, np.uint8)

    gaussian_noise(batch[1], seed=1, row=4, compiled=compiled)

    npt.assert_array_equal(batch[1], noise_of((5, 7, 3), row=4))
    assert (batch[[0, 2]] == 9).all()


def test_the_noise_of_schema_1_is_for_ever():
    got = noise_of((64, 64, 3), seed=20_240_229, row=123_456, part=7, stream=1)

    digest = hashlib.sha256(got.tobytes()).hexdigest()
    assert digest == "45de98c7c6342f6c3c87711c4546a384ac36599851f61e06a21530d3ec36a3fe"


def test_rows_and_seeds_of_numpy_count_as_numbers():
    got = noise_of(20, seed=np.uint64(2**64 - 1), row=np.int64(5), part=np.int32(2))

    npt.assert_array_equal(got, noise_of(20, seed=2**64 - 1, row=5, part=2))


@pytest.mark.parametrize(
    "other",
    [{"row": 1}, {"part": 1}, {"stream": 1}, {"seed": 2}, {"seed": 1 + 2**32}],
    ids=["row", "part", "stream", "low seed", "high seed"],
)
def test_neighbours_are_not_correlated(other):
    count = 1 << 17
    first = noise_of(count).astype(np.float64)

    second = noise_of(count, **other).astype(np.float64)

    # Of independent noise, deviations of the correlation are 1 / sqrt(count).
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(count)
    assert abs(np.corrcoef(first[1:], second[:-1])[0, 1]) < 4 / math.sqrt(count)


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 7, 8, 16])
def test_values_of_one_picture_are_not_correlated(lag):
    values = noise_of(1 << 17).astype(np.float64)

    correlation = np.corrcoef(values[lag:], values[:-lag])[0, 1]

    assert abs(correlation) < 4 / math.sqrt(values.size)


# Distribution


@pytest.mark.parametrize("seed", [1, 2])
def test_levels_are_as_frequent_as_a_clipped_gaussian_has_them(seed):
    expected = probabilities() * 2**21

    counts = np.bincount(noise_of(1 << 21, seed=seed), minlength=256)

    # 255 degrees of freedom: mean 255, deviation sqrt(510); a fit too good is none either.
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 4 * math.sqrt(510)


def test_noise_is_clipped_and_does_not_wrap():
    values = noise_of(1 << 20)

    shares = (values == 0).mean(), (values == 255).mean()

    assert shares == pytest.approx((below(0.5, 127, 100), below(-254.5, -127, 100)), abs=0.0015)


def test_mean_and_deviation_are_those_of_the_clipped_gaussian():
    levels, weights = np.arange(256), probabilities()
    mean = (levels * weights).sum()
    std = math.sqrt(((levels - mean) ** 2 * weights).sum())

    values = noise_of(1 << 20)

    assert values.mean() == pytest.approx(mean, abs=4 * std / 2**10)
    assert values.std() == pytest.approx(std, rel=4 / 2**10)


# The table


@pytest.mark.parametrize(
    ("mean", "std"),
    [(127, 100), (127.5, 0.3), (0, 1), (128, 1e-9), (300, 50), (-40, 25.5), (100, 1e6)],
)
def test_every_quantile_has_its_level(mean, std):
    table = quantile_table(mean, std)

    assert table.dtype == np.uint8
    assert table.tolist() == [naive.level(i, mean, std) for i in range(65536)]


@unhurried
@given(mean=st.floats(-300, 600), std=st.floats(0.01, 1e4))
def test_a_table_never_falls_and_misses_no_probability_by_more_than_an_entry(mean, std):
    table = quantile_table(mean, std).astype(int)

    shares = np.bincount(table, minlength=256) / 65536
    assert (np.diff(table) >= 0).all()
    npt.assert_allclose(shares, probabilities(mean, std), rtol=0, atol=1 / 65536 + 1e-9)


def test_the_table_of_schema_1_is_for_ever():
    digest = hashlib.sha256(quantile_table().tobytes()).hexdigest()

    assert digest == "f8177f784937a224e9bb1728a0db3ec20f55dc0a1964c86925f36458670890cd"


def test_a_table_does_not_depend_on_the_callers_decimal_context():
    with localcontext(Context(prec=3, traps=[Inexact])):
        table = quantile_table(101.25, 33.5)

    assert table[[0, 30_000, 65_535]].tolist() == [
        naive.level(i, 101.25, 33.5) for i in (0, 30_000, 65_535)
    ]


def test_a_table_is_counted_once_and_cannot_be_written():
    table = quantile_table(90, 10)

    assert quantile_table(90.0, 10.0) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


@both_ways
def test_noise_has_the_mean_and_deviation_it_is_asked_for(compiled):
    values = noise_of(20_000, mean=80, std=5, compiled=compiled)

    assert values.mean() == pytest.approx(80, abs=0.2)
    assert values.std() == pytest.approx(5, abs=0.15)


# Refusals


@pytest.mark.parametrize("name", ["row", "part", "stream"])
@pytest.mark.parametrize("value", [2**32, -1, 1.5, "3", None])
def test_a_counter_of_more_than_32_bits_is_refused(name, value):
    with pytest.raises(OptionError, match=rf"{name} must be .* 0 to 2\*\*32 - 1, got .*; try 0"):
        noise_of(4, **{name: value})


@pytest.mark.parametrize("seed", [2**64, -1, 0.0])
def test_a_seed_of_more_than_64_bits_is_refused(seed):
    with pytest.raises(OptionError, match=rf"seed must be .* 2\*\*64 - 1, got {seed}; try 0"):
        noise_of(4, seed=seed)


@pytest.mark.parametrize(
    ("mean", "std"),
    [(127, 0), (127, -1), (math.nan, 1), (math.inf, 1), (0, math.inf), (0, math.nan), ("x", 1)],
)
def test_what_is_no_distribution_is_refused(mean, std):
    with pytest.raises(OptionError, match=r"finite mean and a std above 0, .*; try mean=127"):
        noise_of(4, mean=mean, std=std)


@both_ways
@pytest.mark.parametrize(
    "out",
    [
        np.empty((4, 3), np.float32),
        np.empty((4, 6), np.uint8)[:, ::2],
        np.frombuffer(b"1234", np.uint8),
    ],
    ids=["dtype", "order", "read-only"],
)
def test_what_cannot_be_filled_in_place_is_refused(compiled, out):
    with pytest.raises(OptionError, match=r"writable C-contiguous array of uint8, .*; try np"):
        gaussian_noise(out, seed=0, row=0, compiled=compiled)


def test_more_values_than_blocks_can_be_counted_for_are_refused(monkeypatch):
    monkeypatch.setattr(noise, "_LIMIT", 10)

    with pytest.raises(OptionError, match=r"at most .* values, got 11; try one sample"):
        noise_of(11)


# Speed


def test_a_little_noise_does_not_import_numba():
    script = (
        "import sys, numpy, daskimg; out = numpy.empty((8, 8, 3), 'uint8');"
        "daskimg.gaussian_noise(out, seed=1, row=2);"
        "assert 'numba' not in sys.modules;"
        "daskimg.gaussian_noise(out, seed=1, row=2, compiled=True); assert 'numba' in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled with the JIT off")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors, other words")
def test_rounds_of_several_blocks_are_computed_at_once():
    noise_of(8, compiled=True)

    code = "".join(kernels.fill_noise.inspect_asm().values())

    # The multiplication of several pairs of 32-bit words: four times slower without.
    assert "pmuludq" in code
