"""Series: slow series of the chain, of other markets and of moods, as of when they became known.

One plug-in for all: a CONTEXT row of ALL symbols with field CONTEXT_SERIES + k carries a value of
the k-th of `names`, the time that it is of (boundary_ns) and the time when it became known
(known_ns). Names, transforms and spans are data. A span is counted in the times that values are
of. A later value of the same time is a revision: it holds from its row on, never before. A series
that is not connected, or whose newest value is older than its limit, is NaN, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, log, nan, sqrt
from typing import Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foreshock.config import Section
from foreshock.features.family import integers
from foreshock.features.vector import FeatureSpec
from foreshock.market.clock import SECOND_NS
from foreshock.market.instruments import Instrument
from foreshock.market.jit import in_place, in_place_kernel
from foreshock.market.ladder import Ladder
from foreshock.market.rows import ALL, CONTEXT, CONTEXT_SERIES, ID, ID2, META, A, B, Words
from foreshock.market.words import count_of, kind_of, symbol_of

SLOTS: Final = 256  # newest values of a series that are kept
LEAST: Final = 10  # values that a z-score or a correlation needs
_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600

Kind = Literal["level", "difference", "change", "zscore", "correlation", "per_mean"]
KINDS: Final[tuple[Kind, ...]] = (
    "level", "difference", "change", "zscore", "correlation", "per_mean",
)  # fmt: skip
LEVEL, DIFFERENCE, CHANGE, ZSCORE, CORRELATION, PER_MEAN = range(6)


class Transform(Section):
    """One feature of a series."""

    name: str = Field(description="The feature's name.")
    series: str = Field(description="Of which series.")
    kind: Kind = Field(
        default="level",
        description="What is made of it: level; difference or change over the span; zscore within "
        "the span; correlation of its log changes with those of `other`; per_mean of `other`.",
    )
    span_s: int = Field(default=0, ge=0, description="Over how long; 0 only for a level.")
    other: str = Field(default="", description="The second series of a correlation or a ratio.")
    sign: Literal[-1, 1] = Field(default=1, description="-1 turns it round.")


def _of(name: str, series: str, kind: Kind = "level", days: float = 0, other: str = "",
        sign: Literal[-1, 1] = 1) -> Transform:  # fmt: skip
    span_s = round(days * _DAY_S)
    return Transform(name=name, series=series, kind=kind, span_s=span_s, other=other, sign=sign)


class SeriesSettings(Section):
    """Which series there are, and what is made of them."""

    names: tuple[str, ...] = Field(
        default=(
            "exchange_reserves", "whale_transactions", "miner_outflow", "stablecoin_supply",
            "market_cap", "transaction_volume", "btc_dominance", "eth_btc", "dxy", "sp500", "gold",
            "fear_greed", "social_volume", "funding_mean", "google_trends", "btc_price", "vix",
            "hashrate", "mvrv", "sopr", "nupl", "puell_multiple", "active_addresses",
            "etf_flows_usd", "lth_supply", "treasury_10y", "miner_revenue",
        ),
        description="Series by their position: a row's field is CONTEXT_SERIES + position.",
    )  # fmt: skip
    stale_s: int = Field(
        default=4 * _DAY_S, gt=0,
        description="A value that became known longer ago is unknown, unless `stale_of_s` says "
        "otherwise. A weekend is three days.",
    )  # fmt: skip
    stale_of_s: dict[str, int] = Field(
        default_factory=dict, description="Limits of single series, by name."
    )
    features: tuple[Transform, ...] = Field(
        default=(
            _of("exchange_netflow_1h", "exchange_reserves", "difference", 1 / 24),
            _of("exchange_netflow_24h", "exchange_reserves", "difference", 1),
            _of("whale_transactions", "whale_transactions"),
            _of("miner_outflow", "miner_outflow"),
            _of("stablecoin_supply_change", "stablecoin_supply", "change", 1),
            _of("nvt_signal", "market_cap", "per_mean", 90, "transaction_volume"),
            _of("btc_dominance", "btc_dominance"),
            _of("btc_dominance_change", "btc_dominance", "difference", 1),
            _of("eth_btc_ratio", "eth_btc"),
            _of("dxy_inverse", "dxy", "correlation", 60, "btc_price", -1),
            _of("sp500_correlation", "sp500", "correlation", 60, "btc_price"),
            _of("gold_correlation", "gold", "correlation", 60, "btc_price"),
            _of("fear_greed_index", "fear_greed"),
            _of("fear_greed_change_7d", "fear_greed", "difference", 7),
            _of("social_volume", "social_volume"),
            _of("funding_sentiment", "funding_mean"),
            _of("google_trends", "google_trends"),
            _of("vix", "vix"),
            _of("hashrate_change_30d", "hashrate", "change", 30),
            _of("mvrv", "mvrv"),
            _of("sopr", "sopr"),
            _of("nupl", "nupl"),
            _of("puell_multiple", "puell_multiple"),
            _of("active_addresses_zscore_90d", "active_addresses", "zscore", 90),
            _of("etf_flows_zscore_90d", "etf_flows_usd", "zscore", 90),
            _of("lth_supply_change_30d", "lth_supply", "change", 30),
            _of("treasury_10y_change_30d", "treasury_10y", "difference", 30),
            _of("miner_revenue_zscore_90d", "miner_revenue", "zscore", 90),
        ),
        description="The features, in the order of their columns.",
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("series named twice")
        for one in self.features:
            two = one.kind in ("correlation", "per_mean")
            wanted = {one.series, *((one.other,) if two or one.other else ())}
            if missing := sorted(wanted - set(self.names)):
                raise ValueError(f"{one.name} needs the series {missing}, which `names` lacks")
            if (one.span_s > 0) == (one.kind == "level"):
                raise ValueError(f"{one.name}: a span is needed by all but a level")
        if unknown := sorted(set(self.stale_of_s) - set(self.names)):
            raise ValueError(f"stale_of_s names no series: {unknown}")
        return self

    def limit_s(self, name: str) -> int:
        """How long a value of this series holds."""
        return self.stale_of_s.get(name, self.stale_s)


_SOURCES = {
    "nvt_signal": "Kalichkin 2018, Rethinking network value to transactions ratio",
    "mvrv": "Mahmudov, Puell 2018, Bitcoin market-value-to-realized-value ratio",
    "sopr": "Shirakashi 2019, Introducing SOPR",
}


def specs(settings: SeriesSettings) -> tuple[FeatureSpec, ...]:
    """Its features in the order of its columns."""
    return tuple(_spec(one, settings) for one in settings.features)


def _spec(one: Transform, settings: SeriesSettings) -> FeatureSpec:
    ahead, span_s = "−" if one.sign < 0 else "", one.span_s
    days = f"{span_s / _DAY_S:g} d" if span_s % _DAY_S == 0 else f"{span_s / _HOUR_S:g} h"
    formula = {
        "level": f"{one.series}, newest known value",
        "difference": f"{one.series} − its value {days} before",
        "change": f"{one.series} / its value {days} before − 1",
        "zscore": f"({one.series} − mean) / standard deviation within {days}",
        "correlation": f"correlation of the log changes of {one.series} and {one.other} between "
        f"the times that both are of, within {days}",
        "per_mean": f"{one.series} / mean of {one.other} within {days}",
    }[one.kind]
    names = [one.series] + [one.other] * (one.kind in ("correlation", "per_mean"))
    limits = ", ".join(f"{n} within {settings.limit_s(n) / _DAY_S:g} d" for n in names)
    why = {
        "level": "", "difference": f", or no value {days} before (at most half as long again)",
        "change": f", or no value above 0 {days} before (at most half as long again)",
    }.get(one.kind, f", fewer than {LEAST} values, or none that vary")  # fmt: skip
    return FeatureSpec(
        one.name, "series", ahead + formula, "1", "series", span_s,
        f"not connected: nothing became known of {limits}{why}",
        _SOURCES.get(one.name, "definition"), (span_s,) if span_s else (),
    )  # fmt: skip


class Params(NamedTuple):
    """What each feature is made of, and how long each series holds."""

    features: NDArray[np.int64]  # (features, 5): series, kind, span ns, other or −1, sign
    stale_ns: NDArray[np.int64]  # (series,)


class State(NamedTuple):
    """All series; k series. They are the same for every symbol."""

    params: Params
    of_ns: NDArray[np.int64]  # (k, SLOTS) the time that the value is of, 0 empty
    value: NDArray[np.float64]  # (k, SLOTS)
    head: NDArray[np.int64]  # (k,) the slot of the newest
    known_ns: NDArray[np.int64]  # (k,) when the newest became known, 0 none
    made: NDArray[np.float64]  # (features,) as of the last row
    changed: NDArray[np.int64]  # (1,) 1 where a row came since `made`


def init(instruments: Sequence[Instrument], settings: SeriesSettings) -> State:
    """A cold state."""
    at = {name: k for k, name in enumerate(settings.names)}
    k, made = len(at), len(settings.features)
    features = [
        (at[one.series], KINDS.index(one.kind), one.span_s * SECOND_NS, at.get(one.other, -1),
         one.sign)
        for one in settings.features
    ]  # fmt: skip
    return State(
        params=Params(
            features=np.array(features, np.int64).reshape(-1, 5),
            stale_ns=integers(settings.limit_s(name) * SECOND_NS for name in settings.names),
        ),
        of_ns=np.zeros((k, SLOTS), np.int64),
        value=np.zeros((k, SLOTS)),
        head=np.zeros(k, np.int64),
        known_ns=np.zeros(k, np.int64),
        made=np.full(made, np.nan),
        changed=np.zeros(1, np.int64),
    )


@in_place
def _take(k: int, of_ns: int, known_ns: int, value: float, state: State) -> None:
    """A new value, or a revision of one that is kept."""
    head = state.head[k]
    if of_ns > state.of_ns[k, head]:
        head = 0 if head + 1 == SLOTS else head + 1
        state.head[k] = head
        state.of_ns[k, head] = of_ns
        state.value[k, head] = value
        state.known_ns[k] = known_ns
        state.changed[0] = 1
        return
    for slot in range(SLOTS):
        if state.of_ns[k, slot] == of_ns:
            state.value[k, slot] = value
            state.changed[0] = 1


@in_place
def step(words: Words, touch: NDArray[np.int64], i: int, state: State) -> None:
    """Advance by the header row `i` of `words`, int64 (n, 10). A value that is not finite, that is
    of no time, or that says it becomes known after it came, is not taken."""
    meta = words[i, META]
    if kind_of(meta) != CONTEXT or symbol_of(meta) != ALL:
        return
    k = words[i, A] - CONTEXT_SERIES
    if not 0 <= k < state.head.shape[0]:
        return
    known_ns, of_ns = words[i, ID], words[i, ID2]
    value = words[i : i + 1, B].view(np.float64)[0]
    if isfinite(value) and 0 < of_ns <= known_ns <= words[i, 0]:
        _take(k, of_ns, known_ns, value, state)


@in_place_kernel
def scan(words: Words, touch: NDArray[np.int64], lo: int, hi: int, state: State) -> None:
    """Advance by the rows lo <= i < hi; `lo` must be a header row."""
    i = lo
    while i < hi:
        step(words, touch, i, state)
        i += 1 + count_of(words[i, META])


@in_place
def _before(k: int, span_ns: int, state: State) -> float:
    """The newest value of at least `span_ns` before the newest, at most half as long again."""
    head = state.head[k]
    last_ns = state.of_ns[k, head] - span_ns
    for back in range(1, SLOTS):
        slot = (head - back) % SLOTS
        at_ns = state.of_ns[k, slot]
        if at_ns == 0 or at_ns < last_ns - span_ns // 2:
            break
        if at_ns <= last_ns:
            return float(state.value[k, slot])
    return nan


@in_place
def _mean_and_deviation(k: int, since_ns: int, state: State) -> tuple[float, float]:
    """Of the values of times after `since_ns`, oldest first; NaN where fewer than LEAST."""
    n, total, least, most = 0, 0.0, inf, -inf
    for ago in range(SLOTS - 1, -1, -1):
        slot = (state.head[k] - ago) % SLOTS
        if state.of_ns[k, slot] > since_ns:
            n += 1
            total += state.value[k, slot]
            least, most = min(least, state.value[k, slot]), max(most, state.value[k, slot])
    if n < LEAST:
        return nan, nan
    mean, squares = total / n, 0.0
    for ago in range(SLOTS - 1, -1, -1):
        slot = (state.head[k] - ago) % SLOTS
        if state.of_ns[k, slot] > since_ns:
            squares += (state.value[k, slot] - mean) ** 2
    return mean, sqrt(squares / n) if most > least else nan


@in_place
def _correlation(k: int, other: int, since_ns: int, state: State) -> float:
    """Of log changes between successive times that both series have a value above 0 of."""
    n, xs, ys, xx, yy, xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    x_was, y_was = nan, nan
    theirs = SLOTS - 1
    for ago in range(SLOTS - 1, -1, -1):
        slot = (state.head[k] - ago) % SLOTS
        at_ns = state.of_ns[k, slot]
        while theirs > 0 and state.of_ns[other, (state.head[other] - theirs) % SLOTS] < at_ns:
            theirs -= 1
        there = (state.head[other] - theirs) % SLOTS
        if at_ns <= since_ns or state.of_ns[other, there] != at_ns:
            continue
        x, y = state.value[k, slot], state.value[other, there]
        if x <= 0.0 or y <= 0.0:
            continue
        x, y = log(x), log(y)
        if isfinite(x_was):
            dx, dy = x - x_was, y - y_was
            n += 1
            xs, ys, xx, yy, xy = xs + dx, ys + dy, xx + dx * dx, yy + dy * dy, xy + dx * dy
        x_was, y_was = x, y
    if n < LEAST:
        return nan
    below = (xx - xs * xs / n) * (yy - ys * ys / n)
    return (xy - xs * ys / n) / sqrt(below) if below > 0.0 else nan


@in_place
def _make(f: int, state: State) -> float:
    """The value of a feature from all that is known."""
    k, kind = state.params.features[f, 0], state.params.features[f, 1]
    span_ns, other = state.params.features[f, 2], state.params.features[f, 3]
    if state.known_ns[k] == 0:
        return nan
    now = state.value[k, state.head[k]]
    since_ns = max(state.of_ns[k, state.head[k]] - span_ns, 0)
    if kind == LEVEL:
        return float(now)
    if kind == DIFFERENCE:
        return float(now - _before(k, span_ns, state))
    if kind == CHANGE:
        before = _before(k, span_ns, state)
        return float(now / before - 1.0) if before > 0.0 else nan
    if kind == ZSCORE:
        mean, deviation = _mean_and_deviation(k, since_ns, state)
        return float((now - mean) / deviation)
    if kind == CORRELATION:
        return float(_correlation(k, other, since_ns, state))
    mean, _ = _mean_and_deviation(other, since_ns, state)
    return float(now / mean) if mean > 0.0 else nan


@in_place_kernel
def close(boundary_ns: int, ladder: Ladder, state: State, out: NDArray[np.float64]) -> None:
    """Write the features at `boundary_ns`, the same for every symbol, into `out`, float64 (n, k).
    The rows scanned before are those with arrival_ns < boundary_ns."""
    features = state.params.features
    for f in range(features.shape[0]):
        if state.changed[0] == 1:
            state.made[f] = features[f, 4] * _make(f, state)
        k, other = features[f, 0], features[f, 3]
        fresh = boundary_ns - state.known_ns[k] <= state.params.stale_ns[k]
        if other >= 0:
            fresh = fresh and boundary_ns - state.known_ns[other] <= state.params.stale_ns[other]
        value = state.made[f] if fresh else nan
        for s in range(out.shape[0]):
            out[s, f] = value
    state.changed[0] = 0
