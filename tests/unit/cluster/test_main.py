"""The `foreshock` command as people and machines call it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.main import GROUPS, VERBS, build_app

PROGRAM = "from cluster.main import main; main()"


def _foreshock(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )


def _document(*arguments: str) -> Any:
    done = _foreshock(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_verb_has_help_and_a_json_option() -> None:
    app = build_app()
    for words in VERBS:
        told = CliRunner().invoke(
            app, [*words.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"}
        )
        assert told.exit_code == 0, words
        assert "--json" in told.output, words


def test_every_group_is_explained() -> None:
    assert {words.split()[0] for words in VERBS if " " in words} == set(GROUPS)


def test_help_imports_no_heavy_part() -> None:
    program = (
        "import sys, cluster.main as m; m.build_app()\n"
        "sys.exit(str(sorted({'ray', 'numba', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_config_show_tells_value_and_place_of_every_setting() -> None:
    document = _document("config", "show", "--mode", "live", "--set", "simulation.seed=3")
    assert document["mode"] == "live"
    assert document["settings"]["simulation.seed"]["value"] == 3
    assert document["settings"]["simulation.seed"]["source"] == "flag simulation.seed"
    assert document["settings"]["logs.style"]["source"] == "configs/live.yaml"
    assert document["settings"]["redis.port"]["source"] == "default"


def test_config_show_masks_secrets_in_both_forms() -> None:
    secret = "redis.url=redis://:hunter2@127.0.0.1:1/0"
    for form in ([], ["--json"]):
        done = _foreshock("config", "show", "--set", secret, *form)
        assert done.returncode == 0
        assert "hunter2" not in done.stdout + done.stderr
        assert "********" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["config", "show", "--set", "simulation.sed=3"], "simulation.seed"),
        (["config", "show", "--set", "simulation.seed"], "KEY=VALUE"),
        (["config", "show", "--mode", "paper"], "demo, live, replay"),
        (["config", "show", "--config", "absent.yaml"], "absent.yaml"),
        (["config", "show", "--unknown"], "--unknown"),
        (["no-such-verb"], "no-such-verb"),
    ],
)
def test_wrong_use_exits_with_two_and_says_why_on_stderr(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


def test_features_list_names_every_feature_of_the_catalog() -> None:
    from foreshock.features.catalog import layout

    assert [entry["name"] for entry in _document("features", "list")] == list(layout().names)


def test_data_list_is_empty_where_nothing_is_recorded(tmp_path: Path) -> None:
    assert _document("data", "list", "--set", f"paths.var_dir={tmp_path}") == []
