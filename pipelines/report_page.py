"""The report's page: HTML with everything in it, no script, no address outside of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from pipelines.plots import PLOTS

_STYLE: Final = """
:root{--ink:#22303c;--soft:#66727e;--line:#dde3e8;--blue:#1f5fa8;--bad:#c4591c;--good:#3b7f3f}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1120px;padding:2rem 1.25rem 4rem;color:var(--ink);background:#fff;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:1.45rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2.4rem 0 .5rem}
p{margin:.3rem 0}.soft{color:var(--soft);font-size:.88rem}
.verdict{display:inline-block;padding:.1rem .7rem;border-radius:1rem;color:#fff;font-weight:600}
.promoted{background:var(--good)}.refused{background:var(--bad)}
.insufficient_sample{background:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;min-width:50%}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}td.words{text-align:left;white-space:normal;min-width:18rem}
th{font-weight:600;color:var(--soft)}.failed{color:var(--bad)}.passed{color:var(--good)}
figure{margin:1.6rem 0;break-inside:avoid}figcaption b{display:block}
figcaption{font-size:.88rem;color:var(--soft)}figcaption b{color:var(--ink);font-size:1rem}
img{max-width:100%;height:auto;display:block}pre{overflow-x:auto;font-size:.8rem;background:#f6f8fa;
padding:.8rem;border-radius:.4rem}summary{cursor:pointer;color:var(--blue)}
@media print{body{max-width:none}details{display:none}}
"""


def page(told: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The page of a report (`pipelines.report.report`) with PNGs in base64 by name."""
    card = told["card"]
    verdict = card.get("verdict") or ("promoted" if card["promoted"] else "refused")
    parts = [
        f"<h1>{escape(card['name'])} {escape(card['version'])}</h1>",
        f'<p><span class="verdict {escape(verdict)}">{escape(verdict.replace("_", " "))}</span> '
        f"{escape(card['reason'])}</p>",
        f'<p class="soft">{escape(_what(card, told))}</p>',
        _tests(card.get("promotion") or ()),
        "<h2>On the test part, which nothing before has seen</h2>",
        _figures(told["horizons"]),
        '<p class="soft">Intervals are 95 % and count independent stretches of one symbol and one '
        "horizon, not rows; that of a trade takes trades for independent. The rule: one position "
        "a symbol, fixed notional, the whole bill paid, "
        f"{told['rule']['cool_down_s']:g} s of rest after an exit.</p>",
        _baselines(told["horizons"]),
        _outlook(card.get("outlook") or {}, told["horizons"]),
        *(_figure(name, pictures[name]) for name in PLOTS if name in pictures),
        _left_out(told.get("plots", {}).get("left_out", {})),
        _folds(told["folds"]),
        _trials(told["trials"]),
        _details("The model card", card),
    ]
    title = escape(f"{card['name']} {card['version']}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _what(card: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    spans = sorted(card.get("spans_ns", {}).items(), key=lambda each: each[1])
    domain = card.get("domain") or {}
    words = [
        "/".join(str(domain[word]) for word in ("source", "market", "tier") if word in domain),
        f"{card.get('kind', '')}, {card.get('scope', '')}",
        f"{len(told['symbols'])} symbols",
        f"{card.get('trials', len(told['trials']))} trials",
        *(f"{part} {_date(begin)} to {_date(end)}" for part, (begin, end) in spans),
    ]
    return " · ".join(word for word in words if word)


def _tests(tests: Sequence[Mapping[str, Any]]) -> str:
    if not tests:
        return ""
    lines = [
        [
            f"{test['horizon_s']} s" if test.get("horizon_s") else "",
            str(test.get("name", "")),
            (str(test.get("outcome", "")), str(test.get("outcome", ""))),
            _number(test.get("value")),
            _number(test.get("bound")),
            (str(test.get("words", "")), "words"),
        ]
        for test in tests
    ]
    head = ["horizon", "test", "outcome", "value", "bound", "in words"]
    return "<h2>The gate's tests</h2>" + _table(head, lines)


def _figures(horizons: Sequence[Mapping[str, Any]]) -> str:
    head = ["", *(f"{told['horizon_s']} s" for told in horizons)]
    rows: list[tuple[str, list[str]]] = [
        ("rows, independent stretches", [f"{t['rows']:,}, {t['stretches']:,}" for t in horizons]),
        ("base rate", [_share(t["base_rate"]) for t in horizons]),
        ("Brier skill", [_number(t["brier_skill"]) for t in horizons]),
        ("PR-AUC ÷ base rate", [_number(t["pr_auc_over_base_rate"]) for t in horizons]),
        ("calibration slope, intercept", [
            f"{_number(t['calibration_slope'])}, {_number(t['calibration_intercept'])}"
            for t in horizons
        ]),
        ("calibration error", [_number(t["calibration_error"]) for t in horizons]),
        ("threshold", [_number(t["threshold"]) for t in horizons]),
        ("promised above it", [_share(t["above_threshold"].get("promised")) for t in horizons]),
        ("precision above it", [_interval(t["above_threshold"]) for t in horizons]),
        *(
            (f"precision of the top {part['part']:.1%}",
             [_interval(t["top"][k]) for t in horizons])
            for k, part in enumerate(horizons[0]["top"] if horizons else ())
        ),
        ("recall above it", [_share(t["above_threshold"].get("recall")) for t in horizons]),
        ("trades by the rule", [f"{t['rule']['trades']:,}" for t in horizons]),
        ("net a trade, bps", [
            _bracket(t["rule"]["mean_bps"], t["rule"]["low_bps"], t["rule"]["high_bps"], "{:+.2f}")
            for t in horizons
        ]),
        ("net in all, bps", [_number(t["rule"]["total_bps"]) for t in horizons]),
        ("Sharpe ratio of a period", [_number(t["rule"]["sharpe"]) for t in horizons]),
        ("largest drawdown, bps", [_number(t["rule"]["drawdown_bps"]) for t in horizons]),
    ]  # fmt: skip
    return _table(head, [[name, *cells] for name, cells in rows])


def _baselines(horizons: Sequence[Mapping[str, Any]]) -> str:
    lines: list[list[Any]] = []
    for told in horizons:
        for kind, figures in told["baselines"].items():
            lower = figures["lead_lower"]
            lines.append(
                [
                    f"{told['horizon_s']} s",
                    kind,
                    _number(figures["brier_skill"]),
                    _number(figures["pr_auc_over_base_rate"]),
                    _number(figures["lead"]),
                    (_number(lower), _sure(lower)),
                ]
            )
    if not lines:
        return ""
    head = ["horizon", "baseline", "Brier skill", "PR-AUC ÷ base rate", "model leads by",
            "surely by"]  # fmt: skip
    return "<h2>Beside simpler models, on the same rows</h2>" + _table(head, lines)


def _outlook(outlook: Mapping[str, Any], horizons: Sequence[Mapping[str, Any]]) -> str:
    """The outcome's size: a table, or why there is none."""
    head = "<h2>How far, beside whether</h2>"
    refused = ""
    if outlook.get("refused"):
        refused = f'<p class="failed">Asked for and refused: {escape(str(outlook["refused"]))}</p>'
    figures = [told["outlook"] for told in horizons]
    lines: list[list[Any]] = []
    for name in outlook.get("outputs") or ():
        word = name.removesuffix("_bps")
        what = "mean" if word == "expected" else f"{outlook['outputs'][name]:g} quantile"
        lower = [each.get(f"{word}_skill_lower") for each in figures]
        lines.append(
            [
                f"{name}: skill of the {what}, surely above",
                *(
                    (f"{_number(each.get(f'{word}_skill'))}, {_number(low)}", _sure(low))
                    for each, low in zip(figures, lower, strict=True)
                ),
            ]
        )
    asked = (
        ("inside the band", "band_share", "{:.1%}"),
        ("promised, and what few rows make of it", "band_promised", "{:.1%}"),
        ("mean width of the band, bps", "band_width_bps", "{:.4g}"),
        ("moved apart on either side by, bps", "band_margin_bps", "{:+.4g}"),
        ("rows whose ends crossed", "band_crossed", "{:.2%}"),
        ("Venn–Abers: mean width", "range_width", "{:.4f}"),
        ("Venn–Abers: bins that meet their range", "range_bins_inside", "{:.0%}"),
    )
    for words, name, form in asked:
        if any(name in each for each in figures):
            cells = [
                _bracket(each.get(name), each.get(f"{name}_low"), each.get(f"{name}_high"), form)
                for each in figures
            ]
            lines.append([words, *cells])
    if not lines:
        return head + refused if refused else ""
    note = (
        '<p class="soft">It decides nothing. Skill is one minus the loss (squared, or that of the '
        "quantile) over the loss of the training part's constant; 0 is no better. Bounds are 95 %, "
        "over blocks of time.</p>"
    )
    names = ["", *(f"{told['horizon_s']} s" for told in horizons)]
    return head + refused + _table(names, lines) + note


def _sure(lower: float | None) -> str:
    return "" if lower is None else "passed" if lower > 0 else "failed"


def _folds(folds: Sequence[Mapping[str, Any]]) -> str:
    if not folds:
        return ""
    lines = [
        [
            str(line["fold"]),
            f"{line['horizon_s']} s",
            _number(line["skill"]),
            _number(line["log_loss"]),
            _number(line["trades"]),
            _number(line["net_bps"]),
            (line["refused"], "words"),
        ]
        for line in folds
    ]
    head = [
        "fold",
        "horizon",
        "Brier skill",
        "log loss",
        "trades",
        "net, bps of capital",
        "refused",
    ]
    return "<h2>Fold by fold</h2>" + _table(head, lines)


def _trials(trials: Sequence[Mapping[str, Any]]) -> str:
    if not trials:
        return ""
    lines = [
        [
            str(trial["number"]) + (" ✓" if trial["chosen"] else ""),
            trial["kind"],
            trial["scope"],
            _number(trial["skill"]),
            (trial.get("reason", ""), "words"),
        ]
        for trial in trials
    ]
    table = _table(["trial", "kind", "scope", "mean Brier skill", "why not"], lines)
    return f"<details><summary>All {len(trials)} trials</summary>{table}</details>"


def _figure(name: str, picture: str) -> str:
    plot = PLOTS[name]
    return (
        f'<figure id="{name}"><figcaption><b>{escape(plot.title)}</b>{escape(plot.words)}'
        f'</figcaption><img alt="{escape(plot.title)}" src="data:image/png;base64,{picture}">'
        "</figure>"
    )


def _left_out(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    words = "; ".join(f"{PLOTS[name].title.lower()}: {why}" for name, why in reasons.items())
    return f'<p class="soft">Not drawn: {escape(words)}.</p>'


def _details(title: str, document: Any) -> str:
    body = escape(json.dumps(document, indent=2))
    return f"<details><summary>{escape(title)}</summary><pre>{body}</pre></details>"


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Cells are text, or (text, class)."""

    def cell(each: Any) -> str:
        text, name = each if isinstance(each, tuple) else (each, "")
        told = f' class="{escape(name)}"' if name else ""
        return f"<td{told}>{escape(str(text))}</td>"

    heads = "".join(f"<th>{escape(word)}</th>" for word in head)
    rows = "".join(f"<tr>{''.join(cell(each) for each in line)}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{heads}</tr>{rows}</table></div>'


def _interval(told: Mapping[str, Any]) -> str:
    return _bracket(told.get("precision"), told.get("low"), told.get("high"), "{:.1%}")


def _bracket(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "none"
    if low is None or high is None:
        return form.format(value)
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _number(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _date(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
