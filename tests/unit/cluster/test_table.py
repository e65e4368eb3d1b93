from __future__ import annotations

from typing import Any

from rich.console import Console

from cluster.table import Snapshot, render
from foreshock.market.clock import MS_NS, SECOND_NS

NOW_NS = 1_795_229_117_600 * MS_NS
BOUNDARY_NS = NOW_NS - 600 * MS_NS
STATE = {
    "last": 0.45673,
    "book_state": "SYNCED",
    "book_epoch": 1,
    "boundary_ns": BOUNDARY_NS,
    "closed_at_ns": BOUNDARY_NS,
    "judged_ns": BOUNDARY_NS + 24 * MS_NS,
}
VERDICT = {
    "horizons_s": [30, 60],
    "horizon_s": 60,
    "probabilities": [0.649, 0.712],
    "utility_bps": 7.92,
    "reason": "signal",
    "signal": True,
    "bill": {"total_bps": 23.57},
}


def drawn(market: dict[str, Any], verdicts: dict[str, Any], **changes: Any) -> list[str]:
    shown: dict[str, Any] = {
        "now_ns": NOW_NS,
        "started_ns": NOW_NS - 48 * SECOND_NS,
        "first_ns": None,
        "verdicts": verdicts,
        "market": market,
        "status": {},
        "signals": [],
        "urls": {},
    }
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(render(Snapshot(**{**shown, **changes})))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_signal_shows_its_horizon_and_its_bill() -> None:
    line = drawn({"ADAUSDT": STATE}, {"ADAUSDT": VERDICT})[2]
    assert line.split("  ")[0] == "ADAUSDT"
    assert "64.9%  71.2%" in line
    assert "+7.9  SIGNAL 1m bill 23.6 bps" in line
    assert line.endswith("0.6s     24ms")


def test_what_was_not_scored_shows_no_number() -> None:
    silent = {**VERDICT, "probabilities": None, "utility_bps": None, "bill": None, "signal": False}
    silent["reason"] = "book_resyncing"
    state = {**STATE, "book_state": "RESYNCING", "book_epoch": 2}
    line = drawn({"ADAUSDT": state}, {"ADAUSDT": silent})[2]
    assert "%" not in line
    assert line.split() == [
        "ADAUSDT", "0.45673", "RESYNCING", "2", "–", "–", "book_resyncing", "0.6s", "24ms",
    ]  # fmt: skip


def test_symbols_keep_the_order_in_which_they_were_asked_for() -> None:
    market = {symbol: STATE for symbol in ("ADAUSDT", "BTCUSDT", "ETHUSDT")}
    watcher = {"name": "w", "symbols": {"ETHUSDT": {}, "BTCUSDT": {}}, "problem": "starting"}
    lines = drawn(market, {}, status={"watchers": [watcher]})
    assert [line.split()[0] for line in lines[2:5]] == ["ETHUSDT", "BTCUSDT", "ADAUSDT"]
    assert lines[-1] == "starting"


def test_the_table_is_drawn_before_anything_is_known() -> None:
    head, *_, foot = drawn({}, {})
    assert head == "foreshock · 48 s · waiting for the first verdict"
    assert foot.startswith("0 frames · 0 signals")
