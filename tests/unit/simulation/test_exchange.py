"""The simulated exchange tells the truth about its own book, and the same truth every time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from decimal import Decimal

import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from foreshock.errors import InstrumentError, SequenceError
from foreshock.market.instruments import by_symbol, from_exchange_info
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from tests.reference.venue_book import VenueBook

SECOND_NS = 1_000_000_000
MARKETS = ["binance-spot", "binance-usdm"]


def _bytes(exchange: SimulatedExchange, cuts_s: list[float]) -> bytes:
    start = exchange.now_ns
    parts = [exchange.advance_buffer(start + int(cut * SECOND_NS)).data for cut in cuts_s]
    return b"".join(part.tobytes() for part in parts)


def _small(**changes: object) -> SimulationSettings:
    return SimulationSettings.model_validate({"symbols": 4, **changes})


@pytest.mark.parametrize("market", MARKETS)
def test_snapshot_and_diffs_joined_by_the_venues_rule_give_the_true_book(market: str) -> None:
    exchange = SimulatedExchange(_small(market=market, surge_interval_s=60.0))
    books = {symbol: VenueBook(market) for symbol in exchange.symbols}
    instruments = by_symbol(exchange.instruments())
    random = np.random.default_rng(3)
    compared = 0
    for step in range(400):
        for frame in exchange.advance(exchange.now_ns + int(random.integers(1, 600_000_000))):
            if frame.stream.startswith("depth"):
                books[frame.symbol].diff(orjson.loads(frame.body))
        if step in (5, 120, 240):  # joined three times, each at a random instant
            for symbol, book in books.items():
                book.snapshot(orjson.loads(exchange.depth(symbol)))
        if step in (5, 120, 240, 399):
            # The diff that tells the latest changes is up to one interval away.
            here = {symbol: exchange.book(symbol) for symbol in exchange.symbols}
            for symbol in books:
                snapshot = VenueBook(market)
                snapshot.snapshot(orjson.loads(exchange.depth(symbol)))
                one = instruments[symbol]
                unit = Decimal(one.tick_units).scaleb(-one.tick_decimals)
                lot = Decimal(one.lot_units).scaleb(-one.lot_decimals)
                for side, told in zip(here[symbol], snapshot.levels(), strict=True):
                    assert [(t * unit, q * lot) for t, q in side.tolist()] == told
                compared += 1
    last: dict[str, list[bytes]] = defaultdict(list)
    # Stop right behind a diff of each symbol: then the joined book must be the true one exactly.
    for symbol, book in books.items():
        while not last[symbol]:
            for frame in exchange.advance(exchange.now_ns + 200_000):
                if frame.stream.startswith("depth"):
                    books[frame.symbol].diff(orjson.loads(frame.body))
                    last[frame.symbol] = [frame.body] if frame.symbol == symbol else []
        snapshot = VenueBook(market)
        snapshot.snapshot(orjson.loads(exchange.depth(symbol)))
        if snapshot.snapshot_id == book.last_id:
            assert book.levels() == snapshot.levels()
            compared += 100
    assert compared >= 16 + 200


@pytest.mark.parametrize("market", MARKETS)
def test_the_book_never_crosses_and_book_ticker_tells_its_touch(market: str) -> None:
    exchange = SimulatedExchange(_small(market=market, edge=0.5, surge_interval_s=60.0))
    instruments = by_symbol(exchange.instruments())
    told: dict[str, tuple[Decimal, ...]] = {}
    for _ in range(1500):
        for frame in exchange.advance(exchange.now_ns + 100_000_000):
            if frame.stream == "bookTicker":
                data = orjson.loads(frame.body)
                told[frame.symbol] = tuple(Decimal(data[k]) for k in "bBaA")
        for symbol in exchange.symbols:
            bids, asks = exchange.book(symbol)
            assert len(bids) >= 2 and len(asks) >= 2
            assert bids[0, 0] < asks[0, 0]
            assert (np.diff(bids[:, 0]) < 0).all() and (np.diff(asks[:, 0]) > 0).all()
            assert (bids[:, 1] > 0).all() and (asks[:, 1] > 0).all()
            if symbol in told:
                one = instruments[symbol]
                unit = Decimal(one.tick_units).scaleb(-one.tick_decimals)
                lot = Decimal(one.lot_units).scaleb(-one.lot_decimals)
                (bid, bid_lots), (ask, ask_lots) = bids[0].tolist(), asks[0].tolist()
                assert told[symbol] == (bid * unit, bid_lots * lot, ask * unit, ask_lots * lot)
    assert set(told) == set(exchange.symbols)


def test_the_same_seed_gives_the_same_bytes_however_the_run_is_cut() -> None:
    settings = _small(surge_interval_s=60.0)
    whole = _bytes(SimulatedExchange(settings), [90.0])
    random = np.random.default_rng(5)
    cuts = [*np.sort(random.uniform(0, 90, 300)).tolist(), 90.0]
    assert _bytes(SimulatedExchange(settings), cuts) == whole
    assert _bytes(SimulatedExchange(settings), [90.0]) == whole


def test_another_seed_is_another_market() -> None:
    digests = {
        hashlib.sha256(_bytes(SimulatedExchange(_small(seed=seed)), [3.0])).hexdigest()
        for seed in range(8)
    }
    assert len(digests) == 8


def test_a_symbol_does_not_depend_on_the_others_nor_on_which_streams_are_told() -> None:
    def frames(settings: SimulationSettings) -> list[bytes]:
        exchange = SimulatedExchange(settings)
        got = exchange.advance(settings.start_ns + 20 * SECOND_NS)
        return [f.body for f in got if f.symbol == "ETHUSDT" and f.stream == "trade"]

    alone = frames(SimulationSettings(symbols=("ETHUSDT",), streams=("trade",)))
    assert alone and frames(_small()) == alone


def test_frames_come_in_the_order_of_their_time_and_the_views_agree() -> None:
    settings = _small(streams=("trade", "aggTrade", "depth", "bookTicker"))
    buffer = SimulatedExchange(settings).advance_buffer(settings.start_ns + 10 * SECOND_NS)
    frames = SimulatedExchange(settings).advance(settings.start_ns + 10 * SECOND_NS)
    assert (np.diff(buffer.event_ns) >= 0).all()
    assert b"".join(frame.wrapped for frame in frames) == buffer.data.tobytes()
    assert {frame.stream for frame in frames} == {"trade", "aggTrade", "depth@100ms", "bookTicker"}
    for frame in frames:
        wrapped = orjson.loads(frame.wrapped)
        assert wrapped["stream"] == f"{frame.symbol.lower()}@{frame.stream}"
        assert wrapped["data"] == orjson.loads(frame.body)
        assert settings.start_ns < frame.event_ns <= settings.start_ns + 10 * SECOND_NS
        assert wrapped["data"].get("E", frame.event_ns // 1_000_000) == frame.event_ns // 1_000_000


def test_trade_ids_and_update_ids_follow_each_other_without_a_hole() -> None:
    exchange = SimulatedExchange(_small())
    trades: dict[str, list[int]] = defaultdict(list)
    last: dict[str, int] = {}
    for frame in exchange.advance(exchange.now_ns + 30 * SECOND_NS):
        data = orjson.loads(frame.body)
        if frame.stream == "trade":
            trades[frame.symbol].append(data["t"])
        elif frame.stream.startswith("depth"):
            assert data["U"] <= data["u"]
            assert data["U"] == last.get(frame.symbol, data["U"] - 1) + 1
            last[frame.symbol] = data["u"]
        else:
            assert data["u"] >= last.get(frame.symbol, 0)
    assert set(trades) == set(exchange.symbols)
    for ids in trades.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_agg_trades_over_rest_are_those_of_the_stream() -> None:
    exchange = SimulatedExchange(_small(streams=("aggTrade",)))
    frames = exchange.advance(exchange.now_ns + 20 * SECOND_NS)
    streamed = [orjson.loads(f.body) for f in frames if f.symbol == "BTCUSDT"]
    answer = orjson.loads(exchange.agg_trades("BTCUSDT", limit=1000))
    assert [{k: trade[k] for k in "apqflTmM"} for trade in streamed] == answer
    middle = streamed[len(streamed) // 2]["T"]
    later = orjson.loads(exchange.agg_trades("BTCUSDT", start_ms=middle, limit=3))
    assert [t["a"] for t in later] == [t["a"] for t in streamed if t["T"] >= middle][:3]


def test_exchange_info_describes_the_instruments() -> None:
    for market in MARKETS:
        exchange = SimulatedExchange(SimulationSettings.model_validate({"market": market}))
        body = orjson.loads(exchange.exchange_info())
        assert from_exchange_info(body, market) == exchange.instruments()
        assert len(exchange.instruments()) == 20


def _rise_bps(exchange: SimulatedExchange, settings: SimulationSettings) -> list[float]:
    """How far the mid rose between onset and peak of each surge that is over."""
    mids: dict[int, dict[str, float]] = {}
    start = settings.start_ns
    for second in range(900):
        exchange.advance_buffer(start + second * SECOND_NS)
        mids[second] = {
            s: sum(side[0, 0] for side in exchange.book(s)) / 2 for s in exchange.symbols
        }
    out = []
    for surge in exchange.truth():
        begin = (int(surge["onset_ns"]) - start) // SECOND_NS
        end = (int(surge["peak_ns"]) - start) // SECOND_NS + 1
        if end < 900:
            name = exchange.symbols[surge["symbol"]]
            rise = np.log(mids[end][name] / mids[begin][name]) * 1e4
            out.append(float(rise - surge["size_bps"]))
    return out


def test_a_planted_surge_moves_the_book_by_its_size() -> None:
    settings = _small(surge_interval_s=120.0)
    excess = _rise_bps(SimulatedExchange(settings), settings)
    assert len(excess) >= 8
    # The fair price wanders by ~0.6 bps per root second beside the surge, and what earlier surges
    # left goes back meanwhile.
    assert abs(float(np.median(excess))) < 25
    assert max(map(abs, excess)) < 90


def _flow(settings: SimulationSettings, seconds: int) -> tuple[float, float, float, int]:
    """(share of aggressive buys in the 10 s before a surge, the share far from surges, trades per
    second before a surge as a multiple of those far from it, surges)."""
    exchange = SimulatedExchange(settings)
    trades: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for second in range(0, seconds, 60):
        for frame in exchange.advance(settings.start_ns + (second + 60) * SECOND_NS):
            trades[frame.symbol].append((frame.event_ns, b'"m":false' in frame.body))
    truth = exchange.truth()
    before: list[bool] = []
    far: list[bool] = []
    before_s = far_s = 0
    for s, symbol in enumerate(exchange.symbols):
        mine = truth[truth["symbol"] == s]
        kind = np.zeros(seconds, dtype=np.int8)  # by second: 0 far, 1 before, 2 neither
        for surge in mine:
            onset = int(surge["onset_ns"] - settings.start_ns) // SECOND_NS
            peak = int(surge["peak_ns"] - settings.start_ns) // SECOND_NS
            kind[max(0, onset - 30) : peak + 10] = 2
        for surge in mine:
            onset = int(surge["onset_ns"] - settings.start_ns) // SECOND_NS
            kind[max(0, onset - 10) : onset] = 1
        before_s += int((kind == 1).sum())
        far_s += int((kind == 0).sum())
        for at_ns, buy in trades[symbol]:
            which = kind[min(seconds - 1, (at_ns - settings.start_ns) // SECOND_NS)]
            if which != 2:
                (before if which else far).append(buy)
    pace = (len(before) / before_s) / (len(far) / far_s)
    return float(np.mean(before)), float(np.mean(far)), pace, len(truth)


def test_order_flow_shows_a_precursor_and_in_a_null_market_none() -> None:
    shape = {"symbols": 8, "streams": ["trade"], "surge_interval_s": 120.0}
    before, far, pace, surges = _flow(SimulationSettings.model_validate(shape), 900)
    assert surges > 30
    assert before - far > 0.12
    assert pace > 1.5
    shape["edge"] = 0.0
    before, far, pace, surges = _flow(SimulationSettings.model_validate(shape), 900)
    assert surges > 30
    assert abs(before - far) < 0.05
    assert 0.8 < pace < 1.25


def test_a_null_market_announces_nothing_and_jumps_both_ways() -> None:
    settings = _small(edge=0.0, surge_interval_s=60.0)
    exchange = SimulatedExchange(settings)
    exchange.advance_buffer(settings.start_ns + 600 * SECOND_NS)
    truth = exchange.truth()
    assert len(truth) > 10 and (truth["precursor_ns"] == 0).all()
    assert len(exchange.false_precursors()) == 0


def test_some_precursors_are_false_so_that_precision_stays_below_one() -> None:
    settings = SimulationSettings.model_validate({"surge_interval_s": 60.0, "streams": ["depth"]})
    exchange = SimulatedExchange(settings)
    for minute in range(15):
        exchange.advance_buffer(settings.start_ns + (minute + 1) * 60 * SECOND_NS)
    real, false = len(exchange.truth()), len(exchange.false_precursors())
    assert 0.15 < false / (real + false) < 0.35


def test_truth_is_told_when_a_surge_has_started_and_not_at_all_if_it_shall_not() -> None:
    settings = _small(surge_interval_s=60.0)
    exchange = SimulatedExchange(settings)
    seen = 0
    for second in range(1, 241):
        exchange.advance_buffer(settings.start_ns + second * SECOND_NS)
        truth = exchange.truth()
        assert (truth["onset_ns"] <= exchange.now_ns).all()
        assert len(truth) >= seen
        seen = len(truth)
    assert seen > 3
    quiet = SimulatedExchange(settings.model_copy(update={"reveal_truth": False}))
    quiet.advance_buffer(settings.start_ns + 240 * SECOND_NS)
    assert len(quiet.truth()) == 0 and len(quiet.false_precursors()) == 0


def test_wrong_use_is_refused() -> None:
    exchange = SimulatedExchange(_small())
    with pytest.raises(InstrumentError, match="NOSUCH"):
        exchange.depth("NOSUCH")
    exchange.advance_buffer(exchange.now_ns + SECOND_NS)
    with pytest.raises(SequenceError):
        exchange.advance_buffer(exchange.now_ns - 1)
    for wrong in ({"symbols": []}, {"symbols": ["btc/usdt"]}, {"surge_bps": [9, 3]}, {"sead": 1}):
        with pytest.raises(ValidationError):
            SimulationSettings.model_validate(wrong)


def test_more_symbols_than_names_get_invented_ones() -> None:
    exchange = SimulatedExchange(SimulationSettings.model_validate({"symbols": 30}))
    assert exchange.symbols[0] == "BTCUSDT" and exchange.symbols[-1] == "SIM30USDT"
    got = exchange.advance_buffer(exchange.now_ns + 2 * SECOND_NS)
    assert set(got.symbol.tolist()) == set(range(30))
