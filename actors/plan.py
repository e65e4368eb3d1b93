"""What a watcher is told to do: one frozen, picklable plan per watcher, made by the supervisor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from foreshock.market.instruments import SPOT, Instrument
from foreshock.models.base import Domain

SPOT_WS, SPOT_REST = "wss://stream.binance.com:9443", "https://api.binance.com"
USDM_WS, USDM_REST = "wss://fstream.binance.com", "https://fapi.binance.com"


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """One watcher's share of the symbols and how it watches them.

    name             unique within the cluster
    instruments      its share, in the order of its rows' symbol index
    domain           where the rows come from
    tape             "trade" or "aggTrade"
    ws_url, rest_url base addresses
    recording_dir    where its recorder keeps the session; None records nothing
    gate             name of the Serve application whose gate judges; None watches only
    live             whether stamps are of this machine's clock
    """

    name: str
    instruments: tuple[Instrument, ...]
    domain: Domain
    ws_url: str
    rest_url: str
    tape: str = "trade"
    recording_dir: Path | None = None
    gate: str | None = None
    live: bool = True
    batch_ms: float = 5.0
    stale_after_s: float = 5.0
    silent_after_s: float = 15.0
    snapshots_per_s: float = 2.0
    snapshot_every_s: float = 60.0

    @property
    def market(self) -> str:
        """Of all its instruments."""
        return self.instruments[0].market

    @property
    def symbols(self) -> tuple[str, ...]:
        """In the order of the rows' symbol index."""
        return tuple(instrument.symbol for instrument in self.instruments)

    @property
    def api_prefix(self) -> str:
        """Where the market's REST endpoints live."""
        return "/api/v3" if self.market == SPOT else "/fapi/v1"


def is_loopback(url: str) -> bool:
    """Whether an address is of this very machine, where no proxy of the environment applies."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shared_out(plan: WatchPlan, watchers: int) -> list[WatchPlan]:
    """The plan cut into `watchers` shares, symbols dealt round so that the busy ones (listed first)
    do not all fall to one. Each share asks for its part of the snapshot budget."""
    watchers = max(1, min(watchers, len(plan.instruments)))
    return [
        replace(
            plan,
            name=f"{plan.name}-{k}",
            instruments=plan.instruments[k::watchers],
            snapshots_per_s=plan.snapshots_per_s / watchers,
            recording_dir=None if plan.recording_dir is None else plan.recording_dir / str(k),
        )
        for k in range(watchers)
    ]
