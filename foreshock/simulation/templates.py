"""What a frame looks like, as text a person can compare with the venue's: `<name>` is a value.

`compiled_templates` cuts each text into the constant pieces between values, so that a kernel has
only to copy pieces and write integers (`encoding.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from foreshock.market.instruments import SPOT, USDM

TRADE, AGG_TRADE, DEPTH, BOOK_TICKER = range(4)
STREAM_NAMES: Final = ("trade", "aggTrade", "depth", "bookTicker")

# Values a template may ask for; the numbers are what the encoder switches on.
VALUES: Final = (
    "event_ms",
    "id",
    "price",
    "lots",
    "seller",
    "first_id",
    "previous_id",
    "bids",
    "asks",
    "bid",
    "bid_lots",
    "ask",
    "ask_lots",
)
(
    V_EVENT_MS,
    V_ID,
    V_PRICE,
    V_LOTS,
    V_SELLER,
    V_FIRST_ID,
    V_PREVIOUS_ID,
    V_BIDS,
    V_ASKS,
    V_BID,
    V_BID_LOTS,
    V_ASK,
    V_ASK_LOTS,
) = range(len(VALUES))

TEMPLATES: Final = {
    SPOT: (
        '{"e":"trade","E":<event_ms>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<lots>",'
        '"T":<event_ms>,"m":<seller>,"M":true}',
        '{"e":"aggTrade","E":<event_ms>,"s":"<symbol>","a":<id>,"p":"<price>","q":"<lots>",'
        '"f":<first_id>,"l":<first_id>,"T":<event_ms>,"m":<seller>,"M":true}',
        '{"e":"depthUpdate","E":<event_ms>,"s":"<symbol>","U":<first_id>,"u":<id>,'
        '"b":[<bids>],"a":[<asks>]}',
        '{"u":<id>,"s":"<symbol>","b":"<bid>","B":"<bid_lots>","a":"<ask>","A":"<ask_lots>"}',
    ),
    USDM: (
        '{"e":"trade","E":<event_ms>,"T":<event_ms>,"s":"<symbol>","t":<id>,"p":"<price>",'
        '"q":"<lots>","X":"MARKET","m":<seller>}',
        '{"e":"aggTrade","E":<event_ms>,"a":<id>,"s":"<symbol>","p":"<price>","q":"<lots>",'
        '"f":<first_id>,"l":<first_id>,"T":<event_ms>,"m":<seller>}',
        '{"e":"depthUpdate","E":<event_ms>,"T":<event_ms>,"s":"<symbol>","U":<first_id>,"u":<id>,'
        '"pu":<previous_id>,"b":[<bids>],"a":[<asks>]}',
        '{"e":"bookTicker","u":<id>,"s":"<symbol>","b":"<bid>","B":"<bid_lots>","a":"<ask>",'
        '"A":"<ask_lots>","T":<event_ms>,"E":<event_ms>}',
    ),
}


def stream_name(symbol: str, stream: int, depth_interval_ms: int) -> str:
    """`btcusdt@depth@100ms` and the like."""
    suffix = f"@{depth_interval_ms}ms" if stream == DEPTH else ""
    return f"{symbol.lower()}@{STREAM_NAMES[stream]}{suffix}"


def wrap_prefix(symbol: str, stream: int, depth_interval_ms: int) -> str:
    """What stands before `data` in a combined-stream frame; one `}` stands behind it."""
    return f'{{"stream":"{stream_name(symbol, stream, depth_interval_ms)}","data":'


def compiled_templates(
    market: str, symbols: Sequence[str], depth_interval_ms: int
) -> tuple[Any, Any, Any]:
    """(pieces uint8 [bytes], piece_starts int64 [n, 4, k + 1], values int64 [4, k]): for symbol s
    and stream f, piece j is `pieces[piece_starts[s, f, j] : piece_starts[s, f, j + 1]]`, and value
    j (-1: the frame ends) follows it."""
    texts = TEMPLATES[market]
    names = [re.findall(r"<(\w+)>", text.replace("<symbol>", "")) for text in texts]
    width = max(map(len, names)) + 2
    values = np.full((len(texts), width), -1, dtype=np.int64)
    for f, found in enumerate(names):
        values[f, : len(found)] = [VALUES.index(name) for name in found]
    starts = np.zeros((len(symbols), len(texts), width + 1), dtype=np.int64)
    pieces = bytearray()
    for s, symbol in enumerate(symbols):
        for f, text in enumerate(texts):
            whole = wrap_prefix(symbol, f, depth_interval_ms) + text + "}"
            cut = re.split(r"<\w+>", whole.replace("<symbol>", symbol))
            for j, piece in enumerate(cut):
                starts[s, f, j] = len(pieces)
                pieces += piece.encode()
            starts[s, f, len(cut) :] = len(pieces)
    return np.frombuffer(bytes(pieces), dtype=np.uint8).copy(), starts, values
