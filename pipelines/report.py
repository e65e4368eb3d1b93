"""The report of a training: one JSON document, one HTML page that needs nothing else, and the files
of its record in the registry. Pure: the same evidence gives the same bytes."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from foreshock.market.clock import SECOND_NS
from foreshock.stores.registry_runs import Run
from foreshock.validation import measures
from foreshock.validation.forecasts import ratio_bounds
from foreshock.validation.rule import period_returns
from pipelines.evidence import (
    HorizonEvidence,
    RunEvidence,
    mean_interval,
    reliability_bins,
    share_interval,
)
from pipelines.outlook import told_outlook
from pipelines.plots import draw_all
from pipelines.report_page import page

TOP_SHARES: Final = (0.001, 0.01, 0.05)


def report(evidence: RunEvidence) -> dict[str, Any]:
    """JSON-ready: the card, every horizon's figures with intervals, baselines, the fold table and
    all trials. What data cannot say is null."""
    out: dict[str, Any] = _plain(
        {
            "card": dict(evidence.card),
            "horizons": [_horizon(told, evidence) for told in evidence.horizons],
            "folds": fold_table(evidence),
            "trials": [
                {
                    "number": trial.number,
                    "kind": trial.kind,
                    "scope": trial.scope,
                    "chosen": trial.chosen,
                    "skill": trial.skill,
                    **({"reason": trial.reason} if trial.reason else {}),
                }
                for trial in evidence.trials
            ],
            "rule": evidence.rule.model_dump(mode="json"),
            "symbols": list(evidence.symbols),
        }
    )
    return out


def fold_table(evidence: RunEvidence) -> list[dict[str, Any]]:
    """The shipped recipe by fold and horizon, as a card's `folds` has it."""
    chosen = evidence.chosen
    lines: list[dict[str, Any]] = []
    if chosen is None:  # without the trials: what the card says of them
        asked = ("fold", "horizon_s", "skill", "log_loss", "trades", "refused")
        told = [{word: c.get(word) for word in asked} for c in evidence.card.get("folds") or ()]
        given = [c.get("return_bps") for c in evidence.card.get("folds") or ()]
        out = [{**line, "net_bps": net} for line, net in zip(told, given, strict=True)]
        return list(_plain(out))
    for cell in () if chosen is None else chosen.cells:
        returns = [float(each) for each in cell.get("returns_bps") or ()]
        words = ("fold", "horizon_s", "skill", "log_loss", "trades")
        line: dict[str, Any] = {word: cell.get(word) for word in words}
        line["net_bps"] = sum(returns) if returns else None
        line["refused"] = cell.get("refused", "")
        lines.append(line)
    return list(_plain(lines))


def run_files(
    evidence: RunEvidence, manifest: Mapping[str, Any] | None = None, *, plots: bool = True
) -> dict[str, bytes]:
    """Contents by relative path of everything that a run leaves: report.html, report.json,
    card.json, folds.json, manifest.json and plots/*.png. Without `plots` they are not drawn (14
    pictures take some seconds) and the page has none."""
    told = report(evidence)
    drawn, left_out = draw_all(evidence) if plots else ({}, {})
    told["plots"] = {"drawn": sorted(drawn), "left_out": left_out}
    pictures = {name: base64.b64encode(body).decode() for name, body in drawn.items()}
    files = {
        "report.json": _bytes(told),
        "report.html": page(told, pictures).encode(),
        "card.json": _bytes(told["card"]),
        "folds.json": _bytes(told["folds"]),
        **{f"plots/{name}.png": body for name, body in drawn.items()},
    }
    if manifest is not None:
        files["manifest.json"] = _bytes(_plain(dict(manifest)))
    return files


def run_of(
    evidence: RunEvidence,
    started_ns: int,
    ended_ns: int,
    *,
    registered_as: str | None = None,
    manifest: Mapping[str, Any] | None = None,
    plots: bool = True,
) -> Run:
    """The record for `Registry.log_run`: parameters, metrics, tags and files of one training."""
    card = evidence.card
    params = {**(card.get("recipe") or card["settings"]), "trials": card["trials"]}
    metrics = {
        f"{horizon}s.{name}": float(value)
        for horizon, told in card["metrics"].items()
        for name, value in told.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    verdict = card.get("verdict") or ("promoted" if card["promoted"] else "refused")
    words = ("kind", "scope", "data_fingerprint", "layout_fingerprint", "label_fingerprint",
             "code_version", "cost_version", "reason")  # fmt: skip
    name = registered_as or card["name"]
    return Run(
        name=name,
        started_ns=started_ns,
        ended_ns=ended_ns,
        params=params,
        metrics=metrics,
        tags={"verdict": verdict, **{w: str(card[w]) for w in words if card.get(w)}},
        models=((name, card["version"]),),
        files=run_files(evidence, manifest, plots=plots),
    )


def _horizon(told: HorizonEvidence, run: RunEvidence) -> dict[str, Any]:
    y, p = told.label, told.probability
    slope, intercept = measures.calibration_line(y, p)
    on_card = run.card["metrics"].get(str(told.horizon_s), {})
    return {
        "horizon_s": told.horizon_s,
        "rows": len(y),
        "stretches": len(np.unique(told.blocks)),
        "base_rate": told.base_rate,
        "threshold": told.threshold,
        "brier_skill": measures.brier_skill(y, p),
        "log_loss": measures.log_loss(y, p),
        "pr_auc": measures.pr_auc(y, p),
        "pr_auc_over_base_rate": _over(measures.pr_auc(y, p), told.base_rate),
        "calibration_error": measures.expected_calibration_error(y, p),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "above_threshold": _above(told),
        "top": [_top(told, share) for share in TOP_SHARES],
        "rule": _rule(told, run),
        "reliability": [
            {"mean": b.mean, "share": b.share, "low": b.low, "high": b.high, "rows": b.rows}
            for b in reliability_bins(told)
        ],
        "outlook": told_outlook(on_card),
        "importance": sorted(told.importance.items(), key=lambda e: (-e[1], e[0]))[:30],
        "baselines": {
            **_on_card(told, run),
            **{kind: _baseline(told, q) for kind, q in told.baselines.items()},
        },
    }


def _above(told: HorizonEvidence) -> dict[str, Any]:
    """Where it counts: what was promised above the threshold, and what came."""
    rows = told.probability >= told.threshold
    if not rows.any():
        return {"rows": 0}
    share = float(np.mean(told.label[rows] == 1))
    promised = float(told.probability[rows].mean())
    low, high = share_interval(share, len(np.unique(told.blocks[rows])))
    return {
        "rows": int(rows.sum()),
        "stretches": len(np.unique(told.blocks[rows])),
        "promised": promised,
        "precision": share,
        "low": low,
        "high": high,
        "inside": low <= promised <= high,
        "calibration_error": abs(promised - share),
        "recall": int((told.label[rows] == 1).sum()) / max(1, int((told.label == 1).sum())),
        "accuracy": float(np.mean(rows == (told.label == 1))),
    }


def _top(told: HorizonEvidence, part: float) -> dict[str, Any]:
    count = max(1, round(part * len(told.label)))
    rows = np.argsort(-told.probability, kind="stable")[:count]
    share = float(np.mean(told.label[rows] == 1))
    low, high = share_interval(share, len(np.unique(told.blocks[rows])))
    return {"part": part, "rows": count, "precision": share, "low": low, "high": high}


def _rule(told: HorizonEvidence, run: RunEvidence) -> dict[str, Any]:
    """The stated rule on the test part, losses included."""
    rows = told.trades(run.rule)
    net = told.net_bps[rows]
    mean, half = mean_interval(net)
    total = np.cumsum(net[np.argsort(told.t1_ns[rows], kind="stable")])
    peak = np.maximum.accumulate(np.append(0.0, total))
    begin, end = int(told.t0_ns[0]), int(told.t1_ns.max()) + 1
    returns = period_returns(
        rows, told.t1_ns, told.net_bps, begin, end, run.rule.period_ns, max(1, len(run.symbols))
    )
    spread = float(returns.std(ddof=1)) if len(returns) > 2 else 0.0
    return {
        "sharpe": float(returns.mean()) / spread if spread > 0 else None,
        "periods": len(returns),
        "trades": len(rows),
        "won": float(np.mean(net > 0)) if len(net) else None,
        "mean_bps": mean,
        "low_bps": mean - half,
        "high_bps": mean + half,
        "total_bps": float(net.sum()),
        "drawdown_bps": float((peak - np.append(0.0, total)).max()),
        "worst_bps": float(net.min()) if len(net) else None,
    }


def _baseline(told: HorizonEvidence, q: np.ndarray) -> dict[str, Any]:
    """A simpler model's figures on the same rows, and by how much the model's skill is above it,
    with the bound that this exceeds at 95 %."""
    y, p = told.label, told.probability
    # The skills differ by squared errors over the same reference.
    better, reference = (q - y) ** 2 - (p - y) ** 2, (y - y.mean()) ** 2
    block_ns = 2 * told.horizon_s * SECOND_NS
    return {
        "brier_skill": measures.brier_skill(y, q),
        "log_loss": measures.log_loss(y, q),
        "pr_auc_over_base_rate": _over(measures.pr_auc(y, q), told.base_rate),
        "lead": _over(float(better.sum()), float(reference.sum())),
        "lead_lower": ratio_bounds(better, reference, told.t0_ns, block_ns, 0.05)[0],
    }


def _on_card(told: HorizonEvidence, run: RunEvidence) -> dict[str, Any]:
    """Baselines whose figures are on the card, though not their probabilities: no bound then."""
    own = measures.brier_skill(told.label, told.probability)
    words = ("brier_skill", "log_loss", "pr_auc_over_base_rate")
    found = {
        kind: by_horizon[str(told.horizon_s)]
        for kind, by_horizon in (run.card.get("baselines") or {}).items()
        if by_horizon.get(str(told.horizon_s), {}).get("brier_skill") is not None
    }
    return {
        kind: {
            **{word: figures.get(word) for word in words},
            "lead": own - figures["brier_skill"],
            "lead_lower": None,
        }
        for kind, figures in found.items()
    }


def _over(value: float, base: float) -> float:
    return value / base if base > 0 else math.nan


def _plain(value: Any) -> Any:
    """JSON's own types, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _bytes(document: Any) -> bytes:
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
