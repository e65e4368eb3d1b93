"""The market that `foreshock audit parity` plays: a simulated exchange and a shell that meddles.

Rows come as a live shell makes them, second by second, of every kind that there is: the exchange's
own books and tape, and beside them candles, marks, liquidations, polled metrics and a venue's list
that changes. A frame in a thousand is lost, sockets are cut, and one book is distrusted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from foreshock.market.clock import MS_NS, SECOND_NS

if TYPE_CHECKING:
    from foreshock.market.rows import Rows
    from foreshock.replay.tap import Tap

LOSS: Final = 0.001  # of frames …
LOSS_S: Final = 420  # … for so long: behind it windows of an hour are to fill
RESYNC_AT_S, VERSION_AT_S = 20, 26
CUT_EVERY_S, CUT_AT_S = 173, 25


def shell(
    exchange: Any, tap: Tap, rng: random.Random, enough: Callable[[int], bool],
    past: Iterable[Rows] = (),
) -> Iterator[Rows]:  # fmt: skip
    """The rows of `exchange` through `tap`, until `enough` says so of the seconds played. `past`:
    rows that come behind the first."""
    from foreshock.market.rows import BOOK, CONNECTED, CUT, REASON_RANGE, TAPE

    start_ns, second = exchange.now_ns, 0
    symbols, both = list(exchange.symbols), (1 << BOOK) | (1 << TAPE)
    yield tap.start(start_ns)
    yield tap.connection(0, CONNECTED, both, symbols, 0, start_ns)
    yield from past
    answers: list[tuple[Any, bytes]] = []
    while not enough(second):
        second += 1
        now_ns = start_ns + second * SECOND_NS
        yield from _frames(exchange, tap, rng, now_ns, LOSS if second <= LOSS_S else 0.0)
        yield from _beside(exchange, tap, second, now_ns)
        for request, body in answers:
            yield tap.receive_snapshot(request.symbol, body, request.levels, now_ns)
        if second == RESYNC_AT_S:
            yield tap.resync(symbols[0], REASON_RANGE, now_ns)
        if second % CUT_EVERY_S == CUT_AT_S:
            exposed = symbols[len(symbols) // 2 :]  # the others' long windows are to fill
            some = rng.sample(exposed, min(3, len(exposed)))
            yield tap.connection(0, CUT, both, some, 0, now_ns)
            yield tap.connection(0, CONNECTED, both, some, 0, now_ns)
        answers = [(r, exchange.depth(r.symbol, r.levels)) for r in tap.wanted()]
        yield tap.timer(now_ns)


def _frames(
    exchange: Any, tap: Tap, rng: random.Random, now_ns: int, loss: float
) -> Iterator[Rows]:
    got = exchange.advance_buffer(now_ns)
    n, lo = len(got.event_ns), 0
    for k in [*(k for k in range(n) if rng.random() < loss), n]:
        if k > lo:
            yield tap.receive_buffer(got.data, got.starts[lo : k + 1], got.event_ns[lo:k])
        lo = k + 1


def _beside(exchange: Any, tap: Tap, second: int, now_ns: int) -> Iterator[Rows]:
    """What the exchange does not tell itself, of one pair a second; once a pair gets a finer tick,
    and a model speaks."""
    import numpy as np

    from foreshock.market.instruments import SPOT
    from foreshock.market.rows import CONTROL_MODEL
    from foreshock.venues.binance_wire import INSTRUMENTS_KIND, RATIO_PATHS

    symbol = exchange.symbols[second % len(exchange.symbols)]
    pair, at_ms = symbol.lower(), now_ns // MS_NS
    levels, _ = exchange.book(symbol)
    instrument = next(i for i in exchange.instruments() if i.symbol == symbol)
    ticks = int(levels[0, 0])
    places, lots = instrument.tick_decimals, f"{10**-instrument.lot_decimals:f}"
    price = f"{ticks * instrument.tick_units / 10**places:.{places}f}"
    index = f"{(ticks + second % 7 - 3) * instrument.tick_units / 10**places:.{places}f}"
    candle = (
        f'"t":{at_ms - at_ms % 60_000},"T":{at_ms},"s":"{symbol}","i":"1m","f":{second},'
        f'"L":{second + 1},"o":"{price}","c":"{price}","h":"{price}","l":"{price}","v":"{lots}",'
        f'"n":2,"x":false,"q":"{price}","V":"{lots}","Q":"{price}","B":"0"'
    )
    data = {
        "kline_1m": f'"e":"kline","E":{at_ms},"s":"{symbol}","k":{{{candle}}}',
        "markPrice@1s": f'"e":"markPriceUpdate","E":{at_ms},"s":"{symbol}","p":"{price}",'
        f'"i":"{index}","P":"{price}","r":"0.00010000","T":{at_ms + 3_600_000}',
        "forceOrder": f'"e":"forceOrder","E":{at_ms},"o":{{"s":"{symbol}","S":"SELL","o":"LIMIT",'
        f'"f":"IOC","q":"{lots}","p":"{price}","ap":"{price}","X":"FILLED","l":"{lots}",'
        f'"z":"{lots}","T":{at_ms}}}',
    }
    frames = [
        f'{{"stream":"{pair}@{stream}","data":{{{body}}}}}'.encode()
        for stream, body in data.items()
    ]
    yield tap.receive(frames, np.full(len(frames), now_ns, np.int64))
    told = f'{{"symbol":"{symbol}","openInterest":"{second}.5","time":{at_ms}}}'
    yield tap.receive_answer("open_interest", symbol, told.encode(), now_ns)
    for kind in RATIO_PATHS if exchange.instruments()[0].market != SPOT else ():
        ratio = 1.0 + second % 11 / 10
        value = "buySellRatio" if kind == "taker_buy_sell" else "longShortRatio"
        answer = f'[{{"symbol":"{symbol}","{value}":"{ratio}","timestamp":{at_ms}}}]'
        yield tap.receive_answer(kind, symbol, answer.encode(), now_ns)
    if second == VERSION_AT_S:
        yield tap.control(CONTROL_MODEL, 7, now_ns)
        listed = json.loads(exchange.exchange_info())
        tick = listed["symbols"][-1]["filters"][0]
        tick["tickSize"] = f"{Decimal(tick['tickSize']) / 10:f}"
        yield tap.receive_answer(INSTRUMENTS_KIND, "", json.dumps(listed).encode(), now_ns)
