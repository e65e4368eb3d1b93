from __future__ import annotations

import re
from pathlib import Path

import pytest

from foreshock.signals.verdict import Reason
from foreshock.stores.hot import RedisHot
from serve import metrics
from serve.api import create_api
from serve.board import Board


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "api.md").read_text()


def test_every_path_is_on_the_page(page: str, hot: RedisHot) -> None:
    for path in create_api(Board(hot)).openapi()["paths"]:
        assert f"`{path.removesuffix(':path')}" in page, path


def test_every_code_is_on_the_page(page: str, repository: Path) -> None:
    told = set(re.findall(r"`([a-z_]+)`", page))
    source = "".join(path.read_text() for path in (repository / "serve").glob("*.py"))
    raised = set(re.findall(r'DoorError\(\s*\d+,\s*"(\w+)"', source))
    assert len(raised) >= 9
    assert raised <= told
    # Verdicts of these reasons always come with a probability, so that they are no errors.
    scored = {"signal", "below_probability", "below_utility", "cool_down", "no_price", "duplicate"}
    assert {reason.value for reason in Reason} - scored - {"cold"} <= told


def test_every_metric_is_on_the_page(page: str) -> None:
    facts = {
        "latency_ms": {
            name: {"counts": [0] * 16, "sum_ms": 0.0}
            for name in ("socket_to_verdict", "gate", "scoring")
        },
        "ledger": {"queued": 0},
    }
    names = re.findall(r"# TYPE (\w+)", metrics.render(facts, {}, {}, 0).decode())
    assert len(names) >= 15
    for name in names:
        assert f"`{name}`" in page, name
