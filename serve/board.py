"""What the doors read: the latest of everything in the hot store, and the ledger's signals."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from foreshock.errors import InstrumentError, StoreError
from foreshock.market.instruments import canonical_symbol
from foreshock.stores.hot import HotStore
from foreshock.stores.ledger import Ledger
from foreshock.stores.spill_reader import waiting
from serve.envelope import DoorError
from serve.facts import NOTE, RETRAINING_NOTE

# One read of the store serves every request of so many seconds: verdicts change once a second, and
# a read of 20 symbols costs as much as four requests.
FRESH_S: Final = 0.05
# After a failure the store is left alone for so long, so that requests fail at once.
PAUSE_S: Final = 1.0
NEWEST: Final = 200  # signals taken from the stream, which is ahead of the ledger by its batch

Json = dict[str, Any]


class Reader(Protocol):
    """What `create_api` asks. Each raises DoorError (503, store_down) where a store is away."""

    def verdicts(self) -> Mapping[str, Json]:
        """The latest verdict by symbol."""
        ...

    def market(self) -> Mapping[str, Json]:
        """The latest market state by symbol."""
        ...

    def facts(self) -> Json:
        """What the gate counted; empty before its first boundary."""
        ...

    def retraining(self) -> Json:
        """What the retrainer told last; empty where none runs."""
        ...

    def signals(self, symbol: str | None, limit: int, since_ns: int) -> list[Json]:
        """Signals of boundaries from `since_ns` on, newest first. It may wait: call it in a
        thread."""
        ...

    def stores(self) -> dict[str, str]:
        """ "ok" or what is wrong, by store."""
        ...


class Board:
    """The reader over a hot store and a ledger; safe to use from several threads."""

    def __init__(
        self,
        hot: HotStore,
        open_ledger: Callable[[], Ledger] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        cold_spill: Path | None = None,
    ) -> None:
        self._hot, self._open_ledger, self._monotonic = hot, open_ledger, monotonic
        self._cold_spill = cold_spill
        self._ledger: Ledger | None = None
        self._read_s = -1e9
        self._failed_s = -1e9
        self._problem: str | None = None
        self._seen: tuple[Mapping[str, Json], Mapping[str, Json], Json, Json] = ({}, {}, {}, {})
        self._lock = threading.Lock()

    def verdicts(self) -> Mapping[str, Json]:
        """See `Reader.verdicts`."""
        return self._look()[0]

    def market(self) -> Mapping[str, Json]:
        """See `Reader.market`."""
        return self._look()[1]

    def facts(self) -> Json:
        """See `Reader.facts`."""
        return self._look()[2]

    def retraining(self) -> Json:
        """See `Reader.retraining`."""
        return self._look()[3]

    def signals(self, symbol: str | None, limit: int, since_ns: int) -> list[Json]:
        """See `Reader.signals`. The stream's newest and the ledger's, each id once."""
        try:
            found = self._hot.last_signals(max(limit, NEWEST))
        except StoreError as error:
            raise _store_down(str(error)) from error
        by_id = {signal["id"]: signal for signal in reversed(found)}
        try:
            ledger = self._book()
            for signal in ledger.signals(symbol, limit) if ledger is not None else []:
                by_id.setdefault(signal["id"], signal)
        except StoreError as error:
            raise _store_down(str(error)) from error
        chosen = [
            signal
            for signal in by_id.values()
            if signal["boundary_ns"] >= since_ns and symbol in (None, signal["symbol"])
        ]
        chosen.sort(key=lambda signal: (-signal["boundary_ns"], signal["symbol"]))
        return chosen[:limit]

    def stores(self) -> dict[str, str]:
        """See `Reader.stores`."""
        out = {}
        try:
            self._hot.ping()
            out["hot"] = "ok"
        except StoreError as error:
            out["hot"] = str(error)
        if self._open_ledger is not None:
            try:
                ledger = self._book()
                assert ledger is not None
                ledger.signals(limit=1)
                out["ledger"] = "ok"
            except StoreError as error:
                out["ledger"] = str(error)
        if self._cold_spill is not None:
            batches = waiting(self._cold_spill)["batches"]
            out["cold"] = "ok" if not batches else f"batches waiting for the store: {batches}"
        return out

    def close(self) -> None:
        """Close the connections."""
        self._hot.close()
        if self._ledger is not None:
            self._ledger.close()

    def _look(self) -> tuple[Mapping[str, Json], Mapping[str, Json], Json, Json]:
        with self._lock:
            now_s = self._monotonic()
            if now_s - self._failed_s < PAUSE_S:
                raise _store_down(self._problem or "")
            if now_s - self._read_s >= FRESH_S:
                try:
                    facts, retraining = (
                        {} if note is None else orjson.loads(note)
                        for note in (self._hot.note(NOTE), self._hot.note(RETRAINING_NOTE))
                    )
                    self._seen = (self._hot.verdicts(), self._hot.market(), facts, retraining)
                    self._read_s = now_s
                except StoreError as error:
                    self._failed_s, self._problem = now_s, str(error)
                    raise _store_down(str(error)) from error
            return self._seen

    def _book(self) -> Ledger | None:
        if self._ledger is None and self._open_ledger is not None:
            self._ledger = self._open_ledger()
        return self._ledger


def find_symbol(text: object, known: Mapping[str, Any]) -> str:
    """The watched symbol that `text` names, in any usual spelling. Raises DoorError: 422 where it
    is none, 404 with the nearest names where it is not watched."""
    if not isinstance(text, str):
        raise DoorError(422, "invalid", f"a symbol is text, not {text!r}")
    try:
        symbol = canonical_symbol(text)
    except InstrumentError as error:
        raise DoorError(422, "invalid", str(error), reason="symbol") from error
    if symbol in known:
        return symbol
    nearest = difflib.get_close_matches(symbol, known, n=3, cutoff=0.5)
    advice = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    raise DoorError(
        404,
        "unknown_symbol",
        f"{symbol} is not watched{advice}",
        details={"symbol": symbol, "nearest": nearest},
    )


def _store_down(why: str) -> DoorError:
    return DoorError(
        503,
        "store_down",
        f"the store cannot be read, so that nothing is known here: {why}",
        reason="degraded",
        retry_after_seconds=PAUSE_S,
    )
