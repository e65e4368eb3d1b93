"""`foreshock demo`: the whole chain on one machine, with a live table, until Ctrl-C or `--for`."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live

from cluster.options import Files, LiveOption, Set, read_config
from cluster.output import FAILED, MISSING, WRONG_USE, PartMissingError, as_json
from cluster.session import polite_end, simulated_exchange, watched
from cluster.table import Snapshot, render
from foreshock.errors import ConfigError, ForeshockError, StoreError
from foreshock.market.clock import MS_NS, SECOND_NS, Clock

if TYPE_CHECKING:
    from cluster.system import System
    from foreshock.models.base import Domain
    from foreshock.settings import Config

REFRESH_S: Final = 0.5
STATUS_EVERY_S: Final = 1.0
FIRST_VERDICT_WAIT_S: Final = 180.0

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """'60s', '5m', '2h' or '90' in seconds. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no duration: write 60s, 5m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def demo(
    run_for: Annotated[
        str | None, typer.Option("--for", help="End so long after the first verdict: 60s, 5m.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write what happened here.")] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option("--recording", help="Play recorded frames; several files of one session."),
    ] = None,
    speed: Annotated[str, typer.Option("--speed", help="Of a recording: a number, or max.")] = "1",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the session's recording.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live table.")] = False,
    live: LiveOption = False,
    config: Files = None,
    given: Set = None,
) -> None:
    """Run everything on this machine: an exchange, watchers, a model, the gate and the HTTP API."""
    console = Console(highlight=False)
    try:
        if live and recording:
            raise ConfigError("--live and --recording contradict each other")
        settings = read_config("live" if live else "demo", config, given).tree
        limit_s = None if run_for is None else seconds(run_for)
        run = Demo(settings, console, tuple(recording or ()), speed, keep, plain)
        with polite_end():
            outcome = run.play(limit_s)
    except ConfigError as error:
        console.print(f"[red]foreshock:[/] {error}")
        raise typer.Exit(WRONG_USE) from None
    except PartMissingError as error:
        console.print(f"[red]foreshock:[/] {error}")
        raise typer.Exit(MISSING) from None
    except ForeshockError as error:
        console.print(f"[red]foreshock:[/] {error}")
        raise typer.Exit(FAILED) from None
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(as_json(outcome) + "\n")
    console.print(closing_words(outcome))
    if outcome["seconds_to_first_verdict"] is None:
        raise typer.Exit(FAILED)


@dataclass(slots=True)
class Demo:
    """One run of the demo."""

    config: Config
    console: Console
    recording: tuple[Path, ...]
    speed: str
    keep: bool
    plain: bool
    clock: Clock = field(default_factory=Clock)
    signals: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    first_ns: int | None = None

    def play(self, limit_s: float | None) -> dict[str, Any]:
        """Run until Ctrl-C or `limit_s` seconds after the first verdict; returns what happened."""
        from cluster.first_model import has_model, simulation_domain, train_first_model
        from cluster.system import System, new_session_dir

        domain, started_ns = simulation_domain(self.config), self.clock.now_ns()
        try:
            exchange, domain, tape = self._exchange(domain)
            if self.simulated and not has_model(self.config, domain):
                self.console.print("no model yet: training the first one, once (about two minutes)")
                report = train_first_model(self.config, self._say)
                word = "promoted" if report["promoted"] else "not promoted"
                self.console.print(f"  model {report['version']}: {word}: {report['reason']}")
                exchange = self._exchange(domain)[0]  # it begins now
            started_ns = self.clock.now_ns()
            system = System(
                self.config,
                domain,
                exchange=exchange,
                tape=tape,
                record_to=new_session_dir(self.config) if self.keep else None,
                say=self._say,
            )
            with system:
                self._welcome(system)
                try:
                    self._watch(system, started_ns, limit_s)
                except KeyboardInterrupt:
                    self.console.print("stopping")
                    self._ask_status(system)
                return self._outcome(system, domain, started_ns)
        except KeyboardInterrupt:  # before everything was up, or once more
            self.console.print("stopped")
            return self._outcome(None, domain, started_ns)

    @property
    def simulated(self) -> bool:
        """Whether the exchange plays the simulation; else a recording, or it is the venue."""
        return not self.recording and self.config.mode == "demo"

    def _exchange(self, simulated: Domain) -> tuple[Any, Domain, str | None]:
        """What the exchange plays (None: the venue itself is watched), the domain of its rows, and
        the tape to subscribe (None: the market's own)."""
        if self.simulated:
            return simulated_exchange(self.config, self.clock.now_ns()), simulated, None
        if not self.recording:
            return *watched(self.config), None
        from actors.exchange_settings import LocalExchangeSettings
        from foreshock.models.base import Domain
        from foreshock.replay.driver import tape_of
        from foreshock.stores.raw_sessions import read_raw_session

        exchange, session = self.config.exchange, read_raw_session(list(self.recording))
        played = LocalExchangeSettings.model_validate(
            {
                "recording": [str(path) for path in self.recording],
                "speed": "max" if self.speed == "max" else float(self.speed),
                "begin": "first_subscriber",
                "host": exchange.host,
                "port": exchange.port,
            }
        )
        domain = Domain(source="binance", market=session.market, tier="book")
        return played, domain, tape_of(session.events)

    def _say(self, what: str) -> None:
        self.console.print(f"  {what}", style="dim")

    def _welcome(self, system: System) -> None:
        for name, url in system.urls.items():
            self.console.print(f"  {name:14s} {url}")
        if "jobs" in system.urls:
            self.console.print(
                "  a training job: .venv/bin/ray job submit --address "
                f"{system.urls['jobs']} --working-dir . -- python -m pipelines.tune_models --help"
            )

    def _watch(self, system: System, started_ns: int, limit_s: float | None) -> None:
        """Show the table until the time is over, and remember when the first verdict came."""
        status_due_ns = 0
        live = None if self.plain else Live(console=self.console, refresh_per_second=4)
        try:
            if live is not None:
                live.start()
            while True:
                now_ns = self.clock.now_ns()
                if now_ns >= status_due_ns:
                    self._ask_status(system)
                    status_due_ns = now_ns + int(STATUS_EVERY_S * SECOND_NS)
                self._remember_signals(system)
                if self.first_ns is None:
                    self.first_ns = self._first_verdict_ns()
                since_ns, allowed_s = (
                    (started_ns, FIRST_VERDICT_WAIT_S)
                    if self.first_ns is None
                    else (self.first_ns, limit_s)
                )
                if limit_s is not None and now_ns - since_ns >= (allowed_s or 0) * SECOND_NS:
                    self._ask_status(system)
                    return
                if live is not None:
                    live.update(render(self._snapshot(system, started_ns)))
                time.sleep(REFRESH_S)
        finally:
            if live is not None:
                live.stop()

    def _ask_status(self, system: System) -> None:
        """The newest status; a supervisor that is too busy to answer leaves the last one."""
        import ray

        try:
            self.status = system.status()
        except ray.exceptions.RayError as error:
            self._say(f"the supervisor did not answer: {type(error).__name__}")

    def _first_verdict_ns(self) -> int | None:
        """The first verdict with a probability; of a market without a model, the first at all."""
        name = "first_probability_ns" if self.simulated else "first_verdict_ns"
        stamps = [w[name] for w in self.status.get("watchers", []) if w.get(name)]
        return min(stamps, default=None)

    def _remember_signals(self, system: System) -> None:
        try:
            for verdict in system.hot.last_signals(500):
                self.signals.setdefault(verdict["id"], verdict)
        except StoreError as error:
            self._say(str(error))

    def _snapshot(self, system: System, started_ns: int) -> Snapshot:
        return Snapshot(
            now_ns=self.clock.now_ns(),
            started_ns=started_ns,
            first_ns=self.first_ns,
            verdicts=system.hot.verdicts(),
            market=system.hot.market(),
            status=self.status,
            signals=list(self.signals.values()),
            urls=system.urls,
        )

    def _outcome(self, system: System | None, domain: Domain, started_ns: int) -> dict[str, Any]:
        """What `--json` writes; the names stay."""
        first_ns = self.first_ns
        watchers = [w for w in self.status.get("watchers", []) if "rows" in w]
        reasons: Counter[str] = Counter()
        fates: Counter[str] = Counter()
        for watcher in watchers:
            reasons.update(watcher["verdicts"])
            fates.update(watcher["frames_by_outcome"])
        said = reasons.pop("signal", 0)
        latency = [w["latency_ms"] for w in watchers if w["latency_ms"]["n"]]
        return {
            "seconds_to_first_verdict": None
            if first_ns is None
            else round((first_ns - started_ns) / SECOND_NS, 3),
            "seconds": round((self.clock.now_ns() - started_ns) / SECOND_NS, 3),
            "domain": str(domain),
            "symbols": sum(len(w["symbols"]) for w in watchers),
            "frames": sum(w["frames"] for w in watchers),
            "frames_by_outcome": dict(fates),
            "rows": sum(w["rows"] for w in watchers),
            "vectors": sum(w["vectors"] for w in watchers),
            "verdicts": said + sum(reasons.values()),
            "signals": said,
            "refusals": dict(reasons),
            "latency_ms": {
                "p50": max((entry["p50"] for entry in latency), default=None),
                "p99": max((entry["p99"] for entry in latency), default=None),
            },
            "epochs": {
                symbol: entry["book_epoch"]
                for w in watchers
                for symbol, entry in w["symbols"].items()
            },
            "books": dict(Counter(e["book"] for w in watchers for e in w["symbols"].values())),
            "restarts": self.status.get("restarts", 0),
            "truth": None if system is None else self._truth(system, watchers),
            "urls": {} if system is None else dict(system.urls),
        }

    def _truth(self, system: System, watchers: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Signals against the surges that the exchange planted; None where it does not tell."""
        import ray

        from cluster.score_truth import precision_and_recall

        if not self.simulated or self.first_ns is None or not watchers:
            return None
        try:
            planted = system.truth()
        except ray.exceptions.RayError as error:
            self._say(f"the exchange did not answer: {type(error).__name__}")
            return None
        if planted is None:
            return None
        return precision_and_recall(
            list(self.signals.values()),
            planted,
            venue_minus_ours_ns=int(watchers[0]["clock_offset_ms"] * MS_NS),
            from_ns=self.first_ns,
            until_ns=self.clock.now_ns(),
        )


def closing_words(outcome: Mapping[str, Any]) -> str:
    """The outcome in a few lines for people."""
    first, latency, truth = (
        outcome["seconds_to_first_verdict"],
        outcome["latency_ms"],
        outcome["truth"],
    )
    lines = [
        f"first verdict after {first} s" if first is not None else "no verdict came",
        f"{outcome['frames']} frames, {outcome['rows']} rows, {outcome['vectors']} vectors, "
        f"{outcome['verdicts']} verdicts of {outcome['symbols']} symbols, "
        f"{outcome['signals']} signals",
    ]
    if latency["p50"] is not None:
        lines.append(f"socket → verdict p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")
    if outcome["refusals"]:
        told = ", ".join(f"{n} {reason}" for reason, n in sorted(outcome["refusals"].items()))
        lines.append(f"refusals: {told}")
    if truth is not None:
        lines.append(
            f"against the planted surges: precision {_rate(truth['precision'])} "
            f"({truth['right']} right, {truth['wrong']} wrong, {truth['open']} open), recall "
            f"{_rate(truth['recall'])} ({truth['found']} of {truth['surges']} found)"
        )
    return "\n".join(lines)


def _rate(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
