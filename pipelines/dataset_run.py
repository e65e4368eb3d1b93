"""How a build runs: chains of calls in this process or as tasks of Ray, alone, with a bar."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foreshock.errors import StoreError
from pipelines.sweep import ray_session

TASK_CPUS: Final = 1.0

Task = Callable[..., Any]
Run = Callable[[Task, Sequence[Sequence[tuple[Any, ...]]], Callable[[], None]], list[list[Any]]]


@contextmanager
def runner(use_ray: bool, parallel: int | None) -> Iterator[Run]:
    """How chains of calls are run: each call of a chain behind the one before it."""
    if not use_ray:
        yield _one_by_one
        return
    with ray_session():
        yield lambda task, chains, tell: _on_ray(task, chains, tell, parallel)


def _one_by_one(
    task: Task, chains: Sequence[Sequence[tuple[Any, ...]]], tell: Callable[[], None]
) -> list[list[Any]]:
    out: list[list[Any]] = []
    for chain in chains:
        out.append([])
        for given in chain:
            out[-1].append(task(*given))
            tell()
    return out


def _on_ray(
    task: Task, chains: Sequence[Sequence[tuple[Any, ...]]], tell: Callable[[], None],
    parallel: int | None,
) -> list[list[Any]]:  # fmt: skip
    """A task that died (killed process, lost node) is run again; our own errors end the build."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    most = parallel or max(1, int(resources.get("CPU", 1)))
    remote = ray.remote(num_cpus=TASK_CPUS, max_retries=3)(task)
    out: list[list[Any]] = [[] for _ in chains]
    waiting = iter([k for k, chain in enumerate(chains) if chain])
    flying: dict[Any, int] = {}

    def start(k: int) -> None:
        flying[remote.remote(*chains[k][len(out[k])])] = k

    try:
        while True:
            while len(flying) < most and (k := next(waiting, None)) is not None:
                start(k)
            if not flying:
                return out
            for ready in ray.wait(list(flying), num_returns=1)[0]:
                k = flying.pop(ready)
                out[k].append(ray.get(ready))
                tell()
                if len(out[k]) < len(chains[k]):
                    start(k)
    except ray.exceptions.RayTaskError as error:
        for other in flying:
            ray.cancel(other)
        raise (error.cause or error) from None


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Two builds of one dataset would write over each other's parts. Raises StoreError."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"another build writes to {work.parent}") from error
        yield


@contextmanager
def progress(show: bool) -> Iterator[Callable[[str, int], None]]:
    """A bar on stderr; yields what is told: (what, how many) opens one, ("", 0) advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not show) as progress:

        def tell(what: str, total: int) -> None:
            if what:
                progress.add_task(what, total=total)
            else:
                progress.advance(progress.task_ids[-1])

        yield tell
