"""Damage to a frame, seeded: what a broken proxy, a new field or a hostile sender might do."""

from __future__ import annotations

import random
import re

TOKENS = [
    b"null", b"true", b"false", b"-1", b"1e5", b"1.5", b"0", b"01", b"-0", b"NaN", b'""', b"[]",
    b"{}", b'"0"', b'"1."', b'".5"', b'"-1.00"', b'"1e3"', b'"0.00000000"', b'"0.005"', b'"00.01"',
    b'"100.000000000000000"', b"9223372036854775808", b"999999999999999999", b"1234567890123456789",
    b'"99999999999999999999.1"', b'"\\u0042TCUSDT"', b'"BTC\\/USDT"', b'"\\x"', b'[["1.00","1.0"]]',
    b'[["1.00"]]', b'[["1.00","1.000",[]]]', b'[[1.0,"1.0"]]', b'[["0.00","1.000"]]',
    b'[["1.005","1.000"],["1.00","0.0005"]]', b'{"a":[1,{"b":"}"}]}', b"[[[[[[[[]]]]]]]]",
    b'"MARKET"', b'"INSURANCE_FUND"', b'"depthUpdate"', b'"trade"', b'"bookTicker"', b'"kline"',
    b'"markPriceUpdate"', b'"forceOrder"', b'"1M"', b'"15m"', b'"0m"', b'"SELL"', b"-1.0", b"-01",
    b'"-0.00010000"', b'"9007199254740993"', b'"0.1000000000000000055"', b'"-0"', b"1700003700000",
    b'{"s":"BTCUSDT"}',
]  # fmt: skip
VALUE = re.compile(rb'(?<=:)("[^"]*"|-?[0-9.]+|true|false|null)')
KEY = re.compile(rb'"([A-Za-z]{1,2})":')


def mutate(frame: bytes, rng: random.Random) -> bytes:
    """One to three mutations of `frame`; one time in ten the frame itself."""
    if rng.random() < 0.1:
        return frame
    for _ in range(rng.choice((1, 1, 2, 3))):
        frame = rng.choice(MUTATIONS)(frame, rng)
    return frame


def _flip(frame: bytes, rng: random.Random) -> bytes:
    if not frame:
        return frame
    k = rng.randrange(len(frame))
    return frame[:k] + bytes([rng.randrange(256)]) + frame[k + 1 :]


def _structural(frame: bytes, rng: random.Random) -> bytes:
    k = rng.randrange(len(frame) + 1)
    return (
        frame[:k] + rng.choice([b'"', b",", b"{", b"}", b"[", b"]", b":", b"\\", b"0"]) + frame[k:]
    )


def _delete(frame: bytes, rng: random.Random) -> bytes:
    k = rng.randrange(len(frame) + 1)
    return frame[:k] + frame[k + rng.randint(1, 4) :]


def _truncate(frame: bytes, rng: random.Random) -> bytes:
    return frame[: rng.randrange(len(frame) + 1)]


def _blank(frame: bytes, rng: random.Random) -> bytes:
    k = rng.randrange(len(frame) + 1)
    return frame[:k] + rng.choice([b" ", b"\n", b"\t\r ", b"\x0b", b"\x00"]) + frame[k:]


def _token(frame: bytes, rng: random.Random) -> bytes:
    found = list(VALUE.finditer(frame))
    if not found:
        return frame
    match = rng.choice(found)
    return frame[: match.start()] + rng.choice(TOKENS) + frame[match.end() :]


def _rename(frame: bytes, rng: random.Random) -> bytes:
    found = list(KEY.finditer(frame))
    if not found:
        return frame
    match = rng.choice(found)
    name = rng.choice(
        [
            b"e",
            b"E",
            b"s",
            b"b",
            b"a",
            b"u",
            b"U",
            b"pu",
            b"X",
            b"zz",
            b"\\u0061",
            b"k",
            b"o",
            b"i",
            b"r",
            b"t",
            b"T",
            b"ap",
            b"S",
        ]
    )
    return frame[: match.start(1)] + name + frame[match.end(1) :]


def _new_member(frame: bytes, rng: random.Random) -> bytes:
    found = list(KEY.finditer(frame))
    if not found:
        return frame
    at = rng.choice(found).start()
    key = rng.choice([b"z", b"new", b"b", b"X", b"M", b"[", b"pu"])
    return frame[:at] + b'"' + key + b'":' + rng.choice(TOKENS) + b"," + frame[at:]


def _reorder(frame: bytes, rng: random.Random) -> bytes:
    """Move the symbol's member to the end of the payload, or the stream's name behind the data."""
    match = re.search(rb'"s":"[A-Z0-9]*",', frame)
    if match and rng.random() < 0.7:
        body = frame[: match.start()] + frame[match.end() :]
        end = body.rfind(b"}}") if body.endswith(b"}}") else body.rfind(b"}")
        return body[:end] + b"," + match[0][:-1] + body[end:]
    match = re.fullmatch(rb'\{("stream":"[^"]*"),("data":.*)\}', frame, re.DOTALL)
    return b"{" + match[2] + b"," + match[1] + b"}" if match else frame


MUTATIONS = [
    _flip, _structural, _delete, _truncate, _blank, _token, _token, _token, _rename, _new_member,
    _reorder,
]  # fmt: skip
