"""The markets of `benchmarks.null_market`, stated before they were run.

Seven have nothing to promote. On the first three most models are silent, since nothing promises
more than its bill; on the other four they trade hundreds of times, and money is weighed:

no edge          prices that nothing foretells, traded without fees
below cost       prices that are foretold, by less than the bill
permuted labels  vectors of a market with an edge, labels and outcomes of other hours
ended edge       the planted edge as long as the sweep and the calibration look; in the judge's part
                 the same signal foretells nothing. No fees
free coin        prices that nothing foretells, barriers equally far away, no bill at all: a trade
                 earns nothing on average, and the noise of a probability is enough to trade
common drift     the free coin where all symbols are nearly one and drift for hours, strongly, in a
                 direction of which the vectors say nothing: luck comes in long, common stretches
other outcomes   the planted edge between the coin's barriers, without a bill, paid by the outcomes
                 of other hours: probabilities are right, and only money can tell that it is nothing

The planted edge is traded at a taker's bill.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from foreshock.costs.total import CostSettings
from foreshock.models.dataset import TrainingSet
from foreshock.simulation.paths import PathSettings
from pipelines.simulated_sets import FEATURES, FREE, UNBILLED, permuted, simulated_set

Make = Callable[[int], TrainingSet]

PLANTED_BPS: Final = 30.0  # the stated size
CURVE_BPS: Final = (10.0, 15.0, 20.0, 25.0)
BELOW_BPS: Final = 12.0
BELOW_FEE_BPS: Final = 18.0  # per side: a round trip is dearer than three such signals are worth
ENDED_SHARE: Final = 0.8  # of the time; the judge's part begins a little later
DRIFT_BPS: Final = 15.0  # over 900 s, in which prices move by 31 for no reason
COIN: Final = (0.5, 0.5)  # both barriers, in standard deviations of the return over the horizon


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


def ended(seed: int) -> TrainingSet:
    """The planted edge's market without fees, a martingale in the judge's part."""
    return simulated_set(PathSettings(edge_bps=PLANTED_BPS, edge_share=ENDED_SHARE), seed, FREE)


def free_coin(seed: int) -> TrainingSet:
    """A martingale between two barriers equally far away, without a bill."""
    return simulated_set(PathSettings(), seed, UNBILLED, k=COIN)


def common_drift(seed: int) -> TrainingSet:
    """The free coin with a drift for all. Vectors are without momentum, which would see it."""
    paths = PathSettings(together=0.9, drift_bps=DRIFT_BPS)
    data = simulated_set(paths, seed, UNBILLED, k=COIN)
    return data.with_features([name for name in FEATURES if "momentum" not in name])


def other_outcomes(seed: int) -> TrainingSet:
    """True skill that earns nothing: labels stay where they are, outcomes do not."""
    data = simulated_set(PathSettings(edge_bps=PLANTED_BPS), seed, UNBILLED, k=COIN)
    return permuted(data, seed, money_only=True)


def planted(edge_bps: float) -> Make:
    """Markets with an edge of stated size, at a taker's bill."""
    return lambda seed: simulated_set(PathSettings(edge_bps=edge_bps), seed)


NULLS: Final[dict[str, Make]] = {
    "no edge": no_edge,
    "below cost": below_cost,
    "permuted labels": shuffled,
    "ended edge": ended,
    "free coin": free_coin,
    "common drift": common_drift,
    "other outcomes": other_outcomes,
}
EDGES: Final = {f"edge {bps:g} bps": planted(bps) for bps in (*CURVE_BPS, PLANTED_BPS)}
STATED: Final = f"edge {PLANTED_BPS:g} bps"
