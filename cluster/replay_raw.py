"""`foreshock replay` of raw frames: sessions that others recorded, through the live code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster.judging import Judging
from cluster.output import Answer
from cluster.replay import Pace, aloud, spoken
from cluster.session import sayer
from foreshock.market.rows import STATE_NAMES, SYNCED

if TYPE_CHECKING:
    from foreshock.settings import Config


def replay_raw_session(
    paths: Sequence[Path], tree: Config, model: str | None, pace: Pace
) -> Answer:
    """Play the files of one session; counts what came of it. There is nothing to compare with.

    Raises RecordingError where they are no session that we can read."""
    from cluster.first_model import registry_of
    from foreshock.engine.step import Engine
    from foreshock.models.base import Domain
    from foreshock.replay.driver import replay_raw, tape_of
    from foreshock.stores.gaps import Gaps
    from foreshock.stores.raw_sessions import read_raw_session
    from foreshock.venues.binance import BinanceSession

    raw = read_raw_session(list(paths))
    symbols = [instrument.symbol for instrument in raw.instruments]
    domain = Domain(source="binance", market=raw.market, tier="book")
    judging = Judging(
        symbols, domain, registry_of(tree), tree.gate_settings(), model, features=tree.features
    )
    judge = aloud(judging, pace, sayer())
    session = BinanceSession(raw.instruments, tape=tape_of(raw.events))
    rows = boundaries = 0
    synced: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    states: dict[str, dict[str, Any]] = {}
    gaps = Gaps(symbols)
    for batch, closed in replay_raw(Engine(raw.instruments, tree.features), session, raw.events):
        rows += len(batch)
        gaps.take_rows(batch)
        for boundary in closed:
            pace(boundary)
            boundaries += 1
            opinion = judge(boundary, None)
            reasons.update(verdict["reason"] for verdict in opinion.verdicts or ())
            for s, symbol in enumerate(symbols):
                state = int(boundary.book_state[s])
                synced[symbol] += state == SYNCED
                states[symbol] = {
                    "book": STATE_NAMES[state],
                    "book_epoch": int(boundary.book_epoch[s]),
                    "tape_epoch": int(boundary.tape_epoch[s]),
                    "synced_boundaries": synced[symbol],
                    "rows": int(boundary.rows[s]),
                }
    document = {
        "session": [str(path) for path in paths],
        "kind": "raw",
        "same": None,
        "domain": str(domain),
        "boundaries": boundaries,
        "rows": rows,
        "frames": {name: n for name, n in session.counts.items() if n},
        "symbols": states,
        "gaps": [gap.as_dict() for gap in gaps.found()],
        "models": judging.versions,
        **spoken(reasons),
    }
    return Answer(document, lambda console: _show(document, console))


def _show(document: dict[str, Any], console: Console) -> None:
    frames = ", ".join(f"{n} {name}" for name, n in document["frames"].items())
    many = document["boundaries"]
    console.print(f"{document['domain']}: {many} boundaries, {document['rows']} rows")
    console.print(f"frames: {frames}")
    for symbol, state in document["symbols"].items():
        console.print(
            f"  {symbol:14s} {state['book']:10s} epoch {state['book_epoch']}, synced at "
            f"{state['synced_boundaries']} of {many} boundaries, {state['rows']} rows"
        )
    for gap in document["gaps"]:
        until = "the end" if gap["until_ns"] is None else gap["until_ns"]
        console.print(
            f"  gap: {gap['symbol'] or 'all'} {gap['family']}, {gap['reason']}, from"
            f" {gap['from_ns']} to {until}"
        )
    told = ", ".join(f"{n} {reason}" for reason, n in document["refusals"].items())
    console.print(f"{document['verdicts']} verdicts, {document['signals']} signals; {told}")
