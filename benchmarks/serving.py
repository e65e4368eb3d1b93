"""`/predict` of the running demo, with the feeds running and paused.

Requests go over kept-alive connections on this machine, so that the client's own time is included:
Python's HTTP client is the dearer half of a short request.
"""

from __future__ import annotations

import asyncio
import time

import httpx
import numpy as np

from benchmarks._demo import running_demo
from benchmarks.common import Figures, arguments, finish, say

SYMBOL = "BTCUSDT"


async def _ask(url: str, connections: int, requests: int) -> Figures:
    """p50 and p99 in ms, and requests a second, over `connections` kept-alive connections."""
    taken: list[float] = []
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def worker(share: int) -> None:
            for _ in range(share):
                started = time.perf_counter()
                answer = await client.get(url, params={"symbol": SYMBOL})
                taken.append((time.perf_counter() - started) * 1000)
                # Paused feeds make the books STALE: the answer is a refusal then, as dear.
                if answer.status_code not in (200, 409):
                    answer.raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(worker(requests // connections) for _ in range(connections)))
        wall_s = time.perf_counter() - started
    return {
        "p50_ms": float(np.percentile(taken, 50)),
        "p99_ms": float(np.percentile(taken, 99)),
        "requests_per_s": len(taken) / wall_s,
    }


def _wait_until_predicted(url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if httpx.get(url, params={"symbol": SYMBOL}, timeout=10).status_code == 200:
            return
        time.sleep(0.5)
    raise RuntimeError(f"no prediction of {SYMBOL} came")


def main() -> None:
    given = arguments(__doc__)
    requests = 320 if given.quick else 1600
    results: dict[str, Figures] = {}
    with running_demo() as demo:
        url = demo.wait_for("api") + "/predict"
        _wait_until_predicted(url)
        for feeds in ("running", "paused"):
            if feeds == "paused":
                fault = {"kind": "silence", "symbol": "", "count": 10**9}
                exchange = demo.wait_for("exchange_rest")
                httpx.post(f"{exchange}/foreshock/fault", json=fault, timeout=10).raise_for_status()
                time.sleep(2.0)
            for connections in (1, 16):
                name = f"/predict, feeds {feeds}, {connections} connection(s)"
                results[name] = asyncio.run(_ask(url, connections, requests))
                say(f"{name}: {results[name]}")
    one, paused = (results[f"/predict, feeds {f}, 1 connection(s)"] for f in ("running", "paused"))
    ratios = {"p50 with feeds / without": float(one["p50_ms"]) / float(paused["p50_ms"])}
    finish("serving", given, results, ratios, "HTTP")


if __name__ == "__main__":
    main()
