"""`foreshock audit faults`: everything that can go wrong does, and no book may lie about it."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from cluster.options import Json
from cluster.output import Answer, answer
from foreshock.errors import ConfigError

if TYPE_CHECKING:
    from actors.local_exchange import LocalExchange
    from cluster.fault_witness import Witness
    from foreshock.simulation.faults import Step

STALE_AFTER_S: Final = 3.0
LIFETIME_S: Final = 20.0  # a venue's day in miniature
SOCKETS: Final = 8
SETTLE_S: Final = 240.0  # patience until all books stand: 200 snapshots pass a minute's weight
INSTRUMENTS_EVERY_S: Final = 1.0
MOST_GROWTH_MB: Final = 400.0
ROOM: Final = 0.3  # of the weight in use, at most, when faults begin


def audit_faults(
    symbols: Annotated[int, typer.Option("--symbols", min=4, help="Emulated pairs.")] = 200,
    seconds: Annotated[
        float, typer.Option("--seconds", min=5, help="How long faults come.")
    ] = 60.0,
    market: Annotated[
        str, typer.Option("--market", help="binance-spot or binance-usdm.")
    ] = "binance-spot",
    seed: Annotated[int, typer.Option("--seed", help="Of the market and of the faults.")] = 1,
    per_second: Annotated[float, typer.Option("--per-second", help="Faults told a second.")] = 1.0,
    json: Json = False,
) -> None:
    """Prove that no fault makes a book lie: a watcher against an exchange that does everything
    wrong, over real sockets.

    Every boundary's SYNCED books are compared with the true book of the same update id, and at
    the end, with the market at rest, level by level with the exchange's own. Exit code 1: a book
    was wrong or too old while SYNCED, one symbol's fault changed another's epoch, the weight limit
    was passed, or something did not come back."""

    def work() -> Answer:
        from foreshock.market.instruments import SPOT, USDM

        if market not in (SPOT, USDM):
            raise ConfigError(f"--market {market}: {SPOT} or {USDM}")
        document = campaign(symbols, seconds, market, seed, per_second)

        def show(console: Console) -> None:
            console.print(
                f"{document['told']} faults struck {document['hits']} times on {symbols} symbols:"
                f" {document['boundaries']} boundaries, {document['compared']} books compared,"
                f" {document['wrong_while_synced']} wrong, {document['old_while_synced']} too old;"
                f" {document['final_equal']} of {document['final_books']} final books equal",
                soft_wrap=True,
            )
            for line in document["failures"]:
                console.print(line, soft_wrap=True)

        return Answer(document, show, passed=not document["failures"])

    answer(work, json)


def campaign(
    symbols: int, seconds: float, market: str, seed: int, per_second: float = 1.0
) -> dict[str, Any]:
    """Run it: what was done, what was found, and `failures`, a line each."""
    from foreshock.replay.warm import warm_live

    warm_live()
    return asyncio.run(_campaign(symbols, seconds, market, seed, per_second))


async def _campaign(
    symbols: int, seconds: float, market: str, seed: int, per_second: float
) -> dict[str, Any]:
    from actors.exchange_settings import LocalExchangeSettings
    from actors.local_exchange import LocalExchange
    from actors.plan import WatchPlan
    from cluster.fault_witness import Witness, WitnessedSource
    from foreshock.market.clock import Clock
    from foreshock.models.base import Domain
    from foreshock.simulation.faults import plan_of
    from foreshock.simulation.settings import SimulationSettings
    from foreshock.venues.binance_wire import BinanceWire

    simulation = SimulationSettings.model_validate(
        {"symbols": symbols, "market": market, "seed": seed, "start_ns": Clock().now_ns(),
         "regime_s": 60.0}
    )  # fmt: skip
    settings = LocalExchangeSettings(simulation=simulation, lifetime_s=LIFETIME_S, fault_seed=seed)
    source = WitnessedSource(simulation)
    exchange = LocalExchange(settings, source)
    await exchange.start()
    wire = BinanceWire(market)
    wire.lifetime_s = LIFETIME_S
    plan = WatchPlan(
        name="faults",
        instruments=tuple(source.exchange.instruments()),
        domain=Domain(source="simulation", market=market, tier="book"),
        ws_url=exchange.ws_url,
        rest_url=exchange.rest_url,
        stale_after_s=STALE_AFTER_S,
        silent_after_s=STALE_AFTER_S * 2,
        snapshots_per_s=50.0,
        symbols_per_socket=max(1, -(-symbols // SOCKETS)),
    )
    witness = Witness(plan, wire, source.books, STALE_AFTER_S)
    life = asyncio.create_task(witness.run())
    lists = asyncio.create_task(_follow_list(exchange, witness))
    steps = plan_of(seed, source.symbols, seconds, per_second)
    try:
        began_s = time.monotonic()
        opened = await _until(lambda: witness.synced() == symbols, life, SETTLE_S)
        synced_s = time.monotonic() - began_s
        # Faults must find weight to be healed with: the start of many books spends a minute's.
        await _until(lambda: witness.weight_share() < ROOM, life, SETTLE_S)
        cpu_s, began_s, frames = time.process_time(), time.monotonic(), witness.feed.frames
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        witness.begin()
        await _play(exchange, steps, seconds, life)
        exchange.faults.end()
        settled_s = time.monotonic()
        settled = await _until(lambda: witness.synced() == symbols, life, SETTLE_S)
        settled_s = time.monotonic() - settled_s
        wall_s = time.monotonic() - began_s
        cpu_s = time.process_time() - cpu_s
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
        frames = witness.feed.frames - frames
        lists.cancel()  # a list that tells of the rest would take the books away
        for symbol in source.symbols:
            source.halt(symbol, 3600.0)
        await asyncio.sleep(1.0)
        final = witness.final(source.exchange)
    finally:
        for task in (life, lists):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await exchange.stop()
    facts, status = exchange.faults.facts(), exchange.status()
    by_kind: dict[str, dict[str, int]] = {}
    for fact in facts:
        entry = by_kind.setdefault(fact["kind"], {"told": 0, "hits": 0})
        entry["told"] += 1
        entry["hits"] += fact["hits"]
    victims = {fact["symbol"] for fact in facts if fact["symbol"]}
    for told in exchange.faults.log:
        victims |= told.touched
    bystanders = [symbol for symbol in source.symbols if symbol not in victims]
    moved = {s: n for s, n in witness.epochs_since().items() if n and s in bystanders}
    rest = status["rest"]
    document: dict[str, Any] = {
        "symbols": symbols, "market": market, "seed": seed, "seconds": round(wall_s, 1),
        "told": len(facts), "hits": sum(fact["hits"] for fact in facts), "by_kind": by_kind,
        "boundaries": witness.boundaries, "compared": witness.compared,
        "unknown": witness.unknown,
        "wrong_while_synced": len(witness.wrong), "old_while_synced": len(witness.old),
        "final_books": symbols, "final_equal": final["equal"],
        "bystanders": len(bystanders), "bystanders_moved": moved,
        "epochs": sum(witness.epochs_since().values()),
        "weight_1m": rest["most_weight_1m"], "weight_limit_1m": rest["limit_1m"],
        "cut_for_age": status["cut_for_age"],
        "reconnects": sum(line["reconnects"] for line in witness.feed.status()),
        "renewals": sum(line["renewals"] for line in witness.feed.status()),
        "frames": frames, "frames_per_s": round(frames / wall_s),
        "cpu_cores": round(cpu_s / wall_s, 3),
        "first_synced_s": round(synced_s, 1), "settled_s": round(settled_s, 1),
        "grown_mb": round(grown / 1024, 1),
    }  # fmt: skip
    missed = [kind for kind, entry in by_kind.items() if not entry["hits"]]
    checks = {
        f"wrong while SYNCED: {witness.wrong[:3]}": bool(witness.wrong),
        f"too old while SYNCED: {witness.old[:3]}": bool(witness.old),
        f"final books differ: {final['differ'][:5]}": final["equal"] != symbols,
        f"epochs of others moved: {moved}": bool(moved),
        f"weight {rest['most_weight_1m']} above {rest['limit_1m']}": (
            rest["most_weight_1m"] > rest["limit_1m"]
        ),
        f"books did not come back within {SETTLE_S} s": not settled,
        f"memory grew by {document['grown_mb']} MB": document["grown_mb"] > MOST_GROWTH_MB,
        f"faults that never struck: {missed}": bool(missed),
        "nothing was compared": witness.compared == 0,
        f"books did not stand within {SETTLE_S} s at the start": not opened,
    }
    document["failures"] = [text for text, failed in checks.items() if failed]
    return document


async def _until(what: Any, life: asyncio.Task[None], most_s: float) -> bool:
    """Whether `what` came true in time. Raises what the watcher raised."""
    end_s = time.monotonic() + most_s
    while not what():
        await asyncio.wait([life], timeout=0.05)
        if life.done():
            life.result()
        if time.monotonic() > end_s:
            return False
    return True


async def _play(
    exchange: LocalExchange, steps: list[Step], seconds: float, life: asyncio.Task[None]
) -> None:
    """Tell the faults at their moments, and let the last ones run out."""
    began_s = time.monotonic()
    for step in steps:
        await asyncio.wait([life], timeout=max(0.0, began_s + step.at_s - time.monotonic()))
        if life.done():
            life.result()
        exchange.inject(step.fault)
    await asyncio.wait([life], timeout=max(0.0, began_s + seconds - time.monotonic()) + 5.0)


async def _follow_list(exchange: LocalExchange, witness: Witness) -> None:
    """What a supervisor does: fetch the venue's list and hand it to the watcher."""
    import httpx

    request = witness.feed.wire.instruments()
    async with httpx.AsyncClient(timeout=10, trust_env=False) as web:
        while True:
            await asyncio.sleep(INSTRUMENTS_EVERY_S)
            if await witness.feed.budget.take(request.weight, urgent=True):
                continue
            got = await web.get(exchange.rest_url + request.path)
            if got.status_code == 200:
                witness.learn(got.content)


__all__ = ["audit_faults", "campaign"]
