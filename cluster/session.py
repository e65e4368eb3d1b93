"""What the verbs that bring up a System share: what it watches, how long, and how it goes."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from foreshock.errors import ConfigError
from foreshock.market.clock import Clock

if TYPE_CHECKING:
    from actors.exchange_settings import LocalExchangeSettings
    from cluster.system import System
    from foreshock.models.base import Domain
    from foreshock.settings import Config

Say = Callable[[str], None]
Tell = Callable[[Mapping[str, Any]], None]
LOOK_EVERY_S: Final = 0.5
FIRST_ROW_WAIT_S: Final = 120.0


def sayer() -> Say:
    """How a running verb talks to people: on stderr, since stdout is for what it found."""
    console = Console(stderr=True, highlight=False)

    def say(what: str) -> None:
        console.print(f"  {what}", style="dim", markup=False, soft_wrap=True)

    return say


@contextmanager
def polite_end() -> Iterator[None]:
    """A terminal that goes away or a polite kill is a Ctrl-C: nothing may be left running."""
    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, signal.default_int_handler) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def simulated_exchange(config: Config, start_ns: int) -> LocalExchangeSettings:
    """The local exchange that plays the simulation from `start_ns` (our clock) on."""
    from actors.exchange_settings import LocalExchangeSettings

    simulation = config.simulation.model_copy(update={"start_ns": start_ns})
    exchange = config.exchange
    return LocalExchangeSettings(simulation=simulation, host=exchange.host, port=exchange.port)


def watched(config: Config) -> tuple[LocalExchangeSettings | None, Domain]:
    """What the mode listens to: the local exchange to start, or None for the venue itself; and the
    domain of its rows. Raises ConfigError in mode replay, which listens to nothing."""
    from cluster.first_model import simulation_domain
    from foreshock.models.base import Domain

    if config.mode == "demo":
        return simulated_exchange(config, Clock().now_ns()), simulation_domain(config)
    if config.mode == "live":
        return None, Domain(source="binance", market=config.venue.market, tier="book")
    raise ConfigError(
        f"mode {config.mode} listens to nothing: choose demo or live; `foreshock replay` replays"
    )


def stay(system: System, limit_s: float | None, every_s: float, tell: Tell) -> dict[str, Any]:
    """Wait until Ctrl-C, or `limit_s` seconds after the first row; returns the last status.

    `tell` gets `tally` of a fresh status every `every_s` seconds. With a limit, a system that hears
    nothing at all is given up after FIRST_ROW_WAIT_S."""
    found = tally({})
    began_s = time.monotonic()
    heard_s: float | None = None
    told_s = began_s
    try:
        while True:
            now_s = time.monotonic()
            found = look(system, found)
            if heard_s is None and found["rows"]:
                heard_s = now_s
            if now_s - told_s >= every_s:
                told_s = now_s
                tell(found)
            if limit_s is not None:
                since_s, allowed_s = (
                    (began_s, FIRST_ROW_WAIT_S) if heard_s is None else (heard_s, limit_s)
                )
                if now_s - since_s >= allowed_s:
                    break
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        pass
    since_s = began_s if heard_s is None else heard_s
    return {"seconds": round(time.monotonic() - since_s, 3), **found}


def look(system: System, before: dict[str, Any]) -> dict[str, Any]:
    """The system's `tally` now; where it does not answer, what it was `before`, with the reason."""
    from ray.exceptions import RayError

    try:
        return tally(system.status())
    except (RayError, TimeoutError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        return {**before, "problems": [f"the supervisor does not answer: {said}"]}


def tally(status: Mapping[str, Any]) -> dict[str, Any]:
    """What the watchers of a supervisor's status counted, summed; the slowest watcher's latency."""
    told = status.get("watchers", [])
    watchers = [watcher for watcher in told if "rows" in watcher]
    reasons: Counter[str] = Counter()
    for watcher in watchers:
        reasons.update(watcher["verdicts"])
    latency = [w["latency_ms"] for w in watchers if w["latency_ms"]["n"]]
    return {
        "symbols": sum(len(w["symbols"]) for w in watchers),
        "books": dict(Counter(e["book"] for w in watchers for e in w["symbols"].values())),
        "frames": sum(w["frames"] for w in watchers),
        "rows": sum(w["rows"] for w in watchers),
        "verdicts": reasons.total(),
        "signals": reasons.pop("signal", 0),
        "refusals": dict(reasons),
        "latency_ms": {
            name: max((entry[name] for entry in latency), default=None) for name in ("p50", "p99")
        },
        "shed_rows": sum(w["shed_rows"] for w in watchers),
        "restarts": status.get("restarts", 0),
        "problems": [problem for w in told for problem in _problems(w)],
    }


def _problems(watcher: Mapping[str, Any]) -> list[str]:
    """What is wrong with a watcher, a sentence each."""
    found = [watcher["problem"]] if watcher.get("problem") else []
    if watcher.get("shedding", "nothing") != "nothing":
        found.append(f"{watcher['lag_ms']:.0f} ms behind, gives up {watcher['shedding']}")
    if watcher.get("fallback"):
        found.append(f"the primary is down, listening to {watcher['domain']}")
    return [f"{watcher['name']}: {one}" for one in found]


def status_line(found: Mapping[str, Any]) -> str:
    """`tally` in one line for people."""
    books = ", ".join(f"{n} {state}" for state, n in sorted(found["books"].items()))
    parts = [
        f"{found['symbols']} symbols ({books or 'no book yet'})",
        f"{found['frames']} frames",
        f"{found['rows']} rows",
    ]
    if found["verdicts"]:
        parts.append(f"{found['verdicts']} verdicts, {found['signals']} signals")
    if found["latency_ms"]["p50"] is not None:
        latency = found["latency_ms"]
        parts.append(f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms")
    if found["shed_rows"]:
        parts.append(f"{found['shed_rows']} rows not recorded")
    if found["restarts"]:
        parts.append(f"{found['restarts']} restarts")
    return " · ".join([*parts, *found["problems"]])
