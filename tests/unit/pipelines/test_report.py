"""pipelines.report, plots and evidence: what a training leaves for people to look at."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score

from foreshock.errors import DatasetError
from foreshock.stores.registry_runs import Run
from foreshock.validation import measures
from pipelines.evidence import (
    HorizonEvidence,
    RunEvidence,
    by_threshold,
    precision_recall,
    reliability_bins,
    roc,
    share_interval,
)
from pipelines.plots import PLOTS, draw_all
from pipelines.report import fold_table, report, run_files, run_of
from tests.reference.evidence import made_up
from tests.reference.training import make_set

PNG = b"\x89PNG\r\n"


class Page(HTMLParser):
    """Every tag must be closed in its turn; which addresses the page names."""

    VOID = ("meta", "img", "br", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run() -> Run:
    return run_of(made_up(), 10, 20, manifest={"rows": 1800, "lost": float("nan")})


def test_a_run_has_ten_pictures_and_both_reports(run: Run) -> None:
    pictures = [name for name in run.files if name.endswith(".png")]
    assert len(pictures) == len(PLOTS) >= 10
    assert all(run.files[name].startswith(PNG) for name in pictures)
    rest = set(run.files) - set(pictures)
    assert rest == {"report.html", "report.json", "card.json", "folds.json", "manifest.json"}
    assert json.loads(run.files["manifest.json"]) == {"rows": 1800, "lost": None}
    assert run.metrics == {"60s.brier_skill": 0.2}
    assert (run.tags["verdict"], run.params["leaves"]) == ("promoted", 31)
    assert run.models == (("simulation.binance-spot.book", "0.1.0+abcd1234"),)


def test_the_page_needs_nothing_else_and_believes_no_text(run: Run) -> None:
    page = Page()
    text = run.files["report.html"].decode()
    page.feed(text)
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.sources) == len(PLOTS)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "utility &lt;b&gt;is&lt;/b&gt; above zero" in text
    assert not re.search(r"https?://", text)


def test_the_same_evidence_gives_the_same_bytes(run: Run) -> None:
    again = run_of(made_up(), 10, 20, manifest={"rows": 1800, "lost": float("nan")})
    assert again.id == run.id
    assert run_of(made_up(1), 10, 20, plots=False).id != run.id


def test_what_cannot_be_drawn_is_named_with_the_reason() -> None:
    full = made_up()
    silent = [
        replace(
            told,
            importance={},
            baselines={},
            outlook={},
            threshold=1.1,
            worth=np.zeros_like(told.worth),
        )
        for told in full.horizons
    ]
    bare = replace(full, horizons=tuple(silent), trials=(), losses={})
    drawn, left_out = draw_all(bare)
    assert set(left_out) == {"outlook", "importance", "models", "folds", "trials", "losses"}
    assert set(drawn) == set(PLOTS) - set(left_out)
    files = run_files(replace(bare, horizons=silent[:1]), plots=False)
    told = json.loads(files["report.json"])
    assert told["horizons"][0]["rule"]["trades"] == 0
    assert told["horizons"][0]["above_threshold"] == {"rows": 0}
    nothing = RunEvidence(full.card, full.symbols, ())
    assert draw_all(nothing)[0] == {}
    assert report(nothing)["horizons"] == []
    assert b"insufficient" not in run_files(nothing, plots=False)["report.html"].split(b"<body>")[1]


def test_a_calibrated_model_is_told_to_be_one() -> None:
    told = report(made_up(rows=3_000, horizons=1))["horizons"][0]
    assert told["brier_skill"] > 0.1
    assert 0.9 < told["calibration_slope"] < 1.1
    assert told["above_threshold"]["inside"]
    assert sum(b["low"] <= b["mean"] <= b["high"] for b in told["reliability"]) >= 9
    assert told["baselines"]["order_flow"]["lead_lower"] > 0
    assert told["rule"]["low_bps"] < told["rule"]["mean_bps"] < told["rule"]["high_bps"]
    assert [part["rows"] for part in told["top"]] == [9, 90, 450]


def test_curves_are_those_of_scikit_learn() -> None:
    told = made_up(rows=300, horizons=1).horizons[0]
    p = np.round(told.probability, 2)  # many ties
    recall, precision = precision_recall(told.label, p)
    theirs = precision_recall_curve(told.label, p)
    assert np.allclose(np.append(precision[::-1], 1), theirs[0])
    assert np.allclose(np.append(recall[::-1], 0), theirs[1])
    assert roc(told.label, p)[2] == pytest.approx(roc_auc_score(told.label, p))


def test_what_a_threshold_would_have_earned_is_the_mean_of_its_rows() -> None:
    told = made_up(rows=200, horizons=1).horizons[0]
    for at, mean, count in zip(*by_threshold(told, 9), strict=True):
        rows = told.worth & (told.probability >= at)
        assert count == rows.sum()
        assert mean == pytest.approx(told.net_bps[rows].mean())


def test_bins_never_part_equal_probabilities() -> None:
    told = made_up(rows=200, horizons=1).horizons[0]
    coarse = replace(told, probability=np.round(told.probability, 1))
    bins = reliability_bins(coarse)
    assert sum(b.rows for b in bins) == len(told.label)
    edges = [coarse.probability[coarse.probability >= b.mean].min() for b in bins]
    assert sorted(edges) == edges
    assert len(reliability_bins(replace(told, probability=np.full(len(told.label), 0.2)))) == 1


def test_intervals_count_stretches_and_not_rows() -> None:
    told = made_up(rows=120, symbols=2, horizons=2).horizons[1]
    assert len(np.unique(told.blocks)) in (8, 10)  # 1,200 s of two symbols in stretches of 300 s
    assert share_interval(0.5, 10)[0] < share_interval(0.5, 1_000)[0] < 0.5
    assert share_interval(0.0, 10)[0] == 0.0
    assert share_interval(0.3, 0) == (0.0, 1.0)


def test_the_fold_table_is_that_of_the_recipe_that_was_shipped() -> None:
    table = fold_table(made_up())
    assert [(line["fold"], line["horizon_s"]) for line in table][:2] == [(0, 60), (0, 300)]
    assert len(table) == 6
    assert table[0]["net_bps"] == 0.5


def test_evidence_is_taken_from_a_dataset() -> None:
    data = make_set()
    p = np.linspace(0.0, 1.0, len(data))
    rows = np.arange(len(data) // 2, len(data))
    told = HorizonEvidence.of(data, rows, 0, p, 0.5, baselines={"flat": p * 0})
    known = rows[data.labels[rows, 0] >= 0]
    assert len(told.label) == len(known)
    assert (np.diff(told.t0_ns) >= 0).all()
    assert told.baselines["flat"].shape == told.probability.shape
    assert not told.spoken[told.probability < 0.5].any()
    with pytest.raises(DatasetError, match="no test row"):
        HorizonEvidence.of(data, rows[:0], 0, p, 0.5)


def test_the_outcome_s_size_has_a_table_or_the_reason_why_not() -> None:
    full = made_up()
    figures = {
        "outlook_low_skill": 0.3, "outlook_low_skill_lower": -0.1, "outlook_band_share": 0.75,
        "outlook_band_share_low": 0.7, "outlook_band_share_high": 0.8,
    }  # fmt: skip
    card = {**full.card, "metrics": {"60": figures}}
    told = report(replace(full, card=card))["horizons"]
    assert told[0]["outlook"]["band_share"] == 0.75 and told[1]["outlook"] == {}
    page = run_files(replace(full, card=card), plots=False)["report.html"].decode()
    assert "low_bps: skill of the 0.1 quantile" in page
    assert "75.0% [70.0%, 80.0%]" in page
    why = {**full.card, "outlook": {"refused": "outlook of 60 s: <too few>"}}
    page = run_files(replace(full, card=why), plots=False)["report.html"].decode()
    assert "Asked for and refused: outlook of 60 s: &lt;too few&gt;" in page
    none = {**full.card, "outlook": {}}
    assert b"How far" not in run_files(replace(full, card=none), plots=False)["report.html"]


def test_a_bound_of_the_lead_is_that_of_a_bootstrap_of_the_skills() -> None:
    told = made_up(rows=400, horizons=1).horizons[0]
    y, p, q = told.label, told.probability, 0.7 * told.probability + 0.05
    line = report(made_up_with(told, q))["horizons"][0]["baselines"]["simple"]

    def lead(i: np.ndarray) -> float:
        return measures.brier_skill(y[i], p[i]) - measures.brier_skill(y[i], q[i])

    whole = lead(np.arange(len(y)))
    naive = measures.block_bootstrap(lead, told.t0_ns, 2 * 60 * 10**9, alpha=0.05, draws=4000)
    assert line["lead"] == pytest.approx(whole)
    assert line["lead_lower"] == pytest.approx(naive, abs=0.1 * (whole - naive))


def made_up_with(told: HorizonEvidence, q: np.ndarray) -> RunEvidence:
    """One horizon, with one baseline that says `q`."""
    return replace(made_up(), horizons=(replace(told, baselines={"simple": q}),))
