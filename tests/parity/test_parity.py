"""The first promise: the same bits live, in replay and in training, however the input was cut."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import orjson
import pytest

from foreshock.engine.outcomes import Boundary
from foreshock.engine.step import Engine
from foreshock.market import ladder as books
from foreshock.market.clock import boundary_after
from foreshock.market.instruments import SPOT, USDM
from foreshock.market.rows import (
    BOOK,
    EPOCH,
    REASON_RANGE,
    RESYNCING,
    SYNCED,
    Rows,
    empty_rows,
    heads,
)
from foreshock.replay.driver import distrust, replay, rows_of_raw
from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.raw_sessions import RawEvent
from foreshock.stores.recordings import RecordingWriter, open_recording
from foreshock.venues.binance import BinanceSession
from tests.reference.tape import a_session_of_rows, bits, cut_anywhere, run

SECOND = 1_000_000_000
MARKETS = (SPOT, USDM)


@pytest.fixture(scope="module", params=MARKETS)
def input_of(request: pytest.FixtureRequest) -> tuple[list, Rows, list]:
    """(instruments, rows, what one engine says of them at once): with losses, cuts and silence."""
    venue, rows = a_session_of_rows(120, seed=6, market=request.param)
    at = heads(rows)
    epochs = rows[at][(rows["kind"][at] == EPOCH) & (rows["c"][at] == BOOK)]
    assert len(epochs) > 12 and {int(r) for r in epochs["d"]} >= {0, 1, 2, 3, 4, 5}
    return venue.instruments(), rows, bits(Engine(venue.instruments()).feed(rows))


@pytest.mark.parametrize("most", [1, 3, 40, 1_000])
def test_any_cut_of_the_rows_gives_the_same_bits(input_of, most: int) -> None:  # type: ignore[no-untyped-def]
    instruments, rows, whole = input_of
    for seed in range(3):
        engine = Engine(instruments)
        assert bits(run(engine, cut_anywhere(rows, random.Random(seed), most))) == whole


def test_a_restore_in_mid_stream_gives_the_same_bits(input_of) -> None:  # type: ignore[no-untyped-def]
    instruments, rows, whole = input_of
    rng, at = random.Random(3), heads(rows)
    for place in sorted(rng.sample(range(1, len(at)), 12)):
        engine = Engine(instruments)
        before = engine.feed(rows[: at[place]])
        blob = engine.snapshot()
        engine.feed(rows[at[place] :])  # the snapshot is a copy: this leaves no trace in it
        other = Engine(instruments)
        other.restore(blob)
        assert bits(before + other.feed(rows[at[place] :])) == whole


def test_what_comes_later_changes_nothing_that_was_said(input_of) -> None:  # type: ignore[no-untyped-def]
    """Rows behind a boundary are removed, replaced by another market's and scrambled."""
    instruments, rows, whole = input_of
    rng, at = np.random.default_rng(5), heads(rows)
    other = a_session_of_rows(120, seed=99)[1]
    other_at = heads(other)
    for boundary in range(10, 120, 17):
        b = whole[boundary][0]
        first = at[np.searchsorted(rows["arrival_ns"][at], b)]
        head = rows[:first]
        closing = empty_rows(1)
        closing["kind"], closing["symbol"], closing["arrival_ns"] = 6, -1, b
        closing["seq"] = int(rows["seq"][first])
        tail = other[other_at[np.searchsorted(other["arrival_ns"][other_at], b)] :].copy()
        tail["seq"][heads(tail)] += 10**9
        for column in "abcd":
            trades = np.flatnonzero(
                (tail["kind"] == 1) & np.isin(np.arange(len(tail)), heads(tail))
            )
            tail[column][trades] = rng.integers(1, 10**6, len(trades))
        for later in (closing, tail):
            found = bits(Engine(instruments).feed(np.concatenate([head, later])))
            assert found[boundary][0] == b
            assert [each[3:] for each in found[: boundary + 1]] == [
                each[3:] for each in whole[: boundary + 1]
            ]
        assert found[boundary + 1 :] != whole[boundary + 1 :]


def test_a_recording_replays_to_the_same_bits(input_of, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    instruments, rows, whole = input_of
    writer = RecordingWriter(tmp_path / "r", instruments, {})
    engine, said = Engine(instruments), []
    for k, piece in enumerate(cut_anywhere(rows, random.Random(4), 900)):
        writer.write(piece)
        said += engine.feed(piece)
        if k == 1:
            writer.write_snapshot(engine.last_seq, engine.snapshot())
    assert bits(said) == whole
    recording = open_recording(tmp_path / "r")
    assert recording.instruments == instruments
    assert bits(run(Engine(instruments), recording.rows(500))) == whole
    (seq, blob) = next(recording.snapshots())
    late = Engine(instruments)
    late.restore(blob)
    found = bits(run(late, recording.rows(777, after_seq=seq)))
    assert 0 < len(found) < len(whole) and found == whole[-len(found) :]


# A live shell: micro-batches of whatever arrived, snapshots when they came, timers when they could.


class LiveShell:
    """Drives session and engine as a watcher does: it looks at its sockets every now and then, asks
    for snapshots, hands back what the engine distrusts, and keeps what it fed to the engine."""

    def __init__(self, exchange: SimulatedExchange, seed: int) -> None:
        self.exchange, self.rng = exchange, random.Random(seed)
        self.session = BinanceSession(exchange.instruments())
        self.engine = Engine(exchange.instruments())
        self.rows: list[Rows] = []
        self.events: list[RawEvent] = []
        self.said: list[Boundary] = []

    def _feed(self, rows: Rows) -> None:
        if len(rows):
            self.rows.append(rows)
            self.said += self.engine.feed(rows)

    def run(self, seconds: int, meddle: bool) -> None:
        """`meddle`: sockets lose frames, and a book is distrusted."""
        now = self.exchange.now_ns
        end, boundary = now + seconds * SECOND, boundary_after(now, SECOND)
        self._feed(self.session.start(now))
        answers: list[tuple[int, str, bytes]] = []
        while now < end:
            now = min(now + self.rng.randint(1, 400) * 1_000_000, end, boundary)
            frames = self.exchange.advance(now)
            if meddle:
                frames = [f for f in frames if self.rng.random() > 0.002]
            bodies = [f.wrapped for f in frames]
            for f in frames:
                self.events.append(
                    RawEvent(
                        f.event_ns, "frame", f.symbol, f.wrapped, self.exchange.settings.market
                    )
                )
            self._feed(
                self.session.receive(bodies, np.array([f.event_ns for f in frames], np.int64))
            )
            for due, symbol, body in [a for a in answers if a[0] <= now]:
                answers.remove((due, symbol, body))
                self._feed(self.session.receive_snapshot(symbol, body, 1000, now))
                self.events.append(
                    RawEvent(now, "depth", symbol, body, self.exchange.settings.market)
                )
            if now == boundary:
                self._feed(self.session.timer(now))
                boundary += SECOND
            if meddle and self.rng.random() < 0.01:
                symbol = self.rng.choice(self.exchange.symbols)
                self._feed(self.session.resync(symbol, REASON_RANGE, now))
            for rows in distrust(self.engine, self.session, now):
                self._feed(rows)
            for request in self.session.wanted():
                due = now + self.rng.randint(0, 900) * 1_000_000
                answers.append((due, request.symbol, self.exchange.depth(request.symbol)))


def a_shell(market: str, seed: int, meddle: bool) -> LiveShell:
    settings = SimulationSettings(seed=seed, market=market, symbols=3)  # type: ignore[arg-type]
    shell = LiveShell(SimulatedExchange(settings), seed)
    shell.run(40, meddle)
    return shell


@pytest.mark.parametrize("market", MARKETS)
def test_a_live_shell_equals_the_replay_of_its_raw_frames(market: str) -> None:
    """The driver stamps a snapshot where the shell did; only the numbers of rows may differ."""
    shell = a_shell(market, 5, meddle=False)
    for batch in (1, 7, 256):
        session = BinanceSession(shell.exchange.instruments())
        engine = Engine(shell.exchange.instruments())
        found = list(replay(engine, rows_of_raw(session, shell.events, batch=batch)))
        said = {b.boundary_ns: each for b, each in zip(shell.said, bits(shell.said), strict=True)}
        both = [each for each in bits(found) if each[0] in said]
        assert len(both) >= 38
        for each in both:
            assert each[3:] == said[each[0]][3:]
    assert all((b.book_state == 1).all() for b in shell.said[-20:])


@pytest.mark.parametrize("market", MARKETS)
def test_a_live_shell_equals_the_replay_of_its_recorded_rows(market: str, tmp_path: Path) -> None:
    """With lost frames, resyncs and distrusted books, across a restore in the middle."""
    shell = a_shell(market, 8, meddle=True)
    assert max(b.book_epoch.max() for b in shell.said) > 2
    assert any((b.book_state == RESYNCING).any() for b in shell.said[5:])
    writer = RecordingWriter(tmp_path / "r", shell.exchange.instruments(), {})
    for k in range(0, len(shell.rows), 50):
        writer.write(np.concatenate(shell.rows[k : k + 50]))
    recording = open_recording(tmp_path / "r")
    for batch in (64, 5_000):
        assert bits(run(Engine(recording.instruments), recording.rows(batch))) == bits(shell.said)
    rows = np.concatenate(list(recording.rows()))
    assert rows.tobytes() == np.concatenate(shell.rows).tobytes()


@pytest.mark.parametrize("market", MARKETS)
def test_the_ladder_of_a_live_shell_is_the_exchanges_own_book(market: str) -> None:
    """Whenever both stand at the same update id, within what the snapshot showed."""
    shell = a_shell(market, 21, meddle=True)
    compared = {symbol: 0 for symbol in shell.exchange.symbols}
    now = shell.exchange.now_ns
    for _ in range(400):
        now += 5_000_000
        frames = shell.exchange.advance(now)
        stamps = np.array([f.event_ns for f in frames], np.int64)
        rows = shell.session.receive([f.wrapped for f in frames], stamps)
        shell.engine.feed(rows)
        for s, symbol in enumerate(shell.exchange.symbols):
            known = orjson.loads(shell.exchange.depth(symbol, 5))["lastUpdateId"]
            if shell.session.states()[s, 0] != SYNCED or shell.session.book_id(symbol) != known:
                continue
            low, high = shell.engine.ladder.info[s, [books.I_KNOWN_LOW, books.I_KNOWN_HIGH]]
            for side, true in enumerate(shell.exchange.book(symbol)):
                mine = books.levels(shell.engine.ladder, s, side)
                for levels in (true, mine):
                    assert len(levels) > 5
                inside = [x[(x[:, 0] >= low) & (x[:, 0] <= high)] for x in (mine, true)]
                np.testing.assert_array_equal(*inside)
            compared[symbol] += 1
    assert sum(n > 0 for n in compared.values()) >= 2
