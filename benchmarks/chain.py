"""The whole chain as a user runs it: start to first verdict, and socket to verdict.

One demo with twenty simulated symbols over real sockets, watchers, scorer, gate and stores, all on
this machine. Latency is from the arrival of the row that closes a boundary to the moment when its
verdicts are published, the worst watcher's percentiles.
"""

from __future__ import annotations

from benchmarks._demo import running_demo
from benchmarks.common import Figures, arguments, finish


def main() -> None:
    given = arguments(__doc__)
    seconds = 20 if given.quick else 120
    with running_demo("--for", f"{seconds}s") as demo:
        outcome = demo.outcome()
    figures: Figures = {
        "seconds_to_first_verdict": outcome["seconds_to_first_verdict"],
        "symbols": outcome["symbols"],
        "frames": outcome["frames"],
        "verdicts": outcome["verdicts"],
        "latency_p50_ms": outcome["latency_ms"]["p50"],
        "latency_p99_ms": outcome["latency_ms"]["p99"],
    }
    ratios = {"latency p99 / 100 ms": outcome["latency_ms"]["p99"] / 100.0}
    finish("chain", given, {"foreshock demo": figures}, ratios, "Socket to verdict")


if __name__ == "__main__":
    main()
