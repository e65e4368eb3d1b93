"""Watcher, feed and local exchange together, over real sockets on loopback and without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from actors.keeper import Said
from actors.local_exchange import LocalExchange, LocalExchangeSettings
from actors.plan import WatchPlan, shared_out
from actors.venue import fetch_instruments
from actors.watcher import Watcher
from foreshock.engine.outcomes import Boundary
from foreshock.market.instruments import BYBIT, Instrument
from foreshock.market.overload import OverloadSettings
from foreshock.market.rows import CONTROL, CONTROL_VENUE, FALLBACK, Rows, heads
from foreshock.models.base import Domain
from foreshock.replay.driver import tape_of
from foreshock.simulation.faults import Fault
from foreshock.simulation.settings import SimulationSettings
from foreshock.stores.raw_sessions import read_raw_session
from foreshock.venues.binance_wire import BinanceWire
from foreshock.venues.fallback import SwitchRule
from foreshock.venues.wire import Wire
from tests.reference.bybit_server import BybitServer, open_bybit

PATIENCE_S = 60.0


@asynccontextmanager
async def watching(
    settings: LocalExchangeSettings, tape: str = "trade", wire: Wire | None = None, **plan
):
    """A watcher of everything that a local exchange lists, until the block is left."""
    exchange = LocalExchange(settings)
    await exchange.start()
    market = exchange.source.market
    listed = await asyncio.to_thread(fetch_instruments, market, exchange.rest_url)
    source = "binance" if settings.recording else "simulation"
    watcher = Watcher(
        WatchPlan(
            name="w", instruments=tuple(listed), tape=tape, ws_url=exchange.ws_url,
            rest_url=exchange.rest_url, domain=Domain(source=source, market=market, tier="book"),
            **{"snapshots_per_s": 50.0, **plan},
        ),
        wire=wire,
    )  # fmt: skip
    life = asyncio.create_task(watcher.run())
    try:
        yield watcher, exchange
    finally:
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life
        await exchange.stop()


async def until(what: Callable[[], object], life: Watcher) -> None:
    """Wait until `what` is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.05)


def books(watcher: Watcher) -> dict[str, tuple[str, int]]:
    found = watcher.status()["symbols"]
    return {s: (entry["book"], entry["book_epoch"]) for s, entry in found.items()}


def synced(watcher: Watcher) -> bool:
    return all(state == "SYNCED" for state, _ in books(watcher).values())


def simulated(market: str = "binance-spot") -> LocalExchangeSettings:
    return LocalExchangeSettings(simulation=SimulationSettings(symbols=3, market=market))


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_books_join_and_boundaries_close(market: str) -> None:
    async def main() -> None:
        async with watching(simulated(market)) as (watcher, _):
            await until(lambda: synced(watcher) and watcher.status()["boundaries"] >= 2, watcher)
            status = watcher.status()
            assert status["frames_by_outcome"]["malformed"] == 0
            assert status["vectors"] == 3 * status["boundaries"]
            assert status["rows"] > status["frames"] > 0

    asyncio.run(main())


def test_a_cut_socket_is_opened_again_and_its_books_come_back() -> None:
    async def main() -> None:
        async with watching(simulated()) as (watcher, exchange):
            await until(lambda: synced(watcher), watcher)
            exchange.inject(Fault(kind="cut"))
            await until(
                lambda: synced(watcher) and all(e == 2 for _, e in books(watcher).values()), watcher
            )
            assert watcher.status()["sockets"][0]["reconnects"] == 1

    asyncio.run(main())


def test_a_socket_that_is_subscribed_but_silent_is_noticed() -> None:
    async def main() -> None:
        async with watching(simulated(), silent_after_s=1.0) as (watcher, exchange):
            await until(lambda: synced(watcher), watcher)
            exchange.inject(Fault(kind="silence", count=10**9))
            await until(lambda: watcher.status()["sockets"][0]["reconnects"] >= 1, watcher)
            await until(lambda: not synced(watcher), watcher)
            exchange.inject(Fault(kind="silence", count=0))
            await until(lambda: synced(watcher), watcher)

    asyncio.run(main())


@pytest.mark.parametrize("market", ["binance-spot", "binance-usdm"])
def test_sockets_that_are_renewed_before_their_time_change_no_epoch(market: str) -> None:
    wire = BinanceWire(market)
    wire.lifetime_s = 2.0  # a day, in miniature
    tape = "trade" if market == "binance-spot" else "aggTrade"

    async def main() -> None:
        async with watching(simulated(market), tape, wire) as (watcher, _):
            await until(lambda: synced(watcher), watcher)
            await until(
                lambda: all(s["renewals"] >= 2 for s in watcher.status()["sockets"]), watcher
            )
            status = watcher.status()
            assert books(watcher) == dict.fromkeys(watcher.plan.symbols, ("SYNCED", 1))
            assert {said["tape_epoch"] for said in status["symbols"].values()} == {1}
            assert all(s["reconnects"] == 0 for s in status["sockets"])
            assert status["frames_by_outcome"]["malformed"] == 0

    asyncio.run(main())


def test_what_an_overloaded_watcher_gives_up_is_told_and_its_books_stay() -> None:
    async def main() -> None:
        async with watching(simulated()) as (watcher, _):
            await until(lambda: synced(watcher), watcher)
            assert watcher.status()["shedding"] == "nothing"
            # Nothing is as late as that, and everything is later than nothing.
            watcher._patience = OverloadSettings((0.0, 0.0), hold_ns=0, leave_ms=-1.0)
            await until(lambda: watcher.status()["shedding"] == "slow", watcher)
            assert watcher.keeper.shedding and not watcher.feed.rest.polling
            boundaries = watcher.status()["boundaries"]
            await until(lambda: watcher.status()["boundaries"] >= boundaries + 2, watcher)
            assert synced(watcher) and {epoch for _, epoch in books(watcher).values()} == {1}
            watcher._patience = OverloadSettings((1e9, 1e9), leave_ms=1e9, calm_ns=0)
            await until(lambda: watcher.status()["shedding"] == "nothing", watcher)
            assert watcher.feed.rest.polling and not watcher.keeper.shedding

    asyncio.run(main())


def of_bybit(bybit: BybitServer, symbols: tuple[str, ...]) -> WatchPlan:
    return WatchPlan(
        name="w", instruments=tuple(Instrument.of(s, BYBIT, "0.1", "0.1") for s in symbols),
        ws_url=bybit.ws_url, rest_url=bybit.rest_url,
        domain=Domain(source="bybit", market=BYBIT, tier="book"),
    )  # fmt: skip


def test_a_venue_that_sends_snapshots_over_the_socket_is_watched_and_resynced() -> None:
    async def main() -> None:
        async with open_bybit() as bybit:
            watcher = Watcher(of_bybit(bybit, ("AAAUSDT", "BBBUSDT")))
            life = asyncio.create_task(watcher.run())
            try:
                await until(lambda: synced(watcher), watcher)
                subscribed = bybit.subscribed
                bybit.skip.add("BBBUSDT")
                await until(lambda: books(watcher)["BBBUSDT"] == ("SYNCED", 2), watcher)
                assert books(watcher)["AAAUSDT"] == ("SYNCED", 1)
                assert bybit.subscribed > subscribed  # that stream, on the socket that is open
                assert watcher.status()["sockets"][0]["reconnects"] == 0
                await until(lambda: watcher.ears.active.offset_ns, watcher)
            finally:
                life.cancel()
                with suppress(asyncio.CancelledError):
                    await life

    asyncio.run(main())


def test_while_the_primary_is_down_a_fallback_is_listened_to_and_marked_and_left_again() -> None:
    async def main() -> None:
        async with open_bybit() as bybit:
            await scene(bybit)

    async def scene(bybit: BybitServer) -> None:
        spot = LocalExchange(simulated())
        await spot.start()
        reborn: LocalExchange | None = None
        listed = await asyncio.to_thread(fetch_instruments, "binance-spot", spot.rest_url)
        fallback = of_bybit(bybit, tuple(instrument.symbol for instrument in listed))
        plan = WatchPlan(
            name="w", instruments=tuple(listed), ws_url=spot.ws_url, rest_url=spot.rest_url,
            snapshots_per_s=50.0, fallbacks=(fallback,),
            domain=Domain(source="simulation", market="binance-spot", tier="book"),
        )  # fmt: skip
        kept: list[Rows] = []
        closed: list[Boundary] = []
        watcher = Watcher(plan, rule=SwitchRule(down_after_s=1.0, back_after_s=2.0))
        watcher.keeper.rows = kept.append  # type: ignore[method-assign]
        watcher._judge = closed.append  # type: ignore[method-assign]
        life = asyncio.create_task(watcher.run())
        try:
            await until(lambda: synced(watcher), watcher)
            assert not watcher.status()["fallback"] and not bybit.sockets
            await spot.stop()
            await until(lambda: watcher.status()["fallback"] and synced(watcher), watcher)
            said = watcher._message(Said(closed[-1]))
            assert said.domain == fallback.domain
            assert said.symbols == fallback.symbols and len(said.boundary.vectors) == 3
            reborn = LocalExchange(spot.settings.model_copy(update={"port": spot.port}))
            await reborn.start()
            await until(lambda: not watcher.status()["fallback"] and synced(watcher), watcher)
            await until(lambda: not bybit.sockets, watcher)
        finally:
            life.cancel()
            with suppress(asyncio.CancelledError):
                await life
            if reborn is not None:
                await reborn.stop()
        rows = np.concatenate(kept)
        rows = rows[heads(rows)]
        of_one = rows[rows["symbol"] >= 0]
        of_fallback = of_one["symbol"] >= 3
        assert of_fallback.any()
        assert (((of_one["flags"] & FALLBACK) != 0) == of_fallback).all()
        assert (np.diff(rows["seq"]) == 1).all() and (np.diff(rows["arrival_ns"]) >= 0).all()
        switches = rows[(rows["kind"] == CONTROL) & (rows["a"] == CONTROL_VENUE)]
        assert switches["b"].tolist() == [1, 0]

    asyncio.run(main())


@pytest.mark.recordings
def test_a_recorded_session_is_watched_like_a_live_one(recordings: Path) -> None:
    files = [str(recordings / "ws_raw" / "hftbacktest" / "usdm" / "btcusdt_20230404.dat.gz")]
    played = LocalExchangeSettings(recording=files, speed=10.0, begin="first_subscriber")

    async def main() -> None:
        async with watching(played) as (watcher, _):
            await until(lambda: synced(watcher), watcher)
            await until(lambda: watcher.status()["frames"] > 5_000, watcher)
            status = watcher.status()
            assert books(watcher) == {"BTCUSDT": ("SYNCED", 1)}
            assert status["frames_by_outcome"]["malformed"] == 0
            assert status["domain"] == "binance/binance-usdm/book"

    asyncio.run(main())


@pytest.mark.recordings
def test_a_recording_without_a_snapshot_stays_resyncing_while_its_tape_goes_on(
    recordings: Path,
) -> None:
    path = recordings / "ws_raw" / "hftbacktest" / "spot" / "btcusdt_20230405.dat.gz"
    played = LocalExchangeSettings(recording=[str(path)], speed=20.0, begin="first_subscriber")
    tape = tape_of(read_raw_session(path).events)

    async def main() -> None:
        async with watching(played, tape) as (watcher, _):
            await until(lambda: watcher.status()["boundaries"] >= 13, watcher)
            assert books(watcher) == {"BTCUSDT": ("RESYNCING", 1)}
            names = watcher.engine.layout.names
            (boundary,) = watcher.engine.feed(watcher.session.timer(watcher.clock.now_ns() + 10**9))
            vector = dict(zip(names, boundary.vectors[0].tolist(), strict=True))
            assert vector["flow_imbalance_10s"] == vector["flow_imbalance_10s"]
            assert vector["spread_bps"] != vector["spread_bps"]

    asyncio.run(main())


def test_shares_hold_every_symbol_once_and_split_the_snapshot_budget() -> None:
    exchange = SimulationSettings(symbols=7)
    from foreshock.simulation.exchange import SimulatedExchange

    plan = WatchPlan(
        name="w", instruments=tuple(SimulatedExchange(exchange).instruments()),
        domain=Domain(source="simulation", market="binance-spot", tier="book"), ws_url="ws://x",
        rest_url="http://x", snapshots_per_s=6.0,
    )  # fmt: skip
    shares = shared_out(plan, 3)
    assert sorted(s for share in shares for s in share.symbols) == sorted(plan.symbols)
    assert [share.snapshots_per_s for share in shares] == [2.0, 2.0, 2.0]
    assert len(shared_out(plan, 20)) == 7
