"""foreshock.stores.trials: lines that are appended and never altered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foreshock.errors import StoreError
from foreshock.stores.trials import TrialStore


def test_lines_come_back_in_their_order(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "deep" / "trials.jsonl")
    assert list(store) == []
    assert store.append([{"recipe": "a"}, {"recipe": "b"}]) == 2
    assert store.append([]) == 0
    assert TrialStore(store.path).append([{"recipe": "ü", "returns_bps": {"60": [0.5]}}]) == 1
    assert [line["recipe"] for line in store] == ["a", "b", "ü"]


def test_what_lies_there_stays_as_it_is(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "trials.jsonl")
    store.append([{"recipe": "a"}])
    before = store.path.read_bytes()
    store.append([{"recipe": "b"}])
    assert store.path.read_bytes().startswith(before)


def test_a_line_cut_off_by_a_crash_spoils_no_other(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "trials.jsonl")
    store.append([{"recipe": "a"}])
    with store.path.open("ab") as file:
        file.write(b'{"recipe": "b", "retu')
    assert [line["recipe"] for line in store] == ["a"]
    assert store.append([{"recipe": "c"}]) == 1
    assert [line["recipe"] for line in store] == ["a", "c"]


def test_many_may_append_at_once(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "trials.jsonl")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.append([{"n": n, "pad": "x" * 5000}] * 3), range(40)))
    assert sorted(line["n"] for line in store) == sorted(list(range(40)) * 3)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        TrialStore(tmp_path / "file" / "trials.jsonl").append([{"recipe": "a"}])
