"""Answers that say no: RFC 9457 documents for programs, a page in words for people.

Every problem has a stable `code`, a category of core/errors.py, and says whether trying again can
help (interface.md «JSON rules»). Nothing of our inside is ever told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from loguru import logger
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.store import StoreUnavailable
from bitrix_app.web.languages import asked_language
from bitrix_app.web.pages import render, wants_html
from bitrix_app.words import Words

CATEGORIES: Final = {
    400: "validation",
    401: "authentication",
    403: "authorization",
    404: "not_found",
    405: "validation",
    408: "timeout",
    409: "conflict",
    413: "validation",
    415: "validation",
    422: "validation",
    429: "rate_limit",
    500: "server",
    503: "availability",
}
RETRY_AFTER: Final = "5"
"""Seconds that a sender should wait when we could not store."""


class Problem(Exception):
    """Raised anywhere in the web side; becomes the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        hint: str = "",
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.hint = hint
        self.retryable = retryable
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @classmethod
    def internal(cls) -> Problem:
        return cls(
            500,
            "internal_error",
            "Something went wrong on our side",
            "The fault is logged under the correlation id below. Please try again; tell us the id "
            "if it stays.",
            retryable=True,
        )

    @classmethod
    def not_found(cls) -> Problem:
        return cls(404, "not_found", "Not found", "There is nothing at this address.")

    @classmethod
    def malformed(cls, detail: str) -> Problem:
        return cls(400, "malformed_request", "The request cannot be read", detail)

    @classmethod
    def not_stored(cls) -> Problem:
        return cls(
            503,
            "not_stored",
            "It could not be stored",
            "Nothing of this request was kept. Please send it again.",
            retryable=True,
            headers={"Retry-After": RETRY_AFTER},
        )

    @classmethod
    def forbidden(cls, detail: str, code: str = "forbidden", hint: str = "") -> Problem:
        return cls(403, code, "This is not allowed", detail, hint=hint)


def problem_response(request: Request, problem: Problem) -> Response:
    """The problem as the asker wants it: a page for people, else `application/problem+json`; its
    texts in the reader's language, its `code` the same in all.
    """
    envelope = request.scope["state"]["envelope"]
    language = envelope.language or asked_language(request)
    words = Words(language)
    document = {
        "type": "about:blank",
        "code": problem.code,
        "title": words.retell(problem.title),
        "detail": " ".join(words.retell(text) for text in (problem.detail, problem.hint) if text),
        "status": problem.status,
        "category": CATEGORIES.get(problem.status, "unknown"),
        "retryable": problem.retryable,
        "correlation_id": envelope.correlation_id,
        **_retold(problem.extra, words),
    }
    if wants_html(request):
        return render(
            "problem.html", {"problem": document, "language": language}, problem.status, problem.headers
        )
    return JSONResponse(
        document, problem.status, headers=problem.headers, media_type="application/problem+json"
    )


def _retold(extra: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Faults of single fields are for people too."""
    told = dict(extra)
    if isinstance(errors := told.get("errors"), list):
        told["errors"] = [{**error, "message": words.retell(error["message"])} for error in errors]
    return told


async def on_problem(request: Request, error: Exception) -> Response:
    """Starlette's handler for `Problem`."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for this type alone
    return problem_response(request, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (unknown path, wrong verb) in our words."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    if error.status_code == 404:
        return problem_response(request, Problem.not_found())
    if error.status_code == 405:
        problem = Problem(
            405, "method_not_allowed", "This verb is not understood here", headers=error.headers
        )
        return problem_response(request, problem)
    return problem_response(request, Problem(error.status_code, "refused", "The request was refused"))


async def on_store_unavailable(request: Request, error: Exception) -> Response:
    """Nothing is durable: whoever sent it must hear so and come back."""
    assert isinstance(error, StoreUnavailable)  # noqa: S101 - registered for this type alone
    logger.bind(reason=error.reason).error("the store is away")
    return problem_response(request, Problem.not_stored())
