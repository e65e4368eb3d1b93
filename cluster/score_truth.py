"""How signals compare with surges whose times are known: precision and recall of a demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foreshock.market.clock import SECOND_NS


def precision_and_recall(
    signals: Sequence[Mapping[str, Any]],
    truth: Sequence[Mapping[str, Any]],
    *,
    venue_minus_ours_ns: int,
    from_ns: int,
    until_ns: int,
) -> dict[str, Any]:
    """Compare what was said with what was planted.

    signals   verdicts with `symbol`, `boundary_ns`, `horizon_s`, on our clock
    truth     rows with `symbol`, `precursor_ns`, `onset_ns`, `peak_ns`, `size_bps`, on the venue's
    from_ns, until_ns   the watched time, on our clock

    A signal is right when an upward surge of its symbol is under way or starts within its horizon.
    Signals whose horizon had not passed by `until_ns` and that are not right yet are `open` and
    count for neither side. A surge is found when a signal came between the start of its precursor
    and its peak; surges count that started while we watched. Rates are None where nothing counts.
    """
    surges = [
        {
            "symbol": row["symbol"],
            "precursor_ns": (row["precursor_ns"] or row["onset_ns"]) - venue_minus_ours_ns,
            "onset_ns": row["onset_ns"] - venue_minus_ours_ns,
            "peak_ns": row["peak_ns"] - venue_minus_ours_ns,
        }
        for row in truth
        if row["size_bps"] > 0
    ]

    def right(signal: Mapping[str, Any]) -> bool:
        at_ns = signal["boundary_ns"]
        end_ns = at_ns + signal["horizon_s"] * SECOND_NS
        return any(
            surge["symbol"] == signal["symbol"]
            and surge["onset_ns"] <= end_ns
            and surge["peak_ns"] > at_ns
            for surge in surges
        )

    said = [s for s in signals if from_ns <= s["boundary_ns"] <= until_ns]
    hits = [s for s in said if right(s)]
    misses = [
        s
        for s in said
        if not right(s) and s["boundary_ns"] + s["horizon_s"] * SECOND_NS <= until_ns
    ]
    watched = [s for s in surges if from_ns <= s["onset_ns"] <= until_ns]
    found = [
        surge
        for surge in watched
        if any(
            s["symbol"] == surge["symbol"]
            and surge["precursor_ns"] <= s["boundary_ns"] <= surge["peak_ns"]
            for s in said
        )
    ]
    judged = len(hits) + len(misses)
    return {
        "precision": len(hits) / judged if judged else None,
        "recall": len(found) / len(watched) if watched else None,
        "signals": len(said),
        "right": len(hits),
        "wrong": len(misses),
        "open": len(said) - judged,
        "surges": len(watched),
        "found": len(found),
    }
