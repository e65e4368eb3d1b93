"""Unit tests run where starting Ray is an error: what needs a cluster belongs in tests/cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a unit test started Ray; move it to tests/cluster")


@pytest.fixture(autouse=True)
def _ray_stays_down(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where Ray is already imported, starting it raises. An import within the test is caught after
    it, by asking whether Ray runs."""
    ray = sys.modules.get("ray")
    if ray is not None:
        monkeypatch.setattr(ray, "init", _refuse)
        monkeypatch.setattr(sys.modules["ray._private.worker"], "init", _refuse)
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        _refuse()
