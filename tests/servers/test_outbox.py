"""The outbox over a PostgreSQL that is killed, and over its own death."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from foreshock.stores.ledger import Ledger
from foreshock.stores.ledger_tables import SIGNALS
from foreshock.stores.verdict_spill import VerdictSpill
from serve.outbox import Outbox
from tests.reference.ledger import verdict
from tests.servers.postgres_server import PostgresServer

pytestmark = pytest.mark.servers


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_order_of_arrival(url: str) -> list[str]:
    ledger = Ledger(url)
    query = select(SIGNALS.c.id).order_by(SIGNALS.c.recorded_at, SIGNALS.c.id)
    found = [row[0] for row in ledger._ask(query)]
    ledger.close()
    return found


LATER = """
import sys, os
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from foreshock.stores.ledger import Ledger
from foreshock.stores.verdict_spill import VerdictSpill
from serve.outbox import Outbox
from tests.reference.ledger import verdict
box = Outbox(lambda: Ledger(sys.argv[1]), 0.01, 1000, VerdictSpill(Path(sys.argv[2])))
box.add([verdict(n) for n in range(30, 50)])
while box.facts()["spilled"] < 40:
    pass
print("spilled", flush=True)
sys.stdin.readline()
"""


def test_signals_outlive_ledger_and_outbox_and_arrive_in_order_and_once(
    postgres_server: PostgresServer, tmp_path: Path, repository: Path
) -> None:
    url, folder = postgres_server.url, tmp_path / "spill"
    said = [verdict(n) for n in range(60)]
    box = Outbox(lambda: Ledger(url), 0.01, 1000, VerdictSpill(folder))
    box.add(said[:10])
    until(lambda: box.facts()["written"] == 10)
    postgres_server.kill()
    box.add(said[10:30])
    until(lambda: box.facts()["spilled"] == 20)
    assert box.facts()["away"] == 1 and box.facts()["queued"] == 0
    box.close()
    # Another takes its place while the ledger is still away, and is killed too.
    heir = subprocess.Popen(
        [sys.executable, "-c", LATER, url, str(folder), str(repository)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository,
    )  # fmt: skip
    assert heir.stdout is not None and heir.stdin is not None
    assert heir.stdout.readline() == "spilled\n"
    heir.kill()
    heir.communicate()
    postgres_server.start()
    last = Outbox(lambda: Ledger(url), 0.01, 1000, VerdictSpill(folder))
    last.add([*said[45:], *said[45:]])  # some of it is told again
    until(lambda: last.facts()["spilled"] == 0 and last.facts()["queued"] == 0)
    last.close()
    assert in_order_of_arrival(url) == [body["id"] for body in said]
    assert last.facts()["dropped"] == 0 and not list(folder.iterdir())


def test_the_time_without_a_ledger_is_an_alert_in_it(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.url
    box = Outbox(lambda: Ledger(url), 0.01, 1000, VerdictSpill(tmp_path / "spill"))
    box.add([verdict(1)])
    until(lambda: box.facts()["written"] == 1)
    postgres_server.kill()
    box.add([verdict(2)])
    until(lambda: box.facts()["spilled"] == 1)
    postgres_server.start()
    until(lambda: box.facts()["written"] == 2 and box.facts()["away"] == 0)
    box.close()
    ledger = Ledger(url)
    (alert,) = ledger.alerts()
    assert alert["kind"] == "ledger_away" and alert["detail"]["failures"] >= 1
    assert 0 < alert["closed_ns"] - alert["opened_ns"] < 60e9
    ledger.close()
