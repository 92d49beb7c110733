"""An outbox that answers by script and can be held, for the lanes' and the worker's tests."""

from __future__ import annotations

import asyncio
from typing import Any

from bitrix_app import logs
from bitrix_app.core.call import Call
from bitrix_app.core.errors import Trouble
from bitrix_app.core.events import Done
from bitrix_app.core.jobs import Job
from bitrix_app.core.portal import Portal
from bitrix_app.outbox import EXPECTED_SECONDS


class FakeOutbox:
    """What is said is noted as `lane/key`; `answers` by that name or by kind, else `Done`.

    While `gate` is closed, nobody comes back.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.batches: list[list[str]] = []
        self.answers: dict[str, list[Any]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.running: list[str] = []
        self.correlations: list[str] = []
        self.batch_fault: Exception | None = None
        self.alone: set[str] = set()
        """Lanes whose jobs take more than one request."""

    def on(self, name: str, *answers: Any) -> None:
        self.answers[name] = list(answers)

    def batchable(self, job: Job) -> bool:
        return job.kind in EXPECTED_SECONDS and not job.doubt

    async def deliver(self, _portal: Portal, job: Job, call: Call | None) -> Any:
        name = f"{job.lane}/{job.key}"
        self.correlations.append(logs.correlation_id.get())
        self.said.append(name)
        self.running.append(name)
        try:
            await self.gate.wait()
        finally:
            self.running.remove(name)
        answer = self._answer(job)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def deliver_batch(self, _portal: Portal, work: list[tuple[Job, Call]]) -> Any:
        names = [f"{job.lane}/{job.key}" for job, _ in work]
        self.batches.append(names)
        self.running += names
        try:
            await self.gate.wait()
        finally:
            for name in names:
                self.running.remove(name)
        if isinstance(self.batch_fault, Trouble):
            return {job.id: self.batch_fault for job, _ in work}, []
        if self.batch_fault is not None:
            raise self.batch_fault
        alone = [job for job, _ in work if job.lane in self.alone]
        return {job.id: self._answer(job) for job, _ in work if job not in alone}, alone

    def _answer(self, job: Job) -> Any:
        for name in (f"{job.lane}/{job.key}", job.kind):
            if left := self.answers.get(name):
                return left.pop(0) if len(left) > 1 else left[0]
        return Done(job.key)
