"""Context enters every session by one door, numbered and stamped like any other input."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock.engine.step import Engine
from foreshock.errors import RowError
from foreshock.features.settings import FeatureSettings
from foreshock.market.context import CONTEXT_VALUE
from foreshock.market.instruments import BYBIT, SPOT, Instrument
from foreshock.market.rows import ALL, CONTEXT, CONTEXT_LEADER, CONTEXT_RETURN_RANK, FALLBACK
from foreshock.replay.tap import Tap, rows_of_journal
from foreshock.stores.journal import entries_of, to_table
from foreshock.venues.fallback import FallbackSession
from foreshock.venues.registry import venue_of

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
SYMBOLS = ("BTCUSDT", "ETHUSDT")
TOLD = np.array(
    [(ALL, CONTEXT_LEADER, 64_000.5), (1, CONTEXT_RETURN_RANK, 0.25)], CONTEXT_VALUE
).tobytes()


def instruments(market: str) -> list[Instrument]:
    return [Instrument.of(symbol, market, "0.01", "0.001") for symbol in SYMBOLS]


def session_of(market: str):
    return venue_of(market).session(instruments(market))


@pytest.mark.parametrize("market", [SPOT, BYBIT])
def test_context_goes_on_with_the_numbers_and_never_steps_back_in_time(market: str) -> None:
    session = session_of(market)
    first = session.start(NOW)
    rows = session.context(NOW - SECOND, NOW - 5, TOLD, NOW - 3)  # stamped by a slower clock
    after = session.timer(NOW + 1)
    whole = np.concatenate([first, rows, after])
    assert (np.diff(whole["seq"]) == 1).all() and (np.diff(whole["arrival_ns"]) >= 0).all()
    assert rows["kind"].tolist() == [CONTEXT] * 2
    assert set(rows["id"]) == {NOW - 5} and set(rows["id2"]) == {NOW - SECOND}
    assert Engine(instruments(market), FeatureSettings(families=("context",))).feed(whole) == []
    with pytest.raises(RowError):
        session.context(NOW, NOW, TOLD[:-1], NOW)


def test_of_several_venues_context_is_of_the_one_that_is_listened_to() -> None:
    session = FallbackSession(session_of(SPOT), [session_of(BYBIT)])
    session.start(NOW)
    rows = session.context(NOW, NOW, TOLD, NOW + 1)
    assert rows["symbol"].tolist() == [ALL, 1] and not rows["flags"].any()
    later = NOW + 60 * SECOND  # nobody connected to the first for so long
    last = session.timer(later)
    assert session.active == 1
    rows = session.context(NOW, NOW, TOLD, later + 1)
    assert rows["symbol"].tolist() == [ALL, 3] and (rows["flags"] == FALLBACK).all()
    assert rows["seq"][0] == last["seq"][-1] + 1


def test_the_journal_gives_the_same_context_again() -> None:
    tap = Tap(session_of(SPOT))
    made = [tap.start(NOW), tap.context(NOW, NOW + 1, TOLD, NOW + 2), tap.timer(NOW + SECOND)]
    part = tap.take()
    assert part is not None
    again = [rows for _, rows in rows_of_journal(session_of(SPOT), entries_of(to_table(part)))]
    assert np.concatenate(again).tobytes() == np.concatenate(made).tobytes()
