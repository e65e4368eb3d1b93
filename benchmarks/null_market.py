"""How often does the promotion gate let chance through, and how often a true edge?

    python -m benchmarks.null_market [--quick] [--json]

Each run is the whole way of a model on one simulated market: sweep in this process, choose, fit,
export, calibrate, certify (on fewer rows), judge. Three kinds of market have nothing to promote:

no edge      prices that nothing foretells, traded without fees
below cost   prices that are foretold, by less than the bill
permuted     vectors of a market with an edge, labels and outcomes of other hours

and a planted edge of stated size must be found. `edge` is the mean return over the next 900 s, in
bps, that a signal of one standard deviation foretells; the bill of a round trip is about 12 bps (38
of the markets below cost, whose edge is 12). 100 seeds each, ten with --quick; intervals are those
of Clopper and Pearson. The levels of the gate are the defaults of `PromotionSettings`, stated
before the runs.

Markets without an edge give a gate little to do: most models there are silent. So the gate alone is
also given records of trades that earn nothing on average, with everything else in order.
"""

from __future__ import annotations

from benchmarks.common import arguments, machine, say, table, write_table  # first: it pins threads

# isort: split
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.common import Figures
from foreshock.costs.total import CostSettings
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.simulation.paths import PathSettings
from foreshock.validation.bounds import mean_lower_bound
from foreshock.validation.promotion import Evidence, PromotionSettings, judge
from foreshock.validation.search import Range, SearchSettings
from pipelines.simulated_sets import FREE, permuted, simulated_set
from pipelines.training import TrainingSettings
from pipelines.tune_models import tune

SEEDS: Final = 100
QUICK_SEEDS: Final = 10
PLANTED_BPS: Final = 30.0  # the stated size
CURVE_BPS: Final = (10.0, 15.0, 20.0, 25.0)
BELOW_BPS: Final = 12.0
BELOW_FEE_BPS: Final = 18.0  # per side: a round trip is dearer than three such signals are worth
RECORDS: Final = 2_000
TRIALS: Final = 3
BASE: Final = BoostedSettings(trees=40, leaves=7, learning_rate=0.08)
SEARCH: Final = SearchSettings(
    space={
        "leaves": Range(choices=(4, 7, 15)),
        "learning_rate": Range(low=0.04, high=0.15, log=True),
        "l2": Range(low=0.1, high=10.0, log=True),
    }
)
SETTINGS: Final = TrainingSettings(certificate_rows=2_000)


def no_edge(seed: int) -> TrainingSet:
    """A martingale with clustering volatility, traded without fees."""
    return simulated_set(PathSettings(), seed, FREE)


def below_cost(seed: int) -> TrainingSet:
    """Prices that are foretold, and revert a little as they do between bid and ask, but a signal of
    three standard deviations foretells less than the bill takes."""
    dear = CostSettings(taker_fee_bps=BELOW_FEE_BPS, funding_interval_h=0.0)
    return simulated_set(PathSettings(edge_bps=BELOW_BPS, bounce_bps=1.0), seed, dear)


def shuffled(seed: int) -> TrainingSet:
    """The planted edge's market without fees, with labels of other hours."""
    return permuted(simulated_set(PathSettings(edge_bps=PLANTED_BPS), seed, FREE), seed)


def planted(edge_bps: float) -> Callable[[int], TrainingSet]:
    """Markets with an edge of stated size, at a taker's bill."""
    return lambda seed: simulated_set(PathSettings(edge_bps=edge_bps), seed)


NULLS: Final[dict[str, Callable[[int], TrainingSet]]] = {
    "no edge": no_edge,
    "below cost": below_cost,
    "permuted labels": shuffled,
}
EDGES: Final = {f"edge {bps:g} bps": planted(bps) for bps in (*CURVE_BPS, PLANTED_BPS)}
STATED: Final = f"edge {PLANTED_BPS:g} bps"


def run_one(kind: str, seed: int) -> dict[str, Any]:
    """One market through the whole path: whether it was promoted, what failed, and how long it
    took."""
    started = time.perf_counter()
    cpu = time.process_time()
    data = (NULLS | EDGES)[kind](seed)
    with tempfile.TemporaryDirectory(prefix="null-market-") as place:
        out = Path(place) / "artifact"
        report = tune(
            data, out, settings=SETTINGS, base=BASE, trials=TRIALS, seed=seed, use_ray=False,
            search=SEARCH,
        )  # fmt: skip
        card = json.loads((out / "card.json").read_text())
    failed = {
        test["name"] for test in card["promotion"] if test["outcome"] != "passed"
    }  # fmt: skip
    return {
        "kind": kind,
        "seed": seed,
        "promoted": report["promoted"],
        "verdict": card["verdict"],
        "failed": sorted(failed),
        "skill": [figures["brier_skill"] for figures in report["metrics"].values()],
        "trades": sum(figures["trades"] for figures in report["metrics"].values()),
        "reason": report["reason"],
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share (1934)."""
    tail = (1.0 - confidence) / 2.0
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def record_of(random: np.random.Generator, periods: int, trades: float) -> NDArray[np.float64]:
    """Returns by period of trades that earn nothing on average: some +60 bps, twice as many −30,
    several at once in the same direction, more of them in some hours than in others."""
    busy = np.exp(0.7 * random.standard_normal(periods))
    count = random.poisson(trades * busy / np.exp(0.245))
    bursts = np.maximum(1, count // 3)  # symbols move together
    won = random.binomial(bursts, 1.0 / 3.0)
    return np.where(count > 0, (90.0 * won / bursts - 30.0) * count, 0.0) / 6.0


def gate_alone(records: int) -> dict[str, float]:
    """Share of records without a mean that pass the bound at its level, and the whole gate, with
    calibration and skill all in order."""
    settings = PromotionSettings()
    random = np.random.default_rng(2_024)
    passed = promoted = 0
    for _ in range(records):
        returns = record_of(random, 80, 0.8)
        sweep = np.stack([record_of(random, 128, 0.8) for _ in range(3)], axis=1)
        passed += mean_lower_bound(returns, settings.alpha) > 0
        evidence = Evidence(
            returns_bps=returns, trades=100, surges=100, skill=0.1, skill_lower=0.05, slope=1.0,
            shift=0.0, ece=0.01, said=0.4, came=0.4, said_rows=60,
            fold_returns_bps=[float(part.sum()) for part in np.array_split(sweep[:, 0], 3)],
            trial_returns_bps=sweep, trials=3.0,
        )  # fmt: skip
        promoted += judge(evidence, settings).promoted
    return {
        "records": records,
        "bound": passed / records,
        "whole": promoted / records,
        "level": settings.alpha,
    }


def told(kind: str, runs: Sequence[dict[str, Any]]) -> Figures:
    """A line of the table."""
    hits = sum(run["promoted"] for run in runs)
    low, high = interval(hits, len(runs))
    short = sum(run["verdict"] == "insufficient_sample" for run in runs)
    return {
        "seeds": float(len(runs)),
        "promoted": float(hits),
        "95 % interval": f"{low:.1%} to {high:.1%}",
        "insufficient": float(short),
        "silent": float(sum(run["trades"] == 0 for run in runs)),
        "mean Brier skill": float(np.mean([np.mean(run["skill"]) for run in runs])),
        "s a run": float(np.median([run["seconds"] for run in runs])),
        "CPU s": float(np.median([run["cpu_seconds"] for run in runs])),
    }


def main() -> int:
    """Run, tell, and judge: 0 where the gate keeps its promise."""
    given = arguments(__doc__)
    seeds = QUICK_SEEDS if given.quick else SEEDS
    workers = int(os.environ.get("BENCHMARK_WORKERS", "1"))
    kinds = [*NULLS, STATED] if given.quick else [*NULLS, STATED, *list(EDGES)[:-1]]
    work = [(kind, seed) for kind in kinds for seed in range(seeds)]
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for run in pool.map(run_one, *zip(*work, strict=True)):
            found[run["kind"]].append(run)
            if len(found[run["kind"]]) == seeds:
                say(f"{run['kind']}: {told(run['kind'], found[run['kind']])}")
    results = {kind: told(kind, runs) for kind, runs in found.items()}
    alone = gate_alone(RECORDS // 10 if given.quick else RECORDS)
    most = max(1, seeds // 100)
    promoted = {kind: sum(run["promoted"] for run in runs) for kind, runs in found.items()}
    nulls_kept = all(promoted[kind] <= most for kind in NULLS)
    edge_found = promoted[STATED] >= 0.9 * seeds
    document: dict[str, Any] = {
        "benchmark": "null_market",
        "machine": machine(),
        "results": results,
        "gate_alone": alone,
        "settings": SETTINGS.promotion.model_dump(mode="json"),
        "runs": [run for runs in found.values() for run in runs],
        "nulls_kept": nulls_kept,
        "edge_found": edge_found,
    }
    order = [*NULLS, *(kind for kind in EDGES if kind in results)]
    text = page({kind: results[kind] for kind in order}, alone, document["machine"])
    if not given.quick:
        write_table("null_market", text)
    print(json.dumps(document) if given.json else text)
    return 0 if nulls_kept and edge_found else 1


def page(results: dict[str, Figures], alone: dict[str, float], where: dict[str, Any]) -> str:
    """The section of docs/performance.md."""
    return "\n".join(
        [
            "## The null-market gate",
            "",
            f"`python -m benchmarks.null_market`, on {where['cores']} cores of {where['cpu']}, "
            f"load {where['load_1min']}. Promoted models of simulated markets, 16 days of six "
            "pairs, two horizons; the first three kinds have nothing that pays.",
            "",
            table(results).replace("contestant", "market", 1),
            "",
            f"The gate alone, on {alone['records']:,} records of trades that earn nothing on "
            "average, with skill and calibration in order: the bound of the mean lets "
            f"{alone['bound']:.2%} through at a level of {alone['level']:.0%}, the whole gate "
            f"{alone['whole']:.2%}.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
