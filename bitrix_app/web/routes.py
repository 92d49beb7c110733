"""Every address of the web side in one table (interface.md «Addresses»)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from bitrix_app.core.store import StoreUnavailable
from bitrix_app.web.agent_status import AgentStatuses
from bitrix_app.web.agents import Agents
from bitrix_app.web.app_page import AppPage
from bitrix_app.web.call_start import CallStart
from bitrix_app.web.calls import Calls
from bitrix_app.web.campaigns import Campaigns
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.do_not_call import DoNotCall
from bitrix_app.web.envelope import EnvelopeMiddleware
from bitrix_app.web.health import Health
from bitrix_app.web.install import Installer
from bitrix_app.web.ledger import LedgerPage
from bitrix_app.web.legal import Legal
from bitrix_app.web.pages import STATIC
from bitrix_app.web.problems import Problem, on_http_error, on_problem, on_store_unavailable
from bitrix_app.web.renewal import Renewal
from bitrix_app.web.retries import Retries
from bitrix_app.web.retry_acts import RetryActs
from bitrix_app.web.settings_page import SettingsPage
from bitrix_app.web.webhooks import Webhooks


def routes(deps: WebDeps) -> list[BaseRoute]:
    """The table. `GET` answers `HEAD` too."""
    webhooks, installer, calls = Webhooks(deps), Installer(deps), Calls(deps)
    agents, campaigns, forbidden = Agents(deps), Campaigns(deps), DoNotCall(deps)
    retries = Retries(deps)
    acts = RetryActs(deps, retries, calls)
    app, settings, health, legal = (
        AppPage(deps, calls, campaigns),
        SettingsPage(deps),
        Health(deps),
        Legal(deps),
    )
    return [
        Route("/", app.hint, methods=["GET"]),
        Route("/unitalk/events/{token}", webhooks.unitalk, methods=["GET", "POST", "OPTIONS"]),
        Route("/bitrix/events", webhooks.bitrix, methods=["POST"]),
        Route("/bitrix/install", installer.open, methods=["POST"]),
        Route("/bitrix/install", app.hint, methods=["GET"]),
        Route("/bitrix/install/status", installer.status, methods=["GET"]),
        Route("/bitrix/app", app.open, methods=["POST"]),
        Route("/bitrix/app", app.look, methods=["GET"]),
        Route("/session", Renewal(deps).renew, methods=["POST"]),
        Route("/calls", calls.list, methods=["GET"]),
        Route("/calls", CallStart(deps, calls).press, methods=["POST"]),
        Route("/calls/{id}", calls.one, methods=["GET"]),
        Route("/retries", retries.list, methods=["GET"]),
        Route("/retries/{id}", retries.one, methods=["GET"]),
        Route("/retries/{id}/retry", acts.retry, methods=["POST"]),
        Route("/retries/{id}/cancel", acts.cancel, methods=["POST"]),
        Route("/retries/{id}/done", acts.done, methods=["POST"]),
        Route("/retries/{id}/undo", acts.undo, methods=["POST"]),
        Route("/retries/{id}/reschedule", acts.reschedule, methods=["POST"]),
        Route("/retries/{id}/edit", acts.edit, methods=["POST"]),
        Route("/agents", agents.show, methods=["GET"]),
        Route("/agents/accept", agents.accept, methods=["POST"]),
        Route("/agents/repair", agents.repair, methods=["POST"]),
        Route("/agents/repair/{id}", agents.progress, methods=["GET"]),
        Route("/agents/repair/{id}/undo", agents.undo, methods=["POST"]),
        Route("/agents/{user_id:int}", AgentStatuses(deps).show, methods=["GET"]),
        Route("/agents/{user_id:int}", agents.assign, methods=["PUT"]),
        Route("/campaigns", campaigns.show, methods=["GET"]),
        Route("/campaigns/read", campaigns.read, methods=["POST"]),
        Route("/campaigns/{id}", campaigns.one, methods=["GET"]),
        Route("/campaigns/{id}/phones", campaigns.phones, methods=["GET"]),
        Route("/campaigns/{id}/phones", campaigns.add, methods=["POST"]),
        Route("/campaigns/{id}/requests/{request}", campaigns.request, methods=["GET"]),
        Route("/campaigns/{id}/start", campaigns.start, methods=["POST"]),
        Route("/campaigns/{id}/stop", campaigns.stop, methods=["POST"]),
        Route("/campaigns/{id}/batches/{batch}/settle", campaigns.settle, methods=["POST"]),
        Route("/do-not-call", forbidden.show, methods=["GET"]),
        Route("/do-not-call", forbidden.add, methods=["POST"]),
        Route("/do-not-call", forbidden.remove, methods=["DELETE"]),
        Route("/ledger", LedgerPage(deps).show, methods=["GET"]),
        Route("/settings", settings.show, methods=["GET"]),
        Route("/settings", settings.change, methods=["PUT"]),
        Route("/settings/webhook-token", settings.rotate, methods=["POST"]),
        Route("/legal/privacy", legal.privacy, methods=["GET"]),
        Route("/legal/license", legal.license, methods=["GET"]),
        Route("/health/live", health.live, methods=["GET"]),
        Route("/health/ready", health.ready, methods=["GET"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def asgi(deps: WebDeps) -> Starlette:
    """The web side as an ASGI application; it owns nothing, so it has no lifespan of its own."""
    app = Starlette(
        routes=routes(deps),
        middleware=[Middleware(EnvelopeMiddleware)],
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_error,
            StoreUnavailable: on_store_unavailable,
        },
    )
    app.router.redirect_slashes = False  # an address with a secret in it is answered, never repeated
    return app
