from __future__ import annotations

from pathlib import Path

import pytest

from foreshock.errors import StoreError
from foreshock.stores.verdict_spill import VerdictSpill


def bodies(first: int, last: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, last)]


def delivered(spill: VerdictSpill, size: int = 3) -> list[int]:
    return [body["id"] for batch in spill.batches(size) for body in batch]


def test_what_was_spilled_is_delivered_in_order_and_then_gone(tmp_path: Path) -> None:
    spill = VerdictSpill(tmp_path / "spill")
    spill.append(bodies(0, 5))
    spill.append(bodies(5, 8))
    assert spill.waiting == 8
    assert delivered(spill) == list(range(8))
    assert spill.waiting == 0 and not list((tmp_path / "spill").iterdir())
    spill.append(bodies(8, 9))
    assert delivered(spill) == [8]


def test_a_delivery_that_breaks_off_begins_again(tmp_path: Path) -> None:
    spill = VerdictSpill(tmp_path)
    spill.append(bodies(0, 8))
    taking = spill.batches(3)
    assert len(next(taking)) == 3
    taking.close()
    assert delivered(spill) == list(range(8))


def test_a_successor_delivers_what_the_dead_left_oldest_first(tmp_path: Path) -> None:
    first, second = VerdictSpill(tmp_path), VerdictSpill(tmp_path)
    first.append(bodies(0, 3))
    second.append(bodies(3, 5))
    first.close()
    second.close()
    heir = VerdictSpill(tmp_path)
    assert heir.waiting == 5
    heir.append(bodies(5, 6))
    assert delivered(heir) == [0, 1, 2, 3, 4, 5]


def test_the_living_keep_what_is_theirs(tmp_path: Path) -> None:
    living, other = VerdictSpill(tmp_path), VerdictSpill(tmp_path)
    living.append(bodies(0, 3))
    assert delivered(other) == []
    assert delivered(living) == [0, 1, 2]


def test_a_line_that_was_cut_by_a_death_or_damaged_is_passed_over(tmp_path: Path) -> None:
    spill = VerdictSpill(tmp_path)
    spill.append(bodies(0, 2))
    spill.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"no json\n" + path.read_bytes() + b'{"id":')
    assert delivered(VerdictSpill(tmp_path)) == [0, 1]


def test_a_folder_that_is_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("in the way")
    with pytest.raises(StoreError):
        VerdictSpill(tmp_path / "spill").append(bodies(0, 1))
