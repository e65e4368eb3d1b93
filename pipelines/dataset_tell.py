"""What a dataset says of itself: spans, counts, gaps, epochs, balance. Added up from its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foreshock.errors import DatasetError

Part = tuple[str, str, int, Mapping[str, Any]]  # path, symbol, day, what `build_day` told


def told_of(parts: Sequence[Part]) -> dict[str, Any]:
    """{coverage: {symbol: …}, balance: {horizon: …}}; JSON-ready. Raises DatasetError where a
    symbol is in two sessions at the same time: it would be counted twice.

    coverage   rows, first_ns and last_ns of them, days; boundaries and what became of them
               (`of_them`: row, price, thinned, epoch, warm); gaps [from_ns, to_ns] that censor
               labels, and their sum; epochs that were met
    balance    of `foreshock.labels.balance.Balance`: rows that have an answer for some horizon,
               censored ones of this horizon, positives, base_rate, clusters, uniqueness, effective
    """
    coverage: dict[str, dict[str, Any]] = {}
    for symbol in sorted({part[1] for part in parts}):
        mine = sorted((p for p in parts if p[1] == symbol), key=lambda p: (p[3]["first_ns"], p[2]))
        _refuse_overlap(symbol, mine)
        told = [p[3] for p in mine]
        filled = [each for each in told if each["rows"]]
        gaps = [gap for each in told for gap in each["gaps"]]
        coverage[symbol] = {
            "rows": sum(each["rows"] for each in told),
            "first_ns": min((each["first_ns"] for each in filled), default=0),
            "last_ns": max((each["last_ns"] for each in filled), default=0),
            "days": len({p[2] for p in mine}),
            "boundaries": sum(each["boundaries"] for each in told),
            "of_them": {
                name: sum(each["of_them"][name] for each in told) for name in told[0]["of_them"]
            },
            "gaps": gaps,
            "gaps_ns": sum(end - start for start, end in gaps),
            "epochs": len({(p[0].rpartition("/")[2], e) for p in mine for e in p[3]["epochs"]}),
        }
    horizons = parts[0][3]["horizons"] if parts else {}
    return {"coverage": coverage, "balance": {h: _balance(parts, h) for h in horizons}}


def _refuse_overlap(symbol: str, mine: Sequence[Part]) -> None:
    last_ns, where = 0, ""
    for path, _, _, told in mine:
        if not told["rows"]:
            continue
        if told["first_ns"] <= last_ns:
            raise DatasetError(f"{symbol} is in two sessions at the same time: {where} and {path}")
        last_ns, where = told["last_ns"], path


def _balance(parts: Sequence[Part], horizon: str) -> dict[str, Any]:
    each = [part[3]["horizons"][horizon] for part in parts]
    out: dict[str, Any] = {
        name: sum(one[name] for one in each)
        for name in ("rows", "censored", "positives", "clusters", "effective")
    }
    answered = out["rows"] - out["censored"]
    out["base_rate"] = out["positives"] / answered if answered else None
    out["uniqueness"] = out["effective"] / answered if answered else None
    return out
