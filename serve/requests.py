"""What clients send, checked before it is believed."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request

from serve.envelope import DoorError

Body = TypeVar("Body", bound=BaseModel)


class PredictRequest(BaseModel):
    """One of `symbol`, `symbols` and `features`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    symbol: str | None = Field(
        default=None, description="A watched pair: BTCUSDT, btc/usdt, BTC/USDT:USDT …"
    )
    symbols: list[str] | None = Field(default=None, description="Several of them.")
    features: list[list[float | None]] | None = Field(
        default=None,
        description="Vectors of your own to score, a row each; null is a feature not yet warm.",
    )
    fingerprint: str | None = Field(
        default=None,
        description="The layout of `features` (GET /health/detailed tells the model's). A vector of"
        " another layout is refused.",
    )

    @model_validator(mode="after")
    def _one(self) -> PredictRequest:
        given = [self.symbol is not None, self.symbols is not None, self.features is not None]
        if sum(given) != 1:
            raise ValueError("give one of symbol, symbols and features")
        if self.symbols == [] or self.features == []:
            raise ValueError("the list is empty")
        if (self.features is None) != (self.fingerprint is None):
            raise ValueError("features and fingerprint go together")
        return self


async def read_body(request: Request, model: type[Body], limit: int) -> Body:
    """The body as `model`. Raises DoorError: 413 beyond `limit` bytes, 400 on what is no JSON, 422
    on what does not fit."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            raise DoorError(400, "bad_json", problems[0]["msg"]) from error
        raise invalid(problems) from error


def invalid(problems: list[Any]) -> DoorError:
    """422 with where and what, from pydantic's list of problems."""
    told = [
        {"where": ".".join(map(str, problem["loc"])), "what": problem["msg"]}
        for problem in problems[:20]
    ]
    first = told[0]
    where = f"{first['where']}: " if first["where"] else ""
    return DoorError(422, "invalid", f"{where}{first['what']}", details={"problems": told})


def _too_large(limit: int) -> DoorError:
    return DoorError(413, "too_large", f"a body may have {limit} bytes")
