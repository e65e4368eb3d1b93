"""`foreshock score`: the verb on datasets, bars and raw frames, with real models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cluster.main import build_app
from foreshock.features import catalog
from foreshock.models.base import Domain
from foreshock.stores.registry import DirectoryRegistry
from pipelines.datasets import write_dataset
from tests.reference.training import make_set
from tests.unit.pipelines.test_score import make
from tests.unit.serve import material

Verb = Callable[..., tuple[int, Any]]


@pytest.fixture
def score(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Verb:
    def run(*given: object, mode: str = "live") -> tuple[int, Any]:
        words = ["score", *map(str, given), "--out", str(tmp_path / "out.parquet"), "--json"]
        words += ["--mode", mode, "--set", f"paths.var_dir={tmp_path / 'var'}"]
        done = CliRunner().invoke(build_app(), words)
        told = capfd.readouterr()
        try:
            return done.exit_code, json.loads(told.out)
        except ValueError:
            pytest.fail(told.err)

    return run


def table(tmp_path: Path) -> dict[str, Any]:
    return pq.read_table(tmp_path / "out.parquet").to_pydict()


def test_a_dataset_is_scored_by_the_champion(score: Verb, tmp_path: Path) -> None:
    data = make_set(steps=200)
    write_dataset(tmp_path / "set", data)
    code, told = score(tmp_path / "set")
    assert code == 1 and told["error"]["kind"] == "ModelError"
    assert "no champion for simulation/binance-spot/book" in told["error"]["message"]
    card = make(tmp_path / "model", data)
    registry = DirectoryRegistry(tmp_path / "var" / "models")
    registry.register(card.name, card.version, tmp_path / "model")
    registry.point(card.name, "champion", card.version)
    code, told = score(tmp_path / "set")
    assert code == 0 and told["rows"] == 200 * 3 * 2
    assert told["models"][0]["version"] == card.version and told["domain"] == str(card.domain)
    code, again = score(tmp_path / "set", "--model", card.version)
    assert code == 0 and again == told
    code, told = score(tmp_path / "set", "--model", "nobody")
    assert code == 1 and "nobody" in told["error"]["message"]


def test_what_is_nothing_is_refused_by_name(score: Verb, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no market data\n")
    for place in (tmp_path / "notes.txt", tmp_path / "nowhere"):
        code, told = score(place)
        assert code == 1 and told["error"]["kind"] == "DatasetError"
        assert str(place) in told["error"]["message"]


def bars(path: Path, symbols: tuple[str, ...], minutes: int) -> Path:
    """One-minute bars in the layout of other people's files."""
    parts = []
    for number, symbol in enumerate(symbols):
        random = np.random.default_rng(number)
        close = 100 * np.exp(np.cumsum(random.normal(0, 5e-4, minutes)))
        opened = np.concatenate([[100.0], close[:-1]])
        spread = np.abs(random.normal(0, 2e-4, minutes)) * close
        parts.append(
            pa.table(
                {
                    "symbol": [symbol] * minutes,
                    "date": np.datetime64("2024-03-01T00:00", "ms")
                    + np.arange(minutes).astype("timedelta64[m]"),
                    "open": np.round(opened, 4),
                    "high": np.round(np.maximum(opened, close) + spread, 4),
                    "low": np.round(np.minimum(opened, close) - spread, 4),
                    "close": np.round(close, 4),
                    "volume": random.uniform(1e4, 9e4, minutes).round(3),
                }
            )
        )
    pq.write_table(pa.concat_tables(parts), path)
    return path


def test_bars_of_others_are_scored_by_a_model_of_bars(
    score: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = catalog.layout()
    names = [s.name for s in layout if s.needs == "bars" and s.family == "bars"][:6]
    assert len(names) == 6
    monkeypatch.setattr(material, "FEATURES", tuple(names))
    domain = Domain(source="binance", market="binance-spot", tier="bars")
    card = material.train(tmp_path / "var" / "models", domain, horizons_s=(300, 900))
    path = bars(tmp_path / "spot_1m.parquet", ("BTCUSDT", "ETHUSDT"), 360)
    code, told = score(path, "--every", 300)
    assert code == 0, told
    assert told["domain"] == "binance/binance-spot/bars"
    assert told["boundaries"] == {card.version: told["rows"] // 2}
    found = table(tmp_path)
    assert set(found["symbol"]) == {"BTCUSDT", "ETHUSDT"} and set(found["horizon_s"]) == {300, 900}
    steps = np.unique(np.array(found["boundary_ns"])) // 10**9 % 300
    assert set(steps.tolist()) == {1}  # a second behind the minute, when its bar has come
    assert np.isfinite(np.array(found["probability"], np.float64)).any()
    code, told = score(path, "--symbol", "ETHUSDT", "--every", 300)
    assert code == 0 and set(table(tmp_path)["symbol"]) == {"ETHUSDT"}
    book = Domain(source="binance", market="binance-spot", tier="book")
    other = material.train(tmp_path / "other", book, seed=4)
    code, told = score(path, "--model", tmp_path / "other" / ".made-4")
    assert code == 1 and told["error"]["kind"] == "DomainError" and str(other.domain) in str(told)


def test_raw_frames_are_scored_through_the_live_session(
    score: Verb, tmp_path: Path, recordings: Path
) -> None:
    card = material.train(tmp_path / "var" / "models", horizons_s=(60, 300))
    raw = recordings / "ws_raw/hftbacktest/usdm/btcusdt_20230404.dat.gz"
    code, told = score(raw, "--every", 10)
    assert code == 0, told
    assert told["domain"] == "binance/binance-usdm/book" and told["models"][0]["version"]
    found = table(tmp_path)
    assert set(found["symbol"]) == {"BTCUSDT"} and told["rows"] == len(found["score"]) > 0
    p = np.array(found["probability"], np.float64)
    assert ((p > 0) & (p < 1)).all() and card.version in told["boundaries"]
