"""Real stores and a real small model for the doors; no Ray."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.hot import RedisHot
from tests.unit.serve.material import train

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One real Redis for all tests here."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture
def hot(redis_url: str) -> Iterator[RedisHot]:
    """An empty hot store: keys under a prefix of the test's own."""
    store = RedisHot(redis_url, prefix=f"test{next(_prefixes)}:")
    yield store
    store.close()


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one champion for material.DOMAIN."""
    root = tmp_path_factory.mktemp("models")
    train(root)
    return root


class Client:
    """Requests to an application in this process."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._application, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        """GET."""
        return self("GET", path)

    def post(self, path: str, body: Any) -> httpx.Response:
        """POST: bytes as they are, anything else as JSON."""
        if isinstance(body, bytes):
            return self("POST", path, content=body)
        return self("POST", path, json=body)
