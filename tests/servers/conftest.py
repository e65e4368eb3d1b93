"""Servers that the contract suites run against."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.servers.postgres_server import GIVEN as POSTGRES_GIVEN
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import GIVEN, RedisServer, program

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.servers)]


@pytest.fixture(scope="session")
def redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Addresses by kind; each server is started when it is first asked for."""
    running: dict[str, RedisServer] = {}

    def address(kind: str) -> str:
        if kind == "real" and GIVEN:
            return GIVEN
        if kind not in running:
            home = tmp_path_factory.mktemp(f"redis-{kind}")
            running[kind] = RedisServer(program(kind), home).start()
        return running[kind].url

    yield address
    for server in running.values():
        server.kill()


@pytest.fixture(params=KINDS)
def redis_url(request: pytest.FixtureRequest, redis_servers: Callable[[str], str]) -> str:
    """A Redis server, embedded and real by turns."""
    return redis_servers(request.param)


@pytest.fixture(params=KINDS)
def redis_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of the test's own that may be killed, embedded and real by turns."""
    with RedisServer(program(request.param), tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that is started here."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> str:
    """Address of a PostgreSQL server: the given one, or ours."""
    return POSTGRES_GIVEN or str(request.getfixturevalue("own_postgres").url)


@pytest.fixture
def postgres_server(own_postgres: PostgresServer) -> PostgresServer:
    """A PostgreSQL server that may be killed, with nothing in it."""
    own_postgres.start()
    engine = create_engine(own_postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return own_postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def ledger_where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """An empty database: a SQLite file that is not there yet, and a database on a server."""
    if request.param == "sqlite":
        yield tmp_path / "new" / "ledger.sqlite"
        return
    server = make_url(request.getfixturevalue("postgres"))
    name = f"test_{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
