"""What the doors say about stores that they do not read themselves."""

from __future__ import annotations

from foreshock.stores.hot import RedisHot
from serve.board import Board


def test_batches_that_wait_for_the_cold_store_are_told(tmp_path):
    board = Board(RedisHot("redis://127.0.0.1:1/0", timeout_s=0.2), cold_spill=tmp_path)
    assert board.stores()["cold"] == "ok"
    waiting = tmp_path / "cold-0" / "0~trades~s~0-9.parquet"
    waiting.parent.mkdir()
    waiting.write_bytes(b"rows")
    assert board.stores()["cold"] == "batches waiting for the store: 1"
    waiting.unlink()
    assert board.stores()["cold"] == "ok"
    board.close()
