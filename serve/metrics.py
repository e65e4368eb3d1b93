"""The application's metrics in Prometheus' text format, made of what the gate noted. Whichever
replica is asked gives the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric

from foreshock.market.clock import SECOND_NS
from serve.facts import EDGES_MS
from serve.predictions import age_ms

Json = Mapping[str, Any]
_STATES = ("SYNCED", "RESYNCING", "STALE")
_HISTOGRAMS = {
    "socket_to_verdict": "From the arrival of the row that closed a boundary to its verdicts.",
    "gate": "From the arrival of a watcher's message at the gate to its verdicts.",
    "scoring": "From the gate's call to the scorer's answer.",
}
# What a watcher says of itself: name there → name here, what it means.
_HEALTH = {
    "clock_offset_s": ("clock_offset_seconds", "The venue's clock minus ours."),
    "lag_s": ("lag_seconds", "From the oldest arrival of a micro-batch to its rows' effect."),
    "shedding": ("shedding", "0: nothing given up, 1: recording, 2: slow features too."),
}


class _Seen:
    """A collector of one scrape."""

    def __init__(
        self,
        facts: Json,
        verdicts: Mapping[str, Json],
        market: Mapping[str, Json],
        now_ns: int,
        retraining: Json,
    ) -> None:
        self._facts, self._verdicts, self._market = facts, verdicts, market
        self._now_ns, self._retraining = now_ns, retraining

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield GaugeMetricFamily("foreshock_up", "1: the hot store answers.", 1)
        reasons = CounterMetricFamily(
            "foreshock_verdicts", "Verdicts by reason.", labels=["reason"]
        )
        for reason, n in sorted(facts.get("verdicts", {}).items()):
            reasons.add_metric([reason], n)
        yield reasons
        yield CounterMetricFamily(
            "foreshock_signals", "Signals.", facts.get("verdicts", {}).get("signal", 0)
        )
        yield CounterMetricFamily(
            "foreshock_boundaries", "Boundaries judged.", facts.get("boundaries", 0)
        )
        yield from self._latencies()
        yield from self._symbols()
        failures = CounterMetricFamily(
            "foreshock_scorer_failures", "Boundaries without scores.", labels=["kind"]
        )
        for kind, n in sorted(facts.get("scorer_failures", {}).items()):
            failures.add_metric([kind], n)
        yield failures
        yield CounterMetricFamily(
            "foreshock_store_failures", "Boundaries not published.", facts.get("store_failures", 0)
        )
        for name, n in sorted(facts.get("ledger", {}).items()):
            yield GaugeMetricFamily(f"foreshock_ledger_{name}", f"Signals {name}.", n)
        model = GaugeMetricFamily(
            "foreshock_model_info", "The model that speaks.", labels=["version", "domain"]
        )
        if facts.get("model"):
            model.add_metric([facts["model"]["version"], facts["model"]["domain"]], 1)
        yield model
        yield from self._models()
        silence = GaugeMetricFamily(
            "foreshock_watcher_silence_seconds", "Since its last message.", labels=["watcher"]
        )
        for name, watcher in sorted(facts.get("watchers", {}).items()):
            seconds = (self._now_ns - watcher["received_ns"]) / SECOND_NS
            silence.add_metric([name], max(0.0, seconds))
        yield silence
        yield from self._health()

    def _models(self) -> Iterator[Metric]:
        facts, labels = self._facts, ["version", "scope"]
        age = GaugeMetricFamily(
            "foreshock_model_age_seconds",
            "From the end of its training to the last boundary that it was asked about.",
            labels=labels,
        )
        expired = GaugeMetricFamily(
            "foreshock_model_expired", "1: too old to speak.", labels=labels
        )
        for model in facts.get("models", []):
            named = [model["version"], model["scope"]]
            if model["age_s"] is not None:
                age.add_metric(named, model["age_s"])
            expired.add_metric(named, float(model["expired"]))
        yield age
        yield expired
        psi = (facts.get("drift") or {}).get("psi") or []
        drift = GaugeMetricFamily(
            "foreshock_drift_psi", "Population stability index of the features.", labels=["of"]
        )
        if psi:
            drift.add_metric(["median"], sorted(psi)[len(psi) // 2])
            drift.add_metric(["worst"], max(psi))
        yield drift
        labels = ["schedule", "scope"]
        failures = GaugeMetricFamily(
            "foreshock_retraining_failures", "Failed jobs in a row.", labels=labels
        )
        since = GaugeMetricFamily(
            "foreshock_retraining_age_seconds", "Since a job last did its work.", labels=labels
        )
        for line in self._retraining.get("targets", []):
            named = [line["schedule"], line["scope"]]
            failures.add_metric(named, line["failures"])
            if line["trained_ns"]:
                since.add_metric(named, (self._now_ns - line["trained_ns"]) / SECOND_NS)
        yield failures
        yield since

    def _health(self) -> Iterator[Metric]:
        for name, told in _HEALTH.items():
            gauge = GaugeMetricFamily(f"foreshock_watcher_{told[0]}", told[1], labels=["watcher"])
            for watcher, noted in sorted(self._facts.get("watchers", {}).items()):
                if name in (health := noted.get("health", {})):
                    gauge.add_metric([watcher], health[name])
            yield gauge

    def _latencies(self) -> Iterator[Metric]:
        for name, histogram in self._facts.get("latency_ms", {}).items():
            total, buckets = 0, []
            for edge, n in zip([*EDGES_MS, None], histogram["counts"], strict=True):
                total += n
                buckets.append(("+Inf" if edge is None else str(edge / 1_000), total))
            metric = HistogramMetricFamily(f"foreshock_{name}_seconds", _HISTOGRAMS[name])
            metric.add_metric([], buckets, histogram["sum_ms"] / 1_000)
            yield metric

    def _symbols(self) -> Iterator[Metric]:
        states = Counter(state["book_state"] for state in self._market.values())
        books = GaugeMetricFamily(
            "foreshock_symbols", "Symbols by the state of their book.", labels=["book_state"]
        )
        for state in _STATES:
            books.add_metric([state], states.get(state, 0))
        yield books
        ages = GaugeMetricFamily(
            "foreshock_verdict_age_seconds", "Age of the last verdict.", labels=["symbol"]
        )
        epochs = GaugeMetricFamily(
            "foreshock_book_epoch", "Epoch of the book; it grows with every gap.", labels=["symbol"]
        )
        for symbol, verdict in sorted(self._verdicts.items()):
            ages.add_metric([symbol], age_ms(verdict, self._now_ns) / 1_000)
            epochs.add_metric([symbol], verdict["book_epoch"])
        yield ages
        yield epochs


class _Down:
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("foreshock_up", "1: the hot store answers.", 0)


def render(
    facts: Json,
    verdicts: Mapping[str, Json],
    market: Mapping[str, Json],
    now_ns: int,
    retraining: Json | None = None,
) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Seen(facts, verdicts, market, now_ns, retraining or {}))
    return generate_latest(registry)


def render_down() -> bytes:
    """The text where the store is away: one gauge that says so."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Down())
    return generate_latest(registry)
