"""Retrainer: keeps the schedules of `foreshock.models.retraining` and submits the jobs by name.

It trains nothing itself: a job of Ray does, in processes of its own, and registers what it made. So
whatever becomes of a job, the model that speaks goes on until a better one is registered. What is
due is decided by `due`, a pure function; here are the clock, the jobs and the file of records, from
which a successor goes on where this one ended. What it knows goes to the hot store, where every
door reads it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import ray

from foreshock.errors import StoreError
from foreshock.market.clock import SECOND_NS, Clock
from foreshock.models.retraining import (
    Due,
    Record,
    RetrainingSettings,
    Schedule,
    Target,
    due,
    known,
    next_ns,
    waits_for,
)
from foreshock.stores.files import whole_file
from foreshock.stores.hot import HotStore, RedisHot

log = logging.getLogger(__name__)

NOTE: Final = "retraining"  # in the hot store, read by the doors
GATE_NOTE: Final = "gate:facts"  # written by the gate; has how far live vectors have drifted
WORDS: Final = 400  # of a reason
RETRAINER_CPUS: Final = 0.02


@dataclass(frozen=True, slots=True)
class RetrainPlan:
    """Plain values: they travel to the actor.

    jobs_url      of the cluster's dashboard, which takes jobs
    working_dir   the tree that jobs run in
    records       file that the records are kept in
    redis_url     hot store; None tells nobody
    prefix        before its keys
    environment   variables of every job: mode and settings of the session
    registry      where models are registered
    artifacts     directory that each job makes its own models in, before they are registered
    kinds         families of models that are installed; None asks for none
    """

    settings: RetrainingSettings
    jobs_url: str
    working_dir: str
    records: str
    registry: str
    artifacts: str
    redis_url: str | None = None
    prefix: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] | None = None

    def entrypoint(self, schedule: Schedule, job: str) -> str:
        """The job's command line."""
        words = ["python", "-m", schedule.module, "--json", "--registry", self.registry]
        words += ["--out", f"{self.artifacts}/{job}", *schedule.arguments]
        before = ["python", "-m", "pipelines.build_features", *schedule.build]
        return (
            f"{shlex.join(before)} && {shlex.join(words)}" if schedule.build else shlex.join(words)
        )

    def variables(self, schedule: Schedule, scope: str) -> dict[str, str]:
        """Its environment: the session's settings, the scope, then the schedule's own."""
        own = {"training.search.scopes": json.dumps([scope]), **schedule.settings}
        named = {f"FORESHOCK__{k.replace('.', '__').upper()}": v for k, v in own.items()}
        return {**self.environment, **named}


class Jobs(Protocol):
    """What the retrainer asks of Ray's jobs (`ray.job_submission.JobSubmissionClient`)."""

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]
    ) -> str:
        """Its id."""
        ...

    def get_job_status(self, job_id: str) -> Any:
        """Its status, with `value` and `is_terminal()`."""
        ...

    def get_job_logs(self, job_id: str) -> str:
        """What it printed."""
        ...

    def stop_job(self, job_id: str) -> bool:
        """Whether it was running."""
        ...


class Retrainer:
    """One look after the other: what ended, what is due, what to tell."""

    def __init__(
        self,
        plan: RetrainPlan,
        jobs: Callable[[], Jobs],
        hot: HotStore | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self.plan, self._hot = plan, hot
        self._open_jobs = jobs
        self._client: Jobs | None = None
        self._now_ns = now_ns or Clock().now_ns
        self._path = Path(plan.records)
        self.problem = ""
        self.drift: dict[str, Any] | None = None
        self.records = known(self._read(), plan.settings, self._now_ns())

    def look(self) -> None:
        """One look. Nothing that a job or a store does ends it."""
        self.drift = self._drift()
        try:
            for target, record in list(self.records.items()):
                if record.job:
                    self._follow(target, record)
            for each in self.due():
                self._begin(each)
            self.problem = ""
        except Exception as error:  # the dashboard is away or busy: look again later
            self.problem = f"{type(error).__name__}: {error}"[:WORDS]
            log.warning("retraining: %s", self.problem)
            self._client = None
        self._write()

    def due(self) -> list[Due]:
        """What is due now."""
        plan = self.plan
        return due(plan.settings, self.records, self._now_ns(), self.drifted, plan.kinds)

    @property
    def drifted(self) -> bool:
        """Whether enough features of the model that speaks have left what it was trained on."""
        told, settings = self.drift, self.plan.settings
        if not told or not told.get("enough") or not told["psi"]:
            return False
        over = sum(value >= settings.drift_psi for value in told["psi"])
        return bool(over / len(told["psi"]) >= settings.drift_share)

    def told(self) -> dict[str, Any]:
        """JSON-ready: each target with what came of it and when it comes next."""
        now_ns, settings = self._now_ns(), self.plan.settings
        lines = []
        for target, record in sorted(self.records.items()):
            schedule = settings.schedule(target.schedule)
            lacking = waits_for(schedule, self.plan.kinds) if schedule else ""
            lines.append(
                {
                    **record.as_dict(),
                    "state": _state(record, lacking),
                    "next_ns": None if lacking else next_ns(settings, record, now_ns),
                    "waits_for": lacking or None,
                }
            )
        return {
            "at_ns": now_ns,
            "targets": lines,
            "running": [line["job"] for line in lines if line["job"]],
            "failing": sum(bool(line["failures"]) for line in lines),
            "drifted": self.drifted,
            "drift": None if self.drift is None else {
                name: self.drift[name] for name in ("version", "seen_s", "ks", "worst")
            },
            "problem": self.problem or None,
        }  # fmt: skip

    def _begin(self, each: Due) -> None:
        target, plan, now_ns = each.target, self.plan, self._now_ns()
        schedule = plan.settings.schedule(target.schedule)
        assert schedule is not None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_ns // SECOND_NS))
        job = f"retrain-{target.schedule}-{target.scope}-{stamp}"
        variables = plan.variables(schedule, target.scope)
        try:
            job = self._client_now().submit_job(
                entrypoint=plan.entrypoint(schedule, job),
                submission_id=job,
                runtime_env={"working_dir": plan.working_dir, "env_vars": variables},
            )
        except Exception as error:
            # It counts as tried, so that a job that cannot be submitted holds nobody up.
            begun = self.records[target].begun("", each.cause, now_ns)
            self._end(begun.failed(f"not submitted: {error}"[:WORDS], now_ns))
            self._client = None
            return
        log.info("retraining %s, %s: job %s", target, each.cause, job)
        self.records[target] = self.records[target].begun(job, each.cause, now_ns)

    def _follow(self, target: Target, record: Record) -> None:
        client, now_ns = self._client_now(), self._now_ns()
        try:
            status = client.get_job_status(record.job)
        except RuntimeError as error:  # a new cluster knows nothing of the job
            self._end(record.failed(f"the job is gone: {error}"[:WORDS], now_ns))
            return
        if not status.is_terminal():
            if now_ns - record.started_ns > self.plan.settings.job_limit_s * SECOND_NS:
                client.stop_job(record.job)
                limit_s = self.plan.settings.job_limit_s
                self._end(record.failed(f"stopped after {limit_s:g} s", now_ns))
            return
        logs = client.get_job_logs(record.job)
        said = report_in(logs)
        if status.value == "SUCCEEDED" and "promoted" in said:
            reason = str(said.get("reason", ""))[:WORDS]
            version = str(said.get("version", ""))
            self._end(record.done(bool(said["promoted"]), version, reason, now_ns))
        else:
            last = next((line for line in reversed(logs.splitlines()) if line.strip()), "")
            reason = str(said.get("message") or f"the job ended as {status.value}; {last}")
            kind = f"{said['error']}: " if "error" in said else ""
            self._end(record.failed(f"{kind}{reason}"[:WORDS], now_ns))

    def _end(self, record: Record) -> None:
        # What was worth keeping is in the registry, which has a copy of its own.
        job = self.records[record.target].job
        for left in Path(self.plan.artifacts).glob(f"{job}*") if job else ():
            shutil.rmtree(left, ignore_errors=True)
        self.records[record.target] = record
        say = log.warning if record.failures else log.info
        say("retraining %s: %s: %s", record.target, record.outcome, record.reason)

    def _client_now(self) -> Jobs:
        if self._client is None:
            self._client = self._open_jobs()
        return self._client

    def _drift(self) -> dict[str, Any] | None:
        """What the gate noted; None where there is none or the store is away."""
        try:
            note = None if self._hot is None else self._hot.note(GATE_NOTE)
        except StoreError:
            return None
        found: dict[str, Any] | None = orjson.loads(note).get("drift") if note else None
        return found

    def _read(self) -> list[Record]:
        try:
            return [Record.from_dict(each) for each in orjson.loads(self._path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read, retraining begins anew: %s", self._path, error)
            return []

    def _write(self) -> None:
        try:
            body = orjson.dumps([r.as_dict() for _, r in sorted(self.records.items())])
            if not self._path.exists() or self._path.read_bytes() != body:
                with whole_file(self._path) as temporary:
                    temporary.write_bytes(body)
            if self._hot is not None:
                self._hot.publish(notes={NOTE: orjson.dumps(self.told())})
        except (StoreError, OSError) as error:
            log.warning("retraining: %s", error)


def report_in(said: str) -> dict[str, Any]:
    """The last line of a job's output that is a JSON object: its report or its refusal. Empty where
    there is none."""
    for line in reversed(said.splitlines()):
        if line.startswith("{"):
            try:
                found: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return found
    return {}


def _state(record: Record, lacking: str) -> str:
    if record.job:
        return "running"
    if lacking:
        return "waiting"
    return record.outcome or "scheduled"


class _RetrainerActor(Retrainer):
    """The same, hosted by Ray."""

    def __init__(self, plan: RetrainPlan) -> None:
        def jobs() -> Jobs:
            from ray.job_submission import JobSubmissionClient

            client: Jobs = JobSubmissionClient(plan.jobs_url)
            return client

        hot = None if plan.redis_url is None else RedisHot(plan.redis_url, prefix=plan.prefix)
        super().__init__(plan, jobs, hot)

    async def run(self) -> None:
        """For ever; a thread asks the dashboard, so that `status` answers meanwhile."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self.plan.settings.look_every_s)

    async def status(self) -> dict[str, Any]:
        """See `Retrainer.told`."""
        return self.told()

    async def ping(self) -> bool:
        """Whether it lives."""
        return True


RetrainerActor = ray.remote(_RetrainerActor)

__all__ = ["RetrainPlan", "Retrainer", "RetrainerActor", "report_in"]
