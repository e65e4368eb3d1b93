"""Simulated frames have the keys, order and decimals of frames that the venue really sent."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import orjson
import pytest

from foreshock.simulation.exchange import SimulatedExchange
from foreshock.simulation.settings import SimulationSettings

# Files of real frames, and keys that the venue has dropped since (order ids of spot trades).
RECORDED = {
    "binance-spot": ["hftbacktest/spot/btcusdt_20230405.dat.gz"],
    "binance-usdm": ["hftbacktest/usdm/btcusdt_20240718.gz"],
}
DROPPED = re.compile(rb'"b":\d+,"a":\d+,')


def _shape(body: bytes) -> bytes:
    """The frame with its values blotted out: levels first, then strings and numbers."""
    body = re.sub(rb'\[(\["[\d.]+","[\d.]+"\],?)*\]', b"[]", body)
    body = re.sub(rb':"[\d.]+"', b':"0"', body)
    body = re.sub(rb":\d+", b":0", body)
    return re.sub(rb'"s":"\w+"|:(true|false)', b"_", body)


@pytest.mark.parametrize("market", RECORDED)
def test_frames_have_the_shape_of_real_ones(market: str, recordings: Path) -> None:
    real: dict[str, bytes] = {}
    for name in RECORDED[market]:
        with gzip.open(recordings / "ws_raw" / name) as lines:
            for line, _ in zip(lines, range(4000), strict=False):
                head, found, body = line.strip().partition(b'","data":')
                kind = head.split(b"@")[-1 if b"@depth" not in head else 1].decode()
                if found and body.endswith(b"}"):
                    real.setdefault(kind, _shape(DROPPED.sub(b"", body[:-1])))
    settings = SimulationSettings.model_validate({"market": market, "symbols": 2})
    frames = SimulatedExchange(settings).advance(settings.start_ns + 5_000_000_000)
    compared = set()
    for frame in frames:
        kind = frame.stream.partition("@")[0]
        if kind in real:
            assert _shape(frame.body) == real[kind]
            compared.add(kind)
    assert compared == {"trade", "depth", "bookTicker"}


def test_spot_writes_eight_decimals_and_usdm_the_ticks_own() -> None:
    for market, price in (("binance-spot", r"\d+\.\d{8}"), ("binance-usdm", r"\d+\.\d{2}")):
        settings = SimulationSettings.model_validate(
            {"market": market, "symbols": ["BTCUSDT"], "streams": ["aggTrade"]}
        )
        frames = SimulatedExchange(settings).advance(settings.start_ns + 5_000_000_000)
        assert frames
        assert all(re.fullmatch(price, orjson.loads(frame.body)["p"]) for frame in frames)
