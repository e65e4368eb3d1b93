"""`foreshock warm`: compile every kernel, so that nothing compiles while a market is watched."""

from __future__ import annotations

import time

from rich.console import Console

from cluster.options import Json
from cluster.output import Answer, answer


def warm(json: Json = False) -> None:
    """Compile every kernel into the cache; a second run only reads it."""

    def work() -> Answer:
        from foreshock.market.jit import cache_root, uncompiled

        started = time.perf_counter()
        warm_everything()
        seconds = time.perf_counter() - started
        place, missing = cache_root(), uncompiled()
        document = {"seconds": round(seconds, 3), "cache": str(place), "missing": missing}

        def show(console: Console) -> None:
            console.print(f"kernels are warm after {seconds:.1f} s, kept in {place}")
            if missing:
                console.print(f"not compiled: {', '.join(missing)}")

        return Answer(document, show, passed=not missing)

    answer(work, json)


def warm_everything() -> None:
    """The live path, the labels, what judges features and models, and the simulated markets."""
    import numpy as np

    from foreshock.market.clock import SECOND_NS
    from foreshock.replay.warm import warm as warm_library
    from foreshock.simulation.exchange import SimulatedExchange
    from foreshock.simulation.paths import PathSettings, draw_paths
    from foreshock.simulation.settings import SimulationSettings
    from foreshock.validation.information import draw_blocks, lift_draws
    from foreshock.validation.rule import RuleSettings, take

    warm_library()
    t0_ns = np.arange(20, dtype=np.int64) * SECOND_NS
    score, surge = np.arange(20, dtype=np.float64), np.arange(20) % 2 == 0
    lift_draws(score, surge, draw_blocks(t0_ns, SECOND_NS, draws=2))
    take(surge, t0_ns, t0_ns + SECOND_NS, np.zeros(20, np.int32), RuleSettings())
    draw_paths(PathSettings(symbols=2, days=1), 1)
    for market in ("binance-spot", "binance-usdm"):
        settings = SimulationSettings.model_validate({"symbols": 2, "market": market})
        SimulatedExchange(settings).advance(settings.start_ns + SECOND_NS)
