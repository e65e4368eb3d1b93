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
from cluster.local_ray import free_port, ray_variables, start_ray
from cluster.processes import descendants, end
from foreshock.config import fingerprint
from foreshock.market.instruments import Instrument, by_symbol, canonical_symbol
from foreshock.models.base import Domain
from foreshock.settings import Config

if TYPE_CHECKING:
    from actors.local_exchange import LocalExchangeSettings

Say = Callable[[str], None]
STOP_WAIT_S: Final = 8.0  # for the watchers to hand over what they have
SERVE_WAIT_S: Final = 15.0  # for a half-started Serve to give up
END_WAIT_S: Final = 5.0  # for Ray's processes to end by themselves


@dataclass(slots=True)
class System:
    """One installation on this machine. `start`, use, `stop`; also a context manager.

    exchange   what the local exchange plays; None watches the venue itself
    judge      whether Serve runs and verdicts are given; False watches and records only
    record_to  directory of the session's recording; None keeps none
    watchers   how many share the symbols
    """

    config: Config
    domain: Domain
    exchange: LocalExchangeSettings | None = None
    judge: bool = True
    record_to: Path | None = None
    watchers: int = 1
    tape: str = "trade"
    say: Say = lambda _: None
    urls: dict[str, str] = field(default_factory=dict)
    hot: Any = None
    supervisor: Any = None
    exchange_actor: Any = None
    _redis: Any = None
    _redis_url: str = ""
    _ray: Any = None
    _site: Any = None
    _watching: Any = None
    _serving: threading.Thread | None = None
    _listed: threading.Event = field(default_factory=threading.Event)
    _symbols: tuple[str, ...] = ()
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
        self.hot = RedisHot(url, stream_length=self.config.redis.stream_length)
        self.hot.ping()
        self._redis_url = url

    def _start_ray(self, dashboard_port: int) -> None:
        import ray

        self._ray = ray
        start_ray(self.config.ray, dashboard_port, self.say)
        if self.config.ray.address is None:
            self.urls["jobs"] = f"http://127.0.0.1:{dashboard_port}"

    def _start_exchange(self) -> list[Instrument]:
        """The exchange, where there is one; the instruments to watch."""
        from actors.venue import fetch_instruments

        venue = self.config.venue
        if self.exchange is None:
            instruments = fetch_instruments(venue.market, venue.rest_url)
            known = by_symbol(instruments)
            wanted = [canonical_symbol(symbol) for symbol in venue.symbols]
            return [known[symbol] for symbol in wanted if symbol in known]
        from actors.local_exchange import LocalExchangeActor

        self.exchange_actor = LocalExchangeActor.remote(self.exchange)
        status = self._ray.get(self.exchange_actor.start.remote())
        self.urls |= {"exchange_rest": status["rest_url"], "exchange_ws": status["ws_url"]}
        known = by_symbol(fetch_instruments(status["market"], status["rest_url"]))
        return [known[symbol] for symbol in status["symbols"]]

    def _start_watching(self, instruments: list[Instrument]) -> None:
        from actors.plan import SPOT_REST, SPOT_WS, USDM_REST, USDM_WS, WatchPlan
        from actors.supervisor import SupervisorActor
        from foreshock.market.instruments import SPOT

        venue, spot = self.config.venue, self.domain.market == SPOT
        public_ws, public_rest = (SPOT_WS, SPOT_REST) if spot else (USDM_WS, USDM_REST)
        plan = WatchPlan(
            name="watcher",
            instruments=tuple(instruments),
            domain=self.domain,
            ws_url=self.urls.get("exchange_ws") or venue.ws_url or public_ws,
            rest_url=self.urls.get("exchange_rest") or venue.rest_url or public_rest,
            tape=self.tape,
            recording_dir=None if self.record_to is None else self.record_to / "watcher",
            gate="foreshock" if self.judge else None,
            stale_after_s=venue.stale_after_s,
            silent_after_s=venue.silent_after_s,
            snapshots_per_s=venue.max_snapshots_per_s,
            snapshot_every_s=self.config.engine.snapshot_every_s,
        )
        if self.record_to is not None:
            self._keep_settings(self.record_to)
        self.supervisor = SupervisorActor.options(
            num_cpus=0.05, name="supervisor", max_concurrency=32
        ).remote(plan, self.watchers)
        self._watching = self.supervisor.run.remote()

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
            ledger = config.ledger.url.get_secret_value() if config.ledger.url else None
            self._site = deploy(
                ServeSettings.of(config.serve, port=http_port),
                Wiring(
                    redis_url=self._redis_url,
                    ledger=ledger or config.paths.under("ledger.sqlite"),
                    registry_dir=config.paths.under("models"),
                    domain=self.domain,
                    symbols=self._symbols,
                    gate=config.gate_settings(),
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
