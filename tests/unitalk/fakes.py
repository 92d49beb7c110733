"""An `Http` that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitrix_app.core.ports import Download, HttpRequest, HttpResponse

Scripted = HttpResponse | Exception | Callable[[HttpRequest], HttpResponse]


def json_answer(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(data).encode())


class FakeHttp:
    """Gives the answers in order and keeps what was asked."""

    def __init__(self, *answers: Scripted) -> None:
        self.answers = list(answers)
        self.asked: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, HttpResponse) else answer(request)

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        self.limits = (max_bytes, max_seconds)
        answer = await self.send(request)
        if answer.status != 200:
            return Download(answer.status, answer.headers, 0, answer.body[:512])
        target.write_bytes(answer.body)  # noqa: ASYNC240  # small, and nobody waits meanwhile
        return Download(200, answer.headers, len(answer.body), answer.body[:512])
