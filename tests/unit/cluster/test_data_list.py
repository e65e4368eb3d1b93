"""cluster.data_list: what lies below var_dir."""

from __future__ import annotations

from pathlib import Path

from cluster.data_list import find_data


def test_recordings_and_datasets_are_found_with_their_sizes(tmp_path: Path) -> None:
    session = tmp_path / "recordings" / "session-1"
    session.mkdir(parents=True)
    (session / "rows.parquet").write_bytes(b"x" * 10)
    (session / "frames.parquet").write_bytes(b"x" * 5)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "one.parquet").write_bytes(b"x")
    (tmp_path / "datasets" / ".tmp-two.parquet").write_bytes(b"x")
    (tmp_path / "models").mkdir()
    found = find_data(tmp_path)
    assert [(e["name"], e["kind"], e["files"], e["bytes"]) for e in found] == [
        ("session-1", "recording", 2, 15),
        ("one.parquet", "dataset", 1, 1),
    ]
    assert all(entry["modified"].endswith("+00:00") for entry in found)
