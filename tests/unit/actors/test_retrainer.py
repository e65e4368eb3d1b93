"""The retrainer over real processes: what it submits, how it follows them, what it tells of them.

Ray's jobs are stood in for by processes of this machine, which do what a job does: run a module of
a working directory under an environment. `tests/cluster/test_demo.py` has it on a real Ray."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.retrainer import GATE_NOTE, NOTE, Retrainer, RetrainPlan, report_in
from foreshock.market.clock import SECOND_NS
from foreshock.models.retraining import RetrainingSettings, Schedule, Target
from foreshock.stores.embedded_redis import EmbeddedRedis
from foreshock.stores.hot import RedisHot

HOUR_NS = 3_600 * SECOND_NS
ONE = Target("direction", "pooled")
# What the job does, by what its first schedule argument says.
JOB = """
import json, os, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True)
what = sys.argv[-1]
print("starting", os.environ.get("FORESHOCK__TRAINING__SEARCH__SCOPES"))
if what == "promote":
    print(json.dumps({"promoted": True, "version": "0.1.0+abc", "reason": "skill"}))
elif what == "refuse":
    print(json.dumps({"error": "DatasetError", "message": "no dataset lies there"}))
    sys.exit(1)
elif what == "die":
    os.kill(os.getpid(), 9)
else:
    time.sleep(60)
"""


@dataclass
class Status:
    value: str

    def is_terminal(self) -> bool:
        return self.value != "RUNNING"


@dataclass
class Processes:
    """Jobs as processes of this machine."""

    place: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    away: bool = False

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]
    ) -> str:
        if self.away:
            raise ConnectionError("nobody at the dashboard")
        with (self.place / f"{submission_id}.log").open("wb") as log:
            self.running[submission_id] = subprocess.Popen(
                f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; {entrypoint}',
                shell=True,
                executable="/bin/bash",
                cwd=runtime_env["working_dir"],
                env={**os.environ, **runtime_env["env_vars"]},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return submission_id

    def get_job_status(self, job_id: str) -> Status:
        if self.away:
            raise ConnectionError("nobody at the dashboard")
        if job_id not in self.running:
            raise RuntimeError(f"no job {job_id}")
        code = self.running[job_id].poll()
        return Status("RUNNING" if code is None else "FAILED" if code else "SUCCEEDED")

    def get_job_logs(self, job_id: str) -> str:
        return (self.place / f"{job_id}.log").read_text()

    def stop_job(self, job_id: str) -> bool:
        self.running[job_id].kill()
        return True


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as found:
        yield found


class Site:
    """A retrainer with its clock, its jobs and its hot store."""

    def __init__(self, place: Path, server: EmbeddedRedis, does: str, **settings: Any) -> None:
        (place / "pipelines").mkdir()
        (place / "pipelines" / "__init__.py").touch()
        (place / "pipelines" / "tune_models.py").write_text(JOB)
        schedule = Schedule(name="direction", at=("00:00",), on_drift=True, arguments=(does,))
        self.now_ns = 20_000 * 24 * HOUR_NS + 12 * HOUR_NS  # a noon
        self.jobs = Processes(place)
        self.hot = RedisHot(server.url, prefix=f"{place.name}:")
        self.plan = RetrainPlan(
            RetrainingSettings(schedules=(schedule,), **settings), "http://none", str(place),
            str(place / "retraining.json"), str(place / "models"), str(place / "artifacts"),
            environment={"FORESHOCK__MODE": "live"}, kinds=("boosted",),
        )  # fmt: skip
        self.retrainer = self.again()

    def again(self) -> Retrainer:
        return Retrainer(self.plan, lambda: self.jobs, self.hot, lambda: self.now_ns)

    def look(self, hours: float = 0.0) -> dict[str, Any]:
        self.now_ns += round(hours * HOUR_NS)
        self.retrainer.look()
        (line,) = self.told()["targets"]
        return line

    def told(self) -> dict[str, Any]:
        note = self.hot.note(NOTE)
        assert note is not None
        found: dict[str, Any] = orjson.loads(note)
        return found

    def end(self) -> None:
        for process in self.jobs.running.values():
            process.wait(60)


@pytest.fixture
def site(tmp_path: Path, server: EmbeddedRedis, request: pytest.FixtureRequest) -> Iterator[Site]:
    found = Site(tmp_path, server, getattr(request, "param", "promote"))
    yield found
    for process in found.jobs.running.values():
        process.kill()
        process.wait(10)
    found.hot.close()


def test_a_job_is_submitted_by_name_when_its_time_comes_and_followed_to_its_end(site: Site) -> None:
    assert site.look()["state"] == "scheduled"
    assert site.look(11)["state"] == "scheduled"
    line = site.look(1.1)
    assert (line["state"], line["cause"]) == ("running", "schedule")
    job = line["job"]
    assert job.startswith("retrain-direction-pooled-2024") and site.told()["running"] == [job]
    site.end()
    line = site.look(0.1)
    assert (line["state"], line["version"], line["reason"]) == ("promoted", "0.1.0+abc", "skill")
    assert line["failures"] == 0 and line["trained_ns"] == site.now_ns
    assert line["next_ns"] - site.now_ns < 24 * HOUR_NS
    assert 'starting ["pooled"]' in site.jobs.get_job_logs(job)
    assert not list((site.retrainer._path.parent / "artifacts").iterdir())
    assert site.look(5)["state"] == "promoted" and len(site.jobs.running) == 1


@pytest.mark.parametrize(
    ("site", "why"),
    [("refuse", "DatasetError: no dataset lies there"), ("die", "the job ended as FAILED; ")],
    indirect=["site"],
)
def test_a_failure_is_told_with_its_reason_and_tried_again_later(site: Site, why: str) -> None:
    site.look(13)
    site.end()
    line = site.look(0.01)
    assert (line["state"], line["failures"]) == ("failed", 1)
    assert line["reason"].startswith(why)
    assert line["trained_ns"] == 0 and site.told()["failing"] == 1
    assert site.look(0.1)["state"] == "failed"  # six minutes: not yet
    line = site.look(0.1)
    assert (line["state"], line["cause"]) == ("running", "retry")


@pytest.mark.parametrize("site", ["sleep"], indirect=True)
def test_a_job_that_takes_too_long_is_stopped(site: Site) -> None:
    line = site.look(13)
    assert site.look(5)["state"] == "running"
    line = site.look(2)
    assert (line["state"], line["reason"]) == ("failed", "stopped after 21600 s")
    site.end()


def test_a_successor_goes_on_where_the_last_one_ended(site: Site) -> None:
    job = site.look(13)["job"]
    site.retrainer = site.again()
    assert site.look()["job"] == job and len(site.jobs.running) == 1
    site.end()
    site.retrainer = site.again()
    assert site.look()["state"] == "promoted"
    site.retrainer = site.again()
    assert site.look(1)["state"] == "promoted" and len(site.jobs.running) == 1


def test_a_job_that_a_new_cluster_does_not_know_has_failed(site: Site) -> None:
    site.look(13)
    process = site.jobs.running.popitem()[1]
    process.kill()
    process.wait(10)
    line = site.look()
    assert line["state"] == "failed" and "the job is gone" in line["reason"]


def test_a_dashboard_that_is_away_stops_nothing(site: Site) -> None:
    site.jobs.away = True
    line = site.look(13)
    assert line["state"] == "failed" and "nobody at the dashboard" in line["reason"]
    site.jobs.away = False
    assert site.look(0.2)["state"] == "running"
    site.jobs.away = True
    assert site.look()["state"] == "running"
    assert "nobody at the dashboard" in site.told()["problem"]
    site.jobs.away = False
    site.end()
    assert site.look()["state"] == "promoted" and site.told()["problem"] is None


def test_drift_that_the_gate_noted_makes_a_training_due(site: Site) -> None:
    def note(psi: list[float], enough: bool = True) -> None:
        drift = {
            "version": "1", "seen_s": 4_000.0, "enough": enough, "psi": psi, "ks": 0.3, "worst": {}
        }  # fmt: skip
        site.hot.publish(notes={GATE_NOTE: orjson.dumps({"drift": drift})})

    note([0.3, 0.9, 0.1], enough=False)
    assert site.look()["state"] == "scheduled"
    note([0.3, 0.1, 0.1])
    assert site.look()["state"] == "scheduled" and not site.told()["drifted"]
    note([0.3, 0.9, 0.1])
    line = site.look()
    assert (line["state"], line["cause"]) == ("running", "drift")
    assert site.told()["drift"]["version"] == "1" and site.told()["drifted"]
    site.end()
    assert site.look(1)["state"] == "promoted"  # not again before the pause is over


def test_a_family_that_is_not_installed_is_waited_for(site: Site) -> None:
    garch = Schedule(name="direction", kind="garch", every_s=1.0)
    settings = site.plan.settings.model_copy(update={"schedules": (garch,)})
    site.plan = replace(site.plan, settings=settings)
    site.retrainer = site.again()
    line = site.look(100)
    assert (line["state"], line["waits_for"], line["next_ns"]) == ("waiting", "garch", None)


def test_records_that_cannot_be_read_begin_anew(site: Site) -> None:
    site.look()
    Path(site.plan.records).write_text('[{"rubbish": 1}]')
    site.retrainer = site.again()
    assert site.look()["state"] == "scheduled"


def test_a_dataset_is_built_before_in_the_same_job_and_its_failure_is_the_jobs(site: Site) -> None:
    deed = site.jobs.place / "pipelines" / "build_features.py"
    deed.write_text("import sys; print('built', *sys.argv[1:])")
    schedule = site.plan.settings.schedules[0].model_copy(update={"build": ("--tier", "bars")})
    settings = site.plan.settings.model_copy(update={"schedules": (schedule,)})
    site.plan = replace(site.plan, settings=settings)
    site.retrainer = site.again()
    job = site.look(13)["job"]
    site.end()
    assert site.look()["state"] == "promoted"
    assert site.jobs.get_job_logs(job).startswith("built --tier bars\nstarting")
    deed.write_text("import sys; sys.exit('build_features: no rows')")
    site.look(24)
    site.end()
    line = site.look()
    assert line["state"] == "failed" and "build_features: no rows" in line["reason"]


def test_the_report_is_the_last_line_that_is_an_object() -> None:
    assert report_in('{"promoted": false}\nx\n{"promoted": true}\n{half') == {"promoted": True}
    assert report_in("nothing") == {}
