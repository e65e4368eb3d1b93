"""The ledger's migrations, on SQLite and on PostgreSQL: taken over, up, down, by many at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, insert, inspect, text

from foreshock.errors import StoreError
from foreshock.stores.ledger import Ledger
from foreshock.stores.ledger_tables import METADATA
from foreshock.stores.ledger_upgrade import migrate, revision_of
from foreshock.stores.migrations import HEAD, PLACE
from tests.reference.ledger import FIRST, verdict

CROWD = """
import os
from pathlib import Path
import alembic.command
from foreshock.stores.ledger import Ledger
here, there = os.pipe()
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        os.close(there)
        os.read(here, 1)
        ledger = Ledger({where})
        told = f"{{len(ledger.signals())}}{{ledger.status()['current']}}\\n"
        os.write(1, told.encode())
        os._exit(0)
    children.append(child)
os.close(there)  # all go at once
for child in children:
    os.waitpid(child, 0)
"""


@pytest.fixture
def engine(ledger_where: str | Path) -> Engine:
    if isinstance(ledger_where, Path):
        ledger_where.parent.mkdir(parents=True)
        return create_engine(f"sqlite:///{ledger_where}")
    return create_engine(ledger_where)


def differences(engine: Engine, metadata: object = METADATA) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))  # type: ignore[arg-type]


def line(number: int) -> dict[str, object]:
    said = verdict(number)
    names = ("id", "symbol", "boundary_ns", "horizon_s", "reason", "probability", "model_version")
    return {**{name: said[name] for name in names}, "utility_bps": None, "body": said}


def test_the_steps_make_what_the_tables_say(engine: Engine) -> None:
    migrate(engine)
    assert differences(engine) == []
    engine.dispose()


def test_a_table_without_a_migration_would_be_noticed(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alerts"))
        connection.execute(text("ALTER TABLE signals ADD COLUMN surplus INTEGER"))
    assert len(differences(engine)) >= 2
    engine.dispose()


def test_head_is_the_newest_step_and_each_step_has_one_before_it() -> None:
    directory = ScriptDirectory(str(PLACE))
    assert directory.get_heads() == [HEAD]
    steps = [step.revision for step in directory.walk_revisions()]
    assert steps == sorted(steps, reverse=True) and steps[-1] == "0001"


def test_a_ledger_of_the_first_version_is_taken_over_without_loss(
    engine: Engine, ledger_where: str | Path
) -> None:
    FIRST.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(FIRST.tables["signals"]), [line(n) for n in range(50)])
        entry = {"at_ns": 2**62, "actor": "gate", "action": "verdicts", "detail": {"n": 1}}
        connection.execute(insert(FIRST.tables["audit"]), [entry])
        card = {"version": "1", "name": "m", "promoted": True, "known_ns": 1, "card": {"a": [1.5]}}
        connection.execute(insert(FIRST.tables["model_versions"]), [card])
    ledger = Ledger(ledger_where)
    assert ledger.signals(limit=100) == [verdict(n) for n in reversed(range(50))]
    assert ledger.audit_trail()[0]["at_ns"] == 2**62
    assert ledger.models() == [{"a": [1.5]}]
    assert ledger.record([verdict(n) for n in range(40, 60)]) == 10
    assert ledger.status()["current"]
    ledger.close()
    assert differences(engine) == []
    engine.dispose()


def test_down_and_up_again_keeps_what_both_steps_hold(
    engine: Engine, ledger_where: str | Path
) -> None:
    ledger = Ledger(ledger_where)
    ledger.record([verdict(n) for n in range(20)])
    ledger.alert("ledger_down", "warning", 1, {})
    assert ledger.migrate("0001") == (HEAD, "0001")
    assert differences(engine, FIRST) == [] or not inspect(engine).has_table("alerts")
    assert "recorded_at" not in {c["name"] for c in inspect(engine).get_columns("signals")}
    assert ledger.migrate() == ("0001", HEAD)
    assert ledger.signals(limit=100) == [verdict(n) for n in reversed(range(20))]
    assert ledger.alerts() == []
    assert differences(engine) == []
    ledger.close()
    engine.dispose()


def test_a_step_that_fails_leaves_the_ledger_as_it_was(engine: Engine) -> None:
    migrate(engine, "0001")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE model_versions ADD COLUMN recorded_at INTEGER"))
    with pytest.raises(StoreError, match="0002"):
        migrate(engine)
    assert revision_of(engine) == "0001"
    found = inspect(engine)
    assert not found.has_table("alerts")
    assert "recorded_at" not in {c["name"] for c in found.get_columns("signals")}
    engine.dispose()


def test_a_ledger_of_a_newer_version_is_left_alone(
    engine: Engine, ledger_where: str | Path
) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999"):
        Ledger(ledger_where)
    assert revision_of(engine) == "9999"
    engine.dispose()


def test_four_processes_that_open_an_old_ledger_at_once_all_get_a_new_one(
    engine: Engine, ledger_where: str | Path
) -> None:
    FIRST.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(FIRST.tables["signals"]), [line(n) for n in range(10)])
    where = f"Path({str(ledger_where)!r})" if isinstance(ledger_where, Path) else repr(ledger_where)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CROWD.format(where=where)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == ["10True"] * 4, done.stderr
    assert differences(engine) == []
    engine.dispose()
