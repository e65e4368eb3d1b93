"""The promotion gate: whether what a model earned is likely to be more than luck.

A horizon is promoted when every test below passes, refused when one fails, and where a test has too
little to go by and none fails the answer is `insufficient_sample`, which is no promotion either.

sample        periods, trades and independent surges of the test part
skill         Brier skill against the base rate, its lower bound above 0
utility       mean return by period after costs: a lower bound, by a studentised circular block
              bootstrap (Politis, Romano 1992; Davison, Hinkley 1997, 5.2.1 and 8.2.3), above 0
deflated      deflated Sharpe ratio, with the trials that the ledger counts
overfitting   how often the trial that was best on one half of the sweep's time was no good on the
              other; not to trade is an alternative that everybody has
calibration   slope, shift and ECE of the probabilities, within bounds
precision     what was said above the threshold against what came: its own interval
stability     share of walk-forward folds in which the recipe earned something

All horizons of a model share one error budget: `alpha` is divided by their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.validation.bounds import mean_lower_bound, precision_interval
from foreshock.validation.deflate import (
    TooShortError,
    expected_best,
    overfitting_probability,
    probabilistic_sharpe,
    sharpe,
)

Floats = NDArray[np.float64]
Outcome = Literal["passed", "failed", "insufficient"]
Verdict = Literal["promoted", "refused", "insufficient_sample"]
NAN: Final = float("nan")


class PromotionSettings(BaseModel):
    """What a horizon must show before it may speak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Chance at which a model without an edge may pass the tests with a bound, "
        "shared out evenly over its horizons.",
    )
    draws: int = Field(default=4000, ge=200, description="Draws of the bootstrap over periods.")
    min_periods: int = Field(
        default=24, ge=8, description="Fewer periods in the test part are an insufficient sample."
    )
    min_trades: int = Field(
        default=20, ge=1, description="Fewer trades in the test part are an insufficient sample."
    )
    min_surges: int = Field(
        default=20,
        ge=1,
        description="Fewer independent surges in the test part are an insufficient sample.",
    )
    min_active_periods: int = Field(
        default=10, ge=2, description="In fewer periods with a trade no bound is believed."
    )
    min_deflated: float = Field(
        default=0.95, gt=0.5, lt=1, description="Least deflated Sharpe ratio, a probability."
    )
    max_overfitting: float = Field(
        default=0.2, ge=0, le=0.5, description="Largest probability of overfitting."
    )
    overfitting_blocks: int = Field(
        default=8,
        ge=4,
        le=16,
        description="Stretches of time for that probability; an even number.",
    )
    slope: tuple[float, float] = Field(
        default=(0.5, 1.6),
        description="Least and largest calibration slope; 1 is ideal, below it is overconfident.",
    )
    max_shift: float = Field(
        default=0.5, gt=0, description="Largest |shift| of the log-odds; 0.5 is odds wrong by 65 %."
    )
    max_ece: float = Field(
        default=0.05, gt=0, lt=1, description="Largest expected calibration error of all rows."
    )
    precision_confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Confidence of the interval of the precision."
    )
    min_folds: int = Field(
        default=2, ge=1, description="Fewer folds with a figure are an insufficient sample."
    )
    min_good_folds: float = Field(
        default=0.6, gt=0, le=1, description="Share of folds that must have earned something."
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one horizon of one model; NaN for a figure that the data could not give.

    returns_bps        (T,): by period of the test part, after costs (`validation.rule`)
    trades, surges     of the test part; surges independent
    skill, skill_lower Brier skill and its lower bound at alpha / horizons
    slope, shift, ece  of the calibration, on all rows of the test part
    said, came         mean probability and share of surges of the rows above the threshold that the
                       rule would trade
    said_rows          independent ones among those, for the interval
    fold_returns_bps   earned in each fold of the sweep by the chosen recipe; NaN where refused
    trial_returns_bps  (T2, n): of the trials that saw every fold, the same periods for all
    trials             how many independent ones the ledger counts, at least 1
    """

    returns_bps: Floats
    trades: int
    surges: int
    skill: float
    skill_lower: float
    slope: float
    shift: float
    ece: float
    said: float
    came: float
    said_rows: float
    fold_returns_bps: Sequence[float]
    trial_returns_bps: Floats
    trials: float


@dataclass(frozen=True, slots=True)
class Test:
    """One question: what came out, against what, in words with numbers."""

    __test__ = False  # not one of pytest's

    name: str
    outcome: Outcome
    value: float
    bound: float
    words: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite is None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one horizon and every test behind it."""

    verdict: Verdict
    tests: tuple[Test, ...]

    @property
    def promoted(self) -> bool:
        """Whether it may speak."""
        return self.verdict == "promoted"

    @property
    def words(self) -> str:
        """The tests that did not pass, in words; of a promotion the utility."""
        asked: tuple[Outcome, ...] = ("failed", "insufficient")
        if self.promoted:
            return next(test.words for test in self.tests if test.name == "utility")
        return "; ".join(
            f"{t.name}: {t.words}" for o in asked for t in self.tests if t.outcome == o
        )


def judge(evidence: Evidence, settings: PromotionSettings, horizons: int = 1) -> Decision:
    """The verdict on one of `horizons` horizons, which share the error budget. Pure; the same
    evidence gives the same verdict."""
    alpha = settings.alpha / horizons
    tests = (
        _sample(evidence, settings),
        _skill(evidence, alpha),
        _utility(evidence, settings, alpha),
        _deflated(evidence, settings),
        _overfitting(evidence, settings),
        _calibration(evidence, settings),
        _precision(evidence, settings),
        _stability(evidence, settings),
    )
    outcomes = {test.outcome for test in tests}
    if "failed" in outcomes:
        return Decision("refused", tests)
    return Decision("insufficient_sample" if "insufficient" in outcomes else "promoted", tests)


def deflated(returns: Floats, sharpes: Floats, trials: float) -> tuple[float, float]:
    """(probability that the true Sharpe ratio of `returns` (T,) is above what the best of `trials`
    reaches by luck, that ratio). `sharpes` are those of the trials that there are returns of; where
    more count than that, the others are taken to scatter at least as T periods of nothing do.
    Raises TooShortError."""
    luck = expected_best(sharpes, trials)
    if trials > len(sharpes):
        unit = np.array([-1.0, 1.0]) / math.sqrt(2.0 * max(1, len(returns) - 1))
        luck = max(luck, expected_best(unit, trials))
    return probabilistic_sharpe(returns, luck), luck


def with_idle(trial_returns: Floats) -> Floats:
    """(T, n) → (T, 2n): beside each trial the alternative not to trade. Trials that are all alike
    are below each other's median half of the time whether they earn or not; below not trading they
    are where they lose."""
    return np.concatenate([trial_returns, np.zeros_like(trial_returns)], axis=1)


def _sample(evidence: Evidence, settings: PromotionSettings) -> Test:
    active = int(np.count_nonzero(evidence.returns_bps))
    asked = (
        ("periods", len(evidence.returns_bps), settings.min_periods),
        ("trades", evidence.trades, settings.min_trades),
        ("independent surges", evidence.surges, settings.min_surges),
        ("periods with a trade", active, settings.min_active_periods),
    )
    few = [f"{have} {what} are fewer than {least}" for what, have, least in asked if have < least]
    worst = min(have / least for _, have, least in asked)
    if few:
        return Test("sample", "insufficient", worst, 1.0, ", ".join(few))
    words = ", ".join(f"{have} {what}" for what, have, _ in asked)
    return Test("sample", "passed", worst, 1.0, words)


def _above(
    name: str, value: float, bound: float, words: Callable[[str], str], *, known: bool = True
) -> Test:
    """A test whose `value` must be above `bound`."""
    if not known or not math.isfinite(value):
        return Test(name, "insufficient", value, bound, words("cannot be said to be"))
    if value > bound:
        return Test(name, "passed", value, bound, words("is"))
    return Test(name, "failed", value, bound, words("is not"))


def _skill(evidence: Evidence, alpha: float) -> Test:
    return _above(
        "skill", evidence.skill_lower, 0.0,
        lambda is_: f"Brier skill {evidence.skill:.4f} {is_} surely above 0: its bound at "
        f"{1 - alpha:.2%} is {evidence.skill_lower:.4f}",
    )  # fmt: skip


def _utility(evidence: Evidence, settings: PromotionSettings, alpha: float) -> Test:
    returns = evidence.returns_bps
    lower = mean_lower_bound(returns, alpha, draws=settings.draws)
    mean = float(returns.mean()) if len(returns) else NAN
    active = int(np.count_nonzero(returns))
    if active >= settings.min_active_periods and mean <= 0:
        # A loss needs no bound to be one.
        words = f"{mean:.3f} bps a period after costs is not above 0, over {len(returns)} periods"
        return Test("utility", "failed", mean, 0.0, words)
    return _above(
        "utility", lower, 0.0,
        lambda is_: f"{mean:.3f} bps a period after costs {is_} surely above 0: its bound at "
        f"{1 - alpha:.2%} is {lower:.3f}, over {len(returns)} periods",
        known=active >= settings.min_active_periods,
    )  # fmt: skip


def _deflated(evidence: Evidence, settings: PromotionSettings) -> Test:
    least = settings.min_deflated
    try:
        columns = evidence.trial_returns_bps.T
        sharpes = np.array([sharpe(column) for column in columns])
        value, luck = deflated(evidence.returns_bps, sharpes, evidence.trials)
        ratio = sharpe(evidence.returns_bps)
    except TooShortError as error:
        return Test("deflated", "insufficient", NAN, least, str(error))
    return _above(
        "deflated", value, least,
        lambda is_: f"deflated Sharpe {value:.3f} {is_} above {least:g}: {ratio:.3f} a period, "
        f"luck in {evidence.trials:.1f} effective trials gives {luck:.3f}",
    )  # fmt: skip


def _overfitting(evidence: Evidence, settings: PromotionSettings) -> Test:
    trials, most = evidence.trial_returns_bps, settings.max_overfitting
    if trials.shape[1] == 0:
        return Test("overfitting", "insufficient", NAN, most, "no trial saw every fold")
    try:
        value = overfitting_probability(with_idle(trials), settings.overfitting_blocks)
    except TooShortError as error:
        return Test("overfitting", "insufficient", NAN, most, str(error))
    return _above(
        "overfitting", -value, -most - 1e-12,
        lambda is_: f"probability of overfitting {value:.3f} {is_} within {most:g}, of "
        f"{trials.shape[1]} trials over {len(trials)} periods",
    )  # fmt: skip


def _calibration(evidence: Evidence, settings: PromotionSettings) -> Test:
    low, high = settings.slope
    asked = (
        (f"slope {evidence.slope:.3f} in [{low:g}, {high:g}]", evidence.slope, low, high),
        (
            f"shift {evidence.shift:+.3f} within {settings.max_shift:g}",
            evidence.shift, -settings.max_shift, settings.max_shift,
        ),
        (
            f"ECE {evidence.ece:.4f} within {settings.max_ece:g}",
            evidence.ece, 0.0, settings.max_ece,
        ),
    )  # fmt: skip
    worst = max(abs(2.0 * value - a - b) / (b - a) for _, value, a, b in asked)
    if any(not math.isfinite(value) for _, value, _, _ in asked):
        words = "no calibration line: one class or one probability only"
        return Test("calibration", "failed", NAN, 1.0, words)
    out = [words for words, value, a, b in asked if not a <= value <= b]
    if out:
        return Test("calibration", "failed", worst, 1.0, "not " + ", not ".join(out))
    return Test("calibration", "passed", worst, 1.0, ", ".join(words for words, *_ in asked))


def _precision(evidence: Evidence, settings: PromotionSettings) -> Test:
    if evidence.said_rows <= 0 or not math.isfinite(evidence.came):
        return Test("precision", "insufficient", NAN, NAN, "nothing was said above the threshold")
    rows = evidence.said_rows
    low, high = precision_interval(evidence.came, rows, settings.precision_confidence)
    words = (
        f"above the threshold {evidence.said:.3f} was said and {evidence.came:.3f} came, interval "
        f"[{low:.3f}, {high:.3f}] of {rows:g} independent rows"
    )
    # To promise too little is no danger; the bound is on promising too much.
    outcome: Outcome = "passed" if evidence.said <= high else "failed"
    return Test("precision", outcome, evidence.said, high, words)


def _stability(evidence: Evidence, settings: PromotionSettings) -> Test:
    known = [value for value in evidence.fold_returns_bps if math.isfinite(value)]
    least = settings.min_good_folds
    if len(known) < settings.min_folds:
        words = f"{len(known)} folds with a figure are fewer than {settings.min_folds}"
        return Test("stability", "insufficient", NAN, least, words)
    good = sum(value > 0 for value in known)
    told = ", ".join(f"{value:.2f}" for value in known)
    words = f"{good} of {len(known)} folds earned something ({told} bps), {least:.0%} must"
    outcome: Outcome = "passed" if good >= least * len(known) else "failed"
    return Test("stability", outcome, good / len(known), least, words)
