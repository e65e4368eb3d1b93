"""Every market that can be watched: its session, its wire, its rule. Whatever stands here is run by
tests/conformance by existing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from foreshock.errors import InstrumentError
from foreshock.market.instruments import BYBIT, OKX, SPOT, USDM, Instrument, from_exchange_info
from foreshock.venues.binance import BinanceSession
from foreshock.venues.binance_wire import BinanceWire
from foreshock.venues.bybit import bybit_instruments, bybit_session
from foreshock.venues.bybit_wire import BybitWire
from foreshock.venues.okx import okx_instruments, okx_session
from foreshock.venues.okx_wire import OkxWire
from foreshock.venues.session import Session
from foreshock.venues.template import TEMPLATE, TemplateWire, template_session
from foreshock.venues.wire import Wire


class MakesSession(Protocol):
    """What makes a session."""

    def __call__(
        self, instruments: Sequence[Instrument], *, tape: str = ..., stale_after_ns: int = ...
    ) -> Session:  # fmt: skip
        """A fresh session of these instruments, all of one market, in the rows' order."""


@dataclass(frozen=True, slots=True)
class Venue:
    """One market.

    session      makes a session
    wire         makes its wire
    instruments  of the body of the answer to `Wire.instruments`
    rule         how its books are kept, in a line
    """

    market: str
    session: MakesSession
    wire: Callable[[], Wire]
    instruments: Callable[[bytes], list[Instrument]]
    rule: str


def _binance(market: str, rule: str) -> Venue:
    return Venue(
        market,
        BinanceSession,
        lambda: BinanceWire(market),
        lambda body: from_exchange_info(orjson.loads(body), market),
        rule,
    )


def _no_list(body: bytes) -> list[Instrument]:
    raise InstrumentError("the template lists nothing")


VENUES: Final = {
    venue.market: venue
    for venue in (
        _binance(SPOT, "REST snapshot L; first diff U ≤ L+1 ≤ u; then U = last u + 1"),
        _binance(USDM, "REST snapshot L; first diff U ≤ L ≤ u; then pu = last u"),
        Venue(BYBIT, bybit_session, BybitWire, bybit_instruments,
              "snapshot over the socket; u = last u + 1; u = 1 is a restart"),
        Venue(OKX, okx_session, OkxWire, okx_instruments,
              "snapshot over the socket; prevSeqId = last seqId; checksum where one is sent"),
    )
}  # fmt: skip

EXAMPLES: Final = {
    TEMPLATE: Venue(TEMPLATE, template_session, TemplateWire, _no_list,
                    "snapshot over the socket; prev = last id"),
}  # fmt: skip


def venue_of(market: str) -> Venue:
    """Raises InstrumentError on a market that nobody here speaks."""
    if market not in VENUES:
        raise InstrumentError(f"{market!r} is no market that can be watched, one of {[*VENUES]}")
    return VENUES[market]
