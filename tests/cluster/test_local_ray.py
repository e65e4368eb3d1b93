"""The session's cluster itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_task_runs_on_the_local_cluster_with_two_cores(local_ray: Any) -> None:
    @local_ray.remote
    def square(x: int) -> int:
        return x * x

    assert local_ray.get([square.remote(x) for x in range(4)]) == [0, 1, 4, 9]
    assert local_ray.cluster_resources()["CPU"] == 2


def test_workers_import_the_rooms_of_the_checkout(local_ray: Any) -> None:
    @local_ray.remote
    def where() -> str:
        import foreshock

        return str(foreshock.__file__)

    import foreshock

    assert local_ray.get(where.remote()) == foreshock.__file__


def test_no_token_is_written_to_the_home_directory(local_ray: Any, home: str) -> None:
    assert not (Path(home) / ".ray" / "auth_token").exists()
