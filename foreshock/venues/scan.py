"""Compiled readers of JSON bytes: the letters from which a venue's frame decoder is written.

All take the buffer, a position and the end of the frame, check every byte against that end, and
return the next position, or FAIL (-1) where the bytes are not what they must be. A position below
FAIL says that a number was well-formed but off its grid: `behind` turns it into the next position.
A failed reader leaves nothing half-written that its caller would use.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from foreshock.market.jit import in_place

FAIL: Final = -1
MAX_DIGITS: Final = 18  # what surely fits an int64

QUOTE_MARK, BACKSLASH, COMMA, COLON = 34, 92, 44, 58
OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = 123, 125, 91, 93
ZERO, NINE, POINT, MINUS = 48, 57, 46, 45

Bytes = NDArray[np.uint8]


@in_place
def behind(pos: int) -> int:
    """The next position behind a number that was off its grid; also turns it into the refusal."""
    return -pos - 2


@in_place
def blank(buf: Bytes, pos: int, end: int) -> int:
    """The first position that holds no white space."""
    while pos < end and (buf[pos] == 32 or buf[pos] == 10 or buf[pos] == 13 or buf[pos] == 9):
        pos += 1
    return pos


@in_place
def expect(buf: Bytes, pos: int, end: int, char: int) -> int:
    """Behind `char`, white space before it allowed; FAIL if something else is there."""
    if pos < end and buf[pos] == char:
        return pos + 1
    pos = blank(buf, pos, end)
    if pos < end and buf[pos] == char:
        return pos + 1
    return FAIL


@in_place
def string_end(buf: Bytes, pos: int, end: int) -> int:
    """`pos` is behind the opening quote; returns the position *of* the closing one. Control
    characters and escapes that JSON does not know fail."""
    while pos < end:
        c = buf[pos]
        if c == QUOTE_MARK:
            return pos
        if c < 32:
            return FAIL
        if c == BACKSLASH:
            pos += 1
            if pos >= end:
                return FAIL
            c = buf[pos]
            if c == 117:  # \uXXXX
                if pos + 4 >= end:
                    return FAIL
                for k in range(1, 5):
                    h = buf[pos + k] | 32
                    if not (48 <= buf[pos + k] <= 57 or 97 <= h <= 102):
                        return FAIL
                pos += 4
            elif not (c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110
                      or c == 114 or c == 116):  # fmt: skip
                return FAIL
        pos += 1
    return FAIL


@in_place
def integer(buf: Bytes, pos: int, end: int) -> tuple[int, int]:
    """(value, next position) of a non-negative integer without sign; (0, FAIL) otherwise."""
    value = 0
    start = pos
    while pos < end:
        digit = int(buf[pos]) - ZERO
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit
        pos += 1
    if pos == start or pos - start > MAX_DIGITS or (buf[start] == ZERO and pos - start > 1):
        return 0, FAIL
    if pos < end and (buf[pos] == POINT or buf[pos] | 32 == 101):
        return 0, FAIL  # 1.5 and 1e5 are numbers, but none of our integers
    return value, pos


@in_place
def decimal(buf: Bytes, pos: int, end: int, decimals: int, units: int) -> tuple[int, int]:
    """(steps, next position behind the closing quote) of a quoted decimal, `pos` behind the opening
    quote: "28145.10" with decimals 1, units 1 is 281451 steps of 10⁻¹. FAIL where it is no plain
    decimal, negative or longer than 18 digits; (steps below it, below FAIL) where it is off the
    grid."""
    value = 0
    digits = 0
    start = pos
    while pos < end:
        digit = int(buf[pos]) - ZERO
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit
        pos += 1
    digits = pos - start
    if digits == 0 or digits + decimals > MAX_DIGITS or pos >= end:
        return 0, FAIL
    left = decimals
    off_grid = False
    if buf[pos] == POINT:
        pos += 1
        first = pos
        while pos < end and left > 0:
            digit = int(buf[pos]) - ZERO
            if digit < 0 or digit > 9:
                break
            value = value * 10 + digit
            left -= 1
            pos += 1
        while pos < end and ZERO <= buf[pos] <= NINE:
            off_grid |= buf[pos] != ZERO
            pos += 1
        if pos == first:
            return 0, FAIL
    if pos >= end or buf[pos] != QUOTE_MARK:
        return 0, FAIL
    while left > 0:
        value *= 10
        left -= 1
    if units != 1:
        steps = value // units
        off_grid |= steps * units != value
        value = steps
    if off_grid:
        return value, behind(pos + 1)
    return value, pos + 1


@in_place
def _scalar_end(buf: Bytes, pos: int, end: int) -> int:
    """Behind a number, true, false or null."""
    if buf[pos] == 116:
        word = (116, 114, 117, 101, 0)
        length = 4
    elif buf[pos] == 102:
        word = (102, 97, 108, 115, 101)
        length = 5
    elif buf[pos] == 110:
        word = (110, 117, 108, 108, 0)
        length = 4
    else:
        return _number_end(buf, pos, end)
    if pos + length > end:
        return FAIL
    for k in range(length):
        if buf[pos + k] != word[k]:
            return FAIL
    return pos + length


@in_place
def _number_end(buf: Bytes, pos: int, end: int) -> int:
    """Behind a JSON number."""
    if pos < end and buf[pos] == MINUS:
        pos += 1
    start = pos
    while pos < end and ZERO <= buf[pos] <= NINE:
        pos += 1
    if pos == start or (buf[start] == ZERO and pos - start > 1):
        return FAIL
    if pos < end and buf[pos] == POINT:
        pos += 1
        start = pos
        while pos < end and ZERO <= buf[pos] <= NINE:
            pos += 1
        if pos == start:
            return FAIL
    if pos < end and buf[pos] | 32 == 101:
        pos += 1
        if pos < end and (buf[pos] == 43 or buf[pos] == MINUS):
            pos += 1
        start = pos
        while pos < end and ZERO <= buf[pos] <= NINE:
            pos += 1
        if pos == start:
            return FAIL
    return pos


@in_place
def skip_value(buf: Bytes, pos: int, end: int) -> int:
    """Behind any JSON value that starts at `pos`, at most 60 levels deep; FAIL if it is none.
    `nest` holds, a bit a level, whether the open container is an object."""
    nest = 0
    depth = 0
    while True:
        pos = blank(buf, pos, end)
        if pos >= end:
            return FAIL
        c = buf[pos]
        opened = False
        if c in (OPEN_BRACE, OPEN_BRACKET):
            if depth == 60:
                return FAIL
            nest = (nest << 1) | int(c == OPEN_BRACE)
            depth += 1
            pos = blank(buf, pos + 1, end)
            if pos >= end:
                return FAIL
            closer = CLOSE_BRACE if nest & 1 else CLOSE_BRACKET
            if buf[pos] != closer:
                opened = True
        elif c == QUOTE_MARK:
            pos = string_end(buf, pos + 1, end)
            if pos == FAIL:
                return FAIL
            pos += 1
        else:
            pos = _scalar_end(buf, pos, end)
            if pos == FAIL:
                return FAIL
        if not opened:
            # A value ended: close containers until one goes on.
            while depth > 0:
                pos = blank(buf, pos, end)
                if pos >= end:
                    return FAIL
                if buf[pos] == COMMA:
                    pos += 1
                    break
                if buf[pos] != (CLOSE_BRACE if nest & 1 else CLOSE_BRACKET):
                    return FAIL
                nest >>= 1
                depth -= 1
                pos += 1
            if depth == 0:
                return pos
        if nest & 1:  # inside an object: a key comes first
            pos = expect(buf, pos, end, QUOTE_MARK)
            if pos == FAIL:
                return FAIL
            pos = string_end(buf, pos, end)
            if pos == FAIL:
                return FAIL
            pos = expect(buf, pos + 1, end, COLON)
            if pos == FAIL:
                return FAIL


@in_place
def levels(
    buf: Bytes, pos: int, end: int, flat: NDArray[np.int64], at: int, room: int,
    tick_decimals: int, tick_units: int, lot_decimals: int, lot_units: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """(count, left out, how many came before the first of those, next position) of
    `[["price","size"], …]`; pairs are written to flat[at], flat[at+1], … Further elements of a
    level (spot once sent an empty list there) are skipped. Levels off the price grid are left out:
    orders that rest from before a tick size grew stay in the venue's book, far away (seen on
    CTKUSDT, July 2021), and no ladder of today's ticks can hold them. Those that say an order is
    gone (size 0) are not counted."""
    count = 0
    left_out = 0
    before = -1
    pos = expect(buf, pos, end, OPEN_BRACKET)
    if pos == FAIL:
        return 0, 0, 0, FAIL
    pos = blank(buf, pos, end)
    if pos < end and buf[pos] == CLOSE_BRACKET:
        return 0, 0, 0, pos + 1
    while True:
        pos = expect(buf, pos, end, OPEN_BRACKET)
        if pos == FAIL or count == room:
            return 0, 0, 0, FAIL
        pos = expect(buf, pos, end, QUOTE_MARK)
        if pos == FAIL:
            return 0, 0, 0, FAIL
        price, pos = decimal(buf, pos, end, tick_decimals, tick_units)
        on_grid = pos >= 0
        if not on_grid:
            if pos == FAIL:
                return 0, 0, 0, FAIL
            pos = behind(pos)
        elif price == 0:
            return 0, 0, 0, FAIL
        pos = expect(buf, pos, end, COMMA)
        if pos == FAIL:
            return 0, 0, 0, FAIL
        pos = expect(buf, pos, end, QUOTE_MARK)
        if pos == FAIL:
            return 0, 0, 0, FAIL
        size, pos = decimal(buf, pos, end, lot_decimals, lot_units)
        if pos < FAIL:
            pos = behind(pos)  # a remainder of less than a lot, as old: what can be traded counts
        if pos == FAIL:
            return 0, 0, 0, FAIL
        if on_grid:
            flat[at + 2 * count] = price
            flat[at + 2 * count + 1] = size
            count += 1
        elif size > 0:
            if left_out == 0:
                before = count
            left_out += 1
        pos = blank(buf, pos, end)
        while pos < end and buf[pos] == COMMA:
            pos = skip_value(buf, pos + 1, end)
            if pos == FAIL:
                return 0, 0, 0, FAIL
            pos = blank(buf, pos, end)
        if pos >= end or buf[pos] != CLOSE_BRACKET:
            return 0, 0, 0, FAIL
        pos = blank(buf, pos + 1, end)
        if pos >= end:
            return 0, 0, 0, FAIL
        if buf[pos] == CLOSE_BRACKET:
            return count, left_out, count if left_out == 0 else before, pos + 1
        if buf[pos] != COMMA:
            return 0, 0, 0, FAIL
        pos += 1
