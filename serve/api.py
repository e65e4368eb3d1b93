"""The HTTP ingress: one FastAPI application over a reader, without Ray.

Bodies are read and written by pydantic-core and orjson directly; FastAPI's own serialisation costs
a third of the throughput here. Every answer other than 200 is the envelope of `serve.envelope`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import foreshock
from foreshock.errors import ModelError
from foreshock.features import catalog
from foreshock.features.vector import Layout
from foreshock.market.clock import MS_NS
from serve import docs_page, metrics
from serve.board import Reader, find_symbol
from serve.envelope import CODES, DoorError, answer
from serve.predictions import as_matrix, features, misfit, prediction, scored, summary
from serve.requests import PredictRequest, invalid, read_body
from serve.scorer import Scores
from serve.settings import ServeSettings

Score = Callable[[NDArray[np.float32], str], Awaitable[Scores]]

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "unknown_symbol, with the nearest names."},
    409: {"description": "No number now: not_warm, book_resyncing, book_stale, no_model …"},
    422: {"description": "The request does not fit."},
    503: {"description": "store_down, or stale: the last verdict is too old."},
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": PredictRequest.model_json_schema(),
                "example": {"symbol": "BTCUSDT"},
            }
        },
    }
}
_ELSEWHERE: Final = ("model", "models", "known")  # of the gate's facts: shown beside them
_JSON: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "JSON."}}
SymbolQuery = Annotated[str, Query(description="A watched pair.", examples=["BTCUSDT"])]


class Doors:
    """The handlers. One instance per replica."""

    def __init__(
        self,
        reader: Reader,
        settings: ServeSettings,
        score: Score | None,
        symbols: Sequence[str],
        now_ns: Callable[[], int],
        layout: Layout,
    ) -> None:
        self._layout = layout
        self._reader, self._settings, self._score = reader, settings, score
        self._symbols, self._now_ns = tuple(symbols), now_ns

    def _watched(self) -> dict[str, Any]:
        """Symbols that are configured or were ever judged, in alphabetical order."""
        known = {*self._symbols, *self._reader.verdicts(), *self._reader.market()}
        return dict.fromkeys(sorted(known))

    def _predict(self, symbol: str) -> dict[str, Any]:
        reader = self._reader
        verdicts = reader.verdicts()
        name = find_symbol(symbol, verdicts if symbol in verdicts else self._watched())
        return prediction(
            name, verdicts, reader.market(), self._settings, self._now_ns(), self._layout
        )

    async def predict_one(self, symbol: SymbolQuery) -> Response:
        """The latest probabilities of a symbol by horizon, their age, and the bill."""
        return answer(self._predict(symbol))

    async def prediction_of(
        self, symbol: Annotated[str, Path(description="A watched pair.")]
    ) -> Response:
        """The same, as a resource."""
        return answer(self._predict(symbol))

    async def predict(self, request: Request) -> Response:
        """The latest probabilities of one or several symbols, or scores of your own vectors."""
        asked = await read_body(request, PredictRequest, self._settings.max_body_bytes)
        if asked.symbol is not None:
            return answer(self._predict(asked.symbol))
        if asked.symbols is not None:
            return answer({"predictions": self._predict_each(asked.symbols)})
        assert asked.features is not None and asked.fingerprint is not None
        return answer(await self._score_given(asked.features, asked.fingerprint))

    def _predict_each(self, symbols: list[str]) -> list[dict[str, Any]]:
        """A prediction or an error each, in the order asked; a store that is down fails all."""
        if len(symbols) > self._settings.max_symbols:
            raise DoorError(422, "invalid", f"at most {self._settings.max_symbols} symbols")
        self._reader.verdicts()
        out: list[dict[str, Any]] = []
        for symbol in symbols:
            try:
                out.append(self._predict(symbol))
            except DoorError as error:
                out.append({"symbol": symbol, **error.body()})
        return out

    async def _score_given(self, rows: list[list[float | None]], fingerprint: str) -> Any:
        if self._score is None:
            raise DoorError(503, "scorer_down", "there is no scorer here")
        if len(rows) > self._settings.max_vectors:
            raise DoorError(422, "invalid", f"at most {self._settings.max_vectors} vectors")
        matrix = as_matrix(rows)
        seconds = self._settings.cold_score_budget_ms / 1_000
        try:
            scores = await asyncio.wait_for(self._score(matrix, fingerprint), seconds)
        except TimeoutError as error:
            why = f"no scores within {seconds:g} s"
            raise DoorError(503, "scorer_down", why, retry_after_seconds=1.0) from error
        except Exception as error:
            cause = getattr(error, "cause", error)  # Ray wraps what was raised in the scorer
            if isinstance(cause, ModelError):
                raise misfit(cause) from error
            why = f"the scorer failed: {type(error).__name__}"
            raise DoorError(503, "scorer_down", why, retry_after_seconds=1.0) from error
        return scored(matrix, fingerprint, scores)

    async def signals(
        self,
        symbol: Annotated[str | None, Query(description="Only of this pair.")] = None,
        limit: Annotated[int, Query(ge=1, le=1_000, description="How many at most.")] = 100,
        since_ns: Annotated[
            int, Query(ge=0, description="Only of boundaries from here on, UTC ns.")
        ] = 0,
    ) -> Response:
        """Signals, newest first. Each appears once under its `id`."""
        name = None if symbol is None else find_symbol(symbol, self._watched())
        found = await asyncio.to_thread(self._reader.signals, name, limit, since_ns)
        return answer({"signals": found, "count": len(found)})

    async def symbols(self) -> Response:
        """What is watched: prices, state of the book, last verdict, age."""
        verdicts, market = self._reader.verdicts(), self._reader.market()
        now_ns = self._now_ns()
        lines = [
            summary(symbol, verdicts.get(symbol), market.get(symbol), self._settings, now_ns)
            for symbol in self._watched()
        ]
        return answer({"symbols": lines, "count": len(lines)})

    async def features(self) -> Response:
        """The columns of the watchers' vectors, explained, and which of them have a value now."""
        facts = self._reader.facts()
        known = facts.get("known", {})
        symbols = sum(watcher["symbols"] for watcher in facts.get("watchers", {}).values())
        return answer(features(self._layout, known, symbols))

    async def retraining(self) -> Response:
        """What is trained anew and when, what came of the last job and why, who speaks meanwhile
        and how old it is, and how far live vectors have left what it was trained on."""
        told = self._reader.retraining()
        models = self._reader.facts().get("models", [])
        silent = {"targets": [], "running": [], "failing": 0, "drifted": False, "drift": None}
        return answer({"enabled": bool(told), **(told or silent), "models": models})

    async def health(self) -> Response:
        """200 while verdicts come, 503 where the store is down. `status` says ok, or idle where no
        fresh verdict is there."""
        return answer(self._vital())

    def _vital(self) -> dict[str, Any]:
        facts, now_ns = self._reader.facts(), self._now_ns()
        heard = [watcher["received_ns"] for watcher in facts.get("watchers", {}).values()]
        silent_ms = (now_ns - max(heard)) / MS_NS if heard else None
        fresh = silent_ms is not None and silent_ms <= self._settings.stale_after_s * 1_000
        return {
            "status": "ok" if fresh else "idle",
            "version": foreshock.__version__,
            "silent_ms": silent_ms,
            "symbols": len(self._watched()),
            "model_version": (facts.get("model") or {}).get("version"),
        }

    async def health_detailed(self) -> Response:
        """The same with stores, watchers, model, books, counts of verdicts and latencies."""
        stores = await asyncio.to_thread(self._reader.stores)
        try:
            facts, market, vital = self._reader.facts(), self._reader.market(), self._vital()
            retraining = self._reader.retraining()
        except DoorError as error:
            body = {**error.body(), "status": "degraded", "stores": stores}
            return answer(body, 503, {"Retry-After": "1"})
        states: dict[str, int] = {}
        for state in market.values():
            states[state["book_state"]] = states.get(state["book_state"], 0) + 1
        healthy = all(word == "ok" for word in stores.values())
        return answer(
            {
                **vital,
                "status": vital["status"] if healthy else "degraded",
                "stores": stores,
                "books": states,
                "model": facts.get("model"),
                "models": facts.get("models", []),
                "retraining": retraining or None,
                "gate": {name: facts[name] for name in facts if name not in _ELSEWHERE},
            }
        )

    async def metrics(self) -> Response:
        """Prometheus' text format."""
        reader, now_ns = self._reader, self._now_ns()
        try:
            body = metrics.render(
                reader.facts(), reader.verdicts(), reader.market(), now_ns, reader.retraining()
            )
        except DoorError:
            body = metrics.render_down()
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


def create_api(
    reader: Reader,
    settings: ServeSettings | None = None,
    *,
    score: Score | None = None,
    symbols: Sequence[str] = (),
    now_ns: Callable[[], int] = time.time_ns,
    layout: Layout | None = None,
) -> FastAPI:
    """The application.

    reader    what it answers from
    score     the scorer's method, for vectors that clients bring; None refuses them
    symbols   configured pairs, so that one without a verdict is not_warm and not unknown
    layout    of the watchers' vectors; without it the whole catalogue
    """
    settings = settings or ServeSettings()
    doors = Doors(reader, settings, score, symbols, now_ns, layout or catalog.layout())
    app = FastAPI(
        title="foreshock",
        version=foreshock.__version__,
        description="Probabilities of price surges by horizon, each with its bill and its age. No"
        " number is ever made up: where there is none, the answer is an error with its reason.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.include_router(_data(doors), prefix="/api/v1")
    app.include_router(_health(doors))
    app.include_router(_health(doors), prefix="/api/v1", include_in_schema=False)
    _add_docs(app, settings)
    _add_errors(app)
    return app


def _data(doors: Doors) -> APIRouter:
    router = APIRouter(tags=["predictions and signals"], default_response_class=Response)
    got: dict[int | str, dict[str, Any]] = {**_JSON, **_ERRORS}
    add = router.add_api_route
    add("/predict", doors.predict_one, summary="Predict one symbol", responses=got)
    add(
        "/predict",
        doors.predict,
        methods=["POST"],
        summary="Predict symbols, or score vectors",
        responses=got,
        openapi_extra=_BODY,
    )
    add("/predictions/{symbol:path}", doors.prediction_of, summary="Prediction", responses=got)
    add("/signals", doors.signals, summary="Signals", responses=_JSON)
    add("/symbols", doors.symbols, summary="Watched symbols", responses=_JSON)
    add("/features", doors.features, summary="Features of a vector", responses=_JSON)
    add("/retraining", doors.retraining, summary="What is trained anew", responses=_JSON)
    return router


def _health(doors: Doors) -> APIRouter:
    router = APIRouter(tags=["health"], default_response_class=Response)
    down: dict[int | str, dict[str, Any]] = {**_JSON, 503: {"description": "store_down"}}
    router.add_api_route("/health", doors.health, summary="Health", responses=down)
    router.add_api_route(
        "/health/detailed", doors.health_detailed, summary="Health, in detail", responses=down
    )
    text: dict[int | str, dict[str, Any]] = {200: {"description": "Prometheus text."}}
    router.add_api_route("/metrics", doors.metrics, summary="Metrics", responses=text)
    return router


def _add_docs(app: FastAPI, settings: ServeSettings) -> None:
    address = f"http://{'localhost' if settings.host == '0.0.0.0' else settings.host}"
    pages: dict[str, str] = {}

    async def docs() -> Response:
        if "html" not in pages:
            pages["html"] = docs_page.render(app.openapi(), f"{address}:{settings.port}")
        return HTMLResponse(pages["html"], headers={"Content-Security-Policy": docs_page.POLICY})

    async def front() -> Response:
        return RedirectResponse("/docs")

    for path in ("/docs", "/api/v1/docs"):
        app.add_api_route(path, docs, include_in_schema=False)
    app.add_api_route("/", front, include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    async def door(request: Request, error: Exception) -> Response:
        assert isinstance(error, DoorError)
        return error.response()

    async def misfitting(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid(list(error.errors())).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = CODES.get(error.status_code, "error")
        what = f"{request.method} {request.url.path}"
        told = DoorError(error.status_code, code, f"{what}: {error.detail}", reason="request")
        return told.response(dict(error.headers or {}))

    async def broken(request: Request, error: Exception) -> Response:
        return DoorError(500, "internal", f"{type(error).__name__}; the log has it").response()

    app.add_exception_handler(DoorError, door)
    app.add_exception_handler(RequestValidationError, misfitting)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, broken)
