"""From a stored verdict to an answer: a number with its age, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.errors import ModelError
from foreshock.features import catalog
from foreshock.features.vector import Layout
from foreshock.market.clock import MS_NS
from foreshock.signals.gate import Panel
from serve.envelope import DoorError
from serve.scorer import Scores
from serve.settings import ServeSettings

Json = dict[str, Any]

# Fields of a verdict that a prediction shows as they are.
_SHOWN: Final = (
    "symbol", "boundary_ns", "reason", "detail", "signal", "horizon_s", "probability", "threshold",
    "utility_bps", "far_bps", "near_bps", "bill", "bill_version", "mid", "model_version", "domain",
    "book_state", "book_epoch", "tape_epoch", "id",
)  # fmt: skip
_BOOK_RETRY_S: Final = 5.0


def age_ms(entry: Mapping[str, Any], now_ns: int) -> float:
    """How long ago a verdict or a market state was judged; never below zero."""
    return max(0.0, (now_ns - int(entry["judged_ns"])) / MS_NS)


def prediction(
    symbol: str,
    verdicts: Mapping[str, Json],
    market: Mapping[str, Json],
    settings: ServeSettings,
    now_ns: int,
    layout: Layout,
) -> Json:
    """The latest scored state of a watched symbol.

    Raises DoorError: 409 with the verdict's reason where nothing was scored (`not_warm` names what
    is missing), 503 `stale` where the last verdict is too old to mean anything."""
    verdict = verdicts.get(symbol)
    if verdict is None:
        raise DoorError(
            409,
            "not_warm",
            f"{symbol} is watched, and no boundary of it was judged yet",
            reason="cold",
            retry_after_seconds=float(catalog.REQUIRED_WARMUP_S),
            details={
                "symbol": symbol,
                "missing": [spec.name for spec in layout if catalog.is_required(spec)],
            },
        )
    age = age_ms(verdict, now_ns)
    if age > settings.refuse_after_s * 1_000:
        raise DoorError(
            503,
            "stale",
            f"the last verdict on {symbol} is {age / 1_000:.1f} s old",
            retry_after_seconds=settings.stale_after_s,
            details={"symbol": symbol, "age_ms": age},
        )
    if verdict["probabilities"] is None:
        raise _unscored(verdict, market.get(symbol, {}), age, layout)
    horizons = [str(horizon) for horizon in verdict["horizons_s"]]
    return {
        **{name: verdict.get(name) for name in _SHOWN},
        "probabilities": dict(zip(horizons, verdict["probabilities"], strict=True)),
        "age_ms": age,
        "stale": age > settings.stale_after_s * 1_000,
    }


def _unscored(verdict: Json, state: Json, age: float, layout: Layout) -> DoorError:
    symbol, reason = verdict["symbol"], verdict["reason"]
    details = {
        "symbol": symbol,
        "boundary_ns": verdict["boundary_ns"],
        "age_ms": age,
        "book_state": verdict["book_state"],
        "book_epoch": verdict["book_epoch"],
        "tape_epoch": verdict["tape_epoch"],
    }
    code, retry_s = reason, None
    if reason == "cold":
        missing = state.get("missing", [])
        code, details["missing"] = "not_warm", missing
        waits_s = [spec.warmup_s for spec in layout if spec.name in missing]
        retry_s = float(max(waits_s, default=1))
    elif reason in ("book_resyncing", "book_stale"):
        retry_s = _BOOK_RETRY_S
    return DoorError(
        409,
        code,
        f"{symbol} has no probability now: {verdict['detail']}",
        reason=reason,
        retry_after_seconds=retry_s,
        details=details,
    )


def features(layout: Layout, known: Mapping[str, Sequence[int]], symbols: int) -> Json:
    """Every feature of the watchers' vectors, and for how many symbols it has a value now: one that
    has none anywhere is masked, because its source is not connected or its window not full."""
    has = [sum(counts[k] for counts in known.values()) for k in range(len(layout))]
    told = [
        {**asdict(spec), "required": catalog.is_required(spec), "symbols_known": has[k]}
        for k, spec in enumerate(layout)
    ]
    silent = [spec.name for k, spec in enumerate(layout) if not has[k]]
    return {
        "layout_fingerprint": layout.fingerprint,
        "tier": layout.tier,
        "symbols": symbols,
        "count": len(told),
        "silent": silent,
        "features": told,
    }


def summary(
    symbol: str,
    verdict: Json | None,
    state: Json | None,
    settings: ServeSettings,
    now_ns: int,
) -> Json:
    """One line of the list of symbols: state of the book, prices, last verdict, age."""
    verdict, state = verdict or {}, state or {}
    age = age_ms(verdict, now_ns) if verdict else None
    names = ("bid", "ask", "last", "book_state", "book_epoch", "tape_epoch", "rows", "watcher")
    said = ("mid", "reason", "signal", "probability", "horizon_s", "utility_bps", "boundary_ns")
    return {
        "symbol": symbol,
        **{name: state.get(name) for name in names},
        **{name: verdict.get(name) for name in said},
        "missing": state.get("missing", []),
        "age_ms": age,
        "stale": age is None or age > settings.stale_after_s * 1_000,
    }


def as_matrix(rows: list[list[float | None]]) -> NDArray[np.float32]:
    """Vectors (n, k) of a request; null means not warm. Raises DoorError on ragged rows."""
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise DoorError(422, "invalid", f"features have rows of {sorted(widths)} numbers")
    filled = [[np.nan if value is None else value for value in row] for row in rows]
    return np.array(filled, dtype=np.float64).astype(np.float32)


def scored(matrix: NDArray[np.float32], fingerprint: str, scores: Scores) -> Json:
    """The answer to vectors that a client brought. Rows that lack a required feature get null.

    Raises DoorError: 409 `no_model`, 409 `layout_mismatch`."""
    probabilities, facts, trained_on = scores
    assert not isinstance(facts, Panel), "vectors without symbols have one speaker"
    if facts is None:
        raise DoorError(409, "no_model", "no model is loaded")
    if probabilities is None:
        raise DoorError(
            409,
            "layout_mismatch",
            f"the features are of layout {fingerprint!r}, the model was trained on {trained_on!r}",
            details={"layout_fingerprint": trained_on},
        )
    required = slice(0, 0) if facts.required is None else facts.required
    told = np.asarray(np.isfinite(matrix)[:, required].all(axis=1))
    return {
        "model_version": facts.version,
        "domain": str(facts.domain),
        "layout_fingerprint": trained_on,
        "horizons_s": list(facts.horizons_s),
        "approved": list(facts.approved or [True] * len(facts.horizons_s)),
        "thresholds": list(facts.thresholds),
        "probabilities": [
            row.tolist() if ok else None for row, ok in zip(probabilities, told, strict=True)
        ],
    }


def misfit(error: ModelError) -> DoorError:
    """The scorer's word on vectors of another width."""
    return DoorError(422, "invalid", str(error), reason="features")
