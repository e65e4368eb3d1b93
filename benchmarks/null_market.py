"""How often does the promotion gate let chance through, and how often a true edge?

    python -m benchmarks.null_market [--quick] [--json]

Each run is the whole way of a model on one simulated market: sweep in this process, choose, fit,
export, calibrate, certify (on fewer rows), judge. The markets are told in `_null_markets`: seven
have nothing to promote, and of a planted edge each size is tried. `edge` is the mean return over
the next 900 s, in bps, that a signal of one standard deviation foretells; the bill of a round trip
is about 12 bps (38 of the markets below cost, whose edge is 12). 100 seeds each, ten with --quick;
intervals are those of Clopper and Pearson. The levels of the gate are the defaults of
`PromotionSettings`, stated before the runs. A null market may be promoted once in 100 seeds.

The full run also takes a few markets of the simulated exchange through the whole chain, frames and
books included (`_null_exchange`).

Last the gate alone is given records of trades that earn nothing on average, with everything else in
order: with plain luck, and with luck that lasts for hours.
"""

from __future__ import annotations

from benchmarks.common import arguments, machine, say, table, write_table  # first: it pins threads

# isort: split
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks import _null_exchange as exchange
from benchmarks._null_markets import EDGES, NULLS, STATED
from benchmarks.common import Figures
from foreshock.models.boosted import BoostedSettings
from foreshock.validation.bounds import mean_lower_bound
from foreshock.validation.promotion import Evidence, PromotionSettings, judge
from foreshock.validation.search import Range, SearchSettings
from pipelines.training import TrainingSettings
from pipelines.tune_models import tune

Floats = NDArray[np.float64]
Run = dict[str, Any]

SEEDS: Final = 100
QUICK_SEEDS: Final = 10
EXCHANGE_SEEDS: Final = 3
RECORDS: Final = 2_000
LUCK_LASTS: Final = 6  # periods, in the records of lasting luck
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
# Of the gate's tests, those that weigh what was earned.
MONEY: Final = ("sample", "utility", "deflated", "overfitting", "stability")


def run_one(kind: str, seed: int) -> Run:
    """One market through the whole path: whether it was promoted, which tests it passed, and how
    long it took."""
    started = time.perf_counter()
    cpu = time.process_time()
    if kind in exchange.EXCHANGES:
        data, settings = exchange.EXCHANGES[kind](seed), exchange.exchange_settings()
        base, trials, search = BoostedSettings(seed=seed), exchange.TRIALS, None
    else:
        data, settings = (NULLS | EDGES)[kind](seed), SETTINGS
        base, trials, search = BASE, TRIALS, SEARCH
    with tempfile.TemporaryDirectory(prefix="null-market-") as place:
        out = Path(place) / "artifact"
        report = tune(
            data, out, settings=settings, base=base, trials=trials, seed=seed, use_ray=False,
            search=search,
        )  # fmt: skip
        card = json.loads((out / "card.json").read_text())
    metrics = list(report["metrics"].values())
    return {
        "kind": kind,
        "seed": seed,
        "promoted": report["promoted"],
        "verdict": card["verdict"],
        "tests": [
            {t["name"]: t["outcome"] for t in card["promotion"] if t["horizon_s"] == horizon_s}
            for horizon_s in data.horizons_s
        ],
        "skill": [figures["brier_skill"] for figures in metrics],
        "slope": [figures["calibration_slope"] for figures in metrics],
        "ece": [figures["calibration_error"] for figures in metrics],
        "trades": sum(figures["trades"] for figures in metrics),
        "net_bps": sum(figures["utility_total_bps"] for figures in metrics),
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


def record_of(random: np.random.Generator, trades: float, luck: Floats) -> Floats:
    """Returns by period of trades that earn nothing on average: some +60 bps, twice as many −30,
    several at once in the same direction, more of them in some hours than in others.

    luck   (T,), mean 0: by how much the share of gains, a third, is larger in each period"""
    periods = len(luck)
    busy = np.exp(0.7 * random.standard_normal(periods))
    count = random.poisson(trades * busy / np.exp(0.245))
    bursts = np.maximum(1, count // 3)  # symbols move together
    won = random.binomial(bursts, np.clip(1.0 / 3.0 + luck, 0.0, 1.0))
    return np.where(count > 0, (90.0 * won / bursts - 30.0) * count, 0.0) / 6.0


def lasting(random: np.random.Generator, periods: int) -> Floats:
    """Luck (T,) that lasts LUCK_LASTS periods: AR(1), mean 0."""
    keep = np.exp(-1.0 / LUCK_LASTS)
    out = random.standard_normal(periods)
    for i in range(1, periods):
        out[i] = keep * out[i - 1] + np.sqrt(1.0 - keep * keep) * out[i]
    return 0.11 * out  # 1/3 is three of these away from 0


def gate_alone(records: int, *, lasts: bool = False) -> Figures:
    """Share of records without a mean that pass the bound at its level, and the whole gate, with
    calibration and skill all in order. With `lasts`, luck lasts for hours, is the same for all
    trials of a sweep, and ten times as much is traded."""
    settings = PromotionSettings()
    random = np.random.default_rng(2_024)
    trades = 8.0 if lasts else 0.8

    def luck(periods: int) -> Floats:
        return lasting(random, periods) if lasts else np.zeros(periods)

    passed = promoted = 0
    for _ in range(records):
        returns = record_of(random, trades, luck(80))
        shared = luck(128)
        sweep = np.stack([record_of(random, trades, shared) for _ in range(3)], axis=1)
        passed += mean_lower_bound(returns, settings.alpha) > 0
        evidence = Evidence(
            returns_bps=returns, trades=100, surges=100, skill=0.1, skill_lower=0.05, slope=1.0,
            shift=0.0, ece=0.01, said=0.4, came=0.4, said_rows=60,
            fold_returns_bps=[float(part.sum()) for part in np.array_split(sweep[:, 0], 3)],
            trial_returns_bps=sweep, trials=3.0,
        )  # fmt: skip
        promoted += judge(evidence, settings).promoted
    return {
        "records": float(records),
        "bound alone": f"{passed / records:.2%}",
        "whole gate": f"{promoted / records:.2%}",
        "level of the bound": f"{settings.alpha:.0%}",
    }


def told(runs: Sequence[Run]) -> Figures:
    """A line of the table of verdicts."""
    hits = sum(run["promoted"] for run in runs)
    low, high = interval(hits, len(runs))
    trades = sum(run["trades"] for run in runs)
    return {
        "seeds": float(len(runs)),
        "promoted": float(hits),
        "95 % interval": f"{low:.1%} to {high:.1%}",
        "insufficient": float(sum(run["verdict"] == "insufficient_sample" for run in runs)),
        "traded": float(sum(run["trades"] > 0 for run in runs)),
        "trades": float(trades),
        "net of a trade, bps": sum(run["net_bps"] for run in runs) / trades if trades else "",
        "mean Brier skill": float(np.mean([np.mean(run["skill"]) for run in runs])),
        "s a run": float(np.median([run["seconds"] for run in runs])),
        "CPU s": float(np.median([run["cpu_seconds"] for run in runs])),
    }


def passed(runs: Sequence[Run]) -> Figures:
    """A line of the table of tests: how many judged horizons passed each, and all that weigh
    money."""
    horizons = [tests for run in runs for tests in run["tests"]]
    names = list(horizons[0])
    return {
        "horizons": float(len(horizons)),
        **{name: float(sum(t[name] == "passed" for t in horizons)) for name in names},
        "all of money": float(sum(all(t[n] == "passed" for n in MONEY) for t in horizons)),
    }


def main() -> int:
    """Run, tell, and judge: 0 where the gate keeps its promise."""
    given = arguments(__doc__)
    seeds = QUICK_SEEDS if given.quick else SEEDS
    workers = int(os.environ.get("BENCHMARK_WORKERS", "1"))
    count = dict.fromkeys([*NULLS, STATED], seeds)
    if not given.quick:
        count |= dict.fromkeys(EDGES, seeds) | dict.fromkeys(exchange.EXCHANGES, EXCHANGE_SEEDS)
    work = [(kind, seed) for kind, many in count.items() for seed in range(many)]
    found: dict[str, list[Run]] = {kind: [] for kind in count}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for run in pool.map(run_one, *zip(*work, strict=True)):
            runs = found[run["kind"]]
            runs.append(run)
            if len(runs) == count[run["kind"]]:
                say(f"{run['kind']}: {told(runs)} {passed(runs)}")
    records = RECORDS // 10 if given.quick else RECORDS
    alone = {
        "plain luck": gate_alone(records),
        f"luck of {LUCK_LASTS} periods": gate_alone(records, lasts=True),
    }
    most = max(1, seeds // 100)
    promoted = {kind: sum(run["promoted"] for run in runs) for kind, runs in found.items()}
    nulls_kept = all(promoted[kind] <= most for kind in NULLS)
    nulls_kept &= promoted.get(exchange.EXCHANGE_NULL, 0) == 0
    edge_found = promoted[STATED] >= 0.9 * seeds
    where = machine()
    text = page(found, alone, where)
    if not given.quick:
        write_table("null_market", text)
    document: dict[str, Any] = {
        "benchmark": "null_market",
        "machine": where,
        "results": {kind: told(runs) for kind, runs in found.items()},
        "passed": {kind: passed(runs) for kind, runs in found.items()},
        "gate_alone": alone,
        "settings": SETTINGS.promotion.model_dump(mode="json"),
        "runs": [run for runs in found.values() for run in runs],
        "nulls_kept": nulls_kept,
        "edge_found": edge_found,
    }
    print(json.dumps(document) if given.json else text)
    return 0 if nulls_kept and edge_found else 1


def page(found: dict[str, list[Run]], alone: dict[str, Figures], where: dict[str, Any]) -> str:
    """The section of docs/performance.md."""
    markets = [kind for kind in [*NULLS, *EDGES] if kind in found]
    played = [kind for kind in exchange.EXCHANGES if kind in found]

    def lines(kinds: Sequence[str]) -> str:
        return table({kind: told(found[kind]) for kind in kinds}).replace("contestant", "market", 1)

    shown = [
        "## The null-market gate",
        "",
        f"`python -m benchmarks.null_market`, on {where['cores']} cores of {where['cpu']}, "
        f"load {where['load_1min']}. Promoted models of simulated markets, 16 days of six "
        f"pairs, two horizons; the first {len(NULLS)} kinds have nothing that pays. What they are "
        "stands in `benchmarks/_null_markets.py`; *traded* are models that traded at all.",
        "",
        lines(markets),
        "",
        "How many horizons passed each test of the gate, and all that weigh money (sample, "
        "utility, deflated, overfitting, stability):",
        "",
        table({kind: passed(found[kind]) for kind in [*markets, *played]}).replace(
            "contestant", "market", 1
        ),
        "",
    ]
    if played:
        shown += [
            f"Through the simulated exchange, {exchange.SYMBOLS} pairs for {exchange.SECONDS} s, "
            "three horizons: frames, books, rows, features, labels, sweep, judge, as the demo does "
            "it. Without an edge nobody pays a fee.",
            "",
            lines(played),
            "",
        ]
    shown += [
        "The gate alone, on records of trades that earn nothing on average, with skill and "
        "calibration in order: how often the mean's bound is above 0, and the whole gate passes.",
        "",
        table(alone).replace("contestant", "kind", 1),
    ]
    return "\n".join(shown)


if __name__ == "__main__":
    sys.exit(main())
