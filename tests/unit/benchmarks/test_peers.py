"""Peers run in processes of their own; who is wrong, crashes or cannot be had is named."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import _mix, _peers
from benchmarks._peers import Package, Peer, PeerError

GOOD = """
    import json
    from harness import serve
    def prepare(symbols, snapshots):
        books = {}
        for s in symbols:
            told = json.loads(snapshots[s])
            books[s] = [dict(told["bids"]), dict(told["asks"])]
        def work(frames):
            for frame in frames:
                data = json.loads(frame)["data"]
                if data["e"] == "depthUpdate":
                    for side, levels in zip(books[data["s"]], (data["b"], data["a"])):
                        for price, size in levels:
                            if float(size):
                                side[price] = size
                            else:
                                side.pop(price, None)
        def touch():
            return {s: (max(map(float, b)), min(map(float, a))) for s, (b, a) in books.items()}
        return work, touch
    serve(prepare)
"""


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Peer]:
    """A peer of the given program, in this very environment."""
    monkeypatch.setattr(_peers, "environment", lambda package: Path(sys.executable))
    shutil.copy(_peers.SCRIPTS / "harness.py", tmp_path)
    monkeypatch.setattr(_peers, "SCRIPTS", tmp_path)
    mix = _mix.make(2, 1)

    def make(program: str) -> Peer:
        (tmp_path / "own.py").write_text(textwrap.dedent(program))
        return Peer(Package("own", ()), mix)

    return make


def test_a_peer_tells_what_it_did_and_its_own_time(peer: Callable[[str], Peer]) -> None:
    one = peer(GOOD)
    try:
        for _ in range(2):
            units, cpu_s = one.prepare()()
            assert units == 100 and cpu_s > 0.0
    finally:
        one.close()


def test_a_peer_whose_book_is_wrong_has_not_taken_part(peer: Callable[[str], Peer]) -> None:
    one = peer(GOOD.replace("side.pop(price, None)", "pass"))
    try:
        with pytest.raises(PeerError, match="its book of M"):
            one.prepare()()
    finally:
        one.close()


def test_a_peer_that_cannot_start_is_named_with_the_reason(peer: Callable[[str], Peer]) -> None:
    with pytest.raises(PeerError, match="No module named 'of_nobody'"):
        peer("import of_nobody")


def test_a_peer_that_crashes_in_a_round_is_named_with_the_reason(
    peer: Callable[[str], Peer],
) -> None:
    one = peer(GOOD.replace("json.loads(frame)", "json.loads(too_much)"))
    try:
        with pytest.raises(PeerError, match="cannot run: NameError: name 'too_much'"):
            one.prepare()()
    finally:
        one.close()


def test_an_environment_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_PEERS", str(tmp_path))
    monkeypatch.setattr(_peers.sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(PeerError, match="cannot be installed"):
        _peers.environment(Package("own", ("something==1",)))


@pytest.mark.parametrize("spelling", [{}, {"tape": "aggTrade"}, {"eight_places": True}])
def test_the_mix_is_the_same_market_however_it_is_spelled(spelling: dict[str, object]) -> None:
    plain, spelled = _mix.make(2, 1), _mix.make(2, 1, **spelling)  # type: ignore[arg-type]
    assert spelled.touch == plain.touch and len(spelled.frames) == len(plain.frames)
