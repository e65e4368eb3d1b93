"""Training sets of simulated markets (`simulation.paths`): with a planted edge, without one, with
one that does not pay its bill, and with labels that belong to other hours.

Labels are made by the kernels of `foreshock.labels`, barriers and bills by those of
`foreshock.costs`: what is judged here is judged as it would be anywhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.costs.barrier import barrier_bps
from foreshock.costs.total import CostSettings, bill
from foreshock.engine.outcomes import BILL_INPUT
from foreshock.features.vector import fingerprint_of
from foreshock.labels.barriers import CENSORED, LabelSettings, label_bars
from foreshock.market.clock import SECOND_NS
from foreshock.models.dataset import TrainingSet
from foreshock.simulation.paths import Paths, PathSettings, draw_paths

Floats = NDArray[np.float64]
START_NS: Final = 1_700_006_400 * SECOND_NS  # a midnight
STRIDE_S: Final = 300
WARM_S: Final = 7_200
SPREAD_BPS: Final = 1.0
FEATURES: Final = (
    "flow_imbalance_60s",
    "flow_imbalance_300s",
    "signed_flow_decay_60s",
    "momentum_300s",
    "momentum_3600s",
    "realised_volatility_3600s",
    "variation_ratio_300s_3600s",
    "market_momentum_900s",
)
# An account that pays no fees: as near to a free trade as a market without an edge may come.
FREE: Final = CostSettings(taker_fee_bps=0.0, maker_fee_bps=0.0, funding_interval_h=0.0)
# No bill at all, as no account has it: whoever waits at the touch, without fees. A trade that knows
# nothing earns exactly nothing on average.
UNBILLED: Final = CostSettings(maker_fee_bps=0.0, maker_share=1.0, funding_interval_h=0.0)


def simulated_set(
    paths: PathSettings, seed: int, costs: CostSettings | None = None,
    horizons_s: tuple[int, ...] = (900, 1800), k: tuple[float, float] = (2.0, 1.0),
) -> TrainingSet:  # fmt: skip
    """A market's training set, a row a symbol every STRIDE_S. `costs` are a taker's by default.

    k   (k_far, k_near) of the barriers, in standard deviations of the return over the horizon"""
    costs = CostSettings(funding_interval_h=0.0) if costs is None else costs
    labels = LabelSettings(
        horizons_s=horizons_s, bill_version=costs.version, k_far=k[0], k_near=k[1]
    )
    drawn = draw_paths(paths, seed)
    n, m = drawn.signal.shape
    close = drawn.bars[..., 3]
    returns = np.diff(np.log(close), axis=1, prepend=np.log(drawn.bars[:, :1, 0]))
    rows = np.arange(WARM_S, m * paths.bar_s, STRIDE_S) // paths.bar_s  # bars whose close is t0
    rows = rows[rows < m]
    opens = START_NS + np.arange(m, dtype=np.int64) * paths.bar_s * SECOND_NS
    t0 = opens[rows] + paths.bar_s * SECOND_NS

    volatility = np.sqrt(_mean(returns**2, 3600 // paths.bar_s))
    X = _features(drawn, returns, volatility, seed, paths.bar_s)[:, rows]
    per_second = volatility[:, rows] / np.sqrt(paths.bar_s)
    bills = bill(_inputs(close[:, rows].ravel(), per_second.ravel()), costs, horizons_s)
    total = bills["total_bps"].reshape(n, len(rows), len(horizons_s))
    far, near = barrier_bps(per_second[..., None], np.array(horizons_s), total, labels)
    found: dict[str, list[Any]] = {"labels": [], "t1_ns": [], "outcome_bps": []}
    for s in range(n):
        columns = [
            label_bars(
                t0, far[s, :, h], near[s, :, h], opens, drawn.bars[s], bar_s=paths.bar_s,
                half_spread_bps=SPREAD_BPS / 2, horizon_s=horizon,
            )
            for h, horizon in enumerate(horizons_s)
        ]  # fmt: skip
        found["labels"].append(np.stack([c.label for c in columns], axis=1))
        found["t1_ns"].append(np.stack([c.t1_ns for c in columns], axis=1))
        found["outcome_bps"].append(np.stack([c.outcome_bps for c in columns], axis=1))

    def rows_of(values: Any, dtype: type) -> NDArray[Any]:
        """(n, rows, …) as rows in order of time, then symbol."""
        array = np.swapaxes(np.asarray(values), 0, 1)
        return np.ascontiguousarray(array.reshape(-1, *array.shape[2:]).astype(dtype))

    symbols = tuple(f"S{number:02d}USDT" for number in range(n))
    return TrainingSet(
        X=rows_of(X, np.float32),
        labels=rows_of(found["labels"], np.int8),
        t0_ns=np.repeat(t0, n),
        t1_ns=rows_of(found["t1_ns"], np.int64),
        symbol=np.tile(np.arange(n, dtype=np.int32), len(rows)),
        symbols=symbols,
        outcome_bps=rows_of(found["outcome_bps"], np.float32),
        bill_bps=rows_of(total, np.float32),
        far_bps=rows_of(far, np.float32),
        near_bps=rows_of(near, np.float32),
        manifest=_manifest(labels, horizons_s),
    )


def permuted(
    data: TrainingSet, seed: int, block_s: int = 21_600, *, money_only: bool = False
) -> TrainingSet:
    """The same vectors with the labels, spans, outcomes, bills and barriers of other hours: time is
    turned by a random amount, cut into blocks, and the blocks are shuffled, all symbols together.
    Whatever the vectors told of their future they tell no more; what outcomes tell of each other,
    within a block, stays. Every boundary must have a row for every symbol.

    money_only   only the outcomes are of other hours: what the vectors tell of labels is as true as
                 before, and worth nothing"""
    random = np.random.default_rng(seed)
    times = np.unique(data.t0_ns)
    symbols = len(data) // len(times)
    step = int(np.diff(times).min())
    count = len(times)
    turned = np.roll(np.arange(count), int(random.integers(count)))
    size = max(1, block_s * SECOND_NS // step)
    blocks = [turned[at : at + size] for at in range(0, count, size)]
    random.shuffle(blocks)
    source = np.concatenate(blocks)
    # Rows are in order of time, then symbol.
    rows = (source[:, None] * symbols + np.arange(symbols)).ravel()
    if money_only:
        outcome = data.outcome_bps[rows]
        labels = np.where(np.isnan(outcome), np.int8(CENSORED), data.labels)
        return replace(data, outcome_bps=outcome, labels=labels)
    lasts = (data.t1_ns - data.t0_ns[:, None])[rows]
    taken = {
        name: getattr(data, name)[rows]
        for name in ("labels", "outcome_bps", "bill_bps", "far_bps", "near_bps")
    }
    return replace(data, t1_ns=data.t0_ns[:, None] + lasts, **taken)


def _features(paths: Paths, returns: Floats, volatility: Floats, seed: int, bar_s: int) -> Floats:
    """(n, m, k), known at each bar's close. The signal is seen through noise."""
    random = np.random.default_rng([seed, 1])
    seen = paths.signal + 0.5 * random.standard_normal(paths.signal.shape)
    five, hour = max(1, 300 // bar_s), max(1, 3600 // bar_s)
    market = _mean(returns.mean(axis=0, keepdims=True), max(1, 900 // bar_s))
    columns = (
        seen,
        _mean(seen, five),
        _mean(seen, 2 * five),
        _mean(returns, five) * 1e4,
        _mean(returns, hour) * 1e4,
        volatility * 1e4,
        np.sqrt(_mean(returns**2, five)) / np.maximum(volatility, 1e-9),
        np.broadcast_to(market * 1e4, seen.shape),
    )
    return np.stack(columns, axis=-1)


def _mean(values: Floats, bars: int) -> Floats:
    """Mean of the last `bars` along the last axis, of fewer at the beginning."""
    total = np.cumsum(values, axis=-1)
    total[..., bars:] = total[..., bars:] - total[..., :-bars]
    out: Floats = total / np.minimum(np.arange(1, values.shape[-1] + 1), bars)
    return out


def _inputs(price: Floats, volatility_1s: Floats) -> NDArray[np.void]:
    """What a liquid pair shows at a boundary; only price and volatility differ."""
    out = np.zeros(len(price), BILL_INPUT)
    out["bid"], out["ask"] = price * (1 - SPREAD_BPS / 2e4), price * (1 + SPREAD_BPS / 2e4)
    out["last"] = price
    out["bid_notional"] = out["ask_notional"] = 200_000.0
    out["volatility_1s"] = volatility_1s
    out["volume_60s"] = 500_000.0
    out["funding_rate"] = out["funding_in_s"] = np.nan
    out["mid_move_100ms_bps"] = volatility_1s * 1e4 * np.sqrt(0.1)
    out["mid_move_1s_bps"] = volatility_1s * 1e4
    out["ask_walk_bps"] = out["bid_walk_bps"] = 0.2
    return out


def _manifest(labels: LabelSettings, horizons_s: tuple[int, ...]) -> dict[str, Any]:
    digests = {name: f"simulated {name}" for name in FEATURES}
    return {
        "feature_names": list(FEATURES),
        "required_features": list(FEATURES[:1]),
        "feature_digests": digests,
        "layout_fingerprint": fingerprint_of(digests),
        "label_fingerprint": labels.fingerprint,
        "horizons_s": list(horizons_s),
        "domain": {"source": "simulation", "market": "binance-usdm", "tier": "bars"},
        "bill_version": labels.bill_version,
    }
