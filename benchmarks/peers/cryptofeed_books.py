"""cryptofeed's Binance futures feed: its message handler, its book, its callbacks; no socket."""

import asyncio
import logging

from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.symbols import Symbols
from harness import serve

logging.disable(logging.CRITICAL)


class Answers:
    """The REST connection: the snapshots at hand."""

    def __init__(self, snapshots):
        self.snapshots = snapshots

    async def read(self, url):
        symbol = url.split("symbol=")[1].split("&")[0]
        return self.snapshots[symbol].decode()


def prepare(symbols, snapshots):
    """A feed that knows these symbols."""
    standard = {f"{s.removesuffix('USDT')}-USDT-PERP": s for s in symbols}
    info = {"tick_size": dict.fromkeys(standard, "0.01"), "instrument_type": {}}
    Symbols.set(BinanceFutures.id, standard, info)
    best = {}

    async def book(update, _):
        sides = update.book
        best[update.symbol] = (sides.bids.index(0)[0], sides.asks.index(0)[0])

    async def trade(_, __):
        pass

    callbacks = {L2_BOOK: book, TRADES: trade}
    feed = BinanceFutures(symbols=list(standard), channels=[L2_BOOK, TRADES], callbacks=callbacks)
    feed.http_conn = Answers(snapshots)
    loop = asyncio.new_event_loop()

    async def fill():
        for symbol in symbols:
            await feed._snapshot(symbol)

    loop.run_until_complete(fill())

    async def read(frames):
        handler = feed.message_handler
        for frame in frames:
            await handler(frame, None, 0.0)

    def work(frames):
        loop.run_until_complete(read(frames))

    def touch():
        return {exchange: best[name] for name, exchange in standard.items()}

    return work, touch


if __name__ == "__main__":
    serve(prepare)
