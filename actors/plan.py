"""What a watcher is told to do: one frozen, picklable plan per watcher, made by the supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from actors.publisher import BusPlan
from foreshock.features.settings import FeatureSettings
from foreshock.market.instruments import Instrument
from foreshock.market.selection import SymbolFilter
from foreshock.models.base import Domain
from foreshock.stores.cold_settings import ColdPlan
from foreshock.stores.series_settings import SeriesSources


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """One watcher's share of the symbols and how it watches them.

    name             unique within the cluster; `shared_out` numbers the shares
    instruments      its share, in the order of its rows' symbol index
    domain           where the rows come from
    tape             "trade" or "aggTrade"
    ws_url, rest_url base addresses
    recording_dir    where its recorder keeps the session; None records nothing
    gate             name of the Serve application whose gate judges; None watches only
    bus              where and how trades and vectors are published; None publishes nothing
    cold             where what is recorded lasts beside the recording; None: nowhere
    fallbacks        plans of the venues that stand in while this one is down: the same symbols in
                     the same order, on other markets
    features         which features its engine computes
    series           where the supervisor finds the slow series, by absolute paths
    live             whether stamps are of this machine's clock
    watchers         how many share the venue's limits of this address
    symbols_per_socket   at most so many symbols on each socket
    snapshots_per_s  how fast depth snapshots may be asked for, within the weight budget
    """

    name: str
    instruments: tuple[Instrument, ...]
    domain: Domain
    ws_url: str
    rest_url: str
    tape: str = "trade"
    recording_dir: Path | None = None
    gate: str | None = None
    bus: BusPlan | None = None
    fallbacks: tuple[WatchPlan, ...] = ()
    cold: ColdPlan | None = None
    features: FeatureSettings = field(default_factory=FeatureSettings)
    series: SeriesSources = field(default_factory=SeriesSources)
    live: bool = True
    batch_ms: float = 5.0
    stale_after_s: float = 5.0
    silent_after_s: float = 15.0
    snapshots_per_s: float = 2.0
    snapshot_every_s: float = 60.0
    watchers: int = 1
    symbols_per_socket: int = 100

    @property
    def market(self) -> str:
        """Of all its instruments."""
        return self.instruments[0].market

    @property
    def gathers(self) -> bool:
        """Whether its features look at what other symbols do."""
        return "context" in self.features.families

    @property
    def looks(self) -> bool:
        """Whether its features look at slow series, and any is connected."""
        return bool(self.series.sources) and "series" in self.features.families

    @property
    def symbols(self) -> tuple[str, ...]:
        """In the order of the rows' symbol index."""
        return tuple(instrument.symbol for instrument in self.instruments)


@dataclass(frozen=True, slots=True)
class FollowPlan:
    """How what is watched follows the venue's list.

    every_s             how often it is asked for
    weight_per_minute   the venue's limit
    filters             that new listings must pass; none: nothing is added, only halts and
                        delistings are followed
    """

    every_s: float
    weight_per_minute: int
    filters: tuple[SymbolFilter, ...] = ()


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
            fallbacks=tuple(
                replace(
                    one,
                    name=f"{plan.name}-{k}",
                    instruments=one.instruments[k::watchers],
                    watchers=watchers,
                )
                for one in plan.fallbacks
            ),
            snapshots_per_s=plan.snapshots_per_s / watchers,
            watchers=watchers,
            recording_dir=None if plan.recording_dir is None else plan.recording_dir / str(k),
        )
        for k in range(watchers)
    ]
