"""The gate: from scores and bills to verdicts, one per symbol and boundary.

`judge` is a pure function of what it is given: no clock, no memory but the state handed in and out,
nothing that couples one symbol to another. So verdicts follow from recorded input, and any split of
the symbols over calls gives the same verdicts.

What is checked, in this order; the first that fails is the reason:

 1 duplicate          this boundary, or a later one, was already judged for the symbol
 2 kill_switch        an operator stopped the symbol, or all of them
 3 breaker            a breaker did
 4 no_model           no model is loaded, or none of its horizons was approved, or it did not score
 5 model_domain       the model was made for another source, market or tier
 6 model_expired      the model is older than its card allows: it must be made anew to speak
 7 book_resyncing,    the book is not to be trusted: no signal leaves an invalid epoch
   book_stale         (a model of the bars or the tape asks for none: its prices must be known)
 8 cold               a feature that the model requires is not warm yet
 9 no_price           the bill or the barriers cannot be known
10 below_probability  no approved horizon reaches its probability threshold
11 below_utility      of those that do, none reaches the utility threshold
12 cool_down          the symbol signalled not long ago
   signal             both thresholds are met, on one and the same horizon

A model's age counts from the end of what it was trained on to the boundary that it is asked about.

The expected utility of a horizon is p·far − (1 − p)·near − bill, in bps of notional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from foreshock.costs.barrier import BarrierSettings, barrier_bps
from foreshock.costs.total import BILL, CostSettings, bill, why_unpriced
from foreshock.errors import ModelError
from foreshock.market.clock import SECOND_NS
from foreshock.market.rows import RESYNCING, STATE_NAMES, SYNCED
from foreshock.models.base import Domain
from foreshock.signals.policy import PolicyState
from foreshock.signals.speakers import ClosedBoundary, ModelFacts, Panel, RowsOf
from foreshock.signals.verdict import Reason, Verdict, verdict_id

__all__ = [
    "ClosedBoundary",
    "GateSettings",
    "ModelFacts",
    "Panel",
    "Reason",
    "Verdict",
    "judge",
    "verdict_id",
]


class GateSettings(BaseModel):
    """When the gate lets a signal out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability_threshold: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Probability from which every horizon may signal. null takes the thresholds of"
        " the model's card, which were fitted on later data than the model was trained on.",
    )
    utility_threshold_bps: float = Field(
        default=0.0,
        description="Expected utility in bps of notional, after the bill, from which a horizon may"
        " signal. Both thresholds must be met.",
    )
    cool_down_s: float = Field(
        default=60.0,
        ge=0.0,
        description="After a signal the symbol stays silent for this many seconds, so that one"
        " surge is not announced once per boundary.",
    )
    costs: CostSettings = Field(
        default_factory=CostSettings,
        description="What a trade is assumed to look like; every verdict shows this bill.",
    )
    barriers: BarrierSettings = Field(
        default_factory=BarrierSettings,
        description="Distances of the barriers. They must be what the model's labels were made"
        " with, or a probability would be about another event than its utility.",
    )
    label_costs: CostSettings | None = Field(
        default=None,
        description="The bill that the labels' barriers were made with, where trading has since"
        " become dearer or cheaper. null: the same as costs.",
    )


def judge(
    *,
    boundary: ClosedBoundary,
    symbols: Sequence[str],
    probabilities: NDArray[np.float32] | None,
    model: ModelFacts | Panel | None,
    session_domain: Domain | Mapping[str, str],
    state: PolicyState,
    settings: GateSettings,
) -> tuple[list[Verdict], PolicyState]:
    """Judge every symbol of a boundary.

    symbols         n names, in the order of the boundary's rows
    probabilities   float32 (n, H), calibrated; NaN rows or None where nothing was scored
    model           whose scores they are; a Panel where several models spoke, each for its symbols
    session_domain  where the rows come from
    returns         n verdicts in the order of `symbols`, and the state for the next boundary

    The caller passes the returned state to the next call, with the same or other symbols. Raises
    ModelError where the scores do not fit the symbols and the model."""
    if isinstance(model, Panel):
        return _judge_panel(
            boundary, symbols, probabilities, model, session_domain, state, settings
        )
    case = _case(boundary, len(symbols), probabilities, model, session_domain, settings)
    cool_down_ns = round(settings.cool_down_s * SECOND_NS)
    judged, signalled = dict(state.last_judged_ns), dict(state.last_signal_ns)
    verdicts = []
    for i, symbol in enumerate(symbols):
        refusal = _refused_unscored(case, i)
        scored = refusal is None
        reason, detail, best = _weighed(case, i) if refusal is None else (*refusal, 0)
        at_ns = boundary.boundary_ns
        if state.was_judged(symbol, at_ns):
            reason, detail = Reason.DUPLICATE, f"judged up to {state.last_judged_ns[symbol]}"
        elif state.is_killed(symbol):
            reason, detail = Reason.KILL_SWITCH, "stopped by an operator"
        elif state.is_broken(symbol):
            reason, detail = Reason.BREAKER, "a breaker is open"
        elif reason is Reason.SIGNAL and state.is_cooling(symbol, at_ns, cool_down_ns):
            ago_s = (at_ns - state.last_signal_ns[symbol]) / SECOND_NS
            reason, detail = Reason.COOL_DOWN, f"signalled {ago_s:g} s ago"
        verdicts.append(_verdict(case, i, symbol, reason, detail, best, scored))
        judged[symbol] = max(judged.get(symbol, -1), at_ns)
        if reason is Reason.SIGNAL:
            signalled[symbol] = at_ns
    return verdicts, replace(state, last_judged_ns=judged, last_signal_ns=signalled)


def _judge_panel(
    boundary: ClosedBoundary,
    symbols: Sequence[str],
    probabilities: NDArray[np.float32] | None,
    panel: Panel,
    session_domain: Domain | Mapping[str, str],
    state: PolicyState,
    settings: GateSettings,
) -> tuple[list[Verdict], PolicyState]:
    """One model after the other: no symbol's verdict depends on another symbol's."""
    if panel.speaker.shape != (len(symbols),):
        raise ModelError(f"a panel for {len(panel.speaker)} symbols, asked for {len(symbols)}")
    found: dict[int, Verdict] = {}
    for number in np.unique(panel.speaker).tolist():
        rows = np.flatnonzero(panel.speaker == number)
        model = None if number < 0 else panel.models[number]
        own = None
        if model is not None and probabilities is not None:
            own = probabilities[rows][:, : len(model.horizons_s)]
        verdicts, state = judge(
            boundary=RowsOf.of(boundary, rows),
            symbols=[symbols[row] for row in rows.tolist()],
            probabilities=own,
            model=model,
            session_domain=session_domain,
            state=state,
            settings=settings,
        )
        found.update(zip(rows.tolist(), verdicts, strict=True))
    return [found[row] for row in range(len(symbols))], state


@dataclass(frozen=True, slots=True)
class _Case:
    """One boundary with its figures, arrays (n, H); without a model H is 1, for the bill's sake."""

    boundary: ClosedBoundary
    model: ModelFacts | None
    where: Domain
    settings: GateSettings
    horizons_s: tuple[int, ...]
    thresholds: NDArray[np.float64]
    approved: NDArray[np.bool_]
    chance: NDArray[np.float64] | None
    bills: NDArray[np.void]
    far_bps: NDArray[np.float64]
    near_bps: NDArray[np.float64]
    utility_bps: NDArray[np.float64]


def _case(
    boundary: ClosedBoundary,
    n: int,
    probabilities: NDArray[np.float32] | None,
    model: ModelFacts | None,
    session_domain: Domain | Mapping[str, str],
    settings: GateSettings,
) -> _Case:
    inputs = boundary.bill_inputs
    if len(inputs) != n:
        raise ModelError(f"{n} symbols for a boundary of {len(inputs)}")
    horizons = model.horizons_s if model is not None else (0,)
    chance = None
    if model is not None and probabilities is not None:
        if probabilities.shape != (n, len(horizons)):
            raise ModelError(f"scores {probabilities.shape}, expected {(n, len(horizons))}")
        chance = probabilities.astype(np.float64)
    seconds = np.array(horizons, dtype=np.float64)
    bills = bill(inputs, settings.costs, seconds)
    priced = bills if settings.label_costs is None else bill(inputs, settings.label_costs, seconds)
    far, near = barrier_bps(
        inputs["volatility_1s"][:, None], seconds, priced["total_bps"], settings.barriers
    )
    p = np.full(far.shape, np.nan) if chance is None else chance
    override = settings.probability_threshold
    given = model.thresholds if model is not None and override is None else override
    approved = model.approved if model is not None else None
    return _Case(
        boundary=boundary,
        model=model,
        where=Domain.model_validate(session_domain),
        settings=settings,
        horizons_s=horizons,
        thresholds=np.broadcast_to(np.array(given, dtype=np.float64), len(horizons)),
        approved=np.array(approved if approved is not None else [True] * len(horizons)),
        chance=chance,
        bills=bills,
        far_bps=far,
        near_bps=near,
        utility_bps=p * far - (1.0 - p) * near - bills["total_bps"],
    )


def _refused_unscored(case: _Case, i: int) -> tuple[Reason, str] | None:
    """Checks 4 to 8 on symbol `i`: those that forbid to show a probability at all."""
    model, book = case.model, int(case.boundary.book_state[i])
    if model is None:
        return Reason.NO_MODEL, f"no model for {case.where}"
    if not model.domain.admits(case.where):
        return (
            Reason.MODEL_DOMAIN,
            f"model {model.version} is of {model.domain}, not of {case.where}",
        )
    at_ns = case.boundary.boundary_ns
    if model.is_expired(at_ns):
        age_h, most_h = (model.age_s(at_ns) or 0.0) / 3_600, model.max_age_s / 3_600
        return Reason.MODEL_EXPIRED, f"model {model.version} is {age_h:.2f} h old > {most_h:g} h"
    if not case.approved.any():
        return Reason.NO_MODEL, f"no horizon of model {model.version} was approved"
    if book != SYNCED and model.domain.tier == "book":
        reason = Reason.BOOK_RESYNCING if book == RESYNCING else Reason.BOOK_STALE
        return reason, f"the book is {STATE_NAMES[book]}, epoch {case.boundary.book_epoch[i]}"
    if model.required is not None:
        lacking = int(np.count_nonzero(~case.boundary.warm[i][model.required]))
        if lacking:
            return Reason.COLD, f"{lacking} required features are not warm"
    if case.chance is None:
        return Reason.NO_MODEL, f"model {model.version} did not score"
    if bool(np.isnan(case.chance[i]).any()):
        return Reason.COLD, "the vector was not scored"
    return None


def _weighed(case: _Case, i: int) -> tuple[Reason, str, int]:
    """Checks 9 to 11 on the scores of symbol `i`; (reason, sentence, column of the horizon)."""
    assert case.chance is not None
    chance, utility = case.chance[i], case.utility_bps[i]
    if bool(np.isnan(utility).all()):
        why = why_unpriced(case.bills[i, 0], case.settings.costs)
        return Reason.NO_PRICE, why or "not known: volatility", 0
    likely = case.approved & (chance >= case.thresholds)
    best = _best(utility, likely if likely.any() else case.approved)
    at = f"at {case.horizons_s[best]} s"
    odds = f"probability {chance[best]:.4f}"
    if not likely.any():
        return Reason.BELOW_PROBABILITY, f"{odds} < {case.thresholds[best]:.4f} {at}", best
    worth, least = f"utility {utility[best]:.2f}", case.settings.utility_threshold_bps
    if not utility[best] >= least:
        return Reason.BELOW_UTILITY, f"{worth} < {least:g} bps {at}", best
    return Reason.SIGNAL, f"{odds}, {worth} bps {at}", best


def _best(utility: NDArray[np.float64], among: NDArray[np.bool_]) -> int:
    """Column of the greatest utility among the flagged; the shortest horizon on a tie."""
    return int(np.argmax(np.where(among & ~np.isnan(utility), utility, -np.inf)))


def _verdict(
    case: _Case, i: int, symbol: str, reason: Reason, detail: str, best: int, scored: bool
) -> Verdict:
    boundary, model = case.boundary, case.model
    row, inputs = case.bills[i, best], boundary.bill_inputs[i]
    bid, ask = float(inputs["bid"]), float(inputs["ask"])
    version = None if model is None else model.version
    probabilities = case.chance[i].tolist() if scored and case.chance is not None else None
    return Verdict(
        id=verdict_id(symbol, boundary.boundary_ns, case.horizons_s[best], version),
        symbol=symbol,
        boundary_ns=boundary.boundary_ns,
        reason=reason,
        detail=detail,
        horizon_s=case.horizons_s[best],
        horizons_s=() if model is None else case.horizons_s,
        probabilities=None if probabilities is None else tuple(probabilities),
        threshold=None if model is None else _known(case.thresholds[best]),
        far_bps=None if model is None else _known(case.far_bps[i, best]),
        near_bps=None if model is None else _known(case.near_bps[i, best]),
        bill={name: float(row[name]) for name in BILL.names or ()}
        if np.isfinite(row["total_bps"])
        else None,
        bill_version=case.settings.costs.version,
        utility_bps=_known(case.utility_bps[i, best]) if scored else None,
        mid=(bid + ask) / 2.0 if ask >= bid > 0.0 else None,
        model_version=version,
        book_state=STATE_NAMES[int(boundary.book_state[i])],
        book_epoch=int(boundary.book_epoch[i]),
        tape_epoch=int(boundary.tape_epoch[i]),
    )


def _known(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
