"""What a venue lists: its instruments over REST."""

from __future__ import annotations

import httpx

from actors.plan import SPOT_REST, USDM_REST, is_loopback
from foreshock.errors import InstrumentError
from foreshock.market.instruments import SPOT, Instrument, from_exchange_info


def fetch_instruments(market: str, rest_url: str | None = None) -> list[Instrument]:
    """Every instrument that the market's exchangeInfo lists, from `rest_url` or the public
    endpoint. Raises InstrumentError where it cannot be had."""
    base = rest_url or (SPOT_REST if market == SPOT else USDM_REST)
    prefix = "/api/v3" if market == SPOT else "/fapi/v1"
    try:
        answer = httpx.get(
            f"{base}{prefix}/exchangeInfo", timeout=20.0, trust_env=not is_loopback(base)
        )
        answer.raise_for_status()
        return from_exchange_info(answer.json(), market)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise InstrumentError(f"{base} does not say what it lists: {error}") from error
