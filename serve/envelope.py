"""The one shape of every error: what went wrong, and what to do meanwhile."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

# An error tells nothing about the market, and says so; whoever must act stands aside.
FALLBACK: Final = {"regime": "unknown", "confidence": 0.0, "recommendation": "stand_aside"}

CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "timeout",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}


class DoorError(Exception):
    """An answer other than 200.

    code      stable word for programs; CONTRACT of docs/api.md
    message   sentence for people, with the offending value
    reason    the finer cause, such as a verdict's reason
    details   further keys of `error.details`, JSON-ready
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        reason: str | None = None,
        retry_after_seconds: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason or code
        self.retry_after_seconds = retry_after_seconds
        self.details = details or {}

    def body(self) -> dict[str, Any]:
        """The envelope."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "details": {
                    **self.details,
                    "reason": self.reason,
                    "retry_after_seconds": self.retry_after_seconds,
                },
            },
            "fallback": FALLBACK,
        }

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The envelope as an answer; Retry-After is set where waiting helps."""
        out = dict(headers or {})
        if self.retry_after_seconds is not None:
            out["Retry-After"] = str(max(1, round(self.retry_after_seconds)))
        return answer(self.body(), self.status, out)


def whole_response(error: DoorError) -> bytes:
    """The envelope as the bytes of an HTTP response, for a proxy that must answer by itself."""
    body = orjson.dumps(error.body())
    head = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
    ]
    if error.retry_after_seconds is not None:
        head.append(f"Retry-After: {max(1, round(error.retry_after_seconds))}")
    return "\r\n".join([*head, "", ""]).encode() + body


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON, written by orjson. NaN and infinities become null."""
    return Response(orjson.dumps(body), status, headers, "application/json")
