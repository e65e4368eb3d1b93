"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve.hosting import haproxy_binary

# Ray Serve reads this once, when it is first imported: by whichever test comes first.
os.environ.setdefault("RAY_SERVE_ENABLE_HA_PROXY", str(int(haproxy_binary() is not None)))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Directory of recorded market data; the test is skipped where there is none."""
    place = Path(os.environ.get("FORESHOCK_RECORDINGS", ROOT.parent / "shared" / "data"))
    if not (place / "ws_raw").is_dir():
        pytest.skip(f"no recorded market data at {place}: set FORESHOCK_RECORDINGS")
    return place


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return ROOT
