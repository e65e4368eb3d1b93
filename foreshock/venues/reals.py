"""Quoted decimals → float64, compiled: for marks, rates and turnovers, which lie on no grid.

Correctly rounded, as Python's own `float` is: the digits are divided by their power of ten in
integers, bit by bit until 54 of them and a remainder say how to round, and the bits of the float
are put together by hand. No floating-point operation is made.
"""

from __future__ import annotations

from typing import Final

from foreshock.market.jit import in_place
from foreshock.venues.scan import FAIL, MAX_DIGITS, MINUS, NINE, POINT, QUOTE_MARK, ZERO, Bytes

_SIGN: Final = -(2**63)
_FRACTION: Final = 2**52 - 1


@in_place
def quotient_bits(digits: int, power: int) -> int:
    """Bits of the float64 nearest to digits / power, ties to even; 0 ≤ digits < 10^18, power a
    power of ten up to 10^18."""
    if digits == 0:
        return 0
    q = digits // power
    rest = digits - q * power
    shift = 0
    while q < 2**54:
        rest <<= 3
        three = rest // power
        rest -= three * power
        q = (q << 3) | three
        shift += 3
    below = rest != 0
    while q >= 2**54:
        below |= (q & 1) == 1
        q >>= 1
        shift -= 1
    up = (q & 1) == 1
    q >>= 1
    shift -= 1
    if up and (below or (q & 1) == 1):
        q += 1
        if q == 2**53:
            q >>= 1
            shift -= 1
    return ((1075 - shift) << 52) | (q & _FRACTION)


@in_place
def real(buf: Bytes, pos: int, end: int) -> tuple[int, int]:
    """(bits of the float64, next position behind the closing quote) of a quoted decimal, `pos`
    behind the opening quote. FAIL where it is no plain decimal or has more than 18 digits, or 18
    decimals, without the zeros at either end."""
    negative = pos < end and buf[pos] == MINUS
    if negative:
        pos += 1
    digits = 0
    used = 0  # significant digits
    start = pos
    while pos < end and ZERO <= buf[pos] <= NINE:
        if used > 0 or buf[pos] != ZERO:
            used += 1
        if used > MAX_DIGITS:
            return 0, FAIL
        digits = digits * 10 + int(buf[pos]) - ZERO
        pos += 1
    if pos == start:
        return 0, FAIL
    power = 1
    if pos < end and buf[pos] == POINT:
        pos += 1
        start = pos
        last = pos  # behind the last digit that is not zero
        while pos < end and ZERO <= buf[pos] <= NINE:
            pos += 1
            if buf[pos - 1] != ZERO:
                last = pos
        if pos == start or last - start > MAX_DIGITS:
            return 0, FAIL
        for k in range(start, last):
            if used > 0 or buf[k] != ZERO:
                used += 1
            if used > MAX_DIGITS:
                return 0, FAIL
            digits = digits * 10 + int(buf[k]) - ZERO
            power *= 10
    if pos >= end or buf[pos] != QUOTE_MARK:
        return 0, FAIL
    bits = quotient_bits(digits, power)
    return (bits | _SIGN if negative else bits), pos + 1
