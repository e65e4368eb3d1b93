"""`foreshock audit parity`: the document, its exit codes, and that it can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cluster.audit
from cluster.audit import raw_sessions
from cluster.main import build_app
from foreshock.features import catalog
from foreshock.market.rows import KIND_NAMES


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer symbols and only some of the plants: the whole takes half a minute."""
    from foreshock.replay import parity

    all_of_them = parity.plants
    monkeypatch.setattr(cluster.audit, "SYMBOLS", 4)
    monkeypatch.setattr(cluster.audit, "LONG_S", 60)
    monkeypatch.setattr(cluster.audit, "COLD_S", 60)
    monkeypatch.setattr(parity, "plants", lambda after: all_of_them(after)[:2])


def document(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict:  # type: ignore[type-arg]
    given = ["audit", "parity", "--rows", "2000", "--json", *words]
    done = CliRunner().invoke(build_app(), given, env={"FORESHOCK_RECORDINGS": "nowhere"})
    assert done.exit_code == code, done.output
    found: dict = json.loads(capfd.readouterr().out)  # type: ignore[type-arg]
    return found


def test_a_certificate_names_every_feature_and_has_no_differing_bit(
    brief: None, capfd: pytest.CaptureFixture[str]
) -> None:
    told = document(capfd, code=1)  # so short a market that windows of hours are never full
    assert told["differing_bits"] == 0 and told["first"] is None
    slow = {spec.name for spec in catalog.layout() if spec.warmup_s > 60}
    never = {alarm.removesuffix(" was never given") for alarm in told["alarms"]}
    assert never <= slow, never - slow
    assert len(never) < len(slow)
    assert told["features"] == len(catalog.layout()) and told["rows"] > 20_000
    assert list(told["values"]) == list(catalog.layout().names)
    assert {name for name, n in told["values"].items() if not n} == never
    assert told["planted"] == {"caught": len(catalog.layout()) + 1, "of": len(catalog.layout()) + 1}
    assert set(told["cold_start"]) == set(catalog.layout().names)
    assert (
        set(told["kinds"]) == set(KIND_NAMES.values())
        and sum(told["kinds"].values()) == told["rows"]
    )
    assert told["cuts"] > 1_000 and told["restores"] >= 1 and told["resyncs"] >= 3


def test_a_planted_row_that_is_lost_fails_the_audit(
    brief: None, capfd: pytest.CaptureFixture[str]
) -> None:
    told = document(capfd, "--plant", code=1)
    assert told["differing_bits"] > 0 and "row" in told["first"]


@pytest.mark.parametrize("words", [["--rows", "0"], ["--recordings", "nowhere-at-all"]])
def test_wrong_use_exits_with_two(words: list[str]) -> None:
    done = CliRunner().invoke(build_app(), ["audit", "parity", *words])
    assert done.exit_code == 2


def test_raw_sessions_are_found_once_whatever_their_parts(tmp_path: Path) -> None:
    folder = tmp_path / "ws_raw" / "of-somebody"
    folder.mkdir(parents=True)
    for name in ("a__X.0.gz", "a__X.http.0.gz", "a__X.ws.1.0.gz", "b__X.jsonl.zst"):
        (folder / name).touch()
    assert [[p.name for p in paths] for paths in raw_sessions(tmp_path)] == [
        ["a__X.0.gz"], ["b__X.jsonl.zst"],
    ]  # fmt: skip
    assert raw_sessions(tmp_path / "none") == []
