"""Whether the process lives, and whether it may be given work (interface.md)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from loguru import logger
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitrix_app.core.store import StoreUnavailable
from bitrix_app.logs import redact
from bitrix_app.web.deps import WebDeps

SECONDS: Final = 3.0
"""How long the store may take to say how it is."""


class Health:
    """See the module. Reasons are for supervisors: no portal, number or secret in them."""

    def __init__(self, deps: WebDeps) -> None:
        self._deps = deps

    async def live(self, _request: Request) -> Response:
        """`GET /health/live`: the event loop turns."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """`GET /health/ready`: 503 as long as a webhook could not be stored or nobody works."""
        checks = {"store": await self._store(), "worker": self._worker()}
        reasons = [f"{name}: {check['reason']}" for name, check in checks.items() if not check["ok"]]
        document = {"status": "ok" if not reasons else "unavailable", "reasons": reasons, "checks": checks}
        return JSONResponse(document, 200 if not reasons else 503)

    async def _store(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(SECONDS):
                status = await self._deps.store.status()
        except StoreUnavailable as away:
            return _not_ok(redact(away.reason))
        except TimeoutError:
            return _not_ok("the database does not answer")
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not ready
            logger.opt(exception=True).error("the store cannot say how it is")
            return _not_ok("the database is in trouble; see the log")
        if status.get("writable") is not True:
            return _not_ok(redact(str(status.get("reason") or "the database cannot be written")))
        return {"ok": True, "schema": status.get("schema"), "oldest_due": status.get("oldest_due")}

    def _worker(self) -> dict[str, Any]:
        alive = self._deps.worker_alive()
        if alive is None:
            return {"ok": True, "reason": "no worker in this process"}
        return {"ok": True} if alive else _not_ok("the worker has not turned lately")


def _not_ok(reason: str) -> dict[str, Any]:
    return {"ok": False, "reason": reason}
