"""Facts → rows: what whatever a venue says does to the books, tapes and series of its symbols.

The rules of a book are those of `socket_session.py`, which takes what comes and owns this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from foreshock.errors import InstrumentError
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.integrity import (
    BREAK,
    REPEAT,
    S_BOOK_EPOCH,
    S_BOOK_STATE,
    S_LAST_ID,
    S_TAPE_EPOCH,
    S_TAPE_STATE,
    new_sync,
)
from foreshock.market.rows import (
    BACKFILL,
    BAR,
    BOOK,
    DELISTED,
    DEPTH,
    EPOCH,
    HELD,
    INSTRUMENT,
    LIQUIDATION,
    MARK,
    METRIC,
    REASON_CHECKSUM,
    REASON_CROSSED,
    REASON_GAP,
    REASON_HALTED,
    REASON_JOINED,
    REASON_RESCALED,
    REASON_RESUMED,
    RESYNCING,
    SELL,
    SNAPSHOT,
    STALE,
    SYNCED,
    TAPE,
    TRADE,
    TRADING,
)
from foreshock.venues.carriers import Carriers
from foreshock.venues.dialect import Dialect, follow
from foreshock.venues.facts import (
    BarFact,
    BookFact,
    Fact,
    LiquidationFact,
    ListFact,
    MarkFact,
    MetricFact,
    TradeFact,
    digits_of,
    lots,
    steps_of,
    ticks,
)
from foreshock.venues.page import Page, bits, put_levels
from foreshock.venues.silence import (
    BAR_STREAM,
    DEPTH_STREAM,
    LIQUIDATION_STREAM,
    MARK_STREAM,
    STREAMS,
    TAPE_STREAM,
    heard_now,
    new_rates,
    watch_anew,
)
from foreshock.venues.text_book import TextBook

REMEMBERED: Final = 4_096  # trades and liquidations of a symbol, to know copies by
SHORT_LIVED_NS: Final = 60 * SECOND_NS  # a book that broke sooner goes on with its back-off
NEVER_NS: Final = 2**62
MAX_LEVELS: Final = 20_000

OUTCOMES: Final = (
    "ok", "malformed", "oversized", "unknown_symbol", "unsupported", "answer", "bad_number",
    "repeated", "no_trade", "no_contract",
)  # fmt: skip

FAMILY_STREAMS: Final = {
    BOOK: (DEPTH_STREAM,),
    TAPE: (TAPE_STREAM, BAR_STREAM, MARK_STREAM, LIQUIDATION_STREAM),
}


class FactRows:
    """State of one market's symbols, and how facts change it."""

    def __init__(
        self,
        dialect: Dialect,
        instruments: Sequence[Instrument],
        *,
        stale_after_ns: int = 15 * SECOND_NS,
        contracts: Mapping[str, str] | None = None,
    ) -> None:
        symbols = [instrument.symbol for instrument in instruments]
        markets = {instrument.market for instrument in instruments}
        if markets != {dialect.market} or len(set(symbols)) != len(symbols):
            raise InstrumentError(
                f"instruments of {dialect.market}, each once; got {markets}, {symbols}"
            )
        n = len(symbols)
        self.market = dialect.market
        self._dialect = dialect
        self._instruments = list(instruments)
        self._index = {symbol: s for s, symbol in enumerate(symbols)}
        told = contracts or {}
        self._contracts: list[tuple[int, int] | None] = [
            digits_of(told[i.symbol]) if i.symbol in told
            else None if dialect.in_contracts else (1, 0)
            for i in instruments
        ]  # fmt: skip
        self._streams = dialect.streams(symbols)
        self._names = {(x.symbol, x.kind): x.name for x in self._streams}
        self._sync = new_sync(n)
        self._rates = new_rates(n, stale_after_ns)
        self._told_silent = np.zeros((n, STREAMS), np.bool_)
        self._silent_streams: list[str] = []
        self._carriers = Carriers(n)
        self._halted = {s for s, i in enumerate(instruments) if i.status != TRADING}
        self._known_ns = [0] * n  # when a book was as it is, by the venue's time
        self._due_ns = [NEVER_NS] * n  # when a snapshot is asked for
        self._attempt = [0] * n
        self._joined_ns = [0] * n
        self._refreshing: set[int] = set()
        self._texts: dict[int, TextBook] = {}
        self._keys: list[dict[object, None]] = [{} for _ in range(n)]
        self._bars: dict[tuple[int, int], tuple[int, int]] = {}
        self._marks: dict[int, MarkFact] = {}
        self._mark_ns: dict[tuple[int, bool], int] = {}
        self._as_of: dict[tuple[int, int], int] = {}
        self._counts = dict.fromkeys(OUTCOMES, 0)
        self._page = Page()
        self._last_ns = 0

    def _stamp(self, arrival_ns: int) -> int:
        self._last_ns = max(self._last_ns, arrival_ns)
        return self._last_ns

    def _epoch(self, s: int, family: int, state: int, reason: int, anew: bool) -> None:
        at, column = (
            (S_BOOK_STATE, S_BOOK_EPOCH) if family == BOOK else (S_TAPE_STATE, S_TAPE_EPOCH)
        )
        self._sync[s, column] += anew
        self._sync[s, at] = state
        epoch = int(self._sync[s, column])
        self._page.row(self._last_ns, EPOCH, s, a=state, b=epoch, c=family, d=reason)

    def _distrust(self, s: int, reason: int) -> None:
        self._epoch(s, BOOK, RESYNCING, reason, anew=True)
        self._texts.pop(s, None)
        self._refreshing.discard(s)
        if self._last_ns - self._joined_ns[s] >= SHORT_LIVED_NS:
            self._attempt[s] = 0
        self._due_ns[s] = self._last_ns

    def _apply(self, fact: Fact) -> str:
        if isinstance(fact, ListFact):
            return self._list(fact)
        s = self._index.get(fact.symbol, -1)
        if s < 0:
            return "unknown_symbol"
        if isinstance(fact, BookFact):
            return self._book(s, fact)
        if isinstance(fact, TradeFact):
            return self._trade(s, fact)
        if isinstance(fact, BarFact):
            return self._bar(s, fact)
        if isinstance(fact, MarkFact):
            return self._mark(s, fact)
        if isinstance(fact, LiquidationFact):
            return self._liquidation(s, fact)
        return self._metric(s, fact)

    def _book(self, s: int, fact: BookFact) -> str:
        instrument, contract = self._instruments[s], self._contracts[s]
        if contract is None:
            return "no_contract"
        if len(fact.bids) + len(fact.asks) > MAX_LEVELS:
            return "oversized"
        bids, bids_off = put_levels(fact.bids, instrument, contract)
        asks, asks_off = put_levels(fact.asks, instrument, contract)
        if fact.snapshot:
            return self._snapshot(s, fact, bids, asks, (bids_off, asks_off))
        waits = bool(self._sync[s, S_BOOK_STATE] == RESYNCING)
        reason = -1
        if not waits:
            said = follow(fact, int(self._sync[s, S_LAST_ID]), self._known_ns[s])
            if fact.restarted:
                said = BREAK
            if said == REPEAT:
                return "repeated"
            reason = REASON_GAP if said == BREAK else self._wrong(s, fact)
        held = waits or reason >= 0
        if bids or asks or held:
            self._page.levels(
                self._last_ns, fact.event_ns, DEPTH, s, bids, asks, HELD if held else 0,
                id=fact.last_id, id2=fact.previous_id + 1, a=fact.previous_id,
            )  # fmt: skip
        if reason >= 0:
            self._distrust(s, reason)
        elif waits and self._due_ns[s] == NEVER_NS:
            self._due_ns[s] = self._last_ns  # a diff, and no snapshot before it
        elif not waits:
            self._sync[s, S_LAST_ID], self._known_ns[s] = fact.last_id, self._seen_ns(fact)
            if self._sync[s, S_BOOK_STATE] == STALE:
                self._epoch(s, BOOK, SYNCED, REASON_RESUMED, anew=False)
        heard_now(self._rates, s, DEPTH_STREAM, self._last_ns)
        return "ok"

    def _seen_ns(self, fact: BookFact) -> int:
        """The venue's time of a book, never ahead of its arrival: a damaged stamp must not make
        everything behind it look old."""
        return min(fact.event_ns, self._last_ns)

    def _wrong(self, s: int, fact: BookFact) -> int:
        """Keep the book's text; REASON_CHECKSUM where it is not the venue's, else -1."""
        book = self._texts.get(s)
        if book is None:
            return -1
        book.apply(fact.bids, fact.asks)
        if fact.checksum is None or self._dialect.checksum(book) == fact.checksum:
            return -1
        return REASON_CHECKSUM

    def _snapshot(
        self, s: int, fact: BookFact, bids: list[int], asks: list[int], off: tuple[int, int]
    ) -> str:
        stands = bool(self._sync[s, S_BOOK_STATE] != RESYNCING)
        known_id = int(self._sync[s, S_LAST_ID])
        old = fact.event_ns <= self._known_ns[s] and (
            fact.last_id == known_id if fact.restarted else fact.last_id <= known_id
        )
        if s in self._halted or (stands and old):
            return "repeated"
        best_bid, best_ask = max(bids[::2], default=0), min(asks[::2], default=0)
        text: TextBook | None = None
        reason = REASON_GAP if not bids or not asks else -1
        if reason < 0 and best_bid >= best_ask:
            reason = REASON_CROSSED
        if fact.checksum is not None:
            text = TextBook()
            text.apply(fact.bids, fact.asks)
            if self._dialect.checksum(text) != fact.checksum:
                reason = REASON_CHECKSUM
        in_passing = stands and s in self._refreshing and not fact.restarted
        if stands and (reason >= 0 or not in_passing):
            self._distrust(s, reason if reason >= 0 else REASON_GAP)
        if reason >= 0:
            return "malformed"
        self._page.levels(
            self._last_ns, fact.event_ns, SNAPSHOT, s, bids, asks, 0,
            id=fact.last_id, id2=off[0], a=off[1], d=self._dialect.levels,
        )  # fmt: skip
        self._sync[s, S_LAST_ID], self._known_ns[s] = fact.last_id, self._seen_ns(fact)
        self._due_ns[s], self._joined_ns[s] = NEVER_NS, self._last_ns
        self._refreshing.discard(s)
        self._texts.pop(s, None)
        if text is not None:
            self._texts[s] = text
        if not in_passing:
            self._epoch(s, BOOK, SYNCED, REASON_JOINED, anew=False)
        watch_anew(self._rates, s, (DEPTH_STREAM,), self._last_ns)
        return "ok"

    def _copy(self, s: int, key: object) -> bool:
        """Whether this was seen before; else it is remembered."""
        keys = self._keys[s]
        if key in keys:
            return True
        keys[key] = None
        if len(keys) > REMEMBERED:
            del keys[next(iter(keys))]
        return False

    def _trade(self, s: int, fact: TradeFact) -> str:
        contract = self._contracts[s]
        if contract is None:
            return "no_contract"
        price, priced = ticks(fact.price, self._instruments[s])
        size, sized = lots(fact.size, self._instruments[s], contract)
        if not priced or not sized:
            return "bad_number"
        if self._copy(s, fact.key):
            return "repeated"
        heard_now(self._rates, s, TAPE_STREAM, self._last_ns)
        if self._sync[s, S_TAPE_STATE] == STALE:
            self._epoch(s, TAPE, SYNCED, REASON_RESUMED, anew=False)
        if price == 0 or size == 0:
            return "no_trade"
        self._page.row(
            self._last_ns, TRADE, s, event_ns=fact.event_ns, flags=SELL if fact.sold else 0,
            id=fact.trade_id, id2=fact.fills, a=price, b=size,
        )  # fmt: skip
        return "ok"

    def _bar(self, s: int, fact: BarFact) -> str:
        contract = self._contracts[s]
        if contract is None:
            return "no_contract"
        put = [ticks(price, self._instruments[s]) for price in fact.prices]
        volume, _ = lots(fact.volume, self._instruments[s], contract)
        if not all(on_grid for _, on_grid in put):
            return "bad_number"
        if not fact.past:
            at = (fact.open_ns, fact.event_ns)
            if at <= self._bars.get((s, fact.interval_ns), (-1, -1)):
                return "repeated"
            self._bars[s, fact.interval_ns] = at
            heard_now(self._rates, s, BAR_STREAM, self._last_ns)
        self._page.bar(
            self._last_ns, fact, s, BAR, BACKFILL if fact.past else 0,
            [price for price, _ in put], volume,
        )  # fmt: skip
        return "ok"

    def _mark(self, s: int, fact: MarkFact) -> str:
        key = (s, fact.mark is None)
        was = self._marks.get(s, MarkFact(fact.symbol, 0))
        said = {name: v for name, v in fact._asdict().items() if v is not None}
        now = was._replace(**said)
        last_ns = self._mark_ns.get(key, -1)
        if fact.event_ns < last_ns or (fact.event_ns == last_ns and now == was):
            return "repeated"
        self._mark_ns[key], self._marks[s] = fact.event_ns, now
        if fact.mark is not None:
            heard_now(self._rates, s, MARK_STREAM, self._last_ns)
        if now.mark is not None:
            self._page.row(
                self._last_ns, MARK, s, event_ns=fact.event_ns, id=now.next_funding_ns or 0,
                a=bits(now.mark), b=bits(now.index_price), c=bits(now.rate),
            )  # fmt: skip
        return "ok"

    def _liquidation(self, s: int, fact: LiquidationFact) -> str:
        contract = self._contracts[s]
        if contract is None:
            return "no_contract"
        price, _ = ticks(fact.price, self._instruments[s])
        size, _ = lots(fact.size, self._instruments[s], contract)
        if size == 0:
            return "bad_number"
        if self._copy(s, fact):
            return "repeated"
        average = float(fact.price)
        self._page.row(
            self._last_ns, LIQUIDATION, s, event_ns=fact.event_ns, flags=SELL if fact.long else 0,
            a=price, b=size, c=bits(average),
        )  # fmt: skip
        return "ok"

    def _metric(self, s: int, fact: MetricFact) -> str:
        if fact.as_of_ns <= self._as_of.get((s, fact.field), -1):
            return "repeated"
        self._as_of[s, fact.field] = fact.as_of_ns
        self._page.row(self._last_ns, METRIC, s, id=fact.as_of_ns, a=fact.field, b=bits(fact.value))
        return "ok"

    def _list(self, fact: ListFact) -> str:
        listed = {one.symbol: one for one in fact.listed if one.symbol in self._index}
        if fact.whole and not listed:
            raise ValueError("none of our symbols is in this list")
        read: list[tuple[int, Instrument, tuple[int, int] | None]] = []
        for symbol, s in self._index.items():
            was, one = self._instruments[s], listed.get(symbol)
            if one is not None:
                steps = steps_of(symbol, one.tick_size, one.lot_size)
                contract = digits_of(one.contract) if self._dialect.in_contracts else (1, 0)
                read.append((s, _on(was, steps, one.status), contract))
            elif fact.whole:
                read.append((s, replace(was, status=DELISTED), self._contracts[s]))
        for s, now, unit in read:
            self._change(s, now, unit)
        return "ok"

    def _change(self, s: int, now: Instrument, contract: tuple[int, int] | None) -> None:
        """An instrument's next version, and the epochs that it breaks."""
        was, held = self._instruments[s], self._contracts[s]
        self._contracts[s] = contract
        if held is None and contract is not None:
            self._due_ns[s] = self._last_ns
        rescaled = now.steps != was.steps or (held is not None and held != contract)
        if now == was and not rescaled:
            return
        now = replace(now, version=was.version + 1)
        self._instruments[s] = now
        a, b, c, d = now.steps
        self._page.row(
            self._last_ns, INSTRUMENT, s, id=now.version, id2=now.status, a=a, b=b, c=c, d=d
        )
        halted, was_halted = now.status != TRADING, was.status != TRADING
        if halted != was_halted:
            (self._halted.add if halted else self._halted.discard)(s)
            for streams in FAMILY_STREAMS.values():
                watch_anew(self._rates, s, streams, 0)
        if halted and not was_halted:
            self._distrust(s, REASON_HALTED)
            self._epoch(s, TAPE, STALE, REASON_HALTED, anew=True)
        elif rescaled or was_halted:
            reason = REASON_RESCALED if rescaled else REASON_RESUMED
            self._distrust(s, reason)
            self._epoch(s, TAPE, STALE if halted else SYNCED, reason, anew=True)


def _on(was: Instrument, steps: tuple[int, int, int, int], status: int) -> Instrument:
    return Instrument(was.symbol, was.market, *steps, status, was.version)
