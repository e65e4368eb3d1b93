"""The examples, run against the embedded Redis and a real one."""

from __future__ import annotations

import importlib.util
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis

from foreshock.market.rows import SELL
from foreshock.stores.bus import Bus
from foreshock.stores.bus_consumer import Consumer
from foreshock.stores.hot import RedisHot
from tests.reference.bus import INSTRUMENTS, some_trades


@pytest.fixture
def example(repository: Path) -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        path = repository / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"example_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    own = f"test-{secrets.token_hex(4)}:"
    yield own
    with redis.Redis.from_url(redis_url) as client:
        if keys := client.keys(f"{own}*"):
            client.delete(*keys)


@pytest.fixture
def published(redis_url: str, prefix: str) -> Iterator[Any]:
    """A server with 60 trades of two symbols, in entries of both forms; yields its client."""
    for form, rows in (("plain", some_trades(30)), ("packed", some_trades(30, 30))):
        bus = Bus(redis_url, INSTRUMENTS, form=form, prefix=prefix)  # type: ignore[arg-type]
        for k in range(0, 30, 6):
            bus.publish(rows[k : k + 6])
        bus.close()
    with redis.Redis.from_url(redis_url) as client:
        yield client


def arguments(url: str, prefix: str, *more: str) -> list[str]:
    return ["--redis", url, "--prefix", prefix, "--start", "0", "--idle-s", "0.2", *more]


def test_the_logger_writes_every_trade_and_where_some_are_missing(
    example: Callable[[str], ModuleType], redis_url: str, prefix: str, published: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = arguments(redis_url, prefix, "--symbols", "BTCUSDT,ETHUSDT")
    assert example("01_log_trades").main(given) == 60
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 60
    assert told[0] == f"22:13:19.998 {prefix}trades:btcusdt sell 0.001 at 1350"
    published.xadd(
        f"{prefix}trades:btcusdt",
        {"ts": 1, "price": "2", "qty": "3", "side": "buy", "id": "4", "no": "36"},
    )
    assert example("01_log_trades").main(given) == 1
    assert "5 trades are missing here" in capsys.readouterr().out


def test_an_example_runs_as_a_script(
    repository: Path, redis_url: str, prefix: str, published: Any
) -> None:
    script = repository / "examples" / "01_log_trades.py"
    done = subprocess.run(
        [sys.executable, str(script), *arguments(redis_url, prefix, "--idle-s", "0.1")],
        capture_output=True, text=True, timeout=60, check=True, cwd=repository,
        env={"PYTHONPATH": str(repository), "PATH": ""},
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 30


def rolling(rows: Any, window_ms: int) -> list[dict[str, float]]:
    """OFI and count after each trade, the slow way."""
    out = []
    trades = [(int(r["event_ns"]) // 1_000_000, not r["flags"] & SELL) for r in rows]
    for i in range(len(trades)):
        inside = [buy for ts, buy in trades[: i + 1] if ts >= trades[i][0] - window_ms]
        buys = sum(inside)
        out.append({"trades": len(inside), "ofi": (buys - (len(inside) - buys)) / len(inside)})
    return out


def test_rolling_features_are_those_of_a_window_over_the_trades(
    example: Callable[[str], ModuleType], redis_url: str, prefix: str, published: Any
) -> None:
    given = arguments(redis_url, prefix, "--window-s", "0.1")
    assert example("02_rolling_features").main(given) == 15 + 5
    entries = published.xrange(f"{prefix}features:btcusdt")
    rows = some_trades(60)
    wanted = rolling(rows[rows["symbol"] == 0], 100)
    wanted = wanted[:15] + wanted[17::3]  # a packed entry holds three trades and tells once
    found = [{"trades": int(f[b"trades"]), "ofi": float(f[b"ofi"])} for _, f in entries]
    assert found == wanted
    assert found[-1]["trades"] < 10  # the window rolls
    assert all(float(f[b"volatility"]) >= 0 and float(f[b"vwap"]) > 0 for _, f in entries)


def test_a_feature_engine_that_dies_in_mid_batch_publishes_the_same_features(
    example: Callable[[str], ModuleType], redis_url: str, prefix: str, published: Any
) -> None:
    module = example("02_rolling_features")
    whole = arguments(redis_url, prefix, "--window-s", "0.1")
    module.main(whole)
    straight = published.xrange(f"{prefix}features:btcusdt")
    published.delete(f"{prefix}features:btcusdt")
    published.xgroup_destroy(f"{prefix}trades:btcusdt", "features")
    published.delete(f"{prefix}trades:btcusdt:seen:features")

    class Dying(Consumer):
        left = 3

        def acknowledge(self, entries: Any) -> None:
            if Dying.left == 0:
                raise KeyboardInterrupt  # published, and dead before it could say so
            Dying.left -= 1
            super().acknowledge(entries)

    module.Consumer = Dying
    with pytest.raises(KeyboardInterrupt):
        module.main([*whole, "--count", "4"])
    assert len(published.xrange(f"{prefix}features:btcusdt")) == 16
    example("02_rolling_features").main([*whole, "--count", "4"])
    assert published.xrange(f"{prefix}features:btcusdt") == straight


def test_signals_are_followed_with_their_bill(
    example: Callable[[str], ModuleType], redis_url: str, prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hot = RedisHot(redis_url, prefix=prefix)
    hot.publish(
        verdicts=[
            {
                "id": "a", "symbol": "BTCUSDT", "signal": True, "reason": "signal",
                "horizon_s": 60, "probability": 0.71, "utility_bps": 3.25,
                "bill": {"total_bps": 21.5},
            }
        ]
    )  # fmt: skip
    hot.close()
    assert example("03_follow_signals").main(arguments(redis_url, prefix)) == 1
    assert capsys.readouterr().out == (
        "BTCUSDT within 60 s: probability 0.710, costs 21.5 bps, worth 3.2 bps\n"
    )
