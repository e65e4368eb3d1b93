"""nautilus_trader's Binance adapter: its wrapper, decoders and parsers, and its own order books."""

import json

import msgspec
from harness import serve
from nautilus_trader.adapters.binance.common.schemas.market import (
    BinanceAggregatedTradeMsg,
    BinanceDataMsgWrapper,
    BinanceOrderBookMsg,
)
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity


def prepare(symbols, snapshots):
    """Books that hold the snapshots."""
    ids = {symbol: InstrumentId.from_str(f"{symbol}-PERP.BINANCE") for symbol in symbols}
    books = {symbol: OrderBook(ids[symbol], BookType.L2_MBP) for symbol in symbols}
    for symbol, book in books.items():
        body = json.loads(snapshots[symbol])
        for side, key in ((OrderSide.BUY, "bids"), (OrderSide.SELL, "asks")):
            for price, size in body[key]:
                order = BookOrder(side, Price.from_str(price), Quantity.from_str(size), 0)
                book.apply_delta(OrderBookDelta(ids[symbol], BookAction.ADD, order, 0, 0, 0, 0))
    wrapper = msgspec.json.Decoder(BinanceDataMsgWrapper)
    depth = msgspec.json.Decoder(BinanceOrderBookMsg)
    trades = msgspec.json.Decoder(BinanceAggregatedTradeMsg)
    best = {}

    def on_depth(raw):
        data = depth.decode(raw).data
        book = books[data.s]
        book.apply_deltas(data.parse_to_order_book_deltas(instrument_id=ids[data.s], ts_init=1))
        best[data.s] = (book.best_bid_price(), book.best_ask_price())

    def on_trade(raw):
        data = trades.decode(raw).data
        data.parse_to_trade_tick(instrument_id=ids[data.s], ts_init=1)

    handlers = {"@aggTrade": on_trade, "@depth@": on_depth}

    def work(frames):
        for raw in frames:
            stream = wrapper.decode(raw).stream
            for name, handler in handlers.items():
                if name in stream:
                    handler(raw)

    return work, lambda: best


if __name__ == "__main__":
    serve(prepare)
