from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cluster.features_look import seen
from cluster.main import build_app
from foreshock.features.catalog import layout
from foreshock.settings import load

RAW = "ws_raw/hftbacktest/usdm/btcusdt_20230404.dat.gz"


Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb; returns exit code and document."""

    def go(*words: str) -> tuple[int, Any]:
        done = CliRunner().invoke(build_app(), ["features", *words, "--json"])
        return done.exit_code, json.loads(capfd.readouterr().out)

    return go


def test_a_feature_is_explained_with_all_that_its_spec_says(run: Run) -> None:
    code, told = run("show", "ofi_10s")
    assert code == 0
    spec = layout().only(["ofi_10s"]).specs[0]
    assert (told["formula"], told["source"], told["digest"]) == (
        spec.formula, spec.source, spec.digest,
    )  # fmt: skip


def test_an_unknown_feature_is_wrong_use_and_names_what_is_near() -> None:
    done = CliRunner().invoke(build_app(), ["features", "show", "ofi_1os"])
    assert done.exit_code == 2 and "ofi_10s" in done.stderr
    assert CliRunner().invoke(build_app(), ["features", "plot", "ofi_10s"]).exit_code == 2


def test_its_values_on_recorded_rows_are_those_of_the_engine(recordings: Path, run: Run) -> None:
    code, told = run("show", "spread_bps", "--on", str(recordings / RAW))
    assert code == 0
    found = seen("spread_bps", [recordings / RAW], None, load().tree)
    assert told["seen"]["symbol"] == found.symbol == "BTCUSDT"
    assert told["seen"]["known"] == int(np.isfinite(found.value).sum()) > 50
    assert 0 < told["seen"]["quantiles"]["0.5"] < 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_drawn(recordings: Path, tmp_path: Path, suffix: str, run: Run) -> None:
    out = tmp_path / f"spread.{suffix}"
    code, told = run("plot", "spread_bps", "--on", str(recordings / RAW), "--out", str(out))
    assert code == 0 and told["picture"] == str(out)
    head = out.read_bytes()[:300]
    assert head.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in out.read_bytes()
    assert len(out.read_bytes()) > 5_000
    assert run("plot", "spread_bps", "--on", str(recordings / RAW), "--symbol", "XUSDT")[0] == 2
