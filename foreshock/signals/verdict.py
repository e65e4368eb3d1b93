"""A verdict: what was decided about one symbol at one boundary, with its reason and its bill."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a verdict is what it is; `foreshock.signals.gate` states the order of checks."""

    SIGNAL = "signal"
    DUPLICATE = "duplicate"
    KILL_SWITCH = "kill_switch"
    BREAKER = "breaker"
    NO_MODEL = "no_model"
    MODEL_DOMAIN = "model_domain"
    MODEL_EXPIRED = "model_expired"
    BOOK_RESYNCING = "book_resyncing"
    BOOK_STALE = "book_stale"
    COLD = "cold"
    NO_PRICE = "no_price"
    BELOW_PROBABILITY = "below_probability"
    BELOW_UTILITY = "below_utility"
    COOL_DOWN = "cool_down"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one symbol at one boundary, and why.

    id             32 hex digits, the same whenever the same thing is judged again
    horizon_s      the horizon that the figures are of; 0 where no model could be asked
    probabilities  by horizon, in the order of `horizons_s`; None where nothing was scored
    bill           components and total in bps; None where a part of it is unknown
    far_bps, near_bps, utility_bps   of `horizon_s`; None where unknown
    mid            quote currency; None where there is none
    detail         the reason in a sentence with its figures
    """

    id: str
    symbol: str
    boundary_ns: int
    reason: Reason
    detail: str
    horizon_s: int
    horizons_s: tuple[int, ...]
    probabilities: tuple[float, ...] | None
    threshold: float | None
    far_bps: float | None
    near_bps: float | None
    bill: Mapping[str, float] | None
    bill_version: str
    utility_bps: float | None
    mid: float | None
    model_version: str | None
    book_state: str
    book_epoch: int
    tape_epoch: int

    @property
    def is_signal(self) -> bool:
        """Whether to act."""
        return self.reason is Reason.SIGNAL

    @property
    def probability(self) -> float | None:
        """Of `horizon_s`; None where nothing was scored."""
        if self.probabilities is None or self.horizon_s not in self.horizons_s:
            return None
        return self.probabilities[self.horizons_s.index(self.horizon_s)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with `probability` and `signal` beside the fields."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["reason"] = self.reason.value
        out["bill"] = None if self.bill is None else dict(self.bill)
        out["horizons_s"] = list(self.horizons_s)
        out["probabilities"] = None if self.probabilities is None else list(self.probabilities)
        out["probability"] = self.probability
        out["signal"] = self.is_signal
        return out


def verdict_id(symbol: str, boundary_ns: int, horizon_s: int, model_version: str | None) -> str:
    """The stable id under which a verdict is delivered at least once and counted once."""
    body = f"{symbol}|{boundary_ns}|{horizon_s}|{model_version or ''}"
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()
