"""The Ray Serve application: Scorer, Gate and the HTTP ingress, and how they are brought up.

from serve.hosting import ray_environment
os.environ.update(ray_environment(port))      # before Ray is imported
ray.init(…)
site = deploy(settings, wiring)               # site.url, site.gate.judge.remote(message)
undeploy()
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray
from ray import serve as ray_serve
from ray.serve.config import AutoscalingConfig
from ray.serve.handle import DeploymentHandle

from foreshock.engine.message import BoundaryMessage
from foreshock.models.base import Domain
from foreshock.signals.gate import GateSettings
from foreshock.stores.hot import RedisHot
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import DirectoryRegistry
from serve.api import create_api
from serve.board import Board
from serve.gate import Gate
from serve.outbox import Outbox
from serve.scorer import Scorer, Scores, champion_of
from serve.settings import ServeSettings

_LOG = logging.getLogger(__name__)

APPLICATION: Final = "foreshock"
SCORER, GATE, API = "Scorer", "Gate", "Api"
_DOOR_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where the deployments find what they need. Plain values: it travels to every replica.

    redis_url      hot store
    ledger         SQLAlchemy address, or the path of a SQLite file
    registry_dir   models
    domain         what the rows are of: the champion of this domain is served
    symbols        configured pairs, so that one without a verdict is not_warm and not unknown
    gate           thresholds, costs and barriers
    model          an artifact directory to serve instead of the champion
    prefix         of the hot store's keys
    """

    redis_url: str
    ledger: str | Path
    registry_dir: Path
    domain: Domain
    symbols: tuple[str, ...] = ()
    gate: GateSettings = field(default_factory=GateSettings)
    model: Path | None = None
    prefix: str = "foreshock:"


@dataclass(frozen=True, slots=True)
class Site:
    """A deployed application.

    url       of the HTTP API
    haproxy   whether HAProxy is before it; False: Ray's default proxy, which is slower
    gate      handle for watchers: `await site.gate.judge.remote(message)`
    scorer    handle to the scorer
    """

    url: str
    haproxy: bool
    gate: DeploymentHandle[Any]
    scorer: DeploymentHandle[Any]


class ScorerReplica:
    """A scorer in a replica of its own."""

    def __init__(self, wiring: Wiring) -> None:
        registry = DirectoryRegistry(wiring.registry_dir)
        self._scorer = Scorer(lambda domain: champion_of(registry, domain), wiring.domain)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """See `serve.scorer.Scorer.reconfigure`."""
        self._scorer.reconfigure(user_config)

    async def score(self, matrix: NDArray[np.float32]) -> Scores:
        """See `serve.scorer.Scorer.score`. On the loop: a matrix takes less than a thread's turn."""
        return self._scorer.score(matrix)

    def whoami(self) -> int:
        """Process id, for those who test what happens when it dies."""
        return os.getpid()


class GateReplica:
    """The gate in its replica, with a connection to everything it writes to."""

    def __init__(
        self, scorer: DeploymentHandle[Any], settings: ServeSettings, wiring: Wiring
    ) -> None:
        outbox = Outbox(
            lambda: Ledger(wiring.ledger), settings.ledger_every_s, settings.ledger_queue
        )
        hot = RedisHot(wiring.redis_url, prefix=wiring.prefix, timeout_s=settings.store_timeout_s)
        self._gate = Gate(_score_of(scorer), hot, outbox, settings, wiring.gate)

    async def judge(self, message: BoundaryMessage) -> dict[str, Any]:
        """See `serve.gate.Gate.judge`."""
        return await self._gate.judge(message)

    def whoami(self) -> int:
        """Process id, for those who test what happens when it dies."""
        return os.getpid()

    def __del__(self) -> None:
        gate = getattr(self, "_gate", None)
        if gate is not None:
            gate.close()


class ApiReplica:
    """The HTTP ingress; Serve asks for the application once the constructor is done. It takes the
    gate's handle only because Serve deploys what the ingress depends on."""

    def __init__(
        self,
        scorer: DeploymentHandle[Any],
        gate: DeploymentHandle[Any],
        settings: ServeSettings,
        wiring: Wiring,
    ) -> None:
        hot = RedisHot(wiring.redis_url, prefix=wiring.prefix, timeout_s=settings.store_timeout_s)
        self._board = Board(hot, lambda: Ledger(wiring.ledger))
        self._application = create_api(
            self._board, settings, score=_score_of(scorer), symbols=wiring.symbols
        )

    def __serve_build_asgi_app__(self) -> Any:
        return self._application

    def __del__(self) -> None:
        board = getattr(self, "_board", None)
        if board is not None:
            board.close()


def _score_of(scorer: DeploymentHandle[Any]) -> Any:
    async def score(matrix: NDArray[np.float32]) -> Scores:
        scores: Scores = await scorer.score.remote(matrix)
        return scores

    return score


def build(settings: ServeSettings, wiring: Wiring) -> ray_serve.Application:
    """The three deployments, bound to each other. Nothing is started."""
    common: dict[str, Any] = {"health_check_period_s": 2.0, "health_check_timeout_s": 10.0}
    scorer = ray_serve.deployment(
        name=SCORER,
        ray_actor_options={"num_cpus": settings.scorer_cpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            target_ongoing_requests=settings.target_ongoing_requests,
            upscale_delay_s=5.0,
            downscale_delay_s=120.0,
        ),
        max_ongoing_requests=max(8, round(4 * settings.target_ongoing_requests)),
        user_config={"model": str(wiring.model) if wiring.model else None},
        graceful_shutdown_timeout_s=2.0,
        **common,
    )(ScorerReplica).bind(wiring)
    gate = ray_serve.deployment(
        name=GATE,
        ray_actor_options={"num_cpus": settings.gate_cpus},
        num_replicas=1,
        max_ongoing_requests=64,
        graceful_shutdown_timeout_s=8.0,
        **common,
    )(GateReplica).bind(scorer, settings, wiring)
    ingress = ray_serve.ingress()(ApiReplica)
    return ray_serve.deployment(
        name=API,
        ray_actor_options={"num_cpus": settings.api_cpus},
        num_replicas=1,
        max_ongoing_requests=256,
        graceful_shutdown_timeout_s=2.0,
        **common,
    )(ingress).bind(scorer, gate, settings, wiring)


def deploy(settings: ServeSettings, wiring: Wiring) -> Site:
    """Start Serve on the connected cluster and wait until the application runs.

    `serve.hosting.ray_environment` must have been in the environment before Ray was imported, else
    the default proxy answers; `Site.haproxy` says which. Raises RuntimeError where a deployment
    does not come up."""
    from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY as HAPROXY

    if not HAPROXY:
        _LOG.warning("no HAProxy: Ray's default proxy answers, with a tenth of the requests/s")
    application = build(settings, wiring)
    url = f"http://{_reachable(settings.host)}:{settings.port}"
    ray_serve.start(
        proxy_location="HeadOnly",
        http_options={"host": settings.host, "port": settings.port, "keep_alive_timeout_s": 60},
        logging_config={"encoding": "TEXT", "enable_access_log": False},
    )
    ray_serve.run(application, name=APPLICATION, route_prefix="/")
    _await_door(url)
    return Site(
        url=url,
        haproxy=bool(HAPROXY),
        gate=gate_handle(),
        scorer=ray_serve.get_deployment_handle(SCORER, APPLICATION),
    )


def gate_handle() -> DeploymentHandle[Any]:
    """The gate of the running application, for watchers in other processes."""
    return ray_serve.get_deployment_handle(GATE, APPLICATION)


def undeploy() -> None:
    """Take the application down and end Serve. What the gate still holds for the ledger is written
    first."""
    ray_serve.shutdown()  # type: ignore[no-untyped-call]


def _await_door(url: str) -> None:
    """Until the API answers through its proxy, which is told of replicas after they run."""
    deadline_s = time.monotonic() + _DOOR_S
    while True:
        try:
            if "json" in httpx.get(f"{url}/health", timeout=5.0).headers.get("content-type", ""):
                return
        except httpx.TransportError as error:
            _LOG.debug("the door is not open yet: %s", error)
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{url} did not answer within {_DOOR_S:g} s of its start")
        time.sleep(0.1)


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host
