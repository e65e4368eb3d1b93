"""Features judged by blocks of time: on a set whose edge is known, and on one that has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models.dataset import TrainingSet
from pipelines.datasets import write_dataset
from pipelines.feature_pages import Dataset, features_table, labels_table, picture
from pipelines.feature_report import Judged, ReportSettings, balance_of, judge_features, main
from tests.reference.training import SECOND, make_set

BRIEF = ReportSettings(block_s=60, embargo_s=30, draws=200)


def judged(data: TrainingSet, **given: Any) -> dict[str, Judged]:
    settings = replace(BRIEF, **given)
    return {one.name: one for one in judge_features(data, 10, settings).features}


@pytest.fixture(scope="module")
def edged() -> TrainingSet:
    return make_set(steps=3_000, edge=1.0)


def test_what_drives_surges_carries_and_what_does_not_is_shown_as_nothing(
    edged: TrainingSet,
) -> None:
    found = judged(edged)
    assert found["feature_0"].carries and found["feature_1"].carries
    assert not any(found[f"feature_{k}"].carries for k in (2, 3, 4, 5))
    strong, weak = found["feature_0"], found["feature_1"]
    assert strong.ic_lower > weak.ic_upper > 0 and strong.lift > weak.lift > 1
    assert all(one.ic_lower <= one.ic <= one.ic_upper for one in found.values())


def test_a_market_without_an_edge_has_nothing_to_tell() -> None:
    for seed in range(3):
        found = judged(make_set(seed=seed, steps=2_000, edge=0.0))
        assert not any(one.carries for one in found.values())


def test_the_end_that_speaks_is_learned_and_turning_a_feature_round_changes_no_figure(
    edged: TrainingSet,
) -> None:
    found, turned = judged(edged), judged(replace(edged, X=-edged.X))
    for name in ("feature_0", "feature_1"):
        assert (found[name].direction, turned[name].direction) == (1, -1)
        assert turned[name].ic == pytest.approx(found[name].ic)
        assert turned[name].lift == pytest.approx(found[name].lift)


def test_what_speaks_for_a_surge_may_be_the_other_end_than_what_speaks_for_a_rise(
    edged: TrainingSet,
) -> None:
    # Surges follow large values, and whoever does not surge falls the less the smaller they are.
    outcome = np.where(edged.labels == 1, -1.0, 1.0).astype(np.float32)
    outcome[edged.labels < 0] = np.nan
    found = judged(replace(edged, outcome_bps=outcome))["feature_0"]
    assert found.direction == -1 and found.ic_lower > 0
    assert found.lift_lower > 1


def test_a_feature_that_stands_still_or_is_never_known_has_no_figure(edged: TrainingSet) -> None:
    X = edged.X.copy()
    X[:, 2], X[:, 3] = 7.0, np.nan
    data = replace(edged, X=X)
    found = judged(data)
    assert not found["feature_2"].told and not found["feature_3"].told
    assert found["feature_3"].known == 0.0
    report = judge_features(data, 10, BRIEF)
    one = Dataset("a set", "set", "made up", data.symbols, {}, report)
    table = features_table([one])
    assert "`feature_0`" in table and "`feature_2`" not in table and "`feature_3`" not in table
    first = table.splitlines()[2]
    assert first.startswith("| `feature_0`") and first.endswith("| set |")
    short = features_table([replace(one, conclusive=False)])
    assert "too short to say" in short and not short.splitlines()[2].endswith("| set |")


def test_the_labels_table_and_the_picture_are_of_the_same_sets(
    edged: TrainingSet, tmp_path: Path
) -> None:
    report = judge_features(edged, 10, BRIEF)
    balances = {h: balance_of(edged, h, SECOND) for h in edged.horizons_s}
    one = Dataset("a set", "set", "made up", edged.symbols, balances, report)
    lines = labels_table([one]).splitlines()
    assert len(lines) == 2 + len(edged.horizons_s)
    assert f"{balances[10].base_rate:.2%}" in lines[2]
    out = picture(tmp_path / "picture.png", [one])
    assert out.read_bytes().startswith(b"\x89PNG")


def test_too_little_time_is_refused_and_named() -> None:
    with pytest.raises(DatasetError, match="leave nothing to learn"):
        judge_features(make_set(steps=40), 10, replace(BRIEF, embargo_s=60))


def test_the_command_tells_every_feature_and_refuses_an_unknown_horizon(
    edged: TrainingSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = write_dataset(tmp_path / "set", edged)
    brief = ["--block-s", "60", "--embargo-s", "30"]
    assert main([str(place), "--horizon", "10", "--json", *brief]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["features"]] == list(edged.feature_names)
    assert main([str(place), *brief]) == 0
    assert "carries" in capsys.readouterr().out
    assert main([str(place), "--horizon", "11"]) == 1
    assert "not 11" in capsys.readouterr().err
