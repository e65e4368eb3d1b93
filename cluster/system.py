"""The running system: what `demo`, `up` and `record` bring up, in the order in which it is needed.

    Redis · Ray ──▶ local exchange (demo) ──▶ supervisor ─▶ watchers ─▶ recorder
              └───▶ Serve: scorer, gate, HTTP          (beside it, in a thread: it takes longest)

`start` leaves nothing half-up behind: whatever fails, `stop` ends what was started.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cluster.interrupts import uninterrupted
from cluster.local_ray import free_port, job_variables, ray_variables, start_ray
from cluster.output import PartMissingError
from cluster.processes import descendants, end
from foreshock.config import fingerprint
from foreshock.errors import InstrumentError, VenueError
from foreshock.market.clock import Clock
from foreshock.market.instruments import USDM, Instrument, by_symbol
from foreshock.market.selection import named
from foreshock.models.base import Domain
from foreshock.settings import Config

if TYPE_CHECKING:
    from actors.local_exchange import LocalExchangeSettings
    from actors.plan import WatchPlan
    from actors.publisher import BusPlan

Say = Callable[[str], None]
STOP_WAIT_S: Final = 8.0  # for the watchers to hand over what they have
SERVE_WAIT_S: Final = 15.0  # for a half-started Serve to give up
END_WAIT_S: Final = 5.0  # for Ray's processes to end by themselves


def default_tape(market: str) -> str:
    """Single trades, and on USD-M aggregated ones: documents disagree on where it serves raw ones,
    and its archive has no other tape either."""
    return "aggTrade" if market == USDM else "trade"


@dataclass(slots=True)
class System:
    """One installation on this machine. `start`, use, `stop`; also a context manager.

    exchange   what the local exchange plays; None watches the venue itself
    judge      whether Serve runs and verdicts are given; False watches and records only
    record_to  directory of the session's recording; None keeps none
    watchers   how many share the symbols
    tape       "trade" or "aggTrade"; None: what the market serves best
    """

    config: Config
    domain: Domain
    exchange: LocalExchangeSettings | None = None
    judge: bool = True
    record_to: Path | None = None
    watchers: int = 1
    tape: str | None = None
    say: Say = lambda _: None
    urls: dict[str, str] = field(default_factory=dict)
    hot: Any = None
    supervisor: Any = None
    exchange_actor: Any = None
    retrainer: Any = None
    _redis: Any = None
    _redis_url: str = ""
    _ray: Any = None
    _site: Any = None
    _watching: Any = None
    _retraining: Any = None
    _serving: threading.Thread | None = None
    _listed: threading.Event = field(default_factory=threading.Event)
    _symbols: tuple[str, ...] = ()
    _chosen: list[Instrument] = field(default_factory=list)
    _given_up: bool = False
    _failure: BaseException | None = None
    _others: Mapping[int, int] = field(default_factory=dict)

    def start(self) -> System:
        """Bring everything up. Raises what failed, after ending what was started."""
        self._others = descendants()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __enter__(self) -> System:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        config = self.config
        if self.exchange is None:
            self._chosen = self._listed_by_venue()
        http_port = free_port(config.serve.port, config.serve.host)
        dashboard_port = free_port(config.ray.dashboard_port)
        os.environ.update(ray_variables(config, http_port))
        self._start_redis()
        self.say("starting Ray")
        if self.judge:
            importlib.import_module("ray")  # here, before two threads want it
            self._serving = threading.Thread(target=self._serve, args=(http_port,), daemon=True)
            self._serving.start()
        self._start_ray(dashboard_port)
        instruments = self._start_exchange()
        self._symbols = tuple(instrument.symbol for instrument in instruments)
        self._listed.set()
        self.say("starting the watchers, the scorer, the gate and the HTTP API")
        self._start_watching(instruments)
        if self.judge and config.retraining.enabled:
            self._start_retraining(dashboard_port)
        if self._serving is not None:
            self._serving.join()
            if self._failure is not None:
                raise self._failure

    def _start_redis(self) -> None:
        from foreshock.stores.embedded_redis import EmbeddedRedis
        from foreshock.stores.hot import RedisHot

        if self.config.redis.url is not None:
            url = self.config.redis.url.get_secret_value()
        else:
            self._redis = EmbeddedRedis(port=self.config.redis.port)
            url = self._redis.url
        self.hot = RedisHot(
            url, prefix=self.config.redis.prefix, stream_length=self.config.redis.stream_length
        )
        self.hot.ping()
        self._redis_url = url

    def _start_ray(self, dashboard_port: int) -> None:
        import ray

        self._ray = ray
        start_ray(self.config.ray, dashboard_port, self.say, job_variables(self.config))
        if self.config.ray.address is None:
            self.urls["jobs"] = f"http://127.0.0.1:{dashboard_port}"

    def _start_exchange(self) -> list[Instrument]:
        """The exchange, where there is one; the instruments to watch. Of the venue itself they are
        known before Ray starts: see `_listed_by_venue`."""
        from actors.venue import fetch_instruments

        if self.exchange is None:
            return self._chosen
        from actors.local_exchange import LocalExchangeActor

        self.exchange_actor = LocalExchangeActor.remote(self.exchange)
        status = self._ray.get(self.exchange_actor.start.remote())
        self.urls |= {"exchange_rest": status["rest_url"], "exchange_ws": status["ws_url"]}
        known = by_symbol(fetch_instruments(status["market"], status["rest_url"]))
        return [known[symbol] for symbol in status["symbols"]]

    def _listed_by_venue(self) -> list[Instrument]:
        """What to watch of what the venue lists. Raises PartMissingError where it does not answer,
        InstrumentError on symbols that it does not list."""
        from actors.venue import fetch_listing
        from foreshock.market.selection import select

        venue = self.config.venue
        self.say(f"asking {self.domain.market} what it lists")
        try:
            listing = fetch_listing(venue.market, venue.rest_url, bool(venue.filters))
        except VenueError as error:
            raise PartMissingError(
                f"{error}; live needs a way to the venue's public endpoints (or venue.rest_url and "
                "venue.ws_url of another), `foreshock demo` needs none"
            ) from error
        known = listing.instruments
        if venue.filters:
            symbols = select(listing.candidates, venue.filters, Clock().now_ns()).symbols
            if not symbols:
                raise InstrumentError(
                    f"none of the {len(known)} symbols of {venue.market} passes venue.filters"
                )
        else:
            symbols = named(venue.symbols, known)
        return [known[symbol] for symbol in symbols]

    def _start_watching(self, instruments: list[Instrument]) -> None:
        from actors.plan import FollowPlan, WatchPlan
        from actors.supervisor import SupervisorActor
        from foreshock.stores.cold_settings import ColdPlan
        from foreshock.venues.registry import venue_of

        venue, wire = self.config.venue, venue_of(self.domain.market).wire()
        plan = WatchPlan(
            name="watcher",
            instruments=tuple(instruments),
            domain=self.domain,
            ws_url=self.urls.get("exchange_ws") or venue.ws_url or wire.ws_url,
            rest_url=self.urls.get("exchange_rest") or venue.rest_url or wire.rest_url,
            tape=self.tape or default_tape(self.domain.market),
            recording_dir=None if self.record_to is None else self.record_to / "watcher",
            gate="foreshock" if self.judge else None,
            stale_after_s=venue.stale_after_s,
            silent_after_s=venue.silent_after_s,
            snapshots_per_s=venue.max_snapshots_per_s,
            snapshot_every_s=self.config.engine.snapshot_every_s,
            symbols_per_socket=venue.symbols_per_socket,
            bus=self._bus(),
            fallbacks=self._fallbacks(instruments) if self.exchange is None else (),
            cold=ColdPlan(self.config.stores, self.config.paths.under()),
            features=self.config.features,
            series=self.config.series.below(Path.cwd()),
        )
        filters = venue.filters if self.exchange is None else ()
        follow = FollowPlan(venue.follow_every_s, wire.weight_per_minute, filters)
        if self.record_to is not None:
            self._keep_settings(self.record_to)
        self.supervisor = SupervisorActor.options(
            num_cpus=0.05, name="supervisor", max_concurrency=32
        ).remote(plan, self.watchers, follow)
        self._watching = self.supervisor.run.remote()

    def _start_retraining(self, dashboard_port: int) -> None:
        from actors.retrainer import RETRAINER_CPUS, RetrainerActor
        from cluster.retraining import plan_of

        address = self.config.ray.address
        host = "127.0.0.1" if address is None else address.partition("://")[2].partition(":")[0]
        url = self.urls.get("jobs") or f"http://{host or '127.0.0.1'}:{dashboard_port}"
        self.retrainer = RetrainerActor.options(
            num_cpus=RETRAINER_CPUS, name="retrainer", max_restarts=-1, max_task_retries=-1,
            max_concurrency=4,
        ).remote(plan_of(self.config, url, self._redis_url))  # fmt: skip
        self._retraining = self.retrainer.run.remote()

    def _fallbacks(self, instruments: list[Instrument]) -> tuple[WatchPlan, ...]:
        """Plans of the venues that stand in, for the same symbols. Raises InstrumentError where one
        does not list them all; a venue that does not answer now is left out, and told."""
        from actors.plan import WatchPlan
        from actors.venue import fetch_listing
        from foreshock.venues.registry import venue_of

        venue, out = self.config.venue, []
        for market in venue.fallbacks:
            try:
                listed = fetch_listing(market).instruments
            except VenueError as error:
                self.say(f"no fallback on {market}: {error}")
                continue
            wire = venue_of(market).wire()
            named_there = named([i.symbol for i in instruments], listed)
            out.append(
                WatchPlan(
                    name="watcher",
                    instruments=tuple(listed[symbol] for symbol in named_there),
                    domain=Domain.model_validate(
                        {
                            **self.domain.model_dump(),
                            "source": market.partition("-")[0],
                            "market": market,
                        }
                    ),
                    ws_url=wire.ws_url,
                    rest_url=wire.rest_url,
                    stale_after_s=venue.stale_after_s,
                    silent_after_s=venue.silent_after_s,
                    snapshots_per_s=venue.max_snapshots_per_s,
                    symbols_per_socket=venue.symbols_per_socket,
                )
            )
        return tuple(out)

    def _bus(self) -> BusPlan | None:
        """Where watchers publish."""
        from actors.publisher import BusPlan

        redis = self.config.redis
        if redis.stream_form == "off":
            return None
        return BusPlan(
            url=self._redis_url,
            form=redis.stream_form,
            prefix=redis.prefix,
            trades_length=redis.stream_length,
            features_length=redis.features_length,
            every_ms=redis.publish_every_ms,
            backlog_trades=redis.backlog_trades,
        )

    def _keep_settings(self, directory: Path) -> None:
        """Beside the recording: what its verdicts followed from besides rows and model."""
        import orjson

        kept = {
            "config_fingerprint": fingerprint(self.config),
            "gate": self.config.gate_settings().model_dump(mode="json"),
        }
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "session.json").write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))

    def _serve(self, http_port: int) -> None:
        """Deploy, in a thread of its own: what is imported takes as long as Ray takes to start."""
        try:
            from serve.app import Wiring, deploy
            from serve.settings import ServeSettings

            while not self._listed.wait(0.2):
                if self._given_up:
                    return
            config = self.config
            self._site = deploy(
                ServeSettings.of(
                    config.serve,
                    port=http_port,
                    ledger_predictions_every_s=config.ledger.predictions_every_s,
                ),
                Wiring(
                    redis_url=self._redis_url,
                    ledger=config.ledger_place,
                    registry_dir=config.paths.under("models"),
                    domain=self.domain,
                    symbols=self._symbols,
                    gate=config.gate_settings(),
                    features=config.features,
                    spill_dir=config.paths.under("spill", "signals"),
                    prefix=config.redis.prefix,
                ),
            )
            self.urls |= {"api": f"{self._site.url}/api/v1", "docs": f"{self._site.url}/docs"}
        except BaseException as error:
            self._failure = error

    def status(self) -> dict[str, Any]:
        """`Supervisor.status`."""
        found: dict[str, Any] = self._ray.get(self.supervisor.status.remote(), timeout=10)
        return found

    def truth(self) -> list[dict[str, Any]] | None:
        """Planted surges that have started, where the exchange knows them."""
        if self.exchange_actor is None:
            return None
        found: list[dict[str, Any]] | None = self._ray.get(
            self.exchange_actor.truth.remote(), timeout=10
        )
        return found

    def stop(self) -> None:
        """End everything that `start` started, however far it came, within a minute, and every
        process that came into being below this one since. Further Ctrl-C change nothing; what fails
        is said and keeps nothing else from ending."""
        with uninterrupted(self.say, "still stopping"):
            ours = {k: at for k, at in descendants().items() if k not in self._others}
            for step in (self._stop_watching, self._stop_serving, self._stop_ray, self._stop_redis):
                try:
                    step()
                except Exception as error:
                    why = str(error).partition("\n")[0] or type(error).__name__
                    self.say(f"{step.__name__.removeprefix('_').replace('_', ' ')}: {why}")
            end(ours, END_WAIT_S)

    def _stop_watching(self) -> None:
        if self.supervisor is not None:
            self._ray.get(self.supervisor.stop.remote(), timeout=STOP_WAIT_S)

    def _stop_serving(self) -> None:
        self._given_up = True
        if self._serving is None or not self._listed.is_set():
            return
        from serve.app import undeploy

        # While the thread still deploys, Serve may not be there yet, or only in part: ask until it
        # has given up. What it starts after that ends with Ray.
        until_s = time.monotonic() + SERVE_WAIT_S
        undeploy()
        while self._serving.is_alive() and time.monotonic() < until_s:
            self._serving.join(0.5)
            undeploy()

    def _stop_ray(self) -> None:
        if self._ray is None:
            return
        if self._serving is not None and self._serving.is_alive():
            # Ray's functions start a Ray where none runs: not for a thread that is left behind.
            from ray._private import auto_init_hook

            auto_init_hook.enable_auto_connect = False
        self._ray.shutdown()

    def _stop_redis(self) -> None:
        if self.hot is not None:
            self.hot.close()
        if self._redis is not None:
            self._redis.close()


def new_session_dir(config: Config) -> Path:
    """A directory for the recording of a session that starts now."""
    return config.paths.under("recordings", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
