"""The gate: hosts the pure judgement, remembers its state, and publishes what was decided.

There is exactly one, because cool-down and duplicates are decided in one place. A boundary's way:

    message → scores (one call, bounded in time) → judge → hot store (one round trip) → summary
                                                             └─ signals → outbox → ledger

What a death cannot break:
 1 The state of the policy goes to the hot store behind the verdicts that it follows from, in the
   same round trip. A gate that starts takes it up, so that cool-downs and kill switches hold on.
 2 A message that is sent again is a duplicate, unless the gate died before its verdicts were
   stored: then it is judged again, and its signals have the same ids, which the hot store and the
   ledger take once.
 3 Signals that the hot store did not take are kept and go with the next boundary. A gate that
   starts hands the newest signals of the stream to the ledger once more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from foreshock.engine.message import BoundaryMessage
from foreshock.errors import ForeshockError, StoreError
from foreshock.features.catalog import is_required
from foreshock.features.vector import Layout
from foreshock.market.clock import MS_NS, SECOND_NS, Clock
from foreshock.market.rows import STATE_NAMES
from foreshock.models.base import Domain
from foreshock.models.routes import POOLED
from foreshock.signals.gate import GateSettings, ModelFacts, Panel, Verdict, judge
from foreshock.signals.policy import PolicyState
from foreshock.signals.risk import apply_control
from foreshock.stores.hot import HotStore
from serve.drift import Drift
from serve.facts import NOTE, POLICY_NOTE, GateFacts, told_of
from serve.outbox import Outbox
from serve.scorer import Scores
from serve.settings import ServeSettings

_LOG = logging.getLogger(__name__)
_REPLAYED: Final = 1_000  # signals of the stream that a new gate hands to the ledger once more
_UNSENT: Final = 10_000
_PRICES: Final = (
    "bid", "ask", "last", "bid_notional", "ask_notional", "volatility_1s", "volume_60s",
    "funding_rate",
)  # fmt: skip

# vectors (n, k), fingerprint of their layout, whose they are → scores and who gave them
Score = Callable[[NDArray[np.float32], str, Sequence[str]], Awaitable[Scores]]
Speakers = ModelFacts | Panel | None


class Gate:
    """Judge the boundaries of all watchers.

    score      the scorer's method, awaited once a message
    hot        where verdicts go
    outbox     where signals go on their way to the ledger; None keeps no ledger
    layout     of the watchers' vectors
    drift      what compares them with those that the model was trained on; None: nothing does
    """

    def __init__(
        self,
        score: Score,
        hot: HotStore,
        outbox: Outbox | None,
        settings: ServeSettings,
        gate: GateSettings,
        layout: Layout,
        clock: Clock | None = None,
        drift: Drift | None = None,
    ) -> None:
        self._drift = drift
        self._score, self._hot, self._outbox = score, hot, outbox
        self._settings, self._gate = settings, gate
        self._clock = clock or Clock()
        self._state: PolicyState | None = None
        self._model: ModelFacts | None = None  # of those that spoke last the first
        self._speakers: dict[tuple[str, ...], Speakers] = {}  # the last, by whom they spoke for
        self._scored_once = False
        self._unsent: list[dict[str, Any]] = []
        self._priced: set[str] = set()
        self._turn = asyncio.Lock()
        self._layout, self._fingerprint = layout, layout.fingerprint
        self._must_be_warm = np.array([is_required(spec) for spec in layout], np.bool_)
        self._facts = GateFacts(self._clock.now_ns())

    async def judge(self, message: BoundaryMessage) -> dict[str, Any]:
        """Verdicts of one boundary, published. Returns a summary:

        {verdicts, signals, probabilities, reasons: {reason: n}, boundary_ns, published_ns,
        model_version, problem}, and with `message.tell_all` all that the verdicts followed from:
        {scores: float32 (n, H) or None, said: the verdicts as JSON objects, policy: the state
        before them, of these symbols, as bytes}

        published_ns is None and `problem` a sentence where the hot store could not be reached; the
        message need not be sent again. Raises ForeshockError on one that is not whole."""
        arrived = time.perf_counter_ns()
        scores, model, problem = await self._ask_scorer(message)
        async with self._turn:
            return await asyncio.to_thread(self._decide, message, scores, model, problem, arrived)

    def close(self) -> None:
        """Write what is still on its way to the ledger and close the connections."""
        if self._outbox is not None:
            self._outbox.close()
        self._hot.close()

    async def _ask_scorer(
        self, message: BoundaryMessage
    ) -> tuple[NDArray[np.float32] | None, Speakers, str | None]:
        """Scores in time and the models that gave them; or None, the last that were known for these
        symbols and why there are no scores. Never raises what the scorer raises."""
        matrix, wanted = message.boundary.vectors, message.layout_fingerprint or self._fingerprint
        budget_ms = (
            self._settings.score_budget_ms
            if self._scored_once
            else self._settings.cold_score_budget_ms
        )
        started = time.perf_counter_ns()
        try:
            scores, model, fingerprint = await asyncio.wait_for(
                self._score(matrix, wanted, message.symbols), budget_ms / 1_000
            )
        except TimeoutError:
            self._facts.scorer_failures["slow"] += 1
            return None, self._last(message), f"the scorer took longer than {budget_ms:g} ms"
        except Exception as error:  # whatever it dies of, a boundary gets its verdicts
            self._facts.scorer_failures["down"] += 1
            return None, self._last(message), f"the scorer failed: {type(error).__name__}: {error}"
        self._scored_once = True
        self._facts.scoring.observe((time.perf_counter_ns() - started) / MS_NS)
        self._know(message, model, fingerprint)
        if scores is None and model is not None:
            self._facts.scorer_failures["layout"] += 1
            why = f"the model was trained on layout {fingerprint}, vectors are of {wanted}"
            return None, model, why
        return scores, model, None

    def _last(self, message: BoundaryMessage) -> Speakers:
        """Who spoke for these symbols last; for others, whoever spoke last."""
        return self._speakers.get(message.symbols, self._model)

    def _know(self, message: BoundaryMessage, found: Speakers, fingerprint: str | None) -> None:
        self._speakers[message.symbols] = found
        models = found.models if isinstance(found, Panel) else () if found is None else (found,)
        pooled = [model for model in models if model.scope == POOLED]
        self._model = next(iter([*pooled, *models]), None)
        self._facts.tell_models(message.watcher, models, message.boundary.boundary_ns)
        model = self._model
        self._facts.model = None if model is None else {
            **told_of(model, message.boundary.boundary_ns),
            "thresholds": list(model.thresholds),
            "approved": list(model.approved or [True] * len(model.horizons_s)),
            "layout_fingerprint": fingerprint,
        }  # fmt: skip

    def _decide(
        self,
        message: BoundaryMessage,
        scores: NDArray[np.float32] | None,
        model: Speakers,
        problem: str | None,
        arrived: int,
    ) -> dict[str, Any]:
        boundary = message.boundary
        try:
            state = self._state if self._state is not None else self._restore()
        except StoreError as error:
            # Without its memory the gate would not know what it signalled: it says nothing.
            self._facts.store_failures += 1
            return self._summary(message, (), None, str(error))
        state = apply_control(state, message.control_rows, message.symbols)
        before = state.only(message.symbols).to_bytes() if message.tell_all else None
        verdicts, self._state = judge(
            boundary=boundary,
            symbols=message.symbols,
            probabilities=scores,
            model=model,
            session_domain=message.domain,
            state=state,
            settings=self._gate,
        )
        self._count(message, verdicts)
        published_ns = self._publish(message, verdicts, problem)
        self._facts.inside.observe((time.perf_counter_ns() - arrived) / MS_NS)
        if published_ns is None:
            problem = "the hot store could not be reached"
        elif message.live:
            self._facts.total.observe((published_ns - boundary.closed_at_ns) / MS_NS)
        return self._summary(message, verdicts, published_ns, problem, scores, before)

    def _publish(
        self, message: BoundaryMessage, verdicts: Sequence[Verdict], problem: str | None
    ) -> int | None:
        """One round trip; the moment when it was done, or None where it was not."""
        domain, judged_ns = str(Domain.model_validate(message.domain)), self._clock.now_ns()
        extra = {
            "watcher": message.watcher,
            "domain": domain,
            "closed_at_ns": message.boundary.closed_at_ns,
            "judged_ns": judged_ns,
        }
        said = [{**verdict.as_dict(), **extra} for verdict in verdicts]
        for body in said:
            if problem is not None and body["reason"] == "no_model":
                body["detail"] = problem
        fresh = [body for body in said if body["signal"]]
        if self._outbox is not None:
            kept = fresh if not self._keeps(message.boundary.boundary_ns) else [
                body for body in said if body["signal"] or body["probability"] is not None
            ]  # fmt: skip
            self._outbox.add(kept, Counter(v.reason.value for v in verdicts), judged_ns)
        assert self._state is not None
        ledger = self._outbox.facts() if self._outbox is not None else {}
        try:
            self._price(message.symbols)
            self._hot.publish(
                verdicts=[*self._unsent, *said],
                market=self._market(message, verdicts, judged_ns),
                notes={NOTE: self._facts.to_bytes(ledger), POLICY_NOTE: self._state.to_bytes()},
            )
        except StoreError as error:
            self._facts.store_failures += 1
            _LOG.warning("a boundary of %s was not published: %s", message.watcher, error)
            self._unsent = [*self._unsent, *fresh][-_UNSENT:]
            self._priced.clear()  # it may come back empty
            return None
        self._unsent = []
        return self._clock.now_ns()

    def _keeps(self, boundary_ns: int) -> bool:
        """Whether this boundary's probabilities go to the ledger, signals or not."""
        every_ns = self._settings.ledger_predictions_every_s * SECOND_NS
        return every_ns > 0 and boundary_ns % every_ns == 0

    def _price(self, symbols: Sequence[str]) -> None:
        """Cost tables for whoever reads the hot store: the very settings that bills are made with.
        They are written and never read back, since a verdict follows from recorded input alone."""
        new = [symbol for symbol in symbols if symbol not in self._priced]
        self._hot.put_costs(dict.fromkeys(new, self._gate.costs.table))
        self._priced.update(new)

    def _market(
        self, message: BoundaryMessage, verdicts: Sequence[Verdict], judged_ns: int
    ) -> dict[str, dict[str, Any]]:
        """The state of the market per symbol, as the engine saw it at the boundary."""
        boundary, names = message.boundary, self._layout.names
        spoke, width = self._last(message), boundary.warm.shape[1]
        common = None if isinstance(spoke, Panel) else self._required(spoke, width)
        out = {}
        for i, symbol in enumerate(message.symbols):
            if verdicts[i].reason == "duplicate":
                continue
            inputs, cold = boundary.bill_inputs[i], ~boundary.warm[i]
            required = common
            if isinstance(spoke, Panel):
                required = self._required(spoke.of(i), width)
            out[symbol] = {
                "symbol": symbol,
                "boundary_ns": boundary.boundary_ns,
                "closed_at_ns": boundary.closed_at_ns,
                "judged_ns": judged_ns,
                **{name: float(inputs[name]) for name in _PRICES},
                "book_state": STATE_NAMES[int(boundary.book_state[i])],
                "book_epoch": int(boundary.book_epoch[i]),
                "tape_epoch": int(boundary.tape_epoch[i]),
                "rows": int(boundary.rows[i]),
                "watcher": message.watcher,
                "missing": [names[j] for j in np.flatnonzero(cold & required) if j < len(names)],
                "not_warm": int(np.count_nonzero(cold)),
            }
        return out

    def _required(self, model: ModelFacts | None, width: int) -> NDArray[np.bool_]:
        if model is not None and model.required is not None and len(model.required) == width:
            return model.required
        known = len(self._must_be_warm) == width
        return self._must_be_warm if known else np.ones(width, np.bool_)

    def _count(self, message: BoundaryMessage, verdicts: Sequence[Verdict]) -> None:
        self._facts.boundaries += 1
        self._facts.reasons.update(verdict.reason.value for verdict in verdicts)
        self._facts.watchers[message.watcher] = {
            "symbols": len(message.symbols),
            "boundary_ns": message.boundary.boundary_ns,
            "received_ns": self._clock.now_ns(),
            "health": dict(message.health),
        }
        if self._drift is not None:
            version = None if self._model is None else self._model.version
            if self._drift.observe(version, message.boundary):
                self._facts.drift = self._drift.as_dict()
        known = np.count_nonzero(np.isfinite(message.boundary.vectors), axis=0)
        if len(known) == len(self._layout):
            self._facts.known[message.watcher] = known.tolist()

    def _restore(self) -> PolicyState:
        """The state that the last gate left; signals of the stream go to the ledger once more."""
        note = self._hot.note(POLICY_NOTE)
        if self._outbox is not None:
            self._outbox.add(reversed(self._hot.last_signals(_REPLAYED)))
        try:
            return PolicyState() if note is None else PolicyState.from_bytes(note)
        except ForeshockError as error:
            raise StoreError(f"the stored state of the policy cannot be read: {error}") from error

    def _summary(
        self,
        message: BoundaryMessage,
        verdicts: Sequence[Verdict],
        published_ns: int | None,
        problem: str | None,
        scores: NDArray[np.float32] | None = None,
        before: bytes | None = None,
    ) -> dict[str, Any]:
        reasons: Mapping[str, int] = Counter(verdict.reason.value for verdict in verdicts)
        told: dict[str, Any] = {}
        if message.tell_all:
            said = [verdict.as_dict() for verdict in verdicts] or None
            told = {"scores": scores, "said": said, "policy": before}
        return {
            **told,
            "verdicts": len(verdicts),
            "signals": reasons.get("signal", 0),
            "probabilities": any(verdict.probabilities is not None for verdict in verdicts),
            "reasons": dict(reasons),
            "boundary_ns": message.boundary.boundary_ns,
            "published_ns": published_ns,
            "model_version": None if self._model is None else self._model.version,
            "problem": problem,
        }
