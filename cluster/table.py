"""The live table of the demo: what is watched, how likely a surge is, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foreshock.market.clock import MS_NS, SECOND_NS

BOOK_STYLES = {"SYNCED": "green", "RESYNCING": "yellow", "STALE": "red"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one drawing of the table needs. Stamps on our clock, UTC ns."""

    now_ns: int
    started_ns: int
    first_ns: int | None
    verdicts: Mapping[str, Mapping[str, Any]]
    market: Mapping[str, Mapping[str, Any]]
    status: Mapping[str, Any]
    signals: Sequence[Mapping[str, Any]]
    urls: Mapping[str, str]


def render(shown: Snapshot) -> RenderableType:
    """The table with a line above and below it."""
    horizons = next((v["horizons_s"] for v in shown.verdicts.values() if v["horizons_s"]), [])
    table = Table(expand=False, pad_edge=False, header_style="bold", box=None)
    for name, justify in (("symbol", "left"), ("price", "right"), ("book", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for horizon_s in horizons:
        table.add_column(f"P({_span(horizon_s)})", justify="right")
    for name in ("utility", "verdict", "age", "latency"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for symbol in _in_order(shown):
        table.add_row(*_row(shown, symbol, len(horizons)))
    return Group(_headline(shown), table, _footline(shown))


def _in_order(shown: Snapshot) -> list[str]:
    """Symbols as they were asked for; whatever else is known behind them."""
    asked = [s for w in shown.status.get("watchers", []) for s in w.get("symbols", ())]
    known = [s for s in dict.fromkeys(asked) if s in shown.market]
    return known + sorted(set(shown.market) - set(known))


def _row(shown: Snapshot, symbol: str, horizons: int) -> list[RenderableType]:
    market, verdict = shown.market[symbol], shown.verdicts.get(symbol, {})
    state = market["book_state"]
    chances = verdict.get("probabilities") or [None] * horizons
    reason = verdict.get("reason", "")
    style = "bold green" if verdict.get("signal") else "dim" if chances[:1] == [None] else ""
    utility = verdict.get("utility_bps")
    return [
        symbol,
        _price(market),
        Text(f"{state} {market['book_epoch']}", style=BOOK_STYLES.get(state, "")),
        *(Text(_chance(p), style=style) for p in chances),
        "" if utility is None else f"{utility:+.1f}",
        Text(_said(reason, verdict), style=style),
        f"{(shown.now_ns - market['boundary_ns']) / SECOND_NS:.1f}s",
        f"{(market['judged_ns'] - market['closed_at_ns']) / MS_NS:.0f}ms",
    ]


def _said(reason: str, verdict: Mapping[str, Any]) -> str:
    bill = verdict.get("bill")
    if verdict.get("signal") and bill:
        return f"SIGNAL {_span(verdict['horizon_s'])} bill {bill['total_bps']:.1f} bps"
    return str(reason)


def _headline(shown: Snapshot) -> Text:
    passed_s = (shown.now_ns - shown.started_ns) / SECOND_NS
    first = "waiting for the first verdict"
    if shown.first_ns is not None:
        first = f"first verdict after {(shown.first_ns - shown.started_ns) / SECOND_NS:.1f} s"
    return Text(f"foreshock · {passed_s:.0f} s · {first}", style="bold")


def _footline(shown: Snapshot) -> Text:
    watchers = [w for w in shown.status.get("watchers", []) if "rows" in w]
    frames = sum(w["frames"] for w in watchers)
    latency = [w["latency_ms"] for w in watchers if w["latency_ms"]["n"]]
    parts = [f"{frames} frames", f"{len(shown.signals)} signals"]
    if latency:
        p50, p99 = max(e["p50"] for e in latency), max(e["p99"] for e in latency)
        parts.append(f"socket → verdict p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    problems = [w["problem"] for w in shown.status.get("watchers", []) if w.get("problem")]
    line = Text(" · ".join([*parts, shown.urls.get("docs", "")]), style="dim")
    for problem in problems:
        line.append(f"\n{problem}", style="yellow")
    return line


def _price(market: Mapping[str, Any]) -> str:
    for name in ("last", "bid"):
        value = market.get(name)
        if value is not None and value == value:
            return f"{value:.8g}"
    return "–"


def _chance(p: float | None) -> str:
    return "–" if p is None else f"{100 * p:.1f}%"


def _span(horizon_s: int) -> str:
    return f"{horizon_s // 60}m" if horizon_s % 60 == 0 else f"{horizon_s}s"
