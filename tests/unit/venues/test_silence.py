"""Rates of streams: what is learned, and that real thin pairs are never called silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foreshock.market.clock import SECOND_NS
from foreshock.market.jit import kernel
from foreshock.market.rows import CONNECTED, REASON_SILENT
from foreshock.replay.driver import tape_of
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance import BOOK_FAMILY, TAPE_FAMILY, BinanceSession
from foreshock.venues.silence import (
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    STREAMS,
    TAPE_FLOOR_NS,
    TAPE_STREAM,
    heard,
    limits_ns,
    new_rates,
    silent,
)
from tests.reference.frames import lines_of
from tests.reference.silence import RateTwin

FLOOR = 5 * SECOND_NS
NOW = 1_700_000_000 * SECOND_NS


@kernel
def _heard(rates: np.ndarray, s: int, stream: int, arrivals: np.ndarray) -> None:
    for arrival_ns in arrivals:
        heard(rates, s, stream, arrival_ns)


def limit_s(gaps_s: np.ndarray, stream: int = TAPE_STREAM) -> float:
    """The limit of a stream behind these gaps."""
    rates = new_rates(1, FLOOR)
    arrivals = NOW + np.cumsum(np.concatenate([[0], gaps_s]) * SECOND_NS).astype(np.int64)
    _heard(rates, 0, stream, arrivals)
    return float(limits_ns(rates)[0, stream] / SECOND_NS)


def test_an_unknown_stream_has_four_floors_and_a_known_busy_one_its_floor() -> None:
    floor_s = TAPE_FLOOR_NS / SECOND_NS
    assert limit_s(np.zeros(0)) == pytest.approx(4 * floor_s, rel=1e-6)
    assert limit_s(np.full(12_000, 0.1)) == pytest.approx(floor_s, rel=1e-6)


def test_a_regular_slow_stream_is_silent_after_eight_of_its_gaps() -> None:
    assert limit_s(np.full(400, 20.0)) == pytest.approx(160, rel=0.01)


def test_bursts_with_pauses_are_judged_by_their_pauses() -> None:
    """A thousand trades in a second, then a minute of nothing: the mean gap says 60 ms."""
    burst = np.concatenate([np.full(1_000, 0.001), [60.0]])
    assert limit_s(np.tile(burst, 40)) > 300


def test_poisson_streams_of_any_rate_are_never_called_silent() -> None:
    rng = np.random.default_rng(3)
    for mean_s in (0.05, 1.0, 10.0, 60.0):
        rates, gaps = new_rates(1, FLOOR), rng.exponential(mean_s, 5_000)
        at = NOW
        for gap_s in gaps:
            _heard(rates, 0, TAPE_STREAM, np.array([at]))
            at += int(gap_s * SECOND_NS)
            assert not silent(rates, at).any()


@pytest.mark.parametrize("seed", range(5))
def test_any_gaps_give_the_limits_of_the_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = (10 ** rng.uniform(0, 12.5, 300)).astype(np.int64)
    rates, twin = new_rates(1, FLOOR), RateTwin(TAPE_FLOOR_NS)
    at = NOW
    for gap in gaps.tolist():
        at += gap
        assert silent(rates, at)[0, TAPE_STREAM] == twin.silent(at)
        _heard(rates, 0, TAPE_STREAM, np.array([at]))
        twin.heard(at)
        assert limits_ns(rates)[0, TAPE_STREAM] == twin.limit() * 1_024


def test_an_outage_is_learned_up_to_the_limit_only() -> None:
    usual = np.full(3_000, 1.0)
    assert limit_s(np.append(usual, 86_400.0)) < 2 * limit_s(usual)


def test_a_liquidation_is_never_silent_a_mark_after_ten_seconds_and_nothing_unconnected_is() -> (
    None
):
    rates = new_rates(2, FLOOR)
    for stream in range(STREAMS):
        _heard(rates, 0, stream, np.array([NOW]))
    found = silent(rates, NOW + 10 * SECOND_NS + 10_000)
    assert np.flatnonzero(found[0]).tolist() == [MARK_STREAM] and not found[1].any()
    century = silent(rates, NOW + 100 * 365 * 86_400 * SECOND_NS // 4)
    assert not century[0, LIQUIDATION_STREAM] and century[0, DEPTH_STREAM]


@pytest.mark.recordings
@pytest.mark.parametrize("floor_s", [5, 15])
def test_on_recorded_thin_pairs_nothing_false_is_raised(recordings: Path, floor_s: int) -> None:
    """Every recorded session with a timer a second: no book or tape is STALE, no stream that
    speaks at all is named before the session ends."""
    folder = recordings / "ws_raw/cryptofeed"
    pairs = 0
    for path in sorted(folder.glob("*")):
        if "http" in path.name or ".ws." in path.name:
            continue
        given = read_raw_session([path])
        session = BinanceSession(
            given.instruments, tape=tape_of(given.events), stale_after_ns=floor_s * SECOND_NS
        )
        at_ns = given.events[0].arrival_ns
        session.start(at_ns)
        symbols = [i.symbol for i in given.instruments]
        session.connection(1, CONNECTED, BOOK_FAMILY | TAPE_FAMILY, symbols, 0, at_ns)
        for event in given.events:
            while event.arrival_ns > at_ns + SECOND_NS:
                at_ns += SECOND_NS
                assert not [e for e in lines_of(session.timer(at_ns)) if e.d == REASON_SILENT]
            if event.kind == "frame":
                session.receive([event.body], np.array([event.arrival_ns]))
            elif event.kind == "depth":
                session.receive_snapshot(event.symbol, event.body, 1000, event.arrival_ns)
        assert not [s for s in session.silent() if "markPrice" not in s], path.name
        pairs += len(symbols)
    assert pairs > 40
