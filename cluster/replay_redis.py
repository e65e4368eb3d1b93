"""`foreshock replay --redis`: refill Redis from a recording, tick by tick, as it was live."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cluster.output import Answer
from cluster.replay import ROWS, Pace, opened, recordings_in

if TYPE_CHECKING:
    from foreshock.market.rows import Rows


def refill(
    directory: Path, url: str, pace: Pace, form: str, source: str = ROWS, prefix: str = ""
) -> Answer:
    """Publish every trade and every vector of a session's recordings to the streams of the Redis at
    `url`, as `foreshock.stores.bus` publishes them live: the same entries under the same ids, so
    that what is there already is not added again. A paced replay publishes trade by trade, each
    when it is due; otherwise as fast as it goes. Raises StoreError where Redis is away."""
    from foreshock.engine.provenance import features_of
    from foreshock.engine.step import Engine
    from foreshock.errors import StoreError
    from foreshock.market.rows import TRADE, heads
    from foreshock.stores.bus import Bus

    found: dict[str, Any] = {
        "session": str(directory),
        "kind": "refill",
        "recordings": 0,
        "rows": 0,
        "trades": 0,
        "vectors": 0,
        "entries": 0,
        "refused": 0,
    }
    for place in recordings_in(directory):
        recording = opened(place, source)
        engine = Engine(recording.instruments, features_of(recording.meta).settings)
        bus = Bus(
            url,
            recording.instruments,
            form=form,  # type: ignore[arg-type]
            prefix=prefix,
            features=engine.layout.names,
            fingerprint=engine.layout.fingerprint,
        )
        found["recordings"] += 1
        try:
            for rows in recording.rows(batch_rows=65_536 if pace.speed is None else 4_096):
                for tick in [rows] if pace.speed is None else ticks(rows):
                    pace.until(int(tick["arrival_ns"][0]))
                    boundaries = engine.feed(tick)
                    done = bus.publish(tick, boundaries)
                    at = heads(tick)
                    found["rows"] += len(at)
                    found["trades"] += int((tick["kind"][at] == TRADE).sum())
                    found["vectors"] += len(boundaries) * len(recording.instruments)
                    found["entries"] += done.entries
                    found["refused"] += done.refused
        except StoreError as error:
            raise StoreError(f"after {found['rows']} rows: {error}") from error
        finally:
            bus.close()

    def show(console: Console) -> None:
        console.print(
            f"{found['trades']} trades and {found['vectors']} vectors: {found['entries']} new"
            f" entries, {found['refused']} that were there already",
            soft_wrap=True,
        )

    return Answer(found, show)


def ticks(rows: Rows) -> Iterator[Rows]:
    """The rows cut in front of every trade."""
    from foreshock.market.rows import TRADE, heads

    at = heads(rows)
    cuts = [0, *at[(rows["kind"][at] == TRADE) & (at > 0)].tolist(), len(rows)]
    for lo, hi in pairwise(cuts):
        if hi > lo:
            yield rows[lo:hi]
