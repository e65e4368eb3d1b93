"""What is due at known moments: regimes that follow each other, halts, listings, delistings.

Drawn and applied outside the market's own dice: a run without a calendar gives the same bytes as
one whose calendar is empty, and events fall on their exact moment however a run is cut.
"""

from __future__ import annotations

import heapq
from typing import Final, Literal, NamedTuple

import numpy as np

from foreshock.market.clock import SECOND_NS
from foreshock.simulation import state
from foreshock.simulation.settings import SimulationSettings

NEVER: Final = np.iinfo(np.int64).max

Action = Literal["regime", "halt", "list", "delist"]


class Regime(NamedTuple):
    """Multiples of a symbol's own nature, and a drift in bps a second (its sign is drawn)."""

    volatility: float
    pace: float
    spread: float
    drift_bps: float


REGIMES: Final = {
    "calm": Regime(0.7, 0.7, 0.9, 0.0),
    "trending": Regime(1.0, 1.2, 1.0, 0.12),
    "stressed": Regime(2.5, 2.5, 2.0, 0.0),
}
REGIME_NAMES: Final = tuple(REGIMES)
_SHARES: Final = (0.6, 0.3, 0.1)
_SCALED: Final = (state.VOLATILITY, state.TRADES_PER_S, state.HALF_SPREAD_TICKS)


class Due(NamedTuple):
    """One event. `value`: seconds of a halt in ns, or 1 + index of a regime, negative for one that
    drifts down."""

    at_ns: int
    symbol: int
    action: Action
    value: int


class Calendar:
    """The events of a market, earliest first. `passed` is what has happened."""

    def __init__(self, settings: SimulationSettings, market: state.Market) -> None:
        self._settings = settings
        self._nature = market.real[:, _SCALED].copy()
        self._random = [
            np.random.default_rng([settings.seed, 1, *name.encode()]) for name in settings.symbols
        ]
        self._queue: list[Due] = []
        self.listed = np.ones(len(settings.symbols), np.bool_)
        self.halted_until_ns = np.zeros(len(settings.symbols), np.int64)
        self.passed: list[Due] = []
        index = {name: s for s, name in enumerate(settings.symbols)}
        for entry in settings.schedule:
            at_ns = settings.start_ns + round(entry.at_s * SECOND_NS)
            seconds_ns = round(entry.seconds * SECOND_NS)
            self._queue.append(Due(at_ns, index[entry.symbol], entry.action, seconds_ns))
        if settings.regime_s > 0:
            self._queue += [self._regime(s, settings.start_ns) for s in range(len(self.listed))]
        heapq.heapify(self._queue)

    def open(self, market: state.Market) -> None:
        """Take symbols that are listed later out of the market until then."""
        for due in self._queue:
            if due.action == "list":
                self.listed[due.symbol] = False
                _stop(market, due.symbol, due.at_ns)

    def next_ns(self) -> int:
        """The moment of the next event; NEVER."""
        return self._queue[0].at_ns if self._queue else NEVER

    def happen(self, market: state.Market) -> None:
        """Apply the next event to a market that stands at its moment."""
        due = heapq.heappop(self._queue)
        s = due.symbol
        if due.action == "regime":
            regime = REGIMES[REGIME_NAMES[abs(due.value) - 1]]
            market.real[s, _SCALED] = self._nature[s] * regime[:3]
            market.real[s, state.DRIFT] = regime.drift_bps * (1 if due.value > 0 else -1)
            heapq.heappush(self._queue, self._regime(s, due.at_ns))
        elif due.action == "halt":
            self.halt(market, s, due.at_ns, due.value)
            return
        elif due.action == "list":
            self.listed[s] = True
        else:
            self.listed[s] = False
            _stop(market, s, NEVER)
        self.passed.append(due)

    def halt(self, market: state.Market, s: int, now_ns: int, seconds_ns: int) -> None:
        """From now on nothing trades; what changed since the last diff is told, then no more."""
        if not self.listed[s]:
            return
        self.passed.append(Due(now_ns, s, "halt", seconds_ns))
        self.halted_until_ns[s] = max(self.halted_until_ns[s], now_ns + seconds_ns)
        _stop(market, s, int(self.halted_until_ns[s]))
        if market.book.whole[s, state.FIRST_ID] != 0:
            market.book.whole[s, state.NEXT_DEPTH_NS] = now_ns + 1

    def trades(self, s: int, now_ns: int) -> bool:
        """Whether a symbol is listed and not halted."""
        return bool(self.listed[s] and now_ns >= self.halted_until_ns[s])

    def _regime(self, s: int, from_ns: int) -> Due:
        random = self._random[s]
        at_ns = from_ns + 1 + int(random.exponential(self._settings.regime_s) * SECOND_NS)
        kind = 1 + int(random.choice(len(_SHARES), p=_SHARES))
        return Due(at_ns, s, "regime", kind if random.random() < 0.5 else -kind)


def _stop(market: state.Market, s: int, until_ns: int) -> None:
    whole = market.book.whole
    whole[s, [state.NEXT_FLOW_NS, state.NEXT_DEPTH_NS, state.HALT_NS]] = until_ns
