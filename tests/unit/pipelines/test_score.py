"""pipelines.score: scores of a dataset by a real model, checked by onnxruntime and numpy alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from foreshock.errors import DatasetError, DomainError, ModelError
from foreshock.models import artifact
from foreshock.models.base import Domain, ModelCard
from foreshock.models.boosted import BoostedSettings, fit_one
from foreshock.models.calibration import CalibrationSettings, calibrate
from foreshock.models.certificate import certify
from foreshock.models.dataset import TrainingSet
from foreshock.models.magnitude import fit_outlook
from foreshock.models.onnx import build_graph
from foreshock.models.outlook import OutlookSettings
from foreshock.models.session import open_session, run_graph
from foreshock.stores.registry import CHAMPION, DirectoryRegistry
from pipelines import score as module
from pipelines.datasets import write_dataset
from pipelines.score import main, models_for, score_dataset
from tests.reference.training import START, make_set

SECOND_NS = 1_000_000_000
READ = ("feature_4", "feature_0")  # fewer than the dataset has, in another order


NOTHING = OutlookSettings()


def make(
    place: Path, data: TrainingSet, seed: int = 3, outlook: OutlookSettings = NOTHING, **told: Any
) -> ModelCard:
    """A real small model of `READ` in an artifact directory."""
    own = data.with_features(READ)
    # In the model's own order, which is not the dataset's.
    columns = [own.feature_names.index(name) for name in READ]
    X, n = np.ascontiguousarray(own.X[:, columns]), len(own)
    labels = np.maximum(own.labels, 0)
    recipe = BoostedSettings(trees=9, leaves=6, seed=seed)
    fitted = [fit_one(recipe, X, labels[:, h], None, READ) for h in range(2)]
    parts = [each.part for each in fitted]
    bare = build_graph(parts, len(READ))
    raw = run_graph(open_session(bare), X, "raw_score")
    clusters = np.arange(n, dtype=np.int64)
    tables = [calibrate(raw[:, h], labels[:, h], clusters, CalibrationSettings()) for h in range(2)]
    sizes = [fit_outlook(outlook, X, own.outcome_bps[:, h], READ) for h in range(2)]
    extra = {name: tuple(size[name] for size in sizes) for name in outlook.outputs}
    more = {name: [each.part for each in several] for name, several in extra.items()}
    graph = build_graph(parts, len(READ), tables, more)
    card = ModelCard(
        name="small",
        version=f"0.0.{seed}+{artifact.graph_digest(graph)}",
        domain=Domain.model_validate(data.manifest["domain"]),
        horizons_s=data.horizons_s,
        feature_names=READ,
        required_features=("feature_0",),
        layout_fingerprint=fingerprint(data),
        label_fingerprint=data.manifest["label_fingerprint"],
        data_fingerprint=data.fingerprint,
        thresholds=(0.5, 0.5),
        approved=(True, False),
        base_rates=tuple(each.base_rate for each in fitted),
        metrics={},
        spans_ns={},
        trials=1,
        settings={},
        promoted=True,
        reason="a test needs one",
        trained_to_ns=START + 100 * SECOND_NS,
        max_age_s=200.0,
    ).model_copy(update=told)
    proof = certify(fitted, graph, tables, X, rows_least=0, random_rows=64, extra=extra)
    artifact.save(place, graph, card, proof)
    return card


def fingerprint(data: TrainingSet) -> str:
    from foreshock.features.vector import fingerprint_of

    return fingerprint_of({name: data.manifest["feature_digests"][name] for name in READ})


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    found = make_set(steps=400)
    shift = np.where(found.t0_ns >= START + 200 * SECOND_NS, 86_400 * SECOND_NS, 0)
    return replace(found, t0_ns=found.t0_ns + shift, t1_ns=found.t1_ns + shift[:, None])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, data: TrainingSet) -> Path:
    root = tmp_path_factory.mktemp("score")
    write_dataset(root / "set", data)
    make(root / "model", data)
    return root


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


def test_every_row_is_what_the_graph_alone_makes_of_the_files(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    told = score_dataset(place / "set", {"small": place / "model"}, out)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # with more, the bits of a row depend on those beside it
    graph = (place / "model" / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(graph, options)
    wanted = []
    for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT"):
        for day in sorted((place / "set" / f"symbol={symbol}").iterdir()):
            table = pq.ParquetFile(next(day.glob("*.parquet"))).read()
            X = np.stack([table.column(f"f_{name}").to_numpy() for name in READ], axis=1)
            raw, p = session.run(["raw_score", "probability"], {"features": X})
            for i, t0_ns in enumerate(table.column("t0_ns").to_pylist()):
                for h, horizon_s in enumerate((10, 20)):
                    known = not np.isnan(X[i, 1])  # feature_0 is required, feature_4 is not
                    wanted.append(
                        {
                            "symbol": symbol,
                            "boundary_ns": t0_ns,
                            "horizon_s": horizon_s,
                            "score": float(raw[i, h]) if known else None,
                            "probability": float(p[i, h]) if known else None,
                        }
                    )
    assert rows_of(out) == wanted
    assert told.rows == len(wanted) == 2 * sum(told.boundaries.values())
    assert told.cold == sum(row["score"] is None for row in wanted) // 2 > 0
    assert told.seen == 3 * 101 and told.expired == 3 * 200  # the second day
    names = ["symbol", "boundary_ns", "horizon_s", "score", "probability"]
    assert pq.read_schema(out).names == names


def test_what_a_graph_says_of_the_size_stands_beside_it(
    place: Path, data: TrainingSet, tmp_path: Path
) -> None:
    asked = OutlookSettings(mean=True, quantiles=(0.2, 0.5, 0.8), trees=12, leaves=4, min_rows=50)
    told = {"scope": "symbol:BBBUSDT", "symbols": ("BBBUSDT",)}
    make(tmp_path / "own", data, seed=8, outlook=asked, **told)
    out = tmp_path / "scores.parquet"
    models = {"small": place / "model", "own": tmp_path / "own"}
    score_dataset(place / "set", models, out)
    sizes = ["expected_bps", "low_bps", "high_bps"]
    assert pq.read_schema(out).names[-3:] == sizes
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = (tmp_path / "own" / "model.onnx").read_bytes()
    session, wanted = onnxruntime.InferenceSession(graph, options), []
    for day in sorted((place / "set" / "symbol=BBBUSDT").iterdir()):
        table = pq.ParquetFile(next(day.glob("*.parquet"))).read()
        X = np.stack([table.column(f"f_{name}").to_numpy() for name in READ], axis=1)
        mean, low, high = session.run(sizes, {"features": X})
        for i in range(len(X)):
            for h in range(2):
                ends = sorted((float(low[i, h]), float(high[i, h])))
                cold = np.isnan(X[i, 1])
                wanted.append([None] * 3 if cold else [float(mean[i, h]), *ends])
    found = rows_of(out)
    own = [[row[name] for name in sizes] for row in found if row["symbol"] == "BBBUSDT"]
    assert own == wanted
    others = [row for row in found if row["symbol"] != "BBBUSDT"]
    assert others and all(row[name] is None for row in others for name in sizes)
    assert any(row["probability"] is not None for row in others)


def test_the_same_bytes_for_any_size_of_batch(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"small": place / "model"}
    score_dataset(place / "set", models, tmp_path / "one.parquet")
    score_dataset(place / "set", models, tmp_path / "two.parquet")
    one = (tmp_path / "one.parquet").read_bytes()
    assert (tmp_path / "two.parquet").read_bytes() == one
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    score_dataset(place / "set", models, tmp_path / "three.parquet")
    assert rows_of(tmp_path / "three.parquet") == rows_of(tmp_path / "one.parquet")


def test_each_symbol_is_scored_by_the_model_made_for_it(
    place: Path, data: TrainingSet, tmp_path: Path
) -> None:
    own = make(tmp_path / "own", data, seed=8, scope="symbol:BBBUSDT", symbols=("BBBUSDT",))
    models = {"small": place / "model", "own": tmp_path / "own"}
    told = score_dataset(place / "set", models, tmp_path / "both.parquet")
    assert told.boundaries[own.version] == 400 and len(told.models) == 2
    for name in models:
        score_dataset(place / "set", {name: models[name]}, tmp_path / f"{name}.parquet")
    both, small, alone = (rows_of(tmp_path / f"{n}.parquet") for n in ("both", "small", "own"))
    assert [r for r in both if r["symbol"] != "BBBUSDT"] == [
        r for r in small if r["symbol"] != "BBBUSDT"
    ]
    assert [r for r in both if r["symbol"] == "BBBUSDT"] == alone
    assert score_dataset(
        place / "set", {"own": tmp_path / "own"}, tmp_path / "x.parquet"
    ).unscored == ["AAAUSDT", "CCCUSDT"]


def test_what_does_not_fit_is_refused_by_name_and_nothing_is_written(
    place: Path, data: TrainingSet, tmp_path: Path
) -> None:
    def refused(error: type[Exception], words: str, **more: Any) -> None:
        target = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        make(target, data, **more)
        with pytest.raises(error, match=words):
            score_dataset(place / "set", {"x": target}, tmp_path / "out.parquet")
        assert not (tmp_path / "out.parquet").exists()

    venue = Domain(source="binance", market="binance-spot", tier="book")
    refused(DomainError, "made for binance/binance-spot/book, not for simulation", domain=venue)
    refused(ModelError, "lacks: .'feature_9'", feature_names=("feature_4", "feature_9"),
            required_features=())  # fmt: skip
    refused(ModelError, "defines features of these names otherwise", layout_fingerprint="f" * 16)
    refused(ModelError, "no model speaks for any of AAAUSDT", scope="symbol:ZZZUSDT")


def test_a_model_of_the_book_is_refused_on_bars(
    data: TrainingSet, place: Path, tmp_path: Path
) -> None:
    bars = {**data.manifest, "domain": {**data.manifest["domain"], "tier": "bars"}}
    write_dataset(tmp_path / "bars", replace(data, manifest=bars))
    with pytest.raises(DomainError, match="binance-spot/bars"):
        score_dataset(tmp_path / "bars", {"x": place / "model"}, tmp_path / "out.parquet")


def test_a_damaged_dataset_is_refused(place: Path, data: TrainingSet, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", data)
    victim = sorted((tmp_path / "set").rglob("*.parquet"))[-1]
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    table = pq.ParquetFile(victim).read()
    pq.write_table(table.slice(0, 50), victim)
    with pytest.raises(DatasetError, match="50 rows, the manifest tells of"):
        score_dataset(tmp_path / "set", {"x": place / "model"}, tmp_path / "out.parquet")
    pq.write_table(table.take(list(reversed(range(len(table))))), victim)
    with pytest.raises(DatasetError, match="out of order"):
        score_dataset(tmp_path / "set", {"x": place / "model"}, tmp_path / "out.parquet")
    victim.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read"):
        score_dataset(tmp_path / "set", {"x": place / "model"}, tmp_path / "out.parquet")
    assert len(manifest["parts"]) == 6 and not (tmp_path / "out.parquet").exists()


def test_models_are_found_by_name_version_and_directory(
    place: Path, data: TrainingSet, tmp_path: Path
) -> None:
    card = artifact.load_card(place / "model")
    registry = DirectoryRegistry(tmp_path / "models")
    registry.register("small", card.version, place / "model")
    assert models_for(registry, str(place / "model"), card.domain)
    assert list(models_for(registry, card.version, card.domain)) == ["small"]
    with pytest.raises(ModelError, match="has no champion"):
        models_for(registry, "small", card.domain)
    with pytest.raises(ModelError, match="no champion for simulation"):
        models_for(registry, None, card.domain)
    registry.point("small", CHAMPION, card.version)
    assert list(models_for(registry, "small", card.domain)) == ["small"]
    assert list(models_for(registry, None, card.domain)) == ["small"]
    with pytest.raises(ModelError, match="no artifact directory, and the registry knows"):
        models_for(registry, "nobody", card.domain)


def test_the_command_says_what_it_wrote(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(place / "set"), "--out", str(tmp_path / "s.parquet"), "--json"]
    assert main([*given, "--model", str(place / "model")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 2_400 and told["models"][0]["same_labels"] is True
    assert main([*given, "--registry", str(tmp_path / "none")]) == 1
    assert "ModelError: no champion" in capsys.readouterr().err


PEAK = """
import sys
from pathlib import Path
from pipelines.score import score_dataset
score_dataset(Path(sys.argv[1]), {"x": Path(sys.argv[2])}, Path(sys.argv[3]))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_dataset(
    place: Path, data: TrainingSet, tmp_path: Path
) -> None:
    """120,000 vectors of 60 features are 29 MB, and several times that with what stands beside
    them; a batch of the two columns that the model reads is little."""

    def peak_mb(steps: int) -> float:
        few = make_set(steps=steps)
        names = [f"feature_{i}" for i in range(60)]
        digests = {**{n: "9" * 8 for n in names}, **few.manifest["feature_digests"]}
        told = {**few.manifest, "feature_names": names, "feature_digests": digests}
        X = np.concatenate([few.X] * 10, axis=1)
        where = tmp_path / f"set-{steps}"
        write_dataset(where, replace(few, X=X, manifest=told))
        words = [sys.executable, "-c", PEAK, where, place / "model", tmp_path / "out.parquet"]
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, check=True,
            cwd=Path(__file__).parents[3],
        )  # fmt: skip
        return int(done.stdout) / 1_024

    small, large = peak_mb(10_000), peak_mb(40_000)
    assert large - small < 20
