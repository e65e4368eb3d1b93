"""Quoted decimals become the float64 that Python makes of them, bit for bit."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock.market.jit import kernel
from foreshock.venues.reals import quotient_bits, real
from foreshock.venues.scan import FAIL


@kernel
def _real(buf: np.ndarray, end: int) -> tuple[int, int]:
    return real(buf, 1, end)


@kernel
def _quotient(digits: int, power: int) -> int:
    return quotient_bits(digits, power)


def read(text: str) -> tuple[int, int]:
    quoted = f'"{text}"'.encode()
    return _real(np.frombuffer(quoted, np.uint8), len(quoted))


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


@settings(max_examples=2_000, deadline=None, derandomize=True)
@given(
    negative=st.booleans(),
    digits=st.integers(0, 10**18 - 1),
    decimals=st.integers(0, 18),
    zeros=st.integers(0, 9),
)
def test_a_decimal_is_what_python_reads(
    negative: bool, digits: int, decimals: int, zeros: int
) -> None:
    text = f"{digits:0{decimals + 1}d}"
    whole, fraction = text[: len(text) - decimals], text[len(text) - decimals :] + "0" * zeros
    spelled = "-" * negative + "0" * zeros + whole + (f".{fraction}" if fraction else "")
    assert read(spelled) == (bits(float(spelled)), len(spelled) + 2)


def test_ties_and_their_neighbours_go_to_even() -> None:
    """Numbers half way between two floats, and one digit to either side of them."""
    rng = random.Random(5)
    for _ in range(2_000):
        mantissa, shift = rng.randrange(2**52, 2**53), rng.randrange(1, 6)
        digits = (2 * mantissa + 1) * 2 ** (shift - 1)  # between mantissa and the next, · 2^shift
        for decimals in (0, shift):
            for near in (digits * 5**decimals + step for step in (-1, 0, 1)):
                if near < 10**18:
                    power = 10**decimals
                    assert _quotient(near, power) == bits(near / power)


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "1.", ".5", "+1", "1e5", "1.5.5", "--1", "0x1", "NaN", "inf", "1" * 19,
     "1." + "0" * 17 + "01", "0." + "0" * 18 + "1", " 1", "1 "],
)  # fmt: skip
def test_what_is_no_plain_decimal_or_too_long_is_refused(text: str) -> None:
    assert read(text)[1] == FAIL


def test_zeros_at_either_end_do_not_count() -> None:
    assert read("0" * 40 + "1.50" + "0" * 40)[0] == bits(1.5)
    assert read("-0.00")[0] == bits(-0.0)


def test_a_number_that_is_cut_off_is_refused() -> None:
    for text in ("123.45", "-0.5"):
        quoted = f'"{text}"'.encode()
        for end in range(1, len(quoted)):
            assert _real(np.frombuffer(quoted, np.uint8), end)[1] == FAIL
