"""The slow twin of foreshock/features/resilience.py: everything from the list of all events."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise

from foreshock.features.family import span
from foreshock.features.resilience_specs import ResilienceSettings
from foreshock.market.rows import BOOK, SYNCED, TAPE
from tests.reference.features import NAN, SECOND, Book, Epoch, Event, Top, Trade, since_reset

USUAL = ResilienceSettings()


def in_queue(book: Book, side: int) -> tuple[int, int]:
    return book.touch[2 * side], book.touch[2 * side + 1]


def gained_and_lost(was: Book, now: Book, side: int) -> tuple[int, int]:
    """Lots of one side's queue."""
    (old_ticks, old_lots), (ticks, lots) = in_queue(was, side), in_queue(now, side)
    if ticks == old_ticks:
        return max(lots - old_lots, 0), max(old_lots - lots, 0)
    better = ticks > old_ticks if side == 0 else ticks < old_ticks
    return (lots, 0) if better else (0, old_lots)


def good_since(events: list[Event], symbol: int, before: int) -> int | None:
    """When the present good epoch of the tape began; None where it is not good."""
    since, number = None, None
    for e in events:
        if isinstance(e, Epoch) and (e.symbol, e.family) == (symbol, TAPE) and e.at < before:
            if e.state != SYNCED:
                since = None
            elif since is None or e.number != number:
                since = e.at
            number = e.number
    return since


def hits(trade: Trade, side: int) -> bool:
    return trade.sell == (side == 0)


def refills(merged: list[Event], tape_reset: int, side: int) -> list[tuple[Trade, int]]:
    """Each trade at the side's best price, with the lots that were beyond all that the price had
    shown since it is the best. `merged` are trades and book rows in their order."""
    out, price, shown, traded, most = [], None, 0, 0, 0
    for event in merged:
        if isinstance(event, Book):
            ticks, lots = in_queue(event, side)
            if ticks != price:
                price, shown, traded, most = ticks, 0, 0, 0
            shown = max(shown, lots)
        elif event.at >= tape_reset and hits(event, side) and event.ticks == price:
            traded += event.lots
            beyond = max(traded - shown - most, 0)
            most += beyond
            out.append((event, beyond))
    return out


def resilience_features(
    events: list[Event], symbol: int, boundary: int, tops: dict[int, Top],
    settings: ResilienceSettings = USUAL,
) -> dict[str, float]:  # fmt: skip
    """By name. `tops[b]` is the symbol's ladder at boundary b, for every boundary up to this one;
    its first key is the first boundary that was closed at all."""
    book, book_reset = since_reset(events, symbol, BOOK, boundary)
    trades, tape_reset = since_reset(events, symbol, TAPE, boundary)
    closed = [b for b in sorted(tops) if b <= boundary]
    tape_since = good_since(events, symbol, boundary)

    def recent(some: list, seconds: int) -> list:
        return [e for e in some if e.at >= boundary - seconds * SECOND]

    @cache
    def touch_at(close: int) -> Book | None:
        return (
            next((b for b in reversed(book) if b.at < close), None) if close > book_reset else None
        )

    @cache
    def lots_at(close: int, side: int) -> int:
        return sum(q for _, q in tops[close][side][:5]) if touch_at(close) else 0

    def sweeps(side: int) -> dict[int, Fraction]:
        """Mean lots of the side before it, by the close of the second in which it was swept."""
        out = {}
        for before, close in pairwise(closed):
            if close <= max(book_reset, tape_reset):
                continue
            hit = sum(t.lots for t in trades if before <= t.at < close and hits(t, side))
            first = before - settings.usual_s * SECOND
            seen = [q for q in (lots_at(b, side) for b in closed if first < b <= before) if q]
            if seen and 100 * hit >= settings.sweep_percent * Fraction(sum(seen), len(seen)):
                out[close] = Fraction(sum(seen), len(seen))
        return out

    age = -1  # full steps in which both streams were good
    if tape_since is not None:
        age += sum(touch_at(b) is not None for b in closed if b > tape_since)
    out: dict[str, float] = {}
    kept = {id(e) for e in (*book, *trades)}
    merged = [e for e in events if id(e) in kept]
    for side, name in enumerate(("bid", "ask")):
        steps = [(b.at, *gained_and_lost(a, b, side)) for a, b in pairwise(book)]
        refilled = refills(merged, tape_reset, side)
        swept = sweeps(side)
        for w in settings.replenishment_s:
            inside = [(g, p) for at, g, p in steps if at >= boundary - w * SECOND]
            gained, lost = sum(g for g, _ in inside), sum(p for _, p in inside)
            moved = gained + lost
            out[f"replenishment_{name}_{span(w)}"] = gained / moved if moved else NAN
        for w in settings.cancels_s:
            lost = sum(p for at, _, p in steps if at >= boundary - w * SECOND)
            filled = sum(t.lots for t in recent(trades, w) if hits(t, side))
            known = lost and age >= w
            out[f"cancel_share_{name}_{span(w)}"] = max(lost - filled, 0) / lost if known else NAN
        for w in settings.refills_s:
            inside = [(t.lots, q) for t, q in refilled if t.at >= boundary - w * SECOND]
            lots = sum(q for q, _ in inside)
            known = lots and age >= w
            out[f"refilled_share_{name}_{span(w)}"] = (
                sum(q for _, q in inside) / lots if known else NAN
            )
        for w in settings.sweeps_s:
            count = sum(close > boundary - w * SECOND for close in swept)
            out[f"sweeps_{name}_{span(w)}"] = count if age >= w else NAN
        now, last = lots_at(boundary, side), max(swept, default=0)
        told = now and boundary - last <= settings.sweep_memory_s * SECOND
        out[f"depth_recovery_{name}"] = float(now / swept[last]) if told else NAN

    @cache
    def usual_spread(own: int) -> Fraction | None:
        """Its mean over the closes up to the one at `own`."""
        closes = [b for b in closed if own - settings.usual_s * SECOND < b <= own]
        seen = [touch.touch[2] - touch.touch[0] for touch in map(touch_at, closes) if touch]
        return Fraction(sum(seen), len(seen)) if len(seen) >= 10 else None

    widened, ended, since = [], [], None
    for row in book:
        mean = usual_spread(row.at // SECOND * SECOND)
        if mean is None:
            continue
        wide = row.touch[2] - row.touch[0] >= settings.wide_multiple * mean
        if wide and since is None:
            since = row.at
            widened.append(row)
        elif not wide and since is not None:
            ended.append((row.at, row.at - since))
            since = None
    for w in settings.widenings_s:
        known = usual_spread(boundary) is not None
        out[f"spread_widenings_{span(w)}"] = len(recent(widened, w)) if known else NAN
    for w in settings.recovery_s:
        took = [ns for at, ns in ended if at >= boundary - w * SECOND]
        out[f"spread_recovery_{span(w)}"] = sum(took) / len(took) / 1e6 if took else NAN
    return out if book else dict.fromkeys(out, NAN)
