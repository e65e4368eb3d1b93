"""What the venue really sent: every recorded session through the live code, against dicts and JSON.

The recordings are others' (see the `recordings` fixture); where there are none, these tests say so.
"""

from __future__ import annotations

import functools
import json
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.instruments import Instrument
from foreshock.market.rows import DEPTH, QUOTE, RESYNCING, SYNCED, Rows, as_words, heads
from foreshock.replay.driver import replay, rows_of_raw, tape_of
from foreshock.stores.raw_sessions import RawSession, read_raw_session
from foreshock.venues.binance import BinanceSession
from tests.reference.frames import FrameTwin, lines_of
from tests.reference.mutations import mutate
from tests.reference.tape import bits, cut_anywhere, run

pytestmark = pytest.mark.recordings

HFT, FEED = "ws_raw/hftbacktest", "ws_raw/cryptofeed"
USDM_2023 = (f"{HFT}/usdm/btcusdt_20230404.dat.gz", f"{HFT}/usdm/btcusdt_20230405.dat.gz")
BTC_2024 = (f"{HFT}/usdm/btcusdt_20240718.gz", f"{HFT}/usdm/btcusdt_20240719.gz")
ETH_2024 = (f"{HFT}/usdm/ethusdt_20240718.gz", f"{HFT}/usdm/ethusdt_20240719.gz")
SPOT_2023 = (f"{HFT}/spot/btcusdt_20230405.dat.gz",)
THIN = tuple(
    (f"{FEED}/{name}",)
    for name in (
        "2021-04-17_3525dc8c__BINANCE.0.gz",
        "2021-04-17_3525dc8c__BINANCE_FUTURES.0.gz",
        "2021-04-17_3525dc8c__BINANCE_US.0.gz",
        "2021-09-14_cca7f121__BINANCE.0.gz",
        "2021-09-14_cca7f121__BINANCE_US.0.gz",
        "2021-11-03_906605df__BINANCE.0.gz",
        "2021-11-03_906605df__BINANCE_FUTURES.0.gz",
        "2021-11-03_906605df__BINANCE_US.0.gz",
        "2026-08-09_57d5f18d__BINANCE.jsonl.zst",
        "2026-08-09_57d5f18d__BINANCE_FUTURES.jsonl.zst",
        "2026-08-09_57d5f18d__BINANCE_US.jsonl.zst",
    )
)
WITH_SNAPSHOT = (USDM_2023, BTC_2024, ETH_2024, *THIN)
ALL = (*WITH_SNAPSHOT, SPOT_2023)


def name_of(paths: tuple[str, ...]) -> str:
    return Path(paths[0]).name.removesuffix(".gz")


@functools.cache
def _read(paths: tuple[Path, ...]) -> RawSession:
    return read_raw_session(list(paths))


def raw(recordings: Path, paths: tuple[str, ...]) -> RawSession:
    return _read(tuple(recordings / path for path in paths))


def session_of(given: RawSession) -> BinanceSession:
    return BinanceSession(given.instruments, tape=tape_of(given.events))


class DictBook:
    """A book of decimal prices from the venue's JSON alone, no ids looked at."""

    def __init__(self, instrument: Instrument) -> None:
        self.tick, self.lot = (
            Decimal(units).scaleb(-decimals)
            for units, decimals in (
                (instrument.tick_units, instrument.tick_decimals),
                (instrument.lot_units, instrument.lot_decimals),
            )
        )
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def apply(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, size, *_ in levels:
                ticks = Decimal(price) / self.tick
                if ticks != int(ticks):
                    continue
                if lots := int(Decimal(size) / self.lot):
                    side[int(ticks)] = lots
                else:
                    side.pop(int(ticks), None)


def compare(engine: Engine, s: int, book: DictBook) -> None:
    info = engine.ladder.info[s]
    low, high = info[books.I_KNOWN_LOW], info[books.I_KNOWN_HIGH]
    for side, levels in enumerate(book.sides):
        mine = [
            (t, q) for t, q in books.levels(engine.ladder, s, side).tolist() if low <= t <= high
        ]
        true = sorted(((t, q) for t, q in levels.items() if low <= t <= high), reverse=side == 0)
        assert mine == true


@pytest.mark.parametrize("paths", WITH_SNAPSHOT, ids=name_of)
def test_rebuilt_books_are_the_dict_books_and_never_cross(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    """Compared every 1 000 frames and at the end."""
    given = raw(recordings, paths)
    session, engine = session_of(given), Engine(given.instruments)
    index = {i.symbol: s for s, i in enumerate(given.instruments)}
    dicts = [DictBook(i) for i in given.instruments]
    engine.feed(session.start(given.events[0].arrival_ns))
    frames: list[bytes] = []
    seen: list[tuple[int, int, list[list[str]], list[list[str]]]] = []  # symbol, u, bids, asks
    compared = 0

    def flush(now: int) -> None:
        nonlocal compared
        rows = session.receive(frames, np.full(len(frames), now, np.int64))
        frames.clear()
        engine.feed(rows)
        for s, book in enumerate(dicts):
            if session.states()[s, 0] == SYNCED:
                compare(engine, s, book)
                compared += 1
        assert not engine.distrusted()
        assert not engine.ladder.info[:, books.I_CROSSED].any()

    for event in given.events:
        if event.kind == "depth":
            flush(event.arrival_ns)
            body = json.loads(event.body)
            book = dicts[index[event.symbol]] = DictBook(given.instruments[index[event.symbol]])
            book.apply(body["bids"], body["asks"])
            for s, u, bids, asks in seen:
                if s == index[event.symbol] and u > body["lastUpdateId"]:
                    book.apply(bids, asks)
            engine.feed(session.receive_snapshot(event.symbol, event.body, 1000, event.arrival_ns))
        elif event.kind == "frame":
            frames.append(event.body)
            if b'"depthUpdate"' in event.body:
                data = json.loads(event.body)["data"]
                s = index[data["s"]]
                if session.states()[s, 0] != SYNCED:
                    seen.append((s, data["u"], data["b"], data["a"]))
                elif data["u"] > session.book_id(data["s"]):
                    dicts[s].apply(data["b"], data["a"])
            if len(frames) == 1_000:
                flush(event.arrival_ns)
    flush(given.events[-1].arrival_ns)
    assert compared >= len(given.instruments)
    assert (session.states()[:, :2] == [SYNCED, 1]).all()


@pytest.mark.parametrize("paths", ALL, ids=name_of)
def test_every_recorded_frame_reads_as_its_json_reads(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    """The first 6 000 frames of each session, rows and outcomes; and none is malformed."""
    given = raw(recordings, paths)
    session = session_of(given)
    twin = FrameTwin(given.instruments, given.market, session.tape)
    session.start(given.events[0].arrival_ns)
    twin.start()
    counts: dict[str, int] = dict.fromkeys(session.counts, 0)
    for event in given.events[:6_000]:
        if event.kind == "frame":
            rows = session.receive([event.body], np.array([event.arrival_ns]))
            outcome, lines = twin.read(event.body, event.arrival_ns)
            assert lines_of(rows) == lines, event.body
            counts[outcome] += 1
        elif event.kind == "depth":
            s = next(k for k, i in enumerate(given.instruments) if i.symbol == event.symbol)
            rows = session.receive_snapshot(event.symbol, event.body, 1000, event.arrival_ns)
            read = twin.snapshot(s, event.body)
            assert read is not None and twin.books[s].snapshot(read[0]) == (len(rows) > 0)
            if len(rows):
                line = lines_of(rows)[0]
                assert (line.id, line.bids, line.asks) == read
    assert session.counts == counts
    bad = ("malformed", "oversized", "unknown_symbol", "bad_number", "answer")
    assert not any(counts[name] for name in bad)
    assert counts["ok"] > 100


@pytest.mark.parametrize("paths", (*WITH_SNAPSHOT, SPOT_2023), ids=name_of)
def test_no_recorded_frame_is_bad_and_no_stream_has_a_gap(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    given = raw(recordings, paths)
    session = session_of(given)
    list(rows_of_raw(session, given.events))
    counts = session.counts
    assert not any(
        counts[name] for name in ("malformed", "oversized", "unknown_symbol", "bad_number")
    )
    assert (session.states()[:, 1:] == 1).all()


def test_best_quotes_are_the_books_best_prices_at_equal_update_ids(recordings: Path) -> None:
    agreed = 0
    for paths in WITH_SNAPSHOT:
        given = raw(recordings, paths)
        session = session_of(given)
        ladder = books.init(len(given.instruments))
        quotes: dict[tuple[int, int], list[int]] = {}
        for rows in rows_of_raw(session, given.events, batch=512):
            agreed += _agreements(rows, ladder, quotes)
    assert agreed > 10_000


def _agreements(rows: Rows, ladder: books.Ladder, quotes: dict[tuple[int, int], list[int]]) -> int:
    words, touch = as_words(rows), books.empty_touch(len(rows))
    agreed = 0
    for head in heads(rows).tolist():
        row = rows[head]
        s, stop = int(row["symbol"]), head + 1 + int(row["count"])
        books.scan(words, touch, head, stop, 2**62, ladder)
        if s < 0:
            continue
        info = ladder.info[s]
        if row["kind"] == QUOTE:
            quotes[s, int(row["id"])] = [int(row[name]) for name in "abcd"]
        if row["kind"] in (QUOTE, DEPTH) and info[books.I_STATE] == SYNCED:
            quote = quotes.get((s, int(info[books.I_DEPTH_ID])))
            if quote is not None:
                best = [*ladder.top[s, 0, 0].tolist(), *ladder.top[s, 1, 0].tolist()]
                assert best == quote
                agreed += 1
    return agreed


@pytest.mark.parametrize("paths", [SPOT_2023, BTC_2024[1:]], ids=name_of)
def test_a_book_without_a_snapshot_stays_resyncing_while_the_tape_goes_on(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    given = raw(recordings, paths)
    engine = Engine(given.instruments)
    said = list(replay(engine, rows_of_raw(session_of(given), given.events)))
    needs = np.array([spec.needs for spec in engine.layout])
    assert all((b.book_state == RESYNCING).all() for b in said)
    assert all(np.isnan(b.bill_inputs["bid"]).all() for b in said)
    assert not any(b.warm[:, needs == "book"].any() for b in said)
    last = said[-2]
    warm = np.array([spec.warmup_s < len(said) - 2 for spec in engine.layout])
    known = np.isfinite(last.vectors[0][warm & (needs == "tape")])
    assert known.mean() > 0.95  # some are quotients by what did not happen
    assert last.bill_inputs["last"][0] > 0


def test_a_trade_of_the_insurance_fund_is_no_price_and_no_gap(recordings: Path) -> None:
    given = raw(recordings, USDM_2023)
    session = session_of(given)
    engine = Engine(given.instruments)
    said = list(replay(engine, rows_of_raw(session, given.events)))
    assert session.counts["no_trade"] == 1
    lasts = np.array([b.bill_inputs["last"][0] for b in said])
    assert np.nanmax(lasts) < 28_500  # it was booked at 28 722.50, 2 % off the market
    assert {int(b.tape_epoch[0]) for b in said} == {1}


@pytest.mark.parametrize("paths", [ETH_2024[:1], THIN[0], THIN[1]], ids=name_of)
def test_a_recorded_session_gives_the_same_bits_however_it_is_cut(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    given = raw(recordings, paths)
    whole = np.concatenate(list(rows_of_raw(session_of(given), given.events, batch=10**6)))
    said = bits(Engine(given.instruments).feed(whole))
    for batch in (1, 7, 256):
        batches = list(rows_of_raw(session_of(given), given.events, batch=batch))
        assert np.concatenate(batches).tobytes() == whole.tobytes()
        assert bits(run(Engine(given.instruments), batches)) == said
    rng = random.Random(1)
    assert bits(run(Engine(given.instruments), cut_anywhere(whole, rng))) == said
    engine, found = Engine(given.instruments), []
    for k, piece in enumerate(cut_anywhere(whole, rng, 2_000)):
        found += engine.feed(piece)
        if k % 3 == 0:
            blob, engine = engine.snapshot(), Engine(given.instruments)
            engine.restore(blob)
    assert bits(found) == said


@pytest.mark.parametrize("paths", [SPOT_2023, ETH_2024[:1], THIN[0], THIN[1]], ids=name_of)
def test_damaged_recorded_frames_give_what_their_json_gives(
    recordings: Path, paths: tuple[str, ...]
) -> None:
    given = raw(recordings, paths)
    rng = random.Random(13)
    frames = [event.body for event in given.events if event.kind == "frame"]
    outcomes = set()
    for k in range(1_500):
        if k % 100 == 0:
            session = session_of(given)
            twin = FrameTwin(given.instruments, given.market, session.tape)
            session.start(1)
            twin.start()
        frame = mutate(rng.choice(frames), rng)
        rows = session.receive([frame], np.array([k + 1]))
        outcome, lines = twin.read(frame, k + 1)
        assert lines_of(rows) == lines, frame
        outcomes.add(outcome)
        assert session.counts[outcome] > 0
    assert {"ok", "malformed", "unknown_symbol"} <= outcomes
