"""foreshock.stores.archive_csv: every kind's files, whole and mutated, against a plain twin."""

from __future__ import annotations

import io
import random
from datetime import date

import pyarrow as pa
import pytest

from foreshock.errors import ArchiveError
from foreshock.stores.archive_csv import Reading, read_csv, stamps_ns
from foreshock.stores.archive_kinds import KINDS, Kind
from tests.reference.archive_csv import read_rows
from tests.reference.archive_server import agg_trades, klines

SYMBOL = "BTCUSDT"
DAY = date(2024, 3, 1)
NOISE = "0123456789.,-+eE \"'\nTrueFalsnat:"


def good_rows(kind: Kind) -> list[list[str]]:
    """Thirty rows of a kind, as the venue prints them."""
    if kind.name.endswith("lines"):
        return klines(DAY)[:30]
    if kind.name == "aggTrades":
        return [[*row, "True"] for row in agg_trades(DAY, 30)]
    at = [1_709_251_200_000 + 300_000 * i for i in range(30)]
    text = [f"2024-03-01 {i // 12:02d}:{5 * i % 60:02d}:00" for i in range(30)]
    if kind.name == "trades":
        return [[str(i), "1.5", "0.25", "0.375", str(at[i]), "false", "True"] for i in range(30)]
    if kind.name == "bookDepth":
        return [[text[i], f"{i % 5 - 2}.00", "12.5", "1e6"] for i in range(30)]
    if kind.name == "metrics":
        ratios = ["1.5", "", "0.9", "1"]
        return [[text[i], SYMBOL, "77.25", "5e9", *ratios] for i in range(30)]
    return [[str(at[i] + 3), "8", "-0.00010000"] for i in range(30)]


def mutated(text: str, rng: random.Random) -> str:
    """A few characters changed, dropped, doubled or put in."""
    out = list(text)
    for _ in range(rng.randrange(1, 9)):
        at = rng.randrange(len(out))
        what = rng.randrange(4)
        if what == 0:
            out[at] = rng.choice(NOISE.replace('"', "").replace("'", ""))
        elif what == 1:
            del out[at]
        elif what == 2:
            out.insert(at, rng.choice(NOISE.replace('"', "")))
        else:
            out.insert(at, out[at])
    return "".join(out)


def read(text: str, kind: Kind) -> tuple[list[tuple[object, ...]], Reading]:
    reading = Reading()
    stream = io.BytesIO(text.encode())
    tables = list(read_csv(stream, kind, SYMBOL, reading, headless=True))
    table = pa.concat_tables(tables) if tables else kind.schema.empty_table()
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True)), reading


@pytest.mark.parametrize("name", sorted(KINDS))
def test_good_files_are_read_as_the_twin_reads_them(name: str) -> None:
    kind = KINDS[name]
    text = "\n".join(",".join(row) for row in good_rows(kind)) + "\n"
    rows, reading = read(text, kind)
    assert rows == read_rows(text, kind, SYMBOL)[0]
    assert len(rows) == 30 and reading.bad_rows == 0


@pytest.mark.parametrize("name", sorted(KINDS))
def test_mutated_files_keep_the_rows_that_the_twin_keeps(name: str) -> None:
    kind, rng = KINDS[name], random.Random(name)
    text = "\n".join(",".join(row) for row in good_rows(kind)) + "\n"
    refused = 0
    for _ in range(150):
        changed = mutated(text, rng)
        rows, bad = read_rows(changed, kind, SYMBOL)
        try:
            found, reading = read(changed, kind)
        except ArchiveError:
            refused += 1  # the whole file, by name: never rows that are wrong
            continue
        assert found == rows, changed
        assert reading.bad_rows == bad, changed
    assert refused < 15


def test_headers_are_found_whatever_their_order_and_spelling() -> None:
    kind = KINDS["fundingRate"]
    text = "Last_Funding_Rate,calc_time,funding interval hours\n0.0001,1709251200000,8\n"
    reading = Reading()
    (table,) = read_csv(io.BytesIO(text.encode()), kind, SYMBOL, reading)
    assert table.to_pylist() == [
        {"event_ns": 1_709_251_200_000_000_000, "interval_h": 8, "rate": 0.0001}
    ]
    assert reading.header
    with pytest.raises(ArchiveError, match="lacks") as caught:
        list(read_csv(io.BytesIO(b"calc_time,last_funding_rate\n1,2\n"), kind, SYMBOL, Reading()))
    assert caught.value.reason == "columns"


def test_a_header_alone_and_nothing_at_all_hold_no_rows() -> None:
    kind = KINDS["fundingRate"]
    for body in (b"", b"\n", b"calc_time,funding_interval_hours,last_funding_rate\n"):
        assert sum(t.num_rows for t in read_csv(io.BytesIO(body), kind, SYMBOL, Reading())) == 0


def test_each_stamp_tells_its_own_unit() -> None:
    moment = 1_735_689_600
    given = [moment, moment * 10**3, moment * 10**6, moment * 10**9]
    values, units = stamps_ns(given)
    assert values.tolist() == [moment * 10**9] * 4
    assert units == {"s", "ms", "us", "ns"}


def test_no_number_that_is_none_gets_through() -> None:
    kind = KINDS["fundingRate"]
    text = "".join(f"1709251200000,8,{cell}\n" for cell in ("nan", "inf", "1e999", "", "0x1", "1"))
    rows, reading = read(text, kind)
    assert [row[2] for row in rows] == [1.0] and reading.bad_rows == 5
