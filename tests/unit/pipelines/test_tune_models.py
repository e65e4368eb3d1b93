"""pipelines.tune_models: the command, in process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.errors import DatasetError
from foreshock.models.artifact import load
from foreshock.models.boosted import BoostedSettings
from foreshock.models.dataset import TrainingSet
from foreshock.settings import load as load_settings
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from foreshock.stores.registry_runs import read_runs
from foreshock.stores.trials import TrialStore
from foreshock.validation.rule import RuleSettings
from foreshock.validation.search import SearchSettings
from foreshock.validation.walk_forward import WalkForwardSettings, final_fold
from pipelines.datasets import write_dataset
from pipelines.training import TrainingSettings
from pipelines.tried import recorded
from pipelines.tune_models import main, tune
from tests.reference.training import make_set

# The data last minutes, so that a return is of seconds.
SMALL = {
    "FEATURES": '["*"]',
    "CERTIFICATE_ROWS": "20000",
    "RULE__PERIOD_S": "10",
    "RULE__COOL_DOWN_S": "0",
    "PLOTS": "false",
}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` or environment of the machine has a say."""
    monkeypatch.chdir(tmp_path)
    # Without its MLflow, whose database takes seconds to make.
    monkeypatch.setattr(
        "pipelines.tune_models.open_registry", lambda root, _: DirectoryRegistry(root)
    )
    for key, text in SMALL.items():
        monkeypatch.setenv(f"FORESHOCK__TRAINING__{key}", text)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--no-ray", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_model_is_made_registered_and_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set()
    write_dataset(tmp_path / "set", data)
    code, report = run(
        capsys, "--dataset", "set", "--out", "made/model", "--trials", "2", "--registry", "models"
    )
    assert code == 0
    assert report["promoted"]
    assert len(report["trials"]) == 2
    registry = DirectoryRegistry(tmp_path / "models")
    place = registry.find(report["name"], CHAMPION)
    assert place is not None
    model = load(place)
    assert model.card.version == report["version"]
    assert model.card.trials == 2
    assert model.card.data_fingerprint == data.fingerprint
    assert model.score(data.X[:3]).shape == (3, 2)
    again, _ = run(capsys, "--dataset", "set", "--out", "again", "--trials", "2")
    assert again == 0
    for name in ("model.onnx", "card.json", "certificate.json"):
        assert (tmp_path / "again" / name).read_bytes() == (place / name).read_bytes()


def test_a_model_without_an_edge_is_kept_but_never_champion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "set", make_set(edge=0.0))
    code, report = run(
        capsys, "--dataset", "set", "--out", "model", "--trials", "1", "--registry", "models"
    )
    assert code == 0
    assert not report["promoted"]
    assert load(tmp_path / "model").card.reason == report["reason"]
    registry = DirectoryRegistry(tmp_path / "models")
    assert registry.versions(report["name"]) == [report["version"]]
    assert registry.aliases(report["name"]) == {}


def test_a_refusal_is_exit_code_1_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "set", make_set(steps=100))
    code, report = run(capsys, "--dataset", "set", "--out", "model", "--trials", "1")
    assert (code, report["error"]) == (1, "DatasetError")
    assert "leave nothing of the train part: 99 s of data" in report["message"]
    assert not (tmp_path / "model").exists()
    code, report = run(capsys, "--dataset", "nowhere", "--out", "model")
    assert (code, report["error"]) == (1, "DatasetError")
    assert main(["--dataset", "nowhere", "--out", "model", "--no-ray"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("DatasetError: ")


def test_the_sweep_sees_nothing_of_what_the_judge_keeps(tmp_path: Path) -> None:
    data = make_set()
    settings = TrainingSettings(walk=WalkForwardSettings(folds=2), certificate_rows=20_000)
    last = final_fold(data.t0_ns, data.end_ns, settings.walk)
    X, labels, far = data.X.copy(), data.labels.copy(), data.far_bps.copy()
    X[last.test], labels[last.test], far[last.test] = 3.0, 1 - labels[last.test] % 2, 1.0
    labels[last.test[::2]] = 0
    outcome = np.nan_to_num(data.outcome_bps)
    poisoned = replace(data, X=X, labels=labels, far_bps=far, outcome_bps=outcome)
    reports = [
        tune(
            made, tmp_path / str(number), settings=settings, base=BoostedSettings(trees=8),
            trials=4, seed=1, use_ray=False,
            search=SearchSettings(scopes=("pooled", "group", "symbol"), batch=2),
        )
        for number, made in enumerate((data, poisoned))
    ]  # fmt: skip
    for key in ("scopes", "winners", "chosen", "counted_trials"):
        assert reports[0][key] == reports[1][key]
    assert reports[0]["metrics"] != reports[1]["metrics"]


def test_scopes_compete_and_each_winner_is_shipped_with_all_trials_counted(tmp_path: Path) -> None:
    # The pooled model cannot tell the symbols apart; in one of them the edge is turned around.
    data = make_set(steps=4000)
    X = data.X.copy()
    X[data.symbol == 2] = -X[data.symbol == 2]
    registry = DirectoryRegistry(tmp_path / "models")
    report = tune(
        replace(data, X=X), tmp_path / "model",
        settings=TrainingSettings(walk=WalkForwardSettings(folds=2), certificate_rows=20_000),
        base=BoostedSettings(trees=20, leaves=7), trials=2, seed=1, use_ray=False,
        registry=registry, search=SearchSettings(scopes=("pooled", "symbol"), batch=2),
    )  # fmt: skip
    assert [told["scope"] for told in report["scopes"]] == [
        "pooled", "symbol:AAAUSDT", "symbol:BBBUSDT", "symbol:CCCUSDT"
    ]  # fmt: skip
    assert report["winners"]["CCCUSDT"] == "symbol:CCCUSDT"
    shipped = {model["scope"]: model for model in report["models"]}
    assert {"pooled", "symbol:CCCUSDT"} <= set(shipped)
    single = shipped["symbol:CCCUSDT"]
    assert single["name"] == f"{shipped['pooled']['name']}@CCCUSDT"
    place = registry.find(single["name"], single["version"])
    assert place is not None
    card = load(place).card
    assert report["counted_trials"] == 8  # all that compete for any symbol of the pooled model
    assert card.trials == single["counted_trials"] == 4  # and for this one symbol
    last = final_fold(data.t0_ns, data.end_ns, WalkForwardSettings(folds=2))
    begin, _ = card.spans_ns["test"]
    assert begin == int(data.t0_ns[last.test].min())  # judged where the pooled one is
    assert single["metrics"]["10"]["rows"] < shipped["pooled"]["metrics"]["10"]["rows"] / 2


def test_the_newest_dataset_is_taken_and_the_model_kept_where_models_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, report = run(capsys, "--trials", "1")
    assert (code, report["error"]) == (1, "DatasetError")
    assert f"lies below {tmp_path / 'var' / 'datasets'}" in report["message"]
    data = make_set()
    tree = load_settings().tree
    manifest = {**data.manifest, "label_fingerprint": tree.label_settings().fingerprint}
    monkeypatch.setenv("FORESHOCK__TRAINING__FEATURES", '["feature_*"]')  # none of the catalogue's
    write_dataset(tmp_path / "var" / "datasets" / "own", replace(data, manifest=manifest))
    code, report = run(capsys, "--trials", "1")
    assert code == 0
    made = Path(report["artifact"])
    assert made.parent == tmp_path / "var" / "artifacts" and made.name.startswith("own-")
    registry = DirectoryRegistry(tmp_path / "var" / "models")
    assert registry.versions(report["name"]) == [report["version"]]


def test_a_plan_reads_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "set", make_set())
    for file in (tmp_path / "set").rglob("*.parquet"):
        file.unlink()
    code, plan = run(capsys, "--dataset", "set", "--plan", "--symbols", "400")
    assert (code, plan["symbols"], plan["fits"]) == (0, 400, True)
    assert main(["--dataset", "set", "--plan"]) == 0
    assert "fits in" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--dataset"], ["--dataset", "a", "--trials", "0"]])
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_refit_of_a_frozen_recipe_counts_once(tmp_path: Path) -> None:
    data = make_set()
    settings = TrainingSettings(
        walk=WalkForwardSettings(folds=2, embargo_s=5),
        rule=RuleSettings(period_s=10, cool_down_s=0),
        certificate_rows=2_000,
    )
    ledger = TrialStore(tmp_path / "trials.jsonl")
    counted = []
    for number in range(3):  # of later and later rows
        later = data.take(np.flatnonzero(data.t0_ns >= np.quantile(data.t0_ns, 0.02 * number)))
        report = tune(
            later, tmp_path / f"m{number}", settings=settings, base=BoostedSettings(trees=10),
            trials=1, seed=3, use_ray=False, ledger=ledger,
        )  # fmt: skip
        counted.append(report["counted_trials"])
    assert counted == [1, 1, 1]
    assert [trial.frozen for trial in recorded(ledger)] == [False, True, True]
    other = tune(
        data, tmp_path / "other", settings=settings, base=BoostedSettings(trees=11),
        trials=1, seed=3, use_ray=False, ledger=ledger,
    )  # fmt: skip
    assert other["counted_trials"] == 2


def test_the_recipe_and_the_pairs_that_settings_name_are_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_set()
    write_dataset(tmp_path / "set", data)
    monkeypatch.setenv("FORESHOCK__TRAINING__SYMBOLS", json.dumps(list(data.symbols[:1])))
    monkeypatch.setenv("FORESHOCK__TRAINING__RECIPE", '{"kind": "logistic", "l2": 7.0}')
    monkeypatch.setenv(
        "FORESHOCK__TRAINING__SEARCH__SPACE", '{"l2": {"low": 1.0, "high": 50.0, "log": true}}'
    )
    _, report = run(capsys, "--dataset", "set", "--out", "model", "--trials", "3")
    recipes = [trial["settings"] for trial in report["trials"]]
    assert recipes[0] == {**recipes[0], "kind": "logistic", "l2": 7.0}
    assert len({recipe["l2"] for recipe in recipes}) == 3
    assert {recipe["kind"] for recipe in recipes} == {"logistic"}
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert (card["kind"], card["symbols"]) == ("logistic", [data.symbols[0]])
    for given, why in (
        ('{"kind": "oracle"}', "no kind of model is called 'oracle'"),
        ('{"leafs": 7}', "leafs"),
    ):
        monkeypatch.setenv("FORESHOCK__TRAINING__RECIPE", given)
        code, refusal = run(capsys, "--dataset", "set", "--out", "other")
        assert (code, refusal["error"]) == (1, "ConfigError")
        assert why in refusal["message"] and "training.recipe" in refusal["message"]


def test_a_training_that_is_refused_leaves_a_run_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set()
    labels = data.labels.copy()
    last = final_fold(data.t0_ns, data.end_ns, WalkForwardSettings())
    labels[last.test] = np.minimum(labels[last.test], 0)
    write_dataset(tmp_path / "set", replace(data, labels=labels))
    code, refusal = run(
        capsys, "--dataset", "set", "--out", "model", "--registry", "models", "--trials", "1"
    )
    assert (code, refusal["error"]) == (1, "DatasetError")
    assert "test part" in refusal["message"]
    (kept,) = read_runs(tmp_path / "models" / "runs").values()
    assert (kept["name"], kept["state"], kept["models"]) == ("set", "failed", [])
    assert kept["tags"]["reason"] == f"DatasetError: {refusal['message']}"
    assert not (tmp_path / "var" / "runs").exists()  # before any fit


def test_a_model_is_not_judged_anew_on_other_data_under_its_old_version(tmp_path: Path) -> None:
    data, registry = make_set(), DirectoryRegistry(tmp_path / "models")
    settings = TrainingSettings(walk=WalkForwardSettings(folds=2), certificate_rows=2_000)

    def made(of: TrainingSet, name: str) -> dict[str, Any]:
        return tune(
            of, tmp_path / name, settings=settings, base=BoostedSettings(trees=8),
            trials=1, seed=3, use_ray=False, registry=registry,
        )  # fmt: skip

    first, again = made(data, "first"), made(data, "again")
    assert (again["version"], again["reason"]) == (first["version"], first["reason"])
    last = final_fold(data.t0_ns, data.end_ns, settings.walk)
    outcome = data.outcome_bps.copy()
    outcome[last.test] += 1.0
    with pytest.raises(DatasetError, match="was judged on other data"):
        made(replace(data, outcome_bps=outcome), "other")
    assert registry.versions(first["name"]) == [first["version"]]
