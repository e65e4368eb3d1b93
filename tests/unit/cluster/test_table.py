from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from cluster.table import Snapshot, render
from foreshock.market.clock import MS_NS, SECOND_NS

NOW_NS = 1_795_229_117_600 * MS_NS
BELOW_P, BELOW_U = "below_probability", "below_utility"
# symbol, last price, probabilities, utility_bps, reason
SEEN: tuple[tuple[str, float, tuple[float, ...] | None, float | None, str], ...] = (
    ("BTCUSDT", 64150.29, (0.473, 0.747, 0.753), -5.27, BELOW_U),
    ("ETHUSDT", 3106.29, (0.086, 0.267, 0.788), -34.68, BELOW_P),
    ("BNBUSDT", 615.53, (0.832, 0.752, 0.844), -5.31, "cool_down"),
    ("SOLUSDT", 147.95, (0.122, 0.578, 0.812), -16.84, BELOW_P),
    ("XRPUSDT", 0.6174, (0.009, 0.184, 0.527), -49.93, BELOW_P),
    ("DOGEUSDT", 0.14171, (0.585, 0.774, 0.873), -4.21, BELOW_U),
    ("ADAUSDT", 0.45673, (0.649, 0.712, 0.797), 7.92, "signal"),
    ("AVAXUSDT", 34.079, None, None, "book_resyncing"),
)


def snapshot() -> Snapshot:
    """One moment of a demo with eight symbols; one has signalled, one book waits for a snapshot."""
    boundary_ns = NOW_NS - 600 * MS_NS
    market, verdicts = {}, {}
    for symbol, last, chances, utility_bps, reason in SEEN:
        synced = chances is not None
        market[symbol] = {
            "last": last,
            "book_state": "SYNCED" if synced else "RESYNCING",
            "book_epoch": 1 if synced else 2,
            "boundary_ns": boundary_ns,
            "closed_at_ns": boundary_ns,
            "judged_ns": boundary_ns + 24 * MS_NS,
        }
        verdicts[symbol] = {
            "horizons_s": [30, 60, 120],
            "horizon_s": 60,
            "probabilities": chances,
            "utility_bps": utility_bps,
            "reason": reason,
            "signal": reason == "signal",
            "bill": {"total_bps": 23.57} if synced else None,
        }
    watcher = {
        "symbols": [symbol for symbol, *_ in SEEN],
        "frames": 9386,
        "rows": 20751,
        "latency_ms": {"p50": 24.6, "p99": 61.2, "n": 25},
    }
    return Snapshot(
        now_ns=NOW_NS,
        started_ns=NOW_NS - 48 * SECOND_NS,
        first_ns=NOW_NS - 25 * SECOND_NS,
        verdicts=verdicts,
        market=market,
        status={"watchers": [watcher]},
        signals=[{}, {}],
        urls={"docs": "http://127.0.0.1:8000/docs"},
    )


def drawn(shown: Snapshot) -> list[str]:
    console = Console(width=110, color_system=None)
    with console.capture() as capture:
        console.print(render(shown))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_picture_in_the_readme_is_what_the_table_draws(repository: Path) -> None:
    picture = re.search(
        r"^```screen\n(.*?)^```$", (repository / "README.md").read_text(), re.M | re.S
    )
    assert picture is not None
    assert picture[1].splitlines() == drawn(snapshot())


def test_the_table_is_drawn_before_anything_is_known() -> None:
    nothing = Snapshot(NOW_NS, NOW_NS, None, {}, {}, {}, [], {})
    head, *_, foot = drawn(nothing)
    assert "waiting for the first verdict" in head
    assert foot.startswith("0 frames · 0 signals")
