"""foreshock.stores.registry_history: who let which version speak, told to the audit log once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock.errors import StoreError
from foreshock.stores.ledger import Ledger
from foreshock.stores.registry import CHALLENGER, CHAMPION, DirectoryRegistry
from foreshock.stores.registry_history import Change, before_last

Open = Callable[[], Ledger]


@pytest.fixture
def ledger(tmp_path: Path) -> Open:
    return lambda: Ledger(tmp_path / "ledger.sqlite")


def registry_with(tmp_path: Path, ledger: Open | None, **verdicts: str) -> DirectoryRegistry:
    """Versions of the model "a" with the gate's verdicts."""
    registry = DirectoryRegistry(tmp_path / "models", ledger=ledger)
    for version, verdict in verdicts.items():
        artifact = tmp_path / version
        artifact.mkdir()
        card = {"verdict": verdict, "promoted": verdict == "promoted", "reason": f"says {version}"}
        (artifact / "card.json").write_text(json.dumps(card))
        registry.register("a", version, artifact)
    return registry


def trail(ledger: Open) -> list[tuple[str, str, str | None, str, str]]:
    """(actor, action, before, version, reason), oldest first."""
    opened = ledger()
    found = opened.audit_trail()[::-1]
    opened.close()
    return [
        (e["actor"], e["action"], *(e["detail"][w] for w in ("before", "version", "reason")))
        for e in found
    ]


def test_promotion_and_rollback_are_told_to_the_audit_log(tmp_path: Path, ledger: Open) -> None:
    registry = registry_with(tmp_path, ledger, v1="promoted", v2="promoted")
    registry.point("a", CHALLENGER, "v2")
    registry.promote("a", "v1", "ann", "the first")
    registry.promote("a", "v2", "bob", "better")
    assert registry.aliases("a") == {CHAMPION: "v2"}  # nobody challenges itself
    change = registry.rollback("a", "ann", "worse")
    assert (change.before, change.version) == ("v2", "v1")
    assert registry.find("a") == tmp_path / "models" / "a" / "v1"
    assert trail(ledger) == [
        ("registry", "model.point", None, "v2", ""),
        ("ann", "model.promote", None, "v1", "the first"),
        ("bob", "model.promote", "v1", "v2", "better"),
        ("ann", "model.rollback", "v2", "v1", "worse"),
    ]


@pytest.mark.parametrize("verdict", ["refused", "insufficient_sample"])
def test_what_the_gate_did_not_promote_needs_force_and_a_reason(
    tmp_path: Path, ledger: Open, verdict: str
) -> None:
    registry = registry_with(tmp_path, ledger, v1=verdict)
    with pytest.raises(StoreError, match=f"the gate said {verdict}: says v1"):
        registry.promote("a", "v1", "ann", "please")
    for reason in ("", "  "):
        with pytest.raises(StoreError, match="forced with a reason"):
            registry.promote("a", "v1", "ann", reason, force=True)
    assert registry.find("a") is None
    assert registry.promote("a", "v1", "ann", "a drill", force=True).verdict == verdict
    assert trail(ledger) == [("ann", "model.force", None, "v1", "a drill")]
    assert registry.history("a")[-1].action == "force"


def test_rolling_back_goes_further_back_each_time(tmp_path: Path) -> None:
    registry = registry_with(tmp_path, None, v1="promoted", v2="promoted", v3="promoted")
    for version in ("v1", "v2", "v3"):
        registry.promote("a", version, "ann")
    assert [registry.rollback("a", "ann").version for _ in range(2)] == ["v2", "v1"]
    with pytest.raises(StoreError, match="no earlier champion"):
        registry.rollback("a", "ann")
    assert registry.aliases("a") == {CHAMPION: "v1"}
    registry.promote("a", "v3", "ann")
    assert registry.rollback("a", "ann").version == "v1"


@given(steps=st.lists(st.sampled_from(["v1", "v2", "v3", "back"]), max_size=30))
def test_a_rollback_undoes_the_last_promotion_that_still_stands(steps: list[str]) -> None:
    """Against a twin that keeps a stack by hand."""
    stack: list[str] = []
    history: list[Change] = []

    def note(action: str, version: str) -> None:
        history.append(
            Change(
                len(history) + 1, 0, "x", action, CHAMPION, stack[-1] if stack else None, version
            )
        )

    for step in steps:
        assert before_last(history, CHAMPION) == (stack[-2] if len(stack) > 1 else None)
        if step == "back":
            if len(stack) > 1:
                note("rollback", stack[-2])
                stack.pop()
        else:
            note("promote", step)
            if not stack or stack[-1] != step:
                stack.append(step)


def test_a_ledger_that_was_away_is_told_later_and_once(tmp_path: Path, ledger: Open) -> None:
    away = tmp_path / "away"
    away.mkdir()  # a directory is no database

    registry = registry_with(tmp_path, lambda: Ledger(away), v1="promoted", v2="promoted")
    registry.promote("a", "v1", "ann")
    registry.promote("a", "v2", "ann")
    assert registry.aliases("a") == {CHAMPION: "v2"}
    again = DirectoryRegistry(tmp_path / "models", ledger=ledger)
    assert again.tell_ledger() == 2
    assert again.tell_ledger() == 0
    index = tmp_path / "models" / "registry.json"
    forgot = json.loads(index.read_text())
    forgot["a"]["told"] = 1  # a process died after the log was written, before this was
    index.write_text(json.dumps(forgot))
    assert DirectoryRegistry(tmp_path / "models", ledger=ledger).tell_ledger() == 0
    assert [each[3] for each in trail(ledger)] == ["v1", "v2"]


def test_a_training_without_a_ledger_is_told_by_whoever_has_one_open(
    tmp_path: Path, ledger: Open
) -> None:
    registry_with(tmp_path, None, v1="promoted").promote("a", "v1", "training", "good")
    serving = DirectoryRegistry(tmp_path / "models")
    opened = ledger()
    assert (serving.tell_ledger(opened), serving.tell_ledger(opened)) == (1, 0)
    assert opened.audit_trail()[0]["action"] == "model.promote"  # it is open still
    opened.close()
    assert trail(ledger) == [("training", "model.promote", None, "v1", "good")]
    assert serving.tell_ledger() == 0  # it has none of its own


def test_an_index_of_before_is_read(tmp_path: Path, ledger: Open) -> None:
    registry = registry_with(tmp_path, ledger, v1="", v2="promoted")
    index = tmp_path / "models" / "registry.json"
    old = {"a": {"versions": ["v1", "v2"], "aliases": {CHAMPION: "v1"}}}
    index.write_text(json.dumps(old))
    assert (registry.history("a"), registry.registered_ns("a", "v1")) == ([], None)
    registry.promote("a", "v2", "ann")
    assert registry.rollback("a", "ann").version == "v1"
