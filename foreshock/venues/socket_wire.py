"""The wire of venues that take `{"op": "subscribe", "args": [...]}`: sockets and messages from a
dialect's streams. What is asked over REST stays with the venue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foreshock.venues.dialect import Dialect, Stream
from foreshock.venues.session import BOOK_FAMILY, TAPE_FAMILY
from foreshock.venues.silence import DEPTH_STREAM
from foreshock.venues.wire import Request, Subscription


class SocketWire:
    """The half of `foreshock.venues.wire.Wire` that is the same for all of them."""

    path: str
    args_per_message: int

    def __init__(self, dialect: Dialect) -> None:
        self.market = dialect.market
        self._dialect = dialect

    def arg(self, stream: str) -> Any:
        """A stream's entry in `args`."""
        return stream

    def _messages(self, op: str, streams: Sequence[str]) -> tuple[str, ...]:
        n = self.args_per_message
        return tuple(
            json.dumps({"op": op, "args": [self.arg(name) for name in streams[k : k + n]]})
            for k in range(0, len(streams), n)
        )

    def subscriptions(
        self, symbols: Sequence[str], tape: str, per_socket: int
    ) -> list[Subscription]:
        """All sockets for these symbols; what is of the whole market comes over the first one."""
        share, streams = max(1, per_socket), self._dialect.streams(symbols)
        out = []
        for k in range(0, len(symbols), share):
            part = tuple(symbols[k : k + share])
            whole = ("",) if k == 0 else ()
            names = tuple(x.name for x in streams if x.symbol in (*part, *whole))
            families = BOOK_FAMILY | TAPE_FAMILY
            messages = self._messages("subscribe", names)
            out.append(Subscription(self.path, messages, names, families, part))
        return out

    def history(self, symbols: Sequence[str], venue_ns: int) -> list[Request]:
        """Nothing, unless the venue says otherwise."""
        return []

    def later(self, request: Request, body: bytes) -> Request | None:
        """One page is all."""
        return None

    def snapshot(self, symbol: str, levels: int) -> Request | None:
        """None: it comes over the socket when `book_stream` is taken anew."""
        return None

    def book_stream(self, symbol: str) -> str:
        """The stream that brings this symbol's snapshot and diffs."""
        streams: list[Stream] = self._dialect.streams([symbol])
        return next(x.name for x in streams if (x.symbol, x.kind) == (symbol, DEPTH_STREAM))

    def resubscribe(self, subscription: Subscription, streams: Sequence[str]) -> tuple[str, ...]:
        """Drop and take again; streams that this socket does not carry are left out."""
        mine = [stream for stream in streams if stream in subscription.streams]
        return self._messages("unsubscribe", mine) + self._messages("subscribe", mine)

    def used_weight(self, headers: Mapping[str, str]) -> int | None:
        """These venues count requests, and do not say how many."""
        return None
