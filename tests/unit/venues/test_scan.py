"""The JSON letters, each against Python's own reading of the same bytes."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from foreshock.venues import scan
from tests.reference.frames import MalformedError, Number, on_grid, parse
from tests.reference.mutations import mutate

FAIL = scan.FAIL


def as_bytes(text: str | bytes) -> np.ndarray:
    raw = text.encode() if isinstance(text, str) else text
    return np.frombuffer(raw, np.uint8)


def skipped(text: str | bytes) -> bool:
    """Whether the whole of `text` is one JSON value, white space around it allowed."""
    buf = as_bytes(text)
    pos = scan.skip_value(buf, 0, len(buf))
    return pos != FAIL and scan.blank(buf, pos, len(buf)) == len(buf)


@pytest.mark.parametrize(
    "text",
    ['{}', '[]', '""', '"a\\u00e9\\n\\""', "0", "-0", "12.50", "1e5", "1E-05", "-1.5e+3", "true",
     "false", "null", '[1,"x",[{"a":[]}],{}]', '{"a":{"b":[1,2,{"c":null}]},"d":"}]"}',
     ' [ 1 , { "a" : "b" } ] '],
)  # fmt: skip
def test_json_values_are_skipped_whole(text: str) -> None:
    assert skipped(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "[", "{", "[1", "[1,]", '{"a":1,}', '{"a"}', '{"a":}', "{1:2}", "[1 2]", "01", "1.",
     ".5", "-", "+1", "1e", "1e+", "tru", "True", "nul", "NaN", "Infinity", '"', '"\\x"', '"\\u12"',
     '"\\u12g4"', '"a\nb"', '"\\', "[}", '{"a":1]', "[1]]", "--1", "'a'", "1-"],
)  # fmt: skip
def test_what_is_no_json_fails(text: str) -> None:
    assert not skipped(text)


def test_values_may_be_nested_sixty_deep_and_no_deeper() -> None:
    assert skipped("[" * 60 + "]" * 60)
    assert not skipped("[" * 61 + "]" * 61)
    assert skipped('{"a":' * 60 + "1" + "}" * 60)


def test_damaged_values_are_skipped_exactly_where_python_reads_them() -> None:
    rng = random.Random(5)
    whole = [
        b'{"a":[1,-2.5e3,{"b":"c\\"d\\u0041"},null,true],"e":{},"f":[[],[{}]]}',
        b'[["1.0","2.0"],["3.0","0.0",[]]]',
        b'{"p":"1.0","q":1.25,"m":false}',
    ]
    read = 0
    for _ in range(4_000):
        text = mutate(rng.choice(whole), rng)
        try:
            parse(text)
            good = True
        except MalformedError:
            good = False
        assert skipped(text) == good, text
        read += good
    assert 500 < read < 3_500


def test_every_reader_stops_at_the_end_it_is_given() -> None:
    """The bytes behind `end` would change every answer, were they looked at."""
    buf = as_bytes('12345"67.5","x":[]}')
    assert scan.integer(buf, 0, 3) == (123, 3)
    assert scan.decimal(buf, 6, 9, 1, 1)[1] == FAIL
    assert scan.string_end(buf, 0, 5) == FAIL
    assert scan.skip_value(as_bytes("[1,2]"), 0, 4) == FAIL
    assert scan.skip_value(as_bytes("true"), 0, 3) == FAIL
    assert scan.expect(as_bytes("  {"), 0, 2, scan.OPEN_BRACE) == FAIL


@pytest.mark.parametrize("text", ["0", "7", "10", "999999999999999999"])
def test_integers_are_read(text: str) -> None:
    buf = as_bytes(text + ",")
    assert scan.integer(buf, 0, len(buf)) == (int(text), len(text))


@pytest.mark.parametrize("text", ["", "-1", "+1", "01", "1.0", "1e5", "1E5", "1234567890123456789"])
def test_what_is_no_integer_of_ours_fails(text: str) -> None:
    buf = as_bytes(text + ",")
    assert scan.integer(buf, 0, len(buf))[1] == FAIL


@pytest.mark.parametrize(
    ("text", "decimals", "units", "steps"),
    [("28145.10", 1, 1, 281451), ("28145", 1, 1, 281450), ("0.00000001", 8, 1, 1), ("7", 0, 1, 7),
     ("7.000", 0, 1, 7), ("0.05", 2, 5, 1), ("12.5", 1, 25, 5), ("0", 2, 1, 0),
     ("007.10", 1, 1, 71),
     ("1.10000000000000000000000", 1, 1, 11), ("999999999999999999", 0, 1, 999999999999999999)],
)  # fmt: skip
def test_decimals_become_whole_steps(text: str, decimals: int, units: int, steps: int) -> None:
    buf = as_bytes(text + '",')
    assert scan.decimal(buf, 0, len(buf), decimals, units) == (steps, len(text) + 1)


@pytest.mark.parametrize("text", ["", ".5", "5.", "-1", "1e3", " 1", "1 ", "1.2.3", "١"])
def test_what_is_no_plain_decimal_fails(text: str) -> None:
    buf = as_bytes(text + '",')
    assert scan.decimal(buf, 0, len(buf), 2, 1)[1] == FAIL


def test_numbers_off_the_grid_are_floored_and_told_apart_from_nonsense() -> None:
    for text, decimals, units, steps in (("1.005", 2, 1, 100), ("0.07", 2, 5, 1), ("0.5", 0, 1, 0)):
        buf = as_bytes(text + '"')
        value, pos = scan.decimal(buf, 0, len(buf), decimals, units)
        assert (value, scan.behind(pos)) == (steps, len(buf))
        assert pos < FAIL


def test_random_decimals_are_read_as_exact_arithmetic_reads_them() -> None:
    rng = random.Random(8)
    for _ in range(3_000):
        decimals, units = rng.randint(0, 8), rng.choice([1, 1, 5, 25, 100])
        text = str(rng.randint(0, 10 ** rng.randint(1, 12)))
        if rng.random() < 0.8:
            text += "." + "".join(rng.choice("0001234567890") for _ in range(rng.randint(1, 11)))
        buf = as_bytes(text + '"')
        value, pos = scan.decimal(buf, 0, len(buf), decimals, units)
        try:
            assert (value, pos >= 0) == on_grid(text, decimals, units)
        except MalformedError:
            assert pos == FAIL


def test_levels_keep_their_order_and_count_what_was_left_out() -> None:
    buf = as_bytes(
        '[["1.01","2.0"] , ["1.005","1.0",[]],["1.02","0.05", {"x":[1]}, 2],["1.025","0.0"]]}'
    )
    flat = np.full(8, -7, np.int64)
    assert scan.levels(buf, 0, len(buf), flat, 2, 3, 2, 1, 1, 1) == (2, 1, 1, len(buf) - 1)
    assert flat.tolist() == [-7, -7, 101, 20, 102, 0, -7, -7]


def test_levels_never_write_beyond_their_room() -> None:
    buf = as_bytes('[["1.01","2.0"],["1.02","1.0"]]')
    flat = np.full(8, -7, np.int64)
    assert scan.levels(buf, 0, len(buf), flat, 0, 1, 2, 1, 1, 1)[3] == FAIL
    assert flat[2:].tolist() == [-7] * 6


def test_the_twin_reads_what_python_reads() -> None:
    text = b'{"a":[1,2.5,"x",true,null],"b":{"c":"d"}}'
    assert json.loads(text) == {"a": [1, 2.5, "x", True, None], "b": {"c": "d"}}
    assert parse(text).get("a") == [Number("1"), Number("2.5"), "x", True, None]
