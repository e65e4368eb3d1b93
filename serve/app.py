"""The Ray Serve application: Scorer, Gate and the HTTP ingress, and how they are brought up.

First `os.environ.update(serve.hosting.ray_environment(port))`, before Ray is imported; then
`ray.init(…)`, `site = deploy(settings, wiring)` and, at the end, `undeploy()`. Watchers send their
boundaries with `site.gate.judge.remote(message)`."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx
from ray import serve as ray_serve
from ray.serve.config import AutoscalingConfig
from ray.serve.handle import DeploymentHandle

from serve.api_replica import ApiReplica
from serve.envelope import DoorError, whole_response
from serve.gate_replica import GateReplica
from serve.hosting import put_error_page, tidy
from serve.scorer_replica import ScorerReplica
from serve.settings import ServeSettings
from serve.wiring import Wiring

__all__ = ["Site", "Wiring", "build", "deploy", "gate_handle", "undeploy"]

_LOG = logging.getLogger(__name__)

APPLICATION: Final = "foreshock"
SCORER, GATE, API = "Scorer", "Gate", "Api"
_DOOR_S: Final = 60.0
_NOBODY: Final = DoorError(
    503,
    "unavailable",
    "the API is starting, or coming back after a fault",
    reason="no_replica",
    retry_after_seconds=2.0,
)


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
    put_error_page(whole_response(_NOBODY))
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
    tidy()


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
